"""`capo-bench study`: what happens when one thing about the annotators changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from capo_bench.cli.options import Model, Preset
from capo_bench.display import say, tracked

app = typer.Typer(
    help="Learning curves, overfitting, a held-out annotator, crowds, controls, doses.",
    no_args_is_help=True,
)


@app.command()
def run(
    study: Annotated[
        Literal["history", "overfitting", "held-out", "crowd", "control", "dose"],
        typer.Argument(help="Which one."),
    ],
    model: Model,
    corpus: Annotated[str, typer.Option(help="nli, paraphrase, ..., or a .jsonl file.")],
    output: Annotated[
        Path,
        typer.Option(help="Folder of checkpoints and results; a ladder's of all of the corpus."),
    ],
    folder: Annotated[Path, typer.Option(help="Folder of the study: predictions, table, figure.")],
    hardware: Annotated[str, typer.Option(help="What it runs on, for the table.")],
    preset: Preset = "gpu",
) -> None:
    """Train, evaluate and build; what stands is not run again."""
    from capo_bench.corpus.readers import jsonl
    from capo_bench.display import console
    from capo_bench.experiments.designs import DESIGNS, SIZES
    from capo_bench.experiments.runs import PRESETS, Experiment
    from capo_bench.experiments.stages import run_shown
    from capo_bench.experiments.study import write
    from capo_bench.files import locked
    from capo_bench.scoring.options import Options

    design = DESIGNS[study](corpus, PRESETS[preset], SIZES[preset], folder, output)
    with locked(output), locked(folder):
        for place, made in ((folder, design.corpora), (output, design.private)):
            for name, content in made.items():
                jsonl.write(content, place / name)
        experiment = Experiment(model, corpus, output, PRESETS[preset], design.runs)
        run_shown(experiment.stages(), console(stderr=True))
        write(design, experiment, folder, hardware, Options(corpus).scorer().encoder)
        build([folder])


@app.command()
def build(
    folders: Annotated[list[Path], typer.Argument(help="Folders of studies.")],
) -> None:
    """Score the predictions again and write table and figure."""
    from capo_bench.experiments.study import build as build_study
    from capo_bench.files import locked

    for folder in folders:
        with locked(folder):
            say(*build_study(folder, partial(tracked, description=folder.name)))
