"""Processor seconds and memory of every command on a crowd, each a process of its own.

    python tests/benchmarks/bench_crowd.py FILE.jsonl [--annotators 4000 --responses 85000]
    python tests/benchmarks/bench_crowd.py FILE.jsonl --only rows    # three rows, one by one

Makes the file first if it is not there, of forty personas whose answers are dealt to so many workers,
the k-th of a persona's workers getting 1/k of what the first gets. One thread; BERTScore by MiniLM; a
cache of scores that is empty before `controls`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from bisect import bisect
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from bench_leaderboard import CARD
from bench_row import drawn

from capo_bench.corpus.load import load
from capo_bench.corpus.model import Annotator, Corpus
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.leaderboard.submission import Card, write_submission
from capo_bench.metrics.cells import evaluated_cells
from capo_bench.prompts.prompter import Prompter
from capo_bench.scoring.controls import control_predictions
from capo_bench.scoring.scorer import Scorer

PERSONAS = 40
"""As many kinds of people there are; more workers than these share them."""

AN_ITEM = 5
"""Answers to an item, if there are so many people."""


def crowd(annotators: int, responses: int) -> Corpus:
    """Workers with few answers each, and some with many; no splits."""
    personas, each = min(annotators, PERSONAS), min(annotators, AN_ITEM)
    made = synthesize(
        "places",
        items=round(responses / each),
        annotators=personas,
        coverage=each / personas,
    ).corpus
    ids = [f"w{n:04}" for n in range(annotators)]
    workers = {persona.id: ids[k::personas] for k, persona in enumerate(made.annotators)}
    shares = {
        who: list(accumulate(1 / (k + 1) for k in range(len(own)))) for who, own in workers.items()
    }
    rng = Random(0)
    items = []
    for item in made.items:
        cells = {
            workers[who][bisect(shares[who], rng.random() * shares[who][-1])]: own
            for who, own in item.cells.items()
        }
        items.append(replace(item, cells=cells, idk=(), split=None))
    return replace(
        made,
        name=f"crowd-{annotators}",
        annotators=tuple(map(Annotator, ids)),
        items=tuple(items),
    )


def profiles(file: Path) -> None:
    """The prompts with a profile of everybody who is asked."""
    corpus = load(str(file))
    prompter = Prompter(corpus, "profile")
    for item, annotator in evaluated_cells(corpus, "test"):
        prompter(item, annotator)


def submission(file: Path, folder: Path) -> None:
    """A board of the corpus with one submission, other annotators' answers drawn anew."""
    corpus = load(str(file))
    board = folder / "boards" / "crowd"
    submitted = board / "submissions" / "system-000"
    row = drawn(corpus, seed=0)
    card = Card.model_validate({**CARD, "board": "crowd", "system": "Somebody"})
    write_submission(submitted, card, [row], corpus.fingerprint)
    spec = f"title: Crowd\ncorpus: {file.absolute()}\nbertscore: minilm\n"
    (board / "board.yaml").write_text(spec, encoding="utf-8")


def rows(file: Path) -> None:
    """Scores three control rows: the first pays for what is fitted, the second has known texts."""
    corpus = load(str(file))
    made = control_predictions(corpus)
    scorer = Scorer(corpus, encoder="minilm")
    scorer.prepare()
    for name in ("human", "others-majority", "spliced-train"):
        start = time.process_time()
        scorer.score(made[name])
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{name:44} {time.process_time() - start:7.1f} s {memory:6.2f} GB", flush=True)


def timed(*command: str | Path, cache: Path) -> None:
    """Runs a command; prints processor seconds, wall seconds and the most memory."""
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
    start = time.perf_counter()
    with (cache / "log").open("ab") as log:
        child = subprocess.Popen([sys.executable, *map(str, command)], env=settings, stdout=log)
        _, status, used = os.wait4(child.pid, 0)
    said = " ".join(str(part) for part in command[2:4])
    print(
        f"{said:44} {used.ru_utime + used.ru_stime:7.1f} s {time.perf_counter() - start:7.1f} s wall "
        f"{used.ru_maxrss / 2**20:6.2f} GB{f'  FAILED {status}' if status else ''}",
        flush=True,
    )


def main() -> None:
    """Prints one line a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--annotators", type=int, default=4000)
    parser.add_argument("--responses", type=int, default=85_000)
    parser.add_argument("--only", choices=["rows", "splits", "profiles", "submission"])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only == "splits":
        load(str(given.file))  # has none, so that they are made
        return None
    if given.only == "profiles":
        return profiles(given.file)
    if given.only == "submission":
        return submission(given.file, given.folder)
    if not given.file.exists():
        jsonl.write(crowd(given.annotators, given.responses), given.file)
    if given.only == "rows":
        return rows(given.file)
    me, ours = Path(__file__), "capo_bench"
    with TemporaryDirectory() as name:
        folder = Path(name)
        row = folder / "boards/crowd/submissions/system-000/predictions-0.jsonl"
        asked = ("--corpus", given.file, "--bertscore", "minilm")
        timed("-m", ours, "data", "validate", given.file, cache=folder)
        timed("-m", ours, "data", "describe", given.file, cache=folder)
        timed(me, given.file, "--only", "splits", cache=folder)
        timed(me, given.file, "--only", "profiles", cache=folder)
        timed(me, given.file, "--only", "submission", "--folder", folder, cache=folder)
        timed("-m", ours, "controls", *asked, cache=folder)
        # What follows finds the control rows scored, as it would on anybody's machine.
        timed("-m", ours, "report", row, *asked, "--output", folder / "report", cache=folder)
        timed("-m", ours, "leaderboard", "build", folder / "boards", cache=folder)
    return None


if __name__ == "__main__":
    main()
