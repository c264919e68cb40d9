"""The statistics of clustered responses: intervals, standard errors, comparisons.

The responses to one item are not independent, so the item is always the unit that is drawn. A
metric is kept as one row of sufficient statistics per item (`ItemSums`), whose sum over items gives
its value; a bootstrap draw is then one row of a matrix product, however complex the metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from capo_bench.errors import CapoBenchError

Array = NDArray[np.float64]

DRAWS = 10_000
LEVEL = 0.95
"""Coverage of every interval; tests are two-sided at `1 - LEVEL`."""

_CHUNK = 100_000  # sums that are combined at once: few enough to stay in the processor's cache


@dataclass(frozen=True)
class ItemSums:
    """A metric as sums over items.

    Attributes:
        sums: Array of shape (items, d).
        combine: Maps sums of shape (..., d) to values of shape (...); `nan` where undefined. For two
            runs over the same items it must be the same function up to a monotone change of scale.
    """

    sums: Array
    combine: Callable[[Array], Array]

    def value(self) -> float:
        """The metric over all items."""
        return float(self.combine(self.sums.sum(axis=0)))


@dataclass(frozen=True)
class Undefined:
    """A metric that this corpus or these predictions do not define, and why."""

    reason: str


Measured = ItemSums | Undefined


@dataclass(frozen=True)
class Estimate:
    """A metric with its uncertainty.

    Attributes:
        value: The metric.
        stderr: Standard error, clustered on the item; `nan` with fewer than two items.
        low: Lower end of the 95 % interval; `nan` likewise.
        high: Upper end.
    """

    value: float
    stderr: float
    low: float
    high: float

    def within(self, low: float, high: float) -> Estimate:
        """The same, its interval cut where the metric ends; `nan` stays `nan`."""
        ends = (float(np.clip(end, low, high)) for end in (self.low, self.high))
        return Estimate(self.value, self.stderr, *ends)


@dataclass(frozen=True)
class Resampled:
    """A metric over all items, over items drawn with replacement, and without each item in turn.

    All that intervals and tests need to know of it. Differences and means of metrics over the same
    items are those of their resampled values, so that many comparisons cost no further resampling.

    Attributes:
        value: The metric; `nan` where undefined.
        draws: As from `bootstrap`, shape (draws,); empty with fewer than two items.
        without: Its value without each item in turn, shape (items,).
    """

    value: float
    draws: Array
    without: Array

    def minus(self, other: Resampled) -> Resampled:
        """The difference, paired by item.

        Raises:
            CapoBenchError: If the two were not measured on equally many items.
        """
        check_paired(len(self.without), len(other.without))
        return Resampled(
            self.value - other.value, self.draws - other.draws, self.without - other.without
        )


def ratio(sums: Array) -> Array:
    """First column over second column: the mean of what was summed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def item_means(values: ArrayLike, items: NDArray[np.int64], n_items: int) -> ItemSums:
    """The mean of one value per response, clustered on the item.

    Args:
        values: One value per response, shape (responses,).
        items: Index of each response's item, shape (responses,).
        n_items: Number of items.
    """
    columns = np.column_stack([np.asarray(values, dtype=np.float64), np.ones(len(items))])
    return ItemSums(sum_by_item(columns, items, n_items), ratio)


def sum_by_item(values: Array, items: NDArray[np.int64], n_items: int) -> Array:
    """Sums rows of shape (responses, d) into shape (n_items, d)."""
    sums = np.zeros((n_items, values.shape[1]))
    np.add.at(sums, items, values)
    return sums


def bootstrap(metric: ItemSums, *, draws: int = DRAWS, seed: int = 0) -> Array:
    """Values of the metric over items drawn with replacement (Efron 1979).

    The same number of items, draws and seed give the same draws, so that two runs over the same
    items are paired draw by draw.

    Returns:
        Array of shape (draws,).
    """
    counts = _resamples(len(metric.sums), draws, seed)
    return combined(metric, draws, lambda part: counts[part] @ metric.sums)


def estimate(metric: ItemSums, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Value, bootstrap standard error and 95 % interval of a metric.

    The interval is Efron's (1987, https://doi.org/10.2307/2289144) BCa, which corrects the percentile
    interval for bias and skewness, at the levels that Hesterberg (2015,
    https://doi.org/10.1080/00031305.2015.1089789, section 5.3) widens to what Student's t would take;
    the standard error is scaled by sqrt(n / (n - 1)) likewise. With 50 to 100 items the plain
    percentile interval covers .88 to .94 on skewed metrics, this one .93 to .955. Draws in which the
    metric is undefined are left out.

    Where all items give the same, the interval has no width: it says nothing about what was never
    seen (0 of n items are compatible with a rate of up to 3 / n).
    """
    return interval(resample(metric, draws=draws, seed=seed))


def resample(metric: ItemSums, *, draws: int = DRAWS, seed: int = 0) -> Resampled:
    """What `interval` takes; the same draws as `bootstrap`."""
    several = len(metric.sums) > 1
    drawn = bootstrap(metric, draws=draws, seed=seed) if several else np.empty(0)
    return Resampled(metric.value(), drawn, _without_each(metric))


def interval(found: Resampled) -> Estimate:
    """As `estimate`, of a metric that is resampled already."""
    value, n = found.value, len(found.without)
    drawn = found.draws[np.isfinite(found.draws)]
    if len(drawn) < 2 or not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    stderr = drawn.std(ddof=1) * np.sqrt(n / (n - 1))
    low, high = np.quantile(drawn, _bca_levels(found))
    return Estimate(value, float(stderr), float(low), float(high))


def jackknife(metric: ItemSums) -> Estimate:
    """Value of a metric with the jackknife's standard error (Tukey 1958) and a Student's t interval.

    For divergences of sparse histograms and the like: a bootstrap draw holds fewer distinct items
    than the data, which makes such a metric larger in nearly every draw, so that no quantile of the
    draws bounds it. The jackknife's standard error does not suffer from that; what bias the value
    itself has stays in it.
    """
    value, n = metric.value(), len(metric.sums)
    without = _without_each(metric)
    if n < 2 or not np.isfinite(without).all():
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    stderr = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * stderr
    return Estimate(value, stderr, value - reach, value + reach)


def check_paired(ours: int, theirs: int) -> None:
    """Refuses two measurements on different numbers of items.

    Raises:
        CapoBenchError: If the numbers differ.
    """
    if ours != theirs:
        raise CapoBenchError(
            f"one run has {ours} items and the other {theirs}; compare runs over the same items"
        )


def _without_each(metric: ItemSums) -> Array:
    return metric.combine(metric.sums.sum(axis=0) - metric.sums)


def bias_and_skew(found: Resampled) -> tuple[float, float]:
    """Efron's bias correction and acceleration, the two numbers of a BCa interval.

    The first in standard errors, from the draws that are defined; both 0 where nothing varies.
    """
    drawn, value = found.draws[np.isfinite(found.draws)], found.value
    # Half of the ties lie below, as in scipy; never all or none, so that the bias stays finite.
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    bias = ndtri(np.clip(below, 1 / (2 * len(drawn)), 1 - 1 / (2 * len(drawn))))
    without = found.without[np.isfinite(found.without)]
    influence = without.mean() - without if len(without) else without
    spread = (influence**2).sum() ** 1.5
    return float(bias), float((influence**3).sum() / (6 * spread) if spread > 0 else 0.0)


def _bca_levels(found: Resampled) -> Array:
    n = len(found.without)
    bias, skew = bias_and_skew(found)
    tail = bias + np.sqrt(n / (n - 1)) * stdtrit(n - 1, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return np.asarray(ndtr(bias + tail / (1 - skew * tail)))


def combined(metric: ItemSums, draws: int, sums: Callable[[slice], Array]) -> Array:
    """Values of a metric over `draws` rows of sums that `sums` makes, a slice of draws at a time."""
    step = max(1, _CHUNK // metric.sums.shape[1])
    parts = [slice(at, min(at + step, draws)) for at in range(0, draws, step)]
    return np.concatenate([metric.combine(sums(part)) for part in parts])


@lru_cache(maxsize=4)
def _resamples(n: int, draws: int, seed: int) -> Array:
    # How often each item is drawn: a multinomial row per draw.
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    return counts.astype(np.float64)
