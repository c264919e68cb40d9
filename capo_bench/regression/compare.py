"""Compares a candidate with a baseline over the same cells; `result` says what the verdicts mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from math import isfinite, nan

import numpy as np

from capo_bench.corpus.model import Corpus
from capo_bench.errors import CapoBenchError, listed
from capo_bench.metrics.cells import Cells, Prediction, answers_of, join
from capo_bench.metrics.registry import METRICS, Metric, bounds, metrics_of, needs_encoder
from capo_bench.regression.result import Decline, Flip, Judged, Limit, Result, Verdict
from capo_bench.regression.sides import FACTS, Mismatch, Side, mismatches
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.comparing import between_runs, holm, runs_mean, welch_df, with_runs
from capo_bench.stats.noninferiority import (
    ALPHA,
    detectable_drop,
    items_needed,
    tail_p,
    unseen_p,
    worse_p,
)
from capo_bench.stats.resampling import (
    Estimate,
    ItemSums,
    Measured,
    Undefined,
    interval,
    resample,
)

MAX_DROPS: Mapping[str, float] = {
    metric.name: metric.max_drop for metric in METRICS if metric.max_drop is not None
}
"""The metrics that are gated unless others are named, each with the largest drop that is tolerated,
in the metric's own unit; for one that should be low, a rise. They are what the 100 test items of
VariErr-NLI and of Par can rule out with power .8 (`capo-bench power`, the larger margin of the two),
rounded up to .05, of the headline a step more: a narrower margin would mostly be answered with
`inconclusive`."""


def check_gated(
    max_drops: Mapping[str, float], minimums: Mapping[str, float], scorer: Scorer
) -> None:
    """Refuses a maximum drop or a minimum that no metric of the corpus can have.

    Raises:
        CapoBenchError: Naming the metric.
    """
    known = [metric.name for metric in metrics_of(scorer.corpus)]
    for name in (*max_drops, *minimums):
        if name not in known:
            raise CapoBenchError(
                f"corpus {scorer.corpus.name} has no metric {name!r}; choose from {', '.join(known)}"
            )
    for name, minimum in minimums.items():
        low, high = bounds(name, scorer.corpus)
        if not low <= minimum <= high:
            raise CapoBenchError(
                f"{name} lies between {low:g} and {high:g}, so {minimum:g} cannot be its worst "
                "tolerated value"
            )
    for name, drop in max_drops.items():
        if not (isfinite(drop) and drop > 0):
            raise CapoBenchError(f"the maximum drop of {name} must be above 0, got {drop}")


def compare(
    base: Side,
    candidate: Side,
    scorer: Scorer,
    max_drops: Mapping[str, float] | None = None,
    minimums: Mapping[str, float] | None = None,
) -> Result:
    """Compares two sides over the same cells.

    Args:
        base: The baseline.
        candidate: The candidate.
        scorer: The scorer of their corpus and split; both sides are scored by it.
        max_drops: The gated metrics with their maximum drops; default: those of `MAX_DROPS` that are
            defined for the baseline.
        minimums: Metrics with the worst value that the candidate may have, whatever the baseline has:
            the smallest, or of a metric that should be low, the largest.

    Raises:
        CapoBenchError: If both sides answer another corpus than the scorer's, predictions do not
            fit it, a maximum drop makes no sense, or no metric is defined.
    """
    minimums = minimums or {}
    check_gated(max_drops or {}, minimums, scorer)
    found = mismatches(base.facts, candidate.facts) or _other_cells(base, candidate)
    if found:
        return Result(base.name, candidate.name, mismatches=tuple(found))
    if base.facts["fingerprint"] != scorer.corpus.fingerprint:
        raise CapoBenchError(
            f"{base.name} and {candidate.name} answer the corpus with fingerprint "
            f"{base.facts['fingerprint']}, but {scorer.corpus.name} here has "
            f"{scorer.corpus.fingerprint}; choose the corpus, splits and validity filter of the runs"
        )
    sides = [
        [join(scorer.corpus, scorer.split, run) for run in side.runs] for side in (base, candidate)
    ]
    gated = dict(max_drops) if max_drops is not None else default_max_drops(scorer, sides[0][0])
    encoded = needs_encoder([*gated, *minimums])
    measured = [[scorer.measure(cells, encoded=encoded) for cells in side] for side in sides]
    metrics, declines = _judge(
        scorer, measured, gated, _same(base, candidate), len(sides[0][0].items)
    )
    flips, gained = _flips(scorer, base.runs[0], candidate.runs[0])
    return Result(
        base=base.name,
        candidate=candidate.name,
        metrics=metrics,
        declines=declines,
        limits=_limits(scorer, measured[1], minimums),
        flips=flips,
        gained=gained,
        n_items=len(sides[0][0].items),
        n_responses=len(sides[0][0]),
        runs=(len(base.runs), len(candidate.runs)),
        facts={
            FACTS[key]: value
            for key, value in base.facts.items()
            if candidate.facts.get(key) == value
        },
        unknown=tuple(
            name
            for key, name in FACTS.items()
            if (key in base.facts) + (key in candidate.facts) == 1
        ),
    )


def default_max_drops(scorer: Scorer, cells: Cells) -> dict[str, float]:
    """Those of `MAX_DROPS` that are defined for a run."""
    measured = scorer.measure(cells, encoded=False)
    found = {
        name: drop
        for name, drop in MAX_DROPS.items()
        if isinstance(sums := measured.get(name), ItemSums) and isfinite(sums.value())
    }
    if not found:
        raise CapoBenchError("none of the gated metrics is defined for the baseline")
    return found


def _judge(
    scorer: Scorer,
    sides: Sequence[Sequence[Mapping[str, Measured]]],
    gated: Mapping[str, float],
    same: bool,
    n_items: int,
) -> tuple[tuple[Judged, ...], tuple[Decline, ...]]:
    """The gated metrics, and what declined of the others."""
    base, candidate = sides
    drafts: list[_Draft | Judged] = []
    others: list[Decline] = []
    for metric in metrics_of(scorer.corpus):
        ours = [run[metric.name] for run in candidate if metric.name in run]
        theirs = [run[metric.name] for run in base if metric.name in run]
        if metric.name in gated:
            drafts.append(_draft(metric, gated[metric.name], scorer.corpus, theirs, ours, same))
        elif not same and (found := _decline(metric, theirs, ours)):
            others.append(found)
    tested = [draft for draft in drafts if isinstance(draft, _Draft)]
    within = iter(holm([draft.p_within for draft in tested]))
    worse = iter(holm([draft.p_worse for draft in tested]))
    judged = tuple(
        draft.judge(next(within), next(worse), n_items, len(tested))
        if isinstance(draft, _Draft)
        else draft
        for draft in drafts
    )
    adjusted = holm([one.p for one in others])
    declined = (replace(one, p=p) for one, p in zip(others, adjusted, strict=True))
    return judged, tuple(one for one in declined if one.p <= ALPHA)


@dataclass(frozen=True)
class _Draft:
    """A metric with its p-values before Holm."""

    metric: Metric
    max_drop: float
    at_floor: bool
    base: float
    candidate: float
    difference: Estimate
    variances: tuple[float, float]
    degrees: float
    p_within: float
    p_worse: float

    def judge(self, p_within: float, p_worse: float, n_items: int, tests: int) -> Judged:
        verdict: Verdict = "inconclusive"
        if p_within <= ALPHA and not self.at_floor:
            verdict = "pass"
        elif p_worse <= ALPHA:
            verdict = "regressed"
        share = self.metric.share
        return Judged(
            metric=self.metric,
            max_drop=self.max_drop,
            verdict=verdict,
            base=self.base,
            candidate=self.candidate,
            difference=self.difference,
            at_floor=self.at_floor,
            p_within=p_within,
            p_worse=p_worse,
            detectable=detectable_drop(
                self.difference.stderr, self.degrees, n_items, tests=tests, share=share
            ),
            items_needed=items_needed(
                self.max_drop, self.variances, self.degrees, n_items, tests=tests, share=share
            ),
        )


def _draft(
    metric: Metric,
    max_drop: float,
    corpus: Corpus,
    base: Sequence[Measured],
    candidate: Sequence[Measured],
    same: bool,
) -> _Draft | Judged:
    reasons = [run.reason for run in (*base, *candidate) if isinstance(run, Undefined)]
    ours = [run for run in candidate if isinstance(run, ItemSums)]
    theirs = [run for run in base if isinstance(run, ItemSums)]
    if reasons:
        untold: Verdict = "pass" if same else "inconclusive"
        return Judged(metric, max_drop, untold, undefined=reasons[0])
    one, other = resample(runs_mean(ours)), resample(runs_mean(theirs))
    apart = one.minus(other)
    values = [[run.value() for run in ours], [run.value() for run in theirs]]
    floored = at_floor(metric, other.value, max_drop, corpus)
    if same and isfinite(apart.value) and not floored:
        nothing = Estimate(0.0, 0.0, 0.0, 0.0)
        return Judged(
            metric, max_drop, "pass", other.value, one.value, nothing, p_within=0.0, p_worse=1.0
        )
    n = len(apart.without)
    difference = with_runs(interval(apart), n, values).within(*apart.bounds)
    if not isfinite(difference.stderr):
        why = "it takes two items or more, and responses that it can be computed from"
        return Judged(metric, max_drop, "inconclusive", other.value, one.value, undefined=why)
    gain = apart if metric.higher_is_better else apart.turned()
    runs = between_runs(values)
    from_runs = sum(variance for variance, _ in runs)
    from_items = max(difference.stderr**2 - from_runs, 0.0)
    degrees = float(welch_df([from_items, *(v for v, _ in runs)], [n - 1, *(df for _, df in runs)]))
    p_within = tail_p(gain, -max_drop, values)
    if metric.share:
        p_within = max(p_within, unseen_p(max_drop, n))
    return _Draft(
        metric=metric,
        max_drop=max_drop,
        at_floor=floored,
        base=other.value,
        candidate=one.value,
        difference=difference,
        variances=(from_items, from_runs),
        degrees=degrees if isfinite(degrees) else n - 1,
        p_within=p_within,
        p_worse=worse_p(ours, theirs, gain, values),
    )


def _decline(
    metric: Metric, base: Sequence[Measured], candidate: Sequence[Measured]
) -> Decline | None:
    """A metric that is not gated, with the p-value of no drop before Holm; `None` if it is untold."""
    ours = [run for run in candidate if isinstance(run, ItemSums)]
    theirs = [run for run in base if isinstance(run, ItemSums)]
    if not ours or len(ours) < len(candidate) or len(theirs) < len(base):
        return None
    one, other = resample(runs_mean(ours)), resample(runs_mean(theirs))
    apart = one.minus(other)
    values = [[run.value() for run in ours], [run.value() for run in theirs]]
    difference = with_runs(interval(apart), len(apart.without), values).within(*apart.bounds)
    p = tail_p(apart.turned() if metric.higher_is_better else apart, 0.0, values)
    return Decline(metric, other.value, one.value, difference, p) if isfinite(p) else None


def at_floor(metric: Metric, value: float, max_drop: float, corpus: Corpus) -> bool:
    """Whether a value is so near to the metric's floor that it cannot drop by `max_drop`.

    The floor is chance where it is known, and else the metric's worst value.
    """
    low, high = bounds(metric.name, corpus)
    if not metric.higher_is_better:
        return high - value <= max_drop + 1e-9
    # What may be negative is 0 by chance.
    chance = 1 / len(corpus.annotator_ids) if metric.among_annotators else 0.0
    return value - max(low, chance) <= max_drop + 1e-9


def _limits(
    scorer: Scorer, runs: Sequence[Mapping[str, Measured]], minimums: Mapping[str, float]
) -> tuple[Limit, ...]:
    """The candidate's values, the mean over its runs, against the worst that are tolerated."""
    found = []
    for metric in metrics_of(scorer.corpus):
        if metric.name in minimums:
            each = [one for run in runs if isinstance(one := run[metric.name], ItemSums)]
            value = runs_mean(each).value() if len(each) == len(runs) else nan
            found.append(Limit(metric, minimums[metric.name], value))
    return tuple(found)


def _same(base: Side, candidate: Side) -> bool:
    ours, theirs = (list(map(answers_of, side.runs)) for side in (candidate, base))
    return ours == theirs or len({*ours, *theirs}) == 1


def _other_cells(base: Side, candidate: Side) -> list[Mismatch]:
    """A mismatch if not all runs answer the same cells."""
    first = cells_of(base.runs[0])
    for name, side in (("runs of the baseline", base), ("items", candidate)):
        for run in side.runs:
            if cells_of(run) != first:
                return [apart(name, first, cells_of(run))]
    return []


Answered = Set[tuple[str, str]]
"""(item, annotator) of each response."""


def cells_of(run: Sequence[Prediction]) -> Answered:
    """What a run answers."""
    return {(p.item, p.annotator) for p in run}


def apart(name: str, first: Answered, second: Answered) -> Mismatch:
    """What only one of two runs answers, the first few by their ids.

    Args:
        name: What they are called.
        first: The baseline's cells.
        second: Those of the other; not the same.
    """
    only = [
        f"only the {which} has {listed(found)}"
        for which, found in (
            ("first", _lacking(second, first)),
            ("second", _lacking(first, second)),
        )
        if found
    ]
    return Mismatch(f"{name} ({'; '.join(only)})", _count(first), _count(second))


def _lacking(cells: Answered, others: Answered) -> list[str]:
    """The items that are in `others` alone; of one that is in both, with the annotator."""
    known = {item for item, _ in cells}
    return list(
        dict.fromkeys(
            f"item {item[:60]}" + (f" of {annotator[:60]}" if item in known else "")
            for item, annotator in sorted(others - cells)
        )
    )


def _count(cells: Answered) -> str:
    return f"{len(cells)} responses to {len({item for item, _ in cells})} items"


def _flips(
    scorer: Scorer, base: Sequence[Prediction], candidate: Sequence[Prediction]
) -> tuple[tuple[Flip, ...], dict[str, int]]:
    texts = [{(p.item, p.annotator): p.response for p in run} for run in (base, candidate)]
    cells = [join(scorer.corpus, scorer.split, run) for run in (base, candidate)]
    right = []
    for side in cells:
        verdicts = scorer.verdicts(side)
        right.append(
            {
                "label": verdicts.label_agrees,
                "attribution": verdicts.attributed_to == side.annotator,
            }
        )
    before, after = right
    flips = []
    for at in range(len(cells[0])):
        lost = tuple(what for what in before if before[what][at] and not after[what][at])
        if lost:
            cell = cells[0].items[cells[0].item[at]].id, _annotator(cells[0], at)
            flips.append(Flip(*cell, lost, texts[0][cell], texts[1][cell]))
    gained = {what: int(np.sum(~before[what] & after[what])) for what in before}
    return tuple(flips), gained


def _annotator(cells: Cells, at: int) -> str:
    return cells.corpus.annotator_ids[int(cells.annotator[at])]
