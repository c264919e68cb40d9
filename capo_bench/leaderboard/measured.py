"""What a board needs of one row, measured once and kept by what it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from capo_bench.corpus.jsonl import read_json, write_text
from capo_bench.corpus.load import cache_folder
from capo_bench.errors import CapoBenchError
from capo_bench.leaderboard.ranking import Contender
from capo_bench.metrics.cells import Prediction, join
from capo_bench.report import HEADLINE
from capo_bench.score import Scorer, Scores, metrics_of
from capo_bench.stats import (
    Estimate,
    Measured,
    Resampled,
    Undefined,
    resample,
    runs_mean,
    with_runs,
)

Runs = Sequence[Sequence[Prediction]]

_FORMAT = 1  # of the files; raised whenever they mean something else


@dataclass(frozen=True)
class Measurements:
    """The scores of one system over its runs.

    Attributes:
        scores: The mean over the runs, its intervals widened by their spread (`stats.with_runs`).
        runs: By metric, the value of each run, in their order; `nan` where undefined.
        contender: The headline, as the ranking takes it; `nan` where undefined.
    """

    scores: Scores
    runs: Mapping[str, tuple[float, ...]]
    contender: Contender


def key(scorer: Scorer, runs: Runs) -> str:
    """16 hex digits that change with whatever the measurements of these runs depend on."""
    texts = [sorted((p.item, p.annotator, p.response) for p in run) for run in runs]
    content = json.dumps([_FORMAT, scorer.signature, texts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def load(scorer: Scorer, runs: Runs) -> Measurements | None:
    """What was kept of these runs, or `None`.

    Raises:
        CapoBenchError: If the file is damaged.
    """
    file = _file(key(scorer, runs))
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="numpy") as kept:
            meta = json.loads(kept.metadata()["measurements"])
            draws, without = kept.get_tensor("draws"), kept.get_tensor("without")
        estimates = {
            name: Undefined(found["undefined"]) if "undefined" in found else Estimate(**found)
            for name, found in meta.pop("metrics").items()
        }
        values = {name: tuple(found) for name, found in meta.pop("runs").items()}
        headline = Resampled(meta.pop("headline"), draws, without)
        return Measurements(
            Scores(estimates, **meta), values, Contender(headline, values[HEADLINE])
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CapoBenchError(
            f"{file} cannot be read ({error}); delete it, it is a cache"
        ) from error


def measure(scorer: Scorer, runs: Runs) -> Measurements:
    """Scores runs of one system and keeps the result for `load`.

    Args:
        scorer: The scorer of the board.
        runs: Runs that answer every cell of the split (`verify.check_cells`).

    Raises:
        CapoBenchError: As `capo_bench.metrics.cells.join` does, or if the result cannot be kept.
    """
    cells = [join(scorer.corpus, scorer.split, run) for run in runs]
    found = [scorer.measure(one) for one in cells]
    names = [metric.name for metric in metrics_of(scorer.corpus)]
    mean = {name: _mean([one[name] for one in found]) for name in names}
    values = {name: tuple(_value(one[name]) for one in found) for name in names}
    scores = scorer.summarise(cells[0], mean)
    estimates = {
        name: one if isinstance(one, Undefined) else with_runs(one, scores.n_items, [values[name]])
        for name, one in scores.estimates.items()
    }
    headline = mean[HEADLINE]
    nothing = np.empty(0)
    resampled = (
        Resampled(float("nan"), nothing, nothing)
        if isinstance(headline, Undefined)
        else resample(headline)
    )
    measurements = Measurements(
        Scores(estimates, scores.n_items, scores.n_responses, scores.signature),
        values,
        Contender(resampled, values[HEADLINE]),
    )
    _keep(_file(key(scorer, runs)), measurements)
    return measurements


def remembered(name: str, make: Callable[[], list[str]]) -> list[str]:
    """Texts that are made once and kept under a name.

    Args:
        name: As from `key`, and what is kept of it.
        make: Makes them.

    Raises:
        CapoBenchError: If the file is damaged or cannot be written.
    """
    file = cache_folder() / "scores" / f"{name}.json"
    if not file.exists():
        write_text(file, json.dumps(make()))
    return list(map(str, read_json(file)))


def _mean(runs: Sequence[Measured]) -> Measured:
    defined = [run for run in runs if not isinstance(run, Undefined)]
    undefined = [run for run in runs if isinstance(run, Undefined)]
    return undefined[0] if undefined else runs_mean(defined)


def _value(found: Measured) -> float:
    return float("nan") if isinstance(found, Undefined) else found.value()


def _file(name: str) -> Path:
    return cache_folder() / "scores" / f"{name}.safetensors"


def _keep(file: Path, measurements: Measurements) -> None:
    headline = measurements.contender.headline
    meta: dict[str, Any] = {
        **measurements.scores.as_json(),
        "runs": measurements.runs,
        "headline": headline.value,
    }
    partial = file.with_suffix(".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"draws": headline.draws, "without": headline.without}
        save_file(tensors, partial, metadata={"measurements": json.dumps(meta)})
        partial.replace(file)
    except (OSError, SafetensorError) as error:
        raise CapoBenchError(f"{file} cannot be written: {error}; free space there") from error
