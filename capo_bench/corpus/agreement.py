"""Agreement between annotators: Cohen's kappa and Krippendorff's alpha."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Value = TypeVar("Value", bound=Hashable)
Weights = Literal["quadratic"]


def kappa(confusion: ArrayLike, weights: Weights | None = None) -> NDArray[np.float64]:
    """Cohen's kappa of one or many confusion matrices.

    1 - (sum of w * observed) / (sum of w * expected), with w = 1 off the diagonal (Cohen 1960) or,
    for `quadratic`, w = (i - j)^2 (Cohen 1968).

    Args:
        confusion: Counts of shape (..., c, c); any leading axes.
        weights: `None` for nominal categories; `quadratic` for ordered, equally spaced ones.

    Returns:
        Array of shape (...), at most 1; `nan` where it is undefined: nothing was counted, or both
        sides always used one and the same category.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    position = np.arange(counts.shape[-1])
    apart = np.subtract.outer(position, position)
    cost = (apart**2 if weights == "quadratic" else apart != 0).astype(np.float64)
    total = counts.sum(axis=(-2, -1))
    observed = (counts * cost).sum(axis=(-2, -1)) * total
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    expected = np.einsum("...i,ij,...j->...", rows, cost, columns)
    ratio = np.divide(observed, expected, out=np.full_like(expected, np.nan), where=expected > 0)
    return np.asarray(1 - ratio)


def krippendorff_alpha(
    units: Iterable[Collection[Value]], distance: Callable[[Value, Value], float]
) -> float:
    """Krippendorff's alpha (Content Analysis, 3rd edition, chapter 12).

    Args:
        units: For each unit the values that its coders gave, in any order and number; who gave none
            is left out. Units with fewer than two values have no say.
        distance: `nominal`, `interval`, `masi`, or any other with d(x, x) = 0 and d(x, y) = d(y, x).

    Returns:
        At most 1; 0 is agreement by chance. `nan` where it is undefined: no unit has two values, or
        all values are the same.
    """
    pairable = [tuple(unit) for unit in units if len(unit) > 1]
    values = list(dict.fromkeys(value for unit in pairable for value in unit))
    index = {value: column for column, value in enumerate(values)}
    counts = np.zeros((len(pairable), len(values)))
    for row, unit in enumerate(pairable):
        for value in unit:
            counts[row, index[value]] += 1
    cost = np.array([[distance(x, y) for y in values] for x in values]).reshape(2 * (len(values),))
    n = counts.sum()
    within = ((counts @ cost) * counts).sum(axis=1) / (counts.sum(axis=1) - 1)
    across = counts.sum(axis=0) @ cost @ counts.sum(axis=0)
    return float(1 - (n - 1) * within.sum() / across) if across > 0 else float("nan")


def nominal(x: Hashable, y: Hashable) -> float:
    """0 for equal values, else 1."""
    return float(x != y)


def interval(x: float, y: float) -> float:
    """Squared difference."""
    return float((x - y) ** 2)


def masi(x: frozenset[str], y: frozenset[str]) -> float:
    """Distance of two sets by Measuring Agreement on Set-valued Items (Passonneau 2006).

    1 - J * M, with J their Jaccard index and M = 1 if they are equal, 2/3 if one holds the other, 1/3
    if they overlap, 0 if not.
    """
    if x == y:
        return 0.0
    if not x & y:
        return 1.0
    monotonicity = 2 / 3 if x < y or y < x else 1 / 3
    return 1 - monotonicity * len(x & y) / len(x | y)
