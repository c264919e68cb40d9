"""Attribution: the classifier on texts that only style tells apart, and the group statistic."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from capo_bench.corpus.evaluable import CROWD, is_crowd
from capo_bench.corpus.model import Annotator
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.metrics import attribution as attribution_module
from capo_bench.metrics.attribution import (
    MIN_EXPLANATIONS,
    attribution,
    fit_attributor,
    ngram_vectorisers,
)
from capo_bench.metrics.cells import evaluated_cells
from capo_bench.metrics.tokens import normalise
from capo_bench.stats.resampling import Undefined

from .build import answer, corpus

X = [("neutral", "x")]


def grouped(scores, target, k):
    """Share of all k-subsets that the target wins: the definition, by enumeration."""
    margin = scores[:, [target]] - np.delete(scores, target, axis=1)
    wins = [(margin[list(s)].sum(axis=0) > 0).all() for s in combinations(range(len(scores)), k)]
    return np.mean(wins)


def test_one_response_by_hand():
    cells = answer(corpus([{"A": X, "B": X}, {"A": X}]), [{"A": "", "B": ""}, {"A": ""}])
    scores = np.log([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
    # A's first is won, B's goes to A, and a tie is no attribution.
    found = attribution(cells, scores, np.array([0, 1]), k=1)
    assert found.value() == pytest.approx(1 / 3)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_groups_agree_with_enumeration_of_all_subsets(k):
    rng = np.random.default_rng(1)
    n = 10
    cells = answer(corpus([{"A": X, "B": X}] * n), [{"A": "", "B": ""}] * n)
    scores = rng.normal(size=(2 * n, 2))
    scores[cells.annotator == 0, 0] += 0.4
    expected = np.mean([grouped(scores[cells.annotator == a], a, k) for a in (0, 1)])
    found = attribution(cells, scores, np.array([0, 1]), k)
    assert found.value() == pytest.approx(expected, abs=0.01)


def test_too_few_responses_for_a_group_is_said():
    cells = answer(corpus([{"A": X, "B": X}] * 2), [{"A": "", "B": ""}] * 2)
    found = attribution(cells, np.zeros((4, 2)), np.array([0, 1]), k=3)
    assert isinstance(found, Undefined)
    assert "6 evaluated responses, which groups of 3 take" in found.reason


@pytest.fixture(scope="module")
def mini():
    return synthesize("mini-nli").corpus


@pytest.mark.parametrize("normalised", [True, False])
def test_it_tells_the_personas_of_the_mini_corpus(mini, normalised):
    attributor = fit_attributor(mini, normalised=normalised)
    cells = evaluated_cells(mini, "test")
    scores = attributor.log_probabilities(
        [item.cells[a][0].explanation for item, a in cells], [item.text for item, _ in cells]
    )
    named = np.array(mini.annotator_ids)[attributor.annotators[scores.argmax(axis=1)]]
    # Chance is .25; the Bayes limit of this corpus is .94.
    assert np.mean(named == [a for _, a in cells]) > 0.7
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1)


@pytest.mark.parametrize("normalised", [True, False])
def test_another_solver_gives_the_same_verdicts(mini, normalised):
    attributor = fit_attributor(mini, normalised=normalised)
    place = {annotator: index for index, annotator in enumerate(mini.annotator_ids)}
    train = [
        (r.explanation, item.text, place[a])
        for a in mini.annotator_ids
        for item, r in mini.responses("train", a)
    ]
    newton = LogisticRegression(C=1.0, solver="newton-cg", tol=1e-10, max_iter=1000)
    rows = attributor.matrix([t for t, *_ in train], [source for _, source, _ in train])
    newton.fit(rows, [who for *_, who in train])

    test = [(item, a) for item, a in evaluated_cells(mini, "test")]
    texts, inputs = [i.cells[a][0].explanation for i, a in test], [i.text for i, _ in test]
    ours = attributor.log_probabilities(texts, inputs)
    theirs = newton.predict_log_proba(attributor.matrix(texts, inputs))
    theirs -= np.log(np.bincount([who for *_, who in train]) / len(train))
    theirs -= np.logaddexp.reduce(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))


@pytest.mark.parametrize("normalised", [True, False])
def test_a_script_without_blanks_has_words(normalised):
    """Else each explanation is one word, which occurs once, and nothing is left to fit to."""
    signs = "我你他她它们的是不在有人这中大来上个国说"
    said = [signs[n % 20] + signs[n // 2 % 20] + signs[n * 3 % 20] for n in range(40)]
    pairs = [{"A": [("neutral", f"{text}。")], "B": [("neutral", f"{text}！")]} for text in said]
    made = corpus(pairs)
    items = tuple(replace(item, split="train") for item in made.items)
    found = fit_attributor(replace(made, items=items, language="zh"), normalised=normalised)
    assert not isinstance(found, Undefined)
    if normalised:  # normalised texts have their blanks already
        texts = [normalise(pair[who][0][1]) for who in "AB" for pair in pairs]
        _, characters = ngram_vectorisers()
        grams = {name for kind, name in found.columns if kind == "characters"}
        assert grams == set(characters.fit(texts).get_feature_names_out())


def test_normalised_attribution_does_not_see_case_and_punctuation(mini):
    attributor = fit_attributor(mini, normalised=True)
    source = mini.items[0].text
    plain, dressed = attributor.log_probabilities(
        ["it is not stated what he paid", "It is not stated, what he paid!"], [source, source]
    )
    np.testing.assert_allclose(plain, dressed)


def test_an_empty_explanation_says_nothing(mini):
    attributor = fit_attributor(mini, normalised=True)
    scores = attributor.log_probabilities([" "], [mini.items[0].text])
    np.testing.assert_allclose(scores, np.log(0.25))


def test_of_a_crowd_so_many_explanations_of_each_are_read(mini, monkeypatch):
    """The crowd is the mini corpus with a hundred annotators more, who answered nothing."""
    monkeypatch.setattr(attribution_module, "MAX_READ", 100)  # nobody has so many
    idle = tuple(Annotator(f"idle{n}") for n in range(CROWD - len(mini.annotators)))
    at_most = replace(mini, annotators=(*mini.annotators, *idle))
    crowd = replace(mini, annotators=(*mini.annotators, *idle, Annotator("one more")))
    assert (is_crowd(at_most), is_crowd(crowd)) == (False, True)
    cells = [(item, who) for item, who in evaluated_cells(mini, "test")]
    texts = [item.cells[who][0].explanation for item, who in cells]
    inputs = [item.text for item, _ in cells]
    whole, near = (
        fit_attributor(one, normalised=True).log_probabilities(texts, inputs)
        for one in (at_most, crowd)
    )
    assert np.abs(np.exp(whole) - np.exp(near)).max() < 0.01  # it ends a little before the optimum
    monkeypatch.setattr(attribution_module, "MAX_READ", 16)
    fewer = fit_attributor(replace(crowd, name="fewer"), normalised=True)
    assert fewer._log_prior == pytest.approx(np.log([1 / 4] * 4))  # 16 of each


def test_what_was_fitted_to_a_corpus_lately_is_not_fitted_again(mini):
    again = replace(mini)
    assert fit_attributor(mini, normalised=True) is fit_attributor(again, normalised=True)
    assert fit_attributor(mini, normalised=True) is not fit_attributor(mini, normalised=False)


def test_unequal_counts_leave_no_prior():
    # The same words from both: only a prior could tell them apart.
    many, few = 4 * MIN_EXPLANATIONS, MIN_EXPLANATIONS
    rows = [{"A": [("neutral", "it is not said at all")]} for _ in range(many)]
    for row in rows[:few]:
        row["B"] = [("neutral", "it is not said at all")]
    base = corpus(rows)
    train = replace(base, items=tuple(replace(item, split="train") for item in base.items))
    attributor = fit_attributor(train, normalised=True)
    scores = attributor.log_probabilities(["it is not said at all"], [train.items[0].text])
    np.testing.assert_allclose(np.exp(scores), [[0.5, 0.5]], atol=0.05)


def test_annotators_with_little_history_are_not_attributable():
    base = corpus([{"A": X, "B": X}] * 3)
    train = replace(base, items=tuple(replace(item, split="train") for item in base.items))
    assert isinstance(fit_attributor(train, normalised=True), Undefined)
