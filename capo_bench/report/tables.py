"""Scores as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import isfinite

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from capo_bench.errors import listed
from capo_bench.metrics.registry import HEADLINE, Metric, metric_named, shown_in
from capo_bench.render.estimates import signature_line
from capo_bench.scoring.controls import HUMAN, ControlRow
from capo_bench.scoring.red_team import Fooled
from capo_bench.scoring.scorer import Scorer, Scores
from capo_bench.stats.resampling import Estimate, Undefined


def scores_table(scores: Scores, metrics: tuple[Metric, ...], title: str) -> Table:
    """One row a metric: direction, value, clustered standard error and 95 % interval."""
    synthetic = " (synthetic)" if scores.signature["synthetic"] else ""
    undefined = _why_not([scores])
    signature = signature_line(scores.signature)
    table = Table(
        title=f"{title}\n{scores.signature['corpus']}{synthetic}, {scores.signature['split']}: "
        f"{scores.n_items} items, {scores.n_responses} responses",
        title_justify="left",
        caption="\n".join(["95 % intervals, clustered on the item.", *undefined, signature]),
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("axis", min_width=8)
    table.add_column("metric", no_wrap=True)
    table.add_column("", min_width=1)
    for heading in ("value", "stderr", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    axis = None
    for metric in metrics:
        found = scores.estimates[metric.name]
        if axis not in (None, metric.axis):
            table.add_section()
        row = [metric.axis if metric.axis != axis else "", metric.name]
        row.append("↑" if metric.higher_is_better else "↓")
        axis = metric.axis
        if isinstance(found, Undefined):
            table.add_row(*row, "–", "", "")
        else:
            known = isfinite(found.low)  # of a single item nothing is
            interval = f"{found.low:.3f} .. {found.high:.3f}" if known else "no interval"
            stderr = f"{found.stderr:.4f}" if known else "–"
            table.add_row(*row, f"{found.value:.4f}", stderr, interval)
    return table


def _why_not(scores: Sequence[Scores]) -> list[str]:
    """A line for each reason for which metrics are not defined, with the first few of them."""
    by_reason: dict[str, dict[str, None]] = {}
    for one in scores:
        for name, found in one.estimates.items():
            if isinstance(found, Undefined):
                by_reason.setdefault(found.reason, {})[name] = None
    return [
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} not defined, because {reason}."
        for reason, names in by_reason.items()
    ]


def controls_tables(rows: Sequence[ControlRow]) -> list[Table]:
    """Control rows, each value above its 95 % interval: headline and guards, then the two axes."""
    signature = rows[0].scores.signature
    synthetic = " (synthetic)" if signature["synthetic"] else ""
    beside = [metric for metric in shown_in("controls") if metric.axis != "headline"]
    tricks = [metric for metric in beside if metric.axis == "guard"]
    seen = [metric for metric in beside if metric.axis != "guard"]
    guards = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
        title=f"Controls of {signature['corpus']}{synthetic}, {signature['split']}: headline and "
        "guards",
        caption="human − row is paired by item. Off item, copied, phrase: what exceeds the "
        "annotator's own behaviour in training.",
    )
    axes = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
        title="The axes: label, identity, indistinguishability; and relevance to the item",
        caption="\n".join(
            [
                "95 % intervals, clustered on the item.",
                *_why_not([row.scores for row in rows]),
                signature_line(signature),
            ]
        ),
    )
    for table in (guards, axes):
        table.title_justify = table.caption_justify = "left"
        table.add_column("row", no_wrap=True)
    headings = (metric_named(HEADLINE).title, "human − row", *(metric.title for metric in tricks))
    for heading in headings:
        guards.add_column(heading, justify="right")
    for metric in seen:
        axes.add_column(metric.title, justify="right")
    for row in rows:
        found = row.scores.estimates
        below = "" if row.name == HUMAN else _above(row.below_human)
        excesses = (_above(found[metric.name]) for metric in tricks)
        guards.add_row(row.name, _above(found[HEADLINE]), below, *excesses)
        axes.add_row(row.name, *(_above(found[metric.name]) for metric in seen))
    return [guards, axes]


def _above(found: Estimate | Undefined) -> Text | str:
    if isinstance(found, Undefined):
        return "not defined"
    return Text(f"{found.value:.3f}\n").append(f"{found.low:.2f}–{found.high:.2f}", "dim")


def red_team_table(scorer: Scorer, found: Sequence[Fooled]) -> Table:
    """What each attack reaches, by what it knows and best first; each value above its interval."""
    corpus = scorer.corpus
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
        title=f"Red team on {corpus.name}, {scorer.split}",
        title_justify="left",
        caption="95 % intervals, clustered on the item. Usual and predicted labels need the earlier "
        "splits alone; majority labels are those of the other annotators for the evaluated items.",
        caption_justify="left",
    )
    table.add_column("attack", no_wrap=True)
    table.add_column("labels", no_wrap=True)
    for heading in ("faithful\nrate", "label\nskill", "P(target)", "passes"):
        table.add_column(heading, justify="right", no_wrap=True)
    ranked = sorted(found, key=lambda one: (not one.attack.train_only, -one.rate))
    for knows_train_only, rows in groupby(ranked, lambda one: one.attack.train_only):
        table.add_section()
        title = "knows the earlier splits" if knows_train_only else "knows the others' answers"
        table.add_row(Text(title, "bold"))
        for one in rows:
            name = Text(one.attack.generator)
            if one.attack.searched:
                name.append("\nsearched", "dim")
            table.add_row(name, one.attack.labels, *(_above(axis) for axis in one.axes.values()))
    return table
