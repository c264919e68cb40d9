"""`evaluate` module; see README.md beside it."""

from typing import Any

import datasets
import evaluate

from capo_bench.evaluate_modules import INPUTS, cells_of, flat
from capo_bench.metrics.labels import label_agreement

_DESCRIPTION = """\
Do the predicted labels agree with the annotator's own? Accuracy, macro-F1 and kappa; for ordinal
labels distances too."""

_CITATION = "capo-bench, the open benchmark of CAPO (https://arxiv.org/abs/2605.28802)"


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, INPUTS)
class LabelAgreement(evaluate.Metric):  # type: ignore[misc]
    """`capo_bench.metrics.labels` for `evaluate`."""

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
        return flat(label_agreement(cells), cells.corpus)
