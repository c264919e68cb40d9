"""Processor seconds and memory to score a crowd, without BERTScore.

    python tests/benchmarks/bench_crowd.py [--annotators 200] [--items 6000]

Of a synthetic corpus with five answers an item; a quarter of the items are the test split. The first
submission pays for the fits to the corpus, later ones do not. One thread: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import resource
import time
from random import Random

from capo_bench.corpus.synthetic.world import World, synthesize
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Undefined, estimate


def drawn(world: World, seed: int) -> list[Prediction]:
    """A fresh draw of every test answer."""
    rng = Random(seed)
    predictions = []
    for item, annotator in evaluated_cells(world.corpus, "test"):
        answer = world.sample(item.id, annotator, rng)
        text = render_target([answer.label], answer.explanation)
        predictions.append(Prediction(item.id, annotator, text))
    return predictions


def main() -> None:
    """Prints one line a submission."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--items", type=int, default=6000)
    args = parser.parse_args()
    coverage = min(1.0, 5 / args.annotators)
    world = synthesize("places", items=args.items, annotators=args.annotators, coverage=coverage)
    scorer = Scorer(world.corpus)
    for name, seed in (("first submission", 1), ("each later one", 2)):
        predictions = drawn(world, seed)
        start = time.process_time()
        measured = scorer.measure(join(world.corpus, "test", predictions), encoded=False)
        for found in measured.values():
            if not isinstance(found, Undefined):
                estimate(found)
        seconds = time.process_time() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{name}: {len(predictions)} responses, {seconds:.1f} s, at most {memory:.2f} GB")


if __name__ == "__main__":
    main()
