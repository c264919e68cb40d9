"""What a word is, in any script: the one tokeniser of all metrics that read text.

Texts are compared in Unicode's composed form (NFC), so that it does not matter how an accent was
typed. Vowel signs and other marks belong to the letter before them. Where a script has no blanks
between words, a character is a word, as is an emoji.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import regex

_REMEMBERED = 2**14  # texts: many metrics and rows read the same ones

_LETTER = r"[\p{L}\p{N}]"
_EMOJI = (
    r"(?:\p{Regional_Indicator}{2}|"
    r"\p{Extended_Pictographic}(?:[\p{M}\p{Emoji_Modifier}\u200d]\p{Extended_Pictographic}?)*)"
)
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_UNSPACED_LETTER = rf"(?=\p{{L}}){_UNSPACED}\p{{M}}*"
_ALONE = rf"(?:{_UNSPACED_LETTER}|{_EMOJI})"
_RUN = rf"(?:(?!{_UNSPACED}){_LETTER}\p{{M}}*)+"

WORD = regex.compile(rf"{_ALONE}|{_RUN}(?:['’]{_RUN})*")
"""A word; an apostrophe inside is part of it."""

_ASCII_WORD = re.compile(r"[0-9A-Za-z]+(?:'[0-9A-Za-z]+)*")

_SINGLE = regex.compile(_ALONE)
_UNSPACED_WORD = regex.compile(_UNSPACED_LETTER)
_PUNCTUATION = regex.compile(
    r"[^\p{L}\p{N}\p{M}\s'’\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}\u200d]"
)
_CONTRACTION = regex.compile(r"(?<=\w)[ '’]+(t|s|d|m|ll|re|ve)\b")
_APOSTROPHES = regex.compile(r"['’]")


def word_pattern(text: str) -> re.Pattern[str] | regex.Pattern[str]:
    """What finds the words of a text: `WORD`, or the same of ASCII alone, in a fifth of the time."""
    return _ASCII_WORD if text.isascii() else WORD


def composed(text: str) -> str:
    """The text in Unicode's composed form."""
    return unicodedata.normalize("NFC", text)


def words(text: str) -> list[str]:
    """The words of a text in lower case; apostrophes stay inside words."""
    return list(_words(text))


@lru_cache(maxsize=_REMEMBERED)
def _words(text: str) -> tuple[str, ...]:
    text = composed(text.lower())
    return tuple(word.replace("’", "'") for word in word_pattern(text).findall(text))


def plain_words(text: str) -> list[str]:
    """The words of a text in lower case, cut at apostrophes: what ROUGE takes for words."""
    return [part for word in words(text) for part in word.split("'")]


def mostly_unspaced(texts: Sequence[str]) -> bool:
    """Whether most letters are of scripts that have no blanks between words."""
    letters = sum(character.isalpha() for text in texts for character in text)
    return 2 * sum(len(_UNSPACED_WORD.findall(text)) for text in texts) > letters


def set_apart(text: str) -> str:
    """The text with blanks around every character of a script that has none between words."""
    return str(_UNSPACED_WORD.sub(r" \g<0> ", text))


@lru_cache(maxsize=_REMEMBERED)
def normalise(text: str) -> str:
    """Lower case, no punctuation, single blanks; contractions as one word, however they are typed.

    Otherwise one annotator's missing full stop decides whom a text is attributed to, or that
    somebody types `don't` as `dont`. Where a character is a word, blanks set it apart.
    """
    text = composed(text.lower())
    if not text.isascii():
        text = str(_SINGLE.sub(r" \g<0> ", text))
    text = " ".join(_PUNCTUATION.sub(" ", text).split())
    return str(_APOSTROPHES.sub("", _CONTRACTION.sub(r"\1", text)))
