"""The headline and its axes where the truth is known: perfect imitators in synthetic worlds.

    python tests/benchmarks/truth.py

At dial 0 all annotators of a world are alike, at 1 as distinct as it makes them. An imitator answers
every test item with a fresh draw from the annotator's own distribution of labels and words, or from
that of the annotator who comes next; no system can do better in expectation. Beside it stand the
share of labels on which two draws of one annotator agree, and the accuracy of the Bayes classifier
of annotators.
"""

from random import Random

import numpy as np

from capo_bench.corpus.model import Corpus
from capo_bench.corpus.synthetic.world import World, synthesize
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Undefined, estimate

DIALS = (0.0, 0.3, 0.6, 1.0)
ITEMS = 400


def imitator(
    world: World, seed: int, shift: int = 0, corpus: Corpus | None = None
) -> list[Prediction]:
    """Fresh draws from each annotator, or from the one `shift` places further on.

    Args:
        world: Whose annotators answer.
        seed: Of the draws.
        shift: Places further on in the corpus's order.
        corpus: The world's, with other splits.
    """
    rng, ids = Random(seed), world.corpus.annotator_ids
    predictions = []
    for item, annotator in evaluated_cells(corpus or world.corpus, "test"):
        said = world.sample(item.id, ids[(ids.index(annotator) + shift) % len(ids)], rng)
        response = render_target(said.labels, said.explanation)
        predictions.append(Prediction(item.id, annotator, response))
    return predictions


def main() -> None:
    print(
        "| world | dial | imitates | faithful rate | label skill | P(target) | indistinguishable |",
        end="",
    )
    print(" own labels agree | Bayes attribution |")
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|")
    for name in ("mini-nli", "mini-paraphrase"):
        for dial in DIALS:
            world = synthesize(name, dial, items=ITEMS)
            corpus = world.corpus
            scorer = Scorer(corpus, "test", "minilm")
            agree = np.mean([world.label_agreement(a) for a in corpus.annotator_ids])
            limit = world.bayes_attribution(1, draws=50)
            for shift, whom in enumerate(("the annotator", "the next one")):
                axes = scorer.axes(join(corpus, "test", imitator(world, 1, shift)))
                shown = []
                for found in axes.values():
                    one = found if isinstance(found, Undefined) else estimate(found)
                    shown.append(
                        "not defined"
                        if isinstance(one, Undefined)
                        else f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
                    )
                row = " | ".join(shown)
                print(
                    f"| {name} | {dial} | {whom} | {row} | {agree:.3f} | {limit:.3f} |", flush=True
                )


if __name__ == "__main__":
    main()
