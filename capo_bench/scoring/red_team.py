"""The red team: responses made without a language model, to fool the score.

A benchmark that can be gamed will be. Each generator makes explanations from what an attacker may
know: the items, and the annotators' responses outside the evaluated split; the *peers* also read
what the other annotators answered to the evaluated items, which no honest system does. Labels are
the annotator's usual one, the best guess that can be fitted to the earlier splits (both know nothing
of the evaluated one), or the others' majority; explanations argue for them. *Searched*, the best of
many candidates is chosen against everything that is public: the attribution classifier, and a
discriminator as the score's own, fitted on the train and validation splits, over several rounds; or,
family `sets`, of all generators' candidates the set as a whole that is nearest to the annotator's
earlier answers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from capo_bench.corpus.evaluable import named
from capo_bench.corpus.model import Corpus
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.metrics.registry import HEADLINE
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.attacker import Guess, Material
from capo_bench.scoring.cache import key, remembered
from capo_bench.scoring.choosing import chosen_as_sets, searched
from capo_bench.scoring.forgeries import GENERATORS, written
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Estimate, Undefined, estimate

CANDIDATES = 40
"""Candidates for each response of a searched attack."""

SETS = "nearest-set"
"""The attack that chooses all responses of an annotator together."""

TRAIN_ONLY = ("usual", "predicted")
"""Kinds of labels that need nothing of the evaluated split."""


@dataclass(frozen=True)
class Attack:
    """One row of the red team.

    Attributes:
        generator: What made the explanations, a key of `GENERATORS` or `SETS`.
        family: The kind of generator.
        labels: `usual`, `predicted` or `majority`.
        searched: Whether each response is the best of many candidates.
        predictions: The responses.
    """

    generator: str
    family: str
    labels: str
    searched: bool
    predictions: tuple[Prediction, ...]

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
    corpus: Corpus,
    split: str = "test",
    generators: Collection[str] = (*GENERATORS, SETS),
    *,
    candidates: int = 1,
    seed: int = 0,
) -> Iterator[Attack]:
    """Attacks on one split, those of one generator after the other.

    Args:
        corpus: A corpus with explanations.
        split: The split to answer; not `train`.
        generators: Which, of `GENERATORS` and `SETS`.
        candidates: With more than 1, every attack also in its searched form, the best of so many;
            `SETS` comes in no other.
        seed: Another seed gives other random choices.

    Raises:
        CapoBenchError: If the split is `train`, or fewer than two annotators can be named.
    """
    yield from _attacks(Material(corpus, split), generators, candidates, seed)


def _attacks(
    material: Material, generators: Collection[str], candidates: int, seed: int
) -> Iterator[Attack]:
    for generator in generators:
        family = "sets" if generator == SETS else GENERATORS[generator][0]
        for best in (False, True):
            if candidates == 1 if best else generator == SETS:
                continue
            made: dict[str, list[str]] = {}
            for kind, guess in material.guesses.items():
                if family == "peers" and kind in TRAIN_ONLY:
                    continue
                # The usual label has no skill, whatever is written with it, and a search is dear.
                alike = made.get("predicted") if best and kind == "usual" else None
                texts = alike or _texts(material, generator, guess, candidates if best else 1, seed)
                made[kind] = texts
                predictions = (
                    Prediction(item.id, a, render_target([guess(item, a)], text))
                    for (item, a), text in zip(material.cells, texts, strict=True)
                )
                yield Attack(generator, family, kind, best, tuple(predictions))


def _texts(
    material: Material, generator: str, guess: Guess, candidates: int, seed: int
) -> list[str]:
    if generator == SETS:
        return chosen_as_sets(material, guess, candidates, seed)
    if candidates > 1:
        return searched(material, generator, guess, candidates, seed)
    return written(material, generator, material.cells, guess, seed)


def attacks_in_all(candidates: int = 1) -> int:
    """How many attacks `red_team` makes."""
    kinds = [1 if family == "peers" else 3 for family, _ in GENERATORS.values()]
    return sum(kinds) * 2 + 3 if candidates > 1 else sum(kinds)


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
    """Of each family the attack that reaches most; empty where not all can be imitated.

    Unsearched but for the sets; found once for a corpus and kept.

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

    def chosen() -> list[str]:
        material = Material(scorer.corpus, scorer.split)
        attacks = chain(
            _attacks(material, list(GENERATORS), 1, 0), _attacks(material, [SETS], CANDIDATES, 0)
        )
        # An annotator's usual label tells nothing of an item: its label skill is 0.
        every = (attack for attack in attacks if attack.labels != "usual")
        best: dict[str, Attack] = {}
        for one in best_of_each(list(fooled(scorer, every))):
            best.setdefault(one.attack.family, one.attack)
        return [
            json.dumps([attack.name, [row.response for row in attack.predictions]])
            for attack in best.values()
        ]

    asked = evaluated_cells(scorer.corpus, scorer.split)
    rows = map(json.loads, remembered(f"{key(scorer, ())}-red-team", chosen))
    return {
        str(name): tuple(
            Prediction(item.id, annotator, str(text))
            for (item, annotator), text in zip(asked, responses, strict=True)
        )
        for name, responses in rows
    }
