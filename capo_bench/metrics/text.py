"""Content of explanations: ROUGE-L and BERTScore against the target's own explanations.

Both tell the item far better than the annotator; read them beside attribution, never alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from capo_bench.metrics.bertscore import Encoder, bertscore
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.tokens import plain_words
from capo_bench.stats.resampling import Array, Measured, Undefined, item_means


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
    """ROUGE-L F-measure of each candidate against the best of its references, in 0..1.

    Lin (2004), https://aclanthology.org/W04-1013, as the package rouge-score computes it, without
    stemming, on the words of `capo_bench.metrics.tokens`: that package's own drop whatever is not
    ASCII.
    """
    return np.array(
        [
            max(_rouge_l(reference, candidate) for reference in own)
            for candidate, own in zip(candidates, references, strict=True)
        ]
    )


@lru_cache(maxsize=2**14)  # content and contrast read the same pairs, and so do many control rows
def _rouge_l(reference: str, candidate: str) -> float:
    own, other = plain_words(reference), plain_words(candidate)
    common = _longest_common(own, other)
    if not common:
        return 0.0
    precision, recall = common / len(other), common / len(own)
    return 2 * precision * recall / (precision + recall)


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Words in the longest common subsequence.

    A row of the table of lengths as the bits of a number: 0 where it is one more than at the place
    before (Hyyrö 2004).
    """
    places: dict[str, int] = {}
    for at, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << at
    whole = row = (1 << len(a)) - 1
    for word in b:
        met = row & places.get(word, 0)
        row = (row + met | row - met) & whole
    return len(a) - row.bit_count()


def content_metrics(cells: Cells, encoder: Encoder) -> dict[str, Measured]:
    """`rouge_l`, `bertscore_precision`, `bertscore_recall` and `bertscore_f1`.

    Several references: the one with the highest F counts. An empty explanation scores 0. Cells whose
    annotator gave no explanation are left out.
    """
    names = ("rouge_l", "bertscore_precision", "bertscore_recall", "bertscore_f1")
    references = [[r.explanation for r in refs if r.explanation] for refs in cells.references]
    explained = np.flatnonzero([bool(own) for own in references])
    if len(explained) == 0:
        return dict.fromkeys(names, Undefined("no evaluated cell has a human explanation"))
    candidates = [cells.explanations[index] for index in explained]
    kept = [references[index] for index in explained]
    columns = (rouge_l(candidates, kept), *bertscore(encoder, candidates, kept).T)
    return {
        name: item_means(values, cells.item[explained], len(cells.items))
        for name, values in zip(names, columns, strict=True)
    }
