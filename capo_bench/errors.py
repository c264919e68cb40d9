"""The one exception that means: the input is at fault, not the program."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


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
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.id = id

    def __str__(self) -> str:
        """The place, as far as it is known, and the message: `FILE, line 3, item x: MESSAGE`."""
        line = None if self.line is None else f"line {self.line}"
        place = ", ".join(str(part) for part in (self.file, line, self.id) if part is not None)
        return f"{place}: {self.message}" if place else self.message


def listed(names: Collection[str], most: int = 8) -> str:
    """Names for a message, the first few of many: `a, b, ... and 40 more`."""
    first = ", ".join(name for _, name in zip(range(most), names, strict=False))
    return first if len(names) <= most else f"{first} ... and {len(names) - most} more"
