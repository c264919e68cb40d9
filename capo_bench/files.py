"""Files: one gate for what comes in, one writer for what goes out.

In: `opened` follows no link, waits for no pipe and bounds the size; what was opened is what is
checked, so that nobody can swap it in between. On it stand text, JSON and YAML, each refused in one
line that names the place.

Out: `writing` makes what appears whole or not at all, `writing_all` several files together, and
`locked` keeps two writers of one folder apart.
"""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import psutil  # type: ignore[import-untyped]
import yaml  # type: ignore[import-untyped]
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from capo_bench.display import visible
from capo_bench.errors import CapoBenchError

T = TypeVar("T")

FILE_BYTES = 256 * 2**20
"""The most that is read of one file, unless a reader allows less."""

YAML_BYTES = 64 * 1024
"""The most that is read of a YAML file."""

DEPTH = 64
"""How deep brackets may be nested."""

VALUES = 10_000_000
"""How many values a JSON text, and cells a table, may have: in memory each takes up to 50 bytes."""

LOCK, STAGED, READY = ".capo-bench.lock", ".capo-bench.partial", ".capo-bench.ready"
"""In a folder that is written: its lock, and what is not complete, or not in its place, yet."""

GONE = ".capo-bench.gone"
"""Beside what is not in its place yet: the names of files that go."""

_NO_FILE = "no regular file but {}; put the file itself here"

_ARCHIVES = (
    (b"\x1f\x8b", "is compressed by gzip; unpack it"),
    (b"PK\x03\x04", "is a zip archive or a spreadsheet; unpack it, or save it as plain text"),
    (b"BZh", "is compressed by bzip2; unpack it"),
    (b"\xfd7zXZ", "is compressed by xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; unpack it"),
)
_UTF_16 = (
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
    found = _text_bytes(path, limit)
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf_8(path, error) from error


def _text_bytes(path: Path, limit: int) -> bytes:
    """What a file holds, if it may be UTF-8 text."""
    found = read_bytes(path, limit)
    _refuse(path, found, (*_ARCHIVES, *_UTF_16))
    if b"\0" in found:
        raise CapoBenchError("is no UTF-8 text (it holds null bytes); save it as UTF-8", file=path)
    return found


def _not_utf_8(path: Path, error: UnicodeDecodeError, lines: int = 0) -> CapoBenchError:
    # Places are counted from behind a byte order mark, and lines behind those that came before.
    line = lines + error.object.count(b"\n", 0, error.start) + 1
    where = f"byte {error.start}" + (" of the line" if lines else "")
    return CapoBenchError(f"is not UTF-8 text ({where}); save it as UTF-8", file=path, line=line)


def refuse_archive(path: Path, content: bytes) -> None:
    """Calls what is compressed, or a spreadsheet, what it is.

    Raises:
        CapoBenchError: If it is.
    """
    _refuse(path, content, _ARCHIVES)


def _refuse(path: Path, content: bytes, kinds: Sequence[tuple[bytes, str]]) -> None:
    for start, what in kinds:
        if content.startswith(start):
            raise CapoBenchError(what, file=path)


def read_json_lines(
    path: Path, limit: int = FILE_BYTES, *, finite: bool = True
) -> Iterator[tuple[int, Any]]:
    """Yields (line number from 1, value) for each line that is not blank.

    Args:
        path: The file.
        limit: The most bytes that it may have.
        finite: As for `parse_json`.

    Raises:
        CapoBenchError: As `read_text` does, or if a line is not JSON as `parse_json` takes it.
    """
    content = _text_bytes(path, limit)
    if re.match(rb"(\xef\xbb\xbf)?\s*\[", content):
        raise CapoBenchError(
            "an array; expected one JSON value a line, without brackets and commas around them",
            file=path,
            line=1,
        )
    # Line by line, since a text takes up to four times what its bytes do.
    for number, raw in enumerate(io.BytesIO(content), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf_8(path, error, number - 1) from error
        if line.strip():
            try:
                yield number, parse_json(line, finite=finite)
            except ValueError as error:
                raise CapoBenchError(
                    f"not valid JSON ({error}); expected one value a line", file=path, line=number
                ) from error


def read_json(
    path: Path, *, limit: int = FILE_BYTES, trailing_commas: bool = False, finite: bool = True
) -> Any:
    """The value of a JSON file.

    Args:
        path: The file.
        limit: The most bytes that it may have.
        finite: As for `parse_json`.
        trailing_commas: Accept a comma before a closing bracket, as LeWiDi's metadata files have.

    Raises:
        CapoBenchError: As `read_text` does, or if it is not JSON as `parse_json` takes it.
    """
    text = read_text(path, limit)
    if trailing_commas:
        text = _without_trailing_commas(text)
    try:
        return parse_json(text, finite=finite)
    except ValueError as error:
        raise CapoBenchError(f"is not valid JSON: {error}", file=path) from error


def read_yaml(path: Path) -> tuple[Any, Any]:
    """Reads a small file of plain YAML.

    Without what can blow it up (aliases), what is no text, number, list or mapping by its looks
    (tags), what readers take for different numbers (`010`, `1:30`), and keys that stand twice.

    Returns:
        The value, and the node that it was made from, which knows its lines.

    Raises:
        CapoBenchError: As `read_text` does, or if it is not such YAML.
    """
    text = read_text(path, YAML_BYTES)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise CapoBenchError(
            f"{error.problem}; expected plain YAML", file=path, line=mark.line + 1 if mark else None
        ) from error
    # A date that does not exist, a number of 10,000 digits or parts, 10,000 nested brackets.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        problem = str(error).split("\n")[0]
        raise CapoBenchError(f"not plain YAML: {problem}", file=path) from error
    return value, node


def parse_json(text: str, *, finite: bool = True) -> Any:
    """The value of a JSON text.

    Args:
        text: The text.
        finite: Refuse `NaN`, `Infinity` and numbers too large to be told from it, which Python writes
            and reads, but which are no JSON, and nobody's measure.

    Raises:
        ValueError: If it is not JSON, repeats a key in one object, is nested deeper than `DEPTH`,
            holds more than `VALUES`, or half of a surrogate pair, which is no character and which no
            file can hold.
    """
    brackets = text.count("[") + text.count("{")
    if brackets + text.count(",") > VALUES:
        raise ValueError(f"more than {VALUES:,} values; divide it")
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates)
    except RecursionError as error:
        raise ValueError(_DEEP) from error
    # Few texts can fail these, and walking through a value takes longer than reading it.
    large = finite and _NOT_FINITE.search(text)
    if large or brackets > DEPTH or re.search(r"\\u[dD][89a-fA-F]", text):
        _check_value(value, finite)
    return value


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain YAML, as `read_yaml` describes it."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias (*)", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, "a tag (!)", event.start_mark)
        node = super().compose_node(parent, index)
        if node.tag in _NUMBERS and not _NUMBERS[node.tag].fullmatch(node.value):
            problem = (
                f"{node.value[:60]} is a number to some readers alone; quote it, or use decimals"
            )
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = {"<<"}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value[:60]!r} is a merge or occurs twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    "tag:yaml.org,2002:float": re.compile(
        r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|nan)"
    ),
}
_NOT_FINITE = re.compile(r"NaN|Infinity|[0-9][eE]\+?0*[1-9][0-9]{2}|[0-9]{300}")
_DEEP = f"nested more than {DEPTH} deep"


def _check_value(value: Any, finite: bool) -> None:
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
        elif finite and isinstance(one, float) and not isfinite(one):
            raise ValueError(f"{where[:80] or 'the value'}: {one} is no number that JSON knows")


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
        _to_disk(partial)
        partial.replace(path)
    except OSError as error:
        problem = error.strerror or error
        raise CapoBenchError(f"cannot be written: {problem}", file=path) from error
    finally:
        _remove(partial)


@contextmanager
def writing_all(
    folder: Path, *, whole: Iterable[Path] = (), gone: Iterable[Path] = ()
) -> Iterator[Path]:
    """Where to write files that shall appear below `folder` together: all of them, or none.

    The block writes into another folder, laid out as `folder` is to be. When it ends well, one
    renaming says that all are complete; only then do they take their places. Whoever is killed
    before has changed nothing, and what a process killed later leaves to be done is done when the
    folder is `locked` next.

    Args:
        folder: The folder, which nobody else may have `locked`; it is made. What is in it and is not
            written anew stays.
        whole: Folders in it, relative to it, of which nothing else stays once something is written
            into them.
        gone: Files in it, relative to it, that go if they are there.

    Raises:
        CapoBenchError: If another process writes the folder, or it cannot be written; all is as it
            was.
    """
    with locked(folder):
        staged = folder / STAGED
        try:
            staged.mkdir()
            yield staged
            _to_disk(staged)
            _check_places(folder)
            _note_gone(folder, whole, gone)
            staged.replace(folder / READY)
            _settle(folder)
        except OSError as error:
            problem = error.strerror or error
            raise CapoBenchError(f"cannot be written: {problem}", file=folder) from error
        finally:
            _remove(staged)


def _note_gone(folder: Path, whole: Iterable[Path], gone: Iterable[Path]) -> None:
    """Puts a name beside what is to take its place for each file that then goes."""
    staged = folder / STAGED
    going = [name for name in gone if (folder / name).is_file()]
    for one in whole:
        if (staged / one).is_dir() and (folder / one).is_dir():
            going += (file.relative_to(folder) for file in _files(folder / one))
    for name in going:
        if name.parts[0] not in (LOCK, STAGED) and not (staged / name).exists():
            (staged / GONE / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / GONE / name).touch()


def _check_places(folder: Path) -> None:
    """Makes sure, before anything takes its place, that all can."""
    for file in _files(folder / STAGED):
        place = folder / file.relative_to(folder / STAGED)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            raise OSError(errno.EISDIR, f"{place} is a folder")
        if not os.access(place.parent, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, f"{place.parent}: permission denied")


def _settle(folder: Path) -> None:
    """Puts complete files in their places."""
    ready = folder / READY
    if not ready.is_dir() or ready.is_symlink():
        return
    for file in _files(ready / GONE):
        (folder / file.relative_to(ready / GONE)).unlink(missing_ok=True)
    _remove(ready / GONE)
    for file in _files(ready):
        place = folder / file.relative_to(ready)
        try:
            file.replace(place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with writing(place) as partial:  # a folder below lies on another disk
                shutil.copyfile(file, partial)
            file.unlink()
    shutil.rmtree(ready)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _to_disk(path: Path) -> None:
    """Waits until a file, or every file in a folder, would survive a loss of power."""
    for file in _files(path) if path.is_dir() else [path]:
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())


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
    write_bytes(path, _utf_8(text))


def _utf_8(text: str) -> bytes:
    # The name of a file that is no UTF-8 has halves of surrogate pairs, which no file can hold.
    return text.encode(errors="backslashreplace")


def write_all(folder: Path, files: Mapping[Path, str | None]) -> None:
    """Writes UTF-8 files that belong together as `writing_all` does.

    Args:
        folder: A folder that all of them lie below.
        files: What they shall hold; `None`: the file goes, if it is there.

    Raises:
        CapoBenchError: As `writing_all` does.
    """
    gone = [path.relative_to(folder) for path, text in files.items() if text is None]
    with writing_all(folder, gone=gone) as staged:
        for path, text in files.items():
            if text is not None:
                file = staged / path.relative_to(folder)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(_utf_8(text))


def write_json_lines(path: Path, values: list[Any]) -> None:
    """Writes one JSON value a line, as `writing` does."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps every other process that asks for the same out of a folder; the folder is made.

    The lock ends with the process, however that ends; who has it may ask again. What a killed
    process had completed by `writing_all` and not put in place is put there first.

    Args:
        folder: The folder.
        wait: Wait until another process has left.

    Raises:
        CapoBenchError: If another process has it and `wait` is not set, or the folder cannot be
            written.
    """
    lock = FileLock(folder.absolute() / LOCK, is_singleton=True)
    try:
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise CapoBenchError(
            "is being written by another process; wait for it, or choose another folder",
            file=folder,
        ) from error
    except OSError as error:
        raise CapoBenchError(f"cannot be written: {error.strerror}", file=folder) from error
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            _remove(folder / STAGED)
            _finish(folder)
        yield
    finally:
        if outermost:
            # Whoever waits for a lock that has lost its name asks for the new one.
            _remove(folder / LOCK)
        lock.release()
        if new:
            with suppress(OSError):  # it holds something, as it should
                folder.rmdir()


def _finish(folder: Path) -> None:
    try:
        _settle(folder)
    except OSError as error:
        raise CapoBenchError(f"cannot be written: {error.strerror}", file=folder) from error


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
        whole = "the whole" if line is None else "the line"
        where = [
            first["loc"],
            *(
                other["loc"]
                for other in others
                if first["type"] == other["type"] == "missing"
                and first["loc"][:-1] == other["loc"][:-1]
            ),
        ]
        field = visible(", ".join(".".join(map(str, loc)) for loc in where) or whole)[:300]
        raise CapoBenchError(
            f"{field}: {problem_of(error)} (got {str(first['input'])[:60]!r}); {advice}",
            file=file,
            line=line,
            id=id,
        ) from error


def problem_of(error: ValidationError) -> str:
    """What the first fault of a value is, without where and with what it came."""
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is sought in what is made meanwhile, then or later: for what is read and stays.

    A crowd has a million objects, none of them garbage; to look through them time and again took a
    third of the time of reading, and a tenth of that of scoring.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


@contextmanager
def naming(source: str | Path, *, line: int | None = None, id: str | None = None) -> Iterator[None]:
    """Says of a `CapoBenchError` raised inside in which file it is; line and id stay, if it knows."""
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
