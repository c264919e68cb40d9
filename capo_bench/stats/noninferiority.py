"""One-sided tests of a metric that must not drop: has it been shown that it did not, or that it did?

For a difference d, candidate minus baseline and turned so that more is better, two hypotheses are
tested one-sided at .05, each adjusted by Holm over the gated metrics:

* `d <= -max_drop`: rejecting it shows *non-inferiority* (Piaggio et al. 2012,
  https://doi.org/10.1001/jama.2012.87802). A permutation test would have to shift one run to the
  margin, which only means allow, so the clustered BCa interval is turned round instead (`tail_p`).
* `d >= 0`: rejecting it shows a *drop*. Here the two runs are exchangeable, which is what the
  permutation test within items assumes; several runs a side are compared by `tail_p`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, inf, isfinite, log, log1p, nan

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from capo_bench.stats.comparing import POWER, between_runs, permutation_p, welch_df
from capo_bench.stats.resampling import (
    DRAWS,
    LEVEL,
    ItemSums,
    Resampled,
    bias_and_skew,
    interval,
    jackknife_error,
    prior_reach,
    widening,
)

ALPHA = 0.05
"""Level of each one-sided test, after Holm."""

Runs = Sequence[Sequence[float]]
"""For each side of a difference, the metric of each of its runs."""


def tail_p(found: Resampled, threshold: float, runs: Runs = ()) -> float:
    """One-sided p-value of the hypothesis that the true value is at most `threshold`.

    The interval of `capo_bench.stats.resampling.interval` turned round: the level at which its lower
    end would be the threshold. The metric's noise and the spread of several runs are added to the
    standard error that this p-value speaks of, with Satterthwaite's degrees of freedom, as
    `capo_bench.stats.comparing.with_runs` does it.

    Returns:
        In 0..1; `nan` where the interval is not defined. Where all items give the same it is 0 or 1
        for a metric without bounds, which says nothing about what was never seen.
    """
    value, n = found.value, len(found.without)
    drawn = found.draws[np.isfinite(found.draws)]
    if len(drawn) < 2 or not isfinite(value):
        return nan
    slack = 1e-9 * abs(threshold) + 1e-12  # equal but for rounding is equal
    far = value - threshold
    errors = _errors_away(found, threshold)  # so many standard errors over items
    least = max(found.slack[0], prior_reach(found)[0])
    if far > slack and least > 0:
        # The threshold's distance in arms of an interval that reaches at least so far.
        errors = min(errors, far / least * float(stdtrit(n - 1, (1 + LEVEL) / 2)))
    between: list[tuple[float, float]] = [*between_runs(runs)]
    if found.noise:
        between.append((found.noise**2, inf))
    if not sum(variance for variance, _ in between):
        return float(stdtr(n - 1, -errors))
    # Near to the threshold the bootstrap's own standard error is safer.
    error = far / errors if errors * far > 0 else interval(replace(found, noise=0.0)).stderr
    error = error if isfinite(error) else 0.0
    variances = [error**2, *(variance for variance, _ in between)]
    degrees = float(welch_df(variances, [n - 1, *(df for _, df in between)]))
    return float(stdtr(degrees, -far / np.sqrt(sum(variances))))


def _errors_away(found: Resampled, threshold: float) -> float:
    """How many standard errors over items the value lies above a threshold, skewness corrected."""
    value, n = found.value, len(found.without)
    drawn = found.draws[np.isfinite(found.draws)]
    slack = 1e-9 * abs(threshold) + 1e-12
    if np.ptp(drawn) <= slack:
        return -inf if value <= threshold + slack else inf
    corrected = bias_and_skew(found)
    if corrected is None:
        return (value - threshold) / jackknife_error(found)
    bias, skew = corrected
    below = (drawn < threshold - slack).sum() + (abs(drawn - threshold) <= slack).sum() / 2
    apart = ndtri((below + 0.5) / (len(drawn) + 1)) - bias
    # Solves apart = tail / (1 - skew * tail), as the interval has it; none past the pole.
    tail = apart / max(1 + skew * apart, 1e-9)
    return float((bias - tail) * np.sqrt((n - 1) / n)) / widening(found)


def unseen_p(max_drop: float, n_items: int) -> float:
    """The smallest p-value with which so many items can show that a share dropped by less.

    If a share of `max_drop` of all items lost every right answer, and no other changed, then n items
    would all miss them with probability (1 - max_drop)^n: what an interval without width leaves out.
    """
    return float((1 - min(max_drop, 1.0)) ** n_items)


def worse_p(
    candidate: Sequence[ItemSums], base: Sequence[ItemSums], gain: Resampled, runs: Runs
) -> float:
    """One-sided p-value of the hypothesis that the candidate is no worse.

    Args:
        candidate: The metric of each of its runs.
        base: Of each run of the baseline, over the same items.
        gain: Candidate minus baseline, turned so that more is better.
        runs: The values behind `gain`.
    """
    if len(candidate) > 1 or len(base) > 1 or gain.noise:
        return tail_p(gain.turned(), 0.0, runs)
    # Under exchange within items the difference is symmetric about 0.
    both_sides = permutation_p(candidate[0], base[0])
    return max(both_sides / 2, 1 / (1 + DRAWS)) if gain.value < 0 else 1 - both_sides / 2


def _reach(degrees: float, tests: int) -> float:
    """Standard errors that a true difference must be away to be seen with power .8."""
    return float(stdtrit(degrees, [1 - ALPHA / tests, POWER]).sum())


def detectable_drop(
    stderr: float, degrees: float, n_items: int, *, tests: int = 1, share: bool = False
) -> float:
    """The smallest drop that can be ruled out, or shown, with power .8 where that is the truth.

    (t(1 - .05 / tests) + t(.8)) standard errors (Bloom 1995,
    https://doi.org/10.1177/0193841X9501900504, one-sided), the strictest level that Holm may ask for.
    A share cannot do with less than what `unseen_p` leaves.

    Args:
        stderr: Standard error of the difference.
        degrees: Its degrees of freedom.
        n_items: Number of items.
        tests: Number of metrics that are tested together.
        share: Whether the metric is a share of responses.
    """
    if not degrees >= 1 or not isfinite(stderr):
        return nan
    unseen = 1 - (ALPHA / tests) ** (1 / n_items) if share else 0.0
    return max(stderr * _reach(degrees, tests), unseen)


def items_needed(
    max_drop: float,
    variances: tuple[float, float],
    degrees: float,
    n_items: int,
    *,
    tests: int = 1,
    share: bool = False,
) -> int | None:
    """About how many items would make `max_drop` the detectable drop.

    Args:
        max_drop: The drop that must be ruled out.
        variances: Of the difference: from the items, and from the runs.
        degrees: Degrees of freedom of their sum.
        n_items: Number of items behind them.
        tests: As in `detectable_drop`.
        share: Likewise.

    Returns:
        `None` if the runs alone vary too much: then it takes more runs, not more items.
    """
    from_items, from_runs = variances
    if not degrees >= 1 or not isfinite(from_items):
        return None
    left = (max_drop / _reach(degrees, tests)) ** 2 - from_runs
    if left <= 0:
        return None
    unseen = log(ALPHA / tests) / log1p(-max_drop) if share and max_drop < 1 else 0.0
    return max(ceil(n_items * from_items / left), ceil(unseen), 2)
