"""Explanation consistency: does the model's writing have the annotator's habits?

A second look at identity that needs no classifier, only distributions of interpretable features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capo_bench.corpus.model import Corpus
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.style import habit_names, habits
from capo_bench.stats import Array, ItemSums, Measured, Undefined, bootstrap, sum_by_item

_BINS = 8


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
    known = np.flatnonzero(np.isfinite(bins.train).all(axis=(1, 2)))
    counted = np.isin(cells.annotator, known)
    if len(np.unique(cells.annotator[counted])) < 2:
        return Undefined("it takes two annotators with training and evaluated explanations")
    # Per item: histograms of the model's and of the human explanations, one block an annotator.
    placed = np.stack([bins.place(cells.explanations, cells.inputs), _human(cells, bins)], axis=1)
    rows = np.zeros((len(cells), 2, *bins.train.shape))
    rows[np.arange(len(cells)), :, cells.annotator] = placed
    rows[~counted] = 0
    sums = sum_by_item(rows.reshape(len(cells), -1), cells.item, len(cells.items))

    def gaps(values: Array) -> tuple[Array, Array]:
        histograms = values.reshape(*values.shape[:-1], 2, *bins.train.shape)
        return _gaps(histograms[..., 0, :, :, :], histograms[..., 1, :, :, :], bins.train, known)

    def combine(values: Array) -> Array:
        ours, others = gaps(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - ours / others)

    if len(cells.items) > 1:
        apart = ItemSums(sums, lambda values: gaps(values)[1])
        if apart.value() < 2 * bootstrap(apart, draws=200).std(ddof=1):
            return Undefined("the annotators' habits cannot be told apart on the evaluated items")
    return ItemSums(sums, combine)


def _gaps(
    model: Array, human: Array, train: Array, known: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Sums over annotators a of D(G, T_a) - D(H_a, T_a) and of mean_b D(H_b, T_a) - D(H_a, T_a)."""
    answered = human.sum(axis=(-1, -2)) > 0
    ours = np.zeros(answered.shape[:-1])
    others = np.zeros(answered.shape[:-1])
    for a in known:
        to_a = np.where(answered, _distance(human, train[a]), 0)
        peers = answered.sum(axis=-1) - answered[..., a]
        use = answered[..., a] & (peers > 0)
        mean_peer = (to_a.sum(axis=-1) - to_a[..., a]) / np.maximum(peers, 1)
        ours += np.where(use, _distance(model[..., a, :, :], train[a]) - to_a[..., a], 0)
        others += np.where(use, mean_peer - to_a[..., a], 0)
    return ours, others


def _distance(counts: Array, reference: Array) -> Array:
    """Mean over features of the Jensen-Shannon distance in bits, shape (..., F, bins) to (...)."""
    total = counts.sum(axis=-1, keepdims=True)
    p = counts / np.maximum(total, 1e-300)
    middle = (p + reference) / 2
    divergence = (_entropy(middle) - (_entropy(p) + _entropy(reference)) / 2).clip(min=0)
    return np.asarray(np.sqrt(divergence).mean(axis=-1), dtype=np.float64)


def _entropy(p: Array) -> Array:
    return np.asarray(-(p * np.log2(np.where(p > 0, p, 1))).sum(axis=-1))


def _human(cells: Cells, bins: HabitBins) -> Array:
    # A cell counts once, however many explanations it holds.
    rows = [
        (index, response.explanation, source)
        for index, (references, source) in enumerate(
            zip(cells.references, cells.inputs, strict=True)
        )
        for response in references
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
    return np.asarray(edges[edges > values.min()])


def _one_hot(values: Array, edges: Sequence[Array]) -> Array:
    placed = np.zeros((*values.shape, _BINS))
    for j, inner in enumerate(edges):
        at = np.searchsorted(inner, values[:, j], side="right")
        placed[np.arange(len(values)), j, at] = 1
    return placed
