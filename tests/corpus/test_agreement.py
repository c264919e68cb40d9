import math
import random
from itertools import combinations

import krippendorff
import numpy as np
import pytest
from nltk.metrics import masi_distance
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from capo_bench.corpus.agreement import interval, kappa, krippendorff_alpha, masi, nominal


def test_kappa_by_hand() -> None:
    # Cohen (1960), and every textbook since: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no.
    # p_o = 35/50 = .7, p_e = (25*30 + 25*20) / 2500 = .5, kappa = .2/.5
    assert kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    # three ordered categories, all mass one step off in one row: weighted by hand
    # observed cost 1*2 = 2; expected (rows 2,2,2; columns 2,4,0): sum r_i c_j (i-j)^2 / 6
    # = 2 * (2*(0+1+4) + 4*(1+0+1)) / 6 = 6; kappa = 1 - 2/6
    assert kappa([[2, 0, 0], [0, 2, 0], [0, 2, 0]], "quadratic") == pytest.approx(1 - 2 / 6)


@pytest.mark.parametrize("weights", [None, "quadratic"])
def test_kappa_against_scikit_learn(weights) -> None:
    rng = np.random.default_rng(5)
    matrices, expected = [], []
    for _ in range(12):
        a = rng.integers(0, 5, 40)
        b = np.where(rng.random(40) < 0.5, a, rng.integers(0, 5, 40))
        matrices.append(confusion_matrix(a, b, labels=range(5)))
        expected.append(cohen_kappa_score(a, b, labels=range(5), weights=weights))
    stacked = np.array(matrices).reshape(3, 4, 5, 5)
    assert kappa(stacked, weights) == pytest.approx(np.array(expected).reshape(3, 4), abs=1e-12)


def test_kappa_at_the_edges() -> None:
    perfect, worst = [[3, 0], [0, 7]], [[0, 5], [5, 0]]
    nothing, constant = [[0, 0], [0, 0]], [[4, 0], [0, 0]]
    found = kappa([perfect, worst, nothing, constant])
    assert found[:2].tolist() == [1.0, -1.0]
    assert np.isnan(found[2:]).all()
    # an annotator who always answers the same agrees by chance alone
    assert kappa([[3, 0], [2, 0]]) == 0


# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve
# units, missing data. The paper gives nominal .743 and interval .849.
NAN = math.nan
RELIABILITY = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


def units_of(table):
    return [[v for v in column if not math.isnan(v)] for column in zip(*table, strict=True)]


@pytest.mark.parametrize(("distance", "expected"), [(nominal, 0.743), (interval, 0.849)])
def test_alpha_of_the_paper(distance, expected) -> None:
    assert krippendorff_alpha(units_of(RELIABILITY), distance) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("distance", "level"), [(nominal, "nominal"), (interval, "interval")])
def test_alpha_against_krippendorff(distance, level) -> None:
    rng = np.random.default_rng(3)
    for coders, n in ((2, 30), (4, 50), (9, 20)):
        truth = rng.integers(-5, 6, n)
        table = np.where(rng.random((coders, n)) < 0.6, truth, rng.integers(-5, 6, (coders, n)))
        table = np.where(rng.random((coders, n)) < 0.2, np.nan, table.astype(float))
        expected = krippendorff.alpha(table, level_of_measurement=level)
        assert krippendorff_alpha(units_of(table), distance) == pytest.approx(expected, abs=1e-12)


def test_alpha_of_sets_by_its_definition() -> None:
    """Over all ordered pairs of values, within units and across: the definition, spelt out."""
    chosen = random.Random(2)
    sets = [frozenset(s) for k in (1, 2, 3) for s in combinations("enc", k)]
    units = [
        [chosen.choice(sets) for _ in range(chosen.choice([0, 1, 2, 3, 5]))] for _ in range(40)
    ]
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    observed = sum(
        sum(masi(x, y) for i, x in enumerate(unit) for j, y in enumerate(unit) if i != j)
        / (len(unit) - 1)
        for unit in units
    ) / len(values)
    expected = sum(
        masi(x, y) for i, x in enumerate(values) for j, y in enumerate(values) if i != j
    ) / (len(values) * (len(values) - 1))
    assert krippendorff_alpha(units, masi) == pytest.approx(1 - observed / expected)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ("e", "e", 0),
        ("en", "en", 0),
        ("e", "n", 1),
        ("e", "en", 1 - 1 / 2 * 2 / 3),
        ("enc", "en", 1 - 2 / 3 * 2 / 3),
        ("en", "nc", 1 - 1 / 3 * 1 / 3),
        ("", "", 0),
        ("", "e", 1),
    ],
)
def test_masi(x: str, y: str, expected: float) -> None:
    assert masi(frozenset(x), frozenset(y)) == pytest.approx(expected)
    assert masi(frozenset(y), frozenset(x)) == pytest.approx(expected)
    if x and y:  # nltk rounds 2/3 and 1/3 to two digits
        assert masi_distance(set(x), set(y)) == pytest.approx(expected, abs=0.005)


def test_alpha_at_the_edges() -> None:
    assert krippendorff_alpha([[1, 1], [2, 2, 2]], nominal) == 1
    assert math.isnan(krippendorff_alpha([], nominal))
    assert math.isnan(krippendorff_alpha([[1], [2], []], nominal))
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]], nominal))
    # values that stand alone have no say
    assert krippendorff_alpha([[1, 1], [2, 2], [3]], interval) == 1
