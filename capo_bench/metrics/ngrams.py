"""TF-IDF of n-grams that are counted all at once, and not one by one in Python."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it can be divided by modulo 2^64
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))
_BLANKS = re.compile(r"\s\s+")

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


class NgramVectorizer(TfidfVectorizer):  # type: ignore[misc]
    """scikit-learn's `TfidfVectorizer` with the same numbers, several times faster.

    Of its analyzers there are `char`, `char_wb` and `word`, the latter on whatever blanks divide.
    Every n-gram is a run of characters of the texts put one after another, and is known by a 64-bit
    hash, which two of a million share once in tens of millions of fits.
    """

    def _count_vocab(
        self, raw_documents: Iterable[str], fixed_vocab: bool
    ) -> tuple[dict[str, int], csr_matrix]:
        """Columns by n-gram, in the order in which they occur if there are none yet, and counts."""
        texts = list(raw_documents)
        whole, start, end, text = self._grams(texts)
        hashes = _hashes(whole, start, end)
        if fixed_vocab:
            vocabulary = self.vocabulary_
            known, column = self._columns
            at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            found = known[at] == hashes
            columns, text = column[at[found]], text[found]
        else:
            self.__dict__.pop("_columns", None)
            if not len(hashes):
                raise ValueError("empty vocabulary; there is no n-gram in any text")
            _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
            order = np.argsort(first)
            place = np.empty(len(order), dtype=np.int64)
            place[order] = np.arange(len(order))
            columns = place[which]
            seen = first[order]
            runs = zip(start[seen].tolist(), end[seen].tolist(), strict=True)
            vocabulary = {whole[a:b]: column for column, (a, b) in enumerate(runs)}
        width = len(vocabulary)
        cells, counts = np.unique(text * width + columns, return_counts=True)
        starts = np.searchsorted(cells, np.arange(len(texts) + 1) * width)
        return vocabulary, csr_matrix(
            (
                counts.astype(np.float64),
                (cells % width).astype(np.int32),
                starts.astype(np.int32),
            ),
            shape=(len(texts), width),
        )

    @cached_property
    def _columns(self) -> tuple[Hashes, Places]:
        """Hashes of the vocabulary, ascending, and the column of each."""
        ends = np.cumsum([len(gram) for gram in self.vocabulary_], dtype=np.int64)
        hashes = _hashes("".join(self.vocabulary_), np.append(0, ends[:-1]), ends)
        order = np.argsort(hashes)
        return hashes[order], np.array(list(self.vocabulary_.values()), dtype=np.int64)[order]

    def _grams(self, texts: list[str]) -> tuple[str, Places, Places, Places]:
        """The n-grams of texts, in the order in which scikit-learn's analyzers give them.

        Returns:
            The texts put one after another, where in that each n-gram begins and ends, and whose it
            is.
        """
        start: Places
        end: Places
        within: Places
        if self.analyzer == "char":
            parts = [_BLANKS.sub(" ", text) for text in texts]
            of_part = np.arange(len(texts))
        else:
            of_text = [text.split() for text in texts]
            parts = [word for own in of_text for word in own]
            of_part = np.repeat(np.arange(len(texts)), [len(own) for own in of_text])
        if self.analyzer == "word":  # of words, with a blank between two
            whole = " ".join(parts)
            sizes = np.array([len(part) for part in parts], dtype=np.int64)
            end, within = np.cumsum(sizes + 1) - 1, of_part
            start = end - sizes
        else:  # of characters, and `char_wb` within words with a blank on either side
            parts = parts if self.analyzer == "char" else [f" {part} " for part in parts]
            whole = "".join(parts)
            start = np.arange(len(whole))
            end, within = start + 1, np.repeat(np.arange(len(parts)), [len(one) for one in parts])
        shortest, longest = self.ngram_range
        runs = []
        for n in range(shortest, min(longest, len(start)) + 1):
            first, last = slice(len(start) - n + 1), slice(n - 1, None)
            same = within[first] == within[last]
            runs.append((start[first][same], end[last][same], within[first][same]))
        if not runs:
            nothing = np.zeros(0, dtype=np.int64)
            return whole, nothing, nothing, nothing
        start, end, within = (np.concatenate(some) for some in zip(*runs, strict=True))
        order = np.argsort(within, kind="stable")
        text = within if self.analyzer == "word" else of_part[within]
        return whole, start[order], end[order], text[order]


def _hashes(whole: str, start: Places, end: Places) -> Hashes:
    """Of runs of characters: those that are the same have the same, wherever they stand.

    The characters are the digits of a number of that base, modulo 2^64.
    """
    digits = np.frombuffer(whole.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    values = (digits.astype(np.uint64) + np.uint64(1)) * _MIX
    values ^= values >> np.uint64(29)
    powers = np.full(len(values) + 1, _BASE)
    powers[0] = 1
    upto = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values * np.cumprod(powers)[:-1], out=upto[1:])
    inverse = np.full(len(values) + 1, _INVERSE)
    inverse[0] = 1
    return np.asarray((upto[end] - upto[start]) * np.cumprod(inverse)[start])
