"""`evaluate` module; see README.md beside it."""

from collections.abc import Mapping, Sequence

from capo_bench.evaluate_modules import frame
from capo_bench.metrics.attribution import attribution, fit_attributor
from capo_bench.metrics.cells import Cells
from capo_bench.stats.resampling import Measured, Undefined


class AnnotatorAttribution(frame.CorpusMetric):
    """`capo_bench.metrics.attribution` for `evaluate`."""

    about = """\
Does a classifier of writing style, fitted on the annotators' training explanations, take groups of
k responses for the annotator as whom they were to be written? Chance is one over the number of
annotators."""

    def measure(
        self, cells: Cells, *, k: Sequence[int] = (1, 3, 10), normalised: bool = True
    ) -> Mapping[str, Measured]:
        """Attribution for each group size in `k`; `normalised` drops case and punctuation first."""
        cells = cells.explained
        attributor = fit_attributor(cells.corpus, normalised=normalised)
        names = {size: f"attribution_at_{size}" for size in k}
        if isinstance(attributor, Undefined):
            return dict.fromkeys(names.values(), attributor)
        scores = attributor.log_probabilities(cells.explanations, cells.inputs)
        return {
            name: attribution(cells, scores, attributor.annotators, size)
            for size, name in names.items()
        }
