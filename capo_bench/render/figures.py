"""The look of every figure that matplotlib draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from capo_bench.stats.resampling import Array, Estimate

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 200,
    "svg.hashsalt": "capo-bench",
    "svg.fonttype": "path",
    "text.parse_math": False,
}
# Colours of Okabe and Ito, marker, and a factor that sets curves side by side where they agree.
LINES = (
    ("#0072B2", "o", 0.97),
    ("#D55E00", "s", 1.0),
    ("#009E73", "^", 1.03),
    ("#CC79A7", "D", 0.985),
    ("#E69F00", "v", 1.015),
)
GREY = "#666666"


def bare(axes: Axes) -> None:
    """Takes the frame and the ticks away."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def curve(
    axes: Axes, label: str, points: Sequence[tuple[float, Estimate]], line: tuple[str, str, float]
) -> None:
    """Draws estimates over a logarithmic axis, with their intervals, as one of `LINES`."""
    colour, marker, shift = line
    axes.errorbar(
        [at * shift for at, _ in points],  # side by side, where curves agree
        [found.value for _, found in points],
        yerr=arms([found for _, found in points]),
        color=colour,
        marker=marker,
        markersize=5,
        elinewidth=1,
        label=label,
    )


def arms(estimates: list[Estimate]) -> Array:
    """Lengths of error bars below and above, shape (2, estimates)."""
    # A percentile interval need not hold its value; an arm of negative length cannot be drawn.
    lengths = [(found.value - found.low, found.high - found.value) for found in estimates]
    return np.array(lengths).clip(min=0).T
