"""Intervals that cover, p-values that are uniform, and agreement with scipy and statsmodels.

All simulations are seeded and small: what they find is the same on every run.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import statsmodels.api as sm
from benchmarks.coverage import cases, coverage
from metrics.build import answer, corpus
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from capo_bench.errors import CapoBenchError
from capo_bench.metrics import attribution as attribution_module
from capo_bench.metrics.attribution import attribution
from capo_bench.stats import resampling
from capo_bench.stats.comparing import (
    between_runs,
    difference,
    holm,
    minimum_detectable_effect,
    permutation_p,
    runs_mean,
    runs_variance,
    welch_df,
    with_runs,
)
from capo_bench.stats.resampling import (
    Estimate,
    ItemSums,
    bootstrap,
    estimate,
    interval,
    item_means,
    jackknife,
    prior_reach,
    ratio,
    resample,
)


def clustered(rng, n_items, a=1.5, b=1.5):
    """Right answers and answers per item: 1 to 8 annotators, hard and easy items."""
    size = rng.choice([1, 2, 3, 4, 4, 4, 4, 8], size=n_items)
    right = rng.binomial(size, rng.beta(a, b, size=n_items))
    return ItemSums(np.column_stack([right, size]).astype(float), ratio)


def share(metric):
    return replace(metric, bounds=(0, 1))


def shares(right, of=4):
    return ItemSums(np.column_stack([right, np.full(len(right), of)]).astype(float), ratio, (0, 1))


def f_measure(sums):
    """2 TP / (true + guessed), from columns TP, true, guessed."""
    return 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])


# --- values and intervals ------------------------------------------------------------------------


def test_a_mean_over_responses_by_hand():
    metric = item_means([1.0, 0.0, 5.0], np.array([0, 0, 2]), n_items=3)
    assert metric.sums.tolist() == [[1, 2], [0, 0], [5, 1]]
    assert metric.value() == 2.0


def test_all_draws_of_two_items_are_the_four_that_there_are():
    drawn = bootstrap(ItemSums(np.array([[1.0, 1], [4.0, 2]]), ratio), draws=4000)
    values, counts = np.unique(drawn.round(6), return_counts=True)
    assert values.tolist() == [1.0, 1.666667, 2.0]
    np.testing.assert_allclose(counts / 4000, [0.25, 0.5, 0.25], atol=0.03)


def test_standard_error_is_statsmodels_cluster_robust_one():
    rng = np.random.default_rng(4)
    items = np.repeat(np.arange(80), rng.choice([2, 3, 4, 6], size=80))
    values = rng.normal(size=80)[items] + rng.normal(size=len(items))
    fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": items})
    found = estimate(item_means(values, items, 80))
    assert found.value == pytest.approx(fit.params[0])
    assert found.stderr == pytest.approx(fit.bse[0], rel=0.03)


@pytest.mark.parametrize("combine", [ratio, f_measure])
def test_interval_is_scipys_bca_at_the_wider_levels(combine):
    rng = np.random.default_rng(3)
    sums = rng.poisson([0.6, 2.0, 2.0], size=(40, 3)).astype(float)
    tail = scipy_stats.norm.cdf(np.sqrt(40 / 39) * scipy_stats.t.ppf(0.025, 39))
    reference = scipy_stats.bootstrap(
        (np.arange(40),),
        lambda items, axis: combine(sums[items].sum(axis=-2)),
        n_resamples=20_000,
        vectorized=True,
        confidence_level=1 - 2 * tail,
        method="BCa",
        rng=np.random.default_rng(1),
    )
    found = estimate(ItemSums(sums, combine), draws=20_000)
    spread = reference.standard_error
    assert found.low == pytest.approx(reference.confidence_interval.low, abs=0.06 * spread)
    assert found.high == pytest.approx(reference.confidence_interval.high, abs=0.06 * spread)
    assert found.stderr == pytest.approx(spread * np.sqrt(40 / 39), rel=0.03)


@pytest.mark.parametrize(
    ("n_items", "a", "b"), [(50, 1.5, 1.5), (50, 6, 1), (50, 0.5, 4.5), (100, 1.5, 1.5)]
)
def test_the_interval_covers_the_truth(n_items, a, b):
    rng = np.random.default_rng(2)
    found = [estimate(clustered(rng, n_items, a, b), draws=1000) for _ in range(2000)]
    covered = np.mean([one.low <= a / (a + b) <= one.high for one in found])
    assert 0.93 <= covered <= 0.97
    actual = np.std([one.value for one in found])
    assert np.mean([one.stderr for one in found]) == pytest.approx(actual, rel=0.06)


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.name} {case.at}")
def test_intervals_cover_from_bound_to_bound(case):
    """`docs/statistics.md` has the table of a thousand repeats."""
    held, above, below, _ = coverage(case, 50, repeats=200)
    assert held >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 200)
    assert max(above, below) <= 0.025 + 4 * np.sqrt(0.025 * 0.975 / 200)


def test_the_interval_of_a_paired_difference_covers_the_truth():
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(1000):
        size = rng.integers(1, 5, size=60)
        easy = rng.uniform(0.2, 0.8, size=60)
        runs = [rng.binomial(size, easy + gain) for gain in (0.1, 0.0)]
        ours, theirs = (ItemSums(np.column_stack([r, size]).astype(float), ratio) for r in runs)
        found = estimate(difference(ours, theirs), draws=1000)
        covered.append(found.low <= 0.1 <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize(("k", "skill"), [(3, 1.2), (10, 0.3), (10, 1.2)])
def test_the_interval_of_attribution_in_groups_covers_the_truth(monkeypatch, k, skill):
    monkeypatch.setattr(attribution_module, "_GROUPED", 5_000)
    x = [("neutral", "x")]
    names, n = "ABCD", 50
    cells = answer(corpus([dict.fromkeys(names, x)] * n), [dict.fromkeys(names, "")] * n)
    rng = np.random.default_rng(11)

    def scores(n_items):
        # Hard items are hard for everybody.
        drawn = rng.normal(size=(n_items, 4, 4))
        drawn[:, range(4), range(4)] += skill + 0.75 * rng.normal(size=(n_items, 1))
        return drawn

    summed = sum(scores(50_000) for _ in range(k))
    truth = np.mean(summed.argmax(axis=2) == np.arange(4))
    found = [
        estimate(share(attribution(cells, scores(n).reshape(-1, 4), np.arange(4), k)), draws=300)
        for _ in range(250)
    ]
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.02)
    # Near 1 the interval is wider than it need be, never narrower.
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.93
    assert all(0 <= one.low <= one.high <= 1 for one in found)
    actual = np.std([one.value for one in found])
    assert actual * 0.9 < np.mean([one.stderr for one in found]) < actual * 2


def test_the_interval_of_a_share_without_variation_is_the_exact_one_of_so_many_items():
    # All 8 of 8: the lower limit of Clopper and Pearson.
    exact = scipy_stats.binomtest(8, 8).proportion_ci(0.95, method="exact")
    cells = answer(corpus([{"A": [("neutral", "x")]}] * 8), [{"A": ""}] * 8)
    found = estimate(share(attribution(cells, np.log([[0.9, 0.1]] * 8), np.array([0, 1]), 3)))
    assert (found.value, found.low, found.high) == (1, pytest.approx(exact.low), 1)
    assert found.stderr == pytest.approx((1 - exact.low) / scipy_stats.t.ppf(0.975, 7))


def test_a_share_near_a_bound_reaches_as_far_as_one_at_it():
    at_zero, one_right = (shares([right] + [0] * 99) for right in (0, 1))
    exact = scipy_stats.binomtest(0, 100).proportion_ci(0.95, method="exact").high
    assert estimate(at_zero).high == pytest.approx(exact)
    assert estimate(one_right).high == pytest.approx(exact)
    # Items without a response say nothing.
    silent = replace(at_zero, sums=np.vstack([at_zero.sums, np.zeros((50, 2))]))
    assert estimate(silent).high == pytest.approx(exact)


@pytest.mark.parametrize("hits", [5, 30, 50, 95])
def test_half_an_item_more_at_each_bound_is_jeffreys_interval_of_a_share(hits):
    below, above = prior_reach(resample(shares(np.arange(100) < hits, of=1)))
    jeffreys = scipy_stats.beta(hits + 0.5, 100 - hits + 0.5).ppf([0.025, 0.975])
    assert [hits / 100 - below, hits / 100 + above] == pytest.approx(jeffreys, abs=0.002)


def test_a_metric_without_bounds_has_no_prior():
    assert prior_reach(resample(ItemSums(np.ones((9, 2)) * np.arange(9)[:, None], ratio))) == (0, 0)


def test_a_bound_far_from_what_items_are_widens_next_to_nothing():
    # A contrast: between -1 and 1 by its formula, while no item is beyond .2.
    items = np.linspace(-0.1, 0.2, 100)
    contrast = ItemSums(np.column_stack([items, np.ones(100)]), ratio, (-1, 1))
    found = estimate(contrast)
    low, high = scipy_stats.t.interval(0.95, 99, loc=items.mean(), scale=scipy_stats.sem(items))
    assert (found.low, found.high) == (
        pytest.approx(low, abs=0.002),
        pytest.approx(high, abs=0.002),
    )
    # Weights of 1 and of a half at .05 -+ 1.5 * .15: the quantiles of such a mean, drawn.
    values, weights = np.r_[items, -0.175, 0.275], np.r_[np.ones(100), 0.5, 0.5]
    means = np.random.default_rng(1).dirichlet(weights, size=20_000) @ values
    below, above = prior_reach(resample(contrast))
    assert [0.05 - below, 0.05 + above] == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=0.001
    )


def test_the_interval_covers_where_two_items_of_a_hundred_carry_a_fifth():
    items = np.repeat([0.0, 0.2, 0.5, 2.0], [50, 35, 13, 2])
    rng, held = np.random.default_rng(3), np.zeros(2)
    for _ in range(300):
        drawn = rng.choice(items, 100)
        found = ItemSums(np.column_stack([drawn, np.ones(100)]), ratio, (0, 2))
        for at, worst in enumerate((None, 2.0)):
            one = estimate(replace(found, worst=worst), draws=300)
            held[at] += one.low <= items.mean() <= one.high
    # An eighth of the draws of a hundred items have neither of the two, and show no sign of them.
    assert held[0] / 300 < 0.93 <= held[1] / 300 <= 0.98


def test_an_answer_that_cannot_be_read_weighs_in_a_difference_of_either_side():
    near, far = (
        resample(ItemSums(np.column_stack([items, np.ones(40)]), ratio, (0, 2), worst=2.0))
        for items in (np.tile([0.1, 0.3], 20), np.tile([0.4, 0.6], 20))
    )
    assert near.worst == (2, 2)
    # 2 - .5 if of the one nothing can be read, .2 - 2 if of the other.
    assert near.minus(far).worst == (pytest.approx(-1.8), pytest.approx(1.5))
    assert near.minus(far).turned().worst == (pytest.approx(-1.5), pytest.approx(1.8))
    plain = resample(ItemSums(np.column_stack([np.arange(40), np.ones(40)]), ratio))
    assert plain.minus(plain).worst == (np.inf, -np.inf)
    assert runs_mean([ItemSums(np.ones((4, 2)), ratio, worst=2.0)] * 2).worst == 2


def test_what_is_less_than_half_an_item_from_a_bound_is_not_told_from_it():
    # Of 100 items each is worth a bit: no draw is at 0.
    rng = np.random.default_rng(1)
    for mean, told in ((0.0049, False), (0.0051, True)):
        items = rng.uniform(0.9, 1.1, size=100)
        metric = item_means(items * mean / items.mean(), np.arange(100), 100)
        low = estimate(replace(metric, bounds=(0, 1))).low
        assert low == pytest.approx(mean if told else 0.0, abs=3e-4)
        turned = metric.sums @ np.array([[-1.0, 0.0], [1.0, 1.0]])
        high = estimate(replace(metric, sums=turned, bounds=(0, 1))).high
        assert high == pytest.approx(1 - mean if told else 1.0, abs=3e-4)


def test_two_systems_at_the_floor_have_a_difference_with_width():
    unseen = scipy_stats.binomtest(0, 50).proportion_ci(0.95, method="exact").high
    floor = shares([0] * 50)
    found = interval(resample(floor).minus(resample(floor)))
    assert (found.value, found.low, found.high) == pytest.approx((0, -unseen, unseen))
    # One at the floor and one at the ceiling: both may be what they are not, and are still apart.
    found = interval(resample(shares([4] * 50)).minus(resample(floor)))
    assert (found.low, found.high) == (pytest.approx(1 - np.sqrt(2) * unseen), 1)
    assert interval(resample(floor).minus(resample(floor))).high == pytest.approx(unseen)


def test_a_metric_without_variation_between_its_bounds_may_move_to_either():
    # A kappa of 0 on all draws, as of one and the same label for everything.
    kappa = ItemSums(np.ones((40, 2)), lambda sums: np.zeros(sums.shape[:-1]), (-1, 1))
    unseen = 1 - 0.025 ** (1 / 40)
    found = estimate(kappa)
    assert (found.low, found.high) == (pytest.approx(-unseen), pytest.approx(unseen))
    found = estimate(replace(kappa, bounds=(-np.inf, np.inf)))
    assert found.value == 0
    assert np.isnan([found.stderr, found.low, found.high]).all()


def test_noise_is_one_more_independent_variance():
    rng = np.random.default_rng(2)
    metric = clustered(rng, 60)
    plain, noisy = estimate(metric), estimate(replace(metric, noise=0.05))
    assert noisy.stderr == pytest.approx(np.hypot(plain.stderr, 0.05))
    reach = 0.05 * scipy_stats.norm.ppf(0.975)
    assert noisy.value - noisy.low == pytest.approx(np.hypot(plain.value - plain.low, reach))
    assert noisy.high - noisy.value == pytest.approx(np.hypot(plain.high - plain.value, reach))
    other = clustered(rng, 60)
    apart = interval(resample(metric).minus(resample(other)))
    ours, theirs = (
        resample(replace(one, noise=noise)) for one, noise in ((metric, 0.03), (other, 0.04))
    )
    noisy = interval(ours.minus(theirs))
    assert noisy.stderr == pytest.approx(np.hypot(apart.stderr, 0.05))
    several = runs_mean([replace(metric, noise=0.03), replace(metric, noise=0.04)])
    assert several.noise == pytest.approx(0.025)


def test_an_interval_never_misses_its_own_value():
    """Distinct kinds among the items: every draw has fewer than the data."""
    kinds = ItemSums(np.eye(30), lambda sums: (sums > 0).mean(axis=-1))
    found = resample(kinds)
    assert found.draws.max() < found.value
    ends = interval(found)
    assert ends.low <= ends.value <= ends.high
    jack = jackknife(kinds)
    assert (ends.stderr, ends.low, ends.high) == (
        pytest.approx(jack.stderr),
        pytest.approx(jack.low),
        pytest.approx(jack.high),
    )


@pytest.mark.parametrize("shown", [0.3, 0.01])
def test_sums_with_many_zeros_are_drawn_as_those_without(shown):
    rng = np.random.default_rng(3)
    sums = rng.random((40, 300)) * (rng.random((40, 300)) < shown)
    metric = ItemSums(sums, lambda found: found @ np.arange(300.0))
    counts = resampling._resamples(40, 50, 0)
    np.testing.assert_allclose(bootstrap(metric, draws=50), counts @ sums @ np.arange(300.0))


def test_one_item_has_a_value_and_no_uncertainty():
    found = estimate(ItemSums(np.array([[3.0, 4.0]]), ratio))
    assert found.value == 0.75
    assert np.isnan([found.stderr, found.low, found.high]).all()


def test_draws_in_which_the_metric_is_undefined_are_left_out():
    # Only the first item counts: draws without it have nothing to divide by.
    found = estimate(ItemSums(np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]]), ratio, (0, 1)))
    # One item tells next to nothing: its like may be all but 1/40 of what there is.
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.0125, 0.9875))


# --- comparisons ---------------------------------------------------------------------------------


def test_two_runs_are_drawn_together():
    ours = clustered(np.random.default_rng(1), 60)
    better = ItemSums(ours.sums + np.array([0.1, 0]) * ours.sums[:, 1:], ratio)
    drawn = bootstrap(difference(better, ours))
    np.testing.assert_allclose(drawn, 0.1)


def test_permutation_agrees_with_enumeration_of_all_swaps():
    rng = np.random.default_rng(5)
    ours, theirs = rng.poisson([3.0, 4, 4], size=(9, 3)), rng.poisson([1.5, 4, 4], size=(9, 3))
    found = abs(f_measure(ours.sum(axis=0)) - f_measure(theirs.sum(axis=0)))
    larger = []
    for swap in product([False, True], repeat=9):
        one = np.where(np.array(swap)[:, None], theirs, ours).sum(axis=0)
        other = np.where(np.array(swap)[:, None], ours, theirs).sum(axis=0)
        larger.append(abs(f_measure(one) - f_measure(other)) >= found - 1e-12)
    sums = [ItemSums(run.astype(float), f_measure) for run in (ours, theirs)]
    assert 0.005 < np.mean(larger) < 0.2
    assert permutation_p(*sums, draws=20_000) == pytest.approx(np.mean(larger), abs=0.005)


def test_permutation_agrees_with_scipy():
    rng = np.random.default_rng(6)
    ours, theirs = rng.normal(0.25, 1, 40), rng.normal(0, 1, 40)
    reference = scipy_stats.permutation_test(
        (ours, theirs),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    )
    sums = [ItemSums(np.column_stack([run, np.ones(40)]), ratio) for run in (ours, theirs)]
    assert permutation_p(*sums, draws=20_000) == pytest.approx(reference.pvalue, abs=0.01)


def test_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(8)
    p_values = []
    for _ in range(1000):
        size = rng.integers(1, 5, size=(40, 1)).astype(float)
        shared = rng.normal(size=(40, 1))
        runs = [size * (shared + rng.exponential(size=(40, 1))) for _ in range(2)]
        ours, theirs = (ItemSums(np.hstack([run, size]), ratio) for run in runs)
        p_values.append(permutation_p(ours, theirs, draws=999))
    assert scipy_stats.kstest(p_values, "uniform").pvalue > 0.05
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_p_values_are_uniform_for_attribution_in_groups(monkeypatch):
    # Its sums depend on the whole run, so that swapping items is right to first order only.
    monkeypatch.setattr(attribution_module, "_GROUPED", 6_000)
    x = [("neutral", "x")]
    cells = answer(corpus([{"A": x, "B": x}] * 40), [{"A": "", "B": ""}] * 40)
    rng = np.random.default_rng(9)
    p_values = []
    for _ in range(300):
        runs = [rng.normal(size=(80, 2)) + 0.8 * np.tile(np.eye(2), (40, 1)) for _ in range(2)]
        ours, theirs = (attribution(cells, run, np.arange(2), 3) for run in runs)
        p_values.append(permutation_p(ours, theirs, draws=499))
    assert scipy_stats.kstest(p_values, "uniform").pvalue > 0.05
    assert np.mean(np.array(p_values) <= 0.05) < 0.08


def test_runs_that_are_alike_have_p_1_and_very_unlike_ones_the_smallest():
    ours = clustered(np.random.default_rng(2), 40)
    wrong = ItemSums(ours.sums * np.array([0, 1]), ratio)
    assert permutation_p(ours, ours, draws=99) == 1.0
    assert permutation_p(ours, wrong, draws=99) == 0.01


@pytest.mark.parametrize("seed", range(3))
def test_holm_is_statsmodels(seed):
    p_values = (np.random.default_rng(seed).uniform(size=12) ** 3).tolist()
    reference = multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), reference)


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize("n_items", [50, 100, 400])
def test_minimum_detectable_effect_is_statsmodels(n_items):
    reference = TTestPower().solve_power(nobs=n_items, alpha=0.05, power=0.8)
    stderr = 1 / np.sqrt(n_items)
    assert minimum_detectable_effect(stderr, n_items) == pytest.approx(reference, rel=0.005)


def test_runs_over_unequal_items_are_refused():
    ours, theirs = (clustered(np.random.default_rng(1), n) for n in (20, 30))
    with pytest.raises(CapoBenchError, match="20 items and the other 30"):
        difference(ours, theirs)


# --- several runs of one system ------------------------------------------------------------------


def test_the_difference_of_resampled_metrics_is_the_resampled_difference():
    rng = np.random.default_rng(5)
    one, other = clustered(rng, 40), ItemSums(rng.random((40, 3)), f_measure)
    assert interval(resample(one).minus(resample(other))) == estimate(difference(one, other))
    with pytest.raises(CapoBenchError, match="one run has 40 items and the other 39"):
        resample(one).minus(resample(ItemSums(other.sums[1:], f_measure)))


def test_the_mean_of_runs_of_unequal_width():
    rates = ItemSums(np.array([[1.0, 2], [0, 2]]), ratio)  # 1/4
    f = ItemSums(np.array([[1.0, 1, 1], [1, 2, 3]]), f_measure)  # 4/7
    both = runs_mean([rates, f])
    assert both.value() == pytest.approx((1 / 4 + 4 / 7) / 2)
    np.testing.assert_allclose(bootstrap(both), (bootstrap(rates) + bootstrap(f)) / 2)
    with pytest.raises(CapoBenchError, match="compare runs over the same items"):
        runs_mean([rates, ItemSums(f.sums[:1], f_measure)])


def test_runs_variance_by_hand():
    assert runs_variance([0.1, 0.2, 0.6]) == pytest.approx(0.07 / 3)
    assert runs_variance([0.3]) == 0


def test_a_single_run_is_taken_to_spread_as_the_others_do():
    runs = [0.1, 0.2, 0.6]  # s^2 = .07
    assert between_runs([runs]) == [(pytest.approx(0.07 / 3), 2)]
    assert between_runs([runs, [0.3]]) == [(pytest.approx(0.07 * (1 + 1 / 3)), 2)]
    assert between_runs([(), runs]) == between_runs([runs])
    both = [(pytest.approx(0.07 / 3), 2), (pytest.approx(0.02 / 2), 1)]
    assert between_runs([runs, [0.3, 0.5]]) == both
    assert between_runs([[0.3], [0.5]]) == []
    # Student's interval of a difference, to whose pooled variance one run gives nothing.
    wide = with_runs(Estimate(0.2, 0.0, 0.2, 0.2), 50, [[0.5], runs])
    student = scipy_stats.ttest_ind([0.5], runs).confidence_interval()
    assert (wide.low, wide.high) == (pytest.approx(student.low), pytest.approx(student.high))


def test_degrees_of_freedom_are_those_of_welchs_test():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=5), rng.normal(0, 3, size=9)
    welch = scipy_stats.ttest_ind(a, b, equal_var=False)
    found = welch_df([runs_variance(a), runs_variance(b)], [4, 8])
    assert found == pytest.approx(welch.df)


def test_the_spread_of_runs_widens_an_interval():
    found = Estimate(0.5, 0.02, 0.45, 0.53)
    assert with_runs(found, 100, [[0.5]]) == found
    assert with_runs(found, 100, [[0.5, 0.5], [0.4]]) == found
    runs = [0.44, 0.5, 0.56]  # s = .06, s^2 / S = .0012
    wide = with_runs(found, 100, [runs])
    assert wide.stderr == pytest.approx(0.04)
    # Satterthwaite: .0016^2 / (.0004^2 / 99 + .0012^2 / 2) = 3.5477 degrees of freedom.
    reach, items = 0.04 * scipy_stats.t(3.5477).ppf(0.975), 0.02 * scipy_stats.t(99).ppf(0.975)
    more = np.sqrt(reach**2 - items**2)
    assert wide.low == pytest.approx(0.5 - np.hypot(0.05, more), rel=1e-4)
    assert wide.high == pytest.approx(0.5 + np.hypot(0.03, more), rel=1e-4)
    # An arm that is long for what was not seen is not made longer in proportion.
    far = with_runs(Estimate(0.5, 0.001, 0.45, 0.53), 100, [runs])
    students = scipy_stats.sem(runs) * scipy_stats.t(2).ppf(0.975)
    assert far.high == pytest.approx(0.5 + np.hypot(0.03, students), rel=1e-3)


def test_the_spread_of_runs_alone_gives_students_interval():
    runs = [0.2, 0.3, 0.4, 0.1]
    assert Estimate(0.5, 0.1, -0.2, 1.3).within(0, 1) == Estimate(0.5, 0.1, 0, 1)
    assert Estimate(0.5, 0.1, 0.2, 0.8).within(0, 1) == Estimate(0.5, 0.1, 0.2, 0.8)
    wide = with_runs(Estimate(0.25, 0.0, 0.25, 0.25), 50, [runs])
    low, high = scipy_stats.t.interval(0.95, 3, loc=0.25, scale=scipy_stats.sem(runs))
    assert (wide.low, wide.high) == (pytest.approx(low), pytest.approx(high))


def test_a_metric_that_is_at_nothing_above_its_smallest_value_reaches_up_from_there():
    n = 40
    tiny = np.tile([0.001, -0.001], n // 2)
    metric = item_means(tiny, np.arange(n), n)
    found = estimate(replace(metric, bounds=(-1, 1), floor=0.0))
    # Up to 1 - .025^(1/n) of all items may be of a kind that was not seen, each worth 1.
    assert found.high == pytest.approx(1 - 0.025 ** (1 / n))
    assert found.low < 0
