"""What a corpus is, in figures: counts, labels, wording and agreement."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, median

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from capo_bench.corpus.agreement import Weights, interval, kappa, krippendorff_alpha, masi, nominal
from capo_bench.corpus.model import SPLITS, Corpus, Item, cell_labels
from capo_bench.corpus.splits import groups

SHOWN_PAIRS = 15


@dataclass(frozen=True)
class SplitSummary:
    """One split.

    Attributes:
        items: Items in it.
        cells: Cells with a label.
        responses: Label-explanation pairs.
    """

    items: int
    cells: int
    responses: int


@dataclass(frozen=True)
class AnnotatorSummary:
    """One annotator.

    Attributes:
        id: The annotator.
        labelled: Items that they gave a label.
        multi_label: Items that they gave more than one label.
        idk: Items on which they said that they could not decide, with a label or without.
        missing: Items with neither a label nor an "I don't know" of theirs.
        responses: Label-explanation pairs.
        labels: Number of responses by label, all labels in their order.
        mean_words: Mean words in an explanation; `None` if they explained nothing.
        repeated: Share of their explanations that repeat an earlier one of theirs letter for
            letter; `None` if they explained nothing.
    """

    id: str
    labelled: int
    multi_label: int
    idk: int
    missing: int
    responses: int
    labels: Mapping[str, int]
    mean_words: float | None
    repeated: float | None


@dataclass(frozen=True)
class PairAgreement:
    """Two annotators.

    Attributes:
        annotators: Their ids.
        items: Items that both gave exactly one label.
        kappa: Cohen's kappa over these, quadratic-weighted for ordinal labels; `None` if undefined.
    """

    annotators: tuple[str, str]
    items: int
    kappa: float | None


@dataclass(frozen=True)
class Description:
    """A corpus in figures.

    Attributes:
        name: Its name.
        synthetic: Whether a program wrote it.
        fingerprint: Its fingerprint.
        task: Name of its task.
        label_kind: Kind of its label space.
        label_values: The number that each label of a scale stands for.
        items: Items.
        cells: Cells with a label.
        responses: Label-explanation pairs.
        multi_label: Cells with more than one label.
        idk: "I don't know"s.
        missing: Pairs of item and annotator with neither a label nor an "I don't know".
        judgments: Verdicts of a validation round.
        shared_items: Items that share a grouping text (a context) with another one.
        shared_groups: Groups of such items.
        crossing_groups: Groups that stand in more than one split; 0 for splits made here.
        splits: Each split that has items; `none` for items without one.
        annotators: In the corpus's order.
        pairs: Every two annotators with an item in common.
        alpha: Krippendorff's alpha over the label sets; `None` if undefined.
        alpha_distance: Its distance: `nominal`, `MASI` (multi-label) or `interval` (ordinal).
    """

    name: str
    synthetic: bool
    fingerprint: str
    task: str
    label_kind: str
    label_values: Mapping[str, float]
    items: int
    cells: int
    responses: int
    multi_label: int
    idk: int
    missing: int
    judgments: int
    shared_items: int
    shared_groups: int
    crossing_groups: int
    splits: Mapping[str, SplitSummary]
    annotators: tuple[AnnotatorSummary, ...]
    pairs: tuple[PairAgreement, ...]
    alpha: float | None
    alpha_distance: str


def describe(corpus: Corpus) -> Description:
    """Describes a corpus."""
    annotators = tuple(_annotator(corpus, identifier) for identifier in corpus.annotator_ids)
    whole = _split(corpus.items)
    shared = [group for group in groups(corpus) if len(group) > 1]
    distance, alpha = _alpha(corpus)
    return Description(
        name=corpus.name,
        synthetic=corpus.synthetic,
        fingerprint=corpus.fingerprint,
        task=corpus.task.name,
        label_kind=corpus.task.labels.kind,
        label_values=dict(corpus.task.labels.value_of),
        items=whole.items,
        cells=whole.cells,
        responses=whole.responses,
        multi_label=sum(a.multi_label for a in annotators),
        idk=sum(a.idk for a in annotators),
        missing=sum(a.missing for a in annotators),
        judgments=sum(
            len(r.judgments) for item in corpus.items for cell in item.cells.values() for r in cell
        ),
        shared_items=sum(len(group) for group in shared),
        shared_groups=len(shared),
        crossing_groups=sum(len({item.split for item in group}) > 1 for group in shared),
        splits={
            name or "none": _split(members)
            for name in (*SPLITS, None)
            if (members := [item for item in corpus.items if item.split == name])
        },
        annotators=annotators,
        pairs=_pairs(corpus),
        alpha=alpha,
        alpha_distance=distance,
    )


def tables(description: Description) -> list[Table]:
    """The description as tables for a terminal: totals, annotators, labels, agreement."""
    d = description
    agreement = [_agreement_table(d)] if d.pairs else []
    return [_totals_table(d), _annotator_table(d), _label_table(d), *agreement]


def _split(items: Sequence[Item]) -> SplitSummary:
    cells = [cell for item in items for cell in item.cells.values() if cell]
    return SplitSummary(len(items), len(cells), sum(len(cell) for cell in cells))


def _annotator(corpus: Corpus, annotator: str) -> AnnotatorSummary:
    cells = [item.cells.get(annotator, ()) for item in corpus.items]
    responses = [response for cell in cells for response in cell]
    texts = [response.explanation for response in responses if response.explanation]
    labels = Counter(label for response in responses for label in response.labels)
    return AnnotatorSummary(
        id=annotator,
        labelled=sum(bool(cell) for cell in cells),
        multi_label=sum(len(cell_labels(cell)) > 1 for cell in cells),
        idk=sum(annotator in item.idk for item in corpus.items),
        missing=sum(
            not cell and annotator not in item.idk
            for item, cell in zip(corpus.items, cells, strict=True)
        ),
        responses=len(responses),
        labels={label: labels[label] for label in corpus.task.labels.labels},
        mean_words=mean(len(text.split()) for text in texts) if texts else None,
        repeated=1 - len(set(texts)) / len(texts) if texts else None,
    )


def _pairs(corpus: Corpus) -> tuple[PairAgreement, ...]:
    space = corpus.task.labels
    weights: Weights | None = "quadratic" if space.ordered else None
    column = {label: index for index, label in enumerate(space.labels)}

    def only_labels(annotator: str) -> list[int]:
        # -1 where the cell does not hold exactly one label
        sets = [cell_labels(item.cells.get(annotator, ())) for item in corpus.items]
        return [column[next(iter(chosen))] if len(chosen) == 1 else -1 for chosen in sets]

    answers = {annotator: np.array(only_labels(annotator)) for annotator in corpus.annotator_ids}
    pairs = []
    for a, b in combinations(corpus.annotator_ids, 2):
        both = (answers[a] >= 0) & (answers[b] >= 0)
        if both.any():
            confusion = np.zeros((len(column), len(column)))
            np.add.at(confusion, (answers[a][both], answers[b][both]), 1)
            value = float(kappa(confusion, weights))
            pairs.append(PairAgreement((a, b), int(both.sum()), _defined(value)))
    return tuple(pairs)


def _alpha(corpus: Corpus) -> tuple[str, float | None]:
    units = [
        [frozenset(cell_labels(cell)) for cell in item.cells.values() if cell]
        for item in corpus.items
    ]
    if corpus.task.labels.kind == "multilabel":
        return "MASI", _defined(krippendorff_alpha(units, masi))
    if corpus.task.labels.kind == "nominal":
        return "nominal", _defined(krippendorff_alpha(units, nominal))
    value_of = corpus.task.labels.value_of
    values = [[value_of[label] for chosen in unit for label in chosen] for unit in units]
    return "interval", _defined(krippendorff_alpha(values, interval))


def _totals_table(d: Description) -> Table:
    name = f"{d.name}, synthetic" if d.synthetic else d.name
    table = _table(f"Corpus {name}", "", show_header=False)
    rows: list[tuple[str, object]] = [
        ("task", f"{d.task}, {d.label_kind} labels"),
        ("fingerprint", d.fingerprint),
        ("items", d.items),
        ("  of these with a shared context", f"{d.shared_items} in {d.shared_groups} groups"),
        ("  groups that cross splits", d.crossing_groups),
        ("cells with a label", d.cells),
        ("  of these multi-label", d.multi_label),
        ("“I don't know”", d.idk),
        ("missing cells", d.missing),
        ("responses", d.responses),
        ("judgments of responses", d.judgments),
        *((f"split {name}", f"{s.items} items, {s.cells} cells") for name, s in d.splits.items()),
        (f"Krippendorff's alpha ({d.alpha_distance})", _number(d.alpha)),
    ]
    for heading, value in rows:
        table.add_row(heading, str(value))
    return table


def _annotator_table(d: Description) -> Table:
    table = _table("Annotators", "labelled", "multi", "don't know", "missing", "words", "repeated")
    for a in d.annotators:
        table.add_row(
            a.id,
            *map(str, (a.labelled, a.multi_label, a.idk, a.missing)),
            "-" if a.mean_words is None else f"{a.mean_words:.1f}",
            "-" if a.repeated is None else f"{a.repeated:.0%}",
        )
    return table


def _label_table(d: Description) -> Table:
    labels = list(d.annotators[0].labels)
    table = _table("Labels, % of responses", *labels, *(["mean"] if d.label_values else []))
    for a in d.annotators:
        shares = [f"{100 * n / a.responses:.0f}" if a.responses else "-" for n in a.labels.values()]
        if d.label_values and a.responses:
            total = sum(d.label_values[label] * n for label, n in a.labels.items())
            shares.append(f"{total / a.responses:+.2f}")
        table.add_row(a.id, *shares)
    return table


def _agreement_table(d: Description) -> Table:
    what = "Quadratic-weighted kappa" if d.label_values else "Cohen's kappa"
    values = [pair.kappa for pair in d.pairs if pair.kappa is not None]
    if values:
        what += f", {min(values):.2f} to {max(values):.2f}, median {median(values):.2f}"
    table = _table(what, "common items", "kappa")
    for pair in sorted(d.pairs, key=lambda pair: -pair.items)[:SHOWN_PAIRS]:
        table.add_row(" and ".join(pair.annotators), str(pair.items), _number(pair.kappa))
    if len(d.pairs) > SHOWN_PAIRS:
        table.caption = f"{SHOWN_PAIRS} of {len(d.pairs)} pairs; all of them with --json"
    return table


def _table(title: str, *headings: str, show_header: bool = True) -> Table:
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_header=show_header, min_width=64
    )
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
