"""Files: one gate for what comes in, one writer for what goes out.

In: `opened` follows no link, waits for no pipe and bounds the size; what was opened is what is
checked, so that nobody can swap it in between. On it stand text, JSON and YAML, each refused in one
line that names the place.

Out: `writing` makes what appears whole or not at all, `locked` keeps two writers of one folder apart.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import psutil  # type: ignore[import-untyped]
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from capo_bench.errors import CapoBenchError

T = TypeVar("T")

FILE_BYTES = 256 * 2**20
"""The most that is read of one file, unless a reader allows less."""

DEPTH = 64
"""How deep brackets may be nested."""

LOCK = ".capo-bench.lock"

_NO_FILE = "no regular file but {}; put the file itself here"

_NO_TEXT = (
    (b"\x1f\x8b", "is compressed by gzip; unpack it"),
    (b"PK\x03\x04", "is a zip archive or a spreadsheet; unpack it, or save it as plain text"),
    (b"BZh", "is compressed by bzip2; unpack it"),
    (b"\xfd7zXZ", "is compressed by xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; unpack it"),
    (b"\xff\xfe", "is UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 text; save it as UTF-8"),
)


@contextmanager
def opened(path: Path, limit: int = FILE_BYTES) -> Iterator[BinaryIO]:
    """Opens a regular file for reading; folders on the way may be links, the file may not.

    Args:
        path: The file.
        limit: The most bytes that it may have.

    Raises:
        CapoBenchError: If it is missing, cannot be read, is a link, a folder, a pipe or a device, or
            is larger.
    """
    # Absent flags are those that a system does not need: Windows has neither links nor pipes there.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        if os.path.islink(path):
            raise CapoBenchError(_NO_FILE.format("a link"), file=path) from error
        problem = getattr(error, "strerror", None) or error
        raise CapoBenchError(f"cannot be read: {problem}; check the path", file=path) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise CapoBenchError(_NO_FILE.format(kind), file=path)
    with open(descriptor, "rb") as stream:
        if found.st_size > limit:
            raise CapoBenchError(_too_large(found.st_size, limit), file=path)
        yield stream


def read_bytes(path: Path, limit: int = FILE_BYTES) -> bytes:
    """What a file holds.

    Raises:
        CapoBenchError: As `opened` does.
    """
    with opened(path, limit) as stream:
        try:
            found = stream.read(limit + 1)  # it may have grown since it was measured
        except OSError as error:
            raise CapoBenchError(f"cannot be read: {error.strerror}", file=path) from error
    if len(found) > limit:
        raise CapoBenchError(_too_large(len(found), limit), file=path)
    return found


def read_text(path: Path, limit: int = FILE_BYTES) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors put before it.

    Raises:
        CapoBenchError: As `opened` does, or if it is not UTF-8; what else it seems to be is named.
    """
    found = read_bytes(path, limit)
    for start, what in _NO_TEXT:
        if found.startswith(start):
            raise CapoBenchError(what, file=path)
    if b"\0" in found:
        raise CapoBenchError("is no UTF-8 text (it holds null bytes); save it as UTF-8", file=path)
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        raise CapoBenchError(
            f"is not UTF-8 text (byte {error.start}); save it as UTF-8", file=path, line=line
        ) from error


def read_json_lines(path: Path, limit: int = FILE_BYTES) -> Iterator[tuple[int, Any]]:
    """Yields (line number from 1, value) for each line that is not blank.

    Raises:
        CapoBenchError: As `read_text` does, or if a line is not JSON as `parse_json` takes it.
    """
    text = read_text(path, limit)
    if re.match(r"\s*\[", text):
        raise CapoBenchError(
            "an array; expected one JSON value a line, without brackets and commas around them",
            file=path,
            line=1,
        )
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        if line.strip():
            try:
                yield number, parse_json(line)
            except ValueError as error:
                raise CapoBenchError(
                    f"not valid JSON ({error}); expected one value a line", file=path, line=number
                ) from error


def read_json(path: Path, *, limit: int = FILE_BYTES, trailing_commas: bool = False) -> Any:
    """The value of a JSON file.

    Args:
        path: The file.
        limit: The most bytes that it may have.
        trailing_commas: Accept a comma before a closing bracket, as LeWiDi's metadata files have.

    Raises:
        CapoBenchError: As `read_text` does, or if it is not JSON as `parse_json` takes it.
    """
    text = read_text(path, limit)
    if trailing_commas:
        text = _without_trailing_commas(text)
    try:
        return parse_json(text)
    except ValueError as error:
        raise CapoBenchError(f"is not valid JSON: {error}", file=path) from error


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: If it is not JSON, repeats a key in one object, is nested deeper than `DEPTH`, or
            holds half of a surrogate pair, which is no character and which no file can hold.
    """
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates)
    except RecursionError as error:
        raise ValueError(_DEEP) from error
    # Few texts can fail these two, and walking through a value takes longer than reading it.
    if text.count("[") + text.count("{") > DEPTH or re.search(r"\\u[dD][89a-fA-F]", text):
        _check_value(value)
    return value


_DEEP = f"nested more than {DEPTH} deep"


def _check_value(value: Any) -> None:
    rest: list[tuple[str, int, Any]] = [("", 0, value)]
    while rest:
        where, depth, one = rest.pop()
        if depth > DEPTH:
            raise ValueError(_DEEP)
        if isinstance(one, dict):
            for key, part in one.items():
                _check_text(where or "a key", key)
                rest.append((f"{where}.{key}" if where else key, depth + 1, part))
        elif isinstance(one, list):
            rest += [(f"{where}[{index}]", depth + 1, part) for index, part in enumerate(one)]
        elif isinstance(one, str):
            _check_text(where or "the text", one)


def _check_text(where: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])[1:-1]
        raise ValueError(
            f"{where[:80]}: half of a surrogate pair, {half}, which is no character; write both "
            "halves or neither"
        ) from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated[:60]!r} occurs twice in one object")
    return value


def _without_trailing_commas(text: str) -> str:
    # Strings are matched first, so that a comma inside one is never touched.
    return re.sub(
        r'("(?:[^"\\]|\\.)*")|,(?=\s*[\]}])',
        lambda match: match.group(1) or "",
        text,
        flags=re.DOTALL,
    )


def _too_large(size: int, limit: int) -> str:
    return f"has {size:,} bytes, more than the {limit:,} that are read"


@contextmanager
def writing(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Where to write what shall appear at `path`: whole, when the block ends well, or not at all.

    What another process left half-written there, and is gone, is swept away.

    Args:
        path: The file or folder. A file that is there is replaced; a folder that holds anything is
            not.
        folder: Whether it is a folder; it is made.

    Raises:
        CapoBenchError: If it cannot be written: no space, no permission.
    """
    # The host keeps processes of the machines that share a folder apart, the rest threads.
    name = f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(2)}.partial"
    partial = path.with_name(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        if folder:
            partial.mkdir()
        yield partial
        partial.replace(path)
    except OSError as error:
        problem = error.strerror or error
        raise CapoBenchError(f"cannot be written: {problem}", file=path) from error
    finally:
        _remove(partial)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file as `writing` does.

    Raises:
        CapoBenchError: If it cannot be written.
    """
    with writing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file as `writing` does.

    Raises:
        CapoBenchError: If it cannot be written.
    """
    write_bytes(path, text.encode())


def write_all(files: Mapping[Path, str]) -> None:
    """Writes UTF-8 files that belong together: none takes its name before all are complete.

    Raises:
        CapoBenchError: If one cannot be written; all are as they were.
    """
    with ExitStack() as complete:
        for path, text in files.items():
            complete.enter_context(writing(path)).write_text(text, encoding="utf-8")


def write_json_lines(path: Path, values: list[Any]) -> None:
    """Writes one JSON value a line, as `writing` does."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps every other process that asks for the same out of a folder; the folder is made.

    The lock ends with the process, however that ends.

    Args:
        folder: The folder.
        wait: Wait until another process has left.

    Raises:
        CapoBenchError: If another process has it and `wait` is not set, or the folder cannot be
            written.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise CapoBenchError(
            "is being written by another process; wait for it, or choose another folder",
            file=folder,
        ) from error
    except OSError as error:
        raise CapoBenchError(f"cannot be written: {error.strerror}", file=folder) from error
    try:
        yield
    finally:
        lock.release()


@lru_cache
def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:20] or "host"


@lru_cache
def _sweep(folder: Path) -> None:
    """Removes what processes of this host left half-written in a folder; once a process."""
    for partial in folder.glob("*.partial"):
        named = re.search(r"\.([A-Za-z0-9]+)-(\d+)-[0-9a-f]+\.partial$", partial.name)
        if named and named[1] == _host() and not psutil.pid_exists(int(named[2])):
            _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # it is not there, or somebody else removes it
            path.unlink()


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
        CapoBenchError: If the value does not fit; the first fault is named, and if that is a missing
            field, all that are missing beside it.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first, *others = error.errors()
        where = [
            first["loc"],
            *(
                other["loc"]
                for other in others
                if first["type"] == other["type"] == "missing"
                and first["loc"][:-1] == other["loc"][:-1]
            ),
        ]
        field = ", ".join(".".join(map(str, loc)) for loc in where) or "the line"
        problem = first["msg"].removeprefix("Value error, ")
        raise CapoBenchError(
            f"{field}: {problem} (got {str(first['input'])[:60]!r}); {advice}",
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
