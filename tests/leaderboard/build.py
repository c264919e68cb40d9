"""Submissions to break: what every test of this folder starts from."""

from pathlib import Path

import yaml

from capo_bench.leaderboard.submission import Card, Submission, write_submission
from capo_bench.metrics.cells import Prediction
from capo_bench.scoring.scorer import METRICS_VERSION

FINGERPRINT = "0123456789abcdef"

CARD = {
    "format": 1,
    "board": "mini-nli",
    "system": "A system",
    "model": "org/model",
    "method": "prompted",
    "setting": "zero-shot",
    "prompt_hash": "0123456789abcdef",
    "training_data": "none",
    "test_items_seen": False,
    "uses_test_explanations": False,
    "decoding": {"temperature": 0.0, "until": ["\n"], "do_sample": False, "max_gen_toks": 48},
    "versions": {"capo_bench": "0.1.0", "metrics": str(METRICS_VERSION), "task": "1"},
    "hardware": "one CPU",
    "submitted_by": "A tester",
    "licence": "CC-BY-4.0",
    "runs": [{"seed": 1, "file": "predictions-1.jsonl", "claimed": {"faithful_rate": 0.5}}],
}

PREDICTIONS = (Prediction("x", "Ann1", "Label: a\nExplanation: b “c”"), Prediction("x", "Ann2", ""))


def written(
    folder: Path, predictions=(PREDICTIONS,), fingerprint=FINGERPRINT, **card
) -> Submission:
    """A submission on disk; keywords replace parts of `CARD`."""
    return write_submission(folder, Card.model_validate({**CARD, **card}), predictions, fingerprint)


def edit_card(folder: Path, **card) -> None:
    """Replaces parts of a card on disk, without any check."""
    file = folder / "card.yaml"
    value = {**yaml.safe_load(file.read_text()), **card}
    file.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
