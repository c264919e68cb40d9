"""Within-item contrast: by hand, with the content cancelled, and where it is not defined."""

import numpy as np
import pytest

from capo_bench.metrics.bertscore import bertscore, load_encoder
from capo_bench.metrics.contrast import contrast_metrics
from capo_bench.stats.resampling import Undefined

from .build import answer, corpus


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm")


def said(*texts):
    return [("neutral", text) for text in texts]


def given(text):
    return (["neutral"], text)


def test_rouge_contrast_by_hand(encoder):
    human = corpus([{"A": said("a b c d"), "B": said("a b x y"), "C": said("p q r s")}])
    cells = answer(human, [{"A": given("a b c z"), "B": given("a b x y"), "C": given("k")}])
    # A: 3/4 to A; 2/4 and 0 to the others. B: 1; 2/4 and 0. C: nothing in common with anybody.
    expected = np.mean([0.75 - 0.25, 1 - 0.25, 0])
    assert contrast_metrics(cells, encoder)["contrast_rouge_l"].value() == pytest.approx(expected)


def test_the_best_of_several_references_counts_on_both_sides(encoder):
    human = corpus([{"A": said("a b c d", "q"), "B": said("q", "a b x y")}])
    cells = answer(human, [{"A": given("a b c d"), "B": given("a b c d")}])
    found = contrast_metrics(cells, encoder)["contrast_rouge_l"]
    # A: 1 - 1/2, B: 1/2 - 1.
    assert found.sums.tolist() == [[0, 2]]


def test_bertscore_contrast_is_the_difference_of_bertscores(encoder):
    texts = {"A": "It is not stated.", "B": "He may have paid later.", "C": "The text says so."}
    human = corpus([{annotator: said(text) for annotator, text in texts.items()}])
    response = "The text does not state it."
    cells = answer(human, [dict.fromkeys(texts, given(response))])
    f1 = bertscore(encoder, [response] * 3, [[text] for text in texts.values()])[:, 2]
    found = contrast_metrics(cells, encoder)["contrast_bertscore"]
    expected = [f1[i] - np.delete(f1, i).mean() for i in range(3)]
    assert found.value() == pytest.approx(np.mean(expected))
    # The same words from everybody contrast with nobody.
    assert found.value() == pytest.approx(0)


def test_items_that_one_annotator_explained_do_not_count(encoder):
    human = corpus(
        [
            {"A": said("a b"), "B": said("c d")},
            {"A": said("a b")},
            {"A": said("a b"), "B": said("")},
        ]
    )
    cells = answer(
        human,
        [{"A": given("a b"), "B": given("c d")}, {"A": given("x")}, {"A": given(""), "B": "?"}],
    )
    found = contrast_metrics(cells, encoder)["contrast_rouge_l"]
    assert found.sums.tolist() == [[2, 2], [0, 0], [0, 0]]


def test_without_two_explanations_of_one_item_it_is_not_defined(encoder):
    cells = answer(corpus([{"A": said("a")}, {"B": said("b")}]), [{"A": ""}, {"B": ""}])
    for found in contrast_metrics(cells, encoder).values():
        assert isinstance(found, Undefined)
        assert "by two annotators" in found.reason
