"""Ranks: against scipy's and statsmodels' tests, and in the cases where a formula may break."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from capo_bench.errors import CapoBenchError
from capo_bench.stats.comparing import permutation_p, runs_mean
from capo_bench.stats.ranking import Contender, Standing, pairwise_p, standings
from capo_bench.stats.resampling import ItemSums, Resampled, ratio, resample


def mean_of(values):
    """The mean of one value per item: the metric of which scipy knows everything."""
    return ItemSums(np.column_stack([values, np.ones(len(values))]), ratio)


def contender(values):
    found = resample(mean_of(values))
    return Contender(found, (found.value,))


def several(runs):
    sums = [mean_of(values) for values in runs]
    return Contender(resample(runs_mean(sums)), tuple(one.value() for one in sums))


def test_p_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    item = rng.normal(size=60)
    rows = [item + rng.normal(0.15 * k, 1, size=60) for k in range(4)]
    found = pairwise_p([contender(row) for row in rows])
    for i in range(4):
        assert found[i, i] == 1
        for j in range(i):
            exact = scipy_stats.ttest_rel(rows[i], rows[j])
            # The bootstrap's standard error is within a few per cent of the exact one.
            t = scipy_stats.t(59).isf(found[i, j] / 2)
            assert t == pytest.approx(abs(exact.statistic), rel=0.03)
            assert found[i, j] == found[j, i]


def test_p_of_a_rate_agrees_with_the_permutation_test():
    rng = np.random.default_rng(1)
    size = rng.choice([2, 3, 4], size=100)
    one, other = (
        ItemSums(np.column_stack([rng.binomial(size, rate), size]).astype(float), ratio)
        for rate in (0.55, 0.45)
    )
    rows = [Contender(found := resample(sums), (found.value,)) for sums in (one, other)]
    assert pairwise_p(rows)[0, 1] == pytest.approx(permutation_p(one, other), rel=0.2)


def test_a_difference_of_rates_is_cut_where_it_ends():
    # Two seeds: t with one degree of freedom reaches 12.7 standard errors.
    one, other = (
        Contender(replace(several([np.full(50, run) for run in runs]).found, bounds=(0, 1)), runs)
        for runs in ((0.5, 0.9), (0.2, 0.3))
    )
    apart = one.minus(other)
    assert apart.value == pytest.approx(0.45)
    assert (apart.low, apart.high) == (-1, 1)


def test_runs_of_two_systems_without_spread_over_items_are_welchs_test():
    # Every item gives the same within a run, so that the runs alone make the error.
    runs = [[0.2, 0.3, 0.35, 0.25], [0.4, 0.5, 0.35]]
    rows = [several([np.full(50, value) for value in system]) for system in runs]
    welch = scipy_stats.ttest_ind(*runs, equal_var=False)
    assert pairwise_p(rows)[0, 1] == pytest.approx(welch.pvalue)


def test_a_single_trained_run_spreads_as_the_runs_that_it_is_set_against():
    # Student's test with the pooled variance, to which one observation gives nothing.
    rows = [several([np.full(50, value) for value in runs]) for runs in ([0.6], [0.4, 0.5, 0.35])]
    trained = [replace(row, trained=True) for row in rows]
    student = scipy_stats.ttest_ind([0.6], [0.4, 0.5, 0.35])
    assert pairwise_p(trained)[0, 1] == pytest.approx(student.pvalue)
    # What was not trained has no seed; of two single runs nothing is known.
    alone = scipy_stats.ttest_1samp([0.4, 0.5, 0.35], 0.6)
    assert pairwise_p(rows)[0, 1] == pytest.approx(alone.pvalue)
    rng = np.random.default_rng(3)
    one, other = (
        several([value + rng.normal(size=80) for value in runs]) for runs in ([1.0], [0.2, 0.4])
    )
    untrained, spread = (row.minus(other) for row in (one, replace(one, trained=True)))
    # s^2 (1 + 1 / 2) in the place of s^2 / 2.
    more = spread.stderr**2 - untrained.stderr**2
    assert more == pytest.approx(np.var(other.runs, ddof=1))


def test_runs_that_disagree_make_a_difference_less_sure():
    rng = np.random.default_rng(2)
    item = rng.normal(size=80)
    base = contender(item)
    steady = [item + 0.5 + rng.normal(0, 1, size=80) for _ in range(3)]
    shaky = [row + shift for row, shift in zip(steady, (-0.6, 0, 0.6), strict=True)]
    sure, unsure = (pairwise_p([base, several(runs)])[0, 1] for runs in (steady, shaky))
    assert sure < 0.001
    assert unsure > 0.05


def test_ranks_are_those_of_holm_over_all_pairs():
    rng = np.random.default_rng(3)
    item = rng.normal(size=50)
    rows = [item + rng.normal(m, 1, size=50) for m in (0, 0.1, 0.6, 0.7, 1.5)]
    pairs = [(i, j) for i in range(5) for j in range(i)]
    exact = [scipy_stats.ttest_rel(rows[i], rows[j]).pvalue for i, j in pairs]
    apart = multipletests(exact, method="holm")[0]
    expected = [1] * 5
    for (i, j), told in zip(pairs, apart, strict=True):
        if told:
            expected[min(i, j, key=lambda k: rows[k].mean())] += 1
    found = standings([contender(row) for row in rows])
    assert [one.rank for one in found] == expected
    assert len(set(expected)) > 2  # there is something to tell apart, and something to tie
    assert sum(apart) < len(pairs)


def test_ranks_and_confidence_sets_by_hand():
    noise = np.tile([1.0, -1.0], 50)
    a, b, c = (contender(noise + shift) for shift in (5, 5 - 1e-14, 0))
    assert standings([c, a, b]) == [Standing(3, 3), Standing(1, 2), Standing(1, 2)]


def test_a_shaky_row_can_share_the_rank_of_a_row_above_it():
    steady = np.tile([0.1, -0.1], 50)
    first, second, shaky = 5 + steady, 4 + steady[::-1], 3.9 + 80 * steady
    found = standings([contender(row) for row in (first, second, shaky)])
    assert [one.rank for one in found] == [1, 2, 1]


def test_a_difference_is_paired_and_knows_the_spread_of_runs():
    rng = np.random.default_rng(4)
    item = rng.normal(size=60)
    one, other = item + 1, item + rng.normal(0, 0.1, size=60)
    found = contender(one).minus(contender(other))
    exact = scipy_stats.ttest_rel(one, other).confidence_interval(0.95)
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert (found.low, found.high) == (
        pytest.approx(exact.low, abs=3e-3),
        pytest.approx(exact.high, abs=3e-3),
    )
    shaky = several([one - 0.3, one, one + 0.3]).minus(contender(other))
    assert shaky.value == pytest.approx(found.value)
    assert shaky.stderr == pytest.approx(np.hypot(found.stderr, 0.3 / np.sqrt(3)))
    assert shaky.low < found.low - 0.3


def test_equal_rows_share_a_rank():
    row = contender(np.random.default_rng(5).normal(size=30))
    assert pairwise_p([row, row])[0, 1] == 1
    assert [one.rank for one in standings([row, row, row])] == [1, 1, 1]


@pytest.mark.parametrize(("items", "ranks"), [(2, [1, 1]), (5, [1, 1]), (6, [1, 2])])
def test_without_variance_p_is_the_least_of_a_sign_flip_test(items, ranks):
    rows = [contender(np.full(items, value)) for value in (1.0, 0.0)]
    assert pairwise_p(rows)[0, 1] == 2 / 2**items
    assert [one.rank for one in standings(rows)] == ranks


def test_systems_near_the_floor_are_not_told_apart_by_an_accident():
    def share(right):
        sums = np.column_stack([right, np.full(100, 4)]).astype(float)
        found = resample(ItemSums(sums, ratio, (0, 1)))
        return Contender(found, (found.value,))

    def of(n_right):
        return share(np.arange(100) < n_right)

    p = pairwise_p([of(0), of(0), of(4), of(30)])
    assert p[0, 1] == 1
    # Four items against none: McNemar's exact test has 2 / 2^4.
    assert p[0, 2] > scipy_stats.binomtest(0, 4).pvalue
    assert p[0, 3] < 0.001


def test_noise_makes_ranks_less_sure():
    rng = np.random.default_rng(8)
    item = rng.normal(size=80)
    one, other = contender(item), contender(item + 0.3 + rng.normal(0, 1, size=80))
    noisy = Contender(replace(one.found, noise=0.2), one.runs)
    assert pairwise_p([one, other])[0, 1] < 0.05 < pairwise_p([noisy, other])[0, 1]


def test_one_item_tells_nothing_apart():
    rows = [contender([1.0]), contender([0.0])]
    assert [one.rank for one in standings(rows)] == [1, 1]


def test_an_undefined_headline_has_no_rank_and_changes_none():
    nothing = Contender(Resampled(np.nan, np.full(10_000, np.nan), np.full(50, np.nan)), (np.nan,))
    noise = np.tile([1.0, -1.0], 25)
    found = standings([nothing, contender(noise), contender(noise + 3)])
    assert [one.rank for one in found] == [None, 2, 1]
    assert standings([nothing]) == [Standing(None, None)]
    assert standings([]) == []


def test_draws_in_which_a_row_is_undefined_are_left_out():
    rng = np.random.default_rng(6)
    one, other = (resample(mean_of(rng.normal(m, 1, size=40))) for m in (0, 0.5))
    holed = Resampled(one.value, np.where(np.arange(10_000) < 100, np.nan, one.draws), one.without)
    p = [
        pairwise_p([Contender(row, (row.value,)), Contender(other, (other.value,))])[0, 1]
        for row in (one, holed)
    ]
    assert p[1] == pytest.approx(p[0], rel=0.1)


def test_other_items_are_refused():
    with pytest.raises(CapoBenchError, match="one run has 5 items and the other 4"):
        standings([contender(np.arange(5.0)), contender(np.arange(4.0))])
