"""The commands of leaderboards: `submit`, `verify` and `leaderboard ...`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from capo_bench.cli.options import Asked, Force, asking, may_write
from capo_bench.display import json_text, say, tracked
from capo_bench.errors import UNEXPECTED, CapoBenchError

if TYPE_CHECKING:
    from capo_bench.leaderboard.submission import Submission
    from capo_bench.scoring.scorer import Scorer

app = typer.Typer(help="Leaderboards that anyone can recompute.", no_args_is_help=True)

_Jobs = Annotated[int, typer.Option(help="How many processes score; -1: one a processor core.")]
export = typer.Typer(help="Write submissions in the formats of others.", no_args_is_help=True)
app.add_typer(export, name="export")


def submit(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="lm-eval's output folder (--log_samples); several: seeds of one system."
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="The submission's folder, leaderboards/BOARD/submissions/ID.")
    ],
    card: Annotated[
        Path | None, typer.Option(help="YAML with what the results cannot know.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the card; goes before --card.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="The task, if the results have several.")] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add the runs to the submission that is there.")
    ] = False,
    force: Force = False,
) -> None:
    """Make a submission from the output of lm-eval; names all that is missing."""
    from capo_bench.leaderboard import submit as making

    given = making.read_given(card, settings or [])
    if add and force:
        raise CapoBenchError(
            "--add keeps the runs that are there, --force removes them; choose one"
        )
    if add:
        made = making.add(results, output, given, task)
    else:
        may_write(output, force)
        made = making.submit(results, output, given, task, replace=force)
    counts = ", ".join(map(str, map(len, made.predictions)))
    runs = "run" if len(made.predictions) == 1 else "runs"
    say(f"{made.folder}: {len(made.predictions)} {runs} ({counts} responses); read its card.yaml")
    say(f"Check it: capo-bench verify {made.folder}")


@asking()
def verify(
    folders: Annotated[
        list[Path], typer.Argument(help="Submissions, folders of them, or folders of boards.")
    ],
    asked: Asked,
    board: Annotated[
        Path | None, typer.Option(help="board.yaml; default: that of the board they lie in.")
    ] = None,
    form: Annotated[
        Literal["rich", "json", "github"], typer.Option("--format", help="For whom to print.")
    ] = "rich",
    jobs: _Jobs = 1,
) -> None:
    """Check submissions as a linter does.

    Exit 0: accepted, 1: errors found, 2: could not check, 70: this program failed on one.

    The board that they lie in says which corpus they answer; without one, --corpus does.
    """
    from capo_bench.display import console
    from capo_bench.leaderboard.board import BOARD, SUBMISSIONS, read_board
    from capo_bench.leaderboard.findings import as_github, as_json, as_text
    from capo_bench.leaderboard.submission import find_submissions
    from capo_bench.leaderboard.verify import PROGRAM
    from capo_bench.leaderboard.verify import verify as check

    if board and asked.corpus:
        raise CapoBenchError("--board and --corpus both say what is answered; choose one")
    tasks: list[tuple[Path, Scorer, str | None]] = []
    for folder in folders:
        home = None if asked.corpus else _board(folder, board)
        known = read_board(home).options(home).as_json() if home else {}
        scorer = asked.options(known).scorer()
        below = folder / SUBMISSIONS if (folder / BOARD).is_file() else folder
        tasks += [(one, scorer, home.name if home else None) for one in find_submissions(below)]
    listed = tracked(tasks, "verifying", transient=True) if len(tasks) > 1 else tasks
    if jobs == 1:
        found = [check(one, scorer, name) for one, scorer, name in listed]
    else:
        from joblib import Parallel, delayed

        found = Parallel(n_jobs=jobs)(delayed(check)(*task) for task in listed)
    if form == "json":
        print(json_text(as_json(found)))
    for one in found:
        if form == "rich":
            console().print(as_text(one), soft_wrap=True)
        elif form == "github":
            for finding in one.findings:
                print(as_github(finding, Path.cwd()))
    refused = sum(bool(one.errors) for one in found)
    if form == "rich" and len(found) > 1:
        print(f"{len(found)} submissions: {len(found) - refused} accepted, {refused} refused")
    if any(finding.rule == PROGRAM for one in found for finding in one.findings):
        raise typer.Exit(UNEXPECTED)
    if refused:
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schemas: a board's board.yaml, a submission's card, a line of predictions."""
    from capo_bench.leaderboard.board import BoardSpec
    from capo_bench.leaderboard.submission import schemas

    print(json_text({"board": BoardSpec.model_json_schema(), **schemas()}))


@app.command()
@asking("splits", "split", "valid_only", "min_responses", "min_annotators", "bertscore")
def init(
    folder: Annotated[Path, typer.Argument(help="The new folder, leaderboards/BOARD.")],
    corpus: Annotated[
        str, typer.Option(help="What is answered: a corpus's name or a .jsonl file.")
    ],
    title: Annotated[str, typer.Option(help="Name of the board, as tables show it.")],
    asked: Asked,
    about: Annotated[str | None, typer.Option(help="What is asked for, in a sentence.")] = None,
    force: Force = False,
) -> None:
    """Make a board: the folder, with a board.yaml to which submissions can be made."""
    import os

    from capo_bench.leaderboard.board import BOARD
    from capo_bench.leaderboard.board import init as make
    from capo_bench.metrics.bertscore import default_encoder

    may_write(folder / BOARD, force)
    said = {name: value for name, value in vars(asked).items() if value is not None}
    said.setdefault("bertscore", default_encoder(corpus))
    # A file is named from the board's folder, so that both can move together.
    named = os.path.relpath(corpus, folder) if corpus.endswith(".jsonl") else corpus
    say(make(folder, {"title": title, "about": about, "corpus": named, **said}))


@export.command("every-eval-ever")
def export_every_eval_ever(
    folder: Annotated[Path, typer.Argument(help="The submission's folder, in its board.")],
    output: Annotated[Path, typer.Option(help="The JSON file to write.")],
    force: Force = False,
) -> None:
    """Write recomputed scores as a record of Every Eval Ever (EvalEval coalition)."""
    from time import time

    from capo_bench.files import write_text
    from capo_bench.leaderboard.exchange import every_eval_ever
    from capo_bench.scoring.cache import measured

    may_write(output, force)
    submission, scorer = _accepted(folder)
    (measurements,) = measured(scorer, submission.predictions)
    record = every_eval_ever(submission, scorer, measurements, time())
    write_text(output, json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    say(f"{output}: {len(record['evaluation_results'])} results")


@export.command("lewidi")
def export_lewidi(
    folder: Annotated[Path, typer.Argument(help="The submission's folder, in its board.")],
    output: Annotated[Path, typer.Option(help="The folder to write the TSV files to.")],
    force: Force = False,
) -> None:
    """Write predictions as LeWiDi-2025's Codabench takes them; corpora of LeWiDi only."""
    from capo_bench.leaderboard.exchange import write_lewidi

    may_write(output, force)
    submission, scorer = _accepted(folder)
    files, unread = write_lewidi(submission, scorer, output)
    say(*files)
    if unread:
        stand = "they stand as no label, the middle of the scale, or 0"
        print(f"In {unread} responses no label could be read; {stand}.")


def _accepted(folder: Path) -> tuple[Submission, Scorer]:
    """A submission in its board, if verification accepts it, and the board's scorer."""
    from capo_bench.leaderboard.board import read_board
    from capo_bench.leaderboard.submission import read_submission
    from capo_bench.leaderboard.verify import verify as check

    home = _board(folder, None)
    scorer = read_board(home).options(home).scorer()
    for finding in check(folder, scorer, home.name).errors:
        raise CapoBenchError(finding.message, file=finding.file, line=finding.line)
    return read_submission(folder), scorer


@app.command()
def build(
    folder: Annotated[
        Path, typer.Argument(help="Folder of leaderboards, one folder a board.")
    ] = Path("leaderboards"),
    reports: Annotated[
        bool, typer.Option("--reports", help="Also each run's full report, and local.html.")
    ] = False,
    jobs: _Jobs = 1,
) -> None:
    """Recompute all boards: tables and page.

    Exit 0: all ranked, 1: submissions refused, 2: could not build, 70: this program failed on a
    submission, or altogether. Whatever is wrong with a submission, the others are ranked.

    Only what was never scored takes time. --reports writes pages with the corpora's texts, for local
    use: BOARD/reports, and local.html, which is index.html with links to them.
    """
    from capo_bench.files import locked

    with locked(folder):
        _build(folder, reports, jobs)


def _build(folder: Path, reports: bool, jobs: int) -> None:
    from capo_bench.files import write_all
    from capo_bench.leaderboard import board_tables, contrasts, page
    from capo_bench.leaderboard.board import build as build_board
    from capo_bench.leaderboard.board import find_boards
    from capo_bench.leaderboard.board_reports import write_reports

    boards = []
    failed: list[str] = []
    files: dict[Path, str | None] = {}
    for one in find_boards(folder):
        board = build_board(one, partial(tracked, description=f"{one.name}: scoring"), jobs)
        files |= board_tables.files(board) | {board.folder / "map.svg": page.draw(board)}
        files |= contrasts.files(board, contrasts.contrasts(board))
        boards.append(board)
        say(f"{board.id}: {len(board.systems)} ranked, {len(board.refused)} refused")
        for name, reason in board.refused:
            what = "failed on" if name in board.failed else "refused"
            say(f"  {what} {name!r}: {reason!r}")
    files[folder / "index.html"] = page.html(boards, {})
    write_all(folder, files)
    say(folder / "index.html")
    if reports:
        links, failed = write_reports(boards, partial(tracked, description="reports"))
        page.write(boards, folder / "local.html", links)
        say(*(f"  failed on the report of {one}" for one in failed), folder / "local.html")
    if failed or any(board.failed for board in boards):
        raise typer.Exit(UNEXPECTED)
    if any(board.refused for board in boards):
        raise typer.Exit(1)


def _board(folder: Path, file: Path | None) -> Path:
    """The folder of the board that a submission, a folder of them or a board itself lies in."""
    from capo_bench.leaderboard.board import BOARD

    if file and (file.name != BOARD or not file.is_file()):
        raise CapoBenchError(f"is no {BOARD} of a board; name one", file=file)
    start = folder.absolute()
    places = [file.absolute().parent] if file else [start, start.parent, start.parent.parent]
    home = next((place for place in places if (place / BOARD).is_file()), None)
    if home is None:
        raise CapoBenchError(
            f"{folder} lies in no board ({BOARD} two folders up); move it into one, or verify it "
            "with --board or --corpus"
        )
    return home
