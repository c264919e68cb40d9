"""Annotator attribution: does a classifier of writing style take the response for the target's?

The classifier knows the annotators' training explanations and nothing else. Words that an
explanation shares with its item are masked, so that it tells who writes and not what about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from capo_bench.corpus.evaluable import MAX_READ, MIN_EXPLANATIONS, is_crowd, named, spread
from capo_bench.corpus.model import Corpus, Known
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.lexicon import Lexicon, lexicon_of
from capo_bench.metrics.ngrams import NgramVectorizer
from capo_bench.metrics.style import features, mask_content, style_feature_names
from capo_bench.metrics.tokens import mostly_unspaced, normalise, set_apart
from capo_bench.stats.resampling import Array, ItemSums, Measured, Undefined, item_means

_GROUPED = 200_000  # cells put into groups, all partitions together, where few are to be told apart
_FEW = 8  # annotators; of more, fewer groups are drawn, so that the work does not grow with them
_SEED = 0


@dataclass(frozen=True)
class Attributor:
    """A fitted classifier of who wrote an explanation.

    Attributes:
        annotators: Indices in `corpus.annotator_ids` of those it can name, ascending; as
            `capo_bench.corpus.evaluable.named` has them.
        normalised: Whether it reads case and punctuation (raw) or not.
    """

    annotators: NDArray[np.int64]
    normalised: bool
    _fields: tuple[str, ...]
    _lexicon: Lexicon
    _unspaced: bool
    _vectorisers: tuple[NgramVectorizer, ...]
    _mean: Array
    _scale: Array
    _classifier: Any
    _log_prior: Array

    def log_probabilities(self, texts: Sequence[str], inputs: Sequence[Mapping[str, str]]) -> Array:
        """Log-probability of each annotator for each text, as if all were equally frequent.

        Args:
            texts: n explanations. An empty one says nothing: every annotator gets the same.
            inputs: Their items' input texts.

        Returns:
            Array of shape (n, annotators).
        """
        rows = self.matrix(texts, inputs)
        scores = self._classifier.predict_log_proba(rows) - self._log_prior
        scores[[not text.strip() for text in texts]] = 0.0
        top = scores.max(axis=1, keepdims=True)
        return np.asarray(scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True)))

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Kind and name of each column of `matrix`.

        Kinds: `words` and `characters` (n-grams, only if words are read), `style feature`,
        `function word`.
        """
        grams = zip(("words", "characters"), self._vectorisers, strict=False)
        return [
            *((kind, str(gram)) for kind, block in grams for gram in block.get_feature_names_out()),
            *(("style feature", name) for name in style_feature_names(self._fields, self._lexicon)),
            *(("function word", word) for word in self._lexicon.function_words),
        ]

    @property
    def coefficients(self) -> Array:
        """What a unit of each column adds to each annotator's score, shape (annotators, columns)."""
        found = np.asarray(self._classifier.coef_, dtype=np.float64)
        return np.concatenate([-found, found]) / 2 if len(found) == 1 else found

    def matrix(self, texts: Sequence[str], inputs: Sequence[Mapping[str, str]]) -> csr_matrix:
        """What the classifier sees of n texts, shape (n, columns)."""
        masked, style = _read(texts, inputs, self.normalised, self._lexicon, self._unspaced)
        blocks = [4 * vectoriser.transform(masked) for vectoriser in self._vectorisers]
        style = np.clip((style - self._mean) / self._scale, -4, 4)
        return hstack([*blocks, csr_matrix(0.2 * style)]).tocsr()


def fit_attributor(
    corpus: Corpus, *, normalised: bool, words: bool = True
) -> Attributor | Undefined:
    """Fits the classifier on the train split.

    Masked text as L2-normalised sublinear TF-IDF of word 1-2-grams and character 2-5-grams, and
    standardised features of style, into a multinomial logistic regression (L2, C = 1). The blocks'
    weights, 4 and 0.2, were chosen on VariErr-NLI and LeWiDi Par; on both it names the annotator of
    a human test explanation better than embeddings do.

    Of a crowd (`is_crowd`), for which the fit takes minutes, at most `MAX_READ` training explanations
    of each annotator are read, evenly spread, and it ends a little before the optimum. What was
    fitted to a corpus lately is not fitted again.

    Args:
        corpus: The corpus; only its train split is read.
        normalised: Whether to drop case and punctuation first (the primary variant: otherwise one
            annotator's missing full stop decides).
        words: Whether to read the masked text at all, or only the features of style.
    """
    return _fitted(Known.of(corpus), normalised, words)


@lru_cache(maxsize=4)
def _fitted(known: Known, normalised: bool, words: bool) -> Attributor | Undefined:
    corpus = known.corpus
    crowd = is_crowd(corpus)
    place = {annotator: index for index, annotator in enumerate(corpus.annotator_ids)}
    train = {
        place[annotator]: [
            (response.explanation, item.text)
            for item, response in corpus.responses("train", annotator)
            if response.explanation
        ]
        for annotator in named(corpus)
    }
    if crowd:
        train = {index: spread(own, MAX_READ) for index, own in train.items()}
    writers = list(train)
    if len(writers) < 2:
        return Undefined(f"fewer than two annotators have {MIN_EXPLANATIONS} training explanations")
    rows = [row for index in writers for row in train[index]]
    counts = np.array([len(train[index]) for index in writers])
    texts, inputs = [text for text, _ in rows], [source for _, source in rows]
    lexicon = lexicon_of(corpus)
    unspaced = not normalised and mostly_unspaced(texts)
    masked, style = _read(texts, inputs, normalised, lexicon, unspaced)
    deviation = style.std(axis=0)
    attributor = Attributor(
        annotators=np.array(writers, dtype=np.int64),
        normalised=normalised,
        _fields=tuple(corpus.task.fields),
        _lexicon=lexicon,
        _unspaced=unspaced,
        _vectorisers=tuple(grams.fit(masked) for grams in ngram_vectorisers()) if words else (),
        _mean=style.mean(axis=0),
        # A constant feature tells nothing; an infinite scale makes it zero everywhere.
        _scale=np.where(deviation > 0, deviation, np.inf),
        # So near the optimum that another solver gives the same verdicts.
        _classifier=LogisticRegression(C=1.0, tol=1e-4 if crowd else 1e-10, max_iter=10_000),
        _log_prior=np.log(counts / counts.sum()),
    )
    _fit(attributor._classifier, attributor.matrix(texts, inputs), np.repeat(writers, counts))
    return attributor


def _fit(classifier: LogisticRegression, rows: csr_matrix, who: NDArray[np.int64]) -> None:
    """Fits to the distinct columns alone; the weights are those of a fit to all of them.

    Most n-grams of characters stand where another stands, too: `becau` and `ecaus`. For m columns
    that are the same, an L2 penalty wants the same weight w; one column times the root of m, with
    weight w times the root of m, has the same scores and the same penalty.
    """
    columns = rows.tocsc()
    columns.sort_indices()
    place: dict[bytes, int] = {}
    of_column = np.array(
        [
            place.setdefault(
                blake2b(
                    columns.indices[start:end].tobytes() + columns.data[start:end].tobytes()
                ).digest(),
                len(place),
            )
            for start, end in pairwise(columns.indptr)
        ]
    )
    _, first, times = np.unique(of_column, return_index=True, return_counts=True)
    distinct = columns[:, first].multiply(np.sqrt(times)).tocsr()
    classifier.fit(distinct, who)
    classifier.coef_ = classifier.coef_[:, of_column] / np.sqrt(times)[of_column]
    classifier.n_features_in_ = rows.shape[1]


def ngram_vectorisers() -> tuple[NgramVectorizer, NgramVectorizer]:
    """L2-normalised sublinear TF-IDF of word 1-2-grams and of character 2-5-grams."""
    options = {"sublinear_tf": True, "min_df": 2, "lowercase": False}
    return (
        NgramVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", **options),
        NgramVectorizer(ngram_range=(2, 5), analyzer="char", **options),
    )


def _read(
    texts: Sequence[str],
    inputs: Sequence[Mapping[str, str]],
    normalised: bool,
    lexicon: Lexicon,
    unspaced: bool,
) -> tuple[list[str], Array]:
    """Masked texts, `unspaced` ones set apart into words, and the style of the unmasked ones."""
    if normalised:
        texts = [normalise(text) for text in texts]
    masked = [
        mask_content(set_apart(text) if unspaced else text, list(source.values()), lexicon)
        for text, source in zip(texts, inputs, strict=True)
    ]
    return masked, features(texts, inputs, lexicon)


def attributed(
    cells: Cells, log_probabilities: Array, annotators: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each response alone is attributed to its target: the target's score is the highest.

    Args:
        cells: The evaluated cells.
        log_probabilities: As from `Attributor.log_probabilities`, shape (cells, annotators).
        annotators: Indices of the annotators that the columns stand for; nothing is attributed to a
            target that is not among them.
    """
    target = annotators == cells.annotator[:, None]
    own = np.where(target, log_probabilities, -np.inf).max(axis=1)
    return np.asarray(own > np.where(target, -np.inf, log_probabilities).max(axis=1))


def attribution_probability(
    cells: Cells, log_probabilities: Array, annotators: NDArray[np.int64]
) -> Measured:
    """Mean probability of the target given the explanation alone, if all were equally likely before.

    The most telling number of identity: it moves where the most probable annotator stays the same.

    Args:
        cells: The evaluated cells.
        log_probabilities: As from `Attributor.log_probabilities`, shape (cells, annotators).
        annotators: Indices of the annotators that the columns stand for; others are left out.
    """
    target = annotators == cells.annotator[:, None]
    known = np.flatnonzero(target.any(axis=1))
    if not len(known):
        return Undefined("no evaluated annotator has training explanations enough to be named")
    own = np.exp(np.where(target, log_probabilities, -np.inf).max(axis=1))
    return item_means(own[known], cells.item[known], len(cells.items))


def attribution(
    cells: Cells, log_probabilities: Array, annotators: NDArray[np.int64], k: int
) -> Measured:
    """Share of groups of k responses of one annotator that are attributed to that annotator.

    A group's score for an annotator is the sum of the log-probabilities of its responses; it counts
    as attributed if the target's is strictly the highest. For k > 1 the share is over all groups of
    k cells of an annotator, estimated from seeded random partitions, and each of the annotator's n
    cells carries its part of it: theta + k (n - 1) / (n - k) (h(cell) - theta), where h is the share
    over the groups that hold the cell. That is the first-order (Hájek) projection of the U-statistic
    (Hoeffding 1948, https://doi.org/10.1214/aoms/1177730196); the factor makes it exact for a mean,
    without it the standard error at n = 50, k = 10 is a sixth too small. As for any mean, intervals
    follow from sums over items; they are taken on the logit scale, since at k = 10 shares come close
    to 0 and 1, where the projection alone leads out of the range.

    Args:
        cells: The evaluated cells.
        log_probabilities: As from `Attributor.log_probabilities`, shape (cells, annotators).
        annotators: Indices of the annotators that the columns stand for.
        k: Size of the groups. For k > 1 an annotator with fewer than 2 k evaluated responses is left
            out: they make one group, which says nothing about how sure it is.
    """
    # What draws of groups leave open is little beside a crowd's few responses of each.
    drawn = 0 if is_crowd(cells.corpus) else _GROUPED * _FEW // max(_FEW, len(annotators))
    values: list[Array] = []
    rows: list[NDArray[np.int64]] = []
    needed = 1 if k == 1 else 2 * k
    for column, annotator in enumerate(annotators):
        own = np.flatnonzero(cells.annotator == annotator)
        if len(own) >= needed:
            values.append(_attributed_in_groups(log_probabilities[own], column, k, drawn))
            rows.append(own)
    if not rows:
        return Undefined(
            f"no attributable annotator has {needed} evaluated responses, which groups of {k} take"
        )
    counted = np.concatenate(rows)
    share = item_means(np.concatenate(values), cells.item[counted], len(cells.items))
    return replace(share if k == 1 else _on_logit_scale(share), bounds=(0, 1))


def _on_logit_scale(share: ItemSums) -> ItemSums:
    # Follows changes of the mean to first order, and stays between 0 and 1.
    centre = share.value()
    slope = centre * (1 - centre)
    if slope <= 0:
        return share
    return ItemSums(
        share.sums, lambda sums: expit(logit(centre) + (share.combine(sums) - centre) / slope)
    )


def _attributed_in_groups(scores: Array, target: int, k: int, cells: int) -> Array:
    n = len(scores)
    margin = scores[:, [target]] - np.delete(scores, target, axis=1)
    if k == 1:
        return np.asarray((margin > 0).all(axis=1), dtype=np.float64)
    groups = _groups(n, k, cells)
    hits = (margin[groups].sum(axis=1) > 0).all(axis=1).astype(np.float64)
    with_cell = np.bincount(groups.ravel(), minlength=n)
    hits_with_cell = np.bincount(groups.ravel(), np.repeat(hits, k), minlength=n)
    share = hits_with_cell / with_cell
    return np.asarray(hits.mean() + k * (n - 1) / (n - k) * (share - share.mean()))


@lru_cache(maxsize=128)
def _groups(n: int, k: int, cells: int) -> NDArray[np.int64]:
    """Groups of k of n cells, from seeded random partitions with about so many cells in all."""
    order = np.tile(np.arange(n), (max(cells // n, 100), 1))
    drawn = np.random.default_rng(_SEED).permuted(order, axis=1)
    return drawn[:, : n // k * k].reshape(-1, k)
