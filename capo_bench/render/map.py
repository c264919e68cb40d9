"""Geometry of the report's two drawings; the template only has to write it down as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import cos, hypot, pi, sin, sqrt

from capo_bench.stats.resampling import Estimate

Box = tuple[float, float, float, float]

_FONT = 12.0
_LETTER = 0.56 * _FONT  # mean width of a letter; labels are kept apart by it
_DISTANCES = (0, 6, 14, 24, 36, 50, 66, 84, 104)
_ANGLES = 16
_MARGIN = 12.0  # between the frame and a share of 0 or 1, so that marks are whole


@dataclass(frozen=True)
class Point:
    """What is to be placed: two shares in 0..1 with their intervals.

    Attributes:
        name: Its label.
        kind: `run`, `human` or `control`.
        x: Label.
        y: Identity.
        filled: Indistinguishability, 0..1: how full the mark is.
        id: What the drawing links it to, if to anything.
        labelled: Whether its name is written beside it.
    """

    name: str
    kind: str
    x: Estimate
    y: Estimate
    filled: float = 1.0
    id: str = ""
    labelled: bool = True


@dataclass(frozen=True)
class Mark:
    """A placed point, in the drawing's units.

    Attributes:
        name: Its label.
        kind: As of the point.
        x: Centre.
        y: Centre; grows downwards.
        arms: Ends of the interval's cross: left, right, top, bottom.
        label: Left end and baseline of the label, or `None` where there is none.
        leader: Start and end of a line from mark to label, or `None` where they touch.
        id: As of the point.
        core: Radius of what is filled of the mark, 0..1 of the whole's: its area is the share.
    """

    name: str
    kind: str
    x: float
    y: float
    arms: Box
    label: tuple[float, float] | None
    leader: Box | None
    id: str
    core: float


@dataclass(frozen=True)
class Map:
    """The two-axis map: label to the right, identity upwards.

    Attributes:
        width: Of the drawing.
        height: Likewise.
        plot: Left, top, right and bottom of the plotted square.
        marks: The points, run last, so that it is drawn above the others.
        ticks: Positions of 0, .25, ... 1: value, x, y.
    """

    width: float
    height: float
    plot: Box
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[str, float, float], ...]


def draw_map(points: Sequence[Point], width: float, height: float) -> Map:
    """Places points and labels so that no label lies on another, a mark or the run's cross.

    Each label takes the nearest free place around its mark; the run chooses first.
    """
    left, top, right, bottom = plot = (44.0, 26.0, width - 14, height - 44)

    def at_x(value: float) -> float:
        return round(left + _MARGIN + min(max(value, 0), 1) * (right - left - 2 * _MARGIN), 1)

    def at_y(value: float) -> float:
        return round(bottom - _MARGIN - min(max(value, 0), 1) * (bottom - top - 2 * _MARGIN), 1)

    order = {"run": 0, "human": 1, "control": 2}
    ranked = sorted(points, key=lambda p: (order[p.kind], -p.y.value, p.name))
    taken: list[Box] = []
    arms_of_controls: list[Box] = []
    centres = []
    for point in ranked:
        x, y = at_x(point.x.value), at_y(point.y.value)
        arms = (at_x(point.x.low), at_x(point.x.high), at_y(point.y.high), at_y(point.y.low))
        centres.append((x, y, arms))
        reach = 5 if point.kind == "control" else 9
        taken.append((x - reach, y - reach, x + reach, y + reach))
        cross = [(arms[0], y - 1, arms[1], y + 1), (x - 1, arms[2], x + 1, arms[3])]
        (arms_of_controls if point.kind == "control" else taken).extend(cross)
    marks = []
    labels: list[Box] = []
    inner = left + 3, top + 3, right - 3, bottom - 3
    for point, (x, y, arms) in zip(ranked, centres, strict=True):
        core = round(sqrt(min(max(point.filled, 0), 1)), 3)
        if not point.labelled:
            marks.append(Mark(point.name, point.kind, x, y, arms, None, None, point.id, core))
            continue
        size = len(point.name) * _LETTER * (1 if point.kind == "control" else 1.35)
        box = _free_place((x, y), size, inner, taken, labels, arms_of_controls)
        labels.append(box)
        leader = _leader(x, y, box)
        taken += _along(leader)
        label = round(box[0], 1), round(box[3] - 3, 1)
        marks.append(Mark(point.name, point.kind, x, y, arms, label, leader, point.id, core))
    ticks = tuple((f"{v:g}", at_x(v), at_y(v)) for v in (0, 0.25, 0.5, 0.75, 1))
    return Map(width, height, plot, tuple(reversed(marks)), ticks)


def _free_place(
    mark: tuple[float, float],
    width: float,
    plot: Box,
    taken: Sequence[Box],
    labels: Sequence[Box],
    faint: Sequence[Box],
) -> Box:
    """The cheapest place for a label: in the plot, covering nothing taken, then near its mark."""
    x, y = mark
    height = _FONT + 2
    best: tuple[float, Box] | None = None
    for distance, step in product(_DISTANCES, range(_ANGLES)):
        angle = 2 * pi * step / _ANGLES
        # The label's edge, not its centre, keeps the distance from the mark.
        cx = x + cos(angle) * (9 + distance + width / 2)
        cy = y - sin(angle) * (9 + distance + height / 2)
        box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        outside = max(plot[0] - box[0], box[2] - plot[2], plot[1] - box[1], box[3] - plot[3], 0)
        hidden = _covered([box], [*taken, *labels]) + _covered(_along(_leader(x, y, box)), labels)
        cost = 1e6 * outside + 100 * hidden + 0.3 * _covered([box], faint) + distance
        if best is None or cost < best[0]:
            best = cost, box
    assert best is not None  # there is a candidate, whatever it costs
    return best[1]


def _covered(boxes: Sequence[Box], others: Sequence[Box]) -> float:
    return sum(overlap(box, other) for box in boxes for other in others)


def _leader(x: float, y: float, box: Box) -> Box | None:
    """From a mark to the nearest point of its label, unless that is so near that it is plain."""
    near = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
    return (x, y, *near) if hypot(near[0] - x, near[1] - y) > 12 else None


def _along(leader: Box | None) -> list[Box]:
    """Small boxes along a leader, but for its ends, which touch mark and label."""
    if leader is None:
        return []
    x, y, to_x, to_y = leader
    steps = [(x + t * (to_x - x), y + t * (to_y - y)) for t in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)]
    return [(px - 1.5, py - 1.5, px + 1.5, py + 1.5) for px, py in steps]


def overlap(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(wide, 0) * max(high, 0)


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves positions apart, in their order, until neighbours are at least `gap` from each other."""
    order = sorted(range(len(values)), key=lambda index: (values[index], index))
    out = list(values)
    floor = low
    for index in order:
        out[index] = floor = max(out[index], floor)
        floor += gap
    ceiling = high
    for index in reversed(order):
        out[index] = ceiling = min(out[index], ceiling)
        ceiling -= gap
    return [round(value, 1) for value in out]
