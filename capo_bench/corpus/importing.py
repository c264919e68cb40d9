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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Literal

from capo_bench.corpus.label_spaces import as_number, find_space, parts
from capo_bench.corpus.model import (
    SPLITS,
    Annotator,
    Corpus,
    Explanations,
    Item,
    LabelKind,
    Response,
    SplitName,
    TaskSpec,
    Turn,
)
from capo_bench.corpus.readers.tables import Table, answer_cells
from capo_bench.errors import CapoBenchError, listed
from capo_bench.files import uncollected

Role = Literal["annotator", "label", "explanation", "item", "split", "language"]

_NAMES: Mapping[Role, tuple[str, ...]] = {
    "annotator": tuple(
        "annotator annotatorid annotators worker workerid rater raterid coder coderid turkid judge "
        "judgeid participant participantid subject subjectid respondent respondentid prolificid "
        "prolificpid user userid username reviewer reviewerid labeler labeller labelerid "
        "completedby".split()
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
_UNDIVIDED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_FEW = 50
"""Most distinct values of a column that is taken for labels without being named."""
_EMPTY = frozenset("NA NaN nan <NA> #N/A NULL".split())
"""What R, pandas, Excel and databases write into an empty cell."""
_SUFFIXES = frozenset("id ids name no nr number code hash key".split())
_ONCE = 0.9
"""Share of distinct rows above which annotators count as answering an item once."""
_TIMES = frozenset("time date seconds duration timestamp rt ms latency elapsed".split())
_SCHEME = ":::"
_MARKS = ("1", "true", "yes", "x")
_NO_MARKS = ("0", "false", "no")
_SPEAKERS = frozenset("speaker role from sender agent name".split())
_SAID = frozenset("text content utterance message value body".split())
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


@uncollected()
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
    table = _emptied(table, wanted, notes)
    table, wanted = _accepted(table, wanted, notes)
    table = _as_texts(table, wanted, notes)
    table = replace(table, rows=_with_turns(table, notes))
    rows, wanted = _long(_answers_together(table), wanted, notes)
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


def _name_words(name: str) -> list[str]:
    """`workerId`, `Worker ID` and `HITId` in words, in lower case."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[^\W_]+", apart.lower())


def _emptied(table: Table, wanted: Wanted, notes: list[str]) -> Table:
    """The table without words for an empty cell, unless they are labels."""
    words = _EMPTY - set(wanted.labels)
    found = Counter(
        cell
        for row in table.rows
        for cell in row.values()
        if isinstance(cell, str) and cell in words
    )
    if not found:
        return table
    said = ", ".join(f"{count} cells {word!r}" for word, count in found.items())
    notes.append(f"read as empty: {said}; if that is a label, name all with --labels")
    rows = tuple(
        {
            name: None if isinstance(cell, str) and cell in words else cell
            for name, cell in row.items()
        }
        for row in table.rows
    )
    return replace(table, rows=rows)


def _accepted(table: Table, wanted: Wanted, notes: list[str]) -> tuple[Table, Wanted]:
    """A table of Prodigy's without what was skipped, and with the choices made as labels."""
    if not {"_task_hash", "answer"} <= set(table.columns):
        return table, wanted
    choices = "accept" in table.columns
    skipped = {"ignore", "reject"} if choices else {"ignore"}
    rows = tuple(row for row in table.rows if row["answer"] not in skipped)
    if len(rows) < len(table.rows):
        notes.append(f"left out: {len(table.rows) - len(rows)} rows that Prodigy has not accepted")
    if choices:
        wanted = replace(wanted, columns={"label": "accept", **wanted.columns})
    columns = tuple(name for name in table.columns if name != "options")  # what one may choose from
    rows = tuple({name: row[name] for name in columns} for row in rows)
    return replace(table, columns=columns, rows=rows), wanted


def _as_texts(table: Table, wanted: Wanted, notes: list[str]) -> Table:
    """The table with lists and objects as what they stand for.

    Words of a text in a list are the text; a list of one text at most is that text; of an object that
    says of labels that they were chosen, they are left; names of an item's annotators in one cell are
    a list, as are their labels beside.
    """
    read: dict[str, Callable[[Any], Any]] = {}
    several = any(
        _by_name([name], "annotator", ()) for name in table.columns if _of(table, name, list)
    )
    for name in table.columns:
        cells = [row[name] for row in table.rows if row[name] is not None]
        if _of(table, name, list) and all(isinstance(one, str) for own in cells for one in own):
            if name in wanted.texts or {"tokens", "words"} & set(_name_words(name)):
                read[name] = " ".join
                notes.append(f"the words in {name!r} are a text, with blanks between them")
            elif not several and all(len(own) < 2 for own in cells):
                read[name] = "".join
        elif _of(table, name, dict) and all(
            chosen in ("true", label) for own in cells for label, chosen in own.items()
        ):
            read[name] = list
    who = _by_name(table.columns, "annotator", ())
    label = wanted.columns.get("label") or _by_name(table.columns, "label", (who,))
    if who and label in table.columns and not read.keys() & {who, label}:
        people, labels = ([_divided(row[name]) for row in table.rows] for name in (who, label))
        alike = all(len(a) == len(b) == len(set(a)) for a, b in zip(people, labels, strict=True))
        if alike and any(len(own) > 1 for own in people):
            read |= dict.fromkeys((who, label), _divided)
    rows = tuple(
        {
            name: read[name](cell) if name in read and cell is not None else cell
            for name, cell in row.items()
        }
        for row in table.rows
    )
    return replace(table, rows=rows)


def _of(table: Table, name: str, kind: type) -> bool:
    """Whether all cells of a column are lists, or objects."""
    kinds = {type(row[name]) for row in table.rows if row[name] is not None}
    return kinds == {kind}


def _divided(cell: Any) -> list[str]:
    return [part.strip() for part in cell.split(",")] if isinstance(cell, str) else []


def _answers_together(table: Table) -> Table:
    """The table with one column of answers where each question has its own, by the same people."""
    by_who: dict[str, list[str]] = defaultdict(list)
    for name in table.columns:
        keys = {key for row in table.rows for one in _answers(row[name]) for key in one}
        if _of(table, name, list) and (who := _by_name(sorted(keys), "annotator", ())):
            by_who[who].append(name)
    who, names = max(by_who.items(), key=lambda found: len(found[1]), default=("", []))
    if len(names) < 2:
        return table
    rows = []
    for row in table.rows:
        answers: dict[str, dict[str, Any]] = {}
        for name in names:
            for one in row[name] or ():
                rest = {key: part for key, part in one.items() if key != who}
                named = {name if key == "value" else f"{name}.{key}": rest[key] for key in rest}
                answers.setdefault(str(one.get(who)), {who: one.get(who)}).update(named)
        kept = {name: cell for name, cell in row.items() if name not in names}
        rows.append({**kept, ", ".join(names): list(answers.values())})
    return replace(table, columns=tuple(rows[0]), rows=tuple(rows))


def _with_turns(table: Table, notes: list[str]) -> tuple[Row, ...]:
    """The rows with dialogues as tuples of speaker and text, which can be told apart."""
    spoken: dict[str, tuple[str, str]] = {}
    for name in table.columns:
        turns = [
            turn
            for row in table.rows
            if isinstance(row[name], list)
            for turn in row[name]
            if isinstance(turn, dict)
        ]
        keys = set(turns[0]) if turns else set()
        who, what = keys & _SPEAKERS, keys & _SAID
        if len(who) == len(what) == 1 and not any(
            _by_name([key], "label", ()) for key in keys - what
        ):
            spoken[name] = (*who, *what)
            if more := sorted({key for turn in turns for key in turn} - who - what):
                notes.append(f"left out: {listed(more)} of the turns in {name!r}")
    if not spoken:
        return table.rows
    rows = []
    for number, row in enumerate(table.rows, start=1):
        rows.append(dict(row))
        for name, keys_of in spoken.items():
            try:
                rows[-1][name] = _turns(row[name], *keys_of)
            except CapoBenchError as error:
                place = f"row {number}, column {name}"
                raise CapoBenchError(error.message, id=place) from error
    return tuple(rows)


def _turns(cell: Any, who: str, what: str) -> tuple[tuple[str, str], ...] | None:
    turns = cell if isinstance(cell, list) else [cell]
    return tuple(_turn(turn, who, what) for turn in turns) if cell else None


def _turn(turn: Any, who: str, what: str) -> tuple[str, str]:
    said = (turn.get(who) or "", turn.get(what) or "") if isinstance(turn, dict) else ()
    if not said or not all(isinstance(part, str) for part in said):
        raise CapoBenchError(
            f"a turn is {str(turn)[:60]!r}; expected texts as its {who!r} and {what!r}"
        )
    return said


def _check_columns(table: Table, wanted: Wanted) -> None:
    given = wanted.columns.values()
    patterns = [n for n in given if n not in table.columns and ("*" in n or "," in n)]
    patterns += [n for n in wanted.texts if _matching(table.columns, n) and "*" in n]
    named = [n for n in (*given, *wanted.texts, *wanted.group_by) if n not in patterns]
    missing = [name for name in named if name not in table.columns]
    if missing:
        raise CapoBenchError(
            f"there is no column {missing[0]!r}; the table has {listed(table.columns, 20)}"
        )


def _long(table: Table, wanted: Wanted, notes: list[str]) -> tuple[list[Row], Wanted]:
    """The table with a row a response."""
    pattern = wanted.columns.get("label", "")
    listing = _lists(table, wanted)
    if "*" in pattern or ("," in pattern and pattern not in table.columns):
        return _patterned(table, wanted, notes)
    if listing:
        return _exploded(table, listing, wanted, notes)
    known = wanted.columns.get("annotator") or _called(table.columns, "annotator", ())
    if not pattern and (asked := _survey(table, known, notes)):
        return _by_item_of_row(table, asked, wanted, notes)
    if not pattern and known and (scheme := _scheme(table)):
        return _chosen(table, wanted, _matching(table.columns, scheme), notes)
    if not known and not pattern and (family := _family(table)):
        who, label, explanation = family
        notes.append(f"a wide table: the columns {label} are the annotators' labels")
        extra: dict[Role, str] = {"label": label}
        if who:
            notes.append(f"who gave them is in {who}")
            extra["annotator"] = who
        if explanation and "explanation" not in wanted.columns:
            notes.append(f"their explanations are in {explanation}")
            extra["explanation"] = explanation
        return _unpivoted(table, replace(wanted, columns={**wanted.columns, **extra}), notes)
    return list(table.rows), wanted


@dataclass(frozen=True)
class _Asked:
    """What a table asks one person in a row.

    Attributes:
        who: The column of who answered.
        labels: The columns of labels, by what tells them apart.
        reasons: Likewise of explanations, if there are any.
        texts: Likewise of each of the items' texts, by the name that it will have.
        headings: The text of each item, where it stands in the columns' names.
    """

    who: str
    labels: Mapping[str, str]
    reasons: Mapping[str, str]
    texts: Mapping[str, Mapping[str, str]]
    headings: Mapping[str, str]


def _survey(table: Table, known: str, notes: list[str]) -> _Asked | None:
    """What is what in a table with a row a person and a column an item, if it is one."""
    alike = _alike(table)
    if len(alike) < 3 or "*" in known:
        return None
    before, after = _shared_start(alike), _shared_start([name[::-1] for name in alike])[::-1]
    told = {name[len(before) : len(name) - len(after)]: name for name in alike}
    if len(" ".join(told).split()) < (3 if known else 5) * len(alike):
        return None  # called by names of people
    who = known or next((name for name in table.columns if _key(name) == "responseid"), "")
    if not who:
        raise CapoBenchError(
            f"a row seems to be a person's, and columns such as {alike[0][:40]!r} to be called by "
            "what was labelled; name the column of who answered with --annotator"
        )
    if len({row[who] for row in table.rows}) < len(table.rows):
        return None
    notes.append("a survey: a row is a person's, and columns are called by the items' texts")
    # What all texts begin and end with, without the question before them: `Is it rude? [The bus`.
    opening = re.split(r"[?:|>\[]", before)[-1].lstrip()
    end = after[: len(after) - len(after.lstrip(".!?"))]
    texts = {one: f"{opening}{one}{end}" for one in told}
    return _Asked(who, told, _reasons(table, told), {}, texts)


def _reasons(table: Table, told: Mapping[str, str]) -> Mapping[str, str]:
    """Columns of words whose names differ in the same way as those of the labels."""
    wordy = [n for n in table.columns if n not in told.values() and _words(table.rows, n) >= 3]
    first = next(iter(told))
    for name in wordy:
        start, same, end = name.partition(first)
        found = {one: f"{start}{one}{end}" for one in told}
        if same and set(found.values()) <= set(wordy):
            return found
    return {}


def _scheme(table: Table) -> str:
    """The question of Potato's of which each answer has a column, marked where it was chosen."""
    answers = {name: name.split(_SCHEME, 1) for name in table.columns if _SCHEME in name}
    marks = {None, *_MARKS, *_NO_MARKS, *(label for _, label in answers.values())}
    found = Counter(
        scheme
        for name, (scheme, _) in answers.items()
        if all(isinstance(row[name], str | None) and row[name] in marks for row in table.rows)
    )
    several = [scheme for scheme, count in found.items() if count > 1]
    return f"{several[0]}{_SCHEME}*" if len(several) == 1 else ""


def _patterned(table: Table, wanted: Wanted, notes: list[str]) -> tuple[list[Row], Wanted]:
    """The table of which a user said how several columns of labels are called.

    They are the annotators'. If a column tells who answered, they are the labels themselves, marked
    where they were chosen; or each is of an item, whose text stands in a column that is called
    likewise, or else in the name of the column of the label.
    """
    who = wanted.columns.get("annotator", "")
    if not who and any("*" in name for name in wanted.texts):
        who = _annotator_column(table.rows, table.columns, ())
    if not who or "*" in who:
        return _unpivoted(table, wanted, notes)
    label, why = wanted.columns["label"], wanted.columns.get("explanation", "")
    labels = _matching(table.columns, label)
    texts = {name: _matching(table.columns, name) for name in wanted.texts if "*" in name}
    if not labels:
        raise _uncalled(label, table)
    cells = {str(row[name]) for row in table.rows for name in labels.values()}
    if not texts and cells <= {"None", *_MARKS, *_NO_MARKS, *labels}:
        return _chosen(table, wanted, labels, notes)
    if why and "*" not in why:
        raise _needs_star(label, why)
    asked = _Asked(
        who,
        labels,
        _matching(table.columns, why),
        {re.sub(r"[\W_]+$", "", name.replace("*", "")): own for name, own in texts.items()},
        {name: column for name, column in labels.items() if not texts},
    )
    plain = tuple(name for name in wanted.texts if "*" not in name)
    return _by_item_of_row(table, asked, replace(wanted, texts=plain), notes)


def _by_item_of_row(
    table: Table, asked: _Asked, wanted: Wanted, notes: list[str]
) -> tuple[list[Row], Wanted]:
    """A row a response, of rows in which one person answers several items."""
    columns = (asked.labels, asked.reasons, *asked.texts.values())
    used = {name for own in columns for name in own.values()}
    rows: list[Row] = []
    for row in table.rows:
        common = {name: cell for name, cell in row.items() if name not in used}
        for number, (one, label) in enumerate(asked.labels.items(), start=1):
            said = row.get(asked.reasons.get(one, ""))
            texts = {name: row.get(own.get(one, "")) for name, own in asked.texts.items()}
            if asked.headings:
                texts = {_HEADING: asked.headings[one], _ROW: str(number)}
            if row[label] is not None or said is not None:
                rows.append({**common, **texts, _LABEL: row[label], _WHY: said})
    notes.append(f"{len(asked.labels)} items in columns: {listed(list(asked.labels.values()), 2)}")
    new: dict[Role, str] = {"annotator": asked.who, "label": _LABEL}
    if asked.reasons:
        new["explanation"] = _WHY
    if asked.headings:
        new["item"] = _ROW
    texts_of = (_HEADING,) if asked.headings else tuple(asked.texts)
    return rows, replace(
        wanted, columns={**wanted.columns, **new}, texts=(*texts_of, *wanted.texts)
    )


def _uncalled(pattern: str, table: Table) -> CapoBenchError:
    return CapoBenchError(
        f"no column is called like {pattern!r}; there are {listed(table.columns)}"
    )


def _needs_star(label: str, why: str) -> CapoBenchError:
    return CapoBenchError(f"the labels are in {label!r}, so explanations need a * too: {why!r}")


def _chosen(
    table: Table, wanted: Wanted, of_label: Mapping[str, str], notes: list[str]
) -> tuple[list[Row], Wanted]:
    """The table with one column of labels for several that say of each whether it was chosen."""
    rows: list[Row] = []
    none = 0
    for row in table.rows:
        said = [name for name, column in of_label.items() if row[column] in (*_MARKS, name)]
        denied = all(row[column] is not None for column in of_label.values()) and not said
        none += denied
        rest = {name: cell for name, cell in row.items() if name not in of_label.values()}
        rows.append({**rest, _LABEL: ["none"] if denied else said or None})
    notes.append(f"each of {listed(list(of_label))} is a label, where it is marked")
    if none:
        notes.append(f"{none} rows in which all are denied have the label 'none'")
    return rows, replace(wanted, columns={**wanted.columns, "label": _LABEL})


def _family(table: Table) -> tuple[str, str, str] | None:
    """Patterns of a wide table's columns: of ids, of labels and of explanations, as there are any.

    The columns of a family differ in a number or a capital in their names, or in all of them, and
    share few values, or have many words.
    """
    families: dict[str, list[str]] = defaultdict(list)
    for name in table.columns:
        for match in re.finditer(r"\d+|(?<![A-Za-z])[A-Z](?![A-Za-z])", name):
            families[f"{name[: match.start()]}*{name[match.end() :]}"].append(name)
    labels, explanations = [], []
    people = {p for p in families if _called([p.replace("*", "")], "annotator", ())}
    for pattern, names in families.items():
        if pattern in people:
            continue
        cells = [str(row[n]) for row in table.rows for n in names if row[n] is not None]
        words = sum(len(cell.split()) for cell in cells) / max(len(cells), 1)
        if len(names) > 1 and words < 3 and len(set(cells)) <= min(_FEW, max(2, len(cells) // 2)):
            labels.append((len(names), pattern))
        elif len(names) > 1 and words >= 3:
            explanations.append((len(names), pattern))
    if labels:
        count, pattern = max(labels)
        why = next((why for n, why in sorted(explanations) if n == count), "")
        return next((p for p in people if len(families[p]) == count), ""), pattern, why
    alike = _alike(table)
    return ("", *_named_after(table, alike)) if len(alike) > 1 else None


def _alike(table: Table) -> list[str]:
    """The most columns that have the same few values, such as those named after annotators.

    Of the values that one of them has, each of the others has half at least, and no other.
    """
    values = {
        name: frozenset(str(row[name]) for row in table.rows if row[name] is not None)
        for name in table.columns
    }
    few = {
        name: own
        for name, own in values.items()
        if 2 <= len(own) <= min(_FEW, len(table.rows) // 2) and _words(table.rows, name) < 3
    }
    found = (
        [name for name, own in few.items() if own <= most and 2 * len(own) >= len(most)]
        for most in dict.fromkeys(few.values())
    )
    return max(found, key=len, default=[])


def _named_after(table: Table, labels: Sequence[str]) -> tuple[str, str]:
    """Patterns of columns of labels, and of explanations by the same people, if there are any.

    `Ann rating`, `Bob rating` are `* rating`; so are explanations in `Ann comment`, `Bob comment`.
    """
    before = _shared_start(labels)
    after = _shared_start([name[::-1] for name in labels])[::-1]
    pattern = f"{before}*{after}"
    people = {name[len(before) : len(name) - len(after)]: name for name in labels}
    if pattern == "*" or "" in people or _matching(table.columns, pattern) != people:
        pattern, people = ",".join(labels), {name: name for name in labels}
    first = next(iter(people))
    wordy = [n for n in table.columns if n not in labels and _words(table.rows, n) >= 3]
    reasons = (name.replace(first, "*", 1) for name in wordy if first in name)
    known = (why for why in reasons if {why.replace("*", one) for one in people} <= set(wordy))
    return pattern, next(known, "")


def _shared_start(names: Sequence[str]) -> str:
    """What all names begin with, up to the end of a word."""
    first, last = min(names), max(names)  # what these two share, all share
    same = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    )
    return re.sub(r"[^\W_]*$", "", first[:same])


def _unpivoted(table: Table, wanted: Wanted, notes: list[str]) -> tuple[list[Row], Wanted]:
    columns = dict(wanted.columns)
    label, why = columns["label"], columns.get("explanation", "")
    who = columns.get("annotator", "")
    of_label, of_why, of_who = (_matching(table.columns, name) for name in (label, why, who))
    if not of_label:
        raise _uncalled(label, table)
    if why and "*" not in why:
        raise _needs_star(label, why)
    used = {*of_label.values(), *of_why.values(), *of_who.values()}
    rest = [name for name in table.columns if name not in used]
    rows: list[Row] = []
    for number, row in enumerate(table.rows, start=1):
        common = {name: row[name] for name in rest}
        for annotator, column in of_label.items():
            said = row.get(of_why.get(annotator, ""))
            name = row[of_who[annotator]] if annotator in of_who else annotator
            if row[column] is not None or said is not None:
                rows.append(
                    {**common, _ROW: str(number), _WHO: name, _LABEL: row[column], _WHY: said}
                )
    what = "answers" if of_who else "annotators"
    notes.append(f"{len(of_label)} {what} in columns: {listed(list(of_label))}")
    new: dict[Role, str] = {"annotator": _WHO, "label": _LABEL}
    if why:
        new["explanation"] = _WHY
    if "item" not in columns and not _by_name(rest, "item", ()):
        new["item"] = _ROW
    return rows, replace(wanted, columns={**columns, **new})


_ROW, _WHO, _LABEL, _WHY = "(row)", "(annotator)", "(label)", "(explanation)"
_HEADING = "text"


def _matching(columns: Sequence[str], pattern: str) -> dict[str, str]:
    """By annotator, the columns that match: what stands for the `*`, or those that are listed."""
    if "*" not in pattern:
        return {name: name for name in _listed_names(columns, pattern)}
    regex = re.compile(re.escape(pattern).replace(r"\*", "(.+)"))
    return {match[1]: name for name in columns if (match := regex.fullmatch(name))}


def _listed_names(columns: Sequence[str], names: str) -> Iterator[str]:
    """The columns that are listed with commas between them; names may hold commas, too."""
    while names:
        starting = [one for one in columns if one == names or names.startswith(f"{one},")]
        name = max(starting, key=len, default="")
        if name:
            yield name
        names = names[len(name) + 1 :] if name else names.partition(",")[2]


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
    for role in ("label", "explanation"):  # those of an item, each of them one annotator's
        name = wanted.columns.get(role) or _by_name(table.columns, role, ())
        if list not in kinds.get(name, ()):
            continue
        for number, (row, length) in enumerate(zip(table.rows, lengths, strict=True), start=1):
            own = row[name] or []
            if not isinstance(own, list) or len(own) != length:
                raise CapoBenchError(
                    f"{str(own)[:60]!r} are not {length}, one for each of {parallel[0]!r}",
                    id=f"row {number}, column {name}",
                )
    return tuple(
        name for name in listed_ones if [len(row[name] or ()) for row in table.rows] == lengths
    )


def _exploded(
    table: Table, names: Sequence[str], wanted: Wanted, notes: list[str]
) -> tuple[list[Row], Wanted]:
    rows: list[Row] = []
    columns = dict(wanted.columns)
    # What an item and an answer both have, such as an id, is the answer's by that name.
    own = {
        name for row in table.rows for one in _answers(row[names[0]]) for name in answer_cells(one)
    }
    for number, row in enumerate(table.rows, start=1):
        common = {
            f"item.{name}" if name in own else name: cell
            for name, cell in row.items()
            if name not in names
        }
        common[_ROW] = str(number)
        first = row[names[0]]
        if isinstance(first, dict):
            rows += [{**common, _WHO: who, _LABEL: label} for who, label in first.items()]
            columns |= {"annotator": _WHO, "label": _LABEL}
        elif len(names) == 1 and first and isinstance(first[0], dict):
            rows += [{**common, **answer_cells(one)} for one in first]
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


def _answers(cell: Any) -> Sequence[Mapping[str, Any]]:
    """An item's answers, if they are objects."""
    return cell if isinstance(cell, list) and cell and isinstance(cell[0], dict) else ()


def _by_name(columns: Sequence[str], role: Role, taken: Sequence[str]) -> str:
    """The free column that is called as columns of a role are, the most usual name first."""
    free = {_key(name): name for name in reversed(columns) if name not in taken}
    singular = {key.removesuffix("s"): name for key, name in free.items()}
    for usual in _NAMES[role]:
        if found := free.get(usual) or singular.get(usual):
            return found
    return ""


def _called(columns: Sequence[str], role: Role, taken: Sequence[str]) -> str:
    """As `_by_name`, or else the only free column whose name ends in a usual one (`Final label`)."""
    if found := _by_name(columns, role, taken):
        return found
    usual = set(_NAMES[role]) - {"user", "subject", "class", "value", "why", "comment"}
    likely = []
    for name in columns:
        words = _name_words(name)
        while len(words) > 1 and words[-1] in _SUFFIXES:
            words.pop()
        if name not in taken and words and {words[-1], words[-1].removesuffix("s")} & usual:
            likely.append(name)
    return likely[0] if len(likely) == 1 else ""


def _annotator_column(rows: Sequence[Row], names: Sequence[str], taken: Sequence[str]) -> str:
    found = _called(names, "annotator", taken) or _who(rows, names, taken)
    if not found:
        raise CapoBenchError(
            "no column tells who answered; name it with --annotator, or, if each annotator has a "
            f"column, name those, --label 'rating_*' or --label Ann,Bob. There are "
            f"{listed(names, 20)}"
        )
    return found


def _who(rows: Sequence[Row], names: Sequence[str], taken: Sequence[str]) -> str:
    """Whoever answers an item once and others too, by what is in the columns alone.

    Items are told apart by the longest text that recurs. Of columns that stand for one another, such
    as a name and an age, the first is taken that is no number.
    """
    free = [name for name in names if name not in taken]
    recurring = [n for n in free if len({str(row[n]) for row in rows}) <= 0.7 * len(rows)]
    text = max(recurring, key=lambda name: _words(rows, name), default="")
    if not text or _words(rows, text) < 2:
        return ""
    distinct = _distinct(rows)
    likely: dict[str, bool] = {}  # and whether nobody answers an item twice
    for name in recurring:
        values = {str(row[name]) for row in rows if row[name] is not None}
        pairs = len({(row[text], str(row[name])) for row in rows})
        several = 2 <= len(values) <= len(rows) / 2
        if name != text and pairs > _ONCE * distinct and several and _words(rows, name) < 5:
            likely[name] = pairs == distinct
    found = [name for name in likely if likely[name] or not any(likely.values())]
    found.sort(key=lambda name: _numeric(rows, name))
    alike = [n for n in found if not _varies(rows, n, lambda row: row[found[0]])]
    if len(alike) < len(found):
        raise CapoBenchError(
            f"who answered could be {listed(found)}; name it with --annotator. There are "
            f"{listed(names, 20)}"
        )
    return found[0] if found else ""


def _columns(rows: Sequence[Row], wanted: Wanted, notes: list[str]) -> _Columns:
    if not rows:
        raise CapoBenchError("there is not one label in the table")
    every = tuple(rows[0])
    nested = _nested(rows, wanted)
    names = tuple(name for name in every if name not in nested)
    found: dict[Role, str] = dict(wanted.columns)
    taken = [*found.values(), *wanted.texts]
    if "annotator" not in found:
        found["annotator"] = _annotator_column(rows, names, taken)
    taken.append(found["annotator"])
    for role in ("split", "language"):
        found.setdefault(role, _by_name(names, role, taken))
        taken.append(found[role])
    if "label" not in found:
        found["label"] = _label_by_name(rows, every, taken)
    if "explanation" not in found:
        found["explanation"] = _called(names, "explanation", [*taken, found["label"]])
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
            f"texts). There are {listed(every, 20)}"
        )
    free = [n for n in every if n in free or (n in nested and n not in taken)]
    free = [name for name in free if name not in texts]
    group = _grouper(found["item"], texts)
    if not found["label"]:
        found["label"] = _label_column(rows, free, group, found["annotator"], every)
        free.remove(found["label"])
    if not found["explanation"]:
        likely = [name for name in free if name not in nested]
        wordy = [n for n in likely if _words(rows, n) >= 3 and _varies(rows, n, group)]
        found["explanation"] = wordy[0] if len(wordy) == 1 else ""
        free = [name for name in free if name != found["explanation"]]
    for role, column in found.items():
        if column and any(isinstance(row.get(column), tuple) for row in rows):
            raise CapoBenchError(
                f"column {column!r} is the {role}, but its cells are turns of a dialogue; expected a "
                "text in each, or name another column"
            )
    notes += _told(found, texts, wanted)
    return _Columns(**{role: found.get(role, "") for role in _NAMES}, texts=texts, rest=tuple(free))


def _nested(rows: Sequence[Row], wanted: Wanted) -> set[str]:
    """Columns with lists or objects in cells, which can be labels and nothing else of a response."""
    nested = {name for row in rows for name, cell in row.items() if isinstance(cell, list | dict)}
    for role, column in (*wanted.columns.items(), *(("text", name) for name in wanted.texts)):
        if column in nested and role != "label":
            raise CapoBenchError(
                f"column {column!r} is the {role}, but some of its cells are lists or objects; "
                "expected a text in each"
            )
    return nested


def _told(found: Mapping[Role, str], texts: Sequence[str], wanted: Wanted) -> list[str]:
    """What nobody named, for people."""
    notes = []
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
    return notes


def _grouper(item: str, texts: Sequence[str]) -> Callable[[Row], Any]:
    return (lambda row: row[item]) if item else (lambda row: tuple(row[name] for name in texts))


def _item_column(rows: Sequence[Row], names: Sequence[str], taken: Sequence[str], who: str) -> str:
    """A column of ids in which several rows agree, and each annotator stands once."""
    free = [name for name in names if name not in taken]
    distinct = _distinct(rows)
    ids = [name for name in free if _name_words(name)[-1:] == ["id"]]
    while name := _by_name(free, "item", ()) or next((n for n in ids if n in free), ""):
        pairs = {(row[name], row[who]) for row in rows}
        if len({row[name] for row in rows}) < len(rows) and len(pairs) > _ONCE * distinct:
            return name
        free.remove(name)
    return ""


def _texts(rows: Sequence[Row], free: Sequence[str], item: str) -> tuple[str, ...]:
    """Columns of words that are the same for all who answered an item."""
    several = [
        name
        for name in free
        if len({str(row[name]) for row in rows}) > 1 and not _TIMES.intersection(_name_words(name))
    ]
    wordy = [name for name in several if _words(rows, name) >= 2]
    if item:
        return tuple(name for name in wordy if not _varies(rows, name, lambda row: row[item]))
    # Without ids: texts are what repeats, as an explanation in an annotator's own words does not.
    return tuple(n for n in wordy if len({row[n] for row in rows}) <= 0.7 * len(rows))


def _distinct(rows: Sequence[Row]) -> int:
    """Number of rows of which none repeats another."""
    return len({tuple(map(str, row.values())) for row in rows})


def _words(rows: Sequence[Row], name: str) -> float:
    """Words of a cell on average; of scripts without blanks two letters make one."""
    cells = [
        cell if isinstance(cell, str) else " ".join(text for _, text in cell)
        for row in rows
        if isinstance(cell := row[name], str | tuple)
    ]
    words = sum(max(len(cell.split()), len(_UNDIVIDED.findall(cell)) / 2) for cell in cells)
    return words / len(cells) if cells else 0.0


def _label_by_name(rows: Sequence[Row], names: Sequence[str], taken: Sequence[str]) -> str:
    """The column that is called as labels are, and is no prose, such as an `answer` in words.

    What is the same in all rows is taken only if nothing else is called so.
    """
    free = [name for name in names if name not in taken]
    constant = ""
    while name := _called(free, "label", ()):
        if _is_prose(rows, name):
            return ""
        if len({str(row[name]) for row in rows}) > 1:
            return name
        constant = constant or name
        free.remove(name)
    return constant


def _is_prose(rows: Sequence[Row], name: str) -> bool:
    """Whether a column has words, and hardly any two cells the same."""
    return _words(rows, name) >= 4 and not _few(rows, name, 12)


def _label_column(
    rows: Sequence[Row],
    free: Sequence[str],
    group: Callable[[Row], Any],
    who: str,
    names: Sequence[str],
) -> str:
    """What varies within an item and by annotator, with few values, or else with numbers."""
    several = len({row[who] for row in rows}) < len(rows)
    varying = [
        name
        for name in free
        if _varies(rows, name, group)
        and not _TIMES.intersection(_name_words(name))
        and _name_words(name)[-1:] != ["id"]
        and not (several and not _varies(rows, name, lambda row: row[who]))  # such as their age
    ]
    likely = [n for n in varying if _few(rows, n)] or [n for n in varying if _numeric(rows, n)]
    answers = [name for name in likely if _name_words(name)[0] == "answer"]  # of Mechanical Turk
    likely = answers if len(answers) == 1 else likely
    marked = {str(row[name]) for row in rows for name in likely} <= {"None", *_MARKS, *_NO_MARKS}
    patterns = {re.sub(r"\d+", "*", name) for name in likely}
    if len(likely) > 1 and marked:
        also = f"if each is a label that may be chosen, name them all: --label '{','.join(likely)}'"
    elif len(likely) > 1 and len(patterns) == 1 and "*" in (pattern := min(patterns)):
        also = f"if a row holds several items, name all: --label '{pattern}', --text 'text*'"
    else:
        return _only("label", likely, names)
    raise CapoBenchError(
        f"the label could be {listed(likely)}; name it with --label, or, {also} and who answered, "
        f"--annotator '{who}'"
    )


def _numeric(rows: Sequence[Row], name: str) -> bool:
    return all(as_number(str(row[name])) is not None for row in rows if row[name] is not None)


def _few(rows: Sequence[Row], name: str, most: int = _FEW) -> bool:
    values = {str(row[name]) for row in rows if row[name] is not None}
    return 2 <= len(values) <= min(most, max(2, len(rows) // 2))


def _varies(rows: Sequence[Row], name: str, group: Callable[[Row], Any]) -> bool:
    first: dict[Any, Any] = {}
    return any(first.setdefault(group(row), row[name]) != row[name] for row in rows)


def _only(role: Role, candidates: Sequence[str], names: Sequence[str]) -> str:
    if len(candidates) != 1:
        found = (
            f"could be {listed(candidates)}"
            if candidates
            else "is in no column that is known by its name or has few values or numbers; without "
            "labels there is no corpus"
        )
        raise CapoBenchError(
            f"the {role} {found}; name it with --{role}. There are {listed(names, 20)}"
        )
    return candidates[0]


def _complete(rows: Sequence[Row], columns: _Columns, notes: list[str]) -> list[Row]:
    """The rows that have an annotator, a label, an id and a text; the others are counted."""
    missing: Counter[str] = Counter()
    kept = []
    for row in rows:
        absent = [
            role
            for role, column in (
                ("annotator", columns.annotator),
                ("label", columns.label),
                ("item", columns.item),
            )
            if column and (row[column] is None or not parts(row[column]))
        ]
        if all(row[name] is None for name in columns.texts):
            absent.append("text")
        missing.update(absent[:1])
        if not absent:
            kept.append(row)
    for role, count in missing.items():
        notes.append(f"left out: {count} rows without {'an' if role[0] in 'ai' else 'a'} {role}")
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
    given = [parts(row[columns.label]) for row in rows]
    space, labels_of = find_space(given, wanted.kind, wanted.labels, notes)
    explained = {bool(row.get(columns.explanation)) for row in rows}
    explanations: Explanations = (
        "optional" if len(explained) > 1 else "required" if explained == {True} else "none"
    )
    about_item, about_who = _meta(rows, items, columns, notes)
    _check_fields(columns.texts)
    again: Counter[str] = Counter()
    made = tuple(
        Item(
            id=str(key) if columns.item else f"i{number}",
            text={
                _field(name): own[0][name] or ""
                for name in columns.texts
                if not isinstance(own[0][name], tuple)
            },
            turns={
                _field(name): tuple(Turn(*turn) for turn in own[0][name])
                for name in columns.texts
                if isinstance(own[0][name], tuple)
            },
            cells=_cells(own, columns, labels_of, space.kind == "multilabel", again),
            split=_split(own[0].get(columns.split), key),
            language=own[0].get(columns.language) if columns.language else None,
            meta={name: own[0][name] for name in about_item if own[0][name] is not None},
        )
        for number, (key, own) in enumerate(items.items(), start=1)
    )
    notes += [f"left out: {count} {what}" for what, count in again.items()]
    fields = {_field(name): name.replace("_", " ").strip().capitalize() for name in columns.texts}
    if stray := [name for name in wanted.group_by if name not in columns.texts]:
        raise CapoBenchError(f"--group-by names {stray[0]!r}, which is none of the texts")
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


def _check_fields(texts: Sequence[str]) -> None:
    named: dict[str, str] = {}
    for name in texts:
        other = named.setdefault(_field(name), name)
        if other != name:
            raise CapoBenchError(
                f"the texts {other!r} and {name!r} would both be the field {_field(name)!r}; rename "
                "one of the columns"
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
        labels = labels_of(row[columns.label])
        if not labels:
            raise CapoBenchError(
                f"column {columns.label!r} has a cell {row[columns.label]!r}, in which no label "
                "stands; write one there, or leave it empty"
            )
        first, *also = labels
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
