"""Ranks with ties: which rows of a board can be told apart.

A rank says how many rows are *significantly* better, so that rows which the items cannot tell apart
share one: Chatbot Arena's ranks (Chiang et al. 2024, https://arxiv.org/abs/2403.04132).
Since the tests hold the chance of any false claim at .05 (Holm), the ranks from one more than the
number of better rows to the number of rows that are not worse make a simultaneous 95 % confidence
set of all true ranks (Mogstad et al. 2024, https://doi.org/10.1093/restud/rdad006).

With a hundred rows there are thousands of pairs, and no resampling p survives Holm over them: ten
thousand draws cannot give less than 1e-4. Hence Student's t of the difference over its
item-clustered standard error, which all pairs take from one covariance matrix of the rows' bootstrap
draws, paired by item (same items, same seed, same draws).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from scipy.special import stdtr, stdtrit

from capo_bench.stats.comparing import holm, runs_variance, welch_df, with_runs
from capo_bench.stats.resampling import LEVEL, Array, Estimate, Resampled, interval

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Contender:
    """One metric of a row of a board, as ranking and contrasts see it.

    Attributes:
        found: The metric, resampled over items; the mean over runs if there are several; `nan`
            where undefined.
        runs: The metric of each run.
        trained: Whether another run would have another seed. A single run of what was not trained
            has no spread; one of what was, that of the runs which it is compared with.
    """

    found: Resampled
    runs: tuple[float, ...]
    trained: bool = False

    @property
    def seeds(self) -> tuple[float, ...]:
        """The metric of each run, where there is a spread between runs."""
        return self.runs if self.trained or len(self.runs) > 1 else ()

    def minus(self, other: Contender) -> Estimate:
        """The difference of the two, paired by item, the spread of runs in its interval.

        Raises:
            CapoBenchError: If they were not measured on equally many items.
        """
        apart = self.found.minus(other.found)
        found = with_runs(interval(apart), len(apart.without), [self.seeds, other.seeds])
        return found.within(*apart.bounds)


@dataclass(frozen=True)
class Standing:
    """Where a contender stands.

    Attributes:
        rank: One more than the number of contenders that are significantly better; `None` where the
            metric is undefined.
        last: The number of contenders that are not significantly worse, itself among them: together
            with `rank`, the ends of the confidence set.
    """

    rank: int | None
    last: int | None


def standings(contenders: Sequence[Contender]) -> list[Standing]:
    """Ranks contenders that were measured on the same items; Holm's family is all of their pairs.

    A rank need not grow down a board: a row whose interval is wide may be told apart from fewer rows
    than the one above it.

    Returns:
        Their standings, in the same order.

    Raises:
        CapoBenchError: If they were not measured on equally many items.
    """
    defined = [i for i, one in enumerate(contenders) if np.isfinite(one.found.value)]
    found = [Standing(None, None)] * len(contenders)
    if not defined:
        return found
    p = pairwise_p([contenders[i] for i in defined])
    values = np.array([contenders[i].found.value for i in defined])
    one, other = np.triu_indices(len(defined), k=1)
    told = np.array(holm(list(p[one, other]))) < 1 - LEVEL
    first_is_better = values[one] > values[other]
    winner, loser = np.where(first_is_better, (one, other), (other, one))[:, told]
    better = np.bincount(loser, minlength=len(defined))
    worse = np.bincount(winner, minlength=len(defined))
    for at, i in enumerate(defined):
        found[i] = Standing(1 + int(better[at]), len(defined) - int(worse[at]))
    return found


def pairwise_p(contenders: Sequence[Contender]) -> Array:
    """Two-sided p-values of all differences between contenders, not adjusted.

    t = difference / standard error, the variance being that over items (clustered, paired) plus that
    over the runs of each of the two (`between_runs`) and their noise, with Satterthwaite's degrees of
    freedom: n - 1 where neither has several runs or noise. Near a bound of the metric the variance
    over items is at least what items that were not seen leave (`Resampled.slack`), so that two
    systems at the floor are never told apart by an accident. Where all items say the same of a
    metric without bounds the variance is 0 and t has no bound; p then is, and never is less than,
    the smallest that a sign-flip test of n items can give, 2 / 2^n. With one item nothing can be
    told apart.

    Args:
        contenders: None of them is undefined.

    Returns:
        Array of shape (contenders, contenders).

    Raises:
        CapoBenchError: If they were not measured on equally many items.
    """
    first = contenders[0].found
    for one in contenders[1:]:
        first.minus(one.found)  # refuses other items
    n = len(first.without)
    if n < 2:
        return np.ones((len(contenders), len(contenders)))
    drawn = np.array([one.found.draws for one in contenders])
    without = np.array([one.found.without for one in contenders])
    bootstrapped = _spread(drawn) * n / (n - 1)
    # The larger of the two, as in an interval (`resampling.widening`).
    items = np.maximum(bootstrapped, _spread(without) * (n - 1) ** 2 / n)
    values = np.array([one.found.value for one in contenders])
    apart = np.abs(values[:, None] - values)
    apart[apart < _ROUNDING] = 0
    # The better of two may be worse than seen, and the worse one better.
    below, above = np.array([one.found.slack for one in contenders]).T
    slack = np.where(values[:, None] >= values, np.hypot(below[:, None], above), 0)
    items = np.maximum(items, (np.maximum(slack, slack.T) / stdtrit(n - 1, (1 + LEVEL) / 2)) ** 2)
    sizes = np.array([len(one.runs) for one in contenders])
    alone = np.array([len(one.seeds) == 1 for one in contenders])
    runs = np.array([runs_variance(one.runs) for one in contenders])[:, None]
    runs = runs * (1 + sizes[:, None] * alone)  # beside a single run, which spreads likewise
    dfs = np.maximum(sizes - 1, 1)
    noise = np.array([one.found.noise**2 for one in contenders])
    parts = [items, runs, runs.T, noise[:, None], noise]
    df = welch_df(parts, [n - 1, dfs[:, None], dfs, inf, inf])
    variance = sum(parts, np.zeros(()))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(df, -apart / np.sqrt(variance))
    p = np.where(variance > 0, p, 0)
    return np.where(apart > 0, np.maximum(p, 2.0 ** (1 - n)), 1.0)


def _spread(values: Array) -> Array:
    """Variance of the difference of each two rows, over the columns in which all are defined."""
    values = values[:, np.isfinite(values).all(axis=0)]
    if values.shape[1] < 2:
        return np.zeros((len(values), len(values)))
    covariance = np.atleast_2d(np.cov(values))
    own = np.diag(covariance)
    apart = own[:, None] + own - 2 * covariance
    apart[apart < _ROUNDING * (own[:, None] + own)] = 0
    return np.asarray(apart)
