"""LeWiDi-2025's distances: the annotators' predictions as sets and as one distribution an item.

The conventions are those of the organisers' scoring, https://le-wi-di.github.io, so that numbers can
be put beside the published ones (LeWiDi's normalised absolute distance is `label_anad`, with the
other label metrics). One is ours: a response without a readable label counts as the answer farthest
from the annotator's own, since to predict no label at all scores better in LeWiDi's error rate (.345)
than to guess (.497).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from capo_bench.corpus.model import cell_labels
from capo_bench.corpus.tasks import is_lewidi
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.labels import Flags, farther_end, indicators
from capo_bench.stats.resampling import Array, ItemSums, ratio, sum_by_item


def lewidi_distances(cells: Cells) -> dict[str, ItemSums]:
    """The distances that LeWiDi-2025 takes for its own tasks; none for others.

    Returns:
        * `lewidi_er` (VariErrNLI, MP): the perspectivist error rate, mean over items of the mean over
          annotators and labels of |t - p|, where t and p say whether the label was given; 0..1. MP
          has one label, whether the reply is ironic.
        * `lewidi_soft` (VariErrNLI, MP): Manhattan distance, mean over items and labels, between the
          two-bin distributions (share of annotators without and with the label); 0..2.
        * `lewidi_soft` (Par, CSC): Wasserstein-1 distance, mean over items, between the annotators'
          labels and the predictions for them, one unit from label to label; 0..labels - 1.
    """
    space = cells.corpus.task.labels
    if not is_lewidi(cells.corpus.task):
        return {}
    human = indicators(space.labels, [cell_labels(references) for references in cells.references])
    predicted = indicators(space.labels, [parsed.labels for parsed in cells.parsed])
    if not space.ordered:
        readable = predicted.any(axis=1, keepdims=True)
        predicted = np.where(readable, predicted, ~human)
        if space.kind == "nominal":  # of two labels one says all
            human, predicted = human[:, 1:], predicted[:, 1:]
        distances = manhattan(_shares(human, cells), _shares(predicted, cells))
        errors = _mean_over_items((human != predicted).mean(axis=1), cells)
        # An item with one answer that cannot be read counts many times what others do.
        return {
            "lewidi_er": replace(errors, worst=1.0),
            "lewidi_soft": replace(_of_items(distances), worst=2.0),
        }
    readable = predicted.sum(axis=1, keepdims=True) == 1
    worst = farther_end(human.argmax(axis=1), len(space.labels))
    predicted = np.where(readable, predicted, np.eye(len(space.labels), dtype=np.bool_)[worst])
    return {"lewidi_soft": _of_items(wasserstein(_shares(human, cells), _shares(predicted, cells)))}


def manhattan(human: Array, predicted: Array) -> Array:
    """Mean over labels of the distance between (1 - share, share) and (1 - share, share).

    Args:
        human: Share of annotators who gave each label, shape (items, labels).
        predicted: The same of the predictions.

    Returns:
        Array of shape (items,), 0..2.
    """
    return np.asarray(2 * np.abs(human - predicted).mean(axis=1))


def wasserstein(human: Array, predicted: Array) -> Array:
    """Earth mover's distance on a scale whose labels are one unit apart.

    Args:
        human: Distributions over the scale, shape (items, labels).
        predicted: The same of the predictions.

    Returns:
        Array of shape (items,), 0..labels - 1.
    """
    return np.asarray(np.abs(np.cumsum(human - predicted, axis=1)[:, :-1]).sum(axis=1))


def _shares(flags: Flags, cells: Cells) -> Array:
    """Mean over an item's annotators, shape (items, labels)."""
    return _means(flags.astype(np.float64), cells)


def _mean_over_items(values: Array, cells: Cells) -> ItemSums:
    return _of_items(_means(values[:, None], cells)[:, 0])


def _means(values: Array, cells: Cells) -> Array:
    per_item = np.bincount(cells.item, minlength=len(cells.items))
    return sum_by_item(values, cells.item, len(cells.items)) / per_item[:, None]


def _of_items(values: Array) -> ItemSums:
    return ItemSums(np.column_stack([values, np.ones(len(values))]), ratio)
