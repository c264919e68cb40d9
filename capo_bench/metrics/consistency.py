"""Explanation consistency: does the model's writing have the annotator's habits?

A second look at identity that needs no classifier, only distributions of interpretable features: as
one number over all of them, and habit by habit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from capo_bench.corpus.model import Corpus
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.style import habit_names, habits
from capo_bench.stats.resampling import (
    Array,
    Estimate,
    ItemSums,
    Measured,
    Undefined,
    bootstrap,
    estimate,
)

_BINS = 8
_KEPT: dict[bytes, tuple[Array, Array]] = {}
_MOST_KEPT = 10_000  # some 30 MB; a crowd of fifty takes 2,500 for ten thousand draws
_CLEARLY = 3  # standard errors by which annotators must differ, for a ratio to their difference


@dataclass(frozen=True)
class HabitBins:
    """Histograms of the annotators' habits in training.

    Attributes:
        names: Names of the F features.
        edges: For each feature, the inner edges of its bins: quantiles of all training
            explanations, each annotator counted equally.
        train: Distribution of each annotator, shape (annotators, F, bins); `nan` for an annotator
            without training explanations.
    """

    names: tuple[str, ...]
    edges: tuple[Array, ...]
    train: Array

    def place(self, texts: Sequence[str], inputs: Sequence[Mapping[str, str]]) -> Array:
        """One-hot bins of n texts, shape (n, F, bins)."""
        values = np.array([habits(t, source) for t, source in zip(texts, inputs, strict=True)])
        return _one_hot(values.reshape(len(texts), len(self.names)), self.edges)


def fit_habits(corpus: Corpus) -> HabitBins:
    """Bins and training distributions of the interpretable features; reads the train split only."""
    per_annotator = []
    for annotator in corpus.annotator_ids:
        rows = [
            habits(response.explanation, item.text)
            for item, response in corpus.responses("train", annotator)
            if response.explanation
        ]
        per_annotator.append(np.array(rows))
    names = habit_names(list(corpus.task.fields))
    present = [values for values in per_annotator if len(values)]
    if not present:
        return HabitBins(names, (), np.full((len(per_annotator), len(names), _BINS), np.nan))
    pooled = np.concatenate(present)
    weights = np.concatenate([np.full(len(values), 1 / len(values)) for values in present])
    edges = tuple(_quantile_edges(pooled[:, j], weights) for j in range(len(names)))
    train = np.full((len(per_annotator), len(names), _BINS), np.nan)
    for index, values in enumerate(per_annotator):
        if len(values):
            train[index] = _one_hot(values, edges).mean(axis=0)
    return HabitBins(names, edges, train)


@dataclass(frozen=True)
class HabitDivergence:
    """How far the model is along from the other annotators to the target, in one habit.

    Attributes:
        annotator: Id of the target.
        habit: Name of the feature.
        own: Distance of the target's evaluated explanations from their training ones, 0..1.
        others: Mean distance of the other annotators' from them.
        model: Distance of the model's from them.
        caught: `(others - model) / (others - own)`, as in `explanation_consistency`: 1, the model has
            the habit as the target does; 0, as the others do. Undefined where the habit does not tell
            the target from the others.
    """

    annotator: str
    habit: str
    own: float
    others: float
    model: float
    caught: Estimate | Undefined


def explanation_consistency(cells: Cells, bins: HabitBins) -> Measured:
    """How much of the way from the other annotators to the target the responses have come.

    With D(P, Q) the mean over features of the Jensen-Shannon distance (square root of the divergence
    in bits), G the model's explanations for annotator a, H_a and H_b the human explanations of the
    same items and T_a the training explanations of a:

        C = 1 - sum_a (D(G, T_a) - D(H_a, T_a)) / sum_a (mean_b D(H_b, T_a) - D(H_a, T_a))

    1: as a is to themself; 0: as the other annotators are; below 0: farther than they. All distances
    compare as many test explanations with the same training ones, so that small samples, which
    inflate every distance, cancel.
    """
    known = _known(cells, bins)
    if len(known) < 2:
        return Undefined("it takes two annotators with training and evaluated explanations")
    return _caught(_histograms(cells, bins, known), bins.train, known)


def feature_divergence(cells: Cells, bins: HabitBins) -> list[HabitDivergence]:
    """Which habits of each annotator the model has caught, and which it has missed.

    Returns:
        One row for each annotator and habit, by annotator and then from the habit that sets them
        apart most to the one that does so least. Empty where `explanation_consistency` is undefined
        for want of annotators.
    """
    known = _known(cells, bins)
    if len(known) < 2:
        return []
    histograms = _histograms(cells, bins, known)
    rows = []
    for annotator in known:
        for feature, name in enumerate(bins.names):
            # Kept as an axis of length one, so that the mean over features is that feature's.
            one = slice(feature, feature + 1)
            part, train = histograms[..., one, :], bins.train[:, one]
            target = np.array([annotator])
            own, others, model = _distances(part.sum(axis=0), train, target)
            caught = _caught(part, train, target)
            rows.append(
                HabitDivergence(
                    annotator=cells.corpus.annotator_ids[annotator],
                    habit=name,
                    own=float(own[0]),
                    others=float(others[0]),
                    model=float(model[0]),
                    caught=caught if isinstance(caught, Undefined) else estimate(caught),
                )
            )
    order = {annotator: index for index, annotator in enumerate(cells.corpus.annotator_ids)}
    return sorted(rows, key=lambda row: (order[row.annotator], row.own - row.others))


def _known(cells: Cells, bins: HabitBins) -> NDArray[np.int64]:
    """Annotators with training explanations and evaluated ones."""
    explained = [any(r.explanation for r in references) for references in cells.references]
    evaluated = np.unique(cells.annotator[np.array(explained, dtype=np.bool_)])
    return evaluated[np.isfinite(bins.train[evaluated]).all(axis=(1, 2))]


def _histograms(cells: Cells, bins: HabitBins, known: NDArray[np.int64]) -> Array:
    """Of the model's and of the human explanations, shape (items, 2, annotators, F, bins)."""
    placed = np.stack([bins.place(cells.explanations, cells.inputs), _human(cells, bins)], axis=1)
    # Without a human explanation there is nothing to compare the model's with.
    counted = np.isin(cells.annotator, known) & (placed[:, 1].sum(axis=(1, 2)) > 0)
    sums = np.zeros((len(cells.items), 2, *bins.train.shape))
    sums[cells.item[counted], :, cells.annotator[counted]] = placed[counted]
    return sums


def _caught(histograms: Array, train: Array, targets: NDArray[np.int64]) -> Measured:
    shape = histograms.shape[1:]

    def gaps(sums: Array) -> tuple[Array, Array]:
        own, others, model = _distances(sums.reshape(*sums.shape[:-1], *shape), train, targets)
        use = np.isfinite(own) & np.isfinite(others)
        ours, apart = np.where(use, model - own, 0), np.where(use, others - own, 0)
        return ours.sum(axis=-1), apart.sum(axis=-1)

    def combine(sums: Array) -> Array:
        ours, apart = gaps(sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - ours / apart)

    sums = histograms.reshape(len(histograms), -1)
    apart = ItemSums(sums, lambda values: gaps(values)[1])
    noise = bootstrap(apart, draws=200).std(ddof=1) if len(sums) > 1 else 0.0
    if apart.value() <= _CLEARLY * noise:
        return Undefined("the annotators' habits cannot be told apart on the evaluated items")
    return ItemSums(sums, combine)


def _distances(
    histograms: Array, train: Array, targets: NDArray[np.int64]
) -> tuple[Array, Array, Array]:
    """D(H_a, T_a), mean_b D(H_b, T_a) and D(G, T_a) for each target a; `nan` if nobody answered.

    Args:
        histograms: Shape (..., 2, annotators, F, bins).
        train: Shape (annotators, F, bins).
        targets: Indices of the a.

    Returns:
        Three arrays of shape (..., targets).
    """
    own, others = _human_distances(histograms[..., 1, :, :, :], train, targets)
    p = _shares(histograms[..., 0, targets, :, :])
    to = train[targets]
    model = _distance(_entropy((p + to) / 2), _entropy(p), _entropy(to))
    return own, others, model


def _human_distances(
    histograms: Array, train: Array, targets: NDArray[np.int64]
) -> tuple[Array, Array]:
    """The first two of `_distances`, from the human histograms of shape (..., annotators, F, bins).

    They are most of the work, and the same for every system: whoever answers the same items is
    resampled by the same draws. So the latest are kept, by a digest of all that they depend on.
    """
    digest = blake2b(repr((histograms.shape, train.shape, targets.tolist())).encode())
    digest.update(np.ascontiguousarray(histograms).data)
    digest.update(np.ascontiguousarray(train).data)
    key = digest.digest()
    if key not in _KEPT:
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key] = _human_distances_anew(histograms, train, targets)
    return _KEPT[key]


def _human_distances_anew(
    histograms: Array, train: Array, targets: NDArray[np.int64]
) -> tuple[Array, Array]:
    p = _shares(histograms)
    entropy = _entropy(p)
    own, others = np.empty((2, *histograms.shape[:-3], len(targets)))
    for at, a in enumerate(targets):
        middle = _entropy((p + train[a]) / 2)
        human = _distance(middle, entropy, _entropy(train[a]))
        own[..., at] = human[..., a]
        peers = np.delete(human, a, axis=-1)
        answered = np.isfinite(peers)
        with np.errstate(invalid="ignore"):
            others[..., at] = np.where(answered, peers, 0).sum(axis=-1) / answered.sum(axis=-1)
    return own, others


def _shares(histograms: Array) -> Array:
    """Histograms that sum to 1 over their bins; `nan` where they are empty."""
    total = histograms.sum(axis=-1, keepdims=True)
    nothing = np.full_like(histograms, np.nan)
    return np.asarray(np.divide(histograms, total, out=nothing, where=total > 0))


def _distance(middle: Array, p: Array, q: Array) -> Array:
    """Mean over features of the Jensen-Shannon distance, from entropies of shape (..., F).

    The divergence is the entropy of the mean less the mean of the entropies.
    """
    return np.asarray(np.sqrt((middle - (p + q) / 2).clip(min=0)).mean(axis=-1))


def _entropy(p: Array) -> Array:
    """In bits, over the last axis."""
    # A product with ones: to sum over so short an axis is several times slower.
    return np.asarray((p * np.log2(np.where(p > 0, p, 1))) @ -np.ones(p.shape[-1]))


def _human(cells: Cells, bins: HabitBins) -> Array:
    # A cell counts once, however many explanations it holds.
    rows = [
        (index, response.explanation, source)
        for index, (references, source) in enumerate(
            zip(cells.references, cells.inputs, strict=True)
        )
        for response in references
        if response.explanation
    ]
    cell = np.array([index for index, _, _ in rows])
    placed = bins.place([text for _, text, _ in rows], [source for _, _, source in rows])
    placed /= np.bincount(cell)[cell][:, None, None]
    out = np.zeros((len(cells), *placed.shape[1:]))
    np.add.at(out, cell, placed)
    return out


def _quantile_edges(values: Array, weights: Array) -> Array:
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order]) / weights.sum()
    at = np.searchsorted(cumulated, np.arange(1, _BINS) / _BINS)
    edges = np.unique(values[order][at])
    # The lowest value is no inner edge: nothing lies below it. Values equal to an edge go above.
    edges = edges[edges > values.min()]
    # A habit that hardly anyone has still sets those apart who have it.
    rare = np.unique(values)[1:2]
    return np.asarray(edges if len(edges) else rare)


def _one_hot(values: Array, edges: Sequence[Array]) -> Array:
    placed = np.zeros((*values.shape, _BINS))
    for j, inner in enumerate(edges):
        at = np.searchsorted(inner, values[:, j], side="right")
        placed[np.arange(len(values)), j, at] = 1
    return placed
