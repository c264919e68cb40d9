"""All boards as one HTML page, without any request to elsewhere.

Names and texts of submissions are escaped, see `capo_bench.render.html`; no text of a
corpus is shown. The same boards give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import dist
from pathlib import Path
from typing import Any

from capo_bench.files import write_text
from capo_bench.leaderboard.board import Board, Entry
from capo_bench.leaderboard.board_tables import as_json, facts, role, spread
from capo_bench.metrics.registry import (
    HEADLINE,
    IDENTITY,
    INDISTINCT,
    LABEL,
    metric_named,
    shown_in,
)
from capo_bench.render import html as pages
from capo_bench.render.html import drawn
from capo_bench.render.map import Map, Point, draw_map
from capo_bench.stats.resampling import Estimate, Undefined

Reports = Mapping[tuple[str, str], Sequence[tuple[str, str]]]

_LABELS = {760: 10, 350: 5}  # systems that the map names, by its width
_DIGITS = 6  # so that rounding them to the three that are shown is rounding once
_LABEL = 26  # characters of a name on the map
_APART = 0.05  # on the map: a system that is nearer to one named before it goes without a name
_GROUPS = {
    "label": "label",
    "identity": "identity",
    "indistinguishability": "indistinguishable",
    "content": "content",
    "guard": "guards",
}
"""What the columns of an axis are called together."""


def write(boards: Sequence[Board], file: Path, reports: Reports | None = None) -> None:
    """Writes the page.

    Args:
        boards: The boards.
        file: Where to.
        reports: By board and submission: name and relative address of each full report, where there
            are any.

    Raises:
        CapoBenchError: If the file cannot be written.
    """
    write_text(file, html(boards, reports or {}))


def html(boards: Sequence[Board], reports: Reports) -> str:
    """The page; people's own corpora come before what a program wrote."""
    boards = sorted(boards, key=lambda one: bool(one.signature["synthetic"]))
    data = [
        {
            **as_json(board, _DIGITS),
            "reports": {i: list(f) for (b, i), f in reports.items() if b == board.id},
        }
        for board in boards
    ]
    systems = [entry for board in boards for entry in board.systems]
    used = {entry.card.method for entry in systems if entry.card}
    methods = [name for name in ("prompted", "sft", "capo", "other") if name in used]
    return pages.html(
        "leaderboard.html",
        ["report.css", "leaderboard.css"],
        "leaderboard.js",
        data,
        {
            "boards": [_view(board) for board in boards],
            "methods": methods,
            "groups": [
                (group, [(m.name, m.title) for m in shown_in("board") if m.axis == axis])
                for axis, group in _GROUPS.items()
            ],
            "lower": {m.name for b in boards for m in b.metrics if not m.higher_is_better},
        },
    )


def draw(board: Board) -> str | None:
    """The board's two-axis map as an SVG file, in which nothing that is shown becomes markup.

    `None` where the corpus does not tell who writes, or has no labels.
    """
    found = _map(board, 760, 460)
    if found is None:
        return None
    shown = {"map": found, "title": board.spec.title, "link": f"#{board.id}/"}
    return pages.drawing("map.svg", "report.css", shown)


def address(entry: Entry) -> str:
    """An entry within its board, as the page's fragment has it; no submission has a `~`."""
    return entry.id if entry.kind == "system" else f"~{entry.id}"


def _view(board: Board) -> dict[str, Any]:
    control = board.best_control(metric_named(HEADLINE))
    return {
        "board": board,
        "facts": facts(board),
        "maps": [_map(board, 760, 460), _map(board, 350, 420)],
        "rows": [_row(entry) for entry in board.entries],
        "floor": control and control.headline,
        "ceiling": board.human.headline,
        "best": control and control.id,
    }


def _row(entry: Entry) -> dict[str, Any]:
    found = entry.measurements.scores.estimates
    names = [metric.name for metric in shown_in("board")]
    return {
        "entry": entry,
        "address": address(entry),
        "role": role(entry),
        "size": size(entry.card.parameters) if entry.card else "",
        "headline": found[HEADLINE],
        "range": spread(entry, HEADLINE),
        "values": {name: found[name] for name in names},
        "keys": {name: _key(found[name]) for name in (HEADLINE, *names)},
    }


def _key(found: Estimate | Undefined) -> str:
    """What a column is sorted by; nothing where the metric is undefined."""
    return "" if isinstance(found, Undefined) else f"{found.value:.6f}"


def size(parameters: int | None) -> str:
    """A number of weights in three digits or fewer: 135M, 1.7B."""
    if parameters is None:
        return ""
    for unit, name in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{name}"
    return str(parameters)


def _map(board: Board, width: int, height: int) -> Map | None:
    """Systems, humans and controls on the two axes; the best systems and the humans by name.

    Of systems that lie together only the best is named: names beside one mark cannot be told apart.
    """
    points = []
    named: list[tuple[float, float]] = []
    for entry in board.entries:
        scores = entry.measurements.scores.estimates
        x, y = scores[LABEL], scores[IDENTITY]
        if isinstance(x, Undefined) or isinstance(y, Undefined):
            continue
        system = entry.kind == "system"
        name = entry.name if len(entry.name) <= _LABEL else f"{entry.name[: _LABEL - 1]}…"
        labelled = entry.kind == "human"
        if system:
            at = x.value, y.value
            labelled = len(named) < _LABELS[width] and all(dist(at, o) > _APART for o in named)
            if labelled:
                named.append(at)
        kind = "run" if system else entry.kind
        found = scores[INDISTINCT]
        filled = 1.0 if isinstance(found, Undefined) else found.value
        points.append(Point(name, kind, drawn(x), drawn(y), filled, address(entry), labelled))
    return draw_map(points, width, height) if points else None
