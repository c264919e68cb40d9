"""The project's own corpus format: JSON lines, a header and then one item a line.

The header says what was asked and who answered; each item line is an `Item`. Both are the
dataclasses of `capo_bench.corpus.model`, so that their JSON Schema is the documentation of the
format (`capo-bench data schema`).
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from capo_bench.corpus.model import Annotator, Corpus, Item, TaskSpec
from capo_bench.errors import CapoBenchError

FORMAT = "capo-bench-corpus/1"

T = TypeVar("T")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Header:
    """First line of a corpus file: everything about a corpus but its items."""

    format: Literal["capo-bench-corpus/1"]
    name: str
    task: TaskSpec
    annotators: tuple[Annotator, ...]
    synthetic: bool = False
    license: str = ""
    citation: str = ""


_header = TypeAdapter(Header)
_item = TypeAdapter(Item)


def read(path: Path) -> Corpus:
    """Reads a corpus file.

    Raises:
        CapoBenchError: Naming the file and the line, if the file is missing, is not JSON lines, or
            a line does not follow the schema.
    """
    lines = read_json_lines(path)
    first = next(lines, None)
    if first is None:
        raise CapoBenchError(f"{path} is empty: expected a header line and at least one item")
    header: Header = _line(_header, path, *first)
    items = tuple(_line(_item, path, number, value) for number, value in lines)
    with naming(path):
        return Corpus(
            name=header.name,
            task=header.task,
            annotators=header.annotators,
            items=items,
            synthetic=header.synthetic,
            license=header.license,
            citation=header.citation,
        )


def write(corpus: Corpus, path: Path) -> None:
    """Writes a corpus file; `read` gives back an equal corpus.

    The file appears under its name only when it is complete.
    """
    header = Header(
        format="capo-bench-corpus/1",
        name=corpus.name,
        task=corpus.task,
        annotators=corpus.annotators,
        synthetic=corpus.synthetic,
        license=corpus.license,
        citation=corpus.citation,
    )
    write_json_lines(
        path,
        [
            _header.dump_python(header, mode="json"),
            *(_item.dump_python(item, mode="json") for item in corpus.items),
        ],
    )


def json_schema() -> dict[str, Any]:
    """JSON Schemas of the two kinds of line: `header` (the first one) and `item` (all others)."""
    return {"header": _header.json_schema(), "item": _item.json_schema()}


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        CapoBenchError: If it is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CapoBenchError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise CapoBenchError(f"{path} is not UTF-8 text (byte {error.start})") from error


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields (line number from 1, value) for each line that is not blank.

    Raises:
        CapoBenchError: If the file cannot be read or a line is not JSON.
    """
    for number, line in enumerate(io.StringIO(read_text(path), newline="\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line, object_pairs_hook=_no_duplicates)
            except (ValueError, RecursionError) as error:
                raise CapoBenchError(
                    f"{path}, line {number}: not valid JSON ({error}); expected one value a line"
                ) from error


def read_json(path: Path, *, trailing_commas: bool = False) -> Any:
    """The value of a JSON file.

    Args:
        path: The file.
        trailing_commas: Accept a comma before a closing bracket, as LeWiDi's metadata files have.

    Raises:
        CapoBenchError: If the file cannot be read, is not JSON, or repeats a key in one object.
    """
    text = read_text(path)
    if trailing_commas:
        text = _without_trailing_commas(text)
    try:
        return json.loads(text, object_pairs_hook=_no_duplicates)
    except ValueError as error:
        raise CapoBenchError(f"{path} is not valid JSON: {error}") from error


def write_json_lines(path: Path, values: list[Any]) -> None:
    """Writes one JSON value a line; the file appears under its name only when complete."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def partial_of(path: Path) -> Path:
    """Where a file is written until it is complete; two processes do not get in each other's way."""
    return path.with_name(f"{path.name}.{os.getpid()}.partial")


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file; it appears under its name only when complete.

    Raises:
        CapoBenchError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_of(path)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise CapoBenchError(f"{path} cannot be written: {error.strerror}") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} occurs twice in one object")
    return value


def _without_trailing_commas(text: str) -> str:
    # Strings are matched first, so that a comma inside one is never touched.
    return re.sub(
        r'("(?:[^"\\]|\\.)*")|,(?=\s*[\]}])',
        lambda match: match.group(1) or "",
        text,
        flags=re.DOTALL,
    )


def validated(adapter: TypeAdapter[T], value: Any, where: str, advice: str) -> T:
    """A value checked against a type.

    Args:
        adapter: The type.
        value: What JSON gave.
        where: File and line or id, for the message.
        advice: What to do about a fault, for the message.

    Raises:
        CapoBenchError: If the value does not fit; the first fault is named.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise CapoBenchError(
            f"{where}: {field}: {first['msg']} (got {str(first['input'])[:60]!r}); {advice}"
        ) from error


@contextmanager
def naming(source: str | Path) -> Iterator[None]:
    """Puts a source's name before the message of a `CapoBenchError` raised inside."""
    try:
        yield
    except CapoBenchError as error:
        raise CapoBenchError(f"{source}: {error}") from error


def _line(adapter: TypeAdapter[T], path: Path, number: int, value: Any) -> T:
    advice = "the format is printed by `capo-bench data schema`"
    return validated(adapter, value, f"{path}, line {number}", advice)
