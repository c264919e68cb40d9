"""What the bounds of a crowd cost: values and standard errors with them and without.

    OMP_NUM_THREADS=1 python tests/benchmarks/crowd_bounds.py [--annotators 300 --responses 12000]

A crowd as in `bench_crowd.py`, answered by the people themselves, by the annotator who comes next
on the item, and by either of them with even odds. Without the bounds everything is asked for and
read, as of a corpus of a hundred annotators; told apart are 50 of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from unittest.mock import patch

from bench_crowd import crowd

from capo_bench.corpus import evaluable
from capo_bench.corpus.load import load
from capo_bench.corpus.model import Corpus, Item
from capo_bench.corpus.readers import jsonl
from capo_bench.metrics import attribution, cells, consistency, guards, indistinguishability
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.metrics.instruments import Instruments, Reading
from capo_bench.metrics.registry import measure
from capo_bench.prompts.responses import render_target
from capo_bench.stats.resampling import Undefined, interval, resample

ROOMS = (evaluable, attribution, cells, consistency, guards, indistinguishability)
METRICS = (
    "faithful_rate",
    "attribution_probability",
    "label_kappa",
    "indistinguishability",
    "item_relevance",
)
EVERYTHING = 10**9


@contextmanager
def unbounded() -> Iterator[None]:
    """Everything of a crowd is asked for and read."""
    names = ("ASKED", "COMPARED", "READ", "RECALLED", "HELD", "VOCABULARY", "COMPETING")
    bounds: Mapping[str, int] = {
        **{f"MAX_{name}": EVERYTHING for name in names},
        "MAX_NAMED_OF_CROWD": evaluable.MAX_NAMED,
    }
    patches = [
        patch.object(room, name, most)
        for room in ROOMS
        for name, most in bounds.items()
        if hasattr(room, name)
    ]
    with ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield


def rows(corpus: Corpus) -> dict[str, list[Prediction]]:
    """Answers of people, of the next annotator of the item, and of either."""

    def answer(item: Item, who: str, share: float) -> Prediction:
        others = sorted(one for one, given in item.cells.items() if given and one != who)
        after = [one for one in others if one > who] or others or [who]
        own = Random(f"{item.id}/{who}").random() < share
        said = item.cells[who if own else after[0]][0]
        return Prediction(item.id, who, render_target(said.labels, said.explanation))

    asked = evaluated_cells(corpus, "test")
    return {
        name: [answer(item, who, share) for item, who in asked]
        for name, share in (("people", 1.0), ("half of them", 0.5), ("swapped", 0.0))
    }


def table(corpus: Corpus, title: str) -> None:
    """Prints a line for each row and metric."""
    start = time.process_time()
    instruments = Instruments(corpus, "test", "minilm")
    for name, row in rows(corpus).items():
        reading = Reading(join(corpus, "test", row), instruments)
        for metric, found in measure(reading, only=METRICS).items():
            if isinstance(found, Undefined):
                print(f"{title:10} {name:14} {metric:26} {found.reason}", flush=True)
                continue
            told = interval(resample(found))
            print(
                f"{title:10} {name:14} {metric:26} {told.value:6.3f} +- {told.stderr:.4f} "
                f"[{told.low:.3f}, {told.high:.3f}]",
                flush=True,
            )
    print(f"{title:10} {len(row)} responses, {time.process_time() - start:.0f} s", flush=True)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotators", type=int, default=300)
    parser.add_argument("--responses", type=int, default=12_000)
    given = parser.parse_args()
    made = crowd(given.annotators, given.responses)
    with TemporaryDirectory() as folder:
        for title, bounds in (("bounded", nullcontext), ("whole", unbounded)):
            # A name of its own, or what was fitted with the bounds would be taken for the whole.
            file = Path(folder) / f"{title}.jsonl"
            jsonl.write(replace(made, name=title), file)
            with bounds():
                table(load(str(file)), title)


if __name__ == "__main__":
    main()
