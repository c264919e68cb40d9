"""The registry of metrics: everything that is to be known of a metric, said once.

To add one, write what computes it, a function that takes a `Reading` and gives values by name, and
an entry in `METRICS`. Scores, tables, reports, boards and gate read it from there; nobody looks a
metric up by what its name looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

import numpy as np

from capo_bench.corpus.model import Corpus, TaskSpec
from capo_bench.corpus.tasks import is_lewidi
from capo_bench.metrics.argument import label_explanation_consistency
from capo_bench.metrics.attribution import attributed, attribution, attribution_probability
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.consistency import explanation_consistency
from capo_bench.metrics.contrast import contrast_metrics
from capo_bench.metrics.faithful import faithful_rate, indistinguishability, label_skill
from capo_bench.metrics.guards import guard_metrics
from capo_bench.metrics.instruments import Named, Reading
from capo_bench.metrics.labels import label_agreement
from capo_bench.metrics.soft import lewidi_distances
from capo_bench.metrics.text import content_metrics
from capo_bench.stats.resampling import Bounds, Measured, Undefined, item_means

Axis = Literal["headline", "label", "identity", "indistinguishability", "content", "guard"]
Shown = Literal["controls", "board", "contrasts", "study"]
Family = Callable[[Reading], Mapping[str, Measured]]

GROUP_SIZES = (1, 3, 10)
"""Responses of one annotator that attribution takes together."""

MIN_ITEMS = 5
"""Evaluated items below which what is compared with chance, style or classifiers is not known."""

_TABLES: tuple[Shown, ...] = ("controls", "board", "contrasts")
_FIGURE: tuple[Shown, ...] = (*_TABLES, "study")  # the headline and its axes


def _always(_: TaskSpec) -> bool:
    return True


@dataclass(frozen=True)
class Metric:
    """What a metric sees, and what whoever shows or compares it has to know.

    Attributes:
        name: In data, on the command line and in code.
        title: In tables for people.
        about: What it tells, in a few words.
        axis: `headline` (all axes at once), `label` (the label that this annotator gives?),
            `identity` (is it this annotator who writes?), `indistinguishability` (can it be told
            from the annotator's own?), `content` (is it about this item?) or `guard` (is it a
            response at all, and not a trick?).
        family: What computes it, together with the metrics that share the work.
        higher_is_better: Direction.
        bounds: The smallest and the largest value that it can have; may depend on the task.
        share: Whether it is a share of responses, so that n items without a case leave room for one:
            about 3 / n of them (the rule of three).
        among_annotators: Whether it picks one of the annotators, so that chance is one over their
            number.
        explanations: Whether it compares explanations: cells whose annotator gave none are left out,
            and a corpus without any does not define it.
        encoded: Whether BERTScore's encoder is needed.
        defined: Whether a task, by its labels, has it.
        shown: The tables for people that have it beside the headline. Data, scores and reports have
            all metrics.
        max_drop: The largest drop that the gate tolerates unless told otherwise (a rise, of what
            should be low); `None`: it is not gated unless asked for.
        curve: What it is a point of, drawn over the group size; `None`: nothing.
        group: How many responses of one annotator are taken together.
        minimum: Evaluated items below which it is not defined.
    """

    name: str
    title: str
    about: str
    axis: Axis
    family: Family
    higher_is_better: bool = True
    bounds: Bounds | Callable[[TaskSpec], Bounds] = (0, 1)
    share: bool = False
    among_annotators: bool = False
    explanations: bool = True
    encoded: bool = False
    defined: Callable[[TaskSpec], bool] = _always
    shown: Collection[Shown] = ()
    max_drop: float | None = None
    curve: str | None = None
    group: int = 1
    minimum: int = 1


_UNEXPLAINED = Undefined("no evaluated cell has a human explanation")


def _headline(reading: Reading) -> Mapping[str, Measured]:
    if reading.cells.corpus.task.explanations == "none":
        return {"faithful_rate": label_skill(reading.cells)}
    reading = reading.explained
    cells = reading.cells
    if not len(cells):
        return {"faithful_rate": _UNEXPLAINED}
    named = reading.named
    own = (
        named
        if isinstance(named, Undefined)
        else attributed(cells, named.log_probabilities, named.annotators)
    )
    return {"faithful_rate": faithful_rate(cells, own, reading.discrimination)}


def _labels(reading: Reading) -> Mapping[str, Measured]:
    return {
        "label_skill": label_skill(reading.cells),
        **label_agreement(reading.cells),
        **lewidi_distances(reading.cells),
    }


def _attribution(reading: Reading) -> Mapping[str, Measured]:
    named = reading.named
    found = _attribution_curve(reading.cells, named, "attribution_at_")
    if isinstance(named, Undefined):
        return {"attribution_probability": named, **found}
    probability = attribution_probability(reading.cells, named.log_probabilities, named.annotators)
    return {"attribution_probability": probability, **found}


def _raw_attribution(reading: Reading) -> Mapping[str, Measured]:
    return _attribution_curve(reading.cells, reading.named_raw, "attribution_raw_at_")


def _attribution_curve(cells: Cells, named: Named | Undefined, prefix: str) -> dict[str, Measured]:
    if isinstance(named, Undefined):
        return {f"{prefix}{k}": named for k in GROUP_SIZES}
    return {
        f"{prefix}{k}": attribution(cells, named.log_probabilities, named.annotators, k)
        for k in GROUP_SIZES
    }


def _consistency(reading: Reading) -> Mapping[str, Measured]:
    found = explanation_consistency(reading.cells, reading.instruments.style_bins)
    return {"explanation_consistency": found}


def _contrast(reading: Reading) -> Mapping[str, Measured]:
    return contrast_metrics(reading.cells.compared, reading.instruments.encoder)


def _indistinguishability(reading: Reading) -> Mapping[str, Measured]:
    return {
        "indistinguishability": indistinguishability(reading.cells, reading.discrimination),
    }


def _content(reading: Reading) -> Mapping[str, Measured]:
    return content_metrics(reading.cells.compared, reading.instruments.encoder)


def _argument(reading: Reading) -> Mapping[str, Measured]:
    return label_explanation_consistency(reading.cells.compared, reading.instruments.arguments)


def _guards(reading: Reading) -> Mapping[str, Measured]:
    return guard_metrics(reading.cells.known, reading.instruments.guards)


def _invalid(reading: Reading) -> Mapping[str, Measured]:
    cells = reading.cells
    invalid = [float(parsed.error is not None) for parsed in cells.parsed]
    otherwise = [float(parsed.reading != "strict") for parsed in cells.parsed]
    return {
        "invalid_rate": item_means(invalid, cells.item, len(cells.items)),
        "strict_invalid_rate": item_means(otherwise, cells.item, len(cells.items)),
    }


def _truncated(reading: Reading) -> Mapping[str, Measured]:
    cells = reading.cells
    known = [float(one) for one in cells.truncated if one is not None]
    if len(known) < len(cells):
        untold = Undefined(
            f"whether responses ended at the token limit is known of {len(known)} of {len(cells)}"
        )
        return {"truncated_rate": untold}
    return {"truncated_rate": item_means(known, cells.item, len(cells.items))}


def _multilabel(task: TaskSpec) -> bool:
    return task.labels.kind == "multilabel"


def _ordered(task: TaskSpec) -> bool:
    return task.labels.ordered


def _lewidi_sets(task: TaskSpec) -> bool:
    return is_lewidi(task) and not task.labels.ordered


def _scale(task: TaskSpec) -> Bounds:
    return 0, task.labels.values[-1] - task.labels.values[0]


def _soft(task: TaskSpec) -> Bounds:
    return 0, len(task.labels.labels) - 1 if task.labels.ordered else 2


METRICS: tuple[Metric, ...] = (
    Metric(
        "faithful_rate",
        "faithful rate",
        "right label in a voice that cannot be told from the annotator's",
        "headline",
        _headline,
        bounds=(-1, 1),  # by chance below 0
        share=True,
        explanations=False,  # where there are none, it is label skill
        shown=("controls", "contrasts", "study"),
        max_drop=0.15,
        minimum=MIN_ITEMS,
    ),
    Metric(
        "label_skill",
        "label skill",
        "agreement with the annotator's own labels beyond chance",
        "label",
        _labels,
        bounds=(-1, 1),
        explanations=False,
        shown=_FIGURE,
        minimum=MIN_ITEMS,
    ),
    Metric(
        "label_accuracy",
        "label accuracy",
        "all predicted labels are among the annotator's",
        "label",
        _labels,
        share=True,
        explanations=False,
        shown=_TABLES,
        max_drop=0.1,
    ),
    Metric(
        "label_accuracy_strict",
        "label accuracy, strict",
        "the predicted labels are the annotator's",
        "label",
        _labels,
        share=True,
        explanations=False,
        defined=_multilabel,
    ),
    Metric(
        "label_macro_f1",
        "label macro-F1",
        "F1 of each label, mean over labels",
        "label",
        _labels,
        explanations=False,
        minimum=MIN_ITEMS,
    ),
    Metric(
        "label_kappa",
        "label kappa",
        "Cohen's kappa with the annotator, mean over annotators",
        "label",
        _labels,
        bounds=(-1, 1),
        explanations=False,
        minimum=MIN_ITEMS,
    ),
    Metric(
        "label_within_1",
        "label within 1",
        "the predicted label is at most one off",
        "label",
        _labels,
        share=True,
        explanations=False,
        defined=_ordered,
    ),
    Metric(
        "label_mae",
        "label MAE",
        "how far off the predicted label is",
        "label",
        _labels,
        higher_is_better=False,
        bounds=_scale,
        explanations=False,
        defined=_ordered,
    ),
    Metric(
        "label_qwk",
        "label QWK",
        "quadratic-weighted kappa with the annotator, mean over annotators",
        "label",
        _labels,
        bounds=(-1, 1),
        explanations=False,
        defined=_ordered,
        minimum=MIN_ITEMS,
    ),
    Metric(
        "label_anad",
        "LeWiDi ANAD",
        "LeWiDi-2025's normalised absolute distance",
        "label",
        _labels,
        higher_is_better=False,
        explanations=False,
        defined=_ordered,
    ),
    Metric(
        "lewidi_er",
        "LeWiDi ER",
        "LeWiDi-2025's perspectivist error rate",
        "label",
        _labels,
        higher_is_better=False,
        explanations=False,
        defined=_lewidi_sets,
    ),
    Metric(
        "lewidi_soft",
        "LeWiDi soft",
        "LeWiDi-2025's distance of the distributions over annotators",
        "label",
        _labels,
        higher_is_better=False,
        bounds=_soft,
        explanations=False,
        defined=is_lewidi,
    ),
    Metric(
        "attribution_probability",
        "P(target)",
        "probability of the target annotator, given the explanation",
        "identity",
        _attribution,
        share=True,
        among_annotators=True,
        shown=_FIGURE,
        minimum=MIN_ITEMS,
    ),
    *(
        Metric(
            f"attribution_at_{k}",
            f"attribution @{k}",
            f"{k} explanations of one annotator together are taken for the annotator's"
            if k > 1
            else "the explanation is taken for the annotator's",
            "identity",
            _attribution,
            share=True,
            among_annotators=True,
            shown=_TABLES if k == 1 else ("contrasts",) if k == 10 else (),
            max_drop=0.1 if k == 1 else None,
            curve="attribution",
            group=k,
            minimum=MIN_ITEMS,
        )
        for k in GROUP_SIZES
    ),
    *(
        Metric(
            f"attribution_raw_at_{k}",
            f"raw attribution @{k}",
            "as attribution, with case and punctuation read",
            "identity",
            _raw_attribution,
            share=True,
            among_annotators=True,
            curve="raw attribution",
            group=k,
            minimum=MIN_ITEMS,
        )
        for k in GROUP_SIZES
    ),
    Metric(
        "explanation_consistency",
        "consistency",
        "how much more like the annotator's than like the others' style features the writing is",
        "identity",
        _consistency,
        bounds=(-inf, inf),
        shown=_FIGURE,
        max_drop=0.3,
        minimum=MIN_ITEMS,
    ),
    Metric(
        "contrast_rouge_l",
        "ROUGE-L contrast",
        "ROUGE-L with the annotator's own explanation less that with the others'",
        "identity",
        _contrast,
        bounds=(-1, 1),
        encoded=True,
        minimum=MIN_ITEMS,
    ),
    Metric(
        "contrast_bertscore",
        "BERTScore contrast",
        "BERTScore with the annotator's own explanation less that with the others'",
        "identity",
        _contrast,
        bounds=(-1, 1),
        encoded=True,
        minimum=MIN_ITEMS,
    ),
    Metric(
        "indistinguishability",
        "indistinguishable",
        "passes for the annotator's own",
        "indistinguishability",
        _indistinguishability,
        shown=_FIGURE,
        minimum=MIN_ITEMS,
    ),
    Metric(
        "item_relevance",
        "relevance",
        "closer to its own item than to nine in ten others",
        "content",
        _guards,
        share=True,
        shown=_FIGURE,
    ),
    *(
        Metric(
            f"bertscore_{part}",
            f"BERTScore {title}",
            f"BERTScore {title} with the annotator's own explanation",
            "content",
            _content,
            bounds=(-1, 1),
            encoded=True,
            shown=("board", "contrasts") if part == "f1" else (),
        )
        for part, title in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
    ),
    Metric(
        "rouge_l",
        "ROUGE-L",
        "longest common subsequence of words with the annotator's own explanation",
        "content",
        _content,
        encoded=True,
    ),
    Metric(
        "label_explanation_consistency",
        "label-explanation consistency",
        "the explanation argues for the label given with it",
        "content",
        _argument,
    ),
    Metric(
        "label_explanation_relative",
        "label-explanation consistency, to people's",
        "the same, over what people reach",
        "content",
        _argument,
        bounds=(0, inf),
    ),
    Metric(
        "invalid_rate",
        "invalid",
        "no response of the form that was asked for",
        "guard",
        _invalid,
        higher_is_better=False,
        share=True,
        explanations=False,
        shown=("board", "contrasts"),
        max_drop=0.05,
    ),
    Metric(
        "strict_invalid_rate",
        "invalid, strict",
        "not in the very form that was asked for",
        "guard",
        _invalid,
        higher_is_better=False,
        share=True,
        explanations=False,
    ),
    Metric(
        "truncated_rate",
        "truncated",
        "ended at the token limit",
        "guard",
        _truncated,
        higher_is_better=False,
        share=True,
        explanations=False,
    ),
    Metric(
        "irrelevance_excess",
        "off item",
        "does not find its own item, beyond what the annotator does in training",
        "guard",
        _guards,
        higher_is_better=False,
        share=True,
        shown=("controls", "board"),
    ),
    Metric(
        "copy_excess",
        "copied",
        "taken from the annotator's training explanations, beyond what the annotator does there",
        "guard",
        _guards,
        higher_is_better=False,
        share=True,
        shown=_TABLES,
    ),
    Metric(
        "ngram_excess",
        "phrase",
        "one phrase in too many responses, beyond what the annotator does in training",
        "guard",
        _guards,
        higher_is_better=False,
        share=True,
        shown=_TABLES,
    ),
)
"""All metrics, in the order of tables."""

HEADLINE, LABEL, IDENTITY, INDISTINCT = (
    "faithful_rate",
    "label_skill",
    "attribution_probability",
    "indistinguishability",
)
"""The headline, and the metric that stands for each of its axes on maps and strips."""

INVALID = "invalid_rate"
"""What says first that a run is broken."""


def metrics_of(corpus: Corpus) -> tuple[Metric, ...]:
    """The metrics of a corpus, in the order of tables."""
    return tuple(metric for metric in METRICS if metric.defined(corpus.task))


def shown_in(table: Shown) -> tuple[Metric, ...]:
    """The metrics that a table for people has, in the order of tables."""
    return tuple(metric for metric in METRICS if table in metric.shown)


def metric_named(name: str) -> Metric:
    """The entry of a metric.

    Raises:
        KeyError: If there is no metric of that name.
    """
    return {metric.name: metric for metric in METRICS}[name]


def needs_encoder(names: Collection[str]) -> bool:
    """Whether one of these metrics takes BERTScore's encoder."""
    return any(metric_named(name).encoded for name in names)


def group_curve(curve: str) -> tuple[Metric, ...]:
    """The metrics that differ in nothing but how many responses they take together, ascending.

    Args:
        curve: As the entries name it.
    """
    found = [metric for metric in METRICS if metric.curve == curve]
    return tuple(sorted(found, key=lambda metric: metric.group))


def bounds(name: str, corpus: Corpus) -> Bounds:
    """The smallest and the largest value that a metric can have on a corpus."""
    found = metric_named(name).bounds
    return found(corpus.task) if callable(found) else found


def bounded(name: str, measured: Measured, corpus: Corpus) -> Measured:
    """A metric that knows its bounds, which its interval at them depends on."""
    if isinstance(measured, Undefined):
        return measured
    return replace(measured, bounds=bounds(name, corpus))


def measure(
    reading: Reading, *, encoded: bool = True, only: Collection[str] = ()
) -> dict[str, Measured]:
    """Every metric of a corpus, by name, in the order of tables.

    Args:
        reading: The responses.
        encoded: Without it, the metrics that need BERTScore's encoder are left out.
        only: Where not empty, these metrics alone.
    """
    corpus = reading.cells.corpus
    none = corpus.task.explanations == "none"
    untold = Undefined(
        "the corpus has labels alone, no explanations" if none else _UNEXPLAINED.reason
    )
    none |= not len(reading.explained.cells)
    metrics = [
        metric
        for metric in metrics_of(corpus)
        if (encoded or not metric.encoded) and (not only or metric.name in only)
    ]
    told = [metric for metric in metrics if not (none and metric.explanations)]
    items = {True: _items(reading.explained.cells), False: _items(reading.cells)}
    few = {metric.name for metric in told if items[metric.explanations] < metric.minimum}
    found: dict[str, Measured] = {}
    for family, explained in dict.fromkeys(
        (metric.family, metric.explanations) for metric in told if metric.name not in few
    ):
        found |= family(reading.explained if explained else reading)
    for metric in told:
        if metric.name in few:
            found[metric.name] = Undefined(
                f"it takes {metric.minimum} evaluated items, and there are "
                f"{items[metric.explanations]}"
            )
    return {
        metric.name: bounded(metric.name, found[metric.name], corpus) if metric in told else untold
        for metric in metrics
    }


def _items(cells: Cells) -> int:
    return len(np.unique(cells.item))
