"""The report as one HTML page, without any request to elsewhere, and as Markdown.

Whatever comes from outside (names, texts, reasons) is escaped by default, see
`capo_bench.render.html`. The same report gives the same bytes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capo_bench.files import write_all
from capo_bench.metrics.consistency import StyleContrast
from capo_bench.metrics.registry import (
    HEADLINE,
    IDENTITY,
    INDISTINCT,
    LABEL,
    Metric,
    group_curve,
    metric_named,
)
from capo_bench.render import html as pages
from capo_bench.render.html import drawn
from capo_bench.render.map import Map, Point, draw_map, spread
from capo_bench.report.build import ReferenceRow, Report
from capo_bench.scoring.controls import CEILINGS
from capo_bench.scoring.scorer import NOBODY, Scores
from capo_bench.stats.resampling import Array, Estimate, Undefined

AXES = {
    "headline": "right label in the annotator's voice, and not to be told from theirs",
    "label": "label: is it the one that this annotator gives?",
    "identity": "identity: is it this annotator who writes?",
    "indistinguishability": "indistinguishability: is it told from the annotator's own?",
    "content": "content: is it about this item?",
}
_STRIPS = {
    HEADLINE: "Faithful rate",
    LABEL: "Label",
    IDENTITY: "Identity",
    INDISTINCT: "Indistinguishability",
}
"""What the lines between floor and ceiling are called: the headline and its axes."""

_OTHER = "other-annotator"
_PROBABLE = 3  # annotators whose probability is shown with a response
_OPEN = 6  # annotators up to which their style features are unfolded


def write(report: Report, folder: Path) -> list[Path]:
    """Writes `report.html` and `report.md`.

    Raises:
        CapoBenchError: If the folder cannot be written.
    """
    files = {folder / "report.html": html(report), folder / "report.md": markdown(report)}
    write_all(folder, files)
    return list(files)


def html(report: Report) -> str:
    """The page."""
    return pages.html(
        "report.html",
        ["report.css"],
        "report.js",
        _responses(report),
        {
            **_view(report),
            "maps": [_map(report, 760, 520), _map(report, 350, 470)],
            "curve": _curve(report),
        },
    )


def markdown(report: Report) -> str:
    """The tables of the page; single responses are in the page alone."""
    return pages.markdown("report.md", _view(report))


def _view(report: Report) -> dict[str, Any]:
    """What both templates show."""
    scored = [metric for metric in report.metrics if metric.axis != "guard"]
    undefined = {
        name: found.reason
        for name, found in report.scores.estimates.items()
        if isinstance(found, Undefined)
    }
    references = report.references
    return {
        "report": report,
        "corpus": report.cells.corpus,
        "scores": report.scores,
        "signature": report.scores.signature,
        "finding": report.finding,
        "headline": report.scores.estimates[HEADLINE],
        "axes": {a: [_row(report, m) for m in scored if m.axis == a] for a in AXES},
        "axis_titles": AXES,
        "guards": [_guard(report, metric) for metric in report.metrics if metric.axis == "guard"],
        "strips": [_strip(report, name, title) for name, title in _STRIPS.items()],
        "no_references": references.reason if isinstance(references, Undefined) else None,
        "undefined": undefined,
        "confusion": _confusion(report),
        "features": _features(report),
        "open_style": len(report.cells.corpus.annotator_ids) <= _OPEN,
        "is_undefined": lambda value: isinstance(value, Undefined),
    }


def _row(report: Report, metric: Metric) -> dict[str, Any]:
    best = report.best_control(metric)
    return {
        "metric": metric,
        "value": report.scores.estimates[metric.name],
        "floor": best and {"name": best[0].name, "value": best[1]},
        "ceiling": report.human and report.human.scores.estimates[metric.name],
    }


def _guard(report: Report, metric: Metric) -> dict[str, Any]:
    # Beside a guard stands the trickster whom it catches most, not the one it lets pass.
    worst = report.best_control(replace(metric, higher_is_better=not metric.higher_is_better))
    return {
        **_row(report, metric),
        "floor": worst and {"name": worst[0].name, "value": worst[1]},
    }


def _strip(report: Report, metric: str, title: str) -> dict[str, Any]:
    """One line from 0 to 1 with run, humans and controls on it."""
    rows = () if isinstance(report.references, Undefined) else report.references
    found = [(row.name, row.scores.estimates[metric]) for row in rows]
    return {
        "title": title,
        "explained": metric_named(metric).about,
        "value": report.scores.estimates[metric],
        "marks": [
            {"name": name, "human": name in CEILINGS, "value": value}
            for name, value in found
            if isinstance(value, Estimate)
        ],
    }


def _confusion(report: Report) -> dict[str, Any]:
    cells, verdicts = report.cells, report.verdicts
    ids = cells.corpus.annotator_ids
    columns = [*(int(index) for index in verdicts.named), NOBODY]
    rows = []
    for target in np.unique(cells.annotator):
        given = verdicts.attributed_to[cells.annotator == target]
        counts = [int((given == column).sum()) for column in columns]
        rows.append(
            {
                "target": ids[target],
                "counts": [
                    {
                        "n": n,
                        "share": n / len(given),
                        "to": None if column == NOBODY else ids[column],
                        "own": column == target,
                    }
                    for n, column in zip(counts, columns, strict=True)
                ],
                "total": len(given),
            }
        )
    return {"columns": [ids[index] for index in verdicts.named], "rows": rows}


def _features(report: Report) -> list[dict[str, Any]]:
    """By annotator: the style features that set them apart, and the names of those that do not."""
    found: dict[str, list[StyleContrast]] = {}
    for row in report.style:
        found.setdefault(row.annotator, []).append(row)
    return [
        {
            "annotator": annotator,
            "telling": [
                {"row": row, "verdict": caught_or_missed(row.caught)}
                for row in rows
                if isinstance(row.caught, Estimate)
            ],
            "silent": [row.feature for row in rows if isinstance(row.caught, Undefined)],
        }
        for annotator, rows in found.items()
    ]


def caught_or_missed(caught: Estimate) -> str:
    """`caught`: surely nearer to the target than to the others; `missed`: surely not."""
    if caught.low > 0.5:
        return "caught"
    return "missed" if caught.high < 0.5 else "unclear"


def _map(report: Report, width: float, height: float) -> Map | None:
    def point(name: str, kind: str, scores: Scores) -> Point | None:
        x, y = scores.estimates[LABEL], scores.estimates[IDENTITY]
        if isinstance(x, Undefined) or isinstance(y, Undefined):
            return None
        found = scores.estimates[INDISTINCT]
        filled = 1.0 if isinstance(found, Undefined) else found.value
        return Point(name, kind, drawn(x), drawn(y), filled)

    rows = () if isinstance(report.references, Undefined) else report.references
    run = point("this run", "run", report.scores)
    if run is None:
        return None
    placed = [
        point(row.name, "human" if row.name in CEILINGS else "control", row.scores) for row in rows
    ]
    return draw_map([run, *(p for p in placed if p)], width, height)


def _curve(report: Report) -> dict[str, Any]:
    """Attribution over the group size: lines of (x, y, bottom, top), with labels kept apart."""
    other = next((row for row in report.controls if row.name == _OTHER), None)
    curve, raw = group_curve("attribution"), group_curve("raw attribution")
    series: list[tuple[str, str, Scores, tuple[Metric, ...]]] = [
        ("this run", "run", report.scores, curve),
        ("this run, raw text", "raw", report.scores, raw),
    ]
    known: list[tuple[str, ReferenceRow | None]] = [("human", report.human), ("control", other)]
    series += [(row.name, kind, row.scores, curve) for kind, row in known if row]
    left, right, top, bottom = 34.0, 205.0, 12.0, 210.0
    xs = [left + 22 + i * (right - left - 32) / (len(curve) - 1) for i in range(len(curve))]

    def at_y(value: float) -> float:
        return round(bottom - min(max(value, 0), 1) * (bottom - top), 1)

    lines: list[dict[str, Any]] = []
    for name, kind, scores, metrics in series:
        points = []
        for x, metric in zip(xs, metrics, strict=True):
            found = scores.estimates[metric.name]
            if isinstance(found, Estimate):
                one = drawn(found)
                points.append((round(x, 1), at_y(one.value), at_y(one.low), at_y(one.high)))
        if points:
            lines.append({"name": name, "kind": kind, "points": points})
    at = spread([line["points"][-1][1] + 4 for line in lines], 16, top + 8, bottom)
    for line, y in zip(lines, at, strict=True):
        line["label"] = y
    n = len(report.verdicts.named)
    return {
        "lines": lines,
        "right": right,
        "left": left,
        "bottom": bottom,
        "ticks": [(f"{v:g}", at_y(v)) for v in (0, 0.5, 1)],
        "groups": [(x, metric.group) for x, metric in zip(xs, curve, strict=True)],
        "chance": at_y(1 / n) if n else None,
    }


def _responses(report: Report) -> dict[str, Any]:
    """What the browser of single responses reads; keys are short because there may be thousands."""
    cells, verdicts = report.cells, report.verdicts
    flags = {"relevant": verdicts.relevant, "copied": verdicts.copied}
    rows = []
    for index, parsed in enumerate(cells.parsed):
        target, explained = int(cells.annotator[index]), bool(cells.is_explained[index])
        row = {
            "item": int(cells.item[index]),
            "annotator": target,
            "human": [[", ".join(r.labels), r.explanation] for r in cells.references[index]],
            "labels": list(parsed.labels),
            "explanation": parsed.explanation,
            "error": parsed.error,
            "raw": report.raw[index] if parsed.error else None,
            "agrees": bool(verdicts.label_agrees[index]),
            "to": int(verdicts.attributed_to[index]),
            "probable": _probable(verdicts.probabilities[index], verdicts.named, target),
            "rouge": round(float(verdicts.rouge_l[index]), 3) if explained else None,
        }
        for name, flag in flags.items():
            known = not isinstance(flag, Undefined) and (
                explained if name == "relevant" else bool(verdicts.guarded[index])
            )
            row[name] = bool(flag[index]) if known and not isinstance(flag, Undefined) else None
        rows.append(row)
    return {
        "annotators": list(cells.corpus.annotator_ids),
        "fields": list(cells.corpus.task.fields.items()),
        "items": [{"id": item.id, "text": dict(item.text)} for item in cells.items],
        "responses": rows,
    }


def _probable(
    probabilities: Array, named: NDArray[np.int64], target: int
) -> list[tuple[int, float]]:
    order = np.argsort(-probabilities, kind="stable")
    shown = [at for rank, at in enumerate(order) if rank < _PROBABLE or named[at] == target]
    return [(int(named[at]), round(float(probabilities[at]), 3)) for at in shown]
