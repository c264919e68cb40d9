"""The scores of a system or a control row, measured once and kept by what they depend on."""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save

from capo_bench.caches import cache_folder, keep, kept
from capo_bench.metrics.cells import Prediction, join
from capo_bench.metrics.registry import bounds, metrics_of
from capo_bench.scoring.scorer import Scorer, Scores, conclude
from capo_bench.stats.comparing import runs_mean, with_runs
from capo_bench.stats.ranking import Contender
from capo_bench.stats.resampling import Estimate, Measured, Resampled, Undefined, resample

Runs = Sequence[Sequence[Prediction]]

_FORMAT = 5  # of the files; raised whenever they mean something else
_NUMBERS = ("value", "noise", "seen", "span", "worst", "slack")


@dataclass(frozen=True)
class Measurements:
    """The scores of one system over its runs.

    Attributes:
        scores: The mean over the runs, its intervals widened by their spread (`stats.with_runs`).
        values: By metric, the value of each run, in their order; `nan` where undefined.
        contenders: By metric, all that ranks and contrasts need of it; an undefined one is `nan`.
    """

    scores: Scores
    values: Mapping[str, tuple[float, ...]]
    contenders: Mapping[str, Contender]

    def minus(self, other: Measurements, metric: str) -> Estimate | Undefined:
        """One metric here less that of the other, paired by item; undefined as either of them is.

        Raises:
            CapoBenchError: If they were not measured on equally many items.
        """
        for one in (self, other):
            if isinstance(found := one.scores.estimates[metric], Undefined):
                return found
        return self.contenders[metric].minus(other.contenders[metric])

    def of(self, metrics: Collection[str]) -> Measurements:
        """The same with the contenders of these metrics alone: those of all take 2 MB."""
        some = {name: one for name, one in self.contenders.items() if name in metrics}
        return replace(self, contenders=some)

    def of_training(self) -> Measurements:
        """The same, told that the system was trained, with a seed (`Contender.trained`)."""
        ones = {name: replace(one, trained=True) for name, one in self.contenders.items()}
        return replace(self, contenders=ones)


def key(scorer: Scorer, runs: Runs) -> str:
    """16 hex digits that change with whatever the measurements of these runs depend on."""
    texts = [
        sorted((p.item, p.annotator, p.response, str(p.truncated)) for p in run) for run in runs
    ]
    content = json.dumps([_FORMAT, _code(), scorer.signature, texts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def measured(scorer: Scorer, *rows: Runs) -> list[Measurements]:
    """The scores of every row; only what was never scored takes time.

    Args:
        scorer: The scorer of their corpus and split.
        rows: Each the runs of one system, which answer the same cells.

    Raises:
        CapoBenchError: As `capo_bench.metrics.cells.join` does, or if a result cannot be kept.
    """
    found = []
    for runs in rows:
        found.append(_load(scorer, runs) or _measure(scorer, runs))
        _give_back_memory()
    return found


def score_repeats(scorer: Scorer, repeats: Runs) -> tuple[Scores, dict[str, Any]]:
    """Scores of responses that were generated once or several times.

    Returns:
        The mean over the generations, its intervals widened by their spread; and, if there are
        several, their number as `repeats` and by metric the standard deviation over them as
        `spread`.
    """
    if len(repeats) == 1:
        return scorer.score(repeats[0]), {}
    (found,) = measured(scorer, repeats)
    defined = {n: v for n, v in found.values.items() if all(map(isfinite, v))}
    spread = {name: stdev(values) for name, values in defined.items()}
    return found.scores, {"repeats": len(repeats), "spread": spread}


def _load(scorer: Scorer, runs: Runs) -> Measurements | None:
    """What was kept of these runs and is still whole, or `None`."""
    name = key(scorer, runs)
    content = kept(_file(name), name)
    if content is None:
        return None
    tensors = load_tensors(content)
    meta = json.loads(tensors["measurements"].tobytes())
    contenders = {
        name: Contender(
            Resampled(
                draws=tensors[f"{name}.draws"],
                without=tensors[f"{name}.without"],
                bounds=bounds(name, scorer.corpus),
                span=tuple(one.pop("span")),
                worst=tuple(one.pop("worst")),
                slack=tuple(one.pop("slack")),
                **one,
            ),
            tuple(runs),
        )
        for name, (one, runs) in meta.pop("contenders").items()
    }
    estimates = {
        name: Undefined(found["undefined"]) if "undefined" in found else Estimate(**found)
        for name, found in meta.pop("metrics").items()
    }
    return _whole(Scores(estimates, **meta), contenders)


def _whole(scores: Scores, contenders: Mapping[str, Contender]) -> Measurements:
    return Measurements(scores, {name: one.runs for name, one in contenders.items()}, contenders)


def _measure(scorer: Scorer, runs: Runs) -> Measurements:
    """Scores runs of one system and keeps the result for `_load`."""
    cells = [join(scorer.corpus, scorer.split, run) for run in runs]
    found = [scorer.measure(one) for one in cells]
    estimates: dict[str, Estimate | Undefined] = {}
    contenders = {}
    for name in (metric.name for metric in metrics_of(scorer.corpus)):
        each = [one[name] for one in found]
        mean = _mean(each)
        one = Contender(_resampled(mean), tuple(map(_value, each)))
        contenders[name] = one
        estimated = mean if isinstance(mean, Undefined) else conclude(one.found)
        estimates[name] = (
            estimated
            if isinstance(estimated, Undefined)
            else with_runs(estimated, len(cells[0].items), [one.runs]).within(*one.found.bounds)
        )
    scores = Scores(estimates, len(cells[0].items), len(cells[0]), scorer.signature)
    measurements = _whole(scores, contenders)
    _keep(key(scorer, runs), measurements)
    return measurements


def _give_back_memory() -> None:
    """Hands freed memory to the system: glibc keeps it, in pieces too small for the next row."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def remembered(name: str, make: Callable[[], list[str]]) -> list[str]:
    """Texts that are made once and kept under a name.

    Args:
        name: As from `key`, and what is kept of it.
        make: Makes them.

    Raises:
        CapoBenchError: If the file cannot be written.
    """
    file = cache_folder() / "scores" / f"{name}.json"
    content = kept(file, name)
    if content is None:
        content = json.dumps(make()).encode()
        keep(file, name, content)
    return list(map(str, json.loads(content)))


@cache
def _code() -> str:
    """A digest of the code that makes scores: whoever works on a metric sees no stale one."""
    digest = hashlib.sha256()
    for room in ("corpus", "metrics", "prompts", "scoring", "stats"):
        for file in sorted((Path(__file__).parents[1] / room).rglob("*.py")):
            digest.update(file.read_bytes())
    for library in ("numpy", "scipy", "scikit-learn"):
        digest.update(f"{library} {version(library)}".encode())
    return digest.hexdigest()


def _mean(runs: Sequence[Measured]) -> Measured:
    defined = [run for run in runs if not isinstance(run, Undefined)]
    undefined = [run for run in runs if isinstance(run, Undefined)]
    return undefined[0] if undefined else runs_mean(defined)


def _resampled(found: Measured) -> Resampled:
    nothing = np.empty(0)
    return (
        Resampled(float("nan"), nothing, nothing)
        if isinstance(found, Undefined)
        else resample(found)
    )


def _value(found: Measured) -> float:
    return float("nan") if isinstance(found, Undefined) else found.value()


def _file(name: str) -> Path:
    return cache_folder() / "scores" / f"{name}.safetensors"


def _keep(name: str, measurements: Measurements) -> None:
    contenders = measurements.contenders
    meta: dict[str, Any] = {
        **measurements.scores.as_json(),
        "contenders": {
            name: ({part: getattr(one.found, part) for part in _NUMBERS}, one.runs)
            for name, one in contenders.items()
        },
    }
    tensors = {
        f"{name}.{part}": getattr(one.found, part)
        for name, one in contenders.items()
        for part in ("draws", "without")
    }
    tensors["measurements"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    keep(_file(name), name, save(tensors))
