"""`evaluate` module; see README.md beside it."""

from collections.abc import Mapping

from capo_bench.evaluate_modules import frame
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.labels import label_agreement
from capo_bench.stats.resampling import Measured


class LabelAgreement(frame.CorpusMetric):
    """`capo_bench.metrics.labels` for `evaluate`."""

    about = """\
Do the predicted labels agree with the annotator's own? Accuracy, macro-F1 and kappa; for ordinal
labels distances too."""

    def measure(self, cells: Cells) -> Mapping[str, Measured]:
        """Label agreement."""
        return label_agreement(cells)
