"""What an attacker knows of a split before it is answered: its items, and what was said elsewhere.

All of it is known from the splits before the evaluated one, but for what the *other* annotators
answered to the evaluated items (`Material.majority_label`), which no honest system reads.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from capo_bench.corpus.model import SPLITS, Corpus, Item, cell_labels, splits_before
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.attribution import fit_attributor
from capo_bench.metrics.cells import evaluated_cells
from capo_bench.metrics.guards import fit_item_vectors
from capo_bench.metrics.indistinguishability import Histories, fit_discriminator
from capo_bench.metrics.lexicon import lexicon_of
from capo_bench.metrics.style import mask_normalised
from capo_bench.metrics.tokens import normalise, words
from capo_bench.scoring.controls import central_label
from capo_bench.scoring.guessing import guess_labels
from capo_bench.stats.resampling import Undefined

_NEAREST = 12  # earlier responses, by their items, that a generator chooses among
_TELLING = 25  # words and pairs of words by which the attribution classifier knows an annotator
_ALIKE = 5  # earlier responses, by how they are worded, that a generator chooses among

Cell = tuple[Item, str]
Guess = Callable[[Item, str], str]
"""The label that a cell is answered with."""


@dataclass(frozen=True)
class Author:
    """Who is imitated, and what they are to argue for.

    Attributes:
        annotator: The annotator.
        label: The label that the explanation is given with.
    """

    annotator: str
    label: str


class Material:
    """What an attacker knows, prepared for generators of explanations.

    Attributes:
        corpus: The corpus.
        split: The split that is answered.
        attributor: The public attribution classifier.
        lexicon: Of the corpus's languages.
        cells: What is asked: the evaluated cells of annotators who can be named.
        history: Of each annotator the earlier items and responses with an explanation.
        masked: Of each of these the words, those that it shares with its item replaced by slots, to
            be filled from another.
    """

    def __init__(self, corpus: Corpus, split: str) -> None:
        if split == "train":
            raise CapoBenchError(
                "the red team knows the train split; choose another split to answer"
            )
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
        self.masked: dict[str, list[list[str]]] = {
            a: [mask_normalised(r.explanation, i.text, self.lexicon).split() for i, r in own]
            for a, own in self.history.items()
        }
        self._fitting: dict[Author, list[int]] = {}
        self._chains: dict[tuple[Author, int], dict[tuple[str, ...], list[str]]] = {}
        self._frames: dict[Author, tuple[list[list[str]], list[int]]] = {}

    def fitting(self, author: Author) -> list[int]:
        """Which of the annotator's history argue for the label; all, where hardly any does."""
        if author not in self._fitting:
            own = self.history[author.annotator]
            fitting = [
                at for at, (_, response) in enumerate(own) if author.label in response.labels
            ]
            self._fitting[author] = fitting if len(fitting) >= _ALIKE else list(range(len(own)))
        return self._fitting[author]

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

    def near(self, item: Item, author: Author, rng: Random) -> list[str]:
        """A masked earlier response to one of the items nearest to this one."""
        return self.masked[author.annotator][self.nearest(item, author, rng)]

    def nearest(self, item: Item, author: Author, rng: Random) -> int:
        """Which of the annotator's history, of the responses to the items nearest to this one."""
        fitting = set(self.fitting(author))
        order = [
            at for at in self._by_nearness[item.id, author.annotator].tolist() if at in fitting
        ]
        return int(rng.choice(order[:_NEAREST]))

    def earlier(self, author: Author, rng: Random) -> list[str]:
        """A masked earlier response."""
        return self.masked[author.annotator][rng.choice(self.fitting(author))]

    def someone_else(self, author: Author, rng: Random) -> Author:
        """Another annotator with a history, for the same label."""
        others = [a for a, own in self.masked.items() if a != author.annotator and own]
        return Author(rng.choice(others), author.label)

    def follows(self, author: Author, context: tuple[str, ...]) -> list[str]:
        """The words that follow a context in the masked history; `>` is the end."""
        key = author, len(context)
        if key not in self._chains:
            chain: dict[tuple[str, ...], list[str]] = defaultdict(list)
            for at in self.fitting(author):
                tokens = self.masked[author.annotator][at]
                padded = ["<"] * len(context) + tokens + [">"]
                for start in range(len(padded) - len(context)):
                    end = start + len(context)
                    chain[tuple(padded[start:end])].append(padded[end])
            self._chains[key] = dict(chain)
        return self._chains[key].get(context, [])

    def frames(self, author: Author) -> tuple[list[list[str]], list[int]]:
        """The third of masked responses with the commonest 4-grams, slots that follow each other one.

        Beside the frames, how many words each of the slots held.
        """
        if author not in self._frames:
            masked = [self.masked[author.annotator][at] for at in self.fitting(author)]
            runs = [[(slot, list(run)) for slot, run in groupby(t, key=_is_slot)] for t in masked]
            lengths = [len(run) for one in runs for slot, run in one if slot]
            frames = [
                [token for slot, run in one for token in (["#"] if slot else run)] for one in runs
            ]
            grams = [{tuple(frame[at : at + 4]) for at in range(len(frame))} for frame in frames]
            held = Counter(gram for one in grams for gram in one)
            common = [sum(held[gram] for gram in one) / len(one) for one in grams]
            order = sorted(range(len(frames)), key=lambda at: -common[at])
            kept = [frames[at] for at in order[: -(-len(frames) // 3)]]
            self._frames[author] = kept, lengths or [1]
        return self._frames[author]

    def alike(self, tokens: Sequence[str], item: Item, author: Author, rng: Random) -> int:
        """Which of the annotator's history, of the masked responses most like a masked text."""
        vectoriser, rows = self._wordings[author.annotator]
        similarity = (rows @ vectoriser.transform([" ".join(tokens)]).T).toarray()[:, 0]
        own, fitting = self.history[author.annotator], self.fitting(author)
        order = [at for at in fitting if own[at][0].id != item.id] or fitting
        return rng.choice(sorted(order, key=lambda at: -similarity[at])[:_ALIKE])

    @cached_property
    def _wordings(self) -> dict[str, tuple[TfidfVectorizer, csr_matrix]]:
        found = {}
        for annotator, own in self.masked.items():
            vectoriser = TfidfVectorizer(
                sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False
            )
            found[annotator] = vectoriser, vectoriser.fit_transform(map(" ".join, own))
        return found

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
    def _by_nearness(self) -> dict[tuple[str, str], NDArray[np.int64]]:
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
                others = np.array([one.id != item.id for one in items])
                order = np.argsort(-row, kind="stable")
                found[item.id, annotator] = order[others[order]]
        return found

    @cached_property
    def histories(self) -> Histories:
        """The n-grams of what the annotators wrote outside the split, as the score reads them."""
        return fit_discriminator(self.corpus, self.split).histories

    @cached_property
    def rehearsal(self) -> list[Cell]:
        """Cells whose human explanations the attacker knows, to fit a discriminator on."""
        return [
            (item, a)
            for item, a in evaluated_cells(self.corpus, before(self.split))
            if a in self.history and normalise(item.cells[a][0].explanation)
        ]

    @property
    def guesses(self) -> dict[str, Guess]:
        """By kind, how labels are guessed."""
        return {
            "predicted": self.predicted_label,
            "usual": self.usual_label,
            "majority": self.majority_label,
        }

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
        """The best guess from the splits before; for cells of these, of a fit without their item."""
        return self._predicted[item.id, annotator]

    @cached_property
    def _predicted(self) -> dict[tuple[str, str], str]:
        known = [
            (item, a, label)
            for a in self.history
            for split in splits_before(self.split)
            for item, response in self.corpus.responses(split, a)
            for label in response.labels
        ]
        return guess_labels(known, self.cells, self.lexicon)


def _is_slot(token: str) -> bool:
    return "#" in token


def before(split: str) -> str:
    """The split before one, which an attacker knows and may rehearse on."""
    return (splits_before(split) or SPLITS[:1])[-1]
