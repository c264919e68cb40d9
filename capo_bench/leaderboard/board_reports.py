"""The full report of every run of a board: single responses beside the corpus's texts, local only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from capo_bench.errors import noting_faults
from capo_bench.leaderboard.board import SUBMISSIONS, Board
from capo_bench.leaderboard.page import Reports
from capo_bench.leaderboard.submission import read_submission
from capo_bench.report import build as report
from capo_bench.report import page as report_page

Task = tuple[Board, str, int]


def write_reports(
    boards: Sequence[Board], track: Callable[[Sequence[Task]], Iterable[Task]] = iter
) -> tuple[Reports, list[str]]:
    """Writes `BOARD/reports/ID/SEED/report.html` and `report.md` for every ranked run.

    The pages hold texts of the corpora, whose licences apply to them; they stay local.

    Args:
        boards: The boards, as built.
        track: Wraps board, submission and index of each run, to show progress.

    Returns:
        The links to them, relative to the folder of the boards, and of each report that the program
        failed on, which harms no other, what went wrong.

    Raises:
        CapoBenchError: If a folder cannot be written.
    """
    tasks = [
        (board, entry.id, index)
        for board in boards
        for entry in board.systems
        if entry.card
        for index in range(len(entry.card.runs))
    ]
    links: dict[tuple[str, str], list[tuple[str, str]]] = {}
    failed: list[str] = []
    for board, name, index in track(tasks):
        faults: list[str] = []
        with noting_faults(faults.append):
            seed = _write(board, name, index)
            where = f"{board.id}/reports/{name}/{seed}/report.html"
            links.setdefault((board.id, name), []).append((f"seed {seed}", where))
        failed += [f"{board.id}, {name}: {why}" for why in faults]
    return links, failed


def _write(board: Board, name: str, index: int) -> int:
    """Writes the report of a run; its seed."""
    submission = read_submission(board.folder / SUBMISSIONS / name)
    seed = submission.card.runs[index].seed
    scorer = board.spec.options(board.folder).scorer()
    title = f"{submission.card.system}, seed {seed}"
    found = report.build(scorer, submission.predictions[index], title)
    report_page.write(found, board.folder / "reports" / name / str(seed))
    return seed
