"""`capo-bench controls`: the floor and the ceiling of a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capo_bench.cli.options import Asked, Force, Json, asking, may_write
from capo_bench.display import tracked

if TYPE_CHECKING:
    from capo_bench.metrics.cells import Prediction
    from capo_bench.scoring.scorer import Scorer


@asking()
def controls(
    asked: Asked,
    seed: Annotated[int, typer.Option(help="Seed of the rows' random choices.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the rows as files of predictions.")
    ] = None,
    red_team: Annotated[
        bool,
        typer.Option("--red-team", help="Instead: responses made to fool the score, best first."),
    ] = False,
    candidates: Annotated[
        int, typer.Option(min=1, help="Of the red team, candidates searched for each response.")
    ] = 40,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Score the floor and the ceiling: impostors, and the humans themselves."""
    from capo_bench.display import console, json_text
    from capo_bench.report.tables import controls_tables
    from capo_bench.scoring.controls import control_predictions, score_controls

    if output:
        may_write(output, force)
    scorer = asked.options().scorer()
    if red_team:
        _red_team(scorer, candidates, seed, output, as_json)
        return
    predictions = control_predictions(scorer.corpus, scorer.split, seed)
    if output:
        _write(output, scorer, predictions)
    scored = score_controls(scorer, predictions)
    rows = list(tracked(scored, "scoring controls", len(predictions)))
    if as_json:
        print(json_text({control.name: control.as_json() for control in rows}))
        return
    for table in controls_tables(rows):
        console().print(table)


def _red_team(
    scorer: Scorer, candidates: int, seed: int, output: Path | None, as_json: bool
) -> None:
    from capo_bench.display import console, json_text
    from capo_bench.render.estimates import estimate_json
    from capo_bench.report.tables import red_team_table
    from capo_bench.scoring.red_team import attacks_in_all, fooled, red_team

    attacks = red_team(scorer.corpus, scorer.split, candidates=candidates, seed=seed)
    found = list(tracked(fooled(scorer, attacks), "scoring attacks", attacks_in_all(candidates)))
    if output:
        _write(output, scorer, {one.attack.name: one.attack.predictions for one in found})
    if as_json:
        rows = {
            one.attack.name: {name: estimate_json(axis) for name, axis in one.axes.items()}
            for one in found
        }
        print(json_text(rows))
        return
    console().print(red_team_table(scorer, found))


def _write(output: Path, scorer: Scorer, rows: Mapping[str, Sequence[Prediction]]) -> None:
    from capo_bench.files import writing_all
    from capo_bench.scoring.predictions import write_predictions

    with writing_all(output) as staged:
        for name, row in rows.items():
            write_predictions(staged / f"{name}.jsonl", scorer.corpus, row)
