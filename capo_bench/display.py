r"""Strangers' text, made safe to show: one function for terminals, tables, pages and logs.

Names, ids and messages may hold what steers a terminal, turns the direction of reading, cannot be
seen, or breaks a line where a line means something. All of that is shown as an escape, such as
`\\x1b` or `\\u202e`, so that nothing happens and nobody is deceived.
"""

from __future__ import annotations

import json
import re
import sys
import time
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

from rich.console import Console
from rich.text import Text

T = TypeVar("T")

_LOGGED = 60  # seconds between two lines of progress where there is no terminal

# Cc: controls; Cf: direction, joiners, tags, soft hyphens; Cs: halves of surrogate pairs; Co: private
# use; Cn: unassigned; Zl, Zp: line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that are drawn as nothing: fillers, variation selectors, Khmer vowel signs; and
# blanks that could pass for the common one.
_BLANK = frozenset(
    "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u2800"
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
) | {
    chr(code) for start, end in ((0xFE00, 0xFE10), (0xE0100, 0xE01F0)) for code in range(start, end)
}

# `::error file=f::text` after blanks, `##[error]text` anywhere (actions/runner, ActionCommand.cs).
_COMMAND = re.compile(r"::(?=[A-Za-z-]+(?: [^\n]*?)?::)|##(?=\[)")


def visible(text: object, *, lines: bool = False) -> str:
    """A text as it is printed: as `revealed` shows it, and nothing in it that a program would obey.

    What GitHub's runners take for a command, wherever it comes to stand in a line, is escaped, too.

    Args:
        text: The text.
        lines: Keep line breaks and tabs: for a text of several lines.
    """
    plain = _COMMAND.sub(lambda found: f"\\x{ord(found[0][0]):x}{found[0][1:]}", str(text))
    return revealed(plain, lines=lines)


def revealed(plain: str, *, lines: bool = False) -> str:
    """A text as it is, but with an escape for every character that cannot be seen or that steers.

    Joiners and selectors stay where they belong: within emoji and within a script that joins.

    Args:
        plain: The text.
        lines: Keep line breaks and tabs: for a text of several lines.
    """
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(
        _shown(character, plain[place - 1 : place], lines) for place, character in enumerate(plain)
    )


def _shown(character: str, before: str, lines: bool) -> str:
    if lines and character in "\n\t":
        return character
    joining = character in "\u200c\u200d\ufe0e\ufe0f" and before and _joins(before)
    hidden = unicodedata.category(character) in _HIDDEN or character in _BLANK
    return character.encode("unicode_escape").decode() if hidden and not joining else character


def _joins(before: str) -> bool:
    """Whether a joiner or a selector after this character changes how it looks."""
    return unicodedata.category(before) in ("So", "Sk", "Mn", "Mc") or "\u0600" <= before < "\u1100"


def blank(text: str) -> bool:
    """Whether nothing of a text can be seen."""
    return all(c.isspace() or _shown(c, "", lines=False) != c for c in text)


def say(*lines: object, file: TextIO | None = None) -> None:
    """Prints lines as `visible` shows them, each of them one line, whatever is in it."""
    for line in lines:
        print(visible(line), file=file)


def json_text(value: Any) -> str:
    """JSON to print: ASCII alone, and nothing in it that a runner of GitHub would obey."""
    return json.dumps(value, indent=2).replace("##[", "\\u0023#[")


def neutral(text: str) -> str:
    """A cell that a spreadsheet shows and does not execute.

    An apostrophe goes before whatever could start a formula, full-width signs among them, as OWASP
    advises against CSV injection (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    executed = text.lstrip()[:1] in set("=+-@＝＋－＠") or text[:1] in set("\t\r\n")
    return visible(f"'{text}" if executed else text, lines=True)


def skeleton(name: str) -> str:
    """What is left of a name when everything is gone that a reader can overlook.

    Case, blanks, widths and hidden characters, and the letters and digits that look alike in most
    fonts (the commonest of Unicode Technical Standard 39). Two names of one skeleton look alike.
    """
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_ALIKE)
    return "".join(c for c in plain if not c.isspace() and visible(c) == c)


def look_alikes(names: Collection[str]) -> tuple[str, str] | None:
    """Two names that look alike, if any do; of names in ASCII alone nobody takes one for another."""
    if "".join(names).isascii():
        return None
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(skeleton(name), name)
        if other != name and not (other + name).isascii():
            return other, name
    return None


_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d"  # Cyrillic
    "\u03b1\u03bf\u03c1\u03bd\u03b9\u03c5\u03ba\u03c7"  # Greek
    "\u0131\u2010\u2011\u2012\u2013\u2014\u2212il|0",
    "aeopcyxijshdqwaopviukxi------111o".replace("i", "1"),
)


def console(*, stderr: bool = False) -> Console:
    """A terminal to which strings are text: no markup, no emoji codes, nothing hidden."""
    return _Plain(stderr=stderr, markup=False, emoji=False, highlight=False)


class _Plain(Console):
    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(visible(text, lines=True), **how)


def tracked(
    items: Iterable[T],
    description: str,
    total: int | None = None,
    *,
    transient: bool = False,
    silent: bool = False,
) -> Iterator[T]:
    """The items, while stderr says how many have been taken: a bar, or in a log a line a minute.

    Args:
        items: The items.
        description: What is done with them.
        total: Their number, where they do not know it.
        transient: Whether a bar goes when it is full.
        silent: Say nothing.
    """
    if total is None and isinstance(items, Sequence):
        total = len(items)
    if silent:
        yield from items
        return
    place = console(stderr=True)
    if place.is_terminal:
        from rich.markup import escape
        from rich.progress import track

        told = escape(visible(description))
        yield from track(items, told, total, console=place, transient=transient)
        return
    start = last = time.monotonic()
    for taken, item in enumerate(items):
        now = time.monotonic()
        if now - last >= _LOGGED:
            of = "" if total is None else f" of {total}"
            say(f"{description}: {taken}{of}, {(now - start) / 60:.0f} min", file=sys.stderr)
            last = now
        yield item


def forgiving(stream: TextIO) -> None:
    """Lets a terminal that knows few characters get escapes in place of the others, and no error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
