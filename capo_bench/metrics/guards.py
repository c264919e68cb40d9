"""Guards: tricks that gain attribution or label agreement without answering as the annotator would.

Three ways in which a response may be no answer to its item: it is about something else, it is taken
from the annotator's training explanations, or one phrase stands in far too many responses. People do
all three to some extent (on LeWiDi Par, one annotator repeats an earlier explanation in five answers
of six), so each guard counts only what exceeds the annotator's own behaviour in training, every
training explanation being held against all others. A human then comes out at 0 but for noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from capo_bench.corpus.evaluable import (
    MAX_READ,
    MAX_VOCABULARY,
    MIN_EXPLANATIONS,
    competing,
    is_crowd,
    named,
    spread,
)
from capo_bench.corpus.model import Corpus, Item, Known
from capo_bench.files import uncollected
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.lexicon import Lexicon, lexicon_of
from capo_bench.metrics.ngrams import NgramVectorizer
from capo_bench.metrics.style import mask_content
from capo_bench.metrics.tokens import normalise, words
from capo_bench.stats.resampling import (
    Array,
    ItemSums,
    Measured,
    Undefined,
    item_means,
    linearised,
)

Flags = NDArray[np.bool_]
Gram = tuple[str, ...]

RELEVANT_WITHIN = 0.1
"""A response is relevant if fewer than this share of the other items are as close to it."""
COPIED_FROM_ONE = 0.8
"""Overlap of 4-grams with a single training explanation from which on a response is a copy."""
COPIED_FROM_ALL = 0.5
"""Share of 4-grams found in any training explanation from which on a response is pieced together."""

COPY_N, PHRASE_N = 4, 3
_SUBSAMPLES = 200
_AT_ONCE = 1024  # texts compared with all items
_REMEMBERED = 2**13  # texts beside their items
_SEED = 0


@dataclass(frozen=True)
class ItemVectors:
    """Input texts and explanations as comparable vectors; make one with `fit_item_vectors`.

    L2-normalised sublinear TF-IDF of character 3-5-grams within words of the normalised text. Of
    human test explanations .93 (VariErr-NLI) and .54 (Par) find their own item so, against .89 and
    .45 with mean-pooled MiniLM token vectors less their mean, and no encoder is needed.
    """

    _vectoriser: NgramVectorizer

    def items(self, items: Sequence[Item]) -> csr_matrix:
        """Vectors of items' input texts, one row each."""
        return self.texts([" ".join(item.text.values()) for item in items])

    def texts(self, texts: Sequence[str]) -> csr_matrix:
        """Vectors of texts, one row each; zeros for an empty one."""
        return self._vectoriser.transform([normalise(text) for text in texts])

    def among(self, pool: Sequence[Item]) -> Pool:
        """The items that texts are to be compared with, two or more."""
        place = {item.id: index for index, item in enumerate(pool)}
        return Pool(self, place, self.items(pool).T.tocsr())


@dataclass(frozen=True)
class Pool:
    """Items that compete for texts; make one with `ItemVectors.among`."""

    _vectors: ItemVectors
    _place: Mapping[str, int]
    _items: csr_matrix
    _known: dict[tuple[str, str], tuple[float, float, float]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self._place)

    def nearness(self, texts: Sequence[str], own: Sequence[Item]) -> tuple[Array, Array, Array]:
        """How close each text is to its own item, and how many of the pool's are.

        Args:
            texts: n explanations.
            own: Their items; they need not be in the pool.

        Returns:
            Similarity to the own item, 0..1; number of items that are closer; number of others that
            are as close. Each of shape (n,).
        """
        # Every row of responses is held against the annotators' own explanations.
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        keys = [(text, item.id) for text, item in zip(texts, own, strict=True)]
        new = {key: item for key, item in zip(keys, own, strict=True) if key not in self._known}
        if new:
            found = self._nearness([text for text, _ in new], list(new.values()))
            self._known.update(zip(new, map(tuple, found.T.tolist()), strict=True))
        to_own, closer, level = np.array([self._known[key] for key in keys]).reshape(-1, 3).T
        return to_own, closer, level

    def _nearness(self, texts: Sequence[str], own: Sequence[Item]) -> Array:
        at = np.array([self._place.get(item.id, -1) for item in own], dtype=np.int64)
        outside = at < 0
        vectors = self._vectors.texts(texts)
        found = np.empty((3, len(texts)))
        for start in range(0, len(texts), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            similarity = (vectors[part] @ self._items).toarray()
            to_own = similarity[np.arange(len(similarity)), at[part]]
            if (apart := np.flatnonzero(outside[part])).size:
                theirs = [own[start + row] for row in apart.tolist()]
                place = {item.id: item for item in theirs}
                once = self._vectors.items(list(place.values()))
                number = {identifier: at for at, identifier in enumerate(place)}
                items = once[[number[item.id] for item in theirs]]
                shared = vectors[part][apart].multiply(items).sum(axis=1)
                to_own[apart] = np.asarray(shared).ravel()
            found[0, part] = to_own
            found[1, part] = (similarity > to_own[:, None]).sum(axis=1)
            found[2, part] = (similarity == to_own[:, None]).sum(axis=1) - ~outside[part]
        return found

    def relevant(self, texts: Sequence[str], own: Sequence[Item]) -> Flags:
        """Whether fewer than a tenth of the other items are as close to the text as its own is.

        Args:
            texts: n explanations.
            own: Their items. Ties count half.
        """
        _, closer, level = self.nearness(texts, own)
        others = len(self._place) - np.array([item.id in self._place for item in own])
        return np.asarray((closer + level / 2) / others < RELEVANT_WITHIN)


def fit_item_vectors(corpus: Corpus) -> ItemVectors:
    """Fits the vocabulary and its weights on the input texts of all items; of a crowd's, on some.

    What was fitted to a corpus lately is not fitted again.
    """
    return _fitted(Known.of(corpus))


@lru_cache(maxsize=4)
def _fitted(known: Known) -> ItemVectors:
    items = known.corpus.items
    read = spread(items, MAX_VOCABULARY) if is_crowd(known.corpus) else items
    texts = [normalise(" ".join(item.text.values())) for item in read]
    options = {"analyzer": "char_wb", "ngram_range": (3, 5), "lowercase": False}
    return ItemVectors(NgramVectorizer(sublinear_tf=True, **options).fit(texts))


def fit_competitors(corpus: Corpus, split: str) -> Pool:
    """The items of a split that texts about one of them are compared with; see `competing`.

    What was fitted to a corpus lately is not fitted again.
    """
    return _competitors(Known.of(corpus), split)


@lru_cache(maxsize=4)
def _competitors(known: Known, split: str) -> Pool:
    return fit_item_vectors(known.corpus).among(competing(known.corpus, split))


def ngrams(tokens: Sequence[str], n: int) -> frozenset[Gram]:
    """The distinct n-grams of a text; a text shorter than n is one gram, an empty one has none."""
    n = min(n, len(tokens))
    return frozenset(zip(*(tokens[i:] for i in range(n)), strict=False))


@dataclass(frozen=True)
class GramIndex:
    """Which n-grams stand in which of an annotator's training explanations.

    Attributes:
        column: The column of each n-gram.
        rows: One row an explanation, 1 where it holds the n-gram; shape (explanations, n-grams).
    """

    column: Mapping[Gram, int]
    rows: csr_matrix
    _excesses: dict[int, float] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def frequency(self) -> Array:
        """In how many explanations each n-gram stands."""
        return np.asarray(self.rows.sum(axis=0), dtype=np.float64).ravel()

    def copied(self, grams: Sequence[frozenset[Gram]]) -> Flags:
        """Whether each text is a copy; see `copies`."""
        shared = (self._matrix(grams) @ self.rows.T).toarray()
        known = np.array([sum(gram in self.column for gram in own) for own in grams])
        return self._copied(np.array([len(own) for own in grams]), shared, known)

    def copied_among_themselves(self) -> Flags:
        """Whether each of the training explanations is a copy of the others."""
        shared = (self.rows @ self.rows.T).toarray()
        np.fill_diagonal(shared, 0)
        return self._copied(self._sizes, shared, self.rows @ (self.frequency > 1))

    def expected_excess(self, n: int) -> float:
        """By how much some n-gram exceeds its usual rate in n responses of the annotator themself.

        Mean over random subsamples of the highest rate in n of the explanations (at most half of
        them) minus the rate in the rest.
        """
        total = self.rows.shape[0]
        n = max(1, min(n, total // 2))
        if n not in self._excesses:  # every row of responses asks for the same
            self._excesses[n] = self._expected_excess(n)
        return self._excesses[n]

    def _expected_excess(self, n: int) -> float:
        total = self.rows.shape[0]
        order = np.tile(np.arange(total), (_SUBSAMPLES, 1))
        drawn = np.random.default_rng(_SEED).permuted(order, axis=1)[:, :n]
        chosen = np.zeros((_SUBSAMPLES, total))
        np.put_along_axis(chosen, drawn, 1, axis=1)
        # An n-gram that stands in one explanation only exceeds by 1 / n wherever that is drawn.
        lonely = np.asarray((self.rows @ (self.frequency == 1)) > 0)
        highest = chosen[:, lonely].max(axis=1, initial=0) / n
        repeated = self.rows[:, np.flatnonzero(self.frequency > 1)]
        if repeated.shape[1]:
            inside, outside = chosen @ repeated, (1 - chosen) @ repeated
            highest = np.maximum(highest, (inside / n - outside / (total - n)).max(axis=1))
        return float(highest.mean())

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        return np.asarray(self.rows.sum(axis=1), dtype=np.int64).ravel()

    def _matrix(self, grams: Sequence[frozenset[Gram]]) -> csr_matrix:
        return _incidence(
            [[self.column[g] for g in own if g in self.column] for own in grams], len(self.column)
        )

    def _copied(self, sizes: NDArray[np.int64], shared: Array, known: Array) -> Flags:
        shorter = np.minimum(sizes[:, None], self._sizes)
        from_one = ((shared >= COPIED_FROM_ONE * shorter) & (shorter > 0)).any(axis=1)
        return np.asarray(from_one | ((known >= COPIED_FROM_ALL * sizes) & (sizes > 0)))


def index_grams(grams: Sequence[frozenset[Gram]]) -> GramIndex:
    """Indexes the n-grams of training explanations."""
    column = {gram: i for i, gram in enumerate(dict.fromkeys(chain.from_iterable(grams)))}
    return GramIndex(column, _incidence([[column[g] for g in own] for own in grams], len(column)))


@dataclass(frozen=True)
class Habitual:
    """What one annotator does in training.

    Attributes:
        irrelevant: Share of training explanations that do not find their own item.
        copied: Share of training explanations that are copies of the others.
        plain: 4-grams of the training explanations.
        masked: The same with the words that an explanation shares with its item masked, so that a
            training explanation refilled with another item's words is known for what it is.
        phrases: 3-grams of the training explanations.
    """

    irrelevant: float
    copied: float
    plain: GramIndex
    masked: GramIndex
    phrases: GramIndex


@dataclass(frozen=True)
class Guards:
    """The annotators' own behaviour in training, against which responses are held.

    Attributes:
        vectors: How items and explanations are compared.
        own: By index in `corpus.annotator_ids`: those of `capo_bench.corpus.evaluable.named`.
    """

    vectors: ItemVectors
    own: Mapping[int, Habitual]


@uncollected()
def fit_guards(corpus: Corpus) -> Guards | Undefined:
    """Reads the annotators' own behaviour from the train split."""
    pool = corpus.split("train")
    lexicon = lexicon_of(corpus)
    vectors = fit_item_vectors(corpus)
    competitors = fit_competitors(corpus, "train")
    own: dict[int, Habitual] = {}
    place = {annotator: index for index, annotator in enumerate(corpus.annotator_ids)}
    for annotator in named(corpus) if len(pool) > 1 else ():
        index = place[annotator]
        rows = [
            (i, r.explanation) for i, r in corpus.responses("train", annotator) if r.explanation
        ]
        texts, items = [text for _, text in rows], [item for item, _ in rows]
        inputs = [item.text for item in items]
        plain, masked = (index_grams(grams) for grams in copy_grams(texts, inputs, lexicon))
        copied = plain.copied_among_themselves() | masked.copied_among_themselves()
        some = spread(rows, MAX_READ) if is_crowd(corpus) else rows
        near = competitors.relevant([text for _, text in some], [item for item, _ in some])
        own[index] = Habitual(
            irrelevant=float(1 - near.mean()),
            copied=float(copied.mean()),
            plain=plain,
            masked=masked,
            phrases=index_grams([ngrams(words(text), PHRASE_N) for text in texts]),
        )
    if not own:
        return Undefined(f"no annotator has {MIN_EXPLANATIONS} training explanations")
    return Guards(vectors, own)


def copy_grams(
    texts: Sequence[str], inputs: Sequence[Mapping[str, str]], lexicon: Lexicon
) -> tuple[list[frozenset[Gram]], list[frozenset[Gram]]]:
    """4-grams of each text's words, and of its words with the item's content masked."""
    masked = [
        mask_content(normalise(text), list(source.values()), lexicon).split()
        for text, source in zip(texts, inputs, strict=True)
    ]
    return [ngrams(words(text), COPY_N) for text in texts], [ngrams(row, COPY_N) for row in masked]


GUARDS = ("irrelevance_excess", "copy_excess", "ngram_excess")


def guard_metrics(cells: Cells, guards: Guards | Undefined) -> dict[str, Measured]:
    """How much of each trick there is beyond the annotators' own behaviour, and item relevance.

    For annotator a with n_a responses let X_ga be the number of responses in excess of what guard g
    (off the item, copied, overused phrase; see `excesses`) finds in a's own training explanations.
    Under the clip nobody makes up for one annotator by being less repetitive than another.

    Args:
        cells: The evaluated cells.
        guards: The annotators' own behaviour.

    Returns:
        * `item_relevance`: share of responses whose explanation is closer to its own item than to
          nine in ten of the other items of the split;
        * `irrelevance_excess`, `copy_excess`, `ngram_excess`: sum_a max(0, X_ga) / sum_a n_a, over
          the annotators of the guards.
    """
    names = ("item_relevance", *GUARDS)
    if isinstance(guards, Undefined):
        return dict.fromkeys(names, guards)
    if len(cells.corpus.split(str(cells.items[0].split))) < 2:
        return dict.fromkeys(names, Undefined("the split has one item, so nothing is off the item"))
    counted = np.flatnonzero(np.isin(cells.annotator, list(guards.own)))
    if not len(counted):
        return dict.fromkeys(names, Undefined("no annotator of the guards was evaluated"))
    relevant, excess = excesses(cells, guards)
    # Per item and annotator: responses, excess of each guard.
    per_cell = np.column_stack([np.ones(len(counted)), excess[counted]])
    known, annotator = np.unique(cells.annotator[counted], return_inverse=True)
    shape = len(known), per_cell.shape[1]
    blocks = np.zeros((len(cells.items), *shape))
    np.add.at(blocks, (cells.item[counted], annotator), per_cell)
    sums = blocks.reshape(len(cells.items), -1)

    def guard(column: int) -> ItemSums:
        def combine(values: Array) -> Array:
            per_annotator = values.reshape(*values.shape[:-1], *shape)
            taken = np.maximum(per_annotator[..., column], 0).sum(axis=-1)
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.asarray(taken / per_annotator[..., 0].sum(axis=-1))

        if not is_crowd(cells.corpus):
            return ItemSums(sums, combine)
        whole, told = sums.sum(axis=0), sums.any(axis=1)
        value = float(combine(whole))
        found = linearised(value, combine(whole - sums[told]) - value)
        rows = np.zeros((len(sums), found.sums.shape[1]))
        rows[told] = found.sums
        return replace(found, sums=rows)

    return {
        "item_relevance": item_means(relevant, cells.item, len(cells.items)),
        **{name: guard(column) for column, name in enumerate(GUARDS, 1)},
    }


def excesses(cells: Cells, guards: Guards) -> tuple[Flags, Array]:
    """What each response adds to the excess of its annotator over their own behaviour.

    *Irrelevant*: `ItemVectors.relevant` among all items of the split says no. *Copied*: the overlap
    coefficient of its 4-grams with those of one training explanation of the target (shared ones over
    those of the shorter text, so that appending does not hide it) is at least .8, or half of its
    4-grams stand in some training explanation of the target; either as written or masked. *Phrase*:
    it holds the 3-gram whose rate in the submission's responses for this annotator is farthest above
    the rate in training.

    Returns:
        Flags of relevance, shape (cells,), and an array of shape (cells, 3): for irrelevant, copied
        and phrase, 1 or 0 minus the rate that is the annotator's own. Their sum over an annotator's
        responses is the number of responses in excess. Rows of annotators outside `guards.own` are 0.
    """
    texts, inputs = cells.explanations, cells.inputs
    competitors = fit_competitors(cells.corpus, str(cells.items[0].split))
    relevant = competitors.relevant(texts, [cells.items[index] for index in cells.item])
    lexicon = lexicon_of(cells.corpus)
    excess = np.zeros((len(cells), 3))
    for annotator, own in guards.own.items():
        rows = np.flatnonzero(cells.annotator == annotator)
        if len(rows) == 0:
            continue
        said = [texts[row] for row in rows]
        plain, masked = copy_grams(said, [inputs[row] for row in rows], lexicon)
        copied = own.plain.copied(plain) | own.masked.copied(masked)
        excess[rows, 0] = ~relevant[rows] - own.irrelevant
        excess[rows, 1] = copied - own.copied
        excess[rows, 2] = _phrase([ngrams(words(text), PHRASE_N) for text in said], own.phrases)
    return relevant, excess


def _phrase(grams: Sequence[frozenset[Gram]], history: GramIndex) -> Array:
    counts = Counter(gram for own in grams for gram in own)
    total = history.rows.shape[0]

    def usual(gram: Gram) -> float:
        known = gram in history.column
        return float(history.frequency[history.column[gram]]) / total if known else 0.0

    if not counts:
        return np.zeros(len(grams))
    worst = max(counts, key=lambda gram: (counts[gram] / len(grams) - usual(gram), gram))
    allowed = usual(worst) + history.expected_excess(len(grams))
    return np.array([float(worst in own) - allowed for own in grams])


def _incidence(columns: Sequence[Sequence[int]], width: int) -> csr_matrix:
    starts = np.cumsum([0, *map(len, columns)])
    flat = np.array([column for row in columns for column in row], dtype=np.int64)
    return csr_matrix((np.ones(len(flat)), flat, starts), shape=(len(columns), width))
