"""A comparison for a terminal, a program, a CI server and a pull request.

Responses are a model's text: each form escapes them for where it is shown.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import asdict
from io import StringIO
from math import isfinite
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from capo_bench.display import json_text, visible
from capo_bench.regression.result import EXIT_CODES, Flip, Judged, Limit, Result
from capo_bench.render.html import escape_markdown

SHOWN = 20
"""Flips that are shown where people read; JSON has all."""

_CHARACTERS = 300
_TITLES = {
    "pass": "Pass: no drop beyond the margins",
    "regressed": "Regressed",
    "inconclusive": "Inconclusive: too few items to tell",
    "incomparable": "Incomparable",
}


def as_json(result: Result) -> str:
    """All that was found; numbers that do not exist are `null`."""
    metrics = [
        {
            "metric": judged.metric.name,
            "higher_is_better": judged.metric.higher_is_better,
            **{
                key: value
                for key, value in asdict(judged).items()
                if key not in ("metric", "undefined")
            },
            "undefined": judged.undefined or None,
        }
        for judged in result.metrics
    ]
    data = {
        "verdict": result.verdict,
        "exit_code": EXIT_CODES[result.verdict],
        "base": result.base,
        "candidate": result.candidate,
        "mismatches": [asdict(mismatch) for mismatch in result.mismatches],
        "n_items": result.n_items,
        "n_responses": result.n_responses,
        "runs": result.runs,
        "facts": result.facts,
        "unknown": result.unknown,
        "metrics": metrics,
        "limits": [
            {**asdict(limit), "metric": limit.metric.name, "kept": limit.kept}
            for limit in result.limits
        ],
        "not_gated_and_worse": [
            {**asdict(decline), "metric": decline.metric.name} for decline in result.declines
        ],
        "gained": result.gained,
        "flips": [asdict(flip) for flip in result.flips],
    }
    return json_text(_finite(data)) + "\n"


def as_text(result: Result, width: int = 100) -> str:
    """Tables without colour; `renderable` has it."""
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(renderable(result))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def renderable(result: Result) -> RenderableType:
    """The same for a rich console."""
    colour = {"pass": "green", "inconclusive": "yellow"}
    parts: list[RenderableType] = [
        Text(_title(result), style=f"bold {colour.get(result.verdict, 'red')}"),
        Text("\n".join(map(_plain, _lines(result)))),
    ]
    if result.metrics:
        table = Table(box=SIMPLE_HEAD, show_edge=False, leading=1)
        table.collapse_padding, table.pad_edge = True, False
        table.add_column("metric\nverdict", no_wrap=True)
        headings = "base\ncandidate", "difference\n95 %", "margin", "p\np worse", "power"
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for judged in result.metrics:
            style = colour.get(judged.verdict, "red")
            base, candidate, apart, interval, margin, p, worse, power_, verdict = _row(judged)
            name = Text(f"{_arrow(judged)}\n").append(verdict, style)
            pairs = f"{base}\n{candidate}", f"{apart}\n{interval}", margin, f"{p}\n{worse}"
            table.add_row(name, *pairs, power_)
        parts += [table, Text("\n".join(_notes(result)))]
    if result.flips:
        flips = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1), title=_flips_title(result))
        flips.title_justify = "left"
        flips.add_column("item\nannotator\nlost", overflow="fold")
        flips.add_column("baseline", overflow="fold", ratio=1)
        flips.add_column("candidate", overflow="fold", ratio=1)
        for flip in result.flips[:SHOWN]:
            what = f"{flip.item}\n{flip.annotator}\n{', '.join(flip.lost)}"
            # Text, not markup: a response may hold brackets.
            flips.add_row(*(Text(_short(part)) for part in (what, flip.base, flip.candidate)))
            flips.add_section()
        parts.append(flips)
    return Group(*parts)


def as_github(result: Result) -> str:
    """Markdown for a job's summary (`$GITHUB_STEP_SUMMARY`) or a comment."""
    sign = {"pass": "✅", "regressed": "❌", "inconclusive": "⚠️", "incomparable": "⛔"}
    parts = [f"### {sign[result.verdict]} {_title(result)}", ""]
    parts += [f"{_markdown(line)}  " for line in _lines(result)]
    if result.metrics:
        parts += ["", _pipes("metric", *_HEADINGS), _pipes("---", *["--:"] * len(_HEADINGS))]
        parts += [_pipes(_markdown(_arrow(j)), *map(_markdown, _row(j))) for j in result.metrics]
        parts += ["", *(f"{_markdown(note)}  " for note in _notes(result))]
    if result.flips:
        parts += ["", f"<details><summary>{_markdown(_flips_title(result))}</summary>", ""]
        parts += [_pipes("item, annotator", "lost", "baseline", "candidate"), _pipes(*["---"] * 4)]
        for flip in result.flips[:SHOWN]:
            cells = f"{flip.item}, {flip.annotator}", ", ".join(flip.lost)
            parts.append(_pipes(*map(_markdown, (*cells, flip.base, flip.candidate))))
        parts += ["", "</details>"]
    return "\n".join(parts) + "\n"


def as_junit(result: Result) -> str:
    """JUnit XML, a test case a metric: `failure` where it regressed, `error` where none can tell."""
    cases = len(result.metrics) or 1
    cases += len(result.limits)
    failures = sum(judged.verdict == "regressed" for judged in result.metrics)
    failures += sum(not limit.kept for limit in result.limits)
    errors = sum(judged.verdict == "inconclusive" for judged in result.metrics)
    errors += bool(result.mismatches)
    counts = {"tests": str(cases), "failures": str(failures), "errors": str(errors)}
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": "capo-bench", **counts, "skipped": "0"})
    lines = "\n".join(_lines(result))
    if result.mismatches:
        case = ET.SubElement(suite, "testcase", {"classname": "capo_bench", "name": "comparable"})
        fault = ET.SubElement(case, "error", {"type": "incomparable", "message": _plain(lines)})
        fault.text = _plain(lines)
    for judged in result.metrics:
        case = ET.SubElement(
            suite, "testcase", {"classname": "capo_bench", "name": judged.metric.name}
        )
        if judged.verdict != "pass":
            kind = "failure" if judged.verdict == "regressed" else "error"
            message = {"type": judged.verdict, "message": _plain(explain(judged, result.n_items))}
            ET.SubElement(case, kind, message).text = _plain(explain(judged, result.n_items))
    for limit in result.limits:
        name = {"classname": "capo_bench.limits", "name": limit.metric.name}
        case = ET.SubElement(suite, "testcase", name)
        if not limit.kept:
            said = limit_said(limit)
            ET.SubElement(case, "failure", {"type": "regressed", "message": said}).text = said
    out = ET.SubElement(suite, "system-out")
    flips = [_flips_title(result), *map(_flip_text, result.flips[:SHOWN])] if result.flips else []
    out.text = _plain("\n\n".join([lines, *_notes(result), *flips]))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


FORMATS: Mapping[str, Callable[[Result], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
    "github": as_github,
}


def explain(judged: Judged, n_items: int) -> str:
    """A metric's verdict in a sentence or two."""
    name = judged.metric.name
    if judged.undefined:
        return f"{name}: {judged.verdict}; not defined, because {judged.undefined}."
    apart = judged.difference
    margin = f"{'drop' if judged.metric.higher_is_better else 'rise'} of {judged.max_drop:g}"
    said = {
        "pass": f"a {margin} or more is ruled out",
        "regressed": f"it became worse, and a {margin} or more is not ruled out",
        "inconclusive": f"neither a {margin} is ruled out nor any change for the worse shown",
    }[judged.verdict]
    if judged.at_floor and judged.verdict == "inconclusive":
        return f"{name}: {judged.base:.3f} -> {judged.candidate:.3f}; {_nothing_to_lose(judged)}."
    text = (
        f"{name}: {judged.base:.3f} -> {judged.candidate:.3f}, difference {apart.value:+.3f} "
        f"({apart.low:+.3f} to {apart.high:+.3f}); {said} "
        f"(p {_p(judged.p_within)} and {_p(judged.p_worse)})."
    )
    return text if judged.verdict == "pass" else f"{text} {power(judged, n_items)}"


def limit_said(limit: Limit) -> str:
    """A worst tolerated value, and whether it was kept, in a sentence."""
    bound = "at least" if limit.metric.higher_is_better else "at most"
    return (
        f"{limit.metric.name}: {limit.candidate:.3f}, and must be {bound} {limit.limit:g}: "
        f"{'kept' if limit.kept else 'not kept'}."
    )


def power(judged: Judged, n_items: int) -> str:
    """What so many items can show, and how many it would take."""
    if judged.at_floor:
        return f"{_nothing_to_lose(judged)}."
    if not isfinite(judged.detectable):
        return f"{n_items} items have no power for it."
    text = f"{n_items} items can tell changes of {judged.detectable:.3f} or more (power .8)"
    if judged.detectable <= judged.max_drop:
        return f"{text}."
    if judged.items_needed is None:
        return f"{text}; the runs vary too much for {judged.max_drop:g}: make more runs."
    return f"{text}; {judged.max_drop:g} takes about {judged.items_needed} items."


def _nothing_to_lose(judged: Judged) -> str:
    return (
        f"the baseline is within the margin of {judged.max_drop:g} of the floor and has nothing to "
        "lose, so that no drop says nothing; gate another metric, or a better baseline"
    )


_HEADINGS = (
    "base",
    "candidate",
    "difference",
    "95 %",
    "margin",
    "p",
    "p worse",
    "power",
    "verdict",
)


def _row(judged: Judged) -> list[str]:
    margin = f"{judged.max_drop:g}"
    if judged.undefined:
        return ["not defined", "", "", "", margin, "", "", "", judged.verdict]
    apart = judged.difference
    return [
        f"{judged.base:.3f}",
        f"{judged.candidate:.3f}",
        f"{apart.value:+.3f}",
        f"{apart.low:+.3f} .. {apart.high:+.3f}",
        margin,
        _p(judged.p_within),
        _p(judged.p_worse),
        f"{judged.detectable:.3f}" if isfinite(judged.detectable) else "–",
        judged.verdict,
    ]


def _arrow(judged: Judged) -> str:
    return f"{judged.metric.name} {'↑' if judged.metric.higher_is_better else '↓'}"


def _p(value: float) -> str:
    if not isfinite(value):
        return "–"
    return "<.001" if value < 0.001 else f"{value:.3f}"


def _title(result: Result) -> str:
    title = _TITLES[result.verdict]
    if result.verdict == "pass" and result.declines:
        title += f"; but worse, and not gated: {', '.join(d.metric.name for d in result.declines)}"
    return title


def _lines(result: Result) -> list[str]:
    """Who was compared, and on what."""
    lines = [f"baseline: {result.base}", f"candidate: {result.candidate}"]
    if result.mismatches:
        return lines + [
            f"{found.what} differs: {found.base} (baseline), {found.candidate} (candidate)"
            for found in result.mismatches
        ]
    runs = f"; runs: {result.runs[0]} and {result.runs[1]}" if max(result.runs) > 1 else ""
    lines.append(f"{result.n_items} items, {result.n_responses} responses{runs}")
    lines.append("; ".join(f"{name} {value}" for name, value in (result.facts or {}).items()))
    if result.unknown:
        lines.append(f"not checked, because one side does not tell: {', '.join(result.unknown)}")
    return lines


def _notes(result: Result) -> list[str]:
    if not result.metrics:
        return []
    notes = [
        "p: of a drop by the margin or more; p worse: of no drop (one-sided, Holm). "
        "Intervals are clustered on the item. power: the smallest change that is told at .8."
    ]
    notes += [
        f"Not gated, and worse: {one.metric.name} {one.base:.3f} -> {one.candidate:.3f} "
        f"({one.difference.low:+.3f} to {one.difference.high:+.3f}; p {_p(one.p)})."
        for one in result.declines
    ]
    notes += map(limit_said, result.limits)
    return notes + [
        explain(judged, result.n_items) if judged.undefined else
        f"{judged.metric.name}: {power(judged, result.n_items)}"
        for judged in result.metrics
        if judged.verdict == "inconclusive"
    ]  # fmt: skip


def _flips_title(result: Result) -> str:
    gained = result.gained or {}
    counts = [f"{what}: {result.lost(what)} lost, {gained[what]} gained" for what in gained]
    more = f"; {SHOWN} of {len(result.flips)} shown" if len(result.flips) > SHOWN else ""
    return f"Flips ({'; '.join(counts)}{more})"


def _flip_text(flip: Flip) -> str:
    return (
        f"{flip.item}, {flip.annotator}: lost {', '.join(flip.lost)}\n"
        f"  baseline:  {_short(flip.base)}\n  candidate: {_short(flip.candidate)}"
    )


def _plain(text: str) -> str:
    return visible(text, lines=True)


def _short(text: str) -> str:
    text = _plain(text.strip())
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"


def _markdown(text: str) -> str:
    return escape_markdown(_short(text))


def _pipes(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return value
