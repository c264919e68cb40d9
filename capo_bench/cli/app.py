"""The command line. It only calls: everything it does can be done from Python."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from capo_bench.cli import leaderboard, regression
from capo_bench.cli.data import app as data_app
from capo_bench.cli.study import app as study_app
from capo_bench.cli.validate_humans import app as human_app
from capo_bench.errors import CapoBenchError

if TYPE_CHECKING:
    from capo_bench.metrics.cells import Prediction
    from capo_bench.scoring.scorer import Scorer

app = typer.Typer(
    help="Annotator faithfulness of language models: the open benchmark of CAPO.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(human_app, name="validate-humans")
app.add_typer(leaderboard.app, name="leaderboard")
app.add_typer(study_app, name="study")
app.command()(leaderboard.submit)
app.command()(leaderboard.verify)

app.command()(regression.compare)
app.command()(regression.gate)

# How samples and predictions are told which corpus they answer; shared by whoever reads them.
_Corpus = Annotated[str | None, typer.Option(help="Corpus name or file; samples know their own.")]
_Data = Annotated[Path | None, typer.Option(help="Where the corpus's files lie.")]
_Splits = Annotated[Literal["capo", "native"] | None, typer.Option()]
_Split = Annotated[str | None, typer.Option(help="The split that was predicted.")]
_ValidOnly = Annotated[bool | None, typer.Option(help="Self-validated responses only.")]
_Bertscore = Annotated[str | None, typer.Option(help="BERTScore's encoder.")]

_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_PASS_THROUGH, add_help_option=False)
def run(context: typer.Context) -> None:
    """Run lm_eval with the tasks of this package; every flag is lm_eval's own."""
    from lm_eval.__main__ import cli_evaluate

    from capo_bench.harness.paths import tasks_path

    arguments = list(context.args)
    if not any(argument.split("=")[0] == "--include_path" for argument in arguments):
        arguments += ["--include_path", str(tasks_path())]
    _check_model(arguments)
    sys.argv = ["lm_eval", "run", *arguments]
    cli_evaluate()


@app.command(context_settings=_PASS_THROUGH, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train a model: `train sft` or `train capo`, with every option of TrainingArguments."""
    from capo_bench.train.command import run as run_training

    run_training(context.args)


@app.command()
def ladder(
    model: Annotated[str, typer.Option(help="Folder, hub name or .gguf file of the base model.")],
    corpus: Annotated[str, typer.Option(help="nli, paraphrase, mini-nli or mini-paraphrase.")],
    output: Annotated[Path, typer.Option(help="Folder of all checkpoints and results.")],
    preset: Annotated[
        Literal["smoke", "cpu", "gpu"], typer.Option(help="How large the runs are.")
    ] = "gpu",
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
    from capo_bench.experiments.ladder import PRESETS, Ladder, climb_shown, rungs
    from capo_bench.experiments.publish import publish as make
    from capo_bench.leaderboard.submit import read_given

    # Known before hours of training: cards that name nobody are refused.
    given = {"licence": "Apache-2.0", **read_given(card, [])}
    if "submitted_by" not in given:
        raise CapoBenchError("a board says who made a run; give submitted_by in the YAML of --card")
    sized = PRESETS[preset]
    climbed = Ladder(model, corpus, output, sized, rungs(sized, ablations=ablations))
    if not publish:
        climb_shown(climbed, Console(stderr=True))
    home = board or output / "leaderboards" / corpus
    command = f"capo-bench ladder --model {Path(model).name} --corpus {corpus} --output RUNS"
    for folder in make(climbed, home, given, f"{command} --preset {preset} --card CARD"):
        print(folder)
    build(home.parent)


@app.command()
def tasks() -> None:
    """Print the folder of task definitions, for lm_eval's --include_path."""
    from capo_bench.harness.paths import tasks_path

    print(tasks_path())


@app.command()
def score(
    files: Annotated[
        list[Path], typer.Argument(help="Samples that lm_eval logged, or files of predictions.")
    ],
    corpus: _Corpus = None,
    data: _Data = None,
    splits: _Splits = None,
    split: _Split = None,
    valid_only: _ValidOnly = None,
    bertscore: _Bertscore = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score predictions offline; the numbers are those of the run that made them."""
    from capo_bench.metrics.registry import metrics_of
    from capo_bench.report.tables import scores_table

    given = {
        "corpus": corpus,
        "data": data,
        "splits": splits,
        "split": split,
        "valid_only": valid_only,
        "bertscore": bertscore,
    }
    results = []
    for path in files:
        predictions, scorer = _answered(path, given)
        scores = scorer.score(predictions)
        results.append({"file": str(path), **scores.as_json()})
        if not as_json:
            Console().print(scores_table(scores, metrics_of(scorer.corpus), path.name))
    if as_json:
        print(json.dumps(results, indent=2))


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="Samples that lm_eval logged, or predictions.")],
    output: Annotated[Path, typer.Option(help="Folder for report.html and report.md.")],
    corpus: _Corpus = None,
    data: _Data = None,
    splits: _Splits = None,
    split: _Split = None,
    valid_only: _ValidOnly = None,
    bertscore: _Bertscore = None,
) -> None:
    """Show one run between floor and ceiling, response by response: a web page and Markdown."""
    from rich.progress import track

    from capo_bench.report.build import build
    from capo_bench.report.page import write

    given = {
        "corpus": corpus,
        "data": data,
        "splits": splits,
        "split": split,
        "valid_only": valid_only,
        "bertscore": bertscore,
    }
    predictions, scorer = _answered(file, given)
    progress = Console(stderr=True)
    found = build(
        scorer,
        predictions,
        file.stem,
        lambda rows: track(rows, "scoring controls", len(rows), console=progress),
    )
    files = write(found, output)
    print(found.finding.title)
    print("\n".join(map(str, files)))


@app.command()
def controls(
    corpus: Annotated[str, typer.Option(help="Corpus name or file.")],
    data: Annotated[Path | None, typer.Option(help="Where the corpus's files lie.")] = None,
    splits: Annotated[Literal["capo", "native"], typer.Option()] = "capo",
    split: Annotated[str, typer.Option(help="The split to answer; not train.")] = "test",
    valid_only: Annotated[bool, typer.Option(help="Self-validated responses only.")] = False,
    bertscore: Annotated[str | None, typer.Option(help="BERTScore's encoder.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the rows' random choices.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the rows as files of predictions.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score the floor and the ceiling: impostors, and the humans themselves."""
    from rich.progress import track

    from capo_bench.report.tables import controls_tables
    from capo_bench.scoring.controls import control_predictions, score_controls
    from capo_bench.scoring.options import Options
    from capo_bench.scoring.predictions import write_predictions

    where = str(data) if data else None
    options = Options(corpus, where, splits, split, valid_only, bertscore=bertscore)
    scorer = options.scorer()
    predictions = control_predictions(scorer.corpus, split, seed)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        for name, row in predictions.items():
            write_predictions(output / f"{name}.jsonl", scorer.corpus, row)
    scored = score_controls(scorer, predictions)
    progress = Console(stderr=True)
    rows = list(track(scored, "scoring controls", len(predictions), console=progress))
    if as_json:
        print(json.dumps({control.name: control.as_json() for control in rows}, indent=2))
        return
    for table in controls_tables(rows):
        Console().print(table)


@app.command()
def analyse(
    corpus: Annotated[str, typer.Argument(help="Corpus name or file.")],
    data: Annotated[Path | None, typer.Option(help="Where the corpus's files lie.")] = None,
    splits: Annotated[Literal["capo", "native"], typer.Option()] = "capo",
    split: Annotated[str, typer.Option(help="The split to attribute; not train.")] = "test",
    valid_only: Annotated[bool, typer.Option(help="Self-validated responses only.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder for figures (PNG, SVG) and analysis.json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell how well a corpus's annotators can be told apart, and by what."""
    from capo_bench.analysis import stability as analysis
    from capo_bench.corpus.load import load
    from capo_bench.files import write_text

    console = Console(stderr=True)
    with console.status("analysing"):
        found = analysis.analyse(
            load(corpus, splits=splits, path=data, valid_only=valid_only), split
        )
        text = json.dumps(found.as_json(), ensure_ascii=False, indent=2)
        if output:
            from capo_bench.analysis.figures import draw

            files = [*draw(found, output), output / "analysis.json"]
            write_text(files[-1], text + "\n")
    if as_json:
        print(text)
        return
    for table in analysis.tables(found):
        Console().print(table)
    if output:
        print("\n".join(map(str, files)))


@app.command()
def validate(
    names: Annotated[
        list[str] | None, typer.Argument(help="Tasks; default: all of this package.")
    ] = None,
    metadata: Annotated[str, typer.Option(help="As lm_eval's: JSON for every task.")] = "{}",
) -> None:
    """Check the tasks for real: load each, render its documents, score a canned answer."""
    from capo_bench.harness.dry_run import task_names, validate_task

    try:
        extra = json.loads(metadata)
    except ValueError as error:
        raise CapoBenchError(f"--metadata is not valid JSON: {error}") from error
    chosen = names or task_names()
    failed = 0
    for name in chosen:
        problem = validate_task(name, extra)
        failed += problem is not None
        print(
            f"{'ok    ' if problem is None else 'FAILED'} {name}"
            + (f": {problem}" if problem else "")
        )
    if failed:
        raise CapoBenchError(f"{failed} of {len(chosen)} tasks failed")


def _answered(path: Path, given: Mapping[str, Any]) -> tuple[tuple[Prediction, ...], Scorer]:
    """A file's predictions, and the scorer of the corpus that they answer."""
    from capo_bench.scoring.options import read_options
    from capo_bench.scoring.predictions import read_predictions

    found = read_predictions(path)
    chosen = {key: value for key, value in given.items() if value is not None}
    scorer = read_options(found.options | chosen).scorer()
    found.check(path, scorer.corpus)
    return found.predictions, scorer


def _check_model(arguments: list[str]) -> None:
    """Refuses a model folder that is not there before lm_eval spends a minute on its tasks."""
    for argument in arguments:
        for part in argument.replace("--model_args=", "").split(","):
            key, _, value = part.partition("=")
            local = value.startswith(("/", "./", "../", "~"))
            if key in {"pretrained", "peft"} and local and not Path(value).expanduser().exists():
                raise CapoBenchError(
                    f"--model_args {key}: {value} does not exist; name a model folder or a hub id"
                )


def main() -> None:
    """Entry point of `capo-bench`: bad input is one line on stderr and exit status 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app()
    except CapoBenchError as error:
        print(f"capo-bench: {error}", file=sys.stderr)
        sys.exit(2)
