"""The figures of a corpus analysis, as PNG for slides and SVG for papers.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), told apart under the common
colour deficiencies; lines also differ in their markers. The same analysis gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capo_bench.analysis.stability import Analysis
from capo_bench.display import visible
from capo_bench.render.figures import GREY, LINES, STYLE, arms, bare, curve
from capo_bench.stats.resampling import Array, Estimate, Undefined

SHOWN_FEATURES = 15
_NAMED = 12  # annotators up to which a matrix shows numbers and names


def draw(analysis: Analysis, folder: Path) -> list[str]:
    """Draws `attribution`, `distances` and `style`, each as `.png` and `.svg`.

    Args:
        analysis: What to draw.
        folder: Where to; files of these names are replaced.

    Returns:
        The names of the files.
    """
    figures: dict[str, Callable[[Analysis], Figure]] = {
        "attribution": attribution_figure,
        "distances": distances_figure,
        "style": style_figure,
    }
    written = []
    names = tuple(map(visible, analysis.annotators))
    analysis = replace(analysis, corpus=visible(analysis.corpus), annotators=names)
    with rc_context(STYLE):
        for name, build in figures.items():
            figure = build(analysis)
            for form, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                written.append(f"{name}.{form}")
                figure.savefig(folder / written[-1], format=form, metadata=metadata)
    return written


def attribution_figure(analysis: Analysis) -> Figure:
    """Share of groups attributed to their writer over the group size, a line for each variant."""
    figure = Figure(figsize=(5.6, 4.1), layout="constrained")
    axes = figure.subplots()
    variants = list(dict.fromkeys(point.variant for point in analysis.curve))
    for variant, line in zip(variants, LINES[: len(variants)], strict=True):
        found = [
            (point.k, point.share)
            for point in analysis.curve
            if point.variant == variant and isinstance(point.share, Estimate)
        ]
        curve(axes, variant, found, line)
    if np.isfinite(analysis.chance):
        axes.axhline(analysis.chance, color=GREY, linestyle=":", linewidth=1.2, label="guessing")
    reasons = [point.share.reason for point in analysis.curve if isinstance(point.share, Undefined)]
    if len(reasons) == len(analysis.curve):
        why = fill(f"Not defined, because {reasons[0]}.", 50)
        axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)
    ticks = sorted({point.k for point in analysis.curve if isinstance(point.share, Estimate)})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("explanations in a group, k")
    axes.set_ylabel("share attributed to their writer")
    axes.set_title(f"Who wrote it? {analysis.title}, {analysis.split}")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def distances_figure(analysis: Analysis) -> Figure:
    """Distances of style features as a matrix: evaluated explanations against training ones."""
    values = np.array(analysis.distances)
    n = len(values)
    named = n <= _NAMED
    side = max(0.75 * n, 2.6) + 1.2 if named else 6.5
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="Blues", vmin=0)
    bare(axes)
    if named:
        axes.set_xticks(range(n), analysis.annotators)
        axes.set_yticks(range(n), analysis.annotators)
        for (row, column), value in np.ndenumerate(values):
            dark = value > 0.6 * values.max()
            axes.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                color="white" if dark else "black",
                fontweight="bold" if row == column else "normal",
            )
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        figure.colorbar(image, ax=axes, shrink=0.85)
    axes.set_xlabel("training explanations of")
    axes.set_ylabel(f"{analysis.split} explanations of")
    # matplotlib's own wrapping takes dollars for mathematics, whatever it is told.
    title = f"{analysis.title}: mean Jensen-Shannon distance of style features"
    axes.set_title(fill(title, int(13 * side)))
    return figure


def style_figure(analysis: Analysis) -> Figure:
    """The most telling style features, and what each annotator does more or less than the others."""
    shown = analysis.features[:SHOWN_FEATURES]
    at = np.arange(len(shown))
    columns = len(analysis.annotators)
    named = columns <= _NAMED
    width = 0.62 * columns if named else 4.5
    figure = Figure(figsize=(6.6 + width, 0.32 * len(shown) + 1.5), layout="constrained")
    bars, matrix = figure.subplots(1, 2, width_ratios=(3.4, max(width, 2.2)))
    estimates = [feature.divergence for feature in shown]
    values = np.array([found.value for found in estimates])
    bars.barh(at, values, color=LINES[0][0], height=0.66)
    bars.errorbar(values, at, xerr=arms(estimates), fmt="none", ecolor="black", elinewidth=1)
    chance = [feature.chance for feature in shown]
    bars.plot(chance, at, "|", color=LINES[1][0], markersize=11, markeredgewidth=2, label="chance")
    bars.set_yticks(at, [feature.name for feature in shown])
    bars.set_ylim(len(shown) - 0.5, -0.5)
    bars.tick_params(axis="y", length=0)
    bars.set_xlim(0)
    bars.set_xlabel("divergence between annotators, bits")
    bars.set_title("What tells the writer")
    bars.legend(frameon=False, loc="lower right", handletextpad=0.1)
    figure.suptitle(f"Style of the annotators, {analysis.title}", x=0.01, ha="left")
    deviations = np.array([list(feature.deviations.values()) for feature in shown])
    _deviation_matrix(matrix, deviations, analysis.annotators if named else ())
    figure.colorbar(matrix.images[0], ax=matrix, shrink=0.85, label="above or below the mean, sd")
    return figure


def _deviation_matrix(axes: Axes, deviations: Array, names: tuple[str, ...]) -> None:
    reach = float(np.abs(deviations).max())
    axes.imshow(deviations, cmap="PuOr", vmin=-reach, vmax=reach, aspect="auto")
    bare(axes)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks([])
    axes.set_title("Who does it more or less" if names else f"{deviations.shape[1]} annotators")
    for (row, column), value in np.ndenumerate(deviations):
        if names:
            colour = "white" if abs(value) > 0.65 * reach else "black"
            axes.text(
                column,
                row,
                f"{round(value, 1) + 0.0:+.1f}",
                ha="center",
                va="center",
                color=colour,
                fontsize=8,
            )
