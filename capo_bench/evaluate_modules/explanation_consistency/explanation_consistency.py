"""`evaluate` module; see README.md beside it."""

from typing import Any

import datasets
import evaluate

from capo_bench.evaluate_modules import INPUTS, cells_of, flat
from capo_bench.metrics.consistency import explanation_consistency, fit_habits

_DESCRIPTION = """\
How much of the way from the other annotators' habits of writing to the target's the responses have
come: 1, they write as the target does; 0, as the other annotators do."""

_CITATION = "capo-bench, the open benchmark of CAPO (https://arxiv.org/abs/2605.28802)"


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, INPUTS)
class ExplanationConsistency(evaluate.Metric):  # type: ignore[misc]
    """`capo_bench.metrics.consistency` for `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(
                {name: datasets.Value("string") for name in ("predictions", "items", "annotators")}
            ),
        )

    def _compute(  # type: ignore[no-untyped-def]
        self, predictions, items, annotators, **corpus: Any
    ) -> dict[str, Any]:
        cells = cells_of(predictions, items, annotators, **corpus)
        consistency = explanation_consistency(cells, fit_habits(cells.corpus))
        return flat({"explanation_consistency": consistency}, cells.corpus)
