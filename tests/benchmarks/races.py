"""Two processes at once: one swaps or writes what the other reads or writes.

    python tests/benchmarks/races.py

A file is swapped for a link to a secret, a pipe and a folder while it is read; two processes write
one file while it is read; two write a folder's files together, each in its turn.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path

from capo_bench.errors import CapoBenchError
from capo_bench.files import locked, read_text, write_all, write_text


def swapped(place: Path) -> Counter[str]:
    """Reads of a file whose name is given to other things all the time."""
    file, secret = place / "card.yaml", place / "secret"
    secret.write_text("secret")
    file.write_text("mine")

    def swap() -> None:
        while True:
            for kind in ("file", "link", "pipe", "folder"):
                other = place / f"other-{kind}"
                if kind == "link":
                    other.symlink_to(secret)
                elif kind == "pipe":
                    os.mkfifo(other)
                elif kind == "file":
                    other.write_text("mine")
                if kind != "folder":
                    os.replace(other, file)
                else:
                    file.unlink()
                    file.mkdir()
                    file.rmdir()
                time.sleep(0)  # the reader's turn

    return beside(swap, lambda: read_text(file))


def beside(other: Callable[[], None], ours: Callable[[], str], times: int = 5_000) -> Counter[str]:
    """What comes of calls of ours while another process does something."""
    process = Process(target=other)
    process.start()
    found: Counter[str] = Counter()
    for _ in range(times):
        try:
            found[ours()] += 1
        except CapoBenchError:
            found["refused"] += 1
    process.kill()
    process.join()
    return found


def one_file(place: Path) -> Counter[str]:
    """Reads of a file that two processes write; whole is what one of them wrote."""
    file = place / "f"
    write_text(file, "ours" * 5000)

    def write() -> None:
        while True:
            write_text(file, "theirs" * 5000)

    def both() -> str:
        write_text(file, "ours" * 5000)
        return "whole" if read_text(file) in ("ours" * 5000, "theirs" * 5000) else "torn"

    return beside(write, both, 500)


def one_folder(place: Path) -> Counter[str]:
    """Files written together by two processes, and read under the folder's lock."""
    files = [place / name for name in "abc"]

    def write() -> None:
        while True:
            with locked(place, wait=True):
                write_all(place, dict.fromkeys(files, "theirs"))
            time.sleep(0.02)

    def both() -> str:
        with locked(place, wait=True):
            write_all(place, dict.fromkeys(files, "ours"))
        with locked(place, wait=True):
            return "together" if len({file.read_text() for file in files}) == 1 else "mixed"

    return beside(write, both, 100)


def main() -> None:
    """Prints what came of each race."""
    os.fsync = lambda _: None
    for race in (swapped, one_file, one_folder):
        with tempfile.TemporaryDirectory() as folder:
            found = race(Path(folder))
        print(race.__name__, *(f"{what} {times}" for what, times in found.items()), sep=", ")


if __name__ == "__main__":
    main()
