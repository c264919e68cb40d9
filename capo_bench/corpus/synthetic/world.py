"""Synthetic corpora whose annotators' response probabilities are known.

`mini-nli` and `mini-paraphrase` are small and come with the package; `places` is NLI that scales to
thousands of items with combinations held out (`places.py`). The words are data, written for this
project (`*.toml`); this module combines them. A *scene* is an item together with the words that
explain its labels. An annotator's response is a label, drawn from a distribution that depends on the
scene and the annotator, and an explanation, a tuple of independent choices (style, wording, opening,
second sentence, short forms, quotation marks, casing, final stop), each drawn from a distribution
that depends on the annotator.
A few NLI cells hold a second response, whose label is drawn from what the first one left.

Every distribution is `(1 - d) * shared + d * own` with the distinctness d in [0, 1] as the dial: at 0
the annotators cannot be told apart, at 1 each follows their own habits only. `shared` is the mean of
the four annotators that the material describes. So P(response | item, annotator) is exact, and with
it the best attribution that any classifier can reach and the label agreement of a perfect imitator.

Only `random.Random.random` is drawn from, which Python keeps stable across versions and machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Literal

import numpy as np
import numpy.typing as npt

from capo_bench.corpus.model import Annotator, Corpus, Item, Response, TaskSpec, cell_labels
from capo_bench.corpus.splits import with_splits
from capo_bench.corpus.synthetic import material, places
from capo_bench.corpus.synthetic.material import (
    Language,
    Material,
    Persona,
    Scene,
    pick,
    readings,
    render,
)
from capo_bench.corpus.tasks import NLI, PARAPHRASE
from capo_bench.errors import CapoBenchError

Floats = npt.NDArray[np.float64]

_MIN_ITEMS = 5
WORLDS: Mapping[str, tuple[TaskSpec, Callable[[Material, int, int], tuple[Scene, ...]]]] = {
    "mini-nli": (NLI, material.scenes),
    "mini-paraphrase": (PARAPHRASE, material.scenes),
    "places": (NLI, places.scenes),
}
"""By name: what the annotators are asked, and what makes the items."""


@dataclass(frozen=True, eq=False)
class World:
    """A synthetic corpus with the truth about it.

    Attributes:
        name: Name of the corpus.
        task: What the annotators are asked.
        language: How explanations are worded.
        described: The personas whose mean is the shared distribution.
        personas: The annotators.
        scenes: The items.
        distinctness: The dial, 0 (indistinguishable) to 1 (each annotator follows their own habits).
        coverage: For each annotator, the probability that they answer an item.
        missing: Probability that an answer got lost.
        seed: What all draws start from.
    """

    name: str
    task: TaskSpec
    language: Language
    described: tuple[Persona, ...]
    personas: tuple[Persona, ...]
    scenes: tuple[Scene, ...]
    distinctness: float
    coverage: tuple[float, ...]
    missing: float
    seed: int

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus that these annotators wrote, with splits (64, 12 and 24 per cent)."""
        items = []
        for scene in self.scenes:
            cells: dict[str, tuple[Response, ...]] = {}
            idk = []
            for persona, coverage in zip(self.personas, self.coverage, strict=True):
                # A generator of its own for each cell: no cell changes with the number of the others.
                rng = Random(f"{self.name}/{self.seed}/{scene.id}/{persona.id}")
                if rng.random() >= coverage:
                    continue
                lost, undecided = rng.random() < self.missing, rng.random() < scene.idk
                cells[persona.id] = () if lost or undecided else self._cell(scene, persona.id, rng)
                if undecided and not lost:
                    idk.append(persona.id)
            items.append(Item(scene.id, scene.text, cells, tuple(idk), scene.split))
        corpus = Corpus(
            name=self.name,
            task=self.task,
            annotators=tuple(
                Annotator(persona.id, {"persona": persona.about, "origin": "synthetic"})
                for persona in self.personas
            ),
            items=tuple(items),
            synthetic=True,
            license="Apache-2.0",
        )
        if self.scenes[0].split:
            return corpus
        train, validation = round(0.64 * len(items)), round(0.12 * len(items))
        test = len(items) - train - validation
        return with_splits(corpus, {"train": train, "validation": validation, "test": test})

    def label_probabilities(self, item: str) -> dict[str, dict[str, float]]:
        """For each annotator, P(label | item, annotator) for every label of the task."""
        return {
            persona.id: dict(zip(self.task.labels.labels, row.tolist(), strict=True))
            for persona, row in zip(self.personas, self._labels[item], strict=True)
        }

    def sample(self, item: str, annotator: str, rng: Random) -> Response:
        """A fresh response of an annotator to an item, whether or not the corpus has one."""
        index = self._index[annotator]
        label = self.task.labels.labels[pick(rng, self._labels[item][index].tolist())]
        return self._explained(self._scenes[item], index, label, rng)

    def log_likelihood(self, item: str, label: str | None, explanation: str) -> dict[str, float]:
        """For each annotator, log P(label, explanation | item, annotator).

        Args:
            item: The item's id.
            label: The label, or `None` for the probability of the explanation under any label, which
                is all that a classifier of explanations sees.
            explanation: The explanation as it stands in the corpus.

        Returns:
            Natural logarithms; `-inf` for what an annotator would never say.
        """
        with np.errstate(divide="ignore"):
            values = np.log(self._probability(item, label, explanation))
        return dict(zip(self._index, values.tolist(), strict=True))

    def bayes_attribution(
        self,
        k: int = 1,
        *,
        seen: Literal["explanation", "response"] = "explanation",
        split: str = "test",
        draws: int = 200,
        seed: int = 0,
    ) -> float:
        """The best attribution accuracy that any classifier can reach, with equal priors.

        The Bayes classifier is right with the probability of its largest posterior, so that the mean
        of that over fresh responses estimates its accuracy with little noise (standard error below
        `0.5 / sqrt(draws * annotators)`), and is exactly chance where all annotators are alike.

        Args:
            k: Responses of one annotator that are attributed together, to items drawn at random.
            seen: Whether the classifier sees the explanations only, or the labels with them.
            split: The split that the items come from.
            draws: Groups of k for each annotator.
            seed: Seed of the draws.
        """
        rng = Random(f"bayes/{seed}")
        items = self.corpus.split(split)
        total = 0.0
        for annotator in self._index:
            for _ in range(draws):
                log_likelihood = np.zeros(len(self.personas))
                for _ in range(k):
                    item = items[pick(rng, [1] * len(items))].id
                    said = self.sample(item, annotator, rng)
                    label = said.label if seen == "response" else None
                    with np.errstate(divide="ignore"):
                        log_likelihood += np.log(self._probability(item, label, said.explanation))
                total += 1 / np.exp(log_likelihood - log_likelihood.max()).sum()
        return float(total / (draws * len(self.personas)))

    def label_agreement(self, annotator: str, split: str = "test") -> float:
        """The label agreement of a perfect imitator.

        The mean, over the cells of the annotator that have labels, of the probability that a fresh
        response of the same annotator has one of the labels in the cell.
        """
        shares = [
            sum(
                self.label_probabilities(item.id)[annotator][label]
                for label in cell_labels(item.cells[annotator])
            )
            for item in self.corpus.split(split)
            if item.cells.get(annotator)
        ]
        if not shares:
            raise CapoBenchError(
                f"annotator {annotator} of {self.name} answered no item of split {split!r}; "
                "label agreement is not defined"
            )
        return sum(shares) / len(shares)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {persona.id: index for index, persona in enumerate(self.personas)}

    @cached_property
    def _scenes(self) -> dict[str, Scene]:
        return {scene.id: scene for scene in self.scenes}

    @cached_property
    def _labels(self) -> dict[str, Floats]:
        """For each item, annotators x labels: the probabilities of the labels."""

        def own(personas: Sequence[Persona], scene: Scene) -> Floats:
            return np.array(
                [_own_labels(self.task.labels.labels, persona, scene) for persona in personas]
            )

        return {
            scene.id: self._mixed(own(self.described, scene), own(self.personas, scene))
            for scene in self.scenes
        }

    @cached_property
    def _habits(self) -> dict[str, Floats]:
        """For each choice, annotators x options: the probabilities of the options."""

        def own(personas: Sequence[Persona], choice: str) -> Floats:
            return np.array([persona.habits[choice] for persona in personas])

        return {
            choice: self._mixed(own(self.described, choice), own(self.personas, choice))
            for choice in self.language.choices
        }

    def _mixed(self, described: Floats, own: Floats) -> Floats:
        shared: Floats = described.mean(axis=0)
        return np.asarray((1 - self.distinctness) * shared + self.distinctness * own)

    def _cell(self, scene: Scene, annotator: str, rng: Random) -> tuple[Response, ...]:
        index = self._index[annotator]
        probabilities = self._labels[scene.id][index].copy()
        drawn = {pick(rng, probabilities.tolist())}
        if rng.random() < scene.second:
            probabilities[list(drawn)] = 0
            drawn.add(pick(rng, probabilities.tolist()))
        labels = [self.task.labels.labels[label] for label in sorted(drawn)]
        return tuple(self._explained(scene, index, label, rng) for label in labels)

    def _explained(self, scene: Scene, index: int, label: str, rng: Random) -> Response:
        chosen = {
            choice: options[pick(rng, self._habits[choice][index].tolist())]
            for choice, options in self.language.choices.items()
        }
        kind = self.language.class_of[label]
        return Response(label, render(self.language, kind, scene, chosen))

    def _probability(self, item: str, label: str | None, explanation: str) -> Floats:
        """P(label, explanation | item, annotator) for each annotator."""
        by_class: dict[str, Floats] = {}
        for name, column in zip(self.task.labels.labels, self._labels[item].T, strict=True):
            if label in (None, name):
                kind = self.language.class_of[name]
                by_class[kind] = by_class.get(kind, np.zeros(len(self.personas))) + column
        scene = self._scenes[item]
        total = np.zeros(len(self.personas))
        for kind, prior in by_class.items():
            for chosen in readings(self.language, kind, scene, explanation):
                term = prior
                for choice, option in chosen.items():
                    term = term * self._habits[choice][:, self._option[choice][option]]
                total += term
        return total

    @cached_property
    def _option(self) -> dict[str, dict[str, int]]:
        return {
            choice: {option: index for index, option in enumerate(options)}
            for choice, options in self.language.choices.items()
        }


def synthesize(
    name: str = "mini-nli",
    distinctness: float = 1.0,
    seed: int = 0,
    items: int = 100,
    *,
    annotators: int = 4,
    coverage: float | Sequence[float] = 1.0,
) -> World:
    """A synthetic corpus and the truth about it.

    Args:
        name: One of `WORLDS`.
        distinctness: 0 (all annotators alike) to 1 (each follows their own habits).
        seed: Another seed gives other items and responses; the first four annotators stay who they
            are, further ones change.
        items: Number of items: 5 or more, of `places` 25 or more.
        annotators: Number of annotators. The first four are described in the material, further ones
            are drawn at random.
        coverage: Probability that an annotator answers an item, for all or for each annotator.

    Raises:
        CapoBenchError: On an unknown name, an argument out of range, or more items than the material
            can make.
    """
    shares = tuple(coverage) if isinstance(coverage, Sequence) else (coverage,) * annotators
    if name not in WORLDS:
        raise CapoBenchError(
            f"unknown synthetic corpus {name!r}; expected one of {', '.join(WORLDS)}"
        )
    if not 0 <= distinctness <= 1:
        raise CapoBenchError(f"{name}: distinctness is {distinctness}, expected 0 to 1")
    if items < _MIN_ITEMS:
        raise CapoBenchError(f"{name}: {items} items, expected {_MIN_ITEMS} or more")
    if annotators < 1 or len(shares) != annotators:
        raise CapoBenchError(
            f"{name}: {annotators} annotators and {len(shares)} coverages; "
            "expected one or more annotators and a coverage for each"
        )
    if not all(0 < share <= 1 for share in shares):
        raise CapoBenchError(f"{name}: coverage is {coverage}, expected above 0 and at most 1")
    task, scenes = WORLDS[name]
    words = material.load(name.replace("-", "_"))
    return World(
        name=name,
        task=task,
        language=words.language,
        described=words.personas,
        personas=material.crowd(words, annotators, seed),
        scenes=scenes(words, items, seed),
        distinctness=distinctness,
        coverage=shares,
        missing=words.missing,
        seed=seed,
    )


def world_of(corpus: Corpus) -> World | None:
    """The world whose annotators wrote a corpus, if it is as `synthesize` makes it by default.

    It is told by name and fingerprint; what else a file says of itself is not believed.
    """
    if corpus.name not in WORLDS:
        return None
    try:
        made = synthesize(
            corpus.name, items=len(corpus.items), annotators=len(corpus.annotator_ids)
        )
    except CapoBenchError:  # no world has so few items, or so many
        return None
    return made if made.corpus.fingerprint == corpus.fingerprint else None


def _own_labels(labels: Sequence[str], persona: Persona, scene: Scene) -> Floats:
    """A persona's own probabilities of the labels.

    NLI: softmax of the scene's log odds and the persona's tilt, over the labels that the scene
    allows. Paraphrase: a normal density around the shifted and stretched meaning, cut to the scale.
    """
    if scene.log_odds:
        log_odds = np.array(
            [scene.log_odds.get(label, -np.inf) + persona.tilt[label] for label in labels]
        )
    else:
        tilt = persona.tilt
        values = np.array([int(label) for label in labels])
        centre = np.clip(tilt["shift"] + tilt["stretch"] * scene.meaning, values[0], values[-1])
        log_odds = -((values - centre) ** 2) / (2 * tilt["spread"] ** 2)
    odds = np.exp(log_odds - log_odds.max())
    return np.asarray(odds / odds.sum())
