"""How long a board takes to build, how that grows, and what one more submission costs.

Run with one thread:

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_leaderboard.py [10 30 100] [--jobs 2]

Two tasks, NLI and paraphrase, of about 400 responses each; submissions are fresh draws of the bundled
synthetic annotators. Each size is built with an empty cache of scores, in a process that has imported
everything and knows nothing of the corpora; then one submission is added and all is built again.
With one job processor seconds, so that other work on the machine counts little; with several the
wall clock's. Last, the largest resident memory of the process so far.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from capo_bench.corpus.load import load
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.splits import with_splits
from capo_bench.corpus.synthetic.world import World, synthesize
from capo_bench.files import write_all
from capo_bench.leaderboard import board_tables, page
from capo_bench.leaderboard.board import build, find_boards
from capo_bench.leaderboard.submission import Card, write_submission
from capo_bench.metrics.bertscore import load_encoder
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.prompts.responses import render_target
from capo_bench.scoring import options

CARD = {
    "format": 1,
    "model": "org/model",
    "method": "other",
    "setting": "tag",
    "prompt_hash": "0",
    "training_data": "none",
    "test_items_seen": False,
    "uses_test_explanations": False,
    "decoding": {},
    "versions": {"metrics": "1", "task": "1.0"},
    "hardware": "none",
    "submitted_by": "the benchmark",
    "licence": "CC0-1.0",
    "runs": [{"seed": 0, "file": "predictions-0.jsonl"}],
}


def make_board(root: Path, name: str, world: World) -> None:
    """A board with its own corpus: 300 items to learn from, about 400 responses to answer."""
    corpus = with_splits(world.corpus, {"train": 300, "validation": 36, "test": 104})
    folder = root / name
    jsonl.write(corpus, folder / "corpus.jsonl")
    (folder / "board.yaml").write_text(
        f"title: {name}\ncorpus: corpus.jsonl\nbertscore: minilm\n", encoding="utf-8"
    )


def submit(root: Path, name: str, world: World, number: int) -> None:
    """A fresh draw of the annotators for every cell of the split, the label wrong now and then."""
    corpus = load(str(root / name / "corpus.jsonl"))
    rng = Random(number)
    drawn = []
    for item, annotator in evaluated_cells(corpus, "test"):
        whom = annotator if rng.random() < 0.7 else rng.choice(corpus.annotator_ids)
        response = world.sample(item.id, whom, rng)
        text = render_target([response.label], response.explanation)
        drawn.append(Prediction(item.id, annotator, text))
    card = Card.model_validate({**CARD, "board": name, "system": f"System {number}"})
    where = root / name / "submissions" / f"system-{number:03}"
    write_submission(where, card, [drawn], corpus.fingerprint)


def built(root: Path, jobs: int = 1) -> float:
    """Seconds of a build of all boards, tables and page."""
    options._scorer.cache_clear()
    load_encoder.cache_clear()
    clock = time.process_time if jobs == 1 else time.perf_counter
    start = clock()
    boards = [build(folder, jobs=jobs) for folder in find_boards(root)]
    for board in boards:
        write_all(board_tables.files(board))
    page.write(boards, root / "index.html")
    return clock() - start


def main() -> None:
    """Prints one row a size."""
    *given, jobs = sys.argv[1:] if "--jobs" in sys.argv else [*sys.argv[1:], "1"]
    sizes = [int(size) for size in given if size.isdigit()] or [10, 30, 100]
    worlds = {
        "nli": synthesize("mini-nli", items=440),
        "paraphrase": synthesize("mini-paraphrase", items=440),
    }
    table = Table(title="Seconds of leaderboard build, two tasks", title_justify="left")
    heads = (
        "submissions a task",
        "controls only",
        "all",
        "a submission",
        "again",
        "one more",
        "MB",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "boards"
            os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
            for name, world in worlds.items():
                make_board(root, name, world)
            controls = built(root, int(jobs))
            for name, world in worlds.items():
                for number in range(size):
                    submit(root, name, world, number)
            rest = built(root, int(jobs))
            again = built(root, int(jobs))
            submit(root, "nli", worlds["nli"], size)
            more = built(root, int(jobs))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = (controls, controls + rest, rest / size / 2, again, more, memory)
        table.add_row(str(size), *(f"{seconds:.1f}" for seconds in row))
        Console(stderr=True).print(f"{size}: {row}")
    Console().print(table)


if __name__ == "__main__":
    main()
