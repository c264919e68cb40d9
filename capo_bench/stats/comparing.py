"""Runs over the same items compared: paired differences, seeds, permutation tests, Holm, power.

The item is the unit that is drawn and swapped, as in `capo_bench.stats.resampling`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from capo_bench.stats.resampling import (
    DRAWS,
    LEVEL,
    Array,
    Estimate,
    ItemSums,
    check_paired,
    combined,
    weighted_sums,
)

POWER = 0.8


def difference(ours: ItemSums, theirs: ItemSums) -> ItemSums:
    """Our value minus theirs, paired by item.

    Raises:
        CapoBenchError: If the two were not measured on equally many items.
    """
    check_paired(len(ours.sums), len(theirs.sums))
    width = ours.sums.shape[1]
    return ItemSums(
        np.hstack([ours.sums, theirs.sums]),
        lambda sums: ours.combine(sums[..., :width]) - theirs.combine(sums[..., width:]),
        (ours.bounds[0] - theirs.bounds[1], ours.bounds[1] - theirs.bounds[0]),
        float(np.hypot(ours.noise, theirs.noise)),
    )


def runs_mean(runs: Sequence[ItemSums]) -> ItemSums:
    """The mean over several runs (seeds) of one system, as one metric of the same items.

    Raises:
        CapoBenchError: As `difference` does.
    """
    for run in runs[1:]:
        check_paired(len(runs[0].sums), len(run.sums))
    ends = np.cumsum([run.sums.shape[1] for run in runs])[:-1]

    def combine(sums: Array) -> Array:
        parts = np.split(sums, ends, axis=-1)
        values = [run.combine(part) for run, part in zip(runs, parts, strict=True)]
        return np.asarray(np.mean(values, axis=0))

    noise = float(np.sqrt(sum(run.noise**2 for run in runs))) / len(runs)
    sums = np.hstack([run.sums for run in runs])
    return ItemSums(sums, combine, runs[0].bounds, noise, runs[0].floor, runs[0].worst)


def runs_variance(values: Sequence[float]) -> float:
    """Variance of the mean of a metric over runs (seeds) that comes from their spread: s^2 / S.

    Args:
        values: The metric of each run. One run tells nothing of the spread and gives 0.
    """
    return float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0


def between_runs(systems: Sequence[Sequence[float]]) -> list[tuple[float, int]]:
    """Variances that the spread between runs (seeds) adds, each with its degrees of freedom.

    Where one system of a difference has a single run and the other several, the one is taken to
    spread as the other does, s^2 (1 + 1 / S) in all: two systems with the same variance of runs
    (Student's pooled estimate), of which one run tells nothing. With a single run each, nothing is
    known of their spread, and nothing is added.

    Args:
        systems: For the system, or each of the two of a difference, the metric of each of its runs;
            empty for what has no seed, and so no spread.
    """
    several = [runs for runs in systems if len(runs) > 1]
    alone = sum(len(runs) == 1 for runs in systems)
    return [(runs_variance(runs) * (1 + len(runs) * alone), len(runs) - 1) for runs in several]


def welch_df(variances: Sequence[ArrayLike], dfs: Sequence[ArrayLike]) -> Array:
    """Degrees of freedom of a sum of independent variance estimates (Satterthwaite 1946).

    https://doi.org/10.2307/3002019; elementwise; `nan` where all variances are 0.
    """
    parts = [np.asarray(v, dtype=np.float64) for v in variances]
    spread = sum((v**2 / np.asarray(df) for v, df in zip(parts, dfs, strict=True)), np.zeros(()))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sum(parts, np.zeros(())) ** 2 / spread)


def with_runs(found: Estimate, n_items: int, systems: Sequence[Sequence[float]]) -> Estimate:
    """An estimate over items, widened by the spread between the runs behind it.

    Runs and items are independent sources of error, so their variances add. What Student's t then
    takes more than for the items alone is added to either arm of the interval by the square root of
    the sum of squares, which leaves what else an arm holds (skewness, items that were not seen).

    Args:
        found: A metric of one system, or a difference of two, each the mean over its runs.
        n_items: Number of items.
        systems: As `between_runs` takes them.
    """
    between = between_runs(systems)
    if not np.isfinite(found.stderr) or not sum(variance for variance, _ in between):
        return found
    variances = [found.stderr**2, *(variance for variance, _ in between)]
    df = float(welch_df(variances, [n_items - 1, *(df for _, df in between)]))
    stderr = float(np.sqrt(sum(variances)))
    reach = stderr * float(stdtrit(df, (1 + LEVEL) / 2))
    items_alone = found.stderr * float(stdtrit(n_items - 1, (1 + LEVEL) / 2))
    more = np.sqrt(max(reach**2 - items_alone**2, 0.0))
    arms = (found.value - found.low, found.high - found.value)
    below, above = (float(np.hypot(arm, more)) for arm in arms)
    return Estimate(found.value, stderr, found.value - below, found.value + above)


def permutation_p(ours: ItemSums, theirs: ItemSums, *, draws: int = DRAWS, seed: int = 0) -> float:
    """Two-sided p-value of the hypothesis that the two runs are exchangeable within items.

    Each draw swaps the two runs in a random half of the items; p is the share of draws, the actual
    assignment among them, whose difference is at least as large (Phipson and Smyth 2010,
    https://doi.org/10.2202/1544-6115.1585). A draw in which the metric is undefined counts as larger.

    Raises:
        CapoBenchError: As `difference` does.
    """
    width = ours.sums.shape[1]
    both = difference(ours, theirs).sums
    # One function for both runs: else swapping everything would not turn the difference round.
    metric = ItemSums(
        both, lambda sums: ours.combine(sums[..., :width]) - ours.combine(sums[..., width:])
    )
    total = both.sum(axis=0)
    changes = weighted_sums(_swaps(len(both), draws, seed), np.roll(both, width, axis=1) - both)
    drawn = np.abs(combined(metric, draws, lambda part: total + changes(part)))
    # Equal but for rounding is equal.
    smaller = np.count_nonzero(drawn < abs(metric.value()) * (1 - 1e-9) - 1e-12)
    return (1 + draws - smaller) / (1 + draws)


def minimum_detectable_effect(stderr: float, n_items: int) -> float:
    """The smallest true difference that a two-sided test at .05 finds with power .8.

    (t(.975) + t(.8)) standard errors, with n_items - 1 degrees of freedom (Bloom 1995,
    https://doi.org/10.1177/0193841X9501900504).

    Args:
        stderr: Standard error of the difference between two runs.
        n_items: Number of items behind it.
    """
    if n_items < 2:
        return float("nan")
    return float(stderr * stdtrit(n_items - 1, [(1 + LEVEL) / 2, POWER]).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being several, in the same order (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@lru_cache(maxsize=4)
def _swaps(n: int, draws: int, seed: int) -> NDArray[np.int16]:
    # 1 where the two runs are swapped.
    return np.random.default_rng(seed).integers(2, size=(draws, n)).astype(np.int16)
