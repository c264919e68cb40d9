"""One-sided tests: by hand, against scipy, and by seeded, small simulation with a known truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.power import TTestPower

from capo_bench.stats.comparing import difference, permutation_p
from capo_bench.stats.comparing import runs_mean as mean_of
from capo_bench.stats.noninferiority import detectable_drop, items_needed, tail_p, unseen_p, worse_p
from capo_bench.stats.resampling import ItemSums, interval, ratio, resample


def shares(right, of=4):
    return ItemSums(np.column_stack([right, np.full(len(right), of)]).astype(float), ratio)


def apart(candidate, base, draws=400):
    found = difference(mean_of(candidate), mean_of(base))
    runs = [[run.value() for run in side] for side in (candidate, base)]
    return resample(found, draws=draws), runs


def test_p_is_the_level_at_which_the_interval_ends():
    rng = np.random.default_rng(5)
    found = resample(ItemSums(np.column_stack([rng.exponential(size=60), np.ones(60)]), ratio))
    ends = interval(found)
    assert tail_p(found, ends.low) == pytest.approx(0.025, abs=0.001)
    assert tail_p(found, ends.high) == pytest.approx(0.975, abs=0.001)


def test_p_is_students_for_many_even_items():
    rng = np.random.default_rng(6)
    values = rng.normal(0.1, 1, 400)
    found = resample(ItemSums(np.column_stack([values, np.ones(400)]), ratio))
    reference = scipy_stats.ttest_1samp(values, 0.0, alternative="greater").pvalue
    assert 0.01 < reference < 0.5
    assert tail_p(found, 0.0) == pytest.approx(reference, abs=0.01)


@pytest.mark.parametrize(("rate", "drop"), [(0.95, 0.05), (0.5, 0.1)])
def test_a_drop_of_just_the_margin_is_passed_as_rarely_as_the_level_says(rate, drop):
    """Paired rates in clusters of four whose true difference is -drop."""
    rng = np.random.default_rng(2)
    p_values = []
    for _ in range(600):
        easy = rng.beta(rate * 4, (1 - rate) * 4, size=(60, 1))
        base = rng.random((60, 4)) < easy
        again = np.where(rng.random((60, 4)) < 0.7, base, rng.random((60, 4)) < easy)
        candidate = again & (rng.random((60, 4)) >= drop / rate)
        found, _ = apart([shares(candidate.sum(axis=1))], [shares(base.sum(axis=1))])
        p_values.append(tail_p(found, -drop))
    rejected = [np.mean(np.array(p_values) <= level) for level in (0.01, 0.05)]
    assert rejected[0] <= 0.03
    assert 0.03 <= rejected[1] <= 0.085


def test_a_clipped_metric_keeps_the_level_too():
    """max(0, share of right - .3): from .2 to .1 at the margin."""
    rng = np.random.default_rng(3)

    def clipped(right):
        sums = np.column_stack([right, np.full(len(right), 4)]).astype(float)
        return ItemSums(sums, lambda s: np.maximum(0, s[..., 0] / s[..., 1] - 0.3))

    p_values = []
    for _ in range(600):
        easy = rng.beta(2, 2, size=80)
        base = clipped(rng.binomial(4, easy))
        candidate = clipped(rng.binomial(4, easy * 0.8))
        p_values.append(tail_p(apart([candidate], [base])[0], -0.1))
    assert 0.02 <= np.mean(np.array(p_values) <= 0.05) <= 0.085


def test_without_variation_p_is_0_or_1_and_without_items_nothing():
    same = resample(shares([2, 2, 2, 2, 2]))
    assert [tail_p(same, threshold) for threshold in (0.4, 0.5, 0.6)] == [0, 1, 1]
    assert np.isnan(tail_p(resample(shares([1])), 0.1))


def test_p_without_variation_is_what_so_many_items_may_have_missed():
    # Both at 1: that 5 % of all items are lost has probability .95^n of not being seen.
    for n in (40, 59, 80):
        bounded = resample(replace(shares([4] * n), bounds=(0, 1)))
        found = bounded.minus(bounded)
        assert tail_p(found, interval(found).low) == pytest.approx(0.025)
        assert tail_p(found, -0.05) == pytest.approx(0.95**n, rel=0.25)
    assert tail_p(found, 0.0) >= 0.5


def test_noise_enters_p_as_a_variance():
    rng = np.random.default_rng(9)
    values = rng.normal(0.15, 1, 400)
    found = resample(ItemSums(np.column_stack([values, np.ones(400)]), ratio))
    noisy = replace(found, noise=0.1)
    z = found.value / np.hypot(0.1, scipy_stats.sem(values))
    assert tail_p(noisy, 0.0) == pytest.approx(scipy_stats.norm.sf(z), rel=0.1)


def test_runs_without_variation_between_items_are_welchs_test():
    sides = [[shares([r] * 9, of=20) for r in side] for side in ((9, 12, 11), (6, 7, 9, 7))]
    a, b = np.array([9, 12, 11]) / 20, np.array([6, 7, 9, 7]) / 20
    welch = scipy_stats.ttest_ind(a, b, equal_var=False, alternative="greater")
    found, runs = apart(*sides)
    assert tail_p(found, 0.0, runs) == pytest.approx(welch.pvalue)
    shifted = scipy_stats.ttest_ind(a + 0.05, b, equal_var=False, alternative="greater")
    assert tail_p(found, -0.05, runs) == pytest.approx(shifted.pvalue)
    assert worse_p(*sides, found, runs) == pytest.approx(1 - welch.pvalue)


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_several_runs_keep_the_level(spread):
    rng = np.random.default_rng(1)

    def side(easy):
        return [
            ItemSums(
                np.column_stack([easy + rng.normal(0, spread) + rng.normal(size=30), np.ones(30)]),
                ratio,
            )
            for _ in range(3)
        ]

    p_values = []
    for _ in range(400):
        easy = rng.normal(size=30)
        found, runs = apart(side(easy), side(easy))
        p_values.append(tail_p(found, 0.0, runs))
    assert np.mean(np.array(p_values) <= 0.05) <= 0.075
    # The noise of single responses counts twice: without a spread of runs the test is careful.
    assert np.mean(np.array(p_values) <= 0.05) >= (0.001 if spread == 0 else 0.02)


def test_a_drop_is_tested_by_permutation():
    rng = np.random.default_rng(4)
    base = shares(rng.binomial(4, 0.7, size=30))
    candidate = shares(rng.binomial(4, 0.55, size=30))
    found, runs = apart([candidate], [base])
    two_sided = permutation_p(candidate, base)
    assert found.value < 0
    assert worse_p([candidate], [base], found, runs) == two_sided / 2
    found, runs = apart([base], [candidate])
    assert worse_p([base], [candidate], found, runs) == 1 - two_sided / 2


def test_what_was_never_seen_by_hand():
    assert unseen_p(0.05, 59) == pytest.approx(0.0485, abs=1e-4)  # the rule of three
    assert unseen_p(0.05, 58) > 0.05
    assert unseen_p(2.0, 10) == 0


@pytest.mark.parametrize("n_items", [50, 100, 400])
def test_detectable_drop_is_statsmodels(n_items):
    power = TTestPower()
    reference = power.solve_power(nobs=n_items, alpha=0.05, power=0.8, alternative="larger")
    found = detectable_drop(1 / np.sqrt(n_items), n_items - 1, n_items)
    assert found == pytest.approx(reference, rel=0.005)
    strict = power.solve_power(nobs=n_items, alpha=0.01, power=0.8, alternative="larger")
    found = detectable_drop(1 / np.sqrt(n_items), n_items - 1, n_items, tests=5)
    assert found == pytest.approx(strict, rel=0.01)


def test_a_share_without_variation_has_power_only_for_what_would_have_been_seen():
    assert detectable_drop(0.0, 9, 10) == 0
    assert detectable_drop(0.0, 9, 10, share=True) == pytest.approx(1 - 0.05**0.1)
    assert items_needed(0.05, (0.0, 0.0), 9, 10, share=True) == 59
    assert np.isnan(detectable_drop(float("nan"), float("nan"), 1))


def test_items_needed_by_hand():
    # Four times the drop's square is four times as few items; the runs' share does not shrink.
    at = detectable_drop(0.05, 99, 100)
    assert items_needed(at, (0.05**2, 0.0), 99, 100) == pytest.approx(100, abs=1)
    assert items_needed(at / 2, (0.05**2, 0.0), 99, 100) == pytest.approx(400, abs=1)
    half = 0.05**2 / 2
    assert items_needed(at / np.sqrt(2), (half, half / 2), 99, 100) == pytest.approx(200, abs=1)
    assert items_needed(at / 2, (half, half), 99, 100) is None
