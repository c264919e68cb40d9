"""The label space that labels make as they stand in a table.

Its kind follows from the labels themselves unless it is named: two numbers are names, a few whole
ones levels, others a scale; `4 - agree` and words of usual scales are levels in their order; parts
that recur in cells are several labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from math import isfinite
from typing import Any

from pydantic import ValidationError

from capo_bench.corpus.model import MAX_LEVELS, LabelKind, LabelSpace, label_key
from capo_bench.errors import CapoBenchError, listed
from capo_bench.files import problem_of

_SEPARATORS = ("|", ";", ",")
_SCALES = ((0, 1), (-1, 1), (0, 10), (0, 100), (-100, 100))
_USUAL = tuple(
    tuple(tuple(level.split("/")) for level in scale.split(", "))
    for scale in (
        "strongly disagree, disagree, somewhat disagree/slightly disagree, neutral/undecided/neither/"
        "neither agree nor disagree, somewhat agree/slightly agree, agree, strongly agree",
        "very unlikely, unlikely, neutral/undecided, likely, very likely",
        "never, rarely/seldom, sometimes, often, always",
        "none/no, slight/mild, moderate, severe, very severe/extreme",
        "very low, low, medium/moderate/middle, high, very high",
    )
)
"""Scales by their levels in order, each in the ways to say it."""


def parts(value: Any) -> tuple[str, ...]:
    """A cell's labels as they stand there: one text, or several of a list.

    Raises:
        CapoBenchError: If there is a list or an object in the place of a label.
    """
    found = [part for part in value if part is not None] if isinstance(value, list) else [value]
    if nested := [part for part in found if isinstance(part, list | dict)]:
        raise CapoBenchError(
            f"a label is {str(nested[0])[:60]!r}; expected a text, a number, or a list of them"
        )
    return tuple(map(str, found))


def find_space(
    given: Sequence[tuple[str, ...]],
    wanted: LabelKind | None,
    labels: tuple[str, ...],
    notes: list[str],
) -> tuple[LabelSpace, Callable[[Any], tuple[str, ...]]]:
    """The label space, and what each cell's labels are in it.

    Args:
        given: The labels of each cell, as `parts` has them.
        wanted: Their kind, if it is known.
        labels: All labels, in the order of the scale if they have one, if they are known.
        notes: Takes what was understood.

    Raises:
        CapoBenchError: If they make no space; the message says what to name.
    """
    separator = _separator(given, wanted)
    if separator:
        given = [_divided(one, separator) for one in given]
    counts = Counter(label for labels in given for label in labels)
    written = _written(counts, notes)
    numbers = [as_number(label) for label in counts]
    ranked = _ranked(set(written.values())) if wanted in (None, "ordinal") and not labels else ()
    several = separator != "" or any(len(labels) > 1 for labels in given)
    numeric = all(number is not None for number in numbers)
    kind = wanted or (
        "multilabel"
        if several
        else _numeric_kind(numbers)
        if numeric
        else "ordinal"
        if ranked
        else "nominal"
    )
    known = labels or (ranked if kind == "ordinal" else ())
    space = _made(kind, sorted(set(written.values())), [n for n in numbers if n is not None], known)
    what = (
        listed(space.labels, 12)
        if kind != "interval"
        else f"{space.range} in steps of {space.step}"
    )
    divided = f", divided by {separator!r}" if separator else ""
    notes.append(f"{kind} labels{divided}: {what}")

    def labels_of(value: Any) -> tuple[str, ...]:
        cell = _divided(parts(value), separator) if separator else parts(value)
        found = [space.recognise(written[part]) for part in cell]
        if None in found:
            unknown = cell[found.index(None)]
            raise CapoBenchError(
                f"label {str(unknown)[:60]!r} is none of {listed(space.labels, 12)}; add it with "
                "--labels, or choose another --kind"
            )
        return tuple(dict.fromkeys(label for label in found if label is not None))

    return space, labels_of


def _divided(labels: Sequence[str], separator: str) -> tuple[str, ...]:
    return tuple(
        part.strip() for label in labels for part in label.split(separator) if part.strip()
    )


def _separator(given: Sequence[tuple[str, ...]], wanted: LabelKind | None) -> str:
    """What divides several labels in one cell: the parts are fewer than the cells that they make."""
    if wanted not in (None, "multilabel"):
        return ""
    values = {label for labels in given for label in labels}
    for separator in _SEPARATORS:
        found = {part for value in values for part in _divided([value], separator)}
        if any(separator in value for value in values) and (
            len(found) < len(values) or wanted == "multilabel"
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


def as_number(label: str) -> float | None:
    """The number that a label is, if it is one."""
    try:
        number = float(label)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _numeric_kind(numbers: Sequence[float | None]) -> LabelKind:
    """Two numbers are names; up to 11 whole ones are levels; all else is a scale."""
    values = [number for number in numbers if number is not None]
    if len(values) <= 2:
        return "nominal"
    whole = all(value == int(value) for value in values)
    return "ordinal" if whole and max(values) - min(values) <= 10 else "interval"


def _ranked(labels: Collection[str]) -> tuple[str, ...]:
    """The labels in order, if each begins with a number of its own or all are of a usual scale."""
    numbered = {label: re.match(r"(\d{1,9})\s*[-\N{EN DASH}:.=)]\s*\D", label) for label in labels}
    numbers = {label: int(found[1]) for label, found in numbered.items() if found}
    if len(labels) > 2 and len(set(numbers.values())) == len(labels):
        return tuple(sorted(labels, key=numbers.__getitem__))
    by_key = {label_key(label): label for label in labels}
    for scale in _USUAL:
        said = [next((by_key[way] for way in ways if way in by_key), None) for ways in scale]
        found = tuple(label for label in said if label is not None)
        if len(found) == len(labels) > 2:
            return found
    return ()


def _made(
    kind: LabelKind, labels: Sequence[str], numbers: Sequence[float], known: tuple[str, ...]
) -> LabelSpace:
    try:
        if known:
            return LabelSpace(kind, known)
        if kind == "ordinal" and len(numbers) >= len(labels):
            low, high = int(min(numbers)), int(max(numbers))
            if high - low >= MAX_LEVELS:
                raise _too_many(low, high)
            return LabelSpace(kind, tuple(str(level) for level in range(low, high + 1)))
        if kind == "ordinal":
            raise CapoBenchError(
                f"the order of {listed(labels, 12)} is not known; give it with --labels low,high"
            )
        if kind == "interval":
            return _scale(numbers)
        return LabelSpace(kind, tuple(labels))
    except ValidationError as error:
        raise CapoBenchError(
            f"{problem_of(error)}; name them with --labels, or choose another --kind"
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
    raise _too_many(low, high)


def _too_many(low: float, high: float) -> CapoBenchError:
    return CapoBenchError(
        f"the labels have more than {MAX_LEVELS} levels between {low:g} and {high:g}; round them, "
        "such as to whole numbers"
    )
