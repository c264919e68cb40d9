"""What the modules of `evaluate` share; it needs the libraries `evaluate` and `datasets`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import datasets
import evaluate

from capo_bench.corpus.load import load
from capo_bench.corpus.model import Corpus
from capo_bench.metrics.cells import Prediction, join
from capo_bench.metrics.registry import METRICS, bounds
from capo_bench.stats.resampling import Measured, Undefined, estimate

INPUTS = """
Args:
    predictions: Responses, each `Label: ...` and, on a new line, `Explanation: ...`.
    items: For each response the id of the item it answers.
    annotators: For each response the id of the annotator it is to answer as.
    corpus: Name of a corpus (`nli`, `paraphrase`, `mini-nli`, ...) or a corpus file.
    split: The split that is answered: all of its labelled cells, or all those of some of its items.
    data: Where the corpus's files lie; else the environment, the cache and the hub are tried.
    splits: `capo` (the benchmark's) or `native`.
    valid_only: Keep self-validated responses only.
"""
"""What every module takes, for its description."""

CITATION = "capo-bench, the open benchmark of CAPO (https://arxiv.org/abs/2605.28802)"


class CorpusMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric of responses beside the corpus that they answer.

    A script imports this module, not the class: `evaluate` takes the first metric that it finds in a
    script for the script's own.

    Attributes:
        about: What the metric tells.
        measure: Takes `Cells` and options, and gives the metric's values by name.
    """

    about: str
    measure: Callable[..., Mapping[str, Measured]]

    def _info(self) -> evaluate.MetricInfo:
        columns = ("predictions", "items", "annotators")
        return evaluate.MetricInfo(
            description=self.about,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({name: datasets.Value("string") for name in columns}),
        )

    def _compute(
        self,
        predictions: Sequence[str],
        items: Sequence[str],
        annotators: Sequence[str],
        *,
        corpus: str,
        split: str = "test",
        data: str | None = None,  # `evaluate` has a `path` of its own
        splits: Literal["capo", "native"] = "capo",
        valid_only: bool = False,
        **options: Any,
    ) -> dict[str, float | str | None]:
        loaded = load(corpus, splits=splits, path=data, valid_only=valid_only)
        given = [Prediction(*row) for row in zip(items, annotators, predictions, strict=True)]
        return flat(self.measure(join(loaded, split, given), **options), loaded)


def flat(measured: Mapping[str, Measured], corpus: Corpus) -> dict[str, float | str | None]:
    """Results as `evaluate` wants them: `name`, `name_stderr`, `name_low` and `name_high`.

    A metric that the corpus or the responses do not define is `None`, with `name_undefined` for why.
    """
    results: dict[str, float | str | None] = {}
    for name, sums in measured.items():
        if isinstance(sums, Undefined):
            results |= {name: None, f"{name}_undefined": sums.reason}
        else:
            # Attribution takes groups of any size; the registry has three.
            known = any(metric.name == name for metric in METRICS)
            found = estimate(replace(sums, bounds=bounds(name, corpus)) if known else sums)
            results[name] = found.value
            results |= {
                f"{name}_{part}": getattr(found, part) for part in ("stderr", "low", "high")
            }
    return results
