"""Style features on sentences whose values can be counted."""

import pytest

from capo_bench.metrics.lexicon import lexicon
from capo_bench.metrics.style import mask_content, style_feature_names, style_features
from capo_bench.metrics.tokens import normalise

ENGLISH = lexicon("en")
INPUTS = {
    "context": "The old ferry left the harbour at noon.",
    "statement": "The ferry was late.",
}
TEXT = 'I think "the old ferry left" late, but it isn\'t said.'


@pytest.fixture
def counted():
    names = style_feature_names(list(INPUTS), ENGLISH)
    return dict(zip(names, style_features(TEXT, INPUTS, ENGLISH), strict=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("words", 11),  # i think the old ferry left late but it isn't said
        ("type-token ratio", 1),
        ("words per sentence", 11),
        ("commas per word", 1 / 11),
        ("final full stop", 1),
        ("initial capital", 1),
        ("quotation marks per word", 2 / 11),
        ("capitals per word", 1 / 11),
        ("hedges", 1 / 11),  # think
        ("negations", 1 / 11),  # isn't
        ("first person", 1 / 11),  # i
        ("connectives", 1 / 11),  # but
        ("unigrams copied from context", 4 / 11),  # the old ferry left
        ("longest copied run from context", 4),
        ("bigrams copied from context", 3 / 10),
        ("coverage from context", 4 / 7),  # of the old ferry left harbour at noon
        ("unigrams copied from statement", 3 / 11),  # the ferry late
        ("longest copied run from statement", 1),
    ],
)
def test_style_features_by_hand(counted, name, expected):
    assert counted[name] == pytest.approx(expected)


def test_an_empty_text_has_no_features():
    assert set(style_features("", INPUTS, ENGLISH)) == {0.0}


@pytest.mark.parametrize(
    "typed", ["It’s “not” said—Why? ", "it's not said why", "ITS not said, why"]
)
def test_normalise_keeps_words_only_however_they_are_typed(typed):
    assert normalise(typed) == "its not said why"


@pytest.mark.parametrize("typed", ["don't", "don’t", "dont", "don t", "DON'T!"])
def test_a_contraction_is_one_word(typed):
    assert normalise(f"we {typed} know") == "we dont know"


def test_masking_hides_content_of_the_item_and_keeps_function_words():
    masked = mask_content("The Ferry left, but the bus was late.", list(INPUTS.values()), ENGLISH)
    assert masked == "The # #, but the bus was #."
