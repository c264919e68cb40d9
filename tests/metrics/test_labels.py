"""Label agreement against values worked out by hand and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

import capo_bench.metrics.labels as labels_module
from capo_bench.metrics.labels import label_agreement

from .build import SCALE, answer, corpus

E, N, C = "entailment", "neutral", "contradiction"


@pytest.fixture
def nli():
    human = corpus(
        [
            {"A": [(E, "x")], "B": [(N, "x")]},
            {"A": [(E, "x"), (N, "y")], "B": [(C, "x")]},
            {"A": [(C, "x")]},
        ]
    )
    return answer(
        human,
        [
            {"A": ([E], "x"), "B": ([E], "x")},  # right, wrong
            {"A": ([N], "x"), "B": ([C, N], "x")},  # one of two, one too many
            {"A": "no label here"},  # unreadable
        ],
    )


def value(cells, name):
    return label_agreement(cells)[name].value()


def test_a_single_label_of_the_set_is_right_and_a_superset_is_not(nli):
    assert value(nli, "label_accuracy") == pytest.approx(2 / 5)


def test_strict_accuracy_wants_the_whole_set(nli):
    assert value(nli, "label_accuracy_strict") == pytest.approx(1 / 5)


def test_macro_f1_is_scikit_learns_on_indicators(nli):
    human = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]
    predicted = [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert value(nli, "label_macro_f1") == pytest.approx(
        f1_score(human, predicted, average="macro")
    )


def test_kappa_is_the_mean_over_annotators_of_scikit_learns_on_single_label_cells(nli):
    # A: (E, E) and (C, unreadable); B: (N, E) and (C, several labels).
    a = cohen_kappa_score([E, C], [E, "other"])
    b = cohen_kappa_score([N, C], [E, "other"])
    assert value(nli, "label_kappa") == pytest.approx((a + b) / 2)


def test_sums_are_kept_per_item(nli):
    accuracy = label_agreement(nli)["label_accuracy"]
    np.testing.assert_array_equal(accuracy.sums, [[1, 2], [1, 2], [0, 1]])


@pytest.fixture
def scale():
    human = corpus(
        [
            {"A": [("-2", "x")], "B": [("0", "x")]},
            {"A": [("1", "x")], "B": [("2", "x")]},
            {"A": [("-1", "x")]},
        ],
        SCALE,
    )
    return answer(
        human,
        [
            {"A": (["-1"], "x"), "B": (["0"], "x")},
            {"A": (["-1"], "x"), "B": "unreadable"},
            {"A": (["-1"], "x")},
        ],
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("label_accuracy", 2 / 5),
        ("label_within_1", 3 / 5),
        # |errors| are 1, 0, 2, 4 (2 answered by the far end of the scale, -2) and 0.
        ("label_mae", 7 / 5),
        # Items first: (1 + 0) / 2, (2 + 4) / 2, 0; over 5 labels.
        ("label_anad", (0.5 + 3 + 0) / 3 / 5),
    ],
)
def test_ordinal_metrics_by_hand(scale, name, expected):
    assert value(scale, name) == pytest.approx(expected)


def test_qwk_is_scikit_learns(scale):
    labels = [-2, -1, 0, 1, 2]
    a = cohen_kappa_score([-2, 1, -1], [-1, -1, -1], weights="quadratic", labels=labels)
    b = cohen_kappa_score([0, 2], [0, -2], weights="quadratic", labels=labels)
    assert value(scale, "label_qwk") == pytest.approx((a + b) / 2)


def test_of_a_crowd_each_item_carries_what_it_changes(monkeypatch):
    """The value is the same, and what is without an item is what it is without that item."""
    rng = np.random.default_rng(0)
    labels = SCALE.labels.labels
    rows = [
        {who: rng.choice(labels, 2) for who in rng.choice(list("ABCDEF"), 3, replace=False)}
        for _ in range(12)
    ]
    human = corpus([{who: [(own, "x")] for who, (own, _) in row.items()} for row in rows], SCALE)
    cells = answer(human, [{who: ([said], "x") for who, (_, said) in row.items()} for row in rows])
    few = label_agreement(cells)
    monkeypatch.setattr(labels_module, "is_crowd", lambda _: True)
    many = label_agreement(cells)
    for name in ("label_kappa", "label_qwk"):
        sums = few[name].sums
        without = few[name].combine(sums.sum(axis=0) - sums)
        assert many[name].value() == pytest.approx(few[name].value(), abs=1e-12)
        assert many[name].sums.shape == (12, 2)
        n, value = len(rows), few[name].value()
        pseudo = value - (n - 1) * (without - without.mean())
        np.testing.assert_allclose(many[name].sums[:, 0], pseudo, atol=1e-9)


def test_anad_divides_by_the_number_of_labels():
    from capo_bench.corpus.tasks import PARAPHRASE

    labels = PARAPHRASE.labels.labels
    human = corpus([{"A": [(label, "x")]} for label in labels for _ in labels], PARAPHRASE)
    cells = answer(human, [{"A": ([guess], "x")} for _ in labels for guess in labels])
    # Mean |t - p| of two independent uniform draws from 11 values is (121 - 1) / 33.
    assert value(cells, "label_anad") == pytest.approx(120 / 33 / 11)
