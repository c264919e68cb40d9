"""Explanation consistency: does the model's writing have the annotator's style features?

A second look at identity that needs no classifier, only distributions of interpretable features: as
one number over all of them, and style feature by style feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from capo_bench.corpus.evaluable import MAX_RECALLED, is_crowd, named, spread
from capo_bench.corpus.model import Corpus
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.lexicon import Lexicon, lexicon_of
from capo_bench.metrics.style import style_feature_names, style_features
from capo_bench.stats.resampling import (
    Array,
    Estimate,
    Measured,
    Undefined,
    estimate,
    jackknife,
    linearised,
)

MIN_RESPONSES = 5
"""Evaluated responses of an annotator below which they have no distribution to speak of."""

PEERS = 32
"""Most other annotators that one is held against: in a crowd, a random choice of them."""

PARTS = 10
"""Parts of the training explanations that are left out in turn."""

_BINS = 8
_CLEARLY = 3  # standard errors by which annotators must differ, for a ratio to their difference
_SEED = 0


@dataclass(frozen=True)
class StyleBins:
    """Histograms of the annotators' style features in training.

    Attributes:
        names: Names of the F features.
        edges: For each feature, the inner edges of its bins: quantiles of all training
            explanations, each annotator counted equally.
        train: Distribution of each annotator, shape (annotators, F, bins); `nan` for an annotator
            without training explanations.
        without: Those without each of `PARTS` parts of an annotator's explanations, shape (PARTS,
            annotators, F, bins): how much hangs on what happened to be in training.
        lexicon: Of the corpus's languages.
    """

    names: tuple[str, ...]
    edges: tuple[Array, ...]
    train: Array
    without: Array
    lexicon: Lexicon
    _human: dict[bytes, _Human] = field(default_factory=dict, repr=False)

    def place(self, texts: Sequence[str], inputs: Sequence[Mapping[str, str]]) -> Array:
        """One-hot bins of n texts, shape (n, F, bins)."""
        values = np.array(
            [
                style_features(t, source, self.lexicon)
                for t, source in zip(texts, inputs, strict=True)
            ]
        )
        return _one_hot(values.reshape(len(texts), len(self.names)), self.edges)


def fit_style_bins(corpus: Corpus) -> StyleBins:
    """Bins and training distributions of the interpretable features; reads the train split only."""
    per_annotator = []
    known = frozenset(named(corpus, minimum=1))
    lexicon = lexicon_of(corpus)
    for annotator in corpus.annotator_ids:
        own = [
            (response.explanation, item.text)
            for item, response in corpus.responses("train", annotator)
            if response.explanation and annotator in known
        ]
        read = spread(own, MAX_RECALLED) if is_crowd(corpus) else own
        rows = [style_features(text, source, lexicon) for text, source in read]
        per_annotator.append(np.array(rows))
    names = style_feature_names(list(corpus.task.fields), lexicon)
    present = [values for values in per_annotator if len(values)]
    if not present:
        nothing = np.full((PARTS + 1, len(per_annotator), len(names), _BINS), np.nan)
        return StyleBins(names, (), nothing[0], nothing[1:], lexicon)
    pooled = np.concatenate(present)
    weights = np.concatenate([np.full(len(values), 1 / len(values)) for values in present])
    edges = tuple(_quantile_edges(pooled[:, j], weights) for j in range(len(names)))
    train = np.full((PARTS + 1, len(per_annotator), len(names), _BINS), np.nan)
    for index, values in enumerate(per_annotator):
        if len(values):
            placed = _one_hot(values, edges)
            train[:, index] = placed.mean(axis=0)
            part = np.arange(len(values)) % PARTS
            for left in range(PARTS if len(values) >= PARTS else 0):
                train[1 + left, index] = placed[part != left].mean(axis=0)
    return StyleBins(names, edges, train[0], train[1:], lexicon)


@dataclass(frozen=True)
class StyleContrast:
    """How much more like the target than like the others the responses are, in one feature of style.

    Attributes:
        annotator: Id of the target.
        feature: Name of the feature.
        own: What the target's own evaluated explanations have, -1..1: their mean distance from the
            other annotators' training explanations, less that from the target's.
        model: What the responses have.
        caught: `model / own`, as in `explanation_consistency`: 1, the responses have the feature as
            the target does; 0, as nobody in particular; below, as somebody else. Undefined where the
            feature does not tell the target from the others.
    """

    annotator: str
    feature: str
    own: float
    model: float
    caught: Estimate | Undefined


def explanation_consistency(cells: Cells, bins: StyleBins) -> Measured:
    """How much more like the target than like the others the responses are written, as people are.

    With D(P, Q) the mean over features of the Jensen-Shannon distance (square root of the divergence
    in bits), G_a the responses for annotator a, H_a a's own explanations of the same items, T_a and
    T_b the training explanations of a and of the others:

        K = sum_a (mean_b D(G_a, T_b) - D(G_a, T_a)) / sum_a (mean_b D(H_a, T_b) - D(H_a, T_a))

    1: as the annotators are; 0: as nobody in particular; below 0: as somebody else. What makes the
    responses unlike all people weighs on both terms and cancels, as does the size of the sample.

    Of more than `PEERS` others a fixed random choice stands for all.
    """
    found = _contrasts(cells, bins)
    if isinstance(found, Undefined):
        return found
    return _relative(cells, found, slice(None), np.unique(found.annotator))


def style_contrasts(cells: Cells, bins: StyleBins) -> list[StyleContrast]:
    """Which style features of each annotator the responses have caught, and which they have missed.

    Returns:
        One row for each annotator and feature, by annotator and then from the feature that sets
        them apart most to the one that does so least. Empty where `explanation_consistency` is
        undefined for want of annotators.
    """
    found = _contrasts(cells, bins)
    if isinstance(found, Undefined):
        return []
    rows = []
    # Of a crowd there are thousands of them, and draws of a mean over items tell little more.
    uncertain = jackknife if is_crowd(cells.corpus) else estimate
    for annotator in np.unique(found.annotator):
        for feature, name in enumerate(bins.names):
            caught = _relative(cells, found, slice(feature, feature + 1), np.array([annotator]))
            rows.append(
                StyleContrast(
                    annotator=cells.corpus.annotator_ids[annotator],
                    feature=name,
                    own=float(found.human[annotator, feature]),
                    model=float(found.model[annotator, feature]),
                    caught=caught if isinstance(caught, Undefined) else uncertain(caught),
                )
            )
    order = {annotator: index for index, annotator in enumerate(cells.corpus.annotator_ids)}
    return sorted(rows, key=lambda row: (order[row.annotator], -row.own))


@dataclass(frozen=True)
class _Contrasts:
    """Contrasts of the responses and of the annotators' own explanations, with all cells and without.

    Attributes:
        cell: Indices of the n cells that are compared.
        annotator: Their annotators, shape (n,).
        model: Contrast of each annotator's responses in each feature, shape (annotators, F).
        human: That of their own explanations.
        model_change: By how much it changes for the cell's annotator without the cell, shape (n, F).
        human_change: Likewise for their own explanations.
        human_noise: Jackknife variance of `human` that comes from the training explanations.
    """

    cell: NDArray[np.int64]
    annotator: NDArray[np.int64]
    model: Array
    human: Array
    model_change: Array
    human_change: Array
    human_noise: Array


def _contrasts(cells: Cells, bins: StyleBins) -> _Contrasts | Undefined:
    trained: NDArray[np.bool_] = np.asarray(np.isfinite(bins.train).all(axis=(1, 2)))
    explained = [any(response.explanation for response in own) for own in cells.references]
    counted = trained[cells.annotator] & explained
    present = np.bincount(cells.annotator[counted], minlength=len(trained))
    counted &= present[cells.annotator] >= MIN_RESPONSES
    known = np.unique(cells.annotator[counted])
    if trained.sum() < 2 or not len(known):
        return Undefined(
            "it takes two annotators with training explanations, one of them with "
            f"{MIN_RESPONSES} evaluated ones"
        )
    cell = np.flatnonzero(counted)
    annotator = cells.annotator[cell]
    texts, inputs = cells.explanations, cells.inputs
    placed = bins.place([texts[row] for row in cell], [inputs[row] for row in cell])
    rng = np.random.default_rng(_SEED)
    others = {}
    for one in known:
        others[one] = np.flatnonzero(trained & (np.arange(len(trained)) != one))
        if len(others[one]) > PEERS:
            others[one] = np.sort(rng.choice(others[one], PEERS, replace=False))
    human = _human_side(cells, bins, cell, others)
    model, change = _changes(placed, annotator, bins, others)
    return _Contrasts(cell, annotator, model, human.contrast, change, human.change, human.noise)


@dataclass(frozen=True)
class _Human:
    """The annotators' side of `_Contrasts`, which is the same for all responses to the same cells."""

    contrast: Array
    change: Array
    noise: Array


def _human_side(
    cells: Cells, bins: StyleBins, cell: NDArray[np.int64], others: Mapping[int, NDArray[np.int64]]
) -> _Human:
    answered = [cells.items[index].id for index in cells.item[cell]]
    annotator = cells.annotator[cell]
    key = "\0".join(answered).encode() + annotator.tobytes()
    if key not in bins._human:
        placed = _human(cells, bins, cell)
        contrast, change = _changes(placed, annotator, bins, others)
        noise = np.zeros_like(contrast)
        for one, peers in others.items():
            total = placed[annotator == one].sum(axis=0)
            parts = np.array([_contrast(total, part[one], part[peers]) for part in bins.without])
            noise[one] = (PARTS - 1) / PARTS * ((parts - parts.mean(axis=0)) ** 2).sum(axis=0)
        bins._human.clear()  # one set of cells at a time
        bins._human[key] = _Human(contrast, change, noise)
    return bins._human[key]


def _changes(
    placed: Array,
    annotator: NDArray[np.int64],
    bins: StyleBins,
    others: Mapping[int, NDArray[np.int64]],
) -> tuple[Array, Array]:
    """Contrasts of everyone's texts, (annotators, F), and their changes without each, (n, F)."""
    whole = np.zeros((len(bins.train), len(bins.names)))
    change = np.zeros((len(annotator), len(bins.names)))
    for one, peers in others.items():
        rows = np.flatnonzero(annotator == one)
        given = placed[rows]
        total = given.sum(axis=0)
        whole[one] = _contrast(total, bins.train[one], bins.train[peers])
        without = _contrast(total - given, bins.train[one], bins.train[peers])
        change[rows] = without - whole[one]
    return whole, change


def _contrast(counts: Array, own: Array, others: Array) -> Array:
    """Mean distance from the others less the distance from one's own, in each feature.

    Args:
        counts: Histograms of shape (..., F, bins), not empty.
        own: Distribution of shape (F, bins).
        others: Distributions of shape (others, F, bins).

    Returns:
        Array of shape (..., F).
    """
    p = counts / counts.sum(axis=-1, keepdims=True)
    entropy = _entropy(p)
    from_others = np.zeros(p.shape[:-1])
    for other in others:
        from_others += _distance(_entropy((p + other) / 2), entropy, _entropy(other))
    return np.asarray(
        from_others / len(others) - _distance(_entropy((p + own) / 2), entropy, _entropy(own))
    )


def _relative(
    cells: Cells, found: _Contrasts, features: slice, annotators: NDArray[np.int64]
) -> Measured:
    """The responses' contrast over the annotators' own, in some features and of some annotators."""
    model = float(found.model[annotators, features].mean(axis=1).sum())
    human = float(found.human[annotators, features].mean(axis=1).sum())
    rows = np.isin(found.annotator, annotators)
    items = cells.item[found.cell[rows]]
    changes: list[Array] = [
        np.asarray(np.bincount(items, change[rows, features].mean(axis=1), len(cells.items)))
        for change in (found.model_change, found.human_change)
    ]
    own = linearised(human, changes[1]).sums[:, 0]
    noise = own.var(ddof=1) / len(own) if len(own) > 1 else 0.0
    # As if the training noise of all features were one: they are features of the same texts.
    noise += (np.sqrt(found.human_noise[annotators, features]).mean(axis=1) ** 2).sum()
    if human <= _CLEARLY * np.sqrt(noise):
        return Undefined(
            "the annotators' style features cannot be told apart on the evaluated items"
        )
    value = model / human
    return linearised(value, (model + changes[0]) / (human + changes[1]) - value)


def _distance(middle: Array, p: Array, q: Array) -> Array:
    """Jensen-Shannon distance from entropies: that of the mean less the mean of both."""
    return np.asarray(np.sqrt((middle - (p + q) / 2).clip(min=0)))


def _entropy(p: Array) -> Array:
    """In bits, over the last axis."""
    # A product with ones: to sum over so short an axis is several times slower.
    return np.asarray((p * np.log2(np.where(p > 0, p, 1))) @ -np.ones(p.shape[-1]))


def _human(cells: Cells, bins: StyleBins, chosen: NDArray[np.int64]) -> Array:
    """Histograms of the annotators' own explanations of some cells, shape (chosen, F, bins)."""
    # A cell counts once, however many explanations it holds.
    rows = [
        (index, response.explanation, cells.inputs[row])
        for index, row in enumerate(chosen)
        for response in cells.references[row]
        if response.explanation
    ]
    cell = np.array([index for index, _, _ in rows], dtype=np.int64)
    placed = bins.place([text for _, text, _ in rows], [source for _, _, source in rows])
    placed /= np.bincount(cell)[cell][:, None, None]
    out = np.zeros((len(chosen), *placed.shape[1:]))
    np.add.at(out, cell, placed)
    return out


def _quantile_edges(values: Array, weights: Array) -> Array:
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order]) / weights.sum()
    at = np.searchsorted(cumulated, np.arange(1, _BINS) / _BINS)
    edges = np.unique(values[order][at])
    # The lowest value is no inner edge: nothing lies below it. Values equal to an edge go above.
    edges = edges[edges > values.min()]
    # A style feature that hardly anyone has still sets those apart who have it.
    rare = np.unique(values)[1:2]
    return np.asarray(edges if len(edges) else rare)


def _one_hot(values: Array, edges: Sequence[Array]) -> Array:
    placed = np.zeros((*values.shape, _BINS))
    for j, inner in enumerate(edges):
        at = np.searchsorted(inner, values[:, j], side="right")
        placed[np.arange(len(values)), j, at] = 1
    return placed
