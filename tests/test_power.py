"""Power: by hand, against statsmodels, and the command on the bundled corpus."""

import json

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from capo_bench.analysis.power import Power, imitator, power
from capo_bench.metrics.cells import join
from capo_bench.metrics.labels import labels_agree
from capo_bench.metrics.registry import METRICS
from capo_bench.scoring.options import Options
from capo_bench.scoring.predictions import human_predictions

ACCURACY = next(metric for metric in METRICS if metric.name == "label_accuracy")


@pytest.fixture(scope="module")
def scorer():
    return Options("mini-nli").scorer()


@pytest.fixture(scope="module")
def found(scorer):
    return {one.metric.name: one for one in power(scorer)}


@pytest.mark.parametrize("items", [25, 100, 400])
def test_what_is_told_and_the_gates_margin_are_statsmodels(items):
    one = Power(ACCURACY, 0.5, 0.4, 0.0, (0, 1))
    two_sided = TTestPower().solve_power(nobs=items, alpha=0.05, power=0.8)
    assert one.told(items) == pytest.approx(0.4 * two_sided, rel=0.01)
    one_sided = TTestPower().solve_power(nobs=items, alpha=0.05, power=0.8, alternative="larger")
    assert one.margin(items) == pytest.approx(0.4 * one_sided, rel=0.01)


def test_noise_is_not_averaged_away_and_a_bound_tells_no_less_than_was_missed():
    noisy = Power(ACCURACY, 0.5, 0.4, 0.1, (0, 1))
    assert noisy.stderr(16) == pytest.approx(np.hypot(0.1, 0.1))
    assert noisy.stderr(10**8) == pytest.approx(0.1, rel=1e-4)
    floored = Power(ACCURACY, 0.0, 0.0, 0.0, (0, 1))
    assert floored.told(100) == pytest.approx(1 - 0.025**0.01)
    assert floored.margin(59) == pytest.approx(0.05, abs=0.001)  # the rule of three


def test_an_imitator_is_right_in_the_part_that_it_is_told(scorer):
    human = human_predictions(scorer.corpus, "test")
    assert imitator(scorer.corpus, "test", 1.0, 0) == human
    part = [
        sum(a == b for a, b in zip(imitator(scorer.corpus, "test", 0.5, seed), human, strict=True))
        for seed in range(20)
    ]
    assert np.mean(part) / len(human) == pytest.approx(0.5, abs=0.06)
    others = imitator(scorer.corpus, "test", 0.0, 0)
    answers = {(one.item, one.response) for one in human}
    assert all(one.response == "" or (one.item, one.response) in answers for one in others)


def test_the_spread_is_that_of_the_items_differences(scorer, found):
    variances = []
    for seed in range(0, 12, 2):
        residuals = []
        for draw in (seed, seed + 1):
            cells = join(scorer.corpus, "test", imitator(scorer.corpus, "test", 0.5, draw))
            right = labels_agree(cells).astype(float)
            size = np.bincount(cells.item)
            residuals.append(np.bincount(cells.item, right - right.mean()) / size.mean())
        variances.append(np.var(residuals[0] - residuals[1], ddof=1))
    assert found["label_accuracy"].spread == pytest.approx(np.sqrt(np.mean(variances)), rel=0.05)


def test_the_command_prints_what_was_found(call, found):
    status, out, _ = call("power", "--corpus", "mini-nli", "--items", "40", "--json")
    assert status == 0
    told = json.loads(out)["metrics"]["label_accuracy"]
    assert told["told"] == {"40": pytest.approx(found["label_accuracy"].told(40))}
    status, _, err = call("power", "--corpus", "mini-nli", "--items", "many")
    assert status == 2
    assert "expected numbers" in err
