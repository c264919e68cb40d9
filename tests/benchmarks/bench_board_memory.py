"""How the memory of a board's build grows with its submissions.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_board_memory [10 30 100]

The board and submissions are those of `bench_leaderboard`. The metrics' sums are taken of the first
submission alone, and resampled, kept and ranked for each: what a build holds, without the hours.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.leaderboard import board, board_tables, page
from capo_bench.metrics.cells import Cells
from capo_bench.scoring.scorer import Scorer
from tests.benchmarks.bench_leaderboard import few_controls, make_board, submit


def once_for_all() -> None:
    """Has metrics take their sums once, and nothing read through the responses."""
    measure, known = Scorer.measure, {}

    def measured(self: Scorer, cells: Cells, **how: Any) -> Any:
        if len(cells) not in known:
            known[len(cells)] = measure(self, cells, **how)
        return known[len(cells)]

    Scorer.measure = measured  # type: ignore[method-assign]
    board.check_responses = lambda *_: iter(())  # type: ignore[attr-defined]
    board.control_predictions, board.representatives = few_controls, lambda scorer: {}


def main() -> None:
    """Prints one row a size; the first is that of the references alone."""
    once_for_all()
    world, there = synthesize("mini-nli", items=440), 0
    print("| submissions | most so far, MB | with the board held, MB | processor, s |")
    print("|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "boards"
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        make_board(root, "nli", world)
        for size in (0, *map(int, sys.argv[1:] or ("10", "30", "100"))):
            for number in range(there, size):
                submit(root, "nli", world, number)
            start, there = time.process_time(), size
            built = board.build(root / "nli")
            board_tables.files(built)
            page.html([built], {})
            gc.collect()
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            held = psutil.Process().memory_info().rss // 2**20
            print(f"| {size} | {most} | {held} | {time.process_time() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
