"""An attack on the headline that chooses all responses of an annotator together.

    python tests/benchmarks/herding.py --corpus paraphrase

A two-sample test sees a set. The search of the red team takes for each cell the candidate that one
discriminator likes best, so that what it takes is alike. Here the candidates of several generators
are taken whose maximum mean discrepancy (Gretton et al. 2012) from the annotator's responses
outside the evaluated split is least, by the score's own kernel of labels and explanations: cell by
cell, until none changes. All that it reads, but for the majority's labels, is known before the
evaluated split is answered; labels are the red team's.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from red_team import axes_shown

from capo_bench.corpus.model import splits_before
from capo_bench.metrics.cells import Prediction
from capo_bench.metrics.guards import fit_competitors
from capo_bench.metrics.indistinguishability import (
    Discriminator,
    fit_discriminator,
    label_similarities,
    text_similarities,
)
from capo_bench.metrics.style import mask_normalised
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.forgeries import GENERATORS, Material
from capo_bench.scoring.options import Options
from capo_bench.scoring.red_team import _shapes
from capo_bench.stats.resampling import Array

EACH = 4  # candidates of a generator for each cell
ROUNDS = 12
WRITERS = (
    "swapped-words",
    "refilled-any",
    "refilled-by-label",
    "stitched-clauses",
    "fourgram-chain",
    "mixture",
    "dropped-words",
    "copied",
)


def herded(
    material: Material, generators: Sequence[str], labels: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """An explanation for each cell, by each kind of labels that the cells are to be given."""
    corpus, split = material.corpus, material.split
    histories = fit_discriminator(corpus, split).histories

    def shapes(of: str, texts: Sequence[str], cells: Sequence[tuple]) -> Array:
        # What the others answered is known of no split.
        pool = [replace(item, cells={}) for item in corpus.split(of)]
        read = Discriminator(histories, fit_competitors(corpus, of), pool, material.lexicon)
        return _shapes(read, texts, cells)

    drawn = [material.texts(g, material.cells, seed) for g in generators for seed in range(EACH)]
    drawn_shapes = np.stack([shapes(split, texts, material.cells) for texts in drawn])
    chosen = {kind: [""] * len(material.cells) for kind in labels}
    for annotator in material.history:
        rows = [at for at, (_, a) in enumerate(material.cells) if a == annotator]
        known = [
            (of, item, response)
            for of in splits_before(split)
            for item, response in corpus.responses(of, annotator)
            if response.explanation
        ]
        human = np.vstack(
            [
                shapes(of, [r.explanation for s, _, r in known if s == of], cells)
                for of in splits_before(split)
                if (cells := [(item, annotator) for s, item, _ in known if s == of])
            ]
        )
        texts = [(item, response.explanation) for _, item, response in known]
        texts += [(material.cells[row][0], some[row]) for some in drawn for row in rows]
        shape = np.vstack([human, drawn_shapes[:, rows].reshape(-1, human.shape[1])])
        shape = (shape - human.mean(axis=0)) / (human.std(axis=0) + 1e-9)
        masked = [mask_normalised(text, item.text, material.lexicon) for item, text in texts]
        kernel = text_similarities(masked, shape, material.lexicon)
        own = [response.labels for *_, response in known]
        for kind, guessed in labels.items():
            said = own + [(guessed[row],) for _ in drawn for row in rows]
            joint = kernel * label_similarities(said, corpus.task.labels.labels)
            taken = _nearest_set(joint, len(known), len(rows))
            for at, row in enumerate(rows):
                chosen[kind][row] = drawn[taken[at]][row]
    return chosen


def _nearest_set(kernel: Array, known: int, cells: int) -> list[int]:
    """Which candidate each cell takes: rows are the known texts and then all cells' candidates."""
    to_known, among = kernel[known:, :known].mean(axis=1), kernel[known:, known:]
    rng = np.random.default_rng(0)
    taken = rng.integers(len(among) // cells, size=cells) * cells + np.arange(cells)
    near = among[:, taken].sum(axis=1)
    for _ in range(ROUNDS):
        before = taken.copy()
        for cell in rng.permutation(cells):
            near -= among[:, taken[cell]]
            own = np.arange(cell, len(among), cells)
            cost = (2 * near[own] + among[own, own]) / cells - 2 * to_known[own]
            taken[cell] = own[cost.argmin()]
            near += among[:, taken[cell]]
        if (taken == before).all():
            break
    return (taken // cells).tolist()


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="mini-nli")
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, default=WRITERS)
    given = parser.parse_args()
    scorer = Options(given.corpus).scorer()
    material = Material(scorer.corpus, scorer.split)
    guesses = {"predicted": material.predicted_label, "majority": material.majority_label}
    labels = {kind: [guess(*cell) for cell in material.cells] for kind, guess in guesses.items()}
    print("| labels | faithful rate | label skill | P(target) | indistinguishable |")
    print("|---|--:|--:|--:|--:|")
    for kind, texts in herded(material, given.generators, labels).items():
        predictions = [
            Prediction(item.id, a, render_target([label], text))
            for (item, a), label, text in zip(material.cells, labels[kind], texts, strict=True)
        ]
        print(f"| {kind} | {axes_shown(scorer, predictions)} |", flush=True)


if __name__ == "__main__":
    main()
