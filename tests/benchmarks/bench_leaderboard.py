"""How long a board takes to build, how that grows, and what one more submission costs.

Run with one thread:

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_leaderboard.py [10 30 100] [--jobs 2]

Two tasks, NLI and paraphrase, of about 400 responses each; submissions are fresh draws of the
bundled synthetic annotators, and one submission of each board is damaged. The references are scored
first, the humans and one control row; then submissions up to each size, then one more. Processor
seconds are those of this process and of those that score for it; other work on the machine lengthens
the wall clock's alone. Memory: the most that this process has had so far, and what the largest of
those that score for it has.
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
from typing import NamedTuple

import psutil

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


class Took(NamedTuple):
    """Seconds of something."""

    processor: float
    wall: float

    @classmethod
    def so_far(cls) -> Took:
        """Since this process, and those that score for it, began."""
        me = psutil.Process()
        times = [one.cpu_times() for one in (me, *me.children(recursive=True))]
        return cls(sum(one.user + one.system for one in times), time.perf_counter())

    def minus(self, other: Took) -> Took:
        """What lies between."""
        return Took(self.processor - other.processor, self.wall - other.wall)


def built(root: Path, jobs: int = 1) -> Took:
    """A build of all boards, tables and page; the damaged submissions are refused, no other is."""
    options._scorer.cache_clear()
    load_encoder.cache_clear()
    start = Took.so_far()
    boards = [build(folder, jobs=jobs) for folder in find_boards(root)]
    for one in boards:
        assert [name for name, _ in one.refused] == ["system-999"]
        assert len(one.systems) == len(os.listdir(one.folder / "submissions")) - 1
        write_all(root, board_tables.files(one))
    page.write(boards, root / "index.html")
    return Took.so_far().minus(start)


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
    print(f"Seconds of leaderboard build, two tasks, --jobs {jobs}", end="\n\n")
    _row("submissions a task", "wall", "processor", "each of the new", "again", "one more", "MB")
    _row(*["--:"] * 7)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "boards"
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        for name, world in worlds.items():
            make_board(root, name, world)
            submit(root, name, world, 999)
            (root / name / "submissions" / "system-999" / "card.yaml").write_text("damaged: [")
        first, there = built(root, jobs), 0
        _row(0, first.wall, first.processor, "", "", "", _memory())
        for size in sizes:
            for name, world in worlds.items():
                for number in range(there, size):
                    submit(root, name, world, number)
            rest, again = built(root, jobs), built(root, jobs).processor
            submit(root, "nli", worlds["nli"], size)
            more = built(root, jobs).processor
            each = (rest.processor - again) / (size - there) / 2
            _row(size, rest.wall, rest.processor, each, again, more, _memory())
            shutil.rmtree(root / "nli" / "submissions" / f"system-{size:03}")
            there = size


def _memory() -> str:
    memory = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]
    scoring = [one.memory_info().rss // 2**20 for one in psutil.Process().children(recursive=True)]
    return " + ".join(map(str, [*memory, *([max(scoring)] if scoring else [])]))


def _row(*cells: object) -> None:
    shown = [f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print(f"| {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
