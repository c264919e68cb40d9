"""`capo-bench validate-humans`: sheets for human raters, and what the filled ones say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from capo_bench.cli.options import Asked, Force, Json, asking, may_write
from capo_bench.display import json_text, say

app = typer.Typer(
    help="Have people judge whose response it is and whether it is sound.", no_args_is_help=True
)


@app.command("export")
@asking("corpus", "data", "splits", "split", "valid_only", "min_responses", "min_annotators")
def export_command(
    predictions: Annotated[
        Path, typer.Argument(help="Samples that lm_eval logged, or a file of predictions.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the sheet and its key.")],
    asked: Asked,
    rows: Annotated[int, typer.Option(min=2, help="Rows of the sheet, at most.")] = 100,
    history: Annotated[int, typer.Option(min=1, help="Earlier responses shown in a row.")] = 6,
    seed: Annotated[int, typer.Option(help="Seed of all choices.")] = 0,
    force: Force = False,
) -> None:
    """Write a blinded sheet (CSV, Label Studio) and, apart from it, the key."""
    from capo_bench.human_validation import export, make_sheet
    from capo_bench.metrics.cells import join
    from capo_bench.scoring.predictions import read_predictions

    may_write(output, force)
    found = read_predictions(predictions)
    options = asked.options(found.options, predictions)
    loaded = options.load()
    found.check(predictions, loaded)
    cells = join(loaded, options.split, found.predictions)
    sheet, key = make_sheet(cells, rows=rows, history=history, seed=seed)
    *for_raters, secret = export(output, sheet, key)
    print(f"{len(sheet)} rows, {rows} asked for; for the raters:")
    say(*(f"  {path}" for path in for_raters))
    say("not for the raters:", f"  {secret}")


@app.command("import")
def import_command(
    key: Annotated[Path, typer.Argument(help="The key that export wrote.")],
    sheets: Annotated[list[Path], typer.Argument(help="A filled CSV of each rater.")],
    as_json: Json = False,
) -> None:
    """Compute what the raters recognised, and how far they and the classifier agree."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from capo_bench.display import console
    from capo_bench.human_validation import evaluate
    from capo_bench.stats.resampling import Undefined

    found = evaluate(key, sheets)
    if as_json:
        print(json_text(found.as_json()))
        return
    raters = ", ".join(f"{name} ({rated})" for name, rated in found.raters.items())
    table = Table(
        title=f"{found.corpus}: {found.rows} rows, rated by {raters}",
        title_justify="left",
        box=SIMPLE_HEAD,
        caption="95 % intervals, clustered on the item. Recognised by guessing: 0.500. "
        f"Fingerprint {found.fingerprint}",
        caption_justify="left",
        min_width=76,
    )
    for heading, justify in (("", "left"), ("share", "right"), ("95 % interval", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for name, share in found.shares.items():
        if isinstance(share, Undefined):
            table.add_row(name, "not defined", f"because {share.reason}")
        else:
            table.add_row(name, f"{share.value:.3f}", f"{share.low:.3f} .. {share.high:.3f}")
    console().print(table)
    for pair, values in found.kappas.items():
        said = ", ".join(f"{question} {value:.2f}" for question, value in values.items())
        say(f"Cohen's kappa of {' and '.join(pair)}: {said}")
