"""`capo-bench report`: one run for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from capo_bench.cli.options import Asked, Force, answered, asking, may_write
from capo_bench.display import say, tracked


@asking()
def report(
    file: Annotated[Path, typer.Argument(help="Samples that lm_eval logged, or predictions.")],
    output: Annotated[Path, typer.Option(help="Folder for report.html and report.md.")],
    asked: Asked,
    force: Force = False,
) -> None:
    """Show one run between floor and ceiling, response by response: a web page and Markdown."""
    from capo_bench.files import locked
    from capo_bench.report.build import build
    from capo_bench.report.page import write

    may_write(output, force)
    with locked(output):
        predictions, scorer = answered(file, asked)
        found = build(
            scorer,
            predictions,
            file.stem,
            lambda rows: tracked(rows, "scoring controls", len(rows)),
        )
        files = write(found, output)
    say(found.finding.title)
    say(*files)
