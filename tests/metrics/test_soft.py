"""LeWiDi-2025's distances: by hand, against scipy, and against the published baselines."""

import json

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from capo_bench.corpus.load import load
from capo_bench.corpus.model import LabelSpace, TaskSpec
from capo_bench.corpus.tasks import CSC, MP, PARAPHRASE
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.metrics.labels import label_agreement
from capo_bench.metrics.soft import lewidi_distances, manhattan, wasserstein
from capo_bench.prompts.responses import render_target

from .build import SCALE, answer, corpus

LIKERT = [str(label) for label in range(-5, 6)]


def values(cells):
    return {name: metric.value() for name, metric in lewidi_distances(cells).items()}


def pairs(*labels):
    return [(label, "because") for label in labels]


def test_error_rate_and_manhattan_by_hand():
    human = corpus(
        [
            {"A": pairs("entailment"), "B": pairs("entailment", "neutral")},
            {"A": pairs("contradiction")},
        ]
    )
    cells = answer(
        human,
        [
            {"A": (["neutral"], "x"), "B": (["entailment", "neutral"], "x")},
            {"A": (["contradiction"], "x")},
        ],
    )
    found = values(cells)
    # Item 1: A errs in two of three columns, B in none. Item 2: no error.
    assert found["lewidi_er"] == pytest.approx((2 / 3 + 0) / 2 / 2)
    # Item 1: shares (1, 1/2, 0) against (1/2, 1, 0): 2 * (1/2 + 1/2 + 0) / 3. Item 2: 0.
    assert found["lewidi_soft"] == pytest.approx(2 / 3 / 2)


def test_an_unreadable_response_is_the_farthest_answer():
    nli = answer(corpus([{"A": pairs("neutral")}]), [{"A": "I cannot say."}])
    assert values(nli) == {"lewidi_er": 1.0, "lewidi_soft": 2.0}
    human = corpus([{"A": pairs("-1")}, {"A": pairs("2")}], PARAPHRASE)
    assert values(answer(human, [{"A": "?"}, {"A": "?"}])) == {"lewidi_soft": (6 + 7) / 2}


def test_swapped_annotators_do_not_change_the_soft_distance():
    human = corpus([{"A": pairs("-2"), "B": pairs("1")}], PARAPHRASE)
    cells = answer(human, [{"A": (["1"], "x"), "B": (["-2"], "x")}])
    assert values(cells) == {"lewidi_soft": 0.0}


def test_irony_is_one_label_in_the_error_rate_and_two_bins():
    human = corpus(
        [
            {"A": [("ironic", "")], "B": [("not ironic", "")]},
            {"A": [("ironic", "")], "B": [("ironic", "")]},
        ],
        MP,
    )
    cells = answer(
        human, [{"A": "Label: ironic", "B": "Label: ironic"}, {"A": "Label: 0", "B": "who knows"}]
    )
    # Wrong: one of two, both of two (the unreadable counts as the opposite). Shares of ironic:
    # .5 against 1, and 1 against 0; the Manhattan distance over two bins is twice the difference.
    assert values(cells) == {"lewidi_er": 0.75, "lewidi_soft": 1.5}


def test_sarcasm_is_a_scale_of_six():
    human = corpus([{"A": [("6", "")], "B": [("2", "")]}], CSC)
    cells = answer(human, [{"A": "Label: 4", "B": "?"}])
    # 6 -> 4 and 2 -> 6, its farther end: {2, 6} against {4, 6} is 2 units for half of the mass.
    assert values(cells) == {"lewidi_soft": 1.0}
    assert label_agreement(cells)["label_anad"].value() == pytest.approx((2 + 4) / 2 / 6)


def test_others_scales_have_no_lewidi_distance():
    assert lewidi_distances(answer(corpus([{"A": pairs("-1")}], SCALE), [{"A": "?"}])) == {}


def test_nominal_labels_have_no_lewidi_distance():
    task = TaskSpec("t", "?", {"text": "Text"}, LabelSpace("nominal", ("yes", "no")), ())
    assert lewidi_distances(answer(corpus([{"A": pairs("yes")}], task), [{"A": ""}])) == {}


def test_wasserstein_is_scipys():
    rng = np.random.default_rng(0)
    one, other = rng.dirichlet(np.ones(11), size=(2, 20))
    steps = np.arange(11)
    reference = [wasserstein_distance(steps, steps, p, q) for p, q in zip(one, other, strict=True)]
    np.testing.assert_allclose(wasserstein(one, other), reference)


def test_manhattan_of_opposite_shares_is_2():
    assert manhattan(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])).tolist() == [2.0]


# --- the published baselines ---------------------------------------------------------------------


def answered(of, split, respond):
    cells = evaluated_cells(of, split)
    return join(of, split, [Prediction(item.id, a, respond(item, a)) for item, a in cells])


def test_error_rate_of_always_neutral_is_the_known_one(real_data):
    # On LeWiDi's development split, whose labels are public.
    nli = load("lewidi-nli", path=real_data)
    cells = answered(nli, "validation", lambda item, a: render_target(["neutral"], "x"))
    assert values(cells)["lewidi_er"] == pytest.approx(0.312, abs=0.0005)


def test_error_rate_of_no_label_would_be_the_known_one(real_data):
    # Of the opposite labels, since we count no label as the farthest answer: 1 - .345 (rounded).
    nli = load("lewidi-nli", path=real_data)
    every = answered(nli, "validation", lambda item, a: render_target(nli.task.labels.labels, "x"))
    assert 1 - values(every)["lewidi_er"] == pytest.approx(0.345, abs=0.001)


def test_anad_of_uniform_guessing_is_the_published_one_with_11(real_data):
    par = load("lewidi-paraphrase", path=real_data)
    guesses = [
        label_agreement(
            answered(par, "validation", lambda item, a, guess=guess: render_target([guess], "x"))
        )["label_anad"].value()
        for guess in LIKERT
    ]
    # Published for the test split: .367; the development split's humans give .368.
    assert np.mean(guesses) == pytest.approx(0.367, abs=0.002)


def test_soft_labels_are_those_in_lewidis_files(real_data):
    par = load("lewidi-paraphrase", path=real_data)
    raw = json.loads((real_data / "lewidi2025" / "Paraphrase_dev.json").read_text())
    # The human labels against a point mass on 5: LeWiDi's own distribution must give our distance.
    cells = answered(par, "validation", lambda item, a: render_target(["5"], "x"))
    expected = [
        wasserstein_distance(
            [5], range(-5, 6), None, [raw[i.source_id]["soft_label"][x] for x in LIKERT]
        )
        for i in cells.items
    ]
    assert values(cells)["lewidi_soft"] == pytest.approx(np.mean(expected))
