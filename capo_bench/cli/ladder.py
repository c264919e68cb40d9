"""`capo-bench ladder`: the paper's comparison, from one model and one corpus to a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from capo_bench.cli.options import Model, Preset
from capo_bench.display import say
from capo_bench.errors import CapoBenchError


def ladder(
    model: Model,
    corpus: Annotated[str, typer.Option(help="nli, paraphrase, mini-nli or mini-paraphrase.")],
    output: Annotated[Path, typer.Option(help="Folder of all checkpoints and results.")],
    preset: Preset = "gpu",
    ablations: Annotated[bool, typer.Option(help="CAPO's ablations, too.")] = True,
    board: Annotated[
        Path | None,
        typer.Option(help="Folder of the board; default: leaderboards/CORPUS in the output."),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="YAML for the cards: submitted_by, hardware, licence, ...")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Run nothing; make a board of what stands.")
    ] = False,
) -> None:
    """Prompting, SFT, CAPO and its ablations, one after the other, and a board of them.

    What stands is not run again, so that an interrupted ladder goes on where it stopped.
    """
    from capo_bench.cli.leaderboard import build
    from capo_bench.display import console
    from capo_bench.experiments import designs
    from capo_bench.experiments.publish import publish as make
    from capo_bench.experiments.runs import PRESETS, Experiment
    from capo_bench.experiments.stages import run_shown
    from capo_bench.leaderboard.submit import read_given

    # Known before hours of training: cards that name nobody are refused.
    given = {"licence": "Apache-2.0", **read_given(card, [])}
    if "submitted_by" not in given:
        raise CapoBenchError("a board says who made a run; give submitted_by in the YAML of --card")
    sized = PRESETS[preset]
    runs = designs.ladder(corpus, sized, ablations=ablations)
    experiment = Experiment(model, corpus, output, sized, runs)
    if not publish:
        run_shown(experiment.stages(), console(stderr=True))
    home = board or output / "leaderboards" / corpus
    command = f"capo-bench ladder --model {Path(model).name} --corpus {corpus} --output RUNS"
    for folder in make(experiment, home, given, f"{command} --preset {preset} --card CARD"):
        say(folder)
    build(home.parent)
