"""How a text is written: features of style, and the reduction of a text to its style.

Two readers share this file. The attribution classifier takes all features; explanation consistency
takes the interpretable ones (`style_feature_names`), whose names can stand in a report. Which words
are of which kind is the lexicon's to say: of a language that it has no list for, nothing that takes
one is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import regex
from numpy.typing import NDArray

from capo_bench.metrics.lexicon import Lexicon
from capo_bench.metrics.tokens import composed, normalise, word_pattern, words

_REMEMBERED = 2**13  # texts beside their inputs: several metrics and rows read the same ones

_COMMA = re.compile(r"[,،、，]")
_SENTENCE_END = re.compile(r"[.!?؟।۔]+(?:\s|$)|[。！？]+")
_FULL_STOPS = (".", "。", "।", "۔")
_QUOTE = re.compile(r"[\"“”«»„「」]|(?<!\w)['‘]|['’](?!\w)")

_FORM = (
    "words",
    "characters per word",
    "type-token ratio",
    "words per sentence",
    "commas per word",
    "final full stop",
    "initial capital",
    "quotation marks per word",
    "brackets per word",
    "digits per word",
    "capitals per word",
)
_FUNCTION_WORDS = "function words"
# For each input text: what share of the explanation comes from it, and how much of it is used.
_CONTENT_COPIED = "content words copied"
OVERLAPS = ("unigrams copied", _CONTENT_COPIED, "bigrams copied", "longest copied run", "coverage")


def mask_content(text: str, inputs: Sequence[str], lexicon: Lexicon) -> str:
    """Replaces every word that occurs in an input and is no function word by `#`.

    What is left of two explanations of one item tells the writer, not the item.
    """
    return _masked(text, tuple(inputs), lexicon)


def mask_normalised(text: str, inputs: Mapping[str, str], lexicon: Lexicon) -> str:
    """`mask_content` of a text and its item's input texts by field all normalised."""
    sources = [normalise(source) for source in inputs.values()]
    return mask_content(normalise(text), sources, lexicon)


@lru_cache(maxsize=_REMEMBERED)
def _masked(text: str, inputs: tuple[str, ...], lexicon: Lexicon) -> str:
    content = {word for source in inputs for word in words(source)} - lexicon.function

    def mask(match: re.Match[str] | regex.Match[str]) -> str:
        word = composed(match.group().lower()).replace("’", "'")
        return "#" if word in content else str(match.group())

    text = composed(text)
    return str(word_pattern(text).sub(mask, text))


def style_feature_names(fields: Sequence[str], lexicon: Lexicon) -> tuple[str, ...]:
    """Names of the columns of `style_features` for items with these input fields."""
    listed = (_FUNCTION_WORDS,) if lexicon.function_words else ()
    # Without function words, all words would be content.
    known = [what for what in OVERLAPS if listed or what != _CONTENT_COPIED]
    overlaps = (f"{what} from {field}" for field in fields for what in known)
    return (*_FORM, *listed, *lexicon.kinds, *overlaps)


def style_features(text: str, inputs: Mapping[str, str], lexicon: Lexicon) -> list[float]:
    """The interpretable features of one text, in the order of `style_feature_names(inputs)`.

    Args:
        text: An explanation; may be empty (rates of an empty text are 0).
        inputs: The item's input texts by field.
        lexicon: Of the corpus's languages.
    """
    return list(_style_features(text, tuple(inputs.values()), lexicon))


@lru_cache(maxsize=_REMEMBERED)
def _style_features(text: str, inputs: tuple[str, ...], lexicon: Lexicon) -> tuple[float, ...]:
    text = composed(text)
    tokens = words(text)
    n = max(len(tokens), 1)

    def rate(is_one: Callable[[str], bool]) -> float:
        return sum(map(is_one, tokens)) / n

    row = [
        float(len(tokens)),
        sum(map(len, tokens)) / n,
        len(set(tokens)) / n,
        len(tokens) / max(len(_SENTENCE_END.findall(text)), 1),
        len(_COMMA.findall(text)) / n,
        float(text.endswith(_FULL_STOPS)),
        float(text[:1].isupper()),
        len(_QUOTE.findall(text)) / n,
        (text.count("(") + text.count("[")) / n,
        sum(map(str.isdigit, text)) / n,
        sum(map(str.isupper, text)) / n,
    ]
    if lexicon.function_words:
        row.append(rate(lexicon.function.__contains__))
    row.extend(map(rate, lexicon.kinds.values()))
    for source in inputs:
        row.extend(_overlap(tokens, _source(source), lexicon))
    return tuple(row)


def features(
    texts: Sequence[str], inputs: Sequence[Mapping[str, str]], lexicon: Lexicon
) -> NDArray[np.float64]:
    """All features of style: the style features, then the rate of each function word.

    Args:
        texts: n explanations.
        inputs: Their items' input texts.
        lexicon: Of the corpus's languages.

    Returns:
        Array of shape (n, style features + function words).
    """
    column = {word: index for index, word in enumerate(lexicon.function_words)}
    rates = np.zeros((len(texts), len(column)))
    for row, text in zip(rates, texts, strict=True):
        tokens = words(text)
        counted = [0.0] * len(column)  # cells that Python counts up faster than an array's
        for token in tokens:
            if token in column:
                counted[column[token]] += 1 / len(tokens)
        row[:] = counted
    own = np.array(
        [style_features(text, source, lexicon) for text, source in zip(texts, inputs, strict=True)]
    )
    return np.hstack([own.reshape(len(texts), -1), rates])


@dataclass(frozen=True)
class _Source:
    """An input text, for those who look words up in it.

    Attributes:
        pairs: Pairs of neighbours.
        places: Where each word stands.
    """

    pairs: frozenset[tuple[str, str]]
    places: Mapping[str, Sequence[int]]


@lru_cache(maxsize=_REMEMBERED)
def _source(text: str) -> _Source:
    tokens = words(text)
    places: dict[str, list[int]] = {}
    for at, token in enumerate(tokens):
        places.setdefault(token, []).append(at)
    return _Source(frozenset(pairwise(tokens)), places)


def _overlap(tokens: list[str], source: _Source, lexicon: Lexicon) -> list[float]:
    vocabulary = source.places.keys()
    copied = sum(map(vocabulary.__contains__, tokens))
    content = [token for token in tokens if token not in lexicon.function]
    own_pairs = list(pairwise(tokens))
    of_content = sum(map(vocabulary.__contains__, content)) / max(len(content), 1)
    return [
        copied / max(len(tokens), 1),
        *([of_content] if lexicon.function_words else []),
        sum(map(source.pairs.__contains__, own_pairs)) / max(len(own_pairs), 1),
        float(_longest_run(tokens, source.places)),
        len(vocabulary & set(tokens)) / max(len(vocabulary), 1),
    ]


def _longest_run(a: list[str], places: Mapping[str, Sequence[int]]) -> int:
    # Longest common substring of words by dynamic programming; few pairs of words are equal, so that
    # only those are visited. `ending` has the length of the run that ends at each place in b.
    longest = 0
    ending: dict[int, int] = {}
    for token in a:
        at = places.get(token)
        ending = {j: ending.get(j - 1, 0) + 1 for j in at} if at else {}
        if ending:
            longest = max(longest, *ending.values())
    return longest
