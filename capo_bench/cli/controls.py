"""`capo-bench controls`: the floor and the ceiling of a corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from capo_bench.cli.options import Asked, Json, asking, shown


@asking()
def controls(
    asked: Asked,
    seed: Annotated[int, typer.Option(help="Seed of the rows' random choices.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the rows as files of predictions.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score the floor and the ceiling: impostors, and the humans themselves."""
    from capo_bench.display import console
    from capo_bench.report.tables import controls_tables
    from capo_bench.scoring.controls import control_predictions, score_controls
    from capo_bench.scoring.predictions import write_predictions

    scorer = asked.options().scorer()
    predictions = control_predictions(scorer.corpus, scorer.split, seed)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        for name, row in predictions.items():
            write_predictions(output / f"{name}.jsonl", scorer.corpus, row)
    scored = score_controls(scorer, predictions)
    rows = list(shown(scored, "scoring controls", len(predictions)))
    if as_json:
        print(json.dumps({control.name: control.as_json() for control in rows}, indent=2))
        return
    for table in controls_tables(rows):
        console().print(table)
