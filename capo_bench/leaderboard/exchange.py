"""Submissions in the formats of others: Every Eval Ever's records, LeWiDi-2025's Codabench files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from capo_bench import __version__
from capo_bench.corpus.model import Corpus
from capo_bench.corpus.readers.lewidi import DATASETS
from capo_bench.errors import CapoBenchError
from capo_bench.files import write_all
from capo_bench.leaderboard.submission import Card, Submission
from capo_bench.metrics.cells import Cells, join
from capo_bench.metrics.registry import Metric, bounds, metrics_of
from capo_bench.scoring.cache import Measurements
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import DRAWS, LEVEL, Estimate

SCHEMA_VERSION = "0.3.0"
"""Of Every Eval Ever's `eval.schema.json` (github.com/evaleval/every_eval_ever) that is followed."""

_LEWIDI = {name: dataset.prefix for name, dataset in DATASETS.items()}
_LEWIDI_SPLIT = {"train": "train", "validation": "dev", "test": "test"}
_NLI_ORDER = ("contradiction", "entailment", "neutral")


def every_eval_ever(
    submission: Submission, scorer: Scorer, measurements: Measurements, now: float
) -> dict[str, Any]:
    """One record of the EvalEval coalition's Every Eval Ever, schema version `SCHEMA_VERSION`.

    Scores are the recomputed ones, the mean over the runs. What the schema asks and a card does not
    say is given as `other` (the evaluator's relationship to the model) or `unknown` (deployment and
    availability of the model). Metrics that are not defined are left out: a score is a number.

    Args:
        submission: An accepted submission.
        scorer: The scorer of its board.
        measurements: Its scores.
        now: When the record is made, in seconds since 1970.
    """
    card, corpus = submission.card, scorer.corpus
    timestamp = f"{now:.0f}"
    source = {
        "dataset_name": corpus.name,
        "source_type": "other",
        "additional_details": {
            "fingerprint": corpus.fingerprint,
            "split": scorer.split,
            "items": str(measurements.scores.n_items),
            "responses": str(measurements.scores.n_responses),
            "synthetic": str(corpus.synthetic).lower(),
        },
    }
    results = [
        {
            "evaluation_result_id": metric.name,
            "evaluation_name": f"capo-bench {card.board}",
            "source_data": source,
            "metric_config": _metric_config(metric, corpus),
            "score_details": {
                "score": found.value,
                "uncertainty": _uncertainty(found, measurements.scores.n_items),
                "details": _details(card, measurements.values[metric.name]),
            },
            "generation_config": _generation(card),
        }
        for metric in metrics_of(corpus)
        if isinstance(found := measurements.scores.estimates[metric.name], Estimate)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"capo-bench-{card.board}/{card.model}/{timestamp}",
        "retrieved_timestamp": timestamp,
        "source_metadata": {
            "source_name": f"capo-bench leaderboard {card.board}, submission {submission.id}",
            "source_type": "evaluation_run",
            "source_organization_name": card.submitted_by,
            "evaluator_relationship": "other",
            "additional_details": {"licence": card.licence, **_given(card, "url", "notes")},
        },
        "eval_library": {
            "name": "capo-bench",
            "version": __version__,
            "additional_details": dict(card.versions),
        },
        "model_info": {
            "name": card.system,
            "id": card.model,
            "additional_details": {
                "deployment_type": "unknown",
                "model_availability": "unknown",
                "method": card.method,
                "training_data": card.training_data,
                "test_items_seen": str(card.test_items_seen).lower(),
                "uses_test_explanations": str(card.uses_test_explanations).lower(),
                "hardware": card.hardware,
                **_given(card, "base_model", "parameters"),
            },
        },
        "evaluation_results": results,
    }


def write_lewidi(submission: Submission, scorer: Scorer, folder: Path) -> tuple[list[Path], int]:
    """Writes LeWiDi-2025's `<Dataset>_<split>_pe.tsv` and `<Dataset>_<split>_soft.tsv`.

    The form is that of the task's participants, whose published code writes these files for
    codabench.org/competitions/7192; the competition's own page could not be read. Several runs get a
    folder each, named after the seed. A line is LeWiDi's id of an item, a tab and a list:

    | file | VariErrNLI | Paraphrase, CSC | MP |
    |---|---|---|---|
    | `pe` | for each label 0 or 1 of each annotator | the rating of each annotator | 0 or 1 of each |
    | `soft` | for each label [share without, with] | share of each rating | [share of 0, of 1] |

    Labels are in the order contradiction, entailment, neutral; annotators and items in that of the
    organisers' file. Assumed: a file of `dev` is named like one of `test`, and a response without a
    readable label is no label at all, for Par and CSC the middle of the scale (0 and 3) and for MP 0,
    since a label is needed. Our own scores count it as the answer farthest from the annotator's
    instead, which no file of predictions can know.

    Args:
        submission: An accepted submission.
        scorer: The scorer of its board; the corpus is one of LeWiDi in its own splits.
        folder: Where to write.

    Returns:
        The files, and in how many responses no label could be read.

    Raises:
        CapoBenchError: If the corpus is another, or a file cannot be written.
    """
    corpus = scorer.corpus
    if corpus.name not in _LEWIDI:
        raise CapoBenchError(
            f"board {submission.card.board} has the corpus {corpus.name}; LeWiDi takes answers to "
            f"its own items, from a board with the corpus {' or '.join(_LEWIDI)}"
        )
    stem = f"{_LEWIDI[corpus.name]}_{_LEWIDI_SPLIT[scorer.split]}"
    files: dict[Path, str] = {}
    unread = 0
    for run, predictions in zip(submission.card.runs, submission.predictions, strict=True):
        cells = join(corpus, scorer.split, predictions)
        unread += sum(not parsed.labels for parsed in cells.parsed)
        below = folder if len(submission.predictions) == 1 else folder / str(run.seed)
        perspectives, soft = _lewidi_lines(cells)
        for kind, lines in (("pe", perspectives), ("soft", soft)):
            files[below / f"{stem}_{kind}.tsv"] = "".join(f"{line}\n" for line in lines)
    write_all(folder, files)
    return list(files), unread


def _lewidi_lines(cells: Cells) -> tuple[list[str], list[str]]:
    """Lines of the perspectivist and of the soft file."""
    ids = cells.corpus.annotator_ids
    labels = {
        (cells.items[item].id, ids[annotator]): parsed.labels
        for item, annotator, parsed in zip(cells.item, cells.annotator, cells.parsed, strict=True)
    }
    scale, kind = cells.corpus.task.labels.labels, cells.corpus.task.labels.kind
    perspectives, soft = [], []
    for item in cells.items:
        given = [labels[item.id, annotator] for annotator in item.cells if item.cells[annotator]]
        if kind == "multilabel":
            said = [[int(label in one) for one in given] for label in _NLI_ORDER]
            shares: list[Any] = [[1 - _share(row), _share(row)] for row in said]
            perspectives.append(f"{item.source_id}\t{said}")
        else:
            # MP's labels are 0 and 1 in the order of ours, those of the others are numbers.
            middle = scale[(len(scale) - 1) // 2]
            chosen = [one[0] if one else middle for one in given]
            ratings = [scale.index(one) if kind == "nominal" else int(one) for one in chosen]
            shares = [_share([one == label for one in chosen]) for label in scale]
            perspectives.append(f"{item.source_id}\t{ratings}")
        soft.append(f"{item.source_id}\t{shares}")
    return perspectives, soft


def _share(flags: Sequence[bool | int]) -> float:
    return sum(flags) / len(flags)


def _metric_config(metric: Metric, corpus: Corpus) -> dict[str, Any]:
    low, high = (
        end if isfinite(end) else str(end).replace("inf", "Infinity")
        for end in bounds(metric.name, corpus)
    )
    return {
        "metric_id": f"capo_bench.{metric.name}",
        "metric_name": metric.name,
        "lower_is_better": not metric.higher_is_better,
        "score_type": "continuous",
        "min_score": low,
        "max_score": high,
        "additional_details": {"axis": metric.axis},
        **({"metric_parameters": {"k": metric.group}} if metric.curve else {}),
    }


def _uncertainty(found: Estimate, items: int) -> dict[str, Any]:
    if found.stderr != found.stderr:  # a single item has no interval
        return {"num_samples": items}
    method = (
        "BCa bootstrap over items, widened for what the items do not show, with the spread of runs"
    )
    return {
        "standard_error": {"value": found.stderr, "method": method},
        "confidence_interval": {
            "lower": found.low,
            "upper": found.high,
            "confidence_level": LEVEL,
            "method": method,
        },
        "num_samples": items,
        "num_bootstrap_samples": DRAWS,
    }


def _details(card: Card, values: Sequence[float]) -> dict[str, str]:
    return {
        "seeds": ", ".join(str(run.seed) for run in card.runs),
        "by_seed": ", ".join(f"{value:.4f}" for value in values),
    }


def _generation(card: Card) -> dict[str, Any]:
    """The card's decoding, under the schema's names where it has them and as text where not."""
    named: dict[str, Any] = {}
    rest = {"setting": card.setting, "prompt_hash": card.prompt_hash}
    for key, value in card.decoding.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in ("temperature", "top_p", "top_k") and number:
            named[key] = value
        elif key in ("max_gen_toks", "max_new_tokens") and isinstance(value, int) and value > 0:
            named["max_tokens"] = value
        else:
            rest[key] = value if isinstance(value, str) else json.dumps(value)
    if card.command:
        named["execution_command"] = card.command
    return {"generation_args": named, "additional_details": rest}


def _given(card: Card, *keys: str) -> dict[str, str]:
    return {key: str(value) for key in keys if (value := getattr(card, key)) is not None}
