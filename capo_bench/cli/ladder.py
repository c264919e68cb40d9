"""`capo-bench ladder`: the paper's comparison, from one model and one corpus to a board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capo_bench.cli.options import Asked, Model, Preset, asking
from capo_bench.display import say
from capo_bench.errors import CapoBenchError

if TYPE_CHECKING:
    from capo_bench.corpus.model import Corpus


@asking("min_responses", "min_annotators")
def ladder(
    model: Model,
    corpus: Annotated[
        str, typer.Option(help="nli, paraphrase, convincing, ..., or a .jsonl file.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder of all checkpoints and results.")
    ] = None,
    preset: Preset = "gpu",
    train_items: Annotated[
        int | None,
        typer.Option(min=1, help="Train on so many items; the world `places` grows to them."),
    ] = None,
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
    plan: Annotated[
        bool, typer.Option("--plan", help="Run nothing; print what every stage would take.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="For --plan: h100, a100, rtx4090 or cpu, beside this machine.")
    ] = "h100",
    *,
    asked: Asked,
) -> None:
    """Prompting, SFT, CAPO and its ablations, one after the other, and a board of them.

    What stands is not run again, so that an interrupted ladder goes on where it stopped.
    """
    from capo_bench.experiments import designs

    kept = {name: value for name, value in vars(asked).items() if value}
    loaded = asked.load(corpus)
    larger = designs.grown(loaded, train_items) if train_items else loaded
    if plan:
        _print_plan(model, larger, corpus, preset, ablations, train_items, device)
        return
    if output is None:
        raise CapoBenchError("no folder for checkpoints and results; give one with --output DIR")
    from capo_bench.cli.leaderboard import build
    from capo_bench.corpus.readers import jsonl
    from capo_bench.display import console
    from capo_bench.experiments import publish as publishing
    from capo_bench.experiments.runs import PRESETS, Experiment
    from capo_bench.experiments.stages import run_shown
    from capo_bench.files import locked
    from capo_bench.leaderboard.submit import read_given

    given = {"licence": "Apache-2.0", **read_given(card, [])}
    if "submitted_by" not in given:
        raise CapoBenchError("a board says who made a run; give submitted_by in the YAML of --card")
    sized = PRESETS[preset]
    world = str(output / f"{loaded.name}-{train_items}.jsonl") if larger is not loaded else None
    runs = designs.ladder(corpus, sized, ablations=ablations, items=train_items, world=world)
    experiment = Experiment(model, corpus, output, sized, runs, kept)
    home = board or output / "leaderboards" / Path(corpus).stem
    publishing.check(experiment, home, given)
    command = f"capo-bench ladder --model {Path(model).name} --corpus {Path(corpus).name}"
    dose = {"train_items": train_items} if train_items else {}
    flags = {**kept, **dose, "output": "RUNS", "preset": preset, "card": "CARD"}
    command += "".join(f" --{name} {value}" for name, value in flags.items())
    command += "" if ablations else " --no-ablations"
    with locked(output):
        if world:
            jsonl.write(larger, Path(world))
        if not publish:
            run_shown(experiment.stages(), console(stderr=True))
        for folder in publishing.publish(experiment, home, given, command):
            say(folder)
    build(home.parent)


def _print_plan(
    model: str,
    trained_on: Corpus,
    corpus: str,
    preset: str,
    ablations: bool,
    train_items: int | None,
    device: str,
) -> None:
    from rich.table import Table

    from capo_bench.display import console
    from capo_bench.experiments import designs
    from capo_bench.experiments.plan import plan, read_device, read_shape, whole
    from capo_bench.experiments.runs import PRESETS

    sized, shape = PRESETS[preset], read_shape(model)
    runs = designs.ladder(corpus, sized, ablations=ablations, items=train_items)
    devices = {name: read_device(name) for name in dict.fromkeys((device, "cpu"))}
    columns = [plan(shape, trained_on, sized, runs, one) for one in devices.values()]
    table = Table(
        title=f"{model}, {shape.weights / 1e9:.2f} billion weights, on {corpus}; preset {preset}",
        caption="\n".join(
            f"{name}: {one.source}; ${one.price:.2f} an hour." for name, one in devices.items()
        ),
    )
    table.title_justify = table.caption_justify = "left"
    table.add_column("stage", no_wrap=True)
    for heading in ("million tokens", "GB", *(f"{name} min" for name in devices), f"{device} $"):
        table.add_column(heading, justify="right")
    *stages, total = (*zip(*columns, strict=True), tuple(whole(costs) for costs in columns))
    for costs in (*stages, total):
        first = costs[0]
        if costs is total:
            table.add_section()
        table.add_row(
            first.name,
            f"{first.tokens / 1e6:.2f}",
            f"{first.memory / 1e9:.1f}",
            *(f"{cost.seconds / 60:.1f}" for cost in costs),
            f"{first.seconds / 3600 * devices[device].price:.2f}",
        )
    console().print(table)
    if total[0].memory > devices[device].memory:
        say(f"{device} has {devices[device].memory / 1e9:.0f} GB, which is too little.")
