"""The best guess of labels that an attacker can fit: what `predicted` labels of the red team are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from capo_bench.corpus.model import Item
from capo_bench.metrics.lexicon import Lexicon
from capo_bench.metrics.tokens import words

_FOLDS = 5
_BEYOND_USUAL = (0.0, 0.5, 1.0)  # how much of an annotator's usual rate of a label is taken off


def guess_labels(
    known: Sequence[tuple[Item, str, str]], asked: Sequence[tuple[Item, str]], lexicon: Lexicon
) -> dict[tuple[str, str], str]:
    """Labels by whichever of a few rules agrees with the known ones most beyond chance, by folds.

    Probabilities are of a logistic regression over words, or of extremely randomised trees (Geurts et
    al. 2006) over how an item's texts compare, both with the annotator; the guess is the label that
    is likeliest, or that exceeds the annotator's usual rate most.

    Args:
        known: Item, annotator and label of each known response; several labels are several rows.
        asked: Item and annotator of each cell to answer.
        lexicon: Of the corpus's languages.

    Returns:
        By item and annotator a label, of the cells asked and, by a fit without their item, of the
        known ones.
    """
    told = [(item, annotator) for item, annotator, _ in known]
    ids = sorted({annotator for _, annotator in told})
    labels, truth = np.unique([label for *_, label in known], return_inverse=True)
    who, asks = (np.array([ids.index(a) for _, a in cells]) for cells in (told, asked))
    usual = np.zeros((len(ids), len(labels)))
    np.add.at(usual, (who, truth), 1)
    usual /= usual.sum(axis=1, keepdims=True)
    groups = [item.id for item, _ in told]
    folds = list(GroupKFold(min(_FOLDS, len(set(groups)))).split(who, groups=groups))
    best, guesses = -np.inf, (truth, truth)
    for model, rows in _models([item for item, _ in told], ids, lexicon):
        fitted_rows, held_out = rows(told), np.zeros((len(told), len(labels)))
        for fit, left in folds:
            model.fit(fitted_rows[fit], truth[fit])
            held_out[np.ix_(left, model.classes_)] = model.predict_proba(fitted_rows[left])
        of_asked = model.fit(fitted_rows, truth).predict_proba(rows(asked))
        for share in _BEYOND_USUAL:
            guessed = (held_out - share * usual[who]).argmax(axis=1)
            if (reached := _beyond_chance(guessed, truth, who)) > best:
                best = reached
                guesses = guessed, (of_asked - share * usual[asks]).argmax(axis=1)
    cells = [*told, *asked]
    return {
        (item.id, annotator): str(labels[guess])
        for (item, annotator), guess in zip(cells, np.concatenate(guesses), strict=True)
    }


def _models(
    items: Sequence[Item], ids: Sequence[str], lexicon: Lexicon
) -> list[
    tuple[
        LogisticRegression | ExtraTreesClassifier,
        Callable[[Sequence[tuple[Item, str]]], csr_matrix],
    ]
]:
    """Classifiers, each with what it reads of cells."""
    texts = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    texts.fit([" ".join(item.text.values()) for item in items])

    def compared(cells: Sequence[tuple[Item, str]]) -> csr_matrix:
        who = np.eye(len(ids))[[ids.index(a) for _, a in cells]]
        alike = np.array([_alike(item, lexicon) for item, _ in cells])
        # What the texts share, for each annotator apart.
        own = (who[:, :, None] * alike[:, None, :]).reshape(len(cells), -1)
        return csr_matrix(np.hstack([who, alike, own]))

    def worded(cells: Sequence[tuple[Item, str]]) -> csr_matrix:
        wording = texts.transform([" ".join(item.text.values()) for item, _ in cells])
        return hstack([compared(cells), wording]).tocsr()

    return [
        (LogisticRegression(C=1.0, max_iter=2000), worded),
        (ExtraTreesClassifier(200, min_samples_leaf=3, random_state=0), compared),
    ]


def _beyond_chance(
    guessed: NDArray[np.int64], truth: NDArray[np.int64], who: NDArray[np.int64]
) -> float:
    """Right guesses beyond those that would be right if each annotator's were dealt at random."""
    found = 0.0
    for one in np.unique(who):
        ours, theirs = guessed[who == one], truth[who == one]
        size = int(max(ours.max(), theirs.max())) + 1
        chance = np.bincount(ours, minlength=size) @ np.bincount(theirs, minlength=size)
        found += float((ours == theirs).sum() - chance / len(ours))
    return found


def _alike(item: Item, lexicon: Lexicon) -> list[float]:
    """How an item's first and last text compare: words, lengths, negations, questions."""
    raw = list(item.text.values())
    texts = [words(text) for text in raw]
    a, b = texts[0], texts[-1]
    first, second = set(a), set(b)
    shared = first & second
    pairs, others = set(pairwise(a)), set(pairwise(b))
    negated = [any(w in ("not", "no", "never") or w.endswith("n't") for w in t) for t in (a, b)]
    return [
        len(shared) / max(len(first | second), 1),
        len(shared) / max(len(second), 1),
        len(shared - lexicon.function) / max(len((first | second) - lexicon.function), 1),
        abs(len(a) - len(b)) / max(len(a) + len(b), 1),
        float(negated[0] != negated[-1]),
        float(a == b),
        len(pairs & others) / max(len(pairs | others), 1),
        SequenceMatcher(None, a, b, autojunk=False).ratio(),
        float("?" in raw[0]) - float("?" in raw[-1]),
        float(len(first - second - lexicon.function)),
        float(len(second - first - lexicon.function)),
        float(sum(word.isdigit() for word in first ^ second)),
    ]
