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

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from capo_bench.corpus.model import SPLITS, Corpus, Item, cell_labels, splits_before
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.attribution import Attributor, fit_attributor
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.metrics.guards import fit_item_vectors
from capo_bench.metrics.indistinguishability import Discriminator, fit_discriminator
from capo_bench.metrics.lexicon import Lexicon, lexicon_of
from capo_bench.metrics.registry import HEADLINE
from capo_bench.metrics.style import mask_normalised
from capo_bench.metrics.tokens import normalise, words
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.cache import key, remembered
from capo_bench.scoring.controls import central_label
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Array, Estimate, Undefined, estimate

CANDIDATES = 40
"""Candidates for each response of a searched attack."""

TRAIN_ONLY = ("usual", "predicted")
"""Kinds of labels that need nothing of the evaluated split."""

_NEAREST = 12  # earlier responses, by their items, that a generator chooses among
_TELLING = 25  # words and pairs of words by which the attribution classifier knows an annotator
_ROUNDS = 4  # of search, each against a discriminator fitted to what the last one chose
_LONGEST = 60  # words

Cell = tuple[Item, str]
Write = Callable[["Material", Item, str, Random], list[str]]


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
    """Of each family the attack that reaches most, unsearched; empty where nobody can be imitated.

    Which they are is found once for a corpus and kept.

    Args:
        scorer: The scorer of the corpus and split that are attacked.

    Returns:
        Predictions by name of the attack.
    """
    if isinstance(scorer.instruments.attributor, Undefined):
        return {}

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


class Material:
    """What an attacker knows, prepared for the generators."""

    def __init__(self, corpus: Corpus, split: str) -> None:
        attributor = fit_attributor(corpus, normalised=True)
        if isinstance(attributor, Undefined):
            raise CapoBenchError(f"corpus {corpus.name} has nobody to imitate: {attributor.reason}")
        self.corpus, self.split, self.attributor = corpus, split, attributor
        self.lexicon = lexicon_of(corpus)
        known: set[str] = {corpus.annotator_ids[a] for a in attributor.annotators}
        self.cells = [cell for cell in evaluated_cells(corpus, split) if cell[1] in known]
        read = splits_before(split)
        self.history = {
            a: [
                (item, response)
                for name in read
                for item, response in corpus.responses(name, a)
                if normalise(response.explanation)
            ]
            for a in sorted(known)
        }
        # Words that an explanation shares with its item become slots, to be filled from another.
        self.masked: dict[str, list[list[str]]] = {
            a: [mask_normalised(r.explanation, i.text, self.lexicon).split() for i, r in own]
            for a, own in self.history.items()
        }
        self._chains: dict[tuple[str, int], dict[tuple[str, ...], list[str]]] = {}

    def texts(self, generator: str, cells: Sequence[Cell], seed: int) -> list[str]:
        """An explanation for each cell; every choice has a generator of its own."""
        write = GENERATORS[generator][1]
        return [
            " ".join(write(self, item, a, Random(f"{seed}/{generator}/{item.id}/{a}"))[:_LONGEST])
            or "it is"
            for item, a in cells
        ]

    def filled(self, tokens: Sequence[str], item: Item, rng: Random) -> list[str]:
        """The slots filled with content words of the item, in its order from a random place on."""
        content = [
            word
            for text in item.text.values()
            for word in words(text)
            if word not in self.lexicon.function
        ] or ["it"]
        at = rng.randrange(len(content))
        out = []
        for token in tokens:
            out.append(content[at % len(content)] if "#" in token else token)
            at += "#" in token
        return out

    def near(self, item: Item, annotator: str, rng: Random) -> list[str]:
        """A masked earlier response of the annotator, to one of the items nearest to this one."""
        return self.masked[annotator][rng.choice(self._nearest[item.id, annotator])]

    def earlier(self, annotator: str, rng: Random) -> list[str]:
        """A masked earlier response of the annotator."""
        return rng.choice(self.masked[annotator])

    def someone_else(self, annotator: str, rng: Random) -> str:
        """Another annotator with a history."""
        return rng.choice([a for a, own in self.masked.items() if a != annotator and own])

    def follows(self, annotator: str, context: tuple[str, ...]) -> list[str]:
        """The words that follow a context in the annotator's masked history; `>` is the end."""
        key = annotator, len(context)
        if key not in self._chains:
            chain: dict[tuple[str, ...], list[str]] = defaultdict(list)
            for tokens in self.masked[annotator]:
                padded = ["<"] * len(context) + tokens + [">"]
                for at in range(len(padded) - len(context)):
                    chain[tuple(padded[at : at + len(context)])].append(padded[at + len(context)])
            self._chains[key] = dict(chain)
        return self._chains[key].get(context, [])

    @cached_property
    def telling(self) -> dict[str, tuple[list[str], list[list[str]]]]:
        """Of each annotator the words and pairs of words that the classifier knows them by."""
        columns, weights = self.attributor.columns, self.attributor.coefficients
        grams = [
            (at, gram.split()) for at, (kind, gram) in enumerate(columns)
            if kind == "words" and "#" not in gram
        ]  # fmt: skip
        found = {}
        for row, annotator in zip(weights, self.attributor.annotators, strict=True):
            ranked = [gram for at, gram in sorted(grams, key=lambda pair: -row[pair[0]])]
            found[self.corpus.annotator_ids[annotator]] = (
                [gram[0] for gram in ranked if len(gram) == 1][:_TELLING],
                [gram for gram in ranked if len(gram) == 2][:_TELLING],
            )
        return found

    @cached_property
    def _nearest(self) -> dict[tuple[str, str], list[int]]:
        vectors = fit_item_vectors(self.corpus)
        asked = list({item.id: item for item, _ in [*self.cells, *self.rehearsal]}.values())
        found = {}
        for annotator, own in self.history.items():
            if not own:
                continue
            items = [item for item, _ in own]
            similarity = (vectors.items(asked) @ vectors.items(items).T).toarray()
            for item, row in zip(asked, similarity, strict=True):
                # Never the response to the item itself, which is known where the attacker rehearses.
                order = [
                    int(at) for at in np.argsort(-row, kind="stable") if items[at].id != item.id
                ]
                found[item.id, annotator] = order[:_NEAREST]
        return found

    @cached_property
    def rehearsal(self) -> list[Cell]:
        """Cells whose human explanations the attacker knows, to fit a discriminator on."""
        return [
            (item, a)
            for item, a in evaluated_cells(self.corpus, _before(self.split))
            if a in self.history and normalise(item.cells[a][0].explanation)
        ]

    def usual_label(self, _: Item, annotator: str) -> str:
        """The annotator's most frequent training label."""
        labels = [x for _, r in self.corpus.responses("train", annotator) for x in r.labels]
        return max(self.corpus.task.labels.labels, key=labels.count)

    def majority_label(self, item: Item, annotator: str) -> str:
        """The others' most frequent label for the item, or their median on a scale."""
        labels = [
            label
            for other, given in item.cells.items()
            if other != annotator
            for label in cell_labels(given)
        ]
        if not labels:
            return self.usual_label(item, annotator)
        return central_label(self.corpus.task.labels, labels)

    def predicted_label(self, item: Item, annotator: str) -> str:
        """The guess of a multinomial logistic regression fitted on the training labels."""
        return self._predicted[item.id, annotator]

    @cached_property
    def _predicted(self) -> dict[tuple[str, str], str]:
        train = [
            (item, a, label)
            for a in self.history
            for item, r in self.corpus.responses("train", a)
            for label in r.labels
        ]
        ids = list(self.history)
        texts = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
        texts.fit([" ".join(item.text.values()) for item, *_ in train])

        def rows(cells: Sequence[Cell]) -> csr_matrix:
            who = np.eye(len(ids))[[ids.index(a) for _, a in cells]]
            alike = np.array([_alike(item, self.lexicon) for item, _ in cells])
            # What the texts share, for each annotator apart; and their words.
            own = (who[:, :, None] * alike[:, None, :]).reshape(len(cells), -1)
            wording = texts.transform([" ".join(item.text.values()) for item, _ in cells])
            return hstack([csr_matrix(np.hstack([who, alike, own])), wording]).tocsr()

        fitted = LogisticRegression(C=1.0, max_iter=2000)
        fitted.fit(rows([(item, a) for item, a, _ in train]), [label for *_, label in train])
        guesses = fitted.predict(rows(self.cells))
        return {(i.id, a): str(g) for (i, a), g in zip(self.cells, guesses, strict=True)}


def _before(split: str) -> str:
    return (splits_before(split) or SPLITS[:1])[-1]


def _alike(item: Item, lexicon: Lexicon) -> list[float]:
    """How much the input texts share: words, content words, lengths, negations."""
    texts = [words(text) for text in item.text.values()]
    first, second = set(texts[0]), set(texts[-1])
    shared = first & second
    negated = [any(w in ("not", "no", "never") or w.endswith("n't") for w in t) for t in texts]
    return [
        len(shared) / max(len(first | second), 1),
        len(shared) / max(len(second), 1),
        len(shared - lexicon.function) / max(len((first | second) - lexicon.function), 1),
        abs(len(texts[0]) - len(texts[-1])) / max(len(texts[0]) + len(texts[-1]), 1),
        float(negated[0] != negated[-1]),
        float(texts[0] == texts[-1]),
    ]


# --- search --------------------------------------------------------------------------------------


def searched(material: Material, generator: str, candidates: int, seed: int) -> list[str]:
    """The best of so many candidates for each cell, by classifiers that the attacker can fit.

    The attacker answers the split before the evaluated one too, where the annotators' own
    explanations are known, fits a discriminator of shape and novelty on them against the choices so
    far, chooses anew by the mean of all discriminators up to now and by the attribution classifier,
    and so on.
    """
    corpus = material.corpus
    discriminator = fit_discriminator(corpus, material.split)
    rehearsed = Discriminator(
        discriminator.histories,
        discriminator.vectors,
        list(corpus.split(_before(material.split))),
        material.lexicon,
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


# --- generators ----------------------------------------------------------------------------------


def _length(material: Material, annotator: str, rng: Random) -> int:
    return max(4, len(material.earlier(annotator, rng)))


def _salad(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """The item's words shuffled with the annotator's telling words."""
    own = [word for text in item.text.values() for word in words(text)]
    length = _length(material, annotator, rng)
    telling = rng.choices(material.telling[annotator][0] or ["so"], k=max(2, length // 2))
    mixed = rng.sample(own, min(len(own), max(2, length - len(telling)))) + telling
    rng.shuffle(mixed)
    return mixed


def _template(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Telling pairs of words with the item's words between them."""
    out: list[str] = []
    length = _length(material, annotator, rng)
    while len(out) < length:
        out += [*rng.choice(material.telling[annotator][1] or [["it", "is"]]), "#"]
    return material.filled(out, item, rng)


def _other_telling(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Another annotator's earlier response, a third of its words replaced by telling ones."""
    tokens = material.near(item, material.someone_else(annotator, rng), rng)
    telling = material.telling[annotator][0] or ["so"]
    replaced = [t if t == "#" or rng.random() > 0.35 else rng.choice(telling) for t in tokens]
    return material.filled(replaced, item, rng)


def _refilled(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """The annotator's response to a near item, with this item's words in it."""
    return material.filled(material.near(item, annotator, rng), item, rng)


def _refilled_any(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Any earlier response of the annotator, with this item's words in it."""
    return material.filled(material.earlier(annotator, rng), item, rng)


def _shuffled(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A near response cut into pieces of two to four words, in another order."""
    tokens = material.near(item, annotator, rng)
    pieces: list[list[str]] = []
    while tokens:
        cut = rng.randint(2, 4)
        pieces.append(list(tokens[:cut]))
        tokens = tokens[cut:]
    rng.shuffle(pieces)
    return material.filled([token for piece in pieces for token in piece], item, rng)


def _spliced(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """The first half of one earlier response and the second of another."""
    first, second = material.earlier(annotator, rng), material.earlier(annotator, rng)
    return material.filled([*first[: -(-len(first) // 2)], *second[len(second) // 2 :]], item, rng)


def _alternate(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Three words of the annotator and two of another, in turn."""
    own = material.near(item, annotator, rng)
    other = material.near(item, material.someone_else(annotator, rng), rng)
    out = [
        token
        for at in range(0, max(len(own), len(other)), 5)
        for token in (*own[at : at + 3], *other[at + 3 : at + 5])
    ]
    return material.filled(out[: _length(material, annotator, rng)], item, rng)


def _quoting(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A run of the item's words and the end of an earlier response."""
    text = words(rng.choice(list(item.text.values())))
    length = rng.randint(3, 8)
    start = rng.randrange(max(1, len(text) - length + 1))
    tail = material.earlier(annotator, rng)
    return [*text[start : start + length], *material.filled(tail[len(tail) // 2 :], item, rng)]


def _inserted(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A near response with one of the annotator's function words after every third word."""
    spare = [t for t in material.earlier(annotator, rng) if t in material.lexicon.function] or [
        "so"
    ]
    out = []
    for at, token in enumerate(material.near(item, annotator, rng)):
        out += [token, rng.choice(spare)] if at % 3 == 2 else [token]
    return material.filled(out, item, rng)


def _dropped(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A near response without a fifth of its words."""
    return material.filled(
        [t for t in material.near(item, annotator, rng) if rng.random() > 0.2], item, rng
    )


def _swapped(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A near response, words replaced by others that stand between the same neighbours."""
    out = list(material.near(item, annotator, rng))
    for at in range(len(out)):
        if rng.random() < 0.3:
            before = out[at - 1] if at else "<"
            after = out[at + 1] if at + 1 < len(out) else ">"
            fitting = [
                word
                for word in material.follows(annotator, (before,))
                if word != ">" and after in material.follows(annotator, (word,))
            ]
            out[at] = rng.choice(fitting) if fitting else out[at]
    return material.filled(out, item, rng)


def _chain(order: int) -> Write:
    def write(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
        """A walk over the annotator's n-grams."""
        context, out = ("<",) * order, list[str]()
        while len(out) < _LONGEST:
            word = rng.choice(material.follows(annotator, context))
            if word == ">":
                break
            out.append(word)
            context = (*context[1:], word)
        return material.filled(out, item, rng)

    return write


def _backoff(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A walk that goes back at random to shorter contexts, to be as new as people are."""
    past, out = ["<"] * 3, list[str]()
    while len(out) < _LONGEST:
        longest = rng.choices((3, 2, 1), (0.45, 0.4, 0.15))[0]
        follow = next(
            found
            for order in range(longest, 0, -1)
            if (found := material.follows(annotator, tuple(past[-order:])))
        )
        word = rng.choice(follow)
        if word == ">":
            break
        out.append(word)
        past.append(word)
    return material.filled(out, item, rng)


def _peer(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Another annotator's answer to this very item, or a near response where nobody else answered."""
    others = [
        normalise(given[0].explanation).split()
        for other, given in sorted(item.cells.items())
        if other != annotator and given and normalise(given[0].explanation)
    ]
    return rng.choice(others) if others else _refilled(material, item, annotator, rng)


def _peer_telling(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Another annotator's answer to this item, its function words replaced by telling ones."""
    telling = [w for w in material.telling[annotator][0] if w in material.lexicon.function] or [
        "so"
    ]
    return [
        rng.choice(telling) if token in material.lexicon.function and rng.random() < 0.4 else token
        for token in _peer(material, item, annotator, rng)
    ]


def _peer_spliced(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Half of another annotator's answer to this item, and half of a response of the annotator's."""
    theirs = _peer(material, item, annotator, rng)
    own = _refilled(material, item, annotator, rng)
    if rng.random() < 0.5:
        return [*own[: -(-len(own) // 2)], *theirs[len(theirs) // 2 :]]
    return [*theirs[: -(-len(theirs) // 2)], *own[len(own) // 2 :]]


def _mixture(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Any of the others that keep word order, so that no one trait is all responses'."""
    write = rng.choice((_refilled_any, _chain(2), _spliced, _swapped, _quoting, _dropped, _backoff))
    return write(material, item, annotator, rng)


GENERATORS: Mapping[str, tuple[str, Write]] = {
    "word-salad": ("words", _salad),
    "other-with-telling-words": ("words", _other_telling),
    "slot-template": ("templates", _template),
    "refilled-near": ("refilled", _refilled),
    "refilled-any": ("refilled", _refilled_any),
    "shuffled-pieces": ("pieces", _shuffled),
    "spliced-halves": ("pieces", _spliced),
    "alternating-pieces": ("pieces", _alternate),
    "quote-and-tail": ("pieces", _quoting),
    "inserted-words": ("edits", _inserted),
    "dropped-words": ("edits", _dropped),
    "swapped-words": ("edits", _swapped),
    "bigram-chain": ("chains", _chain(1)),
    "trigram-chain": ("chains", _chain(2)),
    "fourgram-chain": ("chains", _chain(3)),
    "backoff-chain": ("chains", _backoff),
    "mixture": ("mixture", _mixture),
    "peer": ("peers", _peer),
    "peer-with-telling-words": ("peers", _peer_telling),
    "peer-spliced": ("peers", _peer_spliced),
}
"""By name: the family, and how it writes the words of an explanation."""
