"""The red team: responses made without a language model, to fool the score.

A benchmark that can be gamed will be. Each generator makes explanations from what an attacker may
know: the items, and the annotators' responses outside the evaluated split; the *peers* also read
what the other annotators answered to the evaluated items, which no honest system does. Labels are
the annotator's usual one, the guess of a predictor fitted on train (both know train alone), or the
others' majority. *Searched*, the best of many candidates is chosen for each response against
everything that is public: the attribution classifier, and a discriminator as the score's own, fitted
on the train and validation splits, over several rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from capo_bench.corpus.evaluable import named
from capo_bench.corpus.model import Corpus
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.attribution import Attributor
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.metrics.guards import fit_competitors
from capo_bench.metrics.indistinguishability import Discriminator, fit_discriminator
from capo_bench.metrics.registry import HEADLINE
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.cache import key, remembered
from capo_bench.scoring.forgeries import GENERATORS, Cell, Material, before
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Array, Estimate, Undefined, estimate

CANDIDATES = 40
"""Candidates for each response of a searched attack."""

TRAIN_ONLY = ("usual", "predicted")
"""Kinds of labels that need nothing of the evaluated split."""

_ROUNDS = 4  # of search, each against a discriminator fitted to what the last one chose


@dataclass(frozen=True)
class Attack:
    """One row of the red team.

    Attributes:
        generator: What made the explanations, a key of `GENERATORS`.
        labels: `usual`, `predicted` or `majority`.
        searched: Whether each response is the best of many candidates.
        predictions: The responses.
    """

    generator: str
    labels: str
    searched: bool
    predictions: tuple[Prediction, ...]

    @property
    def family(self) -> str:
        """The kind of generator."""
        return GENERATORS[self.generator][0]

    @property
    def train_only(self) -> bool:
        """Whether it knows nothing of anybody's answers to the evaluated items."""
        return self.labels in TRAIN_ONLY

    @property
    def name(self) -> str:
        """Such as `red-team-bigram-chain-majority-searched`."""
        return f"red-team-{self.generator}-{self.labels}" + ("-searched" if self.searched else "")


@dataclass(frozen=True)
class Fooled:
    """What an attack reaches.

    Attributes:
        attack: The attack.
        axes: The headline and its parts, by name; see `Scorer.axes`.
    """

    attack: Attack
    axes: Mapping[str, Estimate | Undefined]

    @property
    def rate(self) -> float:
        """The headline; 0 where it is not defined."""
        found = self.axes[HEADLINE]
        return 0.0 if isinstance(found, Undefined) else found.value


def red_team(
    corpus: Corpus, split: str = "test", *, candidates: int = 1, seed: int = 0
) -> Iterator[Attack]:
    """All attacks on one split, those of one generator after the other.

    Args:
        corpus: A corpus with explanations.
        split: The split to answer; not `train`.
        candidates: With more than 1, every attack also in its searched form, the best of so many.
        seed: Another seed gives other random choices.

    Raises:
        CapoBenchError: If the split is `train`, or fewer than two annotators can be named.
    """
    if split == "train":
        raise CapoBenchError("the red team knows the train split; choose another split to answer")
    material = Material(corpus, split)
    labels = {kind: [guess(item, a) for item, a in material.cells] for kind, guess in {
        "usual": material.usual_label, "predicted": material.predicted_label,
        "majority": material.majority_label,
    }.items()}  # fmt: skip
    for generator, (family, _) in GENERATORS.items():
        made = {False: material.texts(generator, material.cells, seed)}
        if candidates > 1:
            made[True] = searched(material, generator, candidates, seed)
        for best, texts in made.items():
            for kind, guesses in labels.items():
                if family == "peers" and kind in TRAIN_ONLY:
                    continue
                rows = zip(material.cells, guesses, texts, strict=True)
                predictions = (
                    Prediction(item.id, a, render_target([label], text))
                    for (item, a), label, text in rows
                )
                yield Attack(generator, kind, best, tuple(predictions))


def attacks_in_all(candidates: int = 1) -> int:
    """How many attacks `red_team` makes."""
    kinds = [1 if family == "peers" else 3 for family, _ in GENERATORS.values()]
    return sum(kinds) * (2 if candidates > 1 else 1)


def fooled(scorer: Scorer, attacks: Iterator[Attack]) -> Iterator[Fooled]:
    """Headline and axes of each attack."""
    for attack in attacks:
        axes = scorer.axes(join(scorer.corpus, scorer.split, attack.predictions))
        found = {
            name: one if isinstance(one, Undefined) else estimate(one) for name, one in axes.items()
        }
        yield Fooled(attack, found)


def best_of_each(found: Sequence[Fooled]) -> list[Fooled]:
    """The attack that reaches most, of each family and by what it knows, best first."""
    best: dict[tuple[str, bool], Fooled] = {}
    for one in found:
        key = one.attack.family, one.attack.train_only
        if key not in best or one.rate > best[key].rate:
            best[key] = one
    return sorted(best.values(), key=lambda one: -one.rate)


def representatives(scorer: Scorer) -> dict[str, tuple[Prediction, ...]]:
    """Of each family the attack that reaches most, unsearched; empty where not all can be imitated.

    Which they are is found once for a corpus and kept.

    Args:
        scorer: The scorer of the corpus and split that are attacked.

    Returns:
        Predictions by name of the attack.
    """
    if isinstance(scorer.instruments.attributor, Undefined):
        return {}
    known = frozenset(named(scorer.corpus))
    if any(a not in known for _, a in evaluated_cells(scorer.corpus, scorer.split)):
        return {}  # an attack answers as those whose writing is known, a row as everybody

    def attacks() -> Iterator[Attack]:
        # An annotator's usual label tells nothing of an item: its label skill is 0.
        every = red_team(scorer.corpus, scorer.split)
        return (attack for attack in every if attack.labels != "usual")

    def chosen() -> list[str]:
        best: dict[str, Fooled] = {}
        for one in best_of_each(list(fooled(scorer, attacks()))):
            best.setdefault(one.attack.family, one)
        return [one.attack.name for one in best.values()]

    names = remembered(f"{key(scorer, ())}-red-team", chosen)
    made = {attack.name: attack.predictions for attack in attacks() if attack.name in names}
    return {name: made[name] for name in names}


def searched(material: Material, generator: str, candidates: int, seed: int) -> list[str]:
    """The best of so many candidates for each cell, by classifiers that the attacker can fit.

    The attacker answers the split before the evaluated one too, where the annotators' own
    explanations are known, fits a discriminator of shape and novelty on them against the choices so
    far, chooses anew by the mean of all discriminators up to now and by the attribution classifier,
    and so on.
    """
    corpus = material.corpus
    fitted = fit_discriminator(corpus, material.split)
    discriminator, rehearsed = (
        Discriminator(
            fitted.histories,
            fit_competitors(corpus, split),
            # What the others answered to the evaluated items, the peers alone know.
            [
                item if GENERATORS[generator][0] == "peers" else replace(item, cells={})
                for item in corpus.split(split)
            ],
            material.lexicon,
        )
        for split in (material.split, before(material.split))
    )
    asked, known = material.cells, material.rehearsal
    ours = [material.texts(generator, asked, seed + n) for n in range(candidates)]
    theirs = [material.texts(generator, known, seed + n) for n in range(candidates)]
    human = _shapes(rehearsed, [i.cells[a][0].explanation for i, a in known], known)
    mean, spread = human.mean(axis=0), human.std(axis=0) + 1e-9

    def scaled(rows: Array) -> Array:
        return np.asarray(np.clip((rows - mean) / spread, -3, 3) / np.sqrt(rows.shape[1]))

    human = scaled(human)
    ours_shapes = np.stack([scaled(_shapes(discriminator, texts, asked)) for texts in ours])
    their_shapes = np.stack([scaled(_shapes(rehearsed, texts, known)) for texts in theirs])
    named = [
        np.maximum(
            np.stack(
                [log_probability_of_target(material.attributor, corpus, t, cells) for t in texts]
            ),
            -3,
        )
        for texts, cells in ((ours, asked), (theirs, known))
    ]
    who = [np.array([corpus.annotator_ids.index(a) for _, a in cells]) for cells in (asked, known)]
    seemed = [np.zeros(one.shape) for one in named]
    chosen = np.zeros(len(known), dtype=np.int64)
    for _ in range(_ROUNDS):
        rows = np.concatenate([human, their_shapes[chosen, np.arange(len(known))]])
        of_rows = np.tile(who[1], 2)
        truth = np.repeat([1.0, -1.0], len(known))
        kernel = _similar(rows, rows, of_rows, of_rows) + 0.3 * np.eye(len(rows))
        weights = np.linalg.solve(kernel, truth)
        for total, shapes, own in zip(seemed, (ours_shapes, their_shapes), who, strict=True):
            for at, drawn in enumerate(shapes):
                total[at] += _similar(drawn, rows, own, of_rows) @ weights / _ROUNDS
        chosen = (seemed[1] + 0.3 * named[1]).argmax(axis=0)
    best = (seemed[0] + 0.3 * named[0]).argmax(axis=0)
    return [ours[at][cell] for cell, at in enumerate(best)]


def _shapes(discriminator: Discriminator, texts: Sequence[str], cells: Sequence[Cell]) -> Array:
    rows = [discriminator.shape(t, i, a) for t, (i, a) in zip(texts, cells, strict=True)]
    return np.hstack([np.array(rows), discriminator.relevance(texts, [i for i, _ in cells])])


def _similar(ours: Array, theirs: Array, a: NDArray[np.int64], b: NDArray[np.int64]) -> Array:
    apart = (ours**2).sum(axis=1)[:, None] + (theirs**2).sum(axis=1) - 2 * ours @ theirs.T
    return np.asarray(np.exp(-np.maximum(apart, 0) / 2) * np.where(a[:, None] == b, 1, 0.5))


def log_probability_of_target(
    attributor: Attributor, corpus: Corpus, texts: Sequence[str], cells: Sequence[Cell]
) -> Array:
    """What the attribution classifier makes of each cell's annotator, shape (cells,)."""
    scores = attributor.log_probabilities(texts, [item.text for item, _ in cells])
    column = {corpus.annotator_ids[a]: at for at, a in enumerate(attributor.annotators)}
    return scores[np.arange(len(cells)), [column[a] for _, a in cells]]
