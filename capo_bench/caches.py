"""The local cache. What is kept there says what it is and holds a digest of it.

A file or folder whose digest fails, or that was kept under another key, counts as never made: whoever
asks for it makes it again. No flipped bit, cut file or half-finished conversion becomes a number.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from capo_bench.errors import CapoBenchError
from capo_bench.files import locked, opened, read_bytes, read_json, write_bytes, write_text, writing

SEAL = "capo-bench-seal.json"
"""In a kept folder: its key, and the digest of every other file."""

KEPT_BYTES = 4 * 2**30
"""The most that one kept file may hold."""


def cache_folder() -> Path:
    """The local cache: `$XDG_CACHE_HOME/capo-bench`, by default `~/.cache/capo-bench`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "capo-bench"


def keep(file: Path, key: str, content: bytes) -> None:
    """Keeps what was made from whatever a key stands for.

    Args:
        file: Where; other keys have other files.
        key: One line that changes with everything that the content depends on.
        content: What was made.

    Raises:
        CapoBenchError: If the file cannot be written.
    """
    write_bytes(file, _head(key, content) + content)


def kept(file: Path, key: str) -> bytes | None:
    """What was kept under a key; `None` if nothing was, or if it is not what it was any more."""
    try:
        head, _, content = read_bytes(file, KEPT_BYTES).partition(b"\n")
    except CapoBenchError:
        return None
    return content if head + b"\n" == _head(key, content) else None


def kept_folder(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made once; two processes that want it at once make it once.

    Args:
        folder: Where; other keys have other folders.
        key: Changes with everything that the files depend on.
        make: Fills an empty folder with plain files.

    Raises:
        CapoBenchError: If it cannot be written.
    """
    if _is_whole(folder, key):
        return folder
    with locked(folder.parent, wait=True):
        if not _is_whole(folder, key):  # another process may have made it meanwhile
            shutil.rmtree(folder, ignore_errors=True)
            with writing(folder, folder=True) as partial:
                make(partial)
                write_text(partial / SEAL, json.dumps({"key": key, "files": _digests(partial)}))
    return folder


def _head(key: str, content: bytes) -> bytes:
    digest = hashlib.sha256(f"{key}\n".encode() + content).hexdigest()
    return f"capo-bench-kept {digest} {key}\n".encode()


def _is_whole(folder: Path, key: str) -> bool:
    try:
        return bool(read_json(folder / SEAL) == {"key": key, "files": _digests(folder)})
    except CapoBenchError:
        return False


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_dir() and file != folder / SEAL:
            with opened(file, limit=2**50) as stream:
                # A type of the standard library's stubs, which a BinaryIO happens not to be.
                digest = hashlib.file_digest(stream, "sha256")  # type: ignore[arg-type]
            found[file.relative_to(folder).as_posix()] = digest.hexdigest()
    return found
