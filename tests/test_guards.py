"""Guards against values worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

import capo_bench.metrics.guards as guards_module
from capo_bench.corpus.model import Annotator, Corpus, Item, Response
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.corpus.tasks import NLI
from capo_bench.metrics.cells import Cells, Prediction, join
from capo_bench.metrics.guards import (
    GUARDS,
    Guards,
    fit_guards,
    fit_item_vectors,
    guard_metrics,
    index_grams,
    ngrams,
)
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Undefined

ANIMALS = """otter badger heron walrus lynx gecko ferret osprey tapir moose puffin weasel bison lemur
    hyena jackal kiwi marmot newt ocelot panda quail raven skunk toucan urchin viper wombat yak zebra
    """.split()
TRAIN, TEST = ANIMALS[:18], ANIMALS[18:]
N_TEST = len(TEST)  # 12

TRAINING = ["the cat sat on the mat", "no idea"]


def four(texts):
    return [ngrams(text.split(), 4) for text in texts]


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("", 3, set()),
        ("a b", 3, {("a", "b")}),
        ("a b c", 3, {("a", "b", "c")}),
        ("a b a b", 2, {("a", "b"), ("b", "a")}),
    ],
)
def test_ngrams(text, n, expected):
    assert ngrams(text.split(), n) == expected


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("the cat sat on the mat", True),
        # Its three 4-grams are all of those of the shorter text, which is the training explanation.
        ("yes since the cat sat on the mat and then it slept for hours", True),
        ("the cat sat on the floor", True),  # 2 of its 3 4-grams are known
        ("the cat sat on a chair", False),  # 1 of 3
        ("the cat sat on the rug now", True),  # 2 of 4
        ("no idea", True),
        ("no idea at all", False),
        ("", False),
    ],
)
def test_copies(text, copied):
    assert index_grams(four(TRAINING)).copied(four([text])).tolist() == [copied]


def test_an_explanation_is_no_copy_of_itself():
    index = index_grams(four(["no idea", "no idea", "it says quite another thing"]))
    assert index.copied_among_themselves().tolist() == [True, True, False]


def test_expected_excess():
    # Two of four texts hold a, the others b. A sample of two holds k a's, P(k) = 1/6, 4/6, 1/6; the
    # larger excess is |k - 1|, on average 1/3.
    a, b = frozenset({("a",)}), frozenset({("b",)})
    assert index_grams([a, a, b, b]).expected_excess(2) == pytest.approx(1 / 3, abs=0.12)
    # At most half of the texts are drawn.
    assert index_grams([a, a, b, b]).expected_excess(100) == pytest.approx(1 / 3, abs=0.12)
    # Where nothing is ever repeated, one response of n holds any phrase.
    c, d = frozenset({("c",)}), frozenset({("d",)})
    assert index_grams([a, b, c, d]).expected_excess(2) == 1 / 2


def boilerplate(animal: str) -> str:
    return f"{animal} is clearly what is meant by it"


def unique(animal: str) -> str:
    return f"{animal} has q{animal} near w{animal} over x{animal}"


def corpus() -> Corpus:
    """Ann says the same of every animal; Bob says something new each time."""
    return Corpus(
        name="animals",
        task=NLI,
        annotators=(Annotator("Ann"), Annotator("Bob")),
        items=tuple(
            Item(
                id=animal,
                text={"context": animal, "statement": f"{animal}."},
                cells={
                    "Ann": (Response("neutral", boilerplate(animal)),),
                    "Bob": (Response("entailment", unique(animal)),),
                },
                split="train" if animal in TRAIN else "test",
            )
            for animal in ANIMALS
        ),
    )


def cells(ann: list[str], bob: list[str]) -> Cells:
    """What is said of each test animal, as raw responses."""
    predictions = [
        Prediction(animal, annotator, text)
        for annotator, texts in (("Ann", ann), ("Bob", bob))
        for animal, text in zip(TEST, texts, strict=True)
    ]
    return join(corpus(), "test", predictions)


def says(label: str, texts: list[str]) -> list[str]:
    return [render_target([label], text) for text in texts]


ANN = says("neutral", [boilerplate(animal) for animal in TEST])
BOB = says("entailment", [unique(animal) for animal in TEST])


@pytest.fixture(scope="module")
def guards() -> Guards:
    found = fit_guards(corpus())
    assert isinstance(found, Guards)
    return found


def values(predicted: Cells, guards: Guards) -> dict[str, float]:
    measured = guard_metrics(predicted, guards)
    return {name: metric.value() for name, metric in measured.items()}


def test_what_is_the_annotators_own(guards):
    ann, bob = guards.own[0], guards.own[1]
    assert (ann.irrelevant, ann.copied) == (0, 1)
    assert (bob.irrelevant, bob.copied) == (0, 0)


def test_humans_exceed_nothing(guards):
    assert values(cells(ANN, BOB), guards) == {
        "item_relevance": 1,
        "irrelevance_excess": 0,
        "copy_excess": 0,
        "ngram_excess": 0,
    }


def test_one_training_explanation_for_everything(guards):
    # Bob's 12 responses repeat one training explanation of his.
    found = values(cells(ANN, says("entailment", [unique(TRAIN[0])] * N_TEST)), guards)
    # Its phrases stand in 1 of 18 training explanations; of the 9 that a subsample may hold, each
    # phrase stands in 1.
    phrase = 1 - 1 / 18 - 1 / 9
    assert found == {
        # The two items that are nearest to it, first and second of 12, find it relevant.
        "item_relevance": (12 + 2) / 24,
        "irrelevance_excess": pytest.approx(10 / 24),
        "copy_excess": 12 / 24,
        "ngram_excess": pytest.approx(phrase * 12 / 24),
    }


def test_what_is_about_nothing_is_in_excess(guards):
    # Two of Bob's responses are about no animal at all.
    off = says("entailment", ["nothing such was there", "who could know these things"])
    found = values(cells(ANN, [*BOB[:10], *off]), guards)
    assert found["irrelevance_excess"] == pytest.approx(2 / 24)


def test_nobody_gains_by_repeating_less_than_the_annotator(guards):
    # Ann repeats herself always; new words each time are no excess of anything.
    found = values(cells(says("neutral", [unique(a) for a in TEST]), BOB), guards)
    assert found["copy_excess"] == found["ngram_excess"] == 0


def test_a_refilled_training_explanation_is_a_copy(guards):
    # Every word but the animals is taken from one explanation of Bob's.
    refilled = [unique(TRAIN[0]).replace(TRAIN[0], a, 1) for a in TEST]
    found = values(cells(ANN, says("entailment", refilled)), guards)
    assert found["irrelevance_excess"] == 0
    assert found["copy_excess"] == 12 / 24


def test_empty_responses_are_irrelevant_and_nothing_else(guards):
    found = values(cells([""] * N_TEST, [""] * N_TEST), guards)
    assert found == {
        "item_relevance": 0,
        "irrelevance_excess": 1,
        "copy_excess": 0,
        "ngram_excess": 0,
    }


def test_a_text_is_compared_with_a_pool_that_its_item_is_not_in():
    """Whether the own item competes makes it neither closer nor farther."""
    corpus = synthesize("mini-nli").corpus
    items, vectors = corpus.split("test"), fit_item_vectors(corpus)
    own, others = items[0], items[1:]
    texts = [
        item.cells[who][0].explanation for item in items for who in item.cells if item.cells[who]
    ]
    within = vectors.among(items).nearness(texts, [own] * len(texts))
    without = vectors.among(others).nearness(texts, [own] * len(texts))
    for one, other in zip(within, without, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    relevant = [vectors.among(pool).relevant(texts, [own] * len(texts)) for pool in (items, others)]
    assert (relevant[0] == relevant[1]).all()
    assert 0 < relevant[0].sum() < len(texts)


def test_relevance_means_among_the_nearest_tenth():
    items = corpus().split("test")
    vectors = fit_item_vectors(corpus())
    texts = ["the walrus, or rather the yak", "a zebra", "zebra", "", "there is one"]
    yak, zebra = (next(item for item in items if item.id == a) for a in ("yak", "zebra"))
    # Of 12 items 11 compete: being second would leave 1 / 11 = .09 of them closer.
    found = vectors.among(items).relevant(texts, [yak, zebra, yak, yak, yak])
    assert found.tolist() == [True, True, False, False, False]


def test_annotators_with_little_training_do_not_count():
    few = [
        replace(item, cells={**item.cells, "Bob": ()}) if item.id in TRAIN[:4] else item
        for item in corpus().items
    ]
    scarce = fit_guards(replace(corpus(), items=tuple(few)))
    assert isinstance(scarce, Guards)
    assert list(scarce.own) == [0]
    # Bob's twelve wrong responses are not looked at.
    found = values(cells(ANN, [""] * N_TEST), scarce)
    assert found["irrelevance_excess"] == 0
    assert found["item_relevance"] == 12 / 24


def test_the_excess_of_each_annotator_sums_up_to_the_metrics(guards):
    predicted = cells(ANN, says("neutral", [unique(TRAIN[0])] * N_TEST))
    scorer = Scorer(predicted.corpus, "test", "minilm")
    found = scorer.excess_by_annotator(predicted)
    metrics = values(predicted, guards)
    assert found["copy_excess"] == {"Ann": 0, "Bob": 1}
    for name, by_annotator in found.items():
        assert list(by_annotator) == ["Ann", "Bob"]
        # Both answer twelve items, so the mean over the responses is that over the annotators.
        assert sum(max(0, rate) for rate in by_annotator.values()) / 2 == pytest.approx(
            metrics[name]
        )


def test_of_a_crowd_each_item_carries_what_it_changes(guards, monkeypatch):
    """The value is the same, and what is without an item is what it is without that item."""
    bob = [unique(TRAIN[0])] * 5 + [boilerplate(TEST[0])] * 3 + [unique(one) for one in TEST[8:]]
    predicted = cells(ANN, says("neutral", bob))
    few = guard_metrics(predicted, guards)
    monkeypatch.setattr(guards_module, "is_crowd", lambda _: True)
    many = guard_metrics(predicted, guards)
    assert few["copy_excess"].value() == 5 / 24
    for name in GUARDS:
        sums = few[name].sums
        without = few[name].combine(sums.sum(axis=0) - sums)
        n, value = len(sums), few[name].value()
        assert many[name].value() == pytest.approx(value, abs=1e-12)
        pseudo = value - (n - 1) * (without - without.mean())
        expected = np.column_stack([pseudo, np.ones(n)])
        np.testing.assert_allclose(many[name].sums, expected, atol=1e-12)


def test_undefined_is_said(guards):
    without = tuple(
        replace(item, cells=dict.fromkeys(item.cells, ())) if item.split == "train" else item
        for item in corpus().items
    )
    assert fit_guards(replace(corpus(), items=without)) == Undefined(
        "no annotator has 15 training explanations"
    )
    reason = Undefined("no annotator has 15 training explanations")
    assert set(guard_metrics(cells(ANN, BOB), reason).values()) == {reason}
