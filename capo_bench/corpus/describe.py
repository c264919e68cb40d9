"""What a corpus is, in figures: counts, labels, wording and agreement."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from capo_bench.corpus.agreement import Weights, interval, kappa, krippendorff_alpha, masi, nominal
from capo_bench.corpus.evaluable import Coverage, coverage, evaluable
from capo_bench.corpus.model import SPLITS, Corpus, Item, Response, cell_labels
from capo_bench.corpus.splits import groups

SHOWN = 15
"""Annotators and pairs of them in a table for people; the first few of many."""
KEPT_PAIRS = 1000
_WIDE = 12
"""Most labels that have a column each."""
_BANDS = 8


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
        evaluable: How much of the test split the evaluable annotators gave; `None` without one.
        pairs: Every two annotators with an item in common; of very many those with the most.
        pair_count: How many there are.
        pair_kappas: Smallest, median and largest kappa over all of them; `None` if none is defined.
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
    evaluable: Coverage | None
    pairs: tuple[PairAgreement, ...]
    pair_count: int
    pair_kappas: tuple[float, float, float] | None
    alpha: float | None
    alpha_distance: str


def describe(corpus: Corpus) -> Description:
    """Describes a corpus."""
    annotators = _annotators(corpus)
    pairs, count, kappas = _pairs(corpus)
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
        evaluable=coverage(corpus, "test", evaluable(corpus))
        if any(item.split == "test" for item in corpus.items)
        else None,
        pairs=pairs,
        pair_count=count,
        pair_kappas=kappas,
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


def _annotators(corpus: Corpus) -> tuple[AnnotatorSummary, ...]:
    cells: dict[str, list[tuple[Response, ...]]] = {one: [] for one in corpus.annotator_ids}
    idk: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for item in corpus.items:
        idk.update(set(item.idk))
        asked.update({*item.idk, *(one for one, cell in item.cells.items() if cell)})
        for one, cell in item.cells.items():
            cells[one].append(cell)
    return tuple(
        _annotator(corpus, one, own, idk[one], len(corpus.items) - asked[one])
        for one, own in cells.items()
    )


def _annotator(
    corpus: Corpus, annotator: str, cells: Sequence[tuple[Response, ...]], idk: int, missing: int
) -> AnnotatorSummary:
    responses = [response for cell in cells for response in cell]
    texts = [response.explanation for response in responses if response.explanation]
    labels = Counter(label for response in responses for label in response.labels)
    return AnnotatorSummary(
        id=annotator,
        labelled=sum(bool(cell) for cell in cells),
        multi_label=sum(len(cell_labels(cell)) > 1 for cell in cells),
        idk=idk,
        missing=missing,
        responses=len(responses),
        labels={label: labels[label] for label in corpus.task.labels.labels},
        mean_words=mean(len(text.split()) for text in texts) if texts else None,
        repeated=1 - len(set(texts)) / len(texts) if texts else None,
    )


def _pairs(
    corpus: Corpus,
) -> tuple[tuple[PairAgreement, ...], int, tuple[float, float, float] | None]:
    """The pairs with the most items in common, how many pairs there are, and their kappas' range."""
    space, ids = corpus.task.labels, corpus.annotator_ids
    weights: Weights | None = "quadratic" if space.ordered else None
    place = {annotator: index for index, annotator in enumerate(ids)}
    column = {label: index for index, label in enumerate(space.labels)}
    keys = []  # for each two answers to an item: pair of annotators, and both labels, as one number
    size = len(column)
    for item in corpus.items:
        answers = sorted(
            (place[annotator], column[labels[0]])
            for annotator, cell in item.cells.items()
            if len(labels := cell_labels(cell)) == 1
        )
        who, what = np.array(answers, dtype=np.int64).reshape(-1, 2).T
        a, b = np.triu_indices(len(answers), k=1)
        keys.append(((who[a] * len(ids) + who[b]) * size + what[a]) * size + what[b])
    found, counts = np.unique(np.concatenate(keys), return_counts=True)
    pairs, row = np.unique(found // size**2, return_inverse=True)
    items = np.bincount(row, weights=counts, minlength=len(pairs)).astype(int)
    values = np.full(len(pairs), np.nan)
    chunk = max(1, 10**7 // size**2)
    for start in range(0, len(pairs), chunk):
        inside = (row >= start) & (row < start + chunk)
        confusion = np.zeros((min(chunk, len(pairs) - start), size**2))
        confusion[row[inside] - start, found[inside] % size**2] = counts[inside]
        values[start : start + chunk] = kappa(confusion.reshape(-1, size, size), weights)
    kept = sorted(np.argsort(-items, kind="stable")[:KEPT_PAIRS].tolist())
    defined = values[~np.isnan(values)]
    return (
        tuple(
            PairAgreement(
                (ids[pairs[i] // len(ids)], ids[pairs[i] % len(ids)]),
                int(items[i]),
                _defined(float(values[i])),
            )
            for i in kept
        ),
        len(pairs),
        (float(defined.min()), float(np.median(defined)), float(defined.max()))
        if len(defined)
        else None,
    )


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
        *([("evaluated of the test split", d.evaluable)] if d.evaluable else []),
        (f"Krippendorff's alpha ({d.alpha_distance})", _number(d.alpha)),
    ]
    for heading, value in rows:
        table.add_row(heading, str(value))
    return table


def _annotator_table(d: Description) -> Table:
    table = _table("Annotators", "labelled", "multi", "don't know", "missing", "words", "repeated")
    for a in d.annotators[:SHOWN]:
        table.add_row(
            a.id,
            *map(str, (a.labelled, a.multi_label, a.idk, a.missing)),
            "-" if a.mean_words is None else f"{a.mean_words:.1f}",
            "-" if a.repeated is None else f"{a.repeated:.0%}",
        )
    return _and_more(table, len(d.annotators), "annotators")


def _label_table(d: Description) -> Table:
    columns = _label_columns(d)
    table = _table("Labels, % of responses", *columns, *(["mean"] if d.label_values else []))
    for a in d.annotators[:SHOWN]:
        counts = [sum(a.labels[label] for label in labels) for labels in columns.values()]
        shares = [f"{100 * n / a.responses:.0f}" if a.responses else "-" for n in counts]
        if d.label_values and a.responses:
            total = sum(d.label_values[label] * n for label, n in a.labels.items())
            shares.append(f"{total / a.responses:+.2f}")
        table.add_row(a.id, *shares)
    return _and_more(table, len(d.annotators), "annotators")


def _label_columns(d: Description) -> dict[str, Sequence[str]]:
    """The labels by heading; of many a scale in bands, or the most frequent and all others."""
    labels = list(d.annotators[0].labels)
    if len(labels) <= _WIDE:
        return {label: [label] for label in labels}
    if d.label_values:
        ends = [len(labels) * band // _BANDS for band in range(_BANDS + 1)]
        bands = [labels[start:end] for start, end in pairwise(ends)]
        return {f"{band[0]} to {band[-1]}": band for band in bands}
    total = Counter[str]()
    for a in d.annotators:
        total.update(a.labels)
    usual = sorted(labels, key=lambda label: -total[label])[: _WIDE - 1]
    rest = [label for label in labels if label not in usual]
    return {**{label: [label] for label in usual}, f"{len(rest)} others": rest}


def _agreement_table(d: Description) -> Table:
    what = "Quadratic-weighted kappa" if d.label_values else "Cohen's kappa"
    if d.pair_kappas:
        low, middle, high = d.pair_kappas
        what += f", {low:.2f} to {high:.2f}, median {middle:.2f}"
    table = _table(what, "common items", "kappa")
    for pair in sorted(d.pairs, key=lambda pair: -pair.items)[:SHOWN]:
        table.add_row(" and ".join(pair.annotators), str(pair.items), _number(pair.kappa))
    return _and_more(table, d.pair_count, "pairs")


def _and_more(table: Table, count: int, what: str) -> Table:
    if count > SHOWN:
        table.caption = f"... and {count - SHOWN} more {what}; see --json"
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
