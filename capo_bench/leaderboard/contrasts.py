"""What a board asks of its systems beyond their rank: is this one better than that one, and at what?

A contrast is a pair of systems that `board.yaml` names. Each metric of the one is set against the
other's, paired by item, the spread of their seeds in the interval (a trained system with one seed
is taken to spread as the other does, `stats.comparing.between_runs`); p-values are adjusted for all
metrics of all contrasts of the board together.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

from capo_bench.errors import CapoBenchError, listed
from capo_bench.leaderboard.board import BOARD, Board
from capo_bench.metrics.registry import shown_in
from capo_bench.render.estimates import estimate_cell, rounded
from capo_bench.render.html import escape_markdown
from capo_bench.stats.comparing import holm
from capo_bench.stats.ranking import Contender, pairwise_p
from capo_bench.stats.resampling import LEVEL, Estimate


@dataclass(frozen=True)
class Contrast:
    """One metric of two systems.

    Attributes:
        ours: Id of the first submission.
        theirs: Id of the second one.
        metric: The metric.
        values: Its value for the one and for the other, the mean over their seeds.
        difference: The first minus the second.
        p: Two-sided p-value.
        p_holm: The same, adjusted for all metrics of all contrasts of the board.
    """

    ours: str
    theirs: str
    metric: str
    values: tuple[float, float]
    difference: Estimate
    p: float
    p_holm: float

    @property
    def relative(self) -> float | None:
        """Difference over the second system's value, where that is above 0."""
        return self.difference.value / self.values[1] if self.values[1] > 0 else None


def contrasts(board: Board) -> tuple[Contrast, ...]:
    """The contrasts that a board asks for, of the metrics that both systems define.

    A contrast of a submission that is refused is left out; `markdown` says which.

    Args:
        board: The board, as built.

    Raises:
        CapoBenchError: If the board contrasts a submission that is not there.
    """
    there = {entry.id for entry in board.systems} | {name for name, _ in board.refused}
    for one in (one for pair in board.spec.contrasts for one in pair):
        if one not in there:
            raise CapoBenchError(
                f"contrasts name {one!r}, which is none of the submissions "
                f"({listed(sorted(there))})",
                file=board.folder / BOARD,
            )
    contenders = {entry.id: entry.measurements.contenders for entry in board.systems}
    found = []
    for ours, theirs in _between(board, contenders):
        for metric in (metric.name for metric in board.metrics):
            pair = contenders[ours][metric], contenders[theirs][metric]
            if all(isfinite(run) for one in pair for run in one.runs):
                found.append(_contrast(ours, theirs, metric, pair))
    adjusted = holm([one.p for one in found])
    return tuple(replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True))


def files(board: Board, found: Sequence[Contrast]) -> dict[Path, str | None]:
    """What `contrasts.md` and `contrasts.json` in the board's folder are to hold, if it has any."""
    as_data, as_table = board.folder / "contrasts.json", board.folder / "contrasts.md"
    if not board.spec.contrasts:
        return {as_data: None, as_table: None}
    data = [
        {
            "ours": one.ours,
            "theirs": one.theirs,
            "metric": one.metric,
            "values": [rounded(value, 4) for value in one.values],
            "difference": rounded(one.difference.value, 4),
            "interval": [rounded(one.difference.low, 4), rounded(one.difference.high, 4)],
            "relative": None if one.relative is None else rounded(one.relative, 4),
            "p": float(f"{one.p:.3g}"),
            "p_holm": float(f"{one.p_holm:.3g}"),
        }
        for one in found
    ]
    return {as_data: json.dumps(data, indent=1) + "\n", as_table: markdown(board, found)}


def markdown(board: Board, found: Sequence[Contrast]) -> str:
    """The contrasts as one Markdown table."""
    by_cell = {(one.ours, one.theirs, one.metric): one for one in found}
    names = {entry.id: escape_markdown(entry.name) for entry in board.systems}
    shown = shown_in("contrasts")
    lines = [
        f"# {escape_markdown(board.spec.title)}: contrasts",
        "",
        "First system minus second one, with 95 % intervals: paired by item, clustered on the item, "
        "the spread of seeds included; a trained system with one seed is taken to spread as the "
        "other does, and with one seed each nothing is known of their spread. Bold: p < .05 after "
        "Holm over all metrics of all contrasts of this board, those of `contrasts.json` among them.",
        "",
        f"| contrast | {' | '.join(metric.title for metric in shown)} |",
        f"|---|{'---|' * len(shown)}",
    ]
    pairs = _between(board, names)
    for ours, theirs in pairs:
        cells = [_cell(by_cell.get((ours, theirs, metric.name))) for metric in shown]
        lines.append(f"| {names[ours]} − {names[theirs]} | {' | '.join(cells)} |")
    left = [f"{a} − {b}" for a, b in board.spec.contrasts if (a, b) not in pairs]
    if left:
        lines += ["", f"Left out, because a submission is refused: {', '.join(left)}."]
    return "\n".join(lines) + "\n"


def _between(board: Board, ranked: Container[str]) -> list[tuple[str, str]]:
    """The pairs to contrast that are both ranked."""
    return [(a, b) for a, b in board.spec.contrasts if a in ranked and b in ranked]


def _cell(one: Contrast | None) -> str:
    if one is None:
        return "not defined"
    return estimate_cell(one.difference, signed=True, bold=one.p_holm < 1 - LEVEL)


def _contrast(ours: str, theirs: str, metric: str, pair: tuple[Contender, Contender]) -> Contrast:
    p = float(pairwise_p(pair)[0, 1])
    values = pair[0].found.value, pair[1].found.value
    return Contrast(ours, theirs, metric, values, pair[0].minus(pair[1]), p, p)
