"""Processor seconds and memory of what a crowd goes through, without BERTScore, one process a run.

    python tests/benchmarks/bench_crowd.py FILE.jsonl [--annotators 4000 --responses 85000]

Makes the file first if it is not there, of forty personas whose answers are dealt to so many workers,
the k-th of a persona's workers getting 1/k of what the first gets; the seconds and the memory are
then those of the next run. One thread: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import resource
import time
from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from random import Random

from capo_bench.corpus.describe import describe
from capo_bench.corpus.load import load
from capo_bench.corpus.model import Annotator, Corpus
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.metrics.cells import evaluated_cells, join
from capo_bench.prompts.prompter import Prompter
from capo_bench.scoring.controls import control_predictions
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Undefined, estimate

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


@contextmanager
def step(name: str) -> Iterator[None]:
    """Prints what a step took, and the most memory until then."""
    start = time.process_time()
    yield
    seconds = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:24} {seconds:6.1f} s {memory:6.2f} GB", flush=True)


def main() -> None:
    """Prints one line a step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--annotators", type=int, default=4000)
    parser.add_argument("--responses", type=int, default=85_000)
    args = parser.parse_args()
    if not args.file.exists():
        jsonl.write(crowd(args.annotators, args.responses), args.file)
        print(f"made {args.file}; run again")
        return
    with step("load, split"):
        corpus = load(str(args.file))
    with step("describe"):
        found = describe(corpus)
    print(f"{len(corpus.annotators)} annotators, {found.responses} responses")
    with step("profiles of all"):
        prompter = Prompter(corpus, "profile")
        for item, annotator in evaluated_cells(corpus, "test"):
            prompter(item, annotator)
    with step("control rows"):
        rows = control_predictions(corpus)
    scorer = Scorer(corpus)
    for row in ("human", "others-majority"):
        with step(f"scoring {row}"):
            measured = scorer.measure(join(corpus, "test", rows[row]), encoded=False)
            for one in measured.values():
                if not isinstance(one, Undefined):
                    estimate(one)
    print(f"{len(rows)} rows of {len(rows['human'])} responses")


if __name__ == "__main__":
    main()
