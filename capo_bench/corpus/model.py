"""What a corpus is: items, annotators, and a set of label-explanation pairs in each cell.

A *cell* is one annotator's answer to one item. It holds any number of pairs, because an annotator
may see two labels as right and explain each. Nothing here assumes four annotators, equal counts or
full coverage: who did not answer an item has no cell in it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, fields, replace
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, JsonValue, Strict, StrictBool, TypeAdapter
from pydantic.dataclasses import dataclass

from capo_bench.display import blank, look_alikes, revealed, visible
from capo_bench.errors import CapoBenchError, listed

SplitName = Literal["train", "validation", "test"]
T = TypeVar("T", bound="Item | Corpus")
MAX_NAME = 1000
"""The longest id, in characters."""
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def splits_before(split: str) -> tuple[SplitName, ...]:
    """The splits that whoever answers a split may know: those that come before it."""
    return SPLITS[: [*map(str, SPLITS)].index(split)]


LabelKind = Literal["nominal", "multilabel", "ordinal", "interval"]
Explanations = Literal["required", "optional", "none"]
_Number = Annotated[float, Strict()]

MAX_LEVELS = 1001
"""Most labels of a space, so that 0 to 100 in steps of 0.1 is one."""

_strict = ConfigDict(extra="forbid", str_strip_whitespace=False)
_EDGES = " \t\n*\"'`“”‘’„«»"
# What `float` takes besides is no way to write a label: `1e0`, `1_0`, `inf`.
_PLAIN_NUMBER = re.compile(r"[+-]?(?:\d{1,300}(?:\.\d+)?|\.\d+)")


# What is taken off a response before its label is read: marks of turns and thoughts, tags, the cue.
_TAKEN = re.compile(r"<[^<>]*>|◁[^▷]*▷|\[/?think\]|^(label|explanation)\s*:")


def label_key(text: str) -> str:
    """What tells one label from another: case, edge quotes and stops, and runs of blanks do not."""
    text = " ".join(unicodedata.normalize("NFC", text).split()).strip(_EDGES)
    return text.rstrip(".").strip(_EDGES).casefold().replace("\N{MINUS SIGN}", "-")


@dataclass(frozen=True, config=_strict)
class LabelSpace:
    """The labels that annotators choose from.

    Whatever is written with a label of the space is read as that label: a label is one line without
    comma or edge blank, and no two labels or aliases have the same `label_key`.

    Attributes:
        kind: `nominal` (one label a cell), `multilabel` (any number of labels a cell), `ordinal`
            (one label a cell, from named levels in order) or `interval` (a number on a scale).
        labels: All labels; for `ordinal` in the order of the scale. For `interval` they follow from
            `range` and `step`.
        values: `ordinal`: the number that each level stands for, ascending; default: the labels
            themselves if all are numbers, else 1, 2, 3 ... For `interval` the labels as numbers.
        aliases: Other spellings that are read as a label, such as `{"yes": "entailment"}`.
        range: `interval` only: the lowest and the highest number.
        step: `interval` only: the distance between neighbouring numbers.
    """

    kind: LabelKind
    labels: tuple[str, ...] = ()
    values: tuple[_Number, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    range: tuple[_Number, _Number] | None = None
    step: _Number | None = None

    def __post_init__(self) -> None:
        if self.kind == "interval":
            labels = _grid(self.range, self.step)
            if self.labels not in ((), labels):
                raise ValueError("interval labels follow from range and step; leave labels out")
            object.__setattr__(self, "labels", labels)
        elif self.range is not None or self.step is not None:
            raise ValueError(f"range and step are for interval labels, not for {self.kind} ones")
        if not 2 <= len(self.labels) <= MAX_LEVELS or len(set(self.labels)) != len(self.labels):
            raise ValueError(
                f"a label space needs 2 to {MAX_LEVELS} distinct labels, got {listed(self.labels)}"
            )
        if unknown := [to for to in self.aliases.values() if to not in self.labels]:
            raise ValueError(f"an alias stands for {unknown[0]!r}, which is no label")
        _check_spelling([*self.labels, *self.aliases])
        if self.kind in ("ordinal", "interval"):
            object.__setattr__(self, "values", self.values or _values(self.labels))
            if len(self.values) != len(self.labels) or not all(map(math.isfinite, self.values)):
                raise ValueError(
                    f"values need one finite number for each of {len(self.labels)} labels"
                )
            if any(low >= high for low, high in zip(self.values, self.values[1:], strict=False)):
                raise ValueError(f"{self.kind} labels must ascend, got {listed(self.labels)}")
        elif self.values:
            raise ValueError(f"values are for ordinal labels, not for {self.kind} ones")

    @property
    def ordered(self) -> bool:
        """Whether the labels lie on a scale, so that some are closer to each other than others."""
        return bool(self.values)

    @cached_property
    def known(self) -> frozenset[str]:
        """All labels, for look-ups."""
        return frozenset(self.labels)

    @cached_property
    def value_of(self) -> Mapping[str, float]:
        """The number that each label of a scale stands for."""
        return dict(zip(self.labels, self.values, strict=self.ordered))

    def recognise(self, text: str) -> str | None:
        """The label that a text names, whatever its case, edge marks or way to write a number."""
        key = label_key(text)
        if key in self._by_key:
            return self._by_key[key]
        plain = _PLAIN_NUMBER.fullmatch(key)
        return self._by_number.get(round(float(key), 9)) if plain else None

    @cached_property
    def _by_key(self) -> Mapping[str, str]:
        return {
            label_key(name): self.aliases.get(name, name) for name in (*self.aliases, *self.labels)
        }

    @cached_property
    def _by_number(self) -> Mapping[float, str]:
        if not self.ordered or not all(_number(label) is not None for label in self.labels):
            return {}
        return {round(value, 9): label for label, value in self.value_of.items()}


def _grid(ends: tuple[float, float] | None, step: float | None) -> tuple[str, ...]:
    if ends is None or step is None or not all(map(math.isfinite, (*ends, step))):
        raise ValueError(
            "interval labels need a range [low, high] and a step, such as [0, 100] and 1"
        )
    low, high = ends
    steps = (high - low) / step if step > 0 else -1
    if (
        not math.isfinite(steps)
        or not 1 <= round(steps) < MAX_LEVELS
        or abs(steps - round(steps)) > 1e-6
    ):
        raise ValueError(
            f"from {low:g} to {high:g} in steps of {step:g} are no 2 to {MAX_LEVELS} numbers; choose "
            "a step that divides the range"
        )
    return tuple(
        f"{round(low + index * step, 9) + 0.0:.9f}".rstrip("0").rstrip(".")
        for index in range(round(steps) + 1)
    )


def _number(label: str) -> float | None:
    """The number that a label is, if it is one."""
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _values(labels: Sequence[str]) -> tuple[float, ...]:
    numbers = [_number(label) for label in labels]
    found = tuple(number for number in numbers if number is not None)
    if len(found) < len(labels):
        return tuple(float(rank) for rank in range(1, len(labels) + 1))
    for label, number in zip(labels, found, strict=True):
        plain = f"{number:.9f}".rstrip("0").rstrip(".")
        if label != plain:
            raise ValueError(f"ordinal label {label!r} is a number; write it plainly, as {plain!r}")
    return found


def _check_spelling(names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if name != name.strip() or not label_key(name):
            raise ValueError(
                f"label {name!r} has a blank at its edge or is empty; a response could not name it"
            )
        if "," in name or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
            raise ValueError(
                f"label {name!r} has a comma or a line break, which separate labels in a "
                "response; write it otherwise"
            )
        if _TAKEN.search(label_key(name)):
            raise ValueError(
                f"label {name!r} looks like markup, or like the start of an answer, which are taken "
                "off a response; write it otherwise"
            )
        if revealed(name) != name:
            raise ValueError(
                f"label {visible(name)!r} has characters that cannot be seen; a response could not "
                "name it"
            )
        other = seen.setdefault(label_key(name), name)
        if other != name:
            raise ValueError(
                f"labels {other!r} and {name!r} differ only in case or edge marks, so that "
                "a response could mean either"
            )


@dataclass(frozen=True, config=_strict)
class Wording:
    """What a prompt says around a task's own words; a corpus may say it otherwise or in its language.

    `{annotator}` stands for the annotator's id and `{labels}` for the list of labels. The two words
    `Label:` and `Explanation:` of a response are the same in every language. An empty text means the
    package's own wording.

    Attributes:
        answer: How to answer, after the task's instruction.
        examples: Before an annotator's earlier responses.
        persona: Before what is known of an annotator.
        ask: The last line, which asks for one annotator's response.
    """

    answer: str = ""
    examples: str = ""
    persona: str = ""
    ask: str = ""

    def __post_init__(self) -> None:
        allowed = {"answer": {"labels"}}
        for name in ("answer", "examples", "persona", "ask"):
            text = getattr(self, name)
            try:
                found = [part[1:] for part in Formatter().parse(text) if part[1] is not None]
            except ValueError as error:
                raise ValueError(
                    f"wording {name}: {error}; write a brace as {{{{ or }}}}"
                ) from error
            for key, width, conversion in found:
                if key not in allowed.get(name, {"annotator"}):
                    raise ValueError(f"wording {name} has the unknown placeholder {key!r}")
                if width or conversion:
                    raise ValueError(f"wording {name}: write {{{key}}} without `:` or `!` in it")


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
        explanations: Whether a response has an explanation: always (`required`), where its annotator
            gave one (`optional`), or never (`none`: a corpus of labels alone).
        wording: What a prompt says otherwise than the package would.
    """

    name: str
    instruction: str
    fields: Mapping[str, str]
    labels: LabelSpace
    group_by: tuple[str, ...] = ()
    explanations: Explanations = "required"
    wording: Wording = Wording()

    def __post_init__(self) -> None:
        unknown = [name for name in self.group_by if name not in self.fields]
        if not self.fields or unknown:
            raise ValueError(f"group_by names no input field: {unknown or 'there are no fields'}")

    @cached_property
    def digest(self) -> str:
        """What is the same for tasks that are: a name to remember by what depends on the task."""
        text = json.dumps(_task_content(self), ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, config=_strict)
class Judgment:
    """A later verdict on a response: does the explanation make sense for its label?"""

    annotator: str
    makes_sense: StrictBool | None


@dataclass(frozen=True, config=_strict)
class Response:
    """A label, or several, with the explanation given for it.

    Attributes:
        label: One of the corpus's labels.
        explanation: The annotator's own words, without edge whitespace; `""` where none was given,
            or nothing of it can be seen.
        judgments: Verdicts of a validation round, the author's own among them, if there was one.
        also: Further labels that the same explanation is for (multi-label corpora).
    """

    label: str
    explanation: str = ""
    judgments: tuple[Judgment, ...] = ()
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if blank(self.explanation):
            object.__setattr__(self, "explanation", "")

    @property
    def labels(self) -> tuple[str, ...]:
        """All its labels."""
        return (self.label, *self.also)


def cell_labels(responses: Iterable[Response]) -> tuple[str, ...]:
    """The labels that an annotator gave an item, each once, in the order given."""
    return tuple(dict.fromkeys(label for response in responses for label in response.labels))


@dataclass(frozen=True, config=_strict)
class Turn:
    """What one speaker says in a dialogue."""

    speaker: str
    text: str


@dataclass(frozen=True, config=_strict)
class Item:
    """One input and what each annotator answered.

    Attributes:
        id: Unique in the corpus.
        text: Input texts by field name; fields of `turns` are added to it, a line a turn.
        cells: For each annotator who was asked, their responses. An empty tuple: asked, but no
            label is known (the label is hidden, or the annotator could not decide).
        idk: Annotators who said that they could not decide.
        split: The split that the item belongs to.
        source_id: The id that the corpus's publishers use; need not be unique.
        turns: Input texts that are dialogues, by field name.
        language: Its language, as a BCP 47 tag such as `en`, where it is not the corpus's.
        meta: What else is known of it, free of form.
    """

    id: str
    text: Mapping[str, str]
    cells: Mapping[str, tuple[Response, ...]]
    idk: tuple[str, ...] = ()
    split: SplitName | None = None
    source_id: str | None = None
    turns: Mapping[str, tuple[Turn, ...]] = field(default_factory=dict)
    language: str | None = None
    meta: Mapping[str, JsonValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spoken = {
            name: "\n".join(f"{turn.speaker}: {turn.text}" for turn in turns)
            for name, turns in self.turns.items()
        }
        for name, text in spoken.items():
            if self.text.get(name, text) != text:
                raise ValueError(f"field {name!r} is given as a text and as other turns; keep one")
        if spoken:
            object.__setattr__(self, "text", {**self.text, **spoken})


@dataclass(frozen=True, config=_strict)
class Annotator:
    """One annotator and what is known of them (`meta`, free of form)."""

    id: str
    meta: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, config=_strict)
class Corpus:
    """Items that a fixed set of annotators labelled and explained.

    Attributes:
        name: Its name.
        task: What the annotators were asked.
        annotators: Who they are.
        items: What they answered.
        synthetic: Whether a program wrote it.
        license: Under which it may be used.
        citation: How to cite it.
        language: Of its texts, as a BCP 47 tag; `""` where it is unknown or differs by item.
        everyone: Whether also annotators are evaluated of whom no training response shows anything,
            as a shared task does with its own splits.
        personas: What is known of annotators' persons from elsewhere, by id; beside `Annotator.meta`,
            and no part of the fingerprint or of a written file.

    Raises:
        CapoBenchError: On a name that is not `readable`, a duplicate or unknown id, an unknown label,
            or a missing input text; the message names the item.
    """

    name: str
    task: TaskSpec
    annotators: tuple[Annotator, ...]
    items: tuple[Item, ...]
    synthetic: StrictBool = False
    license: str = ""
    citation: str = ""
    language: str = ""
    everyone: StrictBool = False
    personas: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        try:
            readable(self.name)
        except ValueError as error:
            raise CapoBenchError(f"corpus name {error}") from error
        ids = [annotator.id for annotator in self.annotators]
        _unique(ids, f"corpus {self.name}: annotator")
        _unique([item.id for item in self.items], f"corpus {self.name}: item")
        if not self.items:
            raise CapoBenchError(f"corpus {self.name} is empty: it needs at least one item")
        _check_language(self.language, f"corpus {self.name}")
        known = dict.fromkeys(ids)
        for item in self.items:
            self._check(item, known)

    def _check(self, item: Item, annotators: Collection[str]) -> None:
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
                f"({listed(annotators)}); add them to the header or mend the id",
                file=corpus,
                id=where,
            )
        check_labels(item, self.task.labels, corpus)
        for annotator, responses in item.cells.items():
            for judges in ([one.annotator for one in r.judgments] for r in responses):
                if len(set(judges)) < len(judges):
                    twice = next(one for one in judges if judges.count(one) > 1)
                    raise CapoBenchError(
                        f"{twice!r} judges one response twice; keep one judgment",
                        file=corpus,
                        id=f"{where}, annotator {annotator}",
                    )
        _check_language(item.language or "", corpus, where)

    @cached_property
    def annotator_ids(self) -> tuple[str, ...]:
        """The annotators' ids in the corpus's order."""
        return tuple(annotator.id for annotator in self.annotators)

    @cached_property
    def by_id(self) -> Mapping[str, Item]:
        """The items by id."""
        return {item.id: item for item in self.items}

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Its texts' languages, as BCP 47 primary subtags (`de` of `de-AT`), each once, ascending.

        An item's own goes before the corpus's; where neither says one it is English, as of all
        corpora before they could say. Who does not know it says `und`.
        """
        said = {item.language or self.language or "en" for item in self.items}
        return tuple(sorted({re.split("[-_]", tag.lower())[0] for tag in said}))

    def about(self, annotator: str) -> Mapping[str, JsonValue]:
        """What is known of an annotator's person, such as their age; empty where it is nothing."""
        return {**self._meta.get(annotator, {}), **self.personas.get(annotator, {})}

    @cached_property
    def _meta(self) -> Mapping[str, Mapping[str, JsonValue]]:
        return {annotator.id: annotator.meta for annotator in self.annotators}

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any text, label, explanation, annotator or split."""
        # What a corpus does not use of later formats is left out, so that a fingerprint stays what it
        # was when the corpus was first read.
        task = _task_content(self.task)
        if self.task.explanations == "optional" and any(
            not response.explanation
            for item in self.items
            for responses in item.cells.values()
            for response in responses
        ):
            del task["explanations"]  # the responses tell, as they alone did in version 1
        content: dict[str, object] = {
            "name": self.name,
            "task": task,
            "annotators": [{"id": a.id, "meta": dict(a.meta)} for a in self.annotators],
            "items": items_content(self.items),
            "synthetic": self.synthetic,
        }
        if self.language:
            content["language"] = self.language
        if self.everyone:
            content["everyone"] = True
        text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def split(self, name: str) -> tuple[Item, ...]:
        """The items of one split, in the corpus's order.

        Raises:
            CapoBenchError: If no item belongs to it.
        """
        items = self._splits.get(name, ())
        if not items:
            present = sorted({item.split for item in self.items if item.split})
            raise CapoBenchError(
                f"corpus {self.name} has no items in split {name!r}; "
                f"it has {', '.join(present) or 'no splits at all'}"
            )
        return items

    @cached_property
    def _splits(self) -> Mapping[str | None, tuple[Item, ...]]:
        found: dict[str | None, list[Item]] = {}
        for item in self.items:
            found.setdefault(item.split, []).append(item)
        return {name: tuple(items) for name, items in found.items()}

    @cached_property
    def history_sizes(self) -> Mapping[str, int]:
        """By annotator, the training responses that a model can learn from.

        Those with an explanation count, and in a corpus of labels alone all.
        """
        labels_alone = self.task.explanations == "none"
        sizes = dict.fromkeys(self.annotator_ids, 0)
        for item in self._splits.get("train", ()):
            for annotator, responses in item.cells.items():
                sizes[annotator] += sum(labels_alone or bool(r.explanation) for r in responses)
        return sizes

    def responses(self, split: str, annotator: str) -> tuple[tuple[Item, Response], ...]:
        """Every response of one annotator in one split, with its item, in the corpus's order.

        Raises:
            CapoBenchError: If no item belongs to the split.
        """
        found = self._responses.get((split, annotator), ())
        if not found:
            self.split(split)
        return found

    @cached_property
    def _responses(self) -> Mapping[tuple[str, str], tuple[tuple[Item, Response], ...]]:
        found: dict[tuple[str, str], list[tuple[Item, Response]]] = {}
        for item in self.items:
            for annotator, responses in item.cells.items():
                rows = found.setdefault((item.split or "", annotator), [])
                rows.extend((item, response) for response in responses)
        return {key: tuple(rows) for key, rows in found.items()}

    def placed(self, split_of: Mapping[str, SplitName]) -> Corpus:
        """The same corpus with other splits of its items.

        Args:
            split_of: The split of every item, by id.
        """
        items = tuple(_changed(item, split=split_of[item.id]) for item in self.items)
        return _changed(self, items=items)

    def at_least(self, responses: int) -> Corpus:
        """The same corpus without annotators of fewer labelled responses, in all splits together.

        Items that nobody is left to have answered go too.

        Raises:
            CapoBenchError: If nobody has so many.
        """
        given = Counter(
            annotator for item in self.items for annotator, own in item.cells.items() for _ in own
        )
        kept = {annotator for annotator, count in given.items() if count >= responses}
        if not kept:
            raise CapoBenchError(
                f"corpus {self.name}: nobody has {responses} labelled responses, the busiest "
                f"annotator has {max(given.values(), default=0)}; choose a smaller min_responses"
            )
        items = tuple(
            replace(
                item,
                cells={one: own for one, own in item.cells.items() if one in kept},
                idk=tuple(one for one in item.idk if one in kept),
            )
            for item in self.items
            if any(one in kept for one in item.cells)
        )
        annotators = tuple(one for one in self.annotators if one.id in kept)
        return replace(self, name=f"{self.name}-min{responses}", annotators=annotators, items=items)

    def shared_by(self, annotators: int) -> Corpus:
        """The same corpus with those items only that so many annotators labelled.

        Annotators who are left without a response go too.

        Raises:
            CapoBenchError: If there is no such item.
        """
        items = tuple(i for i in self.items if sum(map(bool, i.cells.values())) >= annotators)
        if not items:
            most = max((sum(map(bool, item.cells.values())) for item in self.items), default=0)
            raise CapoBenchError(
                f"corpus {self.name}: no item is labelled by {annotators} annotators, the most have "
                f"{most}; choose a smaller min_annotators"
            )
        left = {one for item in items for one, given in item.cells.items() if given}
        known = tuple(one for one in self.annotators if one.id in left)
        return replace(self, name=f"{self.name}-by{annotators}", annotators=known, items=items)

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


@dataclass(frozen=True)
class Known:
    """A corpus that is known by its fingerprint, to remember what follows from it."""

    fingerprint: str
    corpus: Corpus = field(compare=False)

    @classmethod
    def of(cls, corpus: Corpus) -> Known:
        """A corpus as it is known."""
        return cls(corpus.fingerprint, corpus)


def _changed(one: T, **changes: object) -> T:
    """As `replace`, without its checks, which take as long as reading: for what cannot break any."""
    made = object.__new__(type(one))
    vars(made).update({part.name: getattr(one, part.name) for part in fields(one)} | changes)
    return made


def check_labels(item: Item, space: LabelSpace, source: Path | str) -> None:
    """Checks that an item's labels are in a space, and as many to a cell as its kind allows.

    Raises:
        CapoBenchError: Naming the source, the item and the annotator.
    """
    for annotator, responses in item.cells.items():
        labels = cell_labels(responses)
        place = f"item {item.id}, annotator {annotator}"
        for label in labels:
            if label not in space.known:
                raise CapoBenchError(
                    f"unknown label {label!r}, expected one of {listed(space.labels)}",
                    file=source,
                    id=place,
                )
        if space.kind != "multilabel" and len(labels) > 1:
            raise CapoBenchError(
                f"{len(labels)} labels {sorted(labels)} in a {space.kind} corpus; keep one, or "
                "declare the labels multilabel",
                file=source,
                id=place,
            )


def check_explanations(corpus: Corpus) -> None:
    """Checks that responses have explanations where the task says so, and none where it says none.

    Raises:
        CapoBenchError: Naming the first item and annotator of whom this is not true.
    """
    kind = corpus.task.explanations
    for item in corpus.items if kind != "optional" else ():
        for annotator, responses in item.cells.items():
            for response in responses:
                if bool(response.explanation) == (kind == "none"):
                    found = "an" if response.explanation else "no"
                    raise CapoBenchError(
                        f"{found} explanation, but the task says that explanations are {kind!r}; "
                        "declare them 'optional', or mend the response",
                        file=f"corpus {corpus.name}",
                        id=f"item {item.id}, annotator {annotator}",
                    )


def items_content(items: tuple[Item, ...]) -> list[dict[str, Any]]:
    """The items as plain data, without what format version 1 could not say and they do not say."""
    content: list[dict[str, Any]] = TypeAdapter(tuple[Item, ...]).dump_python(items, mode="json")
    for item in content:
        _leave_out(item, turns={}, language=None, meta={})
        for cell in item["cells"].values():
            for response in cell:
                _leave_out(response, also=[])
    return content


def _task_content(task: TaskSpec) -> dict[str, Any]:
    """The task as plain data, in the same way."""
    content: dict[str, Any] = TypeAdapter(TaskSpec).dump_python(task, mode="json")
    space = content["labels"]
    if space["kind"] == "interval":
        del space["labels"], space["values"]
    else:
        _leave_out(space, range=None, step=None)
        implied = list(_values(space["labels"])) if space["kind"] == "ordinal" else []
        _leave_out(space, values=implied)
    _leave_out(space, aliases={})
    _leave_out(content, explanations="required", wording=dict.fromkeys(content["wording"], ""))
    return content


def _leave_out(part: dict[str, Any], **defaults: object) -> None:
    for key, default in defaults.items():
        if part[key] == default:
            del part[key]


def _check_language(tag: str, corpus: str, where: str | None = None) -> None:
    try:
        readable(tag)
    except ValueError as error:
        raise CapoBenchError(f"language {error}", file=corpus, id=where) from error


def readable(name: str) -> str:
    """The same name, if nobody could take it for another.

    Raises:
        ValueError: If it has a blank at its edge or characters that cannot be seen, or is too long.
    """
    if len(name) > MAX_NAME:
        raise ValueError(f"{visible(name[:60])!r} goes on for {len(name)} characters; shorten it")
    shown = revealed(name)  # what a runner would obey, such as `::a::b`, is an id like any other
    if shown != name or name != name.strip():
        raise ValueError(
            f"{shown[:80]!r} has a blank at its edge, or characters that cannot be seen or that "
            "steer what is read; remove them"
        )
    return name


def _unique(ids: list[str], what: str) -> None:
    seen: set[str] = set()
    for identifier in ids:
        if not identifier.strip():
            raise CapoBenchError(f"{what} has no id; give it one")
        try:
            readable(identifier)
        except ValueError as error:
            raise CapoBenchError(f"{what}: {error}") from error
        if identifier in seen:
            raise CapoBenchError(f"{what} {identifier!r} occurs twice; ids must be unique")
        seen.add(identifier)
    if alike := look_alikes(ids):
        raise CapoBenchError(
            f"{what} {alike[1]!r} looks like {alike[0]!r}; write them alike, or tell them apart"
        )
