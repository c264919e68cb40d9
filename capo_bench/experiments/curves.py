"""The figure of a study: metrics over what it varies, a line for each kind of system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capo_bench.display import visible
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.registry import Metric, shown_in
from capo_bench.render.figures import GREY, LINES, STYLE, curve
from capo_bench.stats.resampling import Estimate, Undefined

Estimates = Mapping[str, Estimate | Undefined]

_DASHES = ("--", ":")
_ACROSS = 3


def draw(
    title: str,
    x: str,
    points: Sequence[tuple[str, float, Estimates]],
    references: Mapping[str, Estimates],
    file: Path,
) -> None:
    """Draws one panel a metric as SVG; the same points give the same bytes.

    Args:
        title: What the study asks.
        x: What it varies.
        points: Line, place along it, and what was measured there.
        references: By name, rows that do not depend on `x`, at most two.
        file: Where to.

    Raises:
        CapoBenchError: If there are more lines than can be told apart.
    """
    if len(names := {line for line, _, _ in points}) > len(LINES):
        raise CapoBenchError(
            f"{len(names)} curves, of which a figure tells {len(LINES)} apart; give fewer rows a "
            "curve in study.yaml"
        )
    points = [(visible(line), place, found) for line, place, found in points]
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.6), layout="constrained")
        metrics = shown_in("study")
        panels = figure.subplots(-(-len(metrics) // _ACROSS), _ACROSS).flat
        for axes in panels[len(metrics) :]:
            axes.set_visible(False)
        for axes, metric in zip(panels, metrics, strict=False):
            _panel(axes, metric, points, references)
            axes.set_title(metric.title)
            axes.set_xlabel(visible(x))
        figure.suptitle(visible(title), x=0.01, ha="left")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(file, format=file.suffix[1:], metadata={"Date": None})


def _panel(
    axes: Axes,
    metric: Metric,
    points: Sequence[tuple[str, float, Estimates]],
    references: Mapping[str, Estimates],
) -> None:
    labels = list(dict.fromkeys(label for label, _, _ in points))
    ticks = sorted({at for _, at, _ in points})
    logarithmic = all(at > 0 for at in ticks)
    for label, (colour, marker, shift) in zip(labels, LINES[: len(labels)], strict=True):
        found = [
            (at, one)
            for name, at, estimates in sorted(points, key=lambda point: point[1])
            if name == label and isinstance(one := estimates[metric.name], Estimate)
        ]
        curve(axes, label, found, (colour, marker, shift if logarithmic else 1.0))
    for (name, estimates), dashes in zip(references.items(), _DASHES, strict=False):
        if isinstance(one := estimates[metric.name], Estimate):
            axes.axhline(one.value, color=GREY, linestyle=dashes, linewidth=1.2, label=name)
    if metric.bounds == (0, 1):
        axes.set_ylim(0, 1.02)
    axes.set_xscale("log" if logarithmic else "linear")
    axes.set_xticks(ticks, [f"{at:g}" for at in ticks])
    axes.minorticks_off()
