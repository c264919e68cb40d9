"""Content of explanations: ROUGE-L and BERTScore against the target's own explanations.

Both tell the item far better than the annotator; read them beside attribution, never alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from capo_bench.metrics.bertscore import Encoder, bertscore
from capo_bench.metrics.cells import Cells
from capo_bench.stats import Array, ItemSums, item_means

_rouge = RougeScorer(["rougeL"], use_stemmer=False)


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
    """ROUGE-L F-measure of each candidate against the best of its references, in 0..1.

    Lin (2004), https://aclanthology.org/W04-1013, as rouge-score computes it, without stemming.
    """
    return np.array(
        [
            max(_rouge.score(reference, candidate)["rougeL"].fmeasure for reference in own)
            for candidate, own in zip(candidates, references, strict=True)
        ]
    )


def content_metrics(cells: Cells, encoder: Encoder) -> dict[str, ItemSums]:
    """`rouge_l`, `bertscore_precision`, `bertscore_recall` and `bertscore_f1`.

    Several references: the one with the highest F counts. An empty explanation scores 0.
    """
    references = [[response.explanation for response in refs] for refs in cells.references]
    n_items = len(cells.items)
    precision, recall, f1 = bertscore(encoder, cells.explanations, references).T
    return {
        "rouge_l": item_means(rouge_l(cells.explanations, references), cells.item, n_items),
        "bertscore_precision": item_means(precision, cells.item, n_items),
        "bertscore_recall": item_means(recall, cells.item, n_items),
        "bertscore_f1": item_means(f1, cells.item, n_items),
    }
