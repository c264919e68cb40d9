"""The metrics by name: what each sees, which way it points, and what it can be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from capo_bench.corpus.model import Corpus, TaskSpec
from capo_bench.corpus.tasks import is_lewidi
from capo_bench.stats.resampling import Measured, Undefined

GROUP_SIZES = (1, 3, 10)


@dataclass(frozen=True)
class Metric:
    """What a metric sees.

    Attributes:
        name: As in tables.
        axis: `headline` (all axes at once), `label` (the label that this annotator gives?),
            `identity` (is it this annotator who writes?), `indistinguishability` (can it be told
            from the annotator's own?), `content` (is it about this item?) or `guard` (is it a
            response at all, and not a trick?).
        higher_is_better: Direction.
    """

    name: str
    axis: Literal["headline", "label", "identity", "indistinguishability", "content", "guard"]
    higher_is_better: bool = True


_HEADLINE = (Metric("faithful_rate", "headline"),)
_LABELS = (Metric("label_skill", "label"), Metric("label_accuracy", "label"))
_MULTILABEL = (Metric("label_accuracy_strict", "label"),)
_ERROR_RATE = (Metric("lewidi_er", "label", higher_is_better=False),)
_SOFT = (Metric("lewidi_soft", "label", higher_is_better=False),)
_AGREEMENT = (Metric("label_macro_f1", "label"), Metric("label_kappa", "label"))
_ORDINAL = (
    Metric("label_within_1", "label"),
    Metric("label_mae", "label", higher_is_better=False),
    Metric("label_qwk", "label"),
    Metric("label_anad", "label", higher_is_better=False),
)
_TEXT = (
    Metric("bertscore_precision", "content"),
    Metric("bertscore_recall", "content"),
    Metric("bertscore_f1", "content"),
    Metric("rouge_l", "content"),
    Metric("item_relevance", "content"),
    Metric("label_explanation_consistency", "content"),
    Metric("label_explanation_relative", "content"),
)
_IDENTITY = (
    Metric("explanation_consistency", "identity"),
    Metric("attribution_probability", "identity"),
    *(Metric(f"attribution_at_{k}", "identity") for k in GROUP_SIZES),
    *(Metric(f"attribution_raw_at_{k}", "identity") for k in GROUP_SIZES),
    Metric("contrast_rouge_l", "identity"),
    Metric("contrast_bertscore", "identity"),
)
_INDISTINGUISHABILITY = (Metric("indistinguishability", "indistinguishability"),)
_GUARDS = tuple(
    Metric(name, "guard", higher_is_better=False)
    for name in (
        "invalid_rate",
        "strict_invalid_rate",
        "irrelevance_excess",
        "copy_excess",
        "ngram_excess",
    )
)


ENCODED = (
    *(f"bertscore_{part}" for part in ("precision", "recall", "f1")),
    "rouge_l",
    "contrast_rouge_l",
    "contrast_bertscore",
)
"""Metrics of the text's content, which BERTScore's encoder is needed for."""


def metrics_of(corpus: Corpus) -> tuple[Metric, ...]:
    """The metrics of a corpus, in the order of tables."""
    kind = corpus.task.labels.kind
    return (
        *_HEADLINE,
        *_LABELS,
        *(_MULTILABEL if kind == "multilabel" else ()),
        *_AGREEMENT,
        *(_ORDINAL if corpus.task.labels.ordered else ()),
        *_lewidi(corpus.task),
        *_IDENTITY,
        *_INDISTINGUISHABILITY,
        *_TEXT,
        *_GUARDS,
    )


def _lewidi(task: TaskSpec) -> tuple[Metric, ...]:
    """The metrics of LeWiDi-2025, for its own tasks alone."""
    if not is_lewidi(task):
        return ()
    return _SOFT if task.labels.ordered else (*_ERROR_RATE, *_SOFT)


def bounded(name: str, measured: Measured, corpus: Corpus) -> Measured:
    """A metric that knows its bounds, which its interval at them depends on."""
    if isinstance(measured, Undefined):
        return measured
    return replace(measured, bounds=bounds(name, corpus))


def bounds(name: str, corpus: Corpus) -> tuple[float, float]:
    """The smallest and the largest value that a metric can have on a corpus."""
    space = corpus.task.labels
    width = len(space.labels) - 1
    signed: tuple[str, ...] = ("label_skill", "label_kappa", "label_qwk", "contrast_", "bertscore_")
    if corpus.task.explanations == "none":
        signed += ("faithful_rate",)  # it is the label skill
    if name.startswith(signed):
        return -1, 1
    if name == "explanation_consistency":
        return -inf, inf
    if name == "label_explanation_relative":
        return 0, inf
    if name == "label_mae":
        return 0, space.values[-1] - space.values[0]
    if name == "lewidi_soft":
        return 0, width if space.ordered else 2
    return 0, 1
