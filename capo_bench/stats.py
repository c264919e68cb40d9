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

Array = NDArray[np.float64]

DRAWS = 1000
_CHUNK = 4_000_000  # numbers in memory at once while drawing


@dataclass(frozen=True)
class ItemSums:
    """A metric as sums over items.

    Attributes:
        sums: Array of shape (items, d).
        combine: Maps sums of shape (..., d) to values of shape (...); `nan` where undefined.
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
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    value: float
    stderr: float
    low: float
    high: float


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
    n, d = metric.sums.shape
    counts = _resamples(n, draws, seed)
    step = max(1, _CHUNK // max(d, 1))
    return np.concatenate(
        [metric.combine(counts[at : at + step] @ metric.sums) for at in range(0, draws, step)]
    )


def estimate(metric: ItemSums, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Value, bootstrap standard error and 95 % percentile interval of a metric."""
    value = metric.value()
    if len(metric.sums) < 2:
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    drawn = bootstrap(metric, draws=draws, seed=seed)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < 2:
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(drawn.std(ddof=1)), float(low), float(high))


@lru_cache(maxsize=4)
def _resamples(n: int, draws: int, seed: int) -> Array:
    # How often each item is drawn: a multinomial row per draw.
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    return counts.astype(np.float64)
