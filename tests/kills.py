"""A writer killed at every change that it makes to files: what is there then, and after another try.

The process dies by signal 9 just before the change; the file that it wrote last is cut in half, as
far as it has no lasting name yet. Run as a program, the writers of `capo_bench.files` are tried:

    python -m tests.kills
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from capo_bench import files

_NAMED = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
Write = Callable[[Path], object]
Read = Callable[[bytes], bytes]


def _dies_at(change: int, root: Path, write: Write) -> bool:
    """Runs a writer in a child; whether it died at a change, counted from 1 (0: it lives)."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise AssertionError(f"the writer failed, to be killed at {change}: see above")
        return os.WIFSIGNALED(status)
    seen, last = 0, ""
    busy = False

    def hook(event: str, details: tuple[Any, ...]) -> None:
        nonlocal seen, last, busy
        writes = event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if busy or not (writes or event in _NAMED) or isinstance(details[0], int):
            return
        # A path that is relative to an open folder comes from shutil.rmtree.
        within = -1 not in details[1:] if event in ("os.remove", "os.rmdir") else False
        if not within and not os.path.abspath(os.fsdecode(details[0])).startswith(str(root)):
            return
        seen += 1
        if seen == change:
            busy = True
            with suppress(OSError):
                if last:
                    os.truncate(last, os.path.getsize(last) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        last = os.fsdecode(details[0]) if writes else ""

    try:
        files._sweep.cache_clear()
        os.fsync = lambda _: None  # the machine lives on
        sys.addaudithook(hook)
        write(root)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part.endswith(".partial") for part in path.parts)


def _shown(root: Path, read: Read) -> dict[str, bytes]:
    """What a reader finds in a folder."""
    return {
        str(path.relative_to(root)): read(path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and not _hidden(path.relative_to(root))
    }


def campaign(root: Path, write: Write, read: Read = bytes, every: int = 1) -> Counter[str]:
    """Kills a writer at each of its changes.

    Args:
        root: A folder as an earlier writing left it; or an empty one.
        write: Writes into the folder anew. It is called once more after each kill.
        read: What of a file's content is to be the same, whoever wrote it.
        every: At each so many-th change only, where writing takes long.

    Returns:
        How many kills left all that is shown as it was (`old`), as it was to be (`new`), or some so
        and some so, all complete and the rest beside it under `READY` (`taking places`).

    Raises:
        AssertionError: If anything else was left, or the next writing did not make all of it right.
    """
    kept = root.with_name(f"{root.name}-kept")
    shutil.copytree(root, kept, symlinks=True)

    def again() -> None:
        shutil.rmtree(root)
        shutil.copytree(kept, root, symlinks=True)

    old = _shown(root, read)
    write(root)  # in this process: what it imports and remembers, its children have, too
    new = _shown(root, read)
    assert new != old
    found: Counter[str] = Counter()
    for change in range(1, 10_000, every):
        again()
        if not _dies_at(change, root, write):
            break
        left = _shown(root, read)
        whole = all(content in (old.get(name), new.get(name)) for name, content in left.items())
        states = {"old": left == old, "new": left == new}
        states["taking places"] = whole and any(root.rglob(files.READY))
        state = next((state for state, holds in states.items() if holds), None)
        assert state, f"killed at {change}: neither old nor new: {_differing(left, old, new)}"
        found[state] += 1
        _dies_at(0, root, write)
        left = _shown(root, read)
        assert left == new, f"killed at {change}, then: {_differing(left, old, new)}"
        # A lock's file may stay: whoever locks next takes it.
        hidden = [path for path in root.rglob("*") if _hidden(path.relative_to(root))]
        hidden = [path for path in hidden if path.name != files.LOCK]
        assert not hidden, f"killed at {change}, then: left over {hidden}"
    again()
    shutil.rmtree(kept)
    return found


def _differing(left: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    def kind(name: str) -> str:
        is_old, is_new = left.get(name) == old.get(name), left.get(name) == new.get(name)
        if is_old or is_new:
            return "same" if is_old and is_new else "old" if is_old else "new"
        return repr(left.get(name, b"")[:80])

    return [f"{name} {kind(name)}" for name in sorted({*left, *old, *new})]


def _together(root: Path) -> None:
    files.write_all(root, {root / name: "new" * 50 for name in ("a", "b", "below/c", "d")})


def _whole(root: Path) -> None:
    with files.writing_all(root, whole=[Path("below")]) as staged:
        for name in ("below/c", "below/e", "a"):
            files.write_text(staged / name, "new" * 50)


def _one(root: Path) -> None:
    files.write_text(root / "a", "new" * 50)


def _folder(root: Path) -> None:
    if (root / "made").exists():
        return
    with files.writing(root / "made", folder=True) as partial:
        for name in "xy":
            files.write_text(partial / name, "new" * 50)


def main() -> None:
    """Prints the kills of each writer."""
    for write in (_one, _together, _whole, _folder):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve() / "root"
            root.mkdir()
            (root / "below").mkdir()
            for name in ("a", "b", "below/c", "below/gone", "other"):
                (root / name).write_text("old" * 50)
            found = campaign(root, write)
        print(write.__name__[1:], *(f"{state} {times}" for state, times in found.items()), sep=", ")


if __name__ == "__main__":
    main()
