"""A board as tables: Markdown for people, CSV for spreadsheets, JSON for programs.

All of them are built, never edited, and the same board gives the same bytes: numbers are rounded (to
four decimals in JSON, three elsewhere), and nothing says when or where it was built.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from capo_bench.display import neutral, visible
from capo_bench.leaderboard.board import Board, Entry
from capo_bench.metrics.registry import HEADLINE, metric_named, shown_in
from capo_bench.render.estimates import estimate_json, rounded, signature_line
from capo_bench.render.html import decimal, escape_markdown, interval, number
from capo_bench.scoring.controls import AGAIN, HUMAN
from capo_bench.stats.resampling import Estimate, Undefined

CEILING = {HUMAN: "the annotators themselves", AGAIN: "the annotators, asked once more"}

_AGAIN = (
    f"*{AGAIN}*: fresh answers of the made-up annotators, held against their first ones; nothing "
    "more can be learned of them."
)


def role(entry: Entry) -> str:
    """What a row that is no system is."""
    return CEILING.get(entry.id, "control")


def files(board: Board) -> dict[Path, str]:
    """What `table.md`, `table.csv` and `table.json` in the board's folder are to hold."""
    data = json.dumps(as_json(board), ensure_ascii=False, indent=1) + "\n"
    texts = {"table.md": markdown(board), "table.csv": as_csv(board), "table.json": data}
    return {board.folder / name: text for name, text in texts.items()}


def markdown(board: Board) -> str:
    """The board as one Markdown table, with what it takes to read it."""
    head = ["rank", "system", "method", "setting", "seeds", "status"]
    head += [metric_named(HEADLINE).title, "95 %", "to the system above", "95 %"]
    head += [metric.title for metric in shown_in("board")]
    align = ["--:", "---", "---", "---", "--:", "---", *["--:"] * (len(head) - 6)]
    lines = [
        f"# {escape_markdown(board.spec.title)}",
        "",
        *([escape_markdown(board.spec.about), ""] if board.spec.about else []),
        escape_markdown(facts(board)),
        "",
        _row(head),
        f"|{'|'.join(align)}|",
        *(_row(_markdown_cells(entry)) for entry in board.entries),
        "",
        "Rank: one more than the number of systems that are significantly better (paired on items, "
        "Holm, .05); in brackets the last rank that the tests leave possible. Controls are "
        "impostors; neither they nor the annotators have a rank. Several seeds: the mean, and below "
        "it the range. Intervals are clustered on the item. What the warnings say is in table.json "
        "and on the page.",
        *(["", _AGAIN] if any(entry.id == AGAIN for entry in board.entries) else []),
        "",
    ]
    if board.refused:
        lines += ["Refused:", ""]
        lines += [f"- {escape_markdown(one)}: {escape_markdown(why)}" for one, why in board.refused]
        lines.append("")
    lines.append(escape_markdown(signature_line(board.signature)))
    return "\n".join(lines) + "\n"


def as_csv(board: Board) -> str:
    """The board as CSV, every metric with its interval; an undefined one is empty."""
    names = [metric.name for metric in board.metrics]
    out = StringIO()
    rows = csv.writer(out, lineterminator="\n")
    about = ["rank", "last_rank", "kind", "id", "system", "model", "base_model", "parameters"]
    about += ["method", "setting", "seeds", "status", "warnings", "lead", "lead_low", "lead_high"]
    rows.writerow([*about, *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))])
    for entry in board.entries:
        card, found = entry.card, entry.measurements.scores.estimates
        cells = [entry.rank, entry.last, entry.kind, entry.id, entry.name]
        cells += [card.model, card.base_model, card.parameters] if card else [None] * 3
        cells += [card.method, card.asked] if card else [None] * 2
        cells += [len(card.runs) if card else None, status(entry)]
        cells += [len(entry.warnings) if card else None, *_three(entry.lead)]
        cells += [value for name in names for value in _three(found[name])]
        rows.writerow([_harmless(cell) for cell in cells])
    return out.getvalue()


def as_json(board: Board, digits: int = 4) -> dict[str, Any]:
    """The board as plain data; an undefined metric has the key `undefined` with the reason.

    Args:
        board: The board.
        digits: Decimals of all numbers.
    """
    return {
        "board": board.id,
        "title": board.spec.title,
        "about": board.spec.about,
        "facts": facts(board),
        "signature": dict(board.signature),
        "headline": HEADLINE,
        "metrics": [
            {"name": one.name, "axis": one.axis, "higher_is_better": one.higher_is_better}
            for one in board.metrics
        ],
        "entries": [_entry(board, entry, digits) for entry in board.entries],
        "refused": [{"id": visible(one), "reason": visible(why)} for one, why in board.refused],
    }


def facts(board: Board) -> str:
    """What was answered, in a line."""
    scores = board.entries[0].measurements.scores
    synthetic = " (synthetic corpus)" if board.signature["synthetic"] else ""
    return (
        f"{board.signature['corpus']}{synthetic}, {board.signature['split']}: {scores.n_items} "
        f"items, {scores.n_responses} responses, {len(board.corpus.annotator_ids)} annotators"
    )


def status(entry: Entry) -> str:
    """`verified` or `community`; for a reference what it is."""
    if entry.kind != "system":
        return role(entry)
    return "verified" if entry.verified else "community"


def spread(entry: Entry, metric: str) -> tuple[float, float, float] | None:
    """Lowest and highest value of several seeds, and their standard deviation."""
    values = entry.measurements.values[metric]
    if len(values) < 2 or not all(map(isfinite, values)):
        return None
    return min(values), max(values), float(np.std(values, ddof=1))


def _entry(board: Board, entry: Entry, digits: int) -> dict[str, Any]:
    found = entry.measurements
    return {
        "id": entry.id,
        "kind": entry.kind,
        "name": entry.name,
        "rank": entry.rank,
        "last_rank": entry.last,
        "status": status(entry),
        "finding": entry.finding
        and {"level": entry.finding.level, "title": entry.finding.title}
        | {"reason": entry.finding.reason},
        "lead": entry.lead and estimate_json(entry.lead, digits),
        "metrics": {
            metric.name: estimate_json(found.scores.estimates[metric.name], digits)
            | _runs(entry, metric.name, digits)
            for metric in board.metrics
        },
        "warnings": list(entry.warnings),
        "card": entry.card and entry.card.model_dump(mode="json", exclude_none=True),
    }


def _runs(entry: Entry, metric: str, digits: int) -> dict[str, Any]:
    """The value of each seed where there are several, and their standard deviation."""
    values = entry.measurements.values[metric]
    if len(values) < 2:
        return {}
    found = spread(entry, metric)
    return {
        "runs": [rounded(value, digits) for value in values],
        "sd": found and rounded(found[2], digits),
    }


def _three(found: Estimate | Undefined | None) -> list[str | None]:
    if not isinstance(found, Estimate):
        return [None] * 3
    parts = (found.value, found.low, found.high)
    return [decimal(value) if isfinite(value) else None for value in parts]


def _harmless(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers of ours are left as they are."""
    text = "" if cell is None else str(cell)
    return text if _is_number(text) else neutral(text)


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text)) and text.strip() == text
    except ValueError:
        return False


def _markdown_cells(entry: Entry) -> list[str]:
    card, found = entry.card, entry.measurements.scores.estimates
    rank = "–" if entry.rank is None else f"{entry.rank} ({entry.rank}–{entry.last})"
    name = escape_markdown(entry.name)
    if card and card.test_items_seen:
        name += " (saw test items)"
    if card and card.uses_test_explanations:
        name += " (reads test explanations)"
    lead = "–" if entry.lead is None else number(entry.lead)
    return [
        rank,
        name if entry.kind == "system" else f"*{name}*",
        card.method if card else "",
        escape_markdown(card.asked) if card else "",
        str(len(card.runs)) if card else "",
        status(entry) + _warned(entry),
        _with_range(entry, HEADLINE),
        interval(found[HEADLINE]),
        lead,
        interval(entry.lead),
        *(_with_range(entry, metric.name) for metric in shown_in("board")),
    ]


def _warned(entry: Entry) -> str:
    count = len(entry.warnings)
    return f", {count} {'warning' if count == 1 else 'warnings'}" if count else ""


def _with_range(entry: Entry, metric: str) -> str:
    text = number(entry.measurements.scores.estimates[metric])
    found = spread(entry, metric)
    return text if found is None else f"{text}<br>{decimal(found[0])}–{decimal(found[1])}"


def _row(cells: Iterable[str] | Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
