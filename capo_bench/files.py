"""Reading and writing files: text, JSON, whole-or-nothing writes, the cache folder."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from capo_bench.errors import CapoBenchError

T = TypeVar("T")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        CapoBenchError: If it is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CapoBenchError(
            f"cannot be read: {error.strerror}; check the path", file=path
        ) from error
    except UnicodeDecodeError as error:
        raise CapoBenchError(f"is not UTF-8 text (byte {error.start})", file=path) from error


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
                    f"not valid JSON ({error}); expected one value a line", file=path, line=number
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
        raise CapoBenchError(f"is not valid JSON: {error}", file=path) from error


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
        raise CapoBenchError(f"cannot be written: {error.strerror}", file=path) from error


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


def validated(
    adapter: TypeAdapter[T],
    value: Any,
    advice: str,
    *,
    file: Path | str,
    line: int | None = None,
    id: str | None = None,
) -> T:
    """A value checked against a type.

    Args:
        adapter: The type.
        value: What JSON gave.
        advice: What to do about a fault, for the message.
        file: Where the value comes from.
        line: Its line there, from 1.
        id: Its entry there, such as `item 12`.

    Raises:
        CapoBenchError: If the value does not fit; the first fault is named.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise CapoBenchError(
            f"{field}: {first['msg']} (got {str(first['input'])[:60]!r}); {advice}",
            file=file,
            line=line,
            id=id,
        ) from error


@contextmanager
def naming(source: str | Path, *, line: int | None = None, id: str | None = None) -> Iterator[None]:
    """Says of a `CapoBenchError` raised inside where the fault is; what it knows itself stays."""
    try:
        yield
    except CapoBenchError as error:
        raise CapoBenchError(
            error.message, file=source, line=error.line or line, id=error.id or id
        ) from error


def validated_line(adapter: TypeAdapter[T], path: Path, number: int, value: Any) -> T:
    """As `validated`, for one line of a corpus file.

    Raises:
        CapoBenchError: Naming file and line.
    """
    advice = "the format is printed by `capo-bench data schema`"
    return validated(adapter, value, advice, file=path, line=number)


def cache_folder() -> Path:
    """The local cache: `$XDG_CACHE_HOME/capo-bench`, by default `~/.cache/capo-bench`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "capo-bench"
