"""How a text is written: features of style, and the reduction of a text to its style.

Two readers share this file. The attribution classifier takes all features; explanation consistency
takes the interpretable ones (`STYLE_FEATURES`), whose names can stand in a report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import regex
from numpy.typing import NDArray

from capo_bench.metrics.tokens import WORD, composed, words

_REMEMBERED = 2**15  # texts beside their inputs: several metrics and rows read the same ones

# Closed-class words of English. Their rates carry style and hardly any content.
FUNCTION_WORDS = tuple(
    """
    a about above after again against all almost also although always am among an and another any
    anyone anything are around as at away back be because been before being below between both but by
    can cannot could did do does doing done down each either else enough even ever every everyone few
    for from further get gets had has have having he hence her here him himself his how however i if
    in instead into is it its itself just less like may maybe me might mine more most much must my
    neither never no nobody none nor not nothing now of off often on once one only or other others our
    out over own perhaps quite rather really same shall she should since so some someone something
    sometimes still such than that the their them themselves then there therefore these they thing
    things this those though through thus to together too toward under until up upon us very was we
    well were what when where whereas whether which while who whom whose why will with within without
    would yet you your""".split()
)
_FUNCTION = frozenset(FUNCTION_WORDS)
_HEDGES = frozenset(
    "may might maybe perhaps possible possibly probably likely unlikely seem seems appear appears "
    "could would sometimes usually generally think guess assume unclear sure certain".split()
)
_NEGATIONS = frozenset("no not never none nothing nobody nor neither cannot without".split())
_FIRST_PERSON = frozenset("i me my mine we us our ours".split())
_CONNECTIVES = frozenset(
    "because since so therefore thus hence but however although though while whereas if".split()
)
_TASK_WORDS = frozenset(
    "context statement premise hypothesis sentence sentences question questions q1 q2 first second "
    "both mentioned mention mentions says said states stated".split()
)

_COMMA = re.compile(r"[,،、，]")
_SENTENCE_END = re.compile(r"[.!?؟।۔]+(?:\s|$)|[。！？]+")
_FULL_STOPS = (".", "。", "।", "۔")
_QUOTE = re.compile(r"[\"“”«»„「」]|(?<!\w)['‘]|['’](?!\w)")

STYLE_FEATURES = (
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
    "function words",
    "hedges",
    "negations",
    "first person",
    "connectives",
    "words for the task",
)
# For each input text: what share of the explanation comes from it, and how much of it is used.
OVERLAPS = (
    "unigrams copied",
    "content words copied",
    "bigrams copied",
    "longest copied run",
    "coverage",
)


def mask_content(text: str, inputs: Sequence[str]) -> str:
    """Replaces every word that occurs in an input and is no function word by `#`.

    What is left of two explanations of one item tells the writer, not the item.
    """
    return _masked(text, tuple(inputs))


@lru_cache(maxsize=_REMEMBERED)
def _masked(text: str, inputs: tuple[str, ...]) -> str:
    content = {word for source in inputs for word in words(source)} - _FUNCTION

    def mask(match: regex.Match[str]) -> str:
        word = composed(match.group().lower()).replace("’", "'")
        return "#" if word in content else str(match.group())

    return str(WORD.sub(mask, composed(text)))


def style_feature_names(fields: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of `style_features` for items with these input fields."""
    return (*STYLE_FEATURES, *(f"{what} from {field}" for field in fields for what in OVERLAPS))


def style_features(text: str, inputs: Mapping[str, str]) -> list[float]:
    """The interpretable features of one text, in the order of `style_feature_names(inputs)`.

    Args:
        text: An explanation; may be empty (rates of an empty text are 0).
        inputs: The item's input texts by field.
    """
    return list(_style_features(text, tuple(inputs.values())))


@lru_cache(maxsize=_REMEMBERED)
def _style_features(text: str, inputs: tuple[str, ...]) -> tuple[float, ...]:
    text = composed(text)
    tokens = words(text)
    n = max(len(tokens), 1)

    def rate(vocabulary: frozenset[str]) -> float:
        return sum(token in vocabulary for token in tokens) / n

    negations = sum(token in _NEGATIONS or token.endswith("n't") for token in tokens) / n
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
        sum(character.isdigit() for character in text) / n,
        sum(character.isupper() for character in text) / n,
        rate(_FUNCTION),
        rate(_HEDGES),
        negations,
        rate(_FIRST_PERSON),
        rate(_CONNECTIVES),
        rate(_TASK_WORDS),
    ]
    for source in inputs:
        row.extend(_overlap(tokens, words(source)))
    return tuple(row)


def features(texts: Sequence[str], inputs: Sequence[Mapping[str, str]]) -> NDArray[np.float64]:
    """All features of style: the style features, then the rate of each function word.

    Args:
        texts: n explanations.
        inputs: Their items' input texts.

    Returns:
        Array of shape (n, style features + function words).
    """
    column = {word: index for index, word in enumerate(FUNCTION_WORDS)}
    rates = np.zeros((len(texts), len(FUNCTION_WORDS)))
    for row, text in zip(rates, texts, strict=True):
        tokens = words(text)
        for token in tokens:
            if token in column:
                row[column[token]] += 1 / len(tokens)
    own = np.array(
        [style_features(text, source) for text, source in zip(texts, inputs, strict=True)]
    )
    return np.hstack([own.reshape(len(texts), -1), rates])


def _overlap(tokens: list[str], source: list[str]) -> list[float]:
    vocabulary = set(source)
    copied = sum(token in vocabulary for token in tokens)
    content = [token for token in tokens if token not in _FUNCTION]
    pairs = set(pairwise(source))
    own_pairs = list(pairwise(tokens))
    return [
        copied / max(len(tokens), 1),
        sum(token in vocabulary for token in content) / max(len(content), 1),
        sum(pair in pairs for pair in own_pairs) / max(len(own_pairs), 1),
        float(_longest_run(tokens, source)),
        len(vocabulary & set(tokens)) / max(len(vocabulary), 1),
    ]


def _longest_run(a: list[str], b: list[str]) -> int:
    # Longest common substring of words by dynamic programming; few pairs of words are equal, so that
    # only those are visited. `ending` has the length of the run that ends at each place in b.
    places: dict[str, list[int]] = {}
    for j, token in enumerate(b):
        places.setdefault(token, []).append(j)
    longest = 0
    ending: dict[int, int] = {}
    for token in a:
        ending = {j: ending.get(j - 1, 0) + 1 for j in places.get(token, ())}
        longest = max(longest, *ending.values(), 0)
    return longest
