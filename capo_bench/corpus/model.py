"""What a corpus is: items, annotators, and a set of label-explanation pairs in each cell.

A *cell* is one annotator's answer to one item. It holds any number of pairs, because an annotator
may see two labels as right and explain each. Nothing here assumes four annotators, equal counts or
full coverage: who did not answer an item has no cell in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property
from typing import Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from capo_bench.errors import CapoBenchError

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
LabelKind = Literal["nominal", "multilabel", "ordinal"]

_strict = ConfigDict(extra="forbid", str_strip_whitespace=False)


@dataclass(frozen=True, config=_strict)
class LabelSpace:
    """The labels that annotators choose from.

    Attributes:
        kind: `nominal` (one label a cell), `multilabel` (any number of labels a cell) or `ordinal`
            (one label a cell, from a scale).
        labels: All labels; for `ordinal` in the order of the scale, each an integer as text.
    """

    kind: LabelKind
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"a label space needs two or more distinct labels, got {self.labels}")
        if self.kind == "ordinal":
            try:
                values = [int(label) for label in self.labels]
            except ValueError as error:
                raise ValueError(f"ordinal labels must be integers, got {self.labels}") from error
            if values != sorted(values):
                raise ValueError(f"ordinal labels must ascend, got {self.labels}")


@dataclass(frozen=True, config=_strict)
class TaskSpec:
    """What the annotators were asked.

    Attributes:
        name: Short name, such as `nli`.
        instruction: The question put to the annotators, as a prompt states it.
        fields: Names of the input texts of an item, in the order in which they are read, each with
            the title that a prompt shows before it.
        labels: The label space.
        group_by: Names of fields; items that share the text of any of them stay in one split.
    """

    name: str
    instruction: str
    fields: Mapping[str, str]
    labels: LabelSpace
    group_by: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = [name for name in self.group_by if name not in self.fields]
        if not self.fields or unknown:
            raise ValueError(f"group_by names no input field: {unknown or 'there are no fields'}")


@dataclass(frozen=True, config=_strict)
class Judgment:
    """A later verdict on a response: does the explanation make sense for its label?"""

    annotator: str
    makes_sense: bool | None


@dataclass(frozen=True, config=_strict)
class Response:
    """One label-explanation pair.

    Attributes:
        label: One of the corpus's labels.
        explanation: The annotator's own words, without edge whitespace; `""` where none was given.
        judgments: Verdicts of a validation round, the author's own among them, if there was one.
    """

    label: str
    explanation: str = ""
    judgments: tuple[Judgment, ...] = ()


@dataclass(frozen=True, config=_strict)
class Item:
    """One input and what each annotator answered.

    Attributes:
        id: Unique in the corpus.
        text: Input texts by field name.
        cells: For each annotator who was asked, their responses. An empty tuple: asked, but no
            label is known (the label is hidden, or the annotator could not decide).
        idk: Annotators who said that they could not decide.
        split: The split that the item belongs to.
        source_id: The id that the corpus's publishers use; need not be unique.
    """

    id: str
    text: Mapping[str, str]
    cells: Mapping[str, tuple[Response, ...]]
    idk: tuple[str, ...] = ()
    split: SplitName | None = None
    source_id: str | None = None


@dataclass(frozen=True, config=_strict)
class Annotator:
    """One annotator and what is known of them (`meta`, free of form)."""

    id: str
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, config=_strict)
class Corpus:
    """Items that a fixed set of annotators labelled and explained.

    Raises:
        CapoBenchError: On a duplicate or unknown id, an unknown label, or a missing input text; the
            message names the item.
    """

    name: str
    task: TaskSpec
    annotators: tuple[Annotator, ...]
    items: tuple[Item, ...]
    synthetic: bool = False
    license: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        ids = [annotator.id for annotator in self.annotators]
        _unique(ids, f"corpus {self.name}: annotator")
        _unique([item.id for item in self.items], f"corpus {self.name}: item")
        if not self.items:
            raise CapoBenchError(f"corpus {self.name} is empty: it needs at least one item")
        for item in self.items:
            self._check(item, frozenset(ids))

    def _check(self, item: Item, annotators: frozenset[str]) -> None:
        corpus, where = f"corpus {self.name}", f"item {item.id}"
        if set(item.text) != set(self.task.fields):
            raise CapoBenchError(
                f"the input texts are {sorted(item.text)}, expected {sorted(self.task.fields)}",
                file=corpus,
                id=where,
            )
        unknown = [a for a in (*item.cells, *item.idk) if a not in annotators]
        if unknown:
            raise CapoBenchError(
                f"annotator {unknown[0]!r} is not among the corpus's annotators "
                f"({', '.join(sorted(annotators))}); add them to the header or mend the id",
                file=corpus,
                id=where,
            )
        for annotator, responses in item.cells.items():
            for response in responses:
                if response.label not in self.task.labels.labels:
                    raise CapoBenchError(
                        f"unknown label {response.label!r}, "
                        f"expected one of {', '.join(self.task.labels.labels)}",
                        file=corpus,
                        id=f"{where}, annotator {annotator}",
                    )
            labels = {response.label for response in responses}
            if self.task.labels.kind != "multilabel" and len(labels) > 1:
                raise CapoBenchError(
                    f"{len(labels)} labels {sorted(labels)} in a "
                    f"{self.task.labels.kind} corpus; keep one, or declare the labels multilabel",
                    file=corpus,
                    id=f"{where}, annotator {annotator}",
                )

    @cached_property
    def annotator_ids(self) -> tuple[str, ...]:
        """The annotators' ids in the corpus's order."""
        return tuple(annotator.id for annotator in self.annotators)

    @cached_property
    def by_id(self) -> Mapping[str, Item]:
        """The items by id."""
        return {item.id: item for item in self.items}

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any text, label, explanation, annotator or split."""
        content = TypeAdapter(Corpus).dump_python(self, mode="json")
        for cosmetic in ("license", "citation"):
            del content[cosmetic]
        text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def split(self, name: str) -> tuple[Item, ...]:
        """The items of one split, in the corpus's order.

        Raises:
            CapoBenchError: If no item belongs to it.
        """
        items = tuple(item for item in self.items if item.split == name)
        if not items:
            present = sorted({item.split for item in self.items if item.split})
            raise CapoBenchError(
                f"corpus {self.name} has no items in split {name!r}; "
                f"it has {', '.join(present) or 'no splits at all'}"
            )
        return items

    def responses(self, split: str, annotator: str) -> tuple[tuple[Item, Response], ...]:
        """Every response of one annotator in one split, with its item, in the corpus's order."""
        return tuple(
            (item, response)
            for item in self.split(split)
            for response in item.cells.get(annotator, ())
        )

    def valid_only(self) -> Corpus:
        """The same corpus with self-validated responses only.

        A response stays if its author, asked again, said that it makes sense; responses that their
        author did not judge are dropped, and a cell that loses all of them stays as an empty one.

        Raises:
            CapoBenchError: If the corpus has no judgments at all.
        """
        if not any(r.judgments for item in self.items for rs in item.cells.values() for r in rs):
            raise CapoBenchError(
                f"corpus {self.name} has no validity judgments; use it without valid_only"
            )

        def own_verdict(annotator: str, response: Response) -> bool:
            return any(j.annotator == annotator and j.makes_sense for j in response.judgments)

        items = tuple(
            replace(
                item,
                cells={
                    annotator: tuple(r for r in responses if own_verdict(annotator, r))
                    for annotator, responses in item.cells.items()
                },
            )
            for item in self.items
        )
        return replace(self, name=f"{self.name}-valid", items=items)


def _unique(ids: list[str], what: str) -> None:
    seen: set[str] = set()
    for identifier in ids:
        if identifier in seen:
            raise CapoBenchError(f"{what} {identifier!r} occurs twice; ids must be unique")
        seen.add(identifier)
