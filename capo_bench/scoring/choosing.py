"""How an attacker chooses among many candidates, against everything that is public.

One by one: each response the best by the attribution classifier and by discriminators that are fitted
to the choices so far. Or all of an annotator's together: a two-sample test sees a set, and what one
discriminator likes best is chosen alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from capo_bench.corpus.model import splits_before
from capo_bench.metrics.guards import fit_competitors
from capo_bench.metrics.indistinguishability import (
    Discriminator,
    label_similarities,
    text_similarities,
)
from capo_bench.metrics.style import mask_normalised
from capo_bench.scoring.attacker import Cell, Guess, Material, before
from capo_bench.scoring.forgeries import GENERATORS, written
from capo_bench.stats.resampling import Array

_ROUNDS = 4  # of search, each against a discriminator fitted to what the last one chose
_PASSES = 12  # over an annotator's cells, each taking what brings the set nearest


def searched(
    material: Material, generator: str, guess: Guess, candidates: int, seed: int
) -> list[str]:
    """The best of so many candidates for each cell, by classifiers that the attacker can fit.

    The attacker answers the split before the evaluated one too, where the annotators' own
    explanations are known, fits a discriminator of shape, novelty and label on them against the
    choices so far, chooses anew by the mean of all discriminators up to now and by the attribution
    classifier, and so on.
    """
    corpus = material.corpus
    peers = GENERATORS[generator][0] == "peers"
    discriminator, rehearsed = (
        _reader(material, split, peers=peers) for split in (material.split, before(material.split))
    )
    asked, known = material.cells, material.rehearsal
    ours, theirs = (
        [written(material, generator, cells, guess, seed + n) for n in range(candidates)]
        for cells in (asked, known)
    )
    human = _shapes(rehearsed, [i.cells[a][0].explanation for i, a in known], known)
    mean, spread = human.mean(axis=0), human.std(axis=0) + 1e-9

    def scaled(rows: Array) -> Array:
        return np.asarray(np.clip((rows - mean) / spread, -3, 3) / np.sqrt(rows.shape[1]))

    human = scaled(human)
    ours_shapes = np.stack([scaled(_shapes(discriminator, texts, asked)) for texts in ours])
    their_shapes = np.stack([scaled(_shapes(rehearsed, texts, known)) for texts in theirs])
    named = [
        np.maximum(np.stack([log_probability_of_target(material, t, cells) for t in texts]), -3)
        for texts, cells in ((ours, asked), (theirs, known))
    ]
    who = [np.array([corpus.annotator_ids.index(a) for _, a in cells]) for cells in (asked, known)]
    said = [[(guess(*cell),) for cell in cells] for cells in (asked, known)]
    of_rows = np.tile(who[1], 2)
    labels = [i.cells[a][0].labels for i, a in known] + said[1]
    space = corpus.task.labels.labels
    # What each cell and its label have to do with the rows that are fitted to.
    alike = [
        label_similarities([*answers, *labels], space)[: len(answers), len(answers) :]
        * np.where(own[:, None] == of_rows, 1, 0.5)
        for answers, own in zip(said, who, strict=True)
    ]
    among = label_similarities(labels, space) * np.where(of_rows[:, None] == of_rows, 1, 0.5)
    truth = np.repeat([1.0, -1.0], len(known))
    seemed = [np.zeros(one.shape) for one in named]
    chosen = np.zeros(len(known), dtype=np.int64)
    for _ in range(_ROUNDS):
        rows = np.concatenate([human, their_shapes[chosen, np.arange(len(known))]])
        kernel = _near(rows, rows) * among + 0.3 * np.eye(len(rows))
        weights = np.linalg.solve(kernel, truth)
        for total, shapes, related in zip(seemed, (ours_shapes, their_shapes), alike, strict=True):
            for at, drawn in enumerate(shapes):
                total[at] += (_near(drawn, rows) * related) @ weights / _ROUNDS
        chosen = (seemed[1] + 0.3 * named[1]).argmax(axis=0)
    best = (seemed[0] + 0.3 * named[0]).argmax(axis=0)
    return [ours[at][cell] for cell, at in enumerate(best)]


def chosen_as_sets(material: Material, guess: Guess, candidates: int, seed: int) -> list[str]:
    """Of the candidates of all generators the set nearest to what each annotator wrote before.

    Nearest by the maximum mean discrepancy (Gretton et al. 2012) in the discriminator's own kernel of
    labels and explanations; cell by cell, until none changes. Peers are none of the generators: all
    but the labels is known before the evaluated split is answered.
    """
    generators = [name for name, (family, _) in GENERATORS.items() if family != "peers"]
    each = -(-candidates // len(generators))
    drawn = [
        written(material, generator, material.cells, guess, seed + n)
        for generator in generators
        for n in range(each)
    ]
    asked = _reader(material, material.split, peers=False)
    shapes = np.stack([_shapes(asked, texts, material.cells) for texts in drawn])
    readers = {
        split: _reader(material, split, peers=False) for split in splits_before(material.split)
    }
    chosen = [""] * len(material.cells)
    for annotator, own in material.history.items():
        rows = [at for at, (_, a) in enumerate(material.cells) if a == annotator]
        if not rows:
            continue
        parts = [
            (reader, [(item, response) for item, response in own if item.split == split])
            for split, reader in readers.items()
        ]
        human = np.vstack(
            [
                _shapes(reader, [r.explanation for _, r in told], [(i, annotator) for i, _ in told])
                for reader, told in parts
                if told
            ]
        )
        shape = np.vstack([human, shapes[:, rows].reshape(-1, human.shape[1])])
        shape = (shape - human.mean(axis=0)) / (human.std(axis=0) + 1e-9)
        texts = [(item, response.explanation) for item, response in own]
        texts += [(material.cells[row][0], some[row]) for some in drawn for row in rows]
        masked = [mask_normalised(text, item.text, material.lexicon) for item, text in texts]
        said = [response.labels for _, response in own]
        said += [(guess(*material.cells[row]),) for _ in drawn for row in rows]
        kernel = text_similarities(masked, shape, material.lexicon)
        kernel *= label_similarities(said, material.corpus.task.labels.labels)
        taken = _nearest_set(kernel, len(own), len(rows), seed)
        for at, row in enumerate(rows):
            chosen[row] = drawn[taken[at]][row]
    return chosen


def _nearest_set(kernel: Array, known: int, cells: int, seed: int) -> list[int]:
    """Which candidate each cell takes: rows are the known texts and then all cells' candidates."""
    to_known, among = kernel[known:, :known].mean(axis=1), kernel[known:, known:]
    rng = np.random.default_rng(seed)
    taken = rng.integers(len(among) // cells, size=cells) * cells + np.arange(cells)
    near = among[:, taken].sum(axis=1)
    for _ in range(_PASSES):
        before = taken.copy()
        for cell in rng.permutation(cells):
            near -= among[:, taken[cell]]
            own = np.arange(cell, len(among), cells)
            cost = (2 * near[own] + among[own, own]) / cells - 2 * to_known[own]
            taken[cell] = own[cost.argmin()]
            near += among[:, taken[cell]]
        if (taken == before).all():
            break
    return [int(at) for at in taken // cells]


def log_probability_of_target(
    material: Material, texts: Sequence[str], cells: Sequence[Cell]
) -> Array:
    """What the attribution classifier makes of each cell's annotator, shape (cells,)."""
    corpus, attributor = material.corpus, material.attributor
    scores = attributor.log_probabilities(texts, [item.text for item, _ in cells])
    column = {corpus.annotator_ids[a]: at for at, a in enumerate(attributor.annotators)}
    return scores[np.arange(len(cells)), [column[a] for _, a in cells]]


def _reader(material: Material, split: str, *, peers: bool) -> Discriminator:
    """Reads shape and novelty as the score does; what the others answered, the peers alone know."""
    corpus = material.corpus
    items = corpus.split(split)
    return Discriminator(
        material.histories,
        fit_competitors(corpus, split),
        items if peers else [replace(item, cells={}) for item in items],
        material.lexicon,
    )


def _shapes(discriminator: Discriminator, texts: Sequence[str], cells: Sequence[Cell]) -> Array:
    rows = [discriminator.shape(t, i, a) for t, (i, a) in zip(texts, cells, strict=True)]
    return np.hstack([np.array(rows), discriminator.relevance(texts, [i for i, _ in cells])])


def _near(ours: Array, theirs: Array) -> Array:
    apart = (ours**2).sum(axis=1)[:, None] + (theirs**2).sum(axis=1) - 2 * ours @ theirs.T
    return np.asarray(np.exp(-np.maximum(apart, 0) / 2))
