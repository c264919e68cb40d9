"""The commands of leaderboards: `submit`, `verify` and `leaderboard ...`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from capo_bench.errors import CapoBenchError

if TYPE_CHECKING:
    from capo_bench.options import Options
    from capo_bench.score import Scorer

app = typer.Typer(help="Leaderboards that anyone can recompute.", no_args_is_help=True)


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
) -> None:
    """Make a submission from the output of lm-eval; never asks, names all that is missing."""
    from capo_bench.leaderboard.submit import read_given
    from capo_bench.leaderboard.submit import submit as make

    made = make(results, output, read_given(card, settings or []), task)
    counts = ", ".join(map(str, map(len, made.predictions)))
    runs = "run" if len(made.predictions) == 1 else "runs"
    print(f"{made.folder}: {len(made.predictions)} {runs} ({counts} responses); read its card.yaml")
    print(f"Check it: capo-bench verify {made.folder}")


def verify(
    folders: Annotated[
        list[Path], typer.Argument(help="Submissions, folders of them, or folders of boards.")
    ],
    board: Annotated[
        Path | None, typer.Option(help="board.yaml; default: that of the board they lie in.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Without a board: the corpus, by name or file.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where the corpus's files lie.")] = None,
    splits: Annotated[Literal["capo", "native"], typer.Option()] = "capo",
    split: Annotated[str, typer.Option(help="Without a board: the split.")] = "test",
    valid_only: Annotated[bool, typer.Option(help="Self-validated responses only.")] = False,
    bertscore: Annotated[str | None, typer.Option(help="BERTScore's encoder.")] = None,
    form: Annotated[
        Literal["rich", "json", "github"], typer.Option("--format", help="For whom to print.")
    ] = "rich",
) -> None:
    """Check submissions as a linter does. Exit 0: accepted, 1: errors found, 2: could not check."""
    from rich.progress import track

    from capo_bench.leaderboard.findings import as_github, as_json, as_text
    from capo_bench.leaderboard.submission import find_submissions
    from capo_bench.leaderboard.verify import verify as check
    from capo_bench.options import Options

    asked: list[tuple[Path, Scorer, str | None]] = []
    for folder in folders:
        if corpus is not None:
            options = Options(corpus, None, splits, split, valid_only, bertscore=bertscore)
            below, name = folder, None
        else:
            options, below, name = _board(folder, board)
        options = replace(options, data=str(data) if data else options.data)
        asked += [(one, options.scorer(), name) for one in find_submissions(below)]
    progress = Console(stderr=True)
    found = [
        check(one, scorer, name)
        for one, scorer, name in track(
            asked, "verifying", console=progress, disable=len(asked) == 1, transient=True
        )
    ]
    if form == "json":
        print(json.dumps(as_json(found), indent=2))
    for one in found:
        if form == "rich":
            Console().print(as_text(one), soft_wrap=True)
        elif form == "github":
            for finding in one.findings:
                print(as_github(finding, Path.cwd()))
    if any(one.errors for one in found):
        raise typer.Exit(1)


def _board(folder: Path, file: Path | None) -> tuple[Options, Path, str]:
    """A board's options, the folder to look for submissions in, and the board's id."""
    from capo_bench.leaderboard.board import BOARD, SUBMISSIONS, read_board

    folder = folder.absolute()
    places = [file.absolute().parent] if file else [folder, folder.parent, folder.parent.parent]
    home = next((place for place in places if (place / BOARD).is_file()), None)
    if home is None:
        raise CapoBenchError(
            f"{folder} lies in no board ({BOARD} two folders up); name one with --board, or the "
            "corpus with --corpus"
        )
    return (
        read_board(home).options(home),
        folder / SUBMISSIONS if home == folder else folder,
        home.name,
    )


@app.command()
def schema() -> None:
    """Print the JSON Schemas of a submission: its card, and a line of its predictions."""
    from capo_bench.leaderboard.submission import schemas

    print(json.dumps(schemas(), indent=2))
