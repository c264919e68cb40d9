"""Small boards made of control rows: what the tests of boards, tables and page start from."""

from functools import cache
from pathlib import Path
from random import Random

from capo_bench.corpus.load import load
from capo_bench.leaderboard.submission import Submission
from capo_bench.scoring.controls import control_predictions
from capo_bench.scoring.scorer import METRICS_VERSION
from tests.leaderboard.build import written

CORPUS = "mini-nli"


FEW = ("human", "other-annotator", "stuffed", "constant")


@cache
def rows(corpus=CORPUS):
    return control_predictions(load(corpus), "test", seed=3)


def few_controls(corpus, split="test", seed=0):
    """Some of the control rows: all of them take most of a build's time."""
    found = control_predictions(corpus, split, seed)
    return {name: found[name] for name in FEW}


def mixed(share, other, seed, corpus=CORPUS):
    """The annotators' own response with probability `share`, else that of a control row."""
    rng = Random(seed)
    pairs = zip(rows(corpus)["human"], rows(corpus)[other], strict=True)
    return tuple(human if rng.random() < share else impostor for human, impostor in pairs)


def board_folder(root: Path, corpus=CORPUS, **more) -> Path:
    folder = root / corpus
    folder.mkdir(parents=True)
    spec = {"title": f"Board {corpus}", "corpus": corpus, "bertscore": "minilm", **more}
    (folder / "board.yaml").write_text("".join(f"{k}: {v}\n" for k, v in spec.items()))
    return folder


def submit(folder: Path, name: str, *runs, **card) -> Submission:
    """A submission to a board; claims nothing unless the card says so."""
    listed = [{"seed": i, "file": f"predictions-{i}.jsonl"} for i in range(len(runs))]
    card = {"board": folder.name, "system": name, "runs": listed, **card}
    card.setdefault(
        "versions", {"capo_bench": "0.1.0", "metrics": str(METRICS_VERSION), "task": "1.0"}
    )
    fingerprint = load(folder.name).fingerprint
    return written(folder / "submissions" / name, runs, fingerprint, **card)


def small(root: Path) -> Path:
    """Three systems: nearly human in two seeds, half, and off the item; one with a hostile name."""
    folder = board_folder(root, verified="[good]")
    good = [mixed(0.95, "other-annotator", seed) for seed in (1, 2)]
    submit(folder, "good", *good, method="capo", parameters=1_700_000_000, system=HOSTILE)
    half = mixed(0.75, "other-annotator", 3)
    submit(folder, "half", half, method="sft", parameters=135_000_000, system="=1+1|2")
    submit(folder, "off", rows()["wrong-item"], method="prompted", test_items_seen=True)
    return folder


HOSTILE = "</script><script>alert(1)</script>"
