"""What a comparison found: a verdict for each gated metric and one overall, and what flipped.

| verdict | of a metric | overall |
|---|---|---|
| `pass` | a drop of `max_drop` or more is ruled out, and would have shown | all metrics pass |
| `regressed` | not so, and a drop has been shown | some metric regressed, or is beyond its `Limit` |
| `inconclusive` | neither | neither: the items cannot tell |
| `incomparable` | | the two did not answer the same; nothing is computed |

"Ruled out" and "shown" mean p <= .05 one-sided after Holm (`capo_bench.stats.noninferiority`).
A drop that is shown to be there, and to be smaller than `max_drop`, passes: the margin allows it.
A baseline within `max_drop` of the floor has nothing to lose: that nothing was lost says nothing, and
no metric passes there (assay sensitivity; ICH E10, section 1.5). Elsewhere, where every response of
every run is the same on both sides, there is nothing to test, and all pass.

What is not gated decides no verdict, but what of it became worse for sure is told (`Decline`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Literal

from capo_bench.metrics.registry import Metric
from capo_bench.regression.sides import Mismatch
from capo_bench.stats.resampling import Estimate

Verdict = Literal["pass", "regressed", "inconclusive", "incomparable"]

EXIT_CODES: Mapping[Verdict, int] = {
    "pass": 0,
    "regressed": 1,
    "inconclusive": 3,
    "incomparable": 4,
}
"""Exit status of the commands; 2 is bad input, as everywhere."""


@dataclass(frozen=True)
class Judged:
    """One gated metric.

    Attributes:
        metric: The metric.
        max_drop: The largest drop that is tolerated; for a metric that should be low, rise.
        verdict: See the module.
        base: The baseline's value, the mean over its runs; `nan` where undefined.
        candidate: The candidate's.
        difference: Candidate minus baseline, paired by item, over items and runs.
        at_floor: Whether the baseline is within `max_drop` of the metric's floor.
        p_within: P-value, after Holm, of the hypothesis that it dropped by `max_drop` or more.
        p_worse: P-value, after Holm, of the hypothesis that it did not drop.
        detectable: The smallest drop that so many items can rule out or show with power .8.
        items_needed: About how many items would bring that down to `max_drop`; `None` if no number of
            items would.
        undefined: Why there are no numbers, if there are none.
    """

    metric: Metric
    max_drop: float
    verdict: Verdict
    base: float = nan
    candidate: float = nan
    difference: Estimate = field(default=Estimate(nan, nan, nan, nan))
    at_floor: bool = False
    p_within: float = nan
    p_worse: float = nan
    detectable: float = nan
    items_needed: int | None = None
    undefined: str = ""


@dataclass(frozen=True)
class Limit:
    """The worst value of a metric that is tolerated, whatever the baseline has.

    Attributes:
        metric: The metric.
        limit: The smallest value; for a metric that should be low, the largest.
        candidate: The candidate's value, the mean over its runs; `nan` where undefined.
    """

    metric: Metric
    limit: float
    candidate: float

    @property
    def kept(self) -> bool:
        """Whether the value is no worse, as an undefined one is; there is no test."""
        if self.metric.higher_is_better:
            return self.candidate >= self.limit
        return self.candidate <= self.limit


@dataclass(frozen=True)
class Decline:
    """A metric that nobody gated and that became worse.

    Attributes:
        metric: The metric.
        base: The baseline's value, the mean over its runs.
        candidate: The candidate's.
        difference: Candidate minus baseline, as in `Judged`.
        p: P-value, after Holm over all metrics that are not gated, of the hypothesis that it did not
            drop; .05 at most.
    """

    metric: Metric
    base: float
    candidate: float
    difference: Estimate
    p: float


@dataclass(frozen=True)
class Flip:
    """A cell that the baseline had right and the candidate has wrong; of the first run of each.

    Attributes:
        item: The item.
        annotator: The target annotator.
        lost: What was lost: `label` (it agreed), `attribution` (it was attributed to the target).
        base: The baseline's response.
        candidate: The candidate's.
    """

    item: str
    annotator: str
    lost: tuple[str, ...]
    base: str
    candidate: str


@dataclass(frozen=True)
class Result:
    """A comparison.

    Attributes:
        base: Name of the baseline.
        candidate: Name of the candidate.
        metrics: The gated metrics; none where the two are incomparable.
        declines: What became worse of the others that were measured.
        limits: The worst tolerated values.
        flips: Cells that became worse, in the order of the corpus.
        gained: How many cells became right in `label` and `attribution`, by name.
        n_items: Items that both answered.
        n_responses: Responses of one run.
        runs: Number of runs of the baseline and the candidate.
        facts: What both sides agree on, by the names of `FACTS`.
        unknown: Names of what one side does not tell, so that it could not be compared.
        mismatches: Why they are incomparable.
    """

    base: str
    candidate: str
    metrics: tuple[Judged, ...] = ()
    declines: tuple[Decline, ...] = ()
    limits: tuple[Limit, ...] = ()
    flips: tuple[Flip, ...] = ()
    gained: Mapping[str, int] | None = None
    n_items: int = 0
    n_responses: int = 0
    runs: tuple[int, int] = (0, 0)
    facts: Mapping[str, str] | None = None
    unknown: tuple[str, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The overall verdict."""
        if self.mismatches:
            return "incomparable"
        if not all(limit.kept for limit in self.limits):
            return "regressed"
        found = {judged.verdict for judged in self.metrics}
        return (
            "regressed" if "regressed" in found else "pass" if found == {"pass"} else "inconclusive"
        )

    def lost(self, what: str) -> int:
        """How many cells lost their `label` or `attribution`."""
        return sum(what in flip.lost for flip in self.flips)
