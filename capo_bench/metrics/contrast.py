"""Within-item contrast: is a response closer to the target's words than to the other annotators'?

All references of an item share its content, so that it cancels in the difference: this is the use of
ROUGE-L and BERTScore that tells annotators apart, where the plain scores tell items apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capo_bench.metrics.bertscore import Encoder, bertscore
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.text import rouge_l
from capo_bench.stats.resampling import Array, Measured, Undefined, item_means


def contrast_metrics(cells: Cells, encoder: Encoder) -> dict[str, Measured]:
    """Similarity to the target's own explanation less the mean similarity to the others' of the item.

    Of several explanations of one annotator the most similar counts. A cell counts if its annotator
    and at least one other explained the item. 0: the response has nothing of the target that the
    others lack; the target's own words give one minus the annotators' mean similarity.

    Args:
        cells: The evaluated cells.
        encoder: BERTScore's encoder.

    Returns:
        `contrast_rouge_l` and `contrast_bertscore` (F1), each between -1 and 1.
    """
    explained = [
        [response.explanation for response in references if response.explanation]
        for references in cells.references
    ]
    pairs = _pairs(cells, np.array([bool(texts) for texts in explained]))
    if not len(pairs):
        reason = "no evaluated item has explanations by two annotators"
        return dict.fromkeys(("contrast_rouge_l", "contrast_bertscore"), Undefined(reason))
    texts = cells.explanations
    responses = [texts[cell] for cell, _ in pairs]
    references = [explained[other] for _, other in pairs]
    f1 = bertscore(encoder, responses, references)[:, 2]
    return {
        "contrast_rouge_l": _contrast(cells, pairs, rouge_l(responses, references)),
        "contrast_bertscore": _contrast(cells, pairs, f1),
    }


def _pairs(cells: Cells, explained: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pairs of cells of one item that can be compared, each cell with itself among them."""
    known = np.flatnonzero(explained)
    of_item = np.split(known, np.flatnonzero(np.diff(cells.item[known])) + 1)  # cells follow items
    several = (
        np.stack(np.meshgrid(own, own, indexing="ij"), -1) for own in of_item if len(own) > 1
    )
    return np.concatenate([np.zeros((0, 2), np.int64), *(own.reshape(-1, 2) for own in several)])


def _contrast(cells: Cells, pairs: NDArray[np.int64], similarity: Array) -> Measured:
    cell, other = pairs.T
    own = cell == other
    others = np.bincount(cell, ~own, len(cells))
    less = (
        np.bincount(cell, np.where(own, 0, similarity), len(cells))[cell[own]] / others[cell[own]]
    )
    return item_means(similarity[own] - less, cells.item[cell[own]], len(cells.items))
