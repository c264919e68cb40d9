"""A corpus from any table: which column is what, as far as the table itself tells.

A *long* table has a row a response, a *wide* one a column an annotator. Columns that nobody names are
recognised by their names (`worker_id`, `rating`, `rationale` ...) and then by what is in them: an
annotator answers an item once; a text is the same for all who answer an item, a label is not and has
few values, an explanation has many words. Everything that was taken for granted is said, and
everything that was left out is counted.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from capo_bench.corpus.model import (
    MAX_LEVELS,
    SPLITS,
    Annotator,
    Corpus,
    Explanations,
    Item,
    LabelKind,
    LabelSpace,
    Response,
    SplitName,
    TaskSpec,
    label_key,
)
from capo_bench.corpus.readers.tables import Table
from capo_bench.errors import CapoBenchError, listed

Role = Literal["annotator", "label", "explanation", "item", "split", "language"]

_NAMES: Mapping[Role, tuple[str, ...]] = {
    "annotator": tuple(
        "annotator annotatorid annotators worker workerid rater raterid coder coderid turkid judge "
        "judgeid participant participantid subject subjectid respondent respondentid prolificid "
        "prolificpid user userid username reviewer reviewerid labeler labeller labelerid".split()
    ),
    "label": tuple(
        "label labels rating score annotation annotations judgment judgement answer class category "
        "choice value vote stance verdict grade decision response goldlabel".split()
    ),
    "explanation": tuple(
        "explanation explanations reason reasons rationale rationales justification why comment "
        "freetext motivation reasoning explanationtext".split()
    ),
    "item": tuple(
        "item itemid exampleid sampleid instanceid textid docid documentid questionid commentid "
        "postid tweetid pairid promptid uid idx id".split()
    ),
    "split": ("split", "partition", "subset", "fold"),
    "language": ("language", "lang"),
}
_SPLIT_NAMES: Mapping[str, SplitName] = {
    **{name: name for name in SPLITS},
    "training": "train",
    **dict.fromkeys(("dev", "val", "valid", "eval"), "validation"),
}
_FEW = 50
"""Most distinct values of a column that is taken for labels without being named."""
_SEPARATORS = ("|", ";", ",")
_SCALES = ((0, 1), (-1, 1), (0, 10), (0, 100), (-100, 100))
_QUESTIONS: Mapping[LabelKind, str] = {
    "nominal": "Which label fits?",
    "multilabel": "Which labels fit?",
    "ordinal": "Where on the scale does it lie?",
    "interval": "Where on the scale does it lie?",
}


@dataclass(frozen=True)
class Wanted:
    """What a user says of a table; whatever is empty is found out.

    Attributes:
        columns: Column of each role. A label or explanation may have a `*`, which stands for the
            annotators of a wide table, such as `label_*`.
        texts: Columns of the item's texts, in the order of reading.
        group_by: Of these, the ones whose items stay in one split.
        kind: Of the labels.
        labels: All labels, in the order of the scale if they have one.
        name: Of the corpus.
        instruction: The question that the annotators were asked.
        license: Of the corpus.
        language: Of its texts.
    """

    columns: Mapping[Role, str] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    kind: LabelKind | None = None
    labels: tuple[str, ...] = ()
    name: str = "corpus"
    instruction: str = ""
    license: str = ""
    language: str = ""


Row = Mapping[str, Any]


def import_table(table: Table, wanted: Wanted) -> tuple[Corpus, list[str]]:
    """Makes a corpus of a table.

    Args:
        table: The table.
        wanted: What is known of it.

    Returns:
        The corpus, and what was understood and left out, a line each.

    Raises:
        CapoBenchError: If a named column is not there, or what nobody named cannot be told; the
            message says what to name.
    """
    notes = list(table.notes)
    _check_columns(table, wanted)
    rows, wanted = _long(table, wanted, notes)
    columns = _columns(rows, wanted, notes)
    rows = _complete(rows, columns, notes)
    items = _by_item(rows, columns)
    return _corpus(rows, items, columns, wanted, notes), notes


@dataclass(frozen=True)
class _Columns:
    """Which column is what; `item` is empty where the texts themselves tell items apart."""

    annotator: str
    label: str
    explanation: str
    item: str
    split: str
    language: str
    texts: tuple[str, ...]
    rest: tuple[str, ...]


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _check_columns(table: Table, wanted: Wanted) -> None:
    given = wanted.columns.values()
    patterns = [n for n in given if n not in table.columns and ("*" in n or "," in n)]
    named = [*(n for n in given if n not in patterns), *wanted.texts]
    missing = [name for name in named if name not in table.columns]
    if missing:
        raise CapoBenchError(
            f"there is no column {missing[0]!r}; the table has {listed(table.columns, 20)}"
        )
    if stray := [name for name in wanted.group_by if wanted.texts and name not in wanted.texts]:
        raise CapoBenchError(f"--group-by names {stray[0]!r}, which is none of the texts")


def _long(table: Table, wanted: Wanted, notes: list[str]) -> tuple[list[Row], Wanted]:
    """The table with a row a response."""
    pattern = wanted.columns.get("label", "")
    listing = _lists(table, wanted)
    if "*" in pattern or ("," in pattern and pattern not in table.columns):
        return _unpivoted(table, wanted, notes)
    if listing:
        return _exploded(table, listing, wanted, notes)
    known = "annotator" in wanted.columns or _by_name(table.columns, "annotator", ())
    if not known and not pattern and (found := _family(table)):
        label, explanation = found
        notes.append(f"a wide table: the columns {label} are the annotators' labels")
        extra: dict[Role, str] = {"label": label}
        if explanation and "explanation" not in wanted.columns:
            notes.append(f"their explanations are in {explanation}")
            extra["explanation"] = explanation
        return _unpivoted(table, replace(wanted, columns={**wanted.columns, **extra}), notes)
    return list(table.rows), wanted


def _family(table: Table) -> tuple[str, str] | None:
    """Patterns of a wide table's columns: of labels, and of explanations if there are any.

    The columns of a family differ in a number or a capital in their names, or in all of them, and
    share few values, or have many words.
    """
    families: dict[str, list[str]] = defaultdict(list)
    for name in table.columns:
        for match in re.finditer(r"\d+|(?<![A-Za-z])[A-Z](?![A-Za-z])", name):
            families[f"{name[: match.start()]}*{name[match.end() :]}"].append(name)
    labels, explanations = [], []
    for pattern, names in families.items():
        cells = [str(row[n]) for row in table.rows for n in names if row[n] is not None]
        words = sum(len(cell.split()) for cell in cells) / max(len(cells), 1)
        if len(names) > 1 and words < 3 and len(set(cells)) <= min(_FEW, max(2, len(cells) // 2)):
            labels.append((len(names), pattern))
        elif len(names) > 1 and words >= 3:
            explanations.append((len(names), pattern))
    if labels:
        count, pattern = max(labels)
        return pattern, next((why for n, why in sorted(explanations) if n == count), "")
    alike = _alike(table)
    return (",".join(alike), "") if len(alike) > 1 else None


def _alike(table: Table) -> list[str]:
    """The most columns that have the same few values, such as those named after annotators."""
    by_values: dict[frozenset[str], list[str]] = defaultdict(list)
    for name in table.columns:
        values = frozenset(str(row[name]) for row in table.rows if row[name] is not None)
        if 2 <= len(values) <= min(_FEW, len(table.rows) // 2) and _words(table.rows, name) < 3:
            by_values[values].append(name)
    return max(by_values.values(), key=len, default=[])


def _unpivoted(table: Table, wanted: Wanted, notes: list[str]) -> tuple[list[Row], Wanted]:
    columns = dict(wanted.columns)
    label, why = columns["label"], columns.get("explanation", "")
    of_label, of_why = _matching(table.columns, label), _matching(table.columns, why)
    if not of_label:
        raise CapoBenchError(
            f"no column is called like {label!r}; there are {listed(table.columns)}"
        )
    if why and "*" not in why:
        raise CapoBenchError(f"the labels are in {label!r}, so explanations need a * too: {why!r}")
    used = {*of_label.values(), *of_why.values()}
    rest = [name for name in table.columns if name not in used]
    rows: list[Row] = []
    for number, row in enumerate(table.rows, start=1):
        common = {name: row[name] for name in rest}
        for annotator, column in of_label.items():
            said = row.get(of_why.get(annotator, ""))
            if row[column] is not None or said is not None:
                rows.append(
                    {**common, _ROW: str(number), _WHO: annotator, _LABEL: row[column], _WHY: said}
                )
    notes.append(f"{len(of_label)} annotators in columns: {listed(list(of_label))}")
    new: dict[Role, str] = {"annotator": _WHO, "label": _LABEL}
    if why:
        new["explanation"] = _WHY
    if "item" not in columns and not _by_name(rest, "item", ()):
        new["item"] = _ROW
    return rows, replace(wanted, columns={**columns, **new})


_ROW, _WHO, _LABEL, _WHY = "(row)", "(annotator)", "(label)", "(explanation)"


def _matching(columns: Sequence[str], pattern: str) -> dict[str, str]:
    """By annotator, the columns that match: what stands for the `*`, or those that are listed."""
    if "*" not in pattern:
        return {name: name for name in pattern.split(",") if name in columns}
    regex = re.compile(re.escape(pattern).replace(r"\*", "(.+)"))
    return {match[1]: name for name in columns if (match := regex.fullmatch(name))}


def _lists(table: Table, wanted: Wanted) -> tuple[str, ...]:
    """Columns whose cells hold an item's answers: objects, labels by annotator, or parallel lists."""
    kinds = {
        name: {type(row[name]) for row in table.rows if row[name] is not None}
        for name in table.columns
    }
    for name, kind in kinds.items():
        named = name == wanted.columns.get("label") or _by_name([name], "label", ())
        keys = {tuple(row[name]) for row in table.rows if kind == {dict} and row[name]}
        if kind == {dict} and (named or len(keys) > 1):
            return (name,)
        if kind == {list} and all(
            isinstance(part, dict) for row in table.rows for part in row[name] or ()
        ):
            return (name,)
    listed_ones = [name for name, kind in kinds.items() if kind == {list}]
    parallel = [
        name
        for name in listed_ones
        if _by_name([name], "annotator", ()) or name == wanted.columns.get("annotator")
    ]
    if not parallel:
        return ()
    lengths = [len(row[parallel[0]] or ()) for row in table.rows]
    return tuple(
        name for name in listed_ones if [len(row[name] or ()) for row in table.rows] == lengths
    )


def _exploded(
    table: Table, names: Sequence[str], wanted: Wanted, notes: list[str]
) -> tuple[list[Row], Wanted]:
    rows: list[Row] = []
    columns = dict(wanted.columns)
    for number, row in enumerate(table.rows, start=1):
        common = {name: cell for name, cell in row.items() if name not in names}
        common[_ROW] = str(number)
        first = row[names[0]]
        if isinstance(first, dict):
            rows += [{**common, _WHO: who, _LABEL: label} for who, label in first.items()]
            columns |= {"annotator": _WHO, "label": _LABEL}
        elif len(names) == 1 and first and isinstance(first[0], dict):
            rows += [{**common, **one} for one in first]
        else:
            cells = zip(*(row[name] or () for name in names), strict=True)
            rows += [{**common, **dict(zip(names, cell, strict=True))} for cell in cells]
    every = tuple(dict.fromkeys(name for row in rows for name in row))
    notes.append(f"the answers to an item are in its column {listed(list(names))}")
    if "item" not in columns and not _by_name(every, "item", ()):
        columns["item"] = _ROW
    return [{name: row.get(name) for name in every} for row in rows], replace(
        wanted, columns=columns
    )


def _by_name(columns: Sequence[str], role: Role, taken: Sequence[str]) -> str:
    """The free column that is called as columns of a role are, the most usual name first."""
    free = {_key(name): name for name in reversed(columns) if name not in taken}
    singular = {key.removesuffix("s"): name for key, name in free.items()}
    for usual in _NAMES[role]:
        if found := free.get(usual) or singular.get(usual):
            return found
    return ""


def _columns(rows: Sequence[Row], wanted: Wanted, notes: list[str]) -> _Columns:
    if not rows:
        raise CapoBenchError("there is not one label in the table")
    names = tuple(rows[0])
    found: dict[Role, str] = dict(wanted.columns)
    taken = [*found.values(), *wanted.texts]
    for role in ("annotator", "split", "language"):
        found.setdefault(role, _by_name(names, role, taken))
        taken.append(found[role])
    if not found["annotator"]:
        raise CapoBenchError(
            "no column tells who answered; name it with --annotator, or, if each annotator has a "
            f"column, name those, --label 'rating_*' or --label Ann,Bob. There are "
            f"{listed(names, 20)}"
        )
    if "label" not in found:
        found["label"] = _by_name(names, "label", taken)
    if "explanation" not in found:
        found["explanation"] = _by_name(names, "explanation", [*taken, found["label"]])
    taken += [found["label"], found["explanation"]]
    if "item" not in found:
        found["item"] = _item_column(rows, names, taken, found["annotator"])
    taken.append(found["item"])
    free = [name for name in names if name not in taken and not name.startswith("(")]
    texts = wanted.texts or _texts(rows, free, found["item"])
    if not texts and found["explanation"] and "explanation" not in wanted.columns:
        # Such as a column `comment` that is what was labelled.
        texts, found["explanation"] = (found["explanation"],), ""
    if not texts:
        raise CapoBenchError(
            "no column is a text that was labelled; name it with --text (several times for several "
            f"texts). There are {listed(names, 20)}"
        )
    free = [name for name in free if name not in texts]
    group = _grouper(found["item"], texts)
    if not found["label"]:
        found["label"] = _only(
            "label",
            [n for n in free if _varies(rows, n, group) and (_few(rows, n) or _numeric(rows, n))],
            names,
        )
        free.remove(found["label"])
    if not found["explanation"]:
        wordy = [n for n in free if _words(rows, n) >= 3 and _varies(rows, n, group)]
        found["explanation"] = wordy[0] if len(wordy) == 1 else ""
        free = [name for name in free if name != found["explanation"]]
    said = [
        f"{role} is {column!r}"
        for role, column in found.items()
        if column and not column.startswith("(") and role not in wanted.columns
    ]
    texts_said = "" if wanted.texts else f"texts are {listed([repr(t) for t in texts])}"
    if said or texts_said:
        notes.append("taken for granted: " + "; ".join(filter(None, [*said, texts_said])))
    if not found["item"]:
        notes.append("items are told apart by their texts")
    return _Columns(**{role: found.get(role, "") for role in _NAMES}, texts=texts, rest=tuple(free))


def _grouper(item: str, texts: Sequence[str]) -> Callable[[Row], Any]:
    return (lambda row: row[item]) if item else (lambda row: tuple(row[name] for name in texts))


def _item_column(rows: Sequence[Row], names: Sequence[str], taken: Sequence[str], who: str) -> str:
    """A column of ids in which several rows agree, and each annotator stands once."""
    free = [name for name in names if name not in taken]
    while name := _by_name(free, "item", ()):
        pairs = {(row[name], row[who]) for row in rows}
        if len({row[name] for row in rows}) < len(rows) and len(pairs) > 0.9 * len(rows):
            return name
        free.remove(name)
    return ""


def _texts(rows: Sequence[Row], free: Sequence[str], item: str) -> tuple[str, ...]:
    """Columns of words that are the same for all who answered an item."""
    several = [name for name in free if len({str(row[name]) for row in rows}) > 1]
    wordy = [name for name in several if _words(rows, name) >= 2]
    if item:
        return tuple(name for name in wordy if not _varies(rows, name, lambda row: row[item]))
    # Without ids: texts are what repeats, as an explanation in an annotator's own words does not.
    return tuple(n for n in wordy if len({row[n] for row in rows}) <= 0.7 * len(rows))


def _words(rows: Sequence[Row], name: str) -> float:
    cells = [row[name] for row in rows if isinstance(row[name], str)]
    return sum(len(cell.split()) for cell in cells) / len(cells) if cells else 0.0


def _numeric(rows: Sequence[Row], name: str) -> bool:
    return all(_as_number(str(row[name])) is not None for row in rows if row[name] is not None)


def _few(rows: Sequence[Row], name: str) -> bool:
    values = {str(row[name]) for row in rows if row[name] is not None}
    return 2 <= len(values) <= min(_FEW, max(2, len(rows) // 2))


def _varies(rows: Sequence[Row], name: str, group: Callable[[Row], Any]) -> bool:
    first: dict[Any, Any] = {}
    return any(first.setdefault(group(row), row[name]) != row[name] for row in rows)


def _only(role: Role, candidates: Sequence[str], names: Sequence[str]) -> str:
    if len(candidates) != 1:
        found = f"could be {listed(candidates)}" if candidates else "is none of the columns' names"
        raise CapoBenchError(
            f"the {role} {found}; name it with --{role}. There are {listed(names, 20)}"
        )
    return candidates[0]


def _complete(rows: Sequence[Row], columns: _Columns, notes: list[str]) -> list[Row]:
    """The rows that have an annotator, a label and a text; the others are counted."""
    missing: Counter[str] = Counter()
    kept = []
    for row in rows:
        absent = [
            role
            for role, column in (("annotator", columns.annotator), ("label", columns.label))
            if row[column] in (None, [])
        ]
        if all(row[name] is None for name in columns.texts):
            absent.append("text")
        missing.update(absent[:1])
        if not absent:
            kept.append(row)
    for role, count in missing.items():
        notes.append(f"left out: {count} rows without {'an' if role[0] == 'a' else 'a'} {role}")
    if not kept:
        raise CapoBenchError("no row has an annotator, a label and a text")
    return kept


def _by_item(rows: Sequence[Row], columns: _Columns) -> dict[Any, list[Row]]:
    group = _grouper(columns.item, columns.texts)
    items: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        items[group(row)].append(row)
    for name, own in items.items():
        for column in (*columns.texts, *filter(None, [columns.split])):
            if len({row[column] for row in own}) > 1:
                raise CapoBenchError(
                    f"item {str(name)[:60]} has several {column!r}; if {columns.item!r} is not what "
                    "tells items apart, name that with --item"
                )
    return items


def _corpus(
    rows: Sequence[Row],
    items: Mapping[Any, Sequence[Row]],
    columns: _Columns,
    wanted: Wanted,
    notes: list[str],
) -> Corpus:
    given = [_parts(row[columns.label]) for row in rows]
    space, labels_of = _space(given, wanted, notes)
    explained = {bool(row.get(columns.explanation)) for row in rows}
    explanations: Explanations = (
        "optional" if len(explained) > 1 else "required" if explained == {True} else "none"
    )
    about_item, about_who = _meta(rows, items, columns, notes)
    again: Counter[str] = Counter()
    made = tuple(
        Item(
            id=str(key) if columns.item else f"i{number}",
            text={_field(name): own[0][name] or "" for name in columns.texts},
            cells=_cells(own, columns, labels_of, space.kind == "multilabel", again),
            split=_split(own[0].get(columns.split), key),
            language=own[0].get(columns.language) if columns.language else None,
            meta={name: own[0][name] for name in about_item if own[0][name] is not None},
        )
        for number, (key, own) in enumerate(items.items(), start=1)
    )
    notes += [f"left out: {count} {what}" for what, count in again.items()]
    fields = {_field(name): name.replace("_", " ").strip().capitalize() for name in columns.texts}
    task = TaskSpec(
        name=wanted.name,
        instruction=wanted.instruction or _QUESTIONS[space.kind],
        fields=fields,
        labels=space,
        group_by=tuple(_field(name) for name in wanted.group_by),
        explanations=explanations,
    )
    if not wanted.instruction:
        notes.append(
            f"prompts ask {task.instruction!r}; say with --instruction what people were asked"
        )
    return Corpus(
        name=wanted.name,
        task=task,
        annotators=tuple(Annotator(who, about) for who, about in about_who.items()),
        items=made,
        license=wanted.license,
        language=wanted.language,
    )


def _field(column: str) -> str:
    return re.sub(r"\W+", "_", column.strip()).strip("_").lower() or "text"


def _split(name: Any, item: Any) -> SplitName | None:
    if name is None:
        return None
    found = _SPLIT_NAMES.get(str(name).strip().lower())
    if found is None:
        raise CapoBenchError(
            f"item {str(item)[:60]}: unknown split {name!r}; expected {', '.join(_SPLIT_NAMES)}"
        )
    return found


def _cells(
    rows: Sequence[Row],
    columns: _Columns,
    labels_of: Callable[[Any], tuple[str, ...]],
    several: bool,
    again: Counter[str],
) -> dict[str, tuple[Response, ...]]:
    cells: dict[str, tuple[Response, ...]] = {}
    for row in rows:
        first, *also = labels_of(row[columns.label])
        said = Response(first, row.get(columns.explanation) or "", also=tuple(also))
        who = str(row[columns.annotator])
        sofar = cells.get(who, ())
        if said in sofar:
            again["rows that repeat an earlier one"] += 1
        elif sofar and not several:
            again[
                "rows in which an annotator answers an item again (the first answer is kept)"
            ] += 1
        else:
            cells[who] = (*sofar, said)
    return cells


def _meta(
    rows: Sequence[Row], items: Mapping[Any, Sequence[Row]], columns: _Columns, notes: list[str]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The other columns: what they tell of an item, and what of an annotator."""
    of_item = [
        name
        for name in columns.rest
        if all(len({str(row[name]) for row in own}) == 1 for own in items.values())
    ]
    about: dict[str, dict[str, Any]] = {str(row[columns.annotator]): {} for row in rows}
    of_who = []
    for name in columns.rest:
        values: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            if row[name] is not None:
                values[str(row[columns.annotator])].add(str(row[name]))
        constant = values and all(len(found) == 1 for found in values.values())
        if constant and (name not in of_item or len(about) < len(rows)) and name not in of_item:
            of_who.append(name)
            for who, found in values.items():
                about[who][name] = next(iter(found))
    lost = [name for name in columns.rest if name not in (*of_item, *of_who)]
    if of_item:
        notes.append(f"kept of the items: {listed(of_item)}")
    if of_who:
        notes.append(f"kept of the annotators: {listed(of_who)}")
    if lost:
        notes.append(f"left out: the columns {listed(lost)}")
    return of_item, about


def _parts(value: Any) -> tuple[str, ...]:
    """A cell's labels as they stand there: one text, or several of a list."""
    return tuple(str(part) for part in value) if isinstance(value, list) else (str(value),)


def _space(
    given: Sequence[tuple[str, ...]], wanted: Wanted, notes: list[str]
) -> tuple[LabelSpace, Callable[[Any], tuple[str, ...]]]:
    """The label space, and what each cell's labels are in it."""
    separator = _separator(given, wanted)
    if separator:
        given = [_divided(one, separator) for one in given]
    counts = Counter(label for labels in given for label in labels)
    written = _written(counts, notes)
    numbers = [_as_number(label) for label in counts]
    several = separator != "" or any(len(labels) > 1 for labels in given)
    numeric = all(number is not None for number in numbers)
    kind = wanted.kind or (
        "multilabel" if several else _numeric_kind(numbers) if numeric else "nominal"
    )
    space = _made(
        kind, sorted(set(written.values())), [n for n in numbers if n is not None], wanted
    )
    what = (
        listed(space.labels, 12)
        if kind != "interval"
        else f"{space.range} in steps of {space.step}"
    )
    divided = f", divided by {separator!r}" if separator else ""
    notes.append(f"{kind} labels{divided}: {what}")

    def labels_of(value: Any) -> tuple[str, ...]:
        parts = _divided(_parts(value), separator) if separator else _parts(value)
        found = [space.recognise(written[part]) for part in parts]
        if None in found:
            unknown = parts[found.index(None)]
            raise CapoBenchError(
                f"label {unknown!r} is none of {listed(space.labels, 12)}; add it with --labels, or "
                "choose another --kind"
            )
        return tuple(dict.fromkeys(label for label in found if label is not None))

    return space, labels_of


def _divided(labels: Sequence[str], separator: str) -> tuple[str, ...]:
    return tuple(
        part.strip() for label in labels for part in label.split(separator) if part.strip()
    )


def _separator(given: Sequence[tuple[str, ...]], wanted: Wanted) -> str:
    """What divides several labels in one cell: the parts are fewer than the cells that they make."""
    if wanted.kind not in (None, "multilabel"):
        return ""
    values = {label for labels in given for label in labels}
    for separator in _SEPARATORS:
        parts = {part for value in values for part in _divided([value], separator)}
        if any(separator in value for value in values) and (
            len(parts) < len(values) or wanted.kind == "multilabel"
        ):
            return separator
    return ""


def _written(counts: Mapping[str, int], notes: list[str]) -> dict[str, str]:
    """By label as found, the label as written: the most frequent of those that differ in case alone.

    Commas, which divide labels in a response, become semicolons.
    """
    usual: dict[str, str] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        usual.setdefault(label_key(label), " ".join(label.split()).replace(",", ";"))
    written = {label: usual[label_key(label)] for label in counts}
    if changed := [label for label in counts if "," in label]:
        notes.append(f"a comma in labels is written as a semicolon: {listed(changed)}")
    if merged := [label for label, to in written.items() if label not in (to, *changed)]:
        notes.append(f"labels that differ only in case or blanks are one: {listed(merged)}")
    return written


def _as_number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _numeric_kind(numbers: Sequence[float | None]) -> LabelKind:
    """Two numbers are names; up to 11 whole ones are levels; all else is a scale."""
    values = [number for number in numbers if number is not None]
    if len(values) <= 2:
        return "nominal"
    whole = all(value == int(value) for value in values)
    return "ordinal" if whole and max(values) - min(values) <= 10 else "interval"


def _made(
    kind: LabelKind, labels: Sequence[str], numbers: Sequence[float], wanted: Wanted
) -> LabelSpace:
    try:
        if wanted.labels:
            return LabelSpace(kind, wanted.labels)
        if kind == "ordinal" and len(numbers) >= len(labels):
            low, high = int(min(numbers)), int(max(numbers))
            return LabelSpace(kind, tuple(str(level) for level in range(low, high + 1)))
        if kind == "ordinal":
            raise CapoBenchError(
                f"the order of {listed(labels, 12)} is not known; give it with --labels low,high"
            )
        if kind == "interval":
            return _scale(numbers)
        return LabelSpace(kind, tuple(labels))
    except ValueError as error:
        raise CapoBenchError(
            f"{error}; name them with --labels, or choose another --kind"
        ) from error


def _scale(numbers: Sequence[float]) -> LabelSpace:
    """A usual scale, if the numbers use half of it or more, else from the lowest to the highest.

    In steps of the last decimal place of the numbers.
    """
    if not numbers:
        raise CapoBenchError("interval labels must be numbers; choose another --kind")
    least, most = min(numbers), max(numbers)
    usual = [
        (low, high)
        for low, high in _SCALES
        if low <= least and most <= high and most - least >= (high - low) / 2
    ]
    low, high = usual[0] if usual else (least, most)
    for decimals in range(7):
        step = 10.0**-decimals
        if all(abs(round(value, decimals) - value) < 1e-9 for value in numbers):
            if (high - low) / step < MAX_LEVELS:
                return LabelSpace("interval", range=(low, high), step=step)
            break
    raise CapoBenchError(
        f"the labels have more than {MAX_LEVELS} levels between {low:g} and {high:g}; round them, "
        "such as to whole numbers"
    )
