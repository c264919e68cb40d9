"""What the metrics say of single responses, as plain data: one row a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capo_bench.metrics.cells import Prediction, join
from capo_bench.scoring.scorer import NOBODY, Scorer
from capo_bench.stats.resampling import Undefined


def per_response(scorer: Scorer, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """The metrics' verdicts on each evaluated response.

    `passes` depends on all responses together, since the discriminator is fitted to them; the other
    numbers on the response and the corpus alone.

    Args:
        scorer: The scorer of the corpus and split that they answer.
        predictions: As for `capo_bench.metrics.cells.join`.

    Returns:
        By item and annotator; what is not defined is `None`:

        * `item`, `annotator`: which response;
        * `label_agrees`: whether the label agrees with the annotator's own;
        * `p_target`: probability of the target annotator, given the explanation, 0..1;
        * `attributed_to`: the most probable annotator; `None` where nobody stands out;
        * `passes`: how often it passes for the annotator's own (`Discrimination.passes`), 0..2;
        * `relevant`: whether the explanation is closer to its item than to nine in ten others;
        * `copied`: whether it is taken from the annotator's training explanations;
        * `rouge_l`: ROUGE-L with the annotator's own explanation, 0..1; `None` where there is none;
        * `error`: why it could not be read; `None` where it could.

    Raises:
        CapoBenchError: As `join` does.
    """
    cells = join(scorer.corpus, scorer.split, predictions)
    found = scorer.verdicts(cells)
    ids = cells.corpus.annotator_ids
    column = {int(annotator): at for at, annotator in enumerate(found.named)}
    rows = []
    for at, parsed in enumerate(cells.parsed):
        target, taken_for = int(cells.annotator[at]), int(found.attributed_to[at])
        explained = bool(cells.is_explained[at])
        rows.append(
            {
                "item": cells.items[cells.item[at]].id,
                "annotator": ids[target],
                "label_agrees": bool(found.label_agrees[at]),
                "p_target": (
                    float(found.probabilities[at, column[target]]) if target in column else None
                ),
                "attributed_to": None if taken_for == NOBODY else ids[taken_for],
                "passes": (
                    None
                    if isinstance(found.passes, Undefined) or not found.compared[at]
                    else float(found.passes[at])
                ),
                "relevant": (
                    None
                    if isinstance(found.relevant, Undefined) or not explained
                    else bool(found.relevant[at])
                ),
                "copied": (
                    None
                    if isinstance(found.copied, Undefined) or not found.guarded[at]
                    else bool(found.copied[at])
                ),
                "rouge_l": float(found.rouge_l[at]) if explained else None,
                "error": parsed.error,
            }
        )
    return rows
