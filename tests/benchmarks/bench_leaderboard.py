"""How long a board takes to build, how that grows, and what one more submission costs.

Run with one thread:

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_leaderboard.py [10 30 100] [--jobs 2]

Two tasks, NLI and paraphrase, of about 400 responses each; submissions are fresh draws of the
bundled synthetic annotators, and one submission of each board is damaged. The references are scored
first, the humans and one control row; then submissions up to each size, then one more. With one job
processor seconds, so that other work on the machine counts little; with several the wall clock's.
Memory: the most that the process has had so far, and what the largest of those that score for it
has.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from random import Random

import psutil
from rich.console import Console
from rich.table import Table

from capo_bench.corpus.load import load
from capo_bench.corpus.model import Corpus
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.splits import with_splits
from capo_bench.corpus.synthetic.world import World, synthesize
from capo_bench.files import write_all
from capo_bench.leaderboard import board, board_tables, page
from capo_bench.leaderboard.board import build, find_boards
from capo_bench.leaderboard.submission import Card, write_submission
from capo_bench.metrics.bertscore import load_encoder
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.prompts.responses import render_target
from capo_bench.scoring import options
from capo_bench.scoring.controls import control_predictions

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
    assert [len(one.refused) for one in boards] == [1, 1]
    for one in boards:
        write_all(root, board_tables.files(one))
    page.write(boards, root / "index.html")
    return clock() - start


def few_controls(corpus: Corpus, split: str, seed: int = 0) -> dict[str, list[Prediction]]:
    """The humans and one control row."""
    found = control_predictions(corpus, split, seed)
    return {name: found[name] for name in ("human", "other-annotator")}


def main() -> None:
    """Prints one row a size; the first is that of the references alone."""
    board.control_predictions, board.representatives = few_controls, lambda scorer: {}
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[10, 30, 100])
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    sizes, jobs = given.sizes, given.jobs
    worlds = {
        "nli": synthesize("mini-nli", items=440),
        "paraphrase": synthesize("mini-paraphrase", items=440),
    }
    table = Table(title="Seconds of leaderboard build, two tasks", title_justify="left")
    for head in ("submissions a task", "all so far", "each of the new", "again", "one more", "MB"):
        table.add_column(head, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "boards"
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        for name, world in worlds.items():
            make_board(root, name, world)
            submit(root, name, world, 999)
            (root / name / "submissions" / "system-999" / "card.yaml").write_text("damaged: [")
        total, there = built(root, jobs), 0
        _row(table, 0, total, None, None, None)
        for size in sizes:
            for name, world in worlds.items():
                for number in range(there, size):
                    submit(root, name, world, number)
            rest = built(root, jobs)
            again = built(root, jobs)
            submit(root, "nli", worlds["nli"], size)
            more = built(root, jobs)
            total += rest
            _row(table, size, total, (rest - again) / (size - there) / 2, again, more)
            shutil.rmtree(root / "nli" / "submissions" / f"system-{size:03}")
            there = size
    Console().print(table)


def _row(table: Table, size: int, *seconds: float | None) -> None:
    memory = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]
    scoring = [one.memory_info().rss // 2**20 for one in psutil.Process().children(recursive=True)]
    memory += [max(scoring)] if scoring else []
    shown = [str(size), *("" if one is None else f"{one:.1f}" for one in seconds)]
    shown.append(" + ".join(map(str, memory)))
    table.add_row(*shown)
    Console(stderr=True).print(*shown)


if __name__ == "__main__":
    main()
