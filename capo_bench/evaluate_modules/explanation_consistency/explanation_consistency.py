"""`evaluate` module; see README.md beside it."""

from collections.abc import Mapping

from capo_bench.evaluate_modules import frame
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.consistency import explanation_consistency, fit_style_bins
from capo_bench.stats.resampling import Measured


class ExplanationConsistency(frame.CorpusMetric):
    """`capo_bench.metrics.consistency` for `evaluate`."""

    about = """\
How much of the way from the other annotators' style of writing to the target's the responses have
come: 1, they write as the target does; 0, as the other annotators do."""

    def measure(self, cells: Cells) -> Mapping[str, Measured]:
        """Explanation consistency."""
        consistency = explanation_consistency(cells, fit_style_bins(cells.corpus))
        return {"explanation_consistency": consistency}
