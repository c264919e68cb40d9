"""`evaluate` module; see README.md beside it."""

from typing import Any

import datasets
import evaluate

from capo_bench.evaluate_modules import INPUTS, cells_of, flat
from capo_bench.metrics.attribution import attribution, fit_attributor
from capo_bench.stats.resampling import Undefined

_DESCRIPTION = """\
Does a classifier of writing style, fitted on the annotators' training explanations, take groups of
k responses for the annotator as whom they were to be written? Chance is one over the number of
annotators."""

_CITATION = "capo-bench, the open benchmark of CAPO (https://arxiv.org/abs/2605.28802)"


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, INPUTS)
class AnnotatorAttribution(evaluate.Metric):  # type: ignore[misc]
    """`capo_bench.metrics.attribution` for `evaluate`."""

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
        self, predictions, items, annotators, *, k=(1, 3, 10), normalised=True, **corpus: Any
    ) -> dict[str, Any]:
        """Attribution for each group size in `k`; `normalised` drops case and punctuation first."""
        cells = cells_of(predictions, items, annotators, **corpus)
        attributor = fit_attributor(cells.corpus, normalised=normalised)
        names = {size: f"attribution_at_{size}" for size in k}
        if isinstance(attributor, Undefined):
            return flat(dict.fromkeys(names.values(), attributor), cells.corpus)
        scores = attributor.log_probabilities(cells.explanations, cells.inputs)
        return flat(
            {
                name: attribution(cells, scores, attributor.annotators, size)
                for size, name in names.items()
            },
            cells.corpus,
        )
