"""Indistinguishability: can a classifier tell the responses from the annotator's own?

A classifier two-sample test (Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545). For each
set of responses a classifier is trained anew to tell its explanations from the annotators' own to
the same items, and asked about items that it was not trained on. What it finds cannot be searched
for beforehand: nothing of it is public but the recipe, and whatever an attack makes more of than
people do is what the next fit goes by.

The classifier reads three things. *Wording*: n-grams of words, of characters and of a skeleton of
function words and word endings, with the words of the item masked. *Shape*: features of style, and
how much of the text repeats itself. *Novelty*: which shares of its 1- to 5-grams stand in the
annotator's other responses, and in what the others answered to the item, how much of it a single one
of them holds, and how close it is to its own item. A text put together from an annotator's old
phrases has bigrams that are all known and trigrams that never occur; a copy has nothing new; who
takes half of an answer from another annotator has runs of words that two people never share. People
lie in between, and a fit to people's own rates of all leaves no threshold to step under.

Texts are compared with the *labels that they are given with*: a set of texts may as a whole be as the
annotator's are and yet argue, one by one, for other labels than they are said to.

Case, punctuation and the spelling of contractions are dropped first: who retypes an annotator's
words is still that annotator.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from capo_bench.corpus.evaluable import (
    MAX_HELD,
    MAX_RECALLED,
    asked,
    is_crowd,
    named,
    spread,
)
from capo_bench.corpus.model import SPLITS, Corpus, Item, Response, splits_before
from capo_bench.files import uncollected
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.guards import Pool, fit_competitors
from capo_bench.metrics.labels import indicators
from capo_bench.metrics.lexicon import Lexicon, lexicon_of
from capo_bench.metrics.ngrams import NgramVectorizer
from capo_bench.metrics.style import mask_normalised, style_features
from capo_bench.metrics.tokens import normalise
from capo_bench.stats.resampling import Array, Undefined

MIN_RESPONSES = 5
"""Evaluated responses of an annotator below which a classifier learns nothing of them."""

FOLDS = 100
"""Most groups of items that are held out in turn; of up to a hundred items each is its own."""

_LONGEST = 5  # n-grams by which novelty is told
_RIDGE = 0.3
_SHARED = 0.5  # how much a text counts that is another annotator's, or given with another label
_POOL = 1024  # most texts that one classifier is trained on: its cost grows with their cube
_CLIP = 3.0
_REMEMBERED = 2**13  # texts whose shape is kept: every row asks for that of the annotators' own

Grams = Mapping[tuple[str, ...], Collection[str]]


@dataclass(frozen=True)
class Histories:
    """The n-grams of each annotator's responses outside the evaluated split.

    Attributes:
        plain: By annotator, for n = 1 to 5, the ids of the items whose explanations hold an n-gram.
        masked: As `plain`, with the words that an explanation shares with its item masked.
    """

    plain: Mapping[str, Sequence[Grams]]
    masked: Mapping[str, Sequence[Grams]]


@dataclass(frozen=True)
class Discriminator:
    """What is known before there are responses: the annotators' histories, and the items.

    Attributes:
        histories: The annotators' n-grams.
        competitors: The items that a text is compared with, beside its own.
        pool: The items of the evaluated split that are asked about. Without their cells, for who does
            not know them, nothing is held against what the others answered.
        lexicon: Of the corpus's languages.
    """

    histories: Histories
    competitors: Pool
    pool: Sequence[Item]
    lexicon: Lexicon
    _known: dict[tuple[str, str, str], tuple[float, ...]] = field(default_factory=dict, repr=False)
    _told: dict[str, Sequence[Grams]] = field(default_factory=dict, repr=False)

    def shape(self, text: str, item: Item, annotator: str) -> tuple[float, ...]:
        """Shape and novelty of one text; novelty leaves the annotator's responses to the item out."""
        key = (text, item.id, annotator)
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = tuple(self._shape(text, item, annotator))
        return self._known[key]

    def _shape(self, text: str, item: Item, annotator: str) -> Iterator[float]:
        inputs = {name: normalise(source) for name, source in item.text.items()}
        plain = normalise(text)
        masked = mask_normalised(text, item.text, self.lexicon).split()
        tokens = plain.split()
        n = max(len(tokens), 1)
        yield from style_features(plain, inputs, self.lexicon)
        yield float(np.log1p(len(tokens)))
        yield 1 - len(set(tokens)) / n
        yield _repeated(tokens)
        yield _repeated(["#" if "#" in token else "" for token in masked])
        runs = _runs(tokens)
        yield from _novelty(runs, item.id, self.histories.plain[annotator])
        yield from _novelty(_runs(masked), item.id, self.histories.masked[annotator])
        yield from _novelty(runs, annotator, self._answers(item.id))

    def relevance(self, texts: Sequence[str], items: Sequence[Item]) -> Array:
        """Similarity of n texts to their own items, and root of the share of items closer, (n, 2)."""
        own, closer, _ = self.competitors.nearness(texts, items)
        return np.column_stack([own, np.sqrt(closer / len(self.competitors))])

    def _answers(self, item: str) -> Sequence[Grams]:
        """For n = 1 to 5, which annotators' explanations of an item of the pool hold an n-gram."""
        if item not in self._told:
            self._told[item] = _holders(
                (normalise(response.explanation).split(), annotator)
                for annotator, own in self._by_id[item].cells.items()
                for response in own
            )
        return self._told[item]

    @cached_property
    def _by_id(self) -> Mapping[str, Item]:
        return {item.id: item for item in self.pool}


@uncollected()
def fit_discriminator(corpus: Corpus, split: str) -> Discriminator:
    """Reads the annotators' responses outside the evaluated split, and who said what of its items.

    Args:
        corpus: The corpus.
        split: The evaluated split.
    """
    # Who answers the test split may know the validation split, so that its texts are no news there.
    present = {item.split for item in corpus.items}
    before = splits_before(split) or SPLITS[:1]
    read = [name for name in before if name in present]
    lexicon = lexicon_of(corpus)
    told = {
        annotator: [
            (response.explanation, item)
            for name in read
            for item, response in corpus.responses(name, annotator)
        ]
        for annotator in named(corpus, minimum=0)
    }
    if is_crowd(corpus):
        told = {annotator: spread(own, MAX_RECALLED) for annotator, own in told.items()}
    histories = Histories(
        plain={
            annotator: _holders((normalise(text).split(), item.id) for text, item in own)
            for annotator, own in told.items()
        },
        masked={
            annotator: _holders(
                (mask_normalised(text, item.text, lexicon).split(), item.id) for text, item in own
            )
            for annotator, own in told.items()
        },
    )
    return Discriminator(
        histories, fit_competitors(corpus, split), list(asked(corpus, split)), lexicon
    )


@dataclass(frozen=True)
class _Pool:
    """What one classifier found; groups are the folds of its items.

    Attributes:
        annotators: Indices of the annotators whose texts it read, shape (n,).
        parts: Which part of the cells of each of them it read, shape (n,); a busy one has several
            classifiers.
        shares: Their `Discrimination.shares` among these cells, shape (n,).
        without: The same by a fit without each group, shape (groups, n).
        group: The group of each evaluated item, -1 for one that it did not read, shape (items,).
    """

    annotators: NDArray[np.int64]
    parts: Array
    shares: Array
    without: Array
    group: NDArray[np.int64]


@dataclass(frozen=True)
class Discrimination:
    """What the classifier makes of the responses.

    Attributes:
        counted: Whether the response and the annotator's own explanation were compared, (cells,).
        passes: How often the response passes for the annotator's own: the share of the annotator's
            own explanations that the classifier takes for human less surely than this response, plus
            the share of responses that it takes for human more surely than the annotator's own
            explanation of this item; 0..2, (cells,).
        shares: Of each annotator of the corpus, min(1, (1 - AUC) / AUC), where AUC is how often the
            classifier takes the human one of two texts for human: how often a response passes, for
            each time that it is told. 0 where they are always told apart, 1 where they cannot be
            told; `nan` for those not evaluated.
    """

    counted: NDArray[np.bool_]
    passes: Array
    shares: Array
    _pools: tuple[_Pool, ...]

    def influence(self, weights: Array) -> Array:
        """By how much the weighted sum of `shares` changes when an item is left out, shape (items,).

        The item is left out of training, too, so that this holds what hangs on the fit. Items that
        are held out together share their group's change; it is divided by the root of their number,
        so that the variance over items is that over groups.

        Args:
            weights: One for each annotator of the corpus.
        """
        change = np.zeros(len(self._pools[0].group))
        for pool in self._pools:
            by_group = (pool.without - pool.shares) @ (pool.parts * weights[pool.annotators])
            read = pool.group >= 0
            together = np.bincount(pool.group[read], minlength=len(by_group))
            change[read] += (by_group / np.sqrt(together))[pool.group[read]]
        return change


def discriminate(cells: Cells, discriminator: Discriminator) -> Discrimination | Undefined:
    """Trains a classifier to tell the responses from the annotators' own, and asks it item by item.

    Kernel ridge regression, each item's texts predicted by a fit without them, in closed form: the
    result hangs on no random folds. Its kernel is the mean of the cosine similarities of wording and
    of a Gaussian of the standardised shape and novelty; texts of the same annotator count double, so
    that a trick played on all annotators is learnt from all, and a trait of one from that one. So do
    texts that are given with the same labels (the cosine of label sets in between): what is compared
    is how labels and texts go together.

    Args:
        cells: The evaluated cells. Those whose annotator gave no explanation, or has fewer than
            `MIN_RESPONSES` of them evaluated, are left out, and of a large crowd all but the busiest
            (`capo_bench.corpus.evaluable.named`); of each of them `MAX_HELD` are compared at most.
        discriminator: As from `fit_discriminator` for the evaluated split.
    """
    human = [
        _compared(own, parsed.labels)
        for own, parsed in zip(cells.references, cells.parsed, strict=True)
    ]
    n_annotators = len(cells.corpus.annotator_ids)
    known = frozenset(named(cells.corpus, minimum=0))
    ids = cells.corpus.annotator_ids
    counted = np.array(
        [
            response is not None and ids[annotator] in known
            for response, annotator in zip(human, cells.annotator, strict=True)
        ]
    )
    present = np.bincount(cells.annotator[counted], minlength=n_annotators)
    counted &= present[cells.annotator] >= MIN_RESPONSES
    if is_crowd(cells.corpus):
        of_each = (counted & (cells.annotator == one) for one in np.flatnonzero(present))
        held = [row for own in of_each for row in spread(np.flatnonzero(own).tolist(), MAX_HELD)]
        counted = np.isin(np.arange(len(cells)), held)
    if not counted.any() or len(np.unique(cells.item[counted])) < MIN_RESPONSES:
        return Undefined(f"no annotator has {MIN_RESPONSES} evaluated explanations of their own")
    passes = np.zeros(len(cells))
    compared = np.bincount(cells.annotator[counted], minlength=n_annotators)
    pools = []
    for rows in _pools(cells, counted):
        told = [response for row in rows if (response := human[row])]
        kernel = _kernel(cells, discriminator, rows, told)
        items, group = np.unique(cells.item[rows], return_inverse=True)
        group %= FOLDS
        annotators = cells.annotator[rows]
        found, without = _held_out(kernel, group, annotators)
        passes[rows] = found
        of_item = np.full(len(cells.items), -1)
        of_item[items] = np.arange(len(items)) % FOLDS
        own = np.unique(annotators)
        here = np.bincount(annotators, minlength=n_annotators)[own]
        pools.append(
            _Pool(
                own,
                here / compared[own],
                _odds(np.bincount(annotators, found, n_annotators)[own] / here),
                without,
                of_item,
            )
        )
    sums = np.bincount(cells.annotator[counted], passes[counted], n_annotators)
    with np.errstate(invalid="ignore"):
        shares = _odds(sums / compared)
    return Discrimination(counted, passes, shares, tuple(pools))


def _compared(own: Sequence[Response], labels: Collection[str]) -> Response | None:
    """The annotator's response with an explanation that one with these labels is compared with.

    One that shares a label, else the first.
    """
    told = [response for response in own if normalise(response.explanation)]
    alike = (response for response in told if not set(labels).isdisjoint(response.labels))
    return next(alike, told[0] if told else None)


def _pools(cells: Cells, counted: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Cells that share a classifier: whole annotators, as many as fit; a busy one in parts."""
    waiting: list[NDArray[np.int64]] = []
    size = 0
    for annotator in np.unique(cells.annotator[counted]):
        own = np.flatnonzero(counted & (cells.annotator == annotator))
        for part in np.array_split(own, -(-len(own) // (_POOL // 2))):
            if waiting and size + len(part) > _POOL // 2:
                yield np.concatenate(waiting)
                waiting, size = [], 0
            waiting.append(part)
            size += len(part)
    yield np.concatenate(waiting)


def _kernel(
    cells: Cells, discriminator: Discriminator, rows: NDArray[np.int64], own: Sequence[Response]
) -> Array:
    """Similarities of the annotators' own responses and then the evaluated, (2 rows, 2 rows)."""
    items = [cells.items[index] for index in cells.item[rows]] * 2
    annotators = np.tile(cells.annotator[rows], 2)
    ids = cells.corpus.annotator_ids
    texts = [answer.explanation for answer in (*own, *(cells.parsed[row] for row in rows))]
    masked = [
        mask_normalised(text, item.text, discriminator.lexicon)
        for text, item in zip(texts, items, strict=True)
    ]
    shape = np.hstack(
        [
            [
                discriminator.shape(text, item, ids[annotator])
                for text, item, annotator in zip(texts, items, annotators, strict=True)
            ],
            discriminator.relevance(texts, items),
        ]
    )
    spread = shape.std(axis=0)
    shape = (shape - shape.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    labels = [frozenset(response.labels) for response in own]
    # Of several labels those that the annotator's response gives, if it gives any of them.
    said = [frozenset(cells.parsed[row].labels) for row in rows]
    labels += [theirs & mine or mine for theirs, mine in zip(labels, said, strict=True)]
    same = np.where(annotators[:, None] == annotators, 1, _SHARED)
    alike = label_similarities(labels, cells.corpus.task.labels.labels)
    return np.asarray(text_similarities(masked, shape, discriminator.lexicon) * same * alike)


def text_similarities(masked: Sequence[str], shape: Array, lexicon: Lexicon) -> Array:
    """Similarities of n texts, 0..1: the mean of wording's and of shape's and novelty's, (n, n).

    Args:
        masked: The texts, as `mask_normalised` gives them.
        shape: Standardised shape and novelty, shape (n, features).
        lexicon: Of the corpus's languages.
    """
    wording = sum((_cosines(block) for block in _wording(masked, lexicon)), np.zeros(())) / 3
    shape = np.clip(shape, -_CLIP, _CLIP) / np.sqrt(shape.shape[1])
    norms = (shape**2).sum(axis=1)
    apart = np.maximum(norms[:, None] + norms - 2 * shape @ shape.T, 0)
    return np.asarray((wording + np.exp(-apart / 2)) / 2)


def label_similarities(sets: Sequence[Collection[str]], labels: Sequence[str]) -> Array:
    """Similarities of n answers by their label sets, from `_SHARED` to 1 by their cosine, (n, n).

    Args:
        sets: The labels of each answer.
        labels: All labels of the corpus.
    """
    rows = indicators(labels, sets).astype(np.float64)
    rows /= np.sqrt(np.maximum(rows.sum(axis=1, keepdims=True), 1))
    return np.asarray(_SHARED + (1 - _SHARED) * (rows @ rows.T))


def _wording(masked: Sequence[str], lexicon: Lexicon) -> Iterator[csr_matrix]:
    """TF-IDF of n-grams of words, characters and skeleton; rows of length 1, or 0 without words."""
    skeletons = [" ".join(_bone(t, lexicon) for t in text.split()) for text in masked]
    for texts, analyzer, longest in (
        (masked, "word", 3),
        (masked, "char", 4),
        (skeletons, "word", 4),
    ):
        shortest = 2 if analyzer == "char" else 1
        yield NgramVectorizer(
            sublinear_tf=True,
            lowercase=False,
            analyzer=analyzer,
            token_pattern=r"\S+" if analyzer == "word" else None,
            ngram_range=(shortest, longest),
        ).fit_transform(texts)


def _bone(token: str, lexicon: Lexicon) -> str:
    """A function word or mask as it is, of any other word how it ends: what grammar is seen by."""
    if token in lexicon.function or "#" in token:
        return token
    return f"~{token[-2:]}" if len(token) > 4 else "~"


def _cosines(rows: csr_matrix) -> Array:
    return np.asarray((rows @ rows.T).toarray())


def _held_out(
    kernel: Array, group: NDArray[np.int64], annotator: NDArray[np.int64]
) -> tuple[Array, Array]:
    """`passes` of each response, and the annotators' shares without each group of items.

    With the inverse V of kernel plus ridge and truths y, a fit without block B predicts
    y_B - (V_BB)^-1 (V y)_B for it. Without a further block D, V_BB becomes V_BB - V_BD (V_DD)^-1 V_DB
    and (V y)_B becomes (V y)_B - V_BD (V_DD)^-1 (V y)_D: every fit without one group, and every fit
    without two, follows from one inverse.

    Args:
        kernel: Of the annotators' own texts and then the responses, shape (2 n, 2 n).
        group: The group of each response's item, shape (n,).
        annotator: The annotator of each response, shape (n,).

    Returns:
        Arrays of shape (n,) and (groups, annotators that occur).
    """
    n = len(group)
    truth = np.repeat([1.0, -1.0], n)
    inverse = np.linalg.inv(kernel + _RIDGE * np.eye(2 * n))
    # Blocks of equal size: a row beyond the last, of an identity matrix, fills up the shorter ones.
    inverse = np.pad(inverse, (0, 1))
    whole = inverse @ np.append(truth, 0.0)
    n_groups = int(group.max()) + 1
    members = [np.flatnonzero(np.tile(group, 2) == one) for one in range(n_groups)]
    size = max(map(len, members))
    block = np.full((n_groups, size), 2 * n)
    for row, own in zip(block, members, strict=True):
        row[: len(own)] = own
    filled = (block == 2 * n)[:, :, None] * np.eye(size)
    own = inverse[block[:, :, None], block[:, None, :]] + filled
    found = np.empty((n_groups + 1, 2 * n + 1))  # of all, and then without each group
    found[0, block] = np.append(truth, 0.0)[block] - _solved(own, whole[block])
    for left in range(n_groups):
        across = inverse[block[:, :, None], block[left]]
        weighted = across @ np.linalg.inv(own[left])
        rest = own - weighted @ across.transpose(0, 2, 1)
        rest[left] = np.eye(size)
        shifted = whole[block] - weighted @ whole[block[left]]
        found[left + 1, block] = np.append(truth, 0.0)[block] - _solved(rest, shifted)
    # Twins must tie, and other processors round otherwise.
    found = np.round(found[:, : 2 * n], 7)
    passes = np.zeros(n)
    known = np.unique(annotator)
    shares = np.empty((n_groups, len(known)))
    for column, one in enumerate(known):
        rows = np.flatnonzero(annotator == one)
        human, response = found[:, rows], found[:, n + rows]
        passes[rows] = _share_below(response[0], human[0]) + 1 - _share_below(human[0], response[0])
        kept = group[rows] != np.arange(n_groups)[:, None]
        whole = kept.all(axis=1)  # most groups hold nothing of one annotator of many
        shares[whole, column] = 2 * _share_below(response[1:][whole], human[1:][whole]).mean(axis=1)
        for left in np.flatnonzero(~whole).tolist():
            h, r = human[left + 1, kept[left]], response[left + 1, kept[left]]
            shares[left, column] = 2 * _share_below(r, h).mean() if len(h) else np.nan
    # Who answered items of one group only cannot be left out.
    everything = np.array([passes[annotator == one].mean() for one in known])
    return passes, _odds(np.where(np.isnan(shares), everything, shares))


def _odds(passes: Array) -> Array:
    """Times passed for each time told, at most 1, from the mean of `Discrimination.passes`."""
    return np.asarray(np.minimum(passes / (2 - np.minimum(passes, 1)), 1))


def _solved(matrices: Array, vectors: Array) -> Array:
    return np.asarray(np.linalg.solve(matrices, vectors[..., None])[..., 0])


def _share_below(values: Array, others: Array) -> Array:
    """Share of the others of a row below each of its values; those that are equal count half."""
    others = others[..., None, :]
    values = values[..., None]
    below, upto = (others < values).sum(axis=-1), (others <= values).sum(axis=-1)
    return np.asarray((below + upto) / 2 / others.shape[-1])


def _repeated(tokens: Sequence[str]) -> float:
    """Share of neighbours that are the same; empty ones do not count."""
    return sum(a == b != "" for a, b in pairwise(tokens)) / max(len(tokens) - 1, 1)


def _holders(texts: Iterable[tuple[Sequence[str], str]]) -> list[Grams]:
    """For n = 1 to 5, the n-grams of texts, each with the names of the texts that hold it."""
    found: list[dict[tuple[str, ...], set[str]]] = [defaultdict(set) for _ in range(_LONGEST)]
    for tokens, name in texts:
        for n, known in enumerate(found, 1):
            for gram in _grams(tokens, n):
                known[gram].add(name)
    return [dict(known) for known in found]


def _novelty(
    runs: Sequence[list[tuple[str, ...]]], own: str, others: Sequence[Grams]
) -> Iterator[float]:
    """How much of a text stands in others, of which the one named `own` does not count.

    For n = 1 to 5 the share of its n-grams that do, and the largest share of 3-grams that a single
    one of them holds; .5 for a text that has none.
    """
    for grams, known in zip(runs, others, strict=True):
        holders = filter(None, map(known.get, grams))
        seen = sum([len(names) > 1 or own not in names for names in holders])
        yield seen / len(grams) if grams else 0.5
    grams = runs[2]
    held = Counter(name for gram in grams for name in others[2].get(gram, ()) if name != own)
    yield max(held.values(), default=0) / len(grams) if grams else 0.5


def _runs(tokens: Sequence[str]) -> list[list[tuple[str, ...]]]:
    """The n-grams of a text for n = 1 to 5."""
    return [_grams(tokens, n) for n in range(1, _LONGEST + 1)]


def _grams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[at:] for at in range(n)), strict=False))
