"""The statistics of clustered responses: intervals, standard errors, comparisons.

The responses to one item are not independent, so the item is always the unit that is drawn. A
metric is kept as one row of sufficient statistics per item (`ItemSums`), whose sum over items gives
its value; a bootstrap draw is then one row of a matrix product, however complex the metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, isfinite, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr, ndtri, stdtrit

from capo_bench.errors import CapoBenchError

Array = NDArray[np.float64]
Weights = NDArray[np.int16] | NDArray[np.float64]
Bounds = tuple[float, float]
"""The smallest and the largest value that a metric can have."""

DRAWS = 10_000
LEVEL = 0.95
"""Coverage of every interval; tests are two-sided at `1 - LEVEL`."""

_CHUNK = 100_000  # sums that are combined at once: few enough to stay in the processor's cache
_SPARSE = 0.05  # share of sums that are not zero, below which a sparse product is the faster one
_AS_FLOATS = 5_000_000  # weights that are kept as floats, 40 MB of them
_ROUNDING = 1e-9  # what is equal but for rounding is equal, whatever order sums were added in
_BEYOND = 1.5  # how far from the value one item more may be, in distances of the farthest seen
_MOST_BIAS = 0.5  # standard errors of median bias that BCa corrects; beyond it its levels run away


@dataclass(frozen=True)
class ItemSums:
    """A metric as sums over items.

    Attributes:
        sums: Array of shape (items, d). A row of zeros is an item that the metric was not taken on.
        combine: Maps sums of shape (..., d) to values of shape (...); `nan` where undefined. For two
            runs over the same items it must be the same function up to a monotone change of scale.
        bounds: The smallest and the largest value that the metric can have. They give the interval
            width where all items say the same (`interval`).
        noise: Standard error that does not come from which items were drawn, such as that of a
            classifier fitted with random folds, when the metric is the mean over a few fits:
            s / sqrt(fits). Intervals, tests and ranks add its square as a variance independent of
            the items' and of every other run's.
        floor: What the metric is where nothing was achieved, if that is not its smallest value: a
            metric that may be negative by chance alone is as much at its floor at 0.
        worst: What an item counts of which nothing can be read, where that is far from what it counts
            otherwise: few such items decide, and most samples have none (`prior_reach`).
    """

    sums: Array
    combine: Callable[[Array], Array]
    bounds: Bounds = (-inf, inf)
    noise: float = 0.0
    floor: float | None = None
    worst: float | None = None

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
        bounds: As in `ItemSums`.
        span: From where nothing was achieved (`ItemSums.floor`, or else the lower bound) to the upper
            bound: between which items that were not seen are taken to lie.
        noise: As in `ItemSums`.
        worst: The least and the largest that an item counts of which nothing can be read
            (`ItemSums.worst`), whether one was seen or not; inf and -inf where that says nothing.
        seen: Number of items that the metric was taken on.
        slack: How far below and above the value the truth may lie, at least, because of items of a
            kind that was not seen.
    """

    value: float
    draws: Array
    without: Array
    bounds: Bounds = (-inf, inf)
    span: Bounds = (-inf, inf)
    worst: Bounds = (inf, -inf)
    noise: float = 0.0
    seen: int = 1
    slack: tuple[float, float] = (0.0, 0.0)

    @property
    def unseen(self) -> float:
        """The largest share of all items there are of which none need be among those drawn.

        1 - .025^(1/n) for n items (the exact binomial bound; about 3.7 / n); see `interval`.
        """
        return float(1 - ((1 - LEVEL) / 2) ** (1 / self.seen))

    def minus(self, other: Resampled) -> Resampled:
        """The difference, paired by item; noise and slack of the two are independent.

        Raises:
            CapoBenchError: If the two were not measured on equally many items.
        """
        check_paired(len(self.without), len(other.without))
        found = Resampled(
            self.value - other.value,
            self.draws - other.draws,
            self.without - other.without,
            (self.bounds[0] - other.bounds[1], self.bounds[1] - other.bounds[0]),
            (self.span[0] - other.span[1], self.span[1] - other.span[0]),
            # Nothing could be read of one of the two.
            (
                min(self.worst[0] - other.value, self.value - other.worst[1]),
                max(self.worst[1] - other.value, self.value - other.worst[0]),
            ),
            float(np.hypot(self.noise, other.noise)),
            min(self.seen, other.seen),
        )
        # Limits of a difference from those of its parts (Newcombe 1998, method 10; Zou and Donner
        # 2008, https://doi.org/10.1002/sim.3095).
        below = float(np.hypot(self.slack[0], other.slack[1]))
        above = float(np.hypot(self.slack[1], other.slack[0]))
        if _constant(found) and not (_constant(self) and _constant(other)):
            # They differ on no item, whatever each of them does: what differs was not seen.
            alike = _slack(found)
            below, above = max(below, alike[0]), max(above, alike[1])
        return replace(found, slack=(below, above))

    def turned(self) -> Resampled:
        """The metric times -1, for one that should be low."""
        return Resampled(
            -self.value,
            -self.draws,
            -self.without,
            (-self.bounds[1], -self.bounds[0]),
            (-self.span[1], -self.span[0]),
            (-self.worst[1], -self.worst[0]),
            self.noise,
            self.seen,
            (self.slack[1], self.slack[0]),
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


def linearised(value: float, change: Array) -> ItemSums:
    """A metric that is no function of sums over items, by what each item changes in it.

    Each item carries its jackknife pseudo-value (Tukey 1958; Miller 1974,
    https://doi.org/10.1093/biomet/61.1.1), centred so that their mean is the metric. To first order a
    draw of items then gives what the metric of these items would be.

    Args:
        value: The metric over all items.
        change: By how much it changes when each item is left out, shape (items,).
    """
    own = _pseudo_values(value, change)
    return ItemSums(np.column_stack([own, np.ones(len(own))]), ratio)


def _pseudo_values(value: float, change: Array) -> Array:
    return np.asarray(value - (len(change) - 1) * (change - change.mean()))


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
    return combined(metric, draws, weighted_sums(counts, metric.sums))


def estimate(metric: ItemSums, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Value, standard error and 95 % interval of a metric; see `interval`."""
    return interval(resample(metric, draws=draws, seed=seed))


def resample(metric: ItemSums, *, draws: int = DRAWS, seed: int = 0) -> Resampled:
    """What `interval` takes; the same draws as `bootstrap`."""
    several = len(metric.sums) > 1
    drawn = bootstrap(metric, draws=draws, seed=seed) if several else np.empty(0)
    found = Resampled(
        metric.value(),
        drawn,
        _without_each(metric),
        metric.bounds,
        (metric.bounds[0] if metric.floor is None else metric.floor, metric.bounds[1]),
        (inf, -inf) if metric.worst is None else (metric.worst, metric.worst),
        metric.noise,
        max(int(metric.sums.any(axis=1).sum()), 1),
    )
    return replace(found, slack=_slack(found))


def interval(found: Resampled) -> Estimate:
    """Value, standard error and 95 % interval of a metric that is resampled already.

    *Items.* The interval is Efron's (1987, https://doi.org/10.2307/2289144) BCa, which corrects the
    percentile interval for bias and skewness, at the levels that Hesterberg (2015,
    https://doi.org/10.1080/00031305.2015.1089789, section 5.3) widens to what Student's t would take;
    the standard error is scaled by sqrt(n / (n - 1)) likewise, and both by `widening`. Where nearly
    all draws lie on one side of the value, as with divergences of sparse histograms, BCa's levels run
    away and may miss the value itself: the interval is then the jackknife's (`jackknife`). Draws in
    which the metric is undefined are left out.

    *What was not seen.* If no item of n does a thing, up to a share u = 1 - .025^(1/n) of all items
    may do it (Clopper and Pearson 1934 for no success in n; two-sided, the rule of three with 3.7 for
    3). The item is the unit, however many responses it has: nothing was seen of how they hang
    together. So in a metric's bounds [low, high] the interval reaches at least u (high - low) from
    the bound that the value lies at or near, and where all items say the same, u times the way to
    either bound. A metric without bounds then has no interval (`nan`). A value that is farther from
    a bound by less than half an item at the other is not told from the bound. A difference is given
    what its parts have by the square root of the sum of squares (`Resampled.minus`).

    *What was seldom seen.* Where few items of a kind carry much of the value, most draws of n items
    tell of fewer than there are. So the interval reaches at least what `prior_reach` says.

    *Noise* (`ItemSums.noise`) is added to both arms in the same way.

    Returns:
        Always low <= value <= high, or `nan` for all but the value.
    """
    value, n = found.value, len(found.without)
    drawn = found.draws[np.isfinite(found.draws)]
    if len(drawn) < 2 or not isfinite(value):
        return Estimate(value, nan, nan, nan)
    if _constant(found) and not (isfinite(found.bounds[0]) and isfinite(found.bounds[1])):
        return Estimate(value, nan, nan, nan)
    stderr, below, above = _reach(found)
    prior = prior_reach(found)
    below, above = max(below, found.slack[0], prior[0]), max(above, found.slack[1], prior[1])
    stderr = max(stderr, max(found.slack) / float(stdtrit(n - 1, (1 + LEVEL) / 2)))
    if found.noise:
        reach = found.noise * float(ndtri((1 + LEVEL) / 2))
        stderr, below, above = (
            float(np.hypot(stderr, found.noise)),
            float(np.hypot(below, reach)),
            float(np.hypot(above, reach)),
        )
    low, high = min(found.bounds[0], value), max(found.bounds[1], value)
    return Estimate(value, stderr, value - below, value + above).within(low, high)


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
        return Estimate(value, nan, nan, nan)
    stderr = _jackknife_error(without)
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


def weighted_sums(weights: Weights, sums: Array) -> Callable[[slice], Array]:
    """Sums over items, each times its weight, for a slice of draws.

    In a crowd an item has values for the few who answered it, so that a product that skips zeros is
    linear in the number of responses instead of items times annotators.

    Args:
        weights: Shape (draws, items).
        sums: Shape (items, d).
    """
    if np.count_nonzero(sums) > _SPARSE * sums.size:
        return lambda part: np.asarray(weights[part].astype(np.float64, copy=False) @ sums)
    columns = csr_array(sums.T)
    return lambda part: np.asarray((columns @ weights[part].astype(np.float64, copy=False).T).T)


def _without_each(metric: ItemSums) -> Array:
    return metric.combine(metric.sums.sum(axis=0) - metric.sums)


def bias_and_skew(found: Resampled) -> tuple[float, float] | None:
    """Efron's bias correction and acceleration, the two numbers of a BCa interval.

    The first in standard errors, from the draws that are defined; both 0 where nothing varies.

    Returns:
        `None` where the bias is larger than BCa can correct.
    """
    drawn, value = found.draws[np.isfinite(found.draws)], found.value
    # Half of the ties lie below, as in scipy; never all or none, so that the bias stays finite.
    tied = np.abs(drawn - value) <= _ROUNDING * max(1.0, abs(value))
    below = ((drawn < value) & ~tied).mean() + tied.mean() / 2
    bias = float(ndtri(np.clip(below, 1 / (2 * len(drawn)), 1 - 1 / (2 * len(drawn)))))
    without = found.without[np.isfinite(found.without)]
    influence = without.mean() - without if len(without) else without
    spread = (influence**2).sum() ** 1.5
    skew = float((influence**3).sum() / (6 * spread) if spread > 0 else 0.0)
    return (bias, skew) if abs(bias) <= _MOST_BIAS else None


def jackknife_error(found: Resampled) -> float:
    """The jackknife's standard error; the bootstrap's where the metric needs each single item."""
    n = len(found.without)
    if np.isfinite(found.without).all():
        return _jackknife_error(found.without)
    drawn = found.draws[np.isfinite(found.draws)]
    return float(drawn.std(ddof=1) * np.sqrt(n / (n - 1)))


def prior_reach(found: Resampled) -> tuple[float, float]:
    """How far an interval reaches below and above the value with half an item more at each end.

    Half a success and half a failure more are Jeffreys' prior of a share, whose interval covers about
    as often as it says near 0 and 1 as well (Brown, Cai and DasGupta 2001,
    https://doi.org/10.1214/ss/1009213286); of a difference, half an item of either direction more is
    what Agresti and Min advise (2005, https://doi.org/10.1002/sim.1781). Of any metric, here, items
    weigh as in the Bayesian bootstrap (Rubin 1981, https://doi.org/10.1214/aos/1176345338) with their
    jackknife pseudo-values, and half an item at each end of `Resampled.span`, or half again as far to
    either side of the value as the farthest item seen, where that is nearer: a contrast may be 1 or
    -1 in theory while no item is beyond .2. `Resampled.worst` is an end in any case: that no such
    item was seen does not say that there is none. The first three moments of such a mean are known
    (Dirichlet weights), and its quantiles follow by Cornish and Fisher (1938,
    https://doi.org/10.2307/1400905). Where all items say the same, `Resampled.slack` has the exact
    bound. Of a metric without any bound nothing is said.
    """
    bounded = np.isfinite(found.span).any() and np.isfinite(found.without).all()
    if not bounded or _constant(found):
        return 0.0, 0.0
    items = _pseudo_values(found.value, found.without - found.value)
    far = _BEYOND * float(np.abs(items - found.value).max())
    least, most = min(found.value - far, found.worst[0]), max(found.value + far, found.worst[1])
    values = np.append(items, np.clip(found.span, least, most))
    weights = np.append(np.ones(len(items)), [0.5, 0.5])
    total = weights.sum()
    mean = float(weights @ values / total)
    apart = values - mean
    spread = float(np.sqrt(weights @ apart**2 / (total * (total + 1))))
    if spread <= _ROUNDING * max(1.0, abs(found.value)):
        return 0.0, 0.0
    skew = 2 * float(weights @ apart**3) / (total * (total + 1) * (total + 2) * spread**3)
    normal = ndtri([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = mean + spread * (normal + (normal**2 - 1) * skew / 6)
    return max(found.value - float(low), 0.0), max(float(high) - found.value, 0.0)


def widening(found: Resampled) -> float:
    """The jackknife's standard error over the bootstrap's, where it is the larger one; else 1.

    They agree for means. Of a metric that divides by what few items make up, such as the kappa of an
    annotator with a dozen of them, the bootstrap's is too small; the jackknife's errs upwards (Efron
    and Stein 1981, https://doi.org/10.1214/aos/1176345462).
    """
    drawn, n = found.draws[np.isfinite(found.draws)], len(found.without)
    spread = float(drawn.std(ddof=1) * np.sqrt(n / (n - 1)))
    return max(1.0, jackknife_error(found) / spread) if spread > 0 else 1.0


def _jackknife_error(without: Array) -> float:
    n = len(without)
    return float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))


def _reach(found: Resampled) -> tuple[float, float, float]:
    """Standard error over items, and how far the interval over items reaches below and above."""
    value, n = found.value, len(found.without)
    drawn = found.draws[np.isfinite(found.draws)]
    corrected = bias_and_skew(found)
    if corrected is not None:
        low, high = np.quantile(drawn, _bca_levels(*corrected, n))
        slip = _ROUNDING * max(1.0, abs(value))
        if low <= value + slip and high >= value - slip:
            wider = widening(found)
            stderr = float(drawn.std(ddof=1) * np.sqrt(n / (n - 1)))
            return wider * stderr, wider * max(value - low, 0.0), wider * max(high - value, 0.0)
    stderr = jackknife_error(found)
    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * stderr
    return stderr, reach, reach


def _bca_levels(bias: float, skew: float, n: int) -> Array:
    tail = bias + np.sqrt(n / (n - 1)) * stdtrit(n - 1, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return np.asarray(ndtr(bias + tail / (1 - skew * tail)))


def _constant(found: Resampled) -> bool:
    """Whether the value is the same whichever items are drawn."""
    drawn = found.draws[np.isfinite(found.draws)]
    return not len(drawn) or bool(np.ptp(drawn) <= _ROUNDING * max(1.0, abs(found.value)))


def _slack(found: Resampled) -> tuple[float, float]:
    """`Resampled.slack` of a metric by itself."""
    (low, high), value = found.span, found.value
    if not (isfinite(low) and isfinite(high) and isfinite(value)):
        return 0.0, 0.0
    if _constant(found):
        return found.unseen * (value - low), found.unseen * (high - value)
    reach = found.unseen * (high - low)
    below, above = max(0.0, value - high + reach), max(0.0, low + reach - value)
    half = (high - low) / (2 * found.seen)
    if value - low < half:
        below = max(below, value - low)
    if high - value < half:
        above = max(above, high - value)
    return below, above


def combined(metric: ItemSums, draws: int, sums: Callable[[slice], Array]) -> Array:
    """Values of a metric over `draws` rows of sums that `sums` makes, a slice of draws at a time."""
    step = max(1, _CHUNK // metric.sums.shape[1])
    parts = [slice(at, min(at + step, draws)) for at in range(0, draws, step)]
    return np.concatenate([metric.combine(sums(part)) for part in parts])


@lru_cache(maxsize=4)
def _resamples(n: int, draws: int, seed: int) -> Weights:
    # How often each item is drawn: a multinomial row per draw. Few are kept as products take them.
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    return counts.astype(np.float64) if counts.size <= _AS_FLOATS else counts.astype(np.int16)
