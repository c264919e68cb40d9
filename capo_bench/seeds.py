"""Several runs of one system: what their spread adds to the uncertainty that the items leave.

A run of a sampled model, or of a model trained anew, is one draw of many. With V the mean of the
values of S runs over the same items, two things are uncertain: which items were asked, and which
runs were made. Their variances are added,

    var(V) = var_items(V) + s^2 / S,

the first as the clustered bootstrap of the mean gives it, s the standard deviation of the S values.
The degrees of freedom of the sum are Satterthwaite's (1946, https://doi.org/10.2307/3002019). The
noise of single responses is in both terms, so that the sum errs on the safe side: by at most a
factor of sqrt(2) in the standard error, and by that much only for runs that differ by sampling
alone. What a single run would have varied is not known and not added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from capo_bench.stats import (
    DRAWS,
    LEVEL,
    Estimate,
    ItemSums,
    difference,
    estimate,
    runs_mean,
    tail_p,
)

Runs = Sequence[ItemSums]


@dataclass(frozen=True)
class RunsEstimate(Estimate):
    """A metric, or a difference of metrics, over several runs.

    Attributes:
        degrees: Degrees of freedom of `stderr`: items less one for single runs, fewer the more of the
            uncertainty comes from few runs.
        runs_variance: The share of `stderr`'s square that more items would not lessen: `s^2 / S`,
            summed over both sides of a difference.
    """

    degrees: float
    runs_variance: float


def estimate_runs(runs: Runs, *, draws: int = DRAWS, seed: int = 0) -> RunsEstimate:
    """Mean of the runs' values; its interval covers other items and other runs of the system.

    Each arm of the items' interval (`estimate`) is taken for t(n - 1) standard errors, the runs'
    variance is added to their square, and the sum is multiplied with t of its own degrees of freedom.
    For one run this is `estimate`.

    Raises:
        CapoBenchError: As `runs_mean` does.
    """
    return _estimate(runs_mean(runs), [runs], draws, seed)


def estimate_runs_difference(
    ours: Runs, theirs: Runs, *, draws: int = DRAWS, seed: int = 0
) -> RunsEstimate:
    """Our mean minus theirs, paired by item; each side may have any number of runs.

    Raises:
        CapoBenchError: As `runs_mean` and `difference` do.
    """
    return _estimate(difference(runs_mean(ours), runs_mean(theirs)), [ours, theirs], draws, seed)


def runs_tail_p(
    ours: Runs, theirs: Runs, threshold: float = 0.0, *, draws: int = DRAWS, seed: int = 0
) -> float:
    """One-sided p-value of the hypothesis that our mean exceeds theirs by at most `threshold`.

    `tail_p` for single runs; else its standard errors get the runs' variance as in `estimate_runs`.
    Twice the smaller of both directions is a two-sided p-value.

    Raises:
        CapoBenchError: As `runs_mean` and `difference` do.
    """
    both = difference(runs_mean(ours), runs_mean(theirs))
    p = tail_p(both, threshold, draws=draws, seed=seed)
    added = _variances([ours, theirs])
    if not added or not np.isfinite(p):
        return p
    n, apart = len(both.sums), both.value() - threshold
    found = estimate(both, draws=draws, seed=seed)
    # As many standard errors as would give this p, hence the standard error on this side.
    errors = float(stdtrit(n - 1, 1 - p))
    told = errors * apart > 0 and np.isfinite(errors)
    one = apart / errors if told else found.stderr
    variance = one**2 + sum(v for v, _ in added)
    if variance == 0:
        return p
    return float(stdtr(_degrees(one**2, n, added), -apart / np.sqrt(variance)))


def _estimate(metric: ItemSums, sides: Sequence[Runs], draws: int, seed: int) -> RunsEstimate:
    found, n, added = estimate(metric, draws=draws, seed=seed), len(metric.sums), _variances(sides)
    variance = sum(v for v, _ in added)
    degrees = _degrees(found.stderr**2, n, added)
    if not variance:
        return RunsEstimate(found.value, found.stderr, found.low, found.high, degrees, 0.0)
    usual, reach = stdtrit([n - 1, degrees], (1 + LEVEL) / 2)
    arms = np.array([found.value - found.low, found.high - found.value]) / usual
    below, above = reach * np.sqrt(arms**2 + variance)
    return RunsEstimate(
        value=found.value,
        stderr=float(np.sqrt(found.stderr**2 + variance)),
        low=float(found.value - below),
        high=float(found.value + above),
        degrees=degrees,
        runs_variance=float(variance),
    )


def _variances(sides: Sequence[Runs]) -> list[tuple[float, int]]:
    """Variance of each side's mean over its runs, with its degrees of freedom."""
    return [
        (float(np.var([run.value() for run in runs], ddof=1)) / len(runs), len(runs) - 1)
        for runs in sides
        if len(runs) > 1
    ]


def _degrees(items: float, n: int, added: Sequence[tuple[float, int]]) -> float:
    parts = [(items, n - 1), *added]
    below = sum(v**2 / d for v, d in parts if v)
    return float(sum(v for v, _ in parts) ** 2 / below) if below else float(n - 1)
