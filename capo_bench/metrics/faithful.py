"""Faithful rate, the headline: how many responses are right on both axes, and not by a trick."""

from __future__ import annotations

import numpy as np

from capo_bench.metrics.cells import Cells
from capo_bench.metrics.guards import Flags, Guards, excesses
from capo_bench.metrics.labels import labels_agree
from capo_bench.stats.resampling import Array, ItemSums, Measured, Undefined, item_means

_GUARDS = ("irrelevance_excess", "copy_excess", "ngram_excess")


def faithful_metrics(
    cells: Cells,
    guards: Guards | Undefined,
    attributed: Flags | Undefined,
) -> dict[str, Measured]:
    """`faithful_rate`, `item_relevance` and the three guards.

    A response is *right* if its label agrees with the target's own (`label_accuracy`) and its
    normalised explanation is attributed to the target (`attribution_at_1`). For annotator a with n_a
    responses, R_a of them right, let X_ga be the number of responses in excess of what guard g (off
    the item, copied, overused phrase; see `excesses`) finds in a's own training explanations. Then

        faithful_rate = sum_a max(0, R_a - sum_g max(0, X_ga)) / sum_a n_a

    The excess may fall on right or on wrong responses; that all of it fell on right ones is the worst
    case, so at least this share of responses is right on both axes and free of tricks (the lower
    Fréchet bound). Deciding response by response instead would punish people: on Par the annotators
    repeat themselves in up to 86 % of their explanations. Under a clip nobody gains by being
    less repetitive than the annotator, nor makes up for one annotator with another.

    A single number hides which axis failed: read it beside both.

    Args:
        cells: The evaluated cells.
        guards: The annotators' own behaviour.
        attributed: Whether the normalised attributor takes each response for the target's, shape
            (cells,); `False` for targets that it cannot name.

    Returns:
        * `faithful_rate`, in 0..1;
        * `item_relevance`: share of responses whose explanation is closer to its own item than to
          nine in ten of the other items of the split;
        * `irrelevance_excess`, `copy_excess`, `ngram_excess`: sum_a max(0, X_ga) / sum_a n_a.

        All but `item_relevance` are taken over the annotators that attribution can name.
    """
    names = ("faithful_rate", "item_relevance", *_GUARDS)
    if isinstance(guards, Undefined):
        return dict.fromkeys(names, guards)
    if len(cells.corpus.split(str(cells.items[0].split))) < 2:
        return dict.fromkeys(names, Undefined("the split has one item, so nothing is off the item"))
    counted = np.isin(cells.annotator, list(guards.own))
    if not counted.any():
        return dict.fromkeys(names, Undefined("no annotator of the guards was evaluated"))
    relevant, excess = excesses(cells, guards)
    right = labels_agree(cells) & (False if isinstance(attributed, Undefined) else attributed)
    # Per item and annotator: responses, right ones, excess of each guard.
    per_cell = np.column_stack([np.ones(len(cells)), right, excess]) * counted[:, None]
    shape = len(cells.corpus.annotator_ids), per_cell.shape[1]
    blocks = np.zeros((len(cells.items), *shape))
    np.add.at(blocks, (cells.item, cells.annotator), per_cell)
    sums = blocks.reshape(len(cells.items), -1)

    def split(values: Array) -> tuple[Array, Array, Array]:
        per_annotator = values.reshape(*values.shape[:-1], *shape)
        n = per_annotator[..., 0].sum(axis=-1)
        return n, per_annotator[..., 1], np.maximum(per_annotator[..., 2:], 0)

    def faithful(values: Array) -> Array:
        n, hits, taken = split(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.maximum(hits - taken.sum(axis=-1), 0).sum(axis=-1) / n)

    def guard(column: int) -> ItemSums:
        def combine(values: Array) -> Array:
            n, _, taken = split(values)
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.asarray(taken[..., column].sum(axis=-1) / n)

        return ItemSums(sums, combine)

    return {
        "faithful_rate": (
            attributed if isinstance(attributed, Undefined) else ItemSums(sums, faithful)
        ),
        "item_relevance": item_means(relevant, cells.item, len(cells.items)),
        **{name: guard(column) for column, name in enumerate(_GUARDS)},
    }
