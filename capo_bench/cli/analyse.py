"""`capo-bench analyse`: how well a corpus's annotators can be told apart, and by what."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from capo_bench.cli.options import Asked, Force, Json, Named, asking, may_write
from capo_bench.display import json_text, say


@asking("data", "splits", "split", "valid_only", "min_responses", "min_annotators")
def analyse(
    corpus: Named,
    asked: Asked,
    output: Annotated[
        Path | None, typer.Option(help="Folder for figures (PNG, SVG) and analysis.json.")
    ] = None,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Tell how well a corpus's annotators can be told apart, and by what."""
    from capo_bench.analysis import stability
    from capo_bench.display import console
    from capo_bench.files import locked, writing_all

    if output:
        may_write(output, force)
    with (
        console(stderr=True).status("analysing"),
        locked(output) if output else nullcontext(),
    ):
        found = stability.analyse(asked.load(corpus), asked.split or "test")
        text = json_text(found.as_json())
        if output:
            from capo_bench.analysis.figures import draw

            with writing_all(output) as staged:
                (staged / "analysis.json").write_text(text + "\n", encoding="utf-8")
                names = [*draw(found, staged), "analysis.json"]
    if as_json:
        print(text)
        return
    for table in stability.tables(found):
        console().print(table)
    if output:
        say(*(output / name for name in names))
