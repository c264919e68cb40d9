"""Scores as tables for people."""

from __future__ import annotations

from rich.table import Table

from capo_bench.score import Metric, Scores
from capo_bench.stats import Undefined


def scores_table(scores: Scores, metrics: tuple[Metric, ...], title: str) -> Table:
    """One row a metric: direction, value, clustered standard error and 95 % interval."""
    synthetic = " (synthetic)" if scores.signature["synthetic"] else ""
    undefined = [
        f"{name} is not defined, because {found.reason}."
        for name, found in scores.estimates.items()
        if isinstance(found, Undefined)
    ]
    signature = ", ".join(f"{key} {value}" for key, value in scores.signature.items())
    table = Table(
        title=f"{title}\n{scores.signature['corpus']}{synthetic}, {scores.signature['split']}: "
        f"{scores.n_items} items, {scores.n_responses} responses",
        title_justify="left",
        caption="\n".join(["Intervals by bootstrap over items.", *undefined, signature]),
        caption_justify="left",
    )
    table.add_column("axis")
    table.add_column("metric", no_wrap=True)
    table.add_column("")
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
            table.add_row(*row, "not defined", "", "")
        else:
            interval = f"{found.low:.3f} .. {found.high:.3f}"
            table.add_row(*row, f"{found.value:.4f}", f"{found.stderr:.4f}", interval)
    return table
