"""Label-explanation consistency: does the explanation argue for the label given with it?

A classifier learns from the human training pairs which label an explanation argues for. It reads the
text as the attribution classifier does, without the item's content words, so that it cannot solve the
item itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from capo_bench.corpus.evaluable import is_crowd
from capo_bench.corpus.model import Corpus, LabelSpace
from capo_bench.metrics.attribution import ngram_vectorisers
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.lexicon import Lexicon, lexicon_of
from capo_bench.metrics.style import mask_content
from capo_bench.metrics.tokens import normalise
from capo_bench.stats.resampling import Array, ItemSums, Measured, Undefined, ratio, sum_by_item

MIN_EXPLANATIONS = 10
"""Training explanations below which it cannot be learnt how people argue for a label."""

MAX_RESPONSES = 10_000
"""About as many training responses are read at most, evenly spread; of a crowd, a quarter of them."""


@dataclass(frozen=True)
class ArgumentClassifier:
    """A fitted classifier of the label that an explanation argues for.

    Attributes:
        stance: For each label, what the classifier tells apart: the label itself or, on a scale, its
            side of the middle.
    """

    stance: Mapping[str, str]
    _model: Any
    _lexicon: Lexicon
    _known: dict[str, str] = field(default_factory=dict, repr=False)

    def stances(self, texts: Sequence[str], inputs: Sequence[Mapping[str, str]]) -> list[str]:
        """What n explanations argue for.

        Args:
            texts: The explanations.
            inputs: Their items' input texts.
        """
        masked = _masked(texts, inputs, self._lexicon)
        # Every set of predictions is held against the same human explanations.
        if len(self._known) > MAX_RESPONSES:
            self._known.clear()
        new = sorted(set(masked) - self._known.keys())
        if new:
            self._known.update(zip(new, self._model.predict(new), strict=True))
        return [self._known[text] for text in masked]


def fit_arguments(corpus: Corpus) -> ArgumentClassifier | Undefined:
    """Fits the classifier on the train split.

    TF-IDF of word and character n-grams into a multinomial logistic regression (L2, C = 16). Each
    annotator's explanations of each stance weigh the same together: otherwise the classifier would
    learn who argues for what, and take a manner of writing for an argument. On human test responses
    it names the label of .81 on VariErr-NLI (.54 most frequent) and the side of .87 on LeWiDi Par
    (.54).

    Args:
        corpus: The corpus; only its train split is read.
    """
    stance = _stances(corpus.task.labels)
    rows = [
        (response.explanation, item.text, annotator, stance[label])
        for annotator in corpus.annotator_ids
        for item, response in corpus.responses("train", annotator)
        if response.explanation
        for label in response.labels
    ]
    most = MAX_RESPONSES // 4 if is_crowd(corpus) else MAX_RESPONSES
    rows = rows[:: -(-len(rows) // most)] if rows else rows  # a sample of a large crowd
    known = Counter(side for *_, side in rows)
    for side in dict.fromkeys(stance.values()):
        if known[side] < MIN_EXPLANATIONS:
            return Undefined(
                f"only {known[side]} training explanations argue for {side!r}; it takes "
                f"{MIN_EXPLANATIONS} to learn how that is done"
            )
    together = Counter((annotator, side) for *_, annotator, side in rows)
    weights = [
        len(rows) / len(together) / together[annotator, side] for *_, annotator, side in rows
    ]
    model = make_pipeline(
        make_union(*ngram_vectorisers()), LogisticRegression(C=16.0, max_iter=2000)
    )
    lexicon = lexicon_of(corpus)
    masked = _masked([text for text, *_ in rows], [source for _, source, *_ in rows], lexicon)
    model.fit(masked, [side for *_, side in rows], logisticregression__sample_weight=weights)
    return ArgumentClassifier(stance, model, lexicon)


def label_explanation_consistency(
    cells: Cells, classifier: ArgumentClassifier | Undefined
) -> dict[str, Measured]:
    """How many of the responses have an explanation that argues for their label.

    Args:
        cells: The evaluated cells.
        classifier: As from `fit_arguments`.

    Returns:
        * `label_explanation_consistency`: share of responses whose explanation is taken to argue for
          their label, or for one of several. On a scale the side counts: below the middle, the middle
          itself if there is one, or above. No label or no explanation: it does not.
        * `label_explanation_relative`: the same, divided by the human share on the same items. The
          classifier errs, so 1 is what people reach.
    """
    names = ("label_explanation_consistency", "label_explanation_relative")
    if isinstance(classifier, Undefined):
        return dict.fromkeys(names, classifier)
    human = [
        (item, response.labels, response.explanation, source)
        for item, references, source in zip(cells.item, cells.references, cells.inputs, strict=True)
        for response in references
        if response.explanation
    ]
    ours = [
        (item, parsed.labels, parsed.explanation, source)
        for item, parsed, source in zip(cells.item, cells.parsed, cells.inputs, strict=True)
    ]
    sums = np.hstack([_agreeing(cells, classifier, rows) for rows in (ours, human)])

    def relative(sums: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(ratio(sums[..., :2]) / ratio(sums[..., 2:]))

    return {names[0]: ItemSums(sums[:, :2], ratio), names[1]: ItemSums(sums, relative)}


def _agreeing(cells: Cells, classifier: ArgumentClassifier, rows: Sequence[Any]) -> Array:
    """Per item: responses that argue for their label, and all responses."""
    texts, inputs = [row[2] for row in rows], [row[3] for row in rows]
    argued = classifier.stances(texts, inputs) if rows else []
    agree = [
        bool(text.strip()) and found in {classifier.stance[label] for label in labels}
        for (_, labels, text, _), found in zip(rows, argued, strict=True)
    ]
    columns = np.column_stack([np.array(agree, dtype=np.float64), np.ones(len(rows))])
    items = np.array([item for item, *_ in rows], dtype=np.int64)
    return sum_by_item(columns, items, len(cells.items))


def _stances(space: LabelSpace) -> dict[str, str]:
    if not space.ordered:
        return {label: label for label in space.labels}
    middle = (space.values[0] + space.values[-1]) / 2
    sides = ("below the middle", "the middle", "above the middle")
    return {
        label: sides[1 + int(np.sign(value - middle))] for label, value in space.value_of.items()
    }


def _masked(
    texts: Sequence[str], inputs: Sequence[Mapping[str, str]], lexicon: Lexicon
) -> list[str]:
    return [
        mask_content(normalise(text), list(source.values()), lexicon)
        for text, source in zip(texts, inputs, strict=True)
    ]
