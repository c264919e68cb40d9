"""Processor seconds to score a row of a real corpus, BERTScore included, and each axis of it.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_row.py paraphrase FOLDER

FOLDER holds the corpus's files; CAPO_BENCH_BERTSCORE names an encoder that is at hand. The rows are
other annotators' answers, drawn anew for each; the first pays for the fits to the corpus. `--rows 3
--no-axes` also runs with checkouts from before version 2 of the metrics: set PYTHONPATH to one.
"""

import argparse
import time
from collections.abc import Callable
from random import Random

from capo_bench.corpus.load import load
from capo_bench.corpus.model import Corpus
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.scorer import Scorer


def drawn(corpus: Corpus, seed: int) -> list[Prediction]:
    rng, row = Random(seed), []
    for item, annotator in evaluated_cells(corpus, "test"):
        answer = item.cells[rng.choice([a for a, given in item.cells.items() if given])][0]
        text = render_target(answer.labels, answer.explanation)
        row.append(Prediction(item.id, annotator, text))
    return row


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--axes", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args()
    corpus = load(given.corpus, path=given.data)
    scorer = Scorer(corpus)
    scorer.prepare()
    for seed in range(given.rows):
        row = drawn(corpus, seed)
        took = seconds(lambda row=row: scorer.score(row))
        print(f"row {seed + 1}: {len(row)} responses, {took:.2f} s", flush=True)
    if not given.axes:
        return
    from capo_bench.metrics.instruments import Reading
    from capo_bench.metrics.registry import IDENTITY, INDISTINCT, LABEL, measure

    for seed, name in enumerate((LABEL, IDENTITY, INDISTINCT, "explanation_consistency"), 100):
        reading = Reading(join(corpus, "test", drawn(corpus, seed)), scorer.instruments)
        took = seconds(lambda reading=reading, name=name: measure(reading, only=(name,)))
        print(f"{name}: {took:.2f} s", flush=True)


if __name__ == "__main__":
    main()
