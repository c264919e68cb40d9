"""The one exception that means: the input is at fault, not the program."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from capo_bench.display import forgiving, visible


class CapoBenchError(Exception):
    """Bad input, said in one line: what is wrong, where, and what to do about it.

    The command line prints it without a traceback and exits with status 2. Whoever needs to know
    where the fault is reads the attributes; the text is for people.

    Attributes:
        message: What is wrong and what to do, without the place.
        file: The file, folder or other source at fault, if it is one.
        line: The line in it, from 1, if it is known.
        id: The entry at fault as a reader knows it, such as `item 54327n`.
    """

    def __init__(
        self,
        message: str,
        *,
        file: Path | str | None = None,
        line: int | None = None,
        id: str | None = None,
    ) -> None:
        self.message = visible(message)
        super().__init__(self.message)
        self.file = file
        self.line = line
        self.id = id

    def __str__(self) -> str:
        """The place, as far as it is known, and the message: `FILE, line 3, item x: MESSAGE`."""
        line = None if self.line is None else f"line {self.line}"
        place = ", ".join(str(part) for part in (self.file, line, self.id) if part is not None)
        return f"{visible(place)}: {self.message}" if place else self.message


def listed(names: Collection[str], most: int = 8) -> str:
    """Names for a message, the first few of many: `a, b, ... and 40 more`."""
    first = ", ".join(name for _, name in zip(range(most), names, strict=False))
    return first if len(names) <= most else f"{first} ... and {len(names) - most} more"


UNEXPECTED = 70
"""Exit status of a fault that is not the input's (EX_SOFTWARE of sysexits.h)."""

_REFUSED = frozenset(
    {
        errno.EACCES, errno.EDQUOT, errno.EIO, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOSPC,
        errno.EPERM, errno.EROFS,
    }
)  # fmt: skip
"""What a system refuses a file whatever the program does: no space, no permission, no such name."""

DEBUG_VARIABLE = "CAPO_BENCH_DEBUG"
"""Environment variable: with any value, tracebacks are shown."""


def exit_status(command: Callable[[], object]) -> int:
    """Runs a command; whatever goes wrong is one line on stderr.

    Returns:
        0; 2 if the input, or a file that the system refuses, is at fault; `UNEXPECTED` if the program
        is. What the command itself exits
        with passes through, but for a pipe that nobody reads any more: 141, as a shell says it.
    """
    for stream in (sys.stdout, sys.stderr):
        forgiving(stream)
    try:
        command()
    except CapoBenchError as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        print(f"capo-bench: {visible(error)}", file=sys.stderr)
        return 2
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer turns it into status 1
            return 141
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename and error.errno in _REFUSED:
            print(f"capo-bench: {visible(_short(error))}", file=sys.stderr)
            return 2
        print(f"capo-bench: {unexpected(error)}", file=sys.stderr)
        return UNEXPECTED
    return 0


def _short(error: OSError) -> str:
    return f"{str(error.filename)[:200]}: {error.strerror}"


@contextmanager
def noting_faults(note: Callable[[str], object]) -> Iterator[None]:
    """Has a fault of the program in the block noted, so that it harms nothing after it.

    What is the input's fault, a `CapoBenchError`, goes on.

    Args:
        note: Is told what went wrong, in a line.
    """
    try:
        yield
    except CapoBenchError:
        raise
    except Exception as error:
        note(unexpected(error))


def unexpected(error: Exception) -> str:
    """What to say of a fault of the program, in a line; `DEBUG_VARIABLE` prints its traceback."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    said = " ".join(str(error).split())[:300]
    return (
        f"unexpected {type(error).__name__}: {visible(said)}; please report it with the traceback, "
        f"which {DEBUG_VARIABLE}=1 shows"
    )
