"""Label agreement: does the predicted label agree with the annotator's own?

A human cell is a set of labels, and so may a prediction be. A prediction without a readable label
agrees with nothing: it counts as wrong in every rate and as the worst possible answer in every
distance.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from capo_bench.corpus.evaluable import is_crowd
from capo_bench.corpus.model import cell_labels
from capo_bench.metrics.cells import Cells
from capo_bench.stats.resampling import (
    Array,
    ItemSums,
    Measured,
    item_means,
    linearised,
    ratio,
    sum_by_item,
)

Flags = NDArray[np.bool_]


def label_agreement(cells: Cells) -> dict[str, Measured]:
    """All label metrics that the corpus's label space defines.

    Returns:
        * `label_accuracy`: share of cells whose predicted labels are all among the human's;
        * `label_accuracy_strict` (multi-label only): the predicted set is the human's set;
        * `label_macro_f1`: F1 of each label's indicator over all cells, mean over labels that occur;
        * `label_kappa`: Cohen's kappa over cells with exactly one human label, mean over annotators;
          none or several predicted labels are a category of their own;
        * ordinal only: `label_within_1`; `label_mae`; `label_qwk`, quadratic-weighted kappa, mean
          over annotators; `label_anad`, LeWiDi-2025's normalised absolute distance: mean over items
          of the mean over annotators of |t - p| / s, where s is the number of labels (11 for Par) as
          in the organisers' code and the published scores, not the scale's width as in their text
          (in proportion where neighbouring labels are not one unit apart).
          An unreadable label counts as the end of the scale farther from the human's.
    """
    space = cells.corpus.task.labels
    human = indicators(space.labels, [cell_labels(refs) for refs in cells.references])
    predicted = indicators(space.labels, [parsed.labels for parsed in cells.parsed])
    n_items = len(cells.items)
    agree = item_means(labels_agree(cells), cells.item, n_items)
    metrics: dict[str, Measured] = {"label_accuracy": agree}
    if space.kind == "multilabel":
        strict = (predicted == human).all(axis=1)
        metrics["label_accuracy_strict"] = item_means(strict, cells.item, n_items)
    metrics["label_macro_f1"] = _macro_f1(cells, human, predicted)
    single = human.sum(axis=1) == 1
    other = len(space.labels)
    answer = np.where(predicted.sum(axis=1) == 1, predicted.argmax(axis=1), other)
    metrics["label_kappa"] = _kappa(cells, single, human.argmax(axis=1), answer)
    if space.ordered:
        metrics |= _ordinal(cells, human.argmax(axis=1), answer)
    return metrics


def labels_agree(cells: Cells) -> Flags:
    """Whether there is a predicted label and all predicted labels are among the human's."""
    return np.array(
        [
            bool(parsed.labels) and set(cell_labels(references)).issuperset(parsed.labels)
            for parsed, references in zip(cells.parsed, cells.references, strict=True)
        ]
    )


def indicators(labels: Sequence[str], sets: Sequence[Collection[str]]) -> Flags:
    """Whether each of n sets holds each label, shape (n, labels)."""
    return np.array([[label in chosen for label in labels] for chosen in sets], dtype=np.bool_)


def farther_end(human: NDArray[np.int64], n_labels: int) -> NDArray[np.int64]:
    """Index of the end of the scale that is farther from each label: the worst answer."""
    return np.where(human >= n_labels / 2, 0, n_labels - 1)


def _macro_f1(cells: Cells, human: Flags, predicted: Flags) -> ItemSums:
    counts = np.hstack([human & predicted, human, predicted]).astype(float)

    def combine(sums: Array) -> Array:
        both, true, guessed = np.split(sums, 3, axis=-1)
        occurs = (true + guessed) > 0
        f1 = np.divide(2 * both, true + guessed, out=np.zeros_like(both), where=occurs)
        return np.asarray(f1.sum(axis=-1) / occurs.sum(axis=-1))

    return ItemSums(sum_by_item(counts, cells.item, len(cells.items)), combine)


def _kappa(
    cells: Cells, counted: Flags, human: NDArray[np.int64], answer: NDArray[np.int64]
) -> ItemSums:
    """Cohen's kappa, mean over annotators, from marginals: of n answers, the equal ones by label."""
    size = int(max(human.max(), answer.max())) + 1
    sides = np.hstack([np.eye(size)[human], np.eye(size)[answer]])
    per_cell = np.column_stack([np.ones(len(cells)), human == answer, sides]) * counted[:, None]

    def disagreement(sums: Array) -> tuple[Array, Array]:
        n, equal = sums[..., 0], sums[..., 1]
        own, theirs = np.split(sums[..., 2:], 2, axis=-1)
        return n * (n - equal), n**2 - (own * theirs).sum(axis=-1)

    return _chance_corrected(cells, per_cell, disagreement)


def _qwk(cells: Cells, human: NDArray[np.int64], answer: NDArray[np.int64]) -> ItemSums:
    """Quadratic-weighted kappa, mean over annotators, from moments.

    With x and y the ranks of both labels, it is 1 less n sum (x - y)^2 divided by
    n sum x^2 + n sum y^2 - 2 sum x sum y.
    """
    x, y = human.astype(np.float64), answer.astype(np.float64)
    per_cell = np.column_stack([np.ones(len(cells)), (x - y) ** 2, x**2 + y**2, x, y])

    def disagreement(sums: Array) -> tuple[Array, Array]:
        n, apart, squares, own, theirs = np.moveaxis(sums, -1, 0)
        return n * apart, n * squares - 2 * own * theirs

    return _chance_corrected(cells, per_cell, disagreement)


def _chance_corrected(
    cells: Cells, per_cell: Array, disagreement: Callable[[Array], tuple[Array, Array]]
) -> ItemSums:
    """1 - observed / expected disagreement, mean over the annotators of whom it is defined.

    Of a crowd each item carries what it changes (`linearised`): sums over items of each annotator
    would grow with items times annotators.

    Args:
        cells: The evaluated cells.
        per_cell: What is summed over an annotator's cells, shape (cells, k).
        disagreement: Observed and expected disagreement, by annotator, of sums of shape (..., k).
    """
    present, annotator = np.unique(cells.annotator, return_inverse=True)
    shape = (len(present), per_cell.shape[1])

    def kappas(sums: Array) -> tuple[Array, Flags]:
        observed, expected = disagreement(sums)
        # Sums of resampled weights: what is nothing may come out as almost nothing.
        known = expected > 1e-9
        found = 1 - np.divide(observed, expected, out=np.ones_like(expected), where=known)
        return np.where(known, found, 0), known

    if is_crowd(cells.corpus):
        total = sum_by_item(per_cell, annotator, len(present))
        own, known = kappas(total)
        without, still = kappas(total[annotator] - per_cell)
        n_items = len(cells.items)
        change = np.bincount(cells.item, without - own[annotator], n_items)
        fewer = np.bincount(cells.item, 1.0 * known[annotator] - still, n_items)
        with np.errstate(invalid="ignore"):
            value = float(own.sum() / known.sum())
        rest = np.maximum(known.sum() - fewer, 1)
        return linearised(value, (own.sum() + change) / rest - value)
    sums = np.zeros((len(cells.items), *shape))
    np.add.at(sums, (cells.item, annotator), per_cell)

    def combine(flat: Array) -> Array:
        own, known = kappas(flat.reshape(*flat.shape[:-1], *shape))
        with np.errstate(invalid="ignore"):
            return np.asarray(own.sum(axis=-1) / known.sum(axis=-1))

    return ItemSums(sums.reshape(len(cells.items), -1), combine)


def _ordinal(
    cells: Cells, human: NDArray[np.int64], answer: NDArray[np.int64]
) -> dict[str, Measured]:
    labels = np.array(cells.corpus.task.labels.values)
    n_items = len(cells.items)
    answer = np.where(answer < len(labels), answer, farther_end(human, len(labels)))
    error = np.abs(labels[human] - labels[answer]).astype(float)
    per_item = sum_by_item(np.column_stack([error, np.ones(len(error))]), cells.item, n_items)
    # The number of labels where they are one unit apart, and in proportion where they are not.
    scale = (labels[-1] - labels[0]) * len(labels) / (len(labels) - 1)
    anad = ratio(per_item) / scale
    return {
        "label_within_1": item_means(np.abs(human - answer) <= 1, cells.item, n_items),
        "label_mae": item_means(error, cells.item, n_items),
        "label_qwk": _qwk(cells, human, answer),
        "label_anad": ItemSums(np.column_stack([anad, np.ones(n_items)]), ratio),
    }
