"""Label-explanation consistency: texts whose argument is plain, and where it cannot be learnt."""

from dataclasses import replace

import pytest

from capo_bench.corpus.tasks import NLI
from capo_bench.metrics.argument import (
    MIN_EXPLANATIONS,
    fit_arguments,
    label_explanation_consistency,
)
from capo_bench.stats.resampling import Undefined

from .build import SCALE, answer, corpus

WHY = {
    "entailment": "it says so clearly",
    "neutral": "it is not mentioned and may be so",
    "contradiction": "it is the opposite of that",
}
SIDES = {"-2": "they ask different things", "0": "hard to tell", "2": "they mean the same"}


def trained(why, task=NLI):
    """One train item for each pair, so often that it can be learnt; then one test item."""
    rows = [{"A": [pair]} for pair in why.items()] * (MIN_EXPLANATIONS + 2)
    base = corpus([*rows, {"A": [next(iter(why.items()))]}], task)
    items = [replace(item, split="train") for item in base.items[:-1]]
    return fit_arguments(replace(base, items=(*items, base.items[-1])))


def scored(classifier, human, answers, task=NLI):
    found = label_explanation_consistency(answer(corpus(human, task), answers), classifier)
    return {name.removeprefix("label_explanation_"): m.value() for name, m in found.items()}


def test_explanations_that_argue_for_their_label_count():
    human = [{"A": [("neutral", WHY["neutral"])]}] * 4
    answers = [
        {"A": (["neutral"], WHY["neutral"])},
        {"A": (["entailment"], WHY["entailment"])},  # not what A said, but in itself consistent
        {"A": (["entailment"], WHY["contradiction"])},
        {"A": (["neutral", "contradiction"], WHY["contradiction"])},
    ]
    found = scored(trained(WHY), human, answers)
    assert found == {"consistency": 0.75, "relative": 0.75}


def test_relative_to_people_who_do_not_always_argue_for_their_label_either():
    human = [{"A": [("neutral", WHY["neutral"]), ("entailment", WHY["neutral"])]}] * 2
    answers = [{"A": (["neutral"], WHY["neutral"])}, {"A": (["neutral"], WHY["entailment"])}]
    assert scored(trained(WHY), human, answers) == {"consistency": 0.5, "relative": 1.0}


@pytest.mark.parametrize(
    "response", ["no label here", "Label: neutral", "Label: neutral\nExplanation:"]
)
def test_without_label_or_explanation_there_is_no_argument(response):
    human = [{"A": [("neutral", WHY["neutral"])]}]
    assert scored(trained(WHY), human, [{"A": response}])["consistency"] == 0


def test_on_a_scale_the_side_counts():
    human = [{"A": [("1", SIDES["2"])]}] * 3
    answers = [{"A": ([label], SIDES["2"])} for label in ("1", "0", "-1")]
    found = scored(trained(SIDES, SCALE), human, answers, SCALE)
    assert found == {"consistency": pytest.approx(1 / 3), "relative": pytest.approx(1 / 3)}


def test_the_item_itself_tells_nothing():
    # All content words come from the item: nothing is left to learn from.
    rows = [
        {"A": [("entailment", "context text"), ("neutral", "statement text")]}
        for _ in range(MIN_EXPLANATIONS)
    ]
    rows += [{"A": [("contradiction", "but not this")]}] * MIN_EXPLANATIONS
    base = corpus(rows)
    train = replace(base, items=tuple(replace(item, split="train") for item in base.items))
    one, other = fit_arguments(train).stances(
        ["context text", "statement text"], [base.items[0].text] * 2
    )
    assert one == other


def test_a_label_that_is_hardly_ever_explained_makes_it_undefined():
    found = trained({label: WHY[label] for label in ("entailment", "neutral")})
    assert isinstance(found, Undefined)
    assert found.reason.startswith("only 0 training explanations argue for 'contradiction'")
    cells = answer(corpus([{"A": [("neutral", "x")]}]), [{"A": ""}])
    assert set(label_explanation_consistency(cells, found).values()) == {found}
