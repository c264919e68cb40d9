"""N-grams as scikit-learn counts them, bit for bit."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from capo_bench.metrics.ngrams import NgramVectorizer

TEXTS = [
    "the tea is hot and the tea is # now",
    "",
    "  so  the\t\tcup is\nwarm, isn't it",
    "a",
    "日本 語 日本",
    "e\u0301te\u0301 \U0001f600 ok",
    "the tea is hot",
]
NEW = ["the tea was hot", "", "日本 quite new", "IT IS # NOW", "a"]


@pytest.mark.parametrize(
    ("analyzer", "shortest", "longest", "min_df"),
    [
        ("char", 2, 5, 1),
        ("char", 2, 4, 2),
        ("char_wb", 3, 5, 1),
        ("word", 1, 4, 1),
        ("word", 1, 2, 2),
    ],
)
def test_rows_columns_and_numbers_are_those_of_scikit_learn(analyzer, shortest, longest, min_df):
    options = {
        "analyzer": analyzer,
        "ngram_range": (shortest, longest),
        "min_df": min_df,
        "sublinear_tf": True,
        "lowercase": False,
        "token_pattern": r"\S+" if analyzer == "word" else None,
    }
    theirs, ours = TfidfVectorizer(**options), NgramVectorizer(**options)
    pairs = [
        (theirs.fit_transform(TEXTS), ours.fit_transform(TEXTS)),
        (theirs.transform(NEW), ours.transform(NEW)),
        # fitted anew, to other texts
        (theirs.fit(NEW * 2).transform(TEXTS), ours.fit(NEW * 2).transform(TEXTS)),
    ]
    assert ours.vocabulary_ == theirs.vocabulary_
    for expected, found in pairs:
        for part in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))


def test_texts_without_words_have_no_vocabulary():
    with pytest.raises(ValueError, match="empty vocabulary"):
        NgramVectorizer(token_pattern=r"\S+").fit(["", " "])
