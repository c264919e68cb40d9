"""Several runs of one system: by hand, and by simulation with a known truth (seeded and small)."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from capo_bench.errors import CapoBenchError
from capo_bench.seeds import estimate_runs, estimate_runs_difference, runs_tail_p
from capo_bench.stats import ItemSums, difference, estimate, ratio, runs_mean, tail_p


def shares(*right, of=4):
    return ItemSums(np.column_stack([right, np.full(len(right), of)]).astype(float), ratio)


def sampled(rng, n_items, runs, spread, mean=0.0):
    """Runs over the same items: items differ, runs differ, and so does each response."""
    easy = mean + rng.normal(size=n_items)
    return [
        ItemSums(
            np.column_stack(
                [easy + rng.normal(0, spread) + rng.normal(0, 0.3, n_items), np.ones(n_items)]
            ),
            ratio,
        )
        for _ in range(runs)
    ]


def test_mean_of_runs_by_hand():
    # 3/8, 5/8 and 1/8 (another combine function on its own columns).
    third = ItemSums(np.array([[1.0], [0.0]]), lambda sums: sums[..., 0] / 8)
    mean = runs_mean([shares(3, 0), shares(1, 4), third])
    assert mean.sums.tolist() == [[3, 4, 1, 4, 1], [0, 4, 4, 4, 0]]
    assert mean.value() == pytest.approx(3 / 8)
    assert runs_mean([third]).value() == third.value()


def test_runs_over_other_items_are_refused():
    with pytest.raises(CapoBenchError, match="one run has 2 items and another 3"):
        runs_mean([shares(1, 2), shares(1, 2, 3)])
    with pytest.raises(CapoBenchError, match="no runs"):
        runs_mean([])


def test_a_single_run_is_estimated_as_ever():
    run = shares(1, 2, 4, 0, 3, 3, 1)
    found, usual = estimate_runs([run]), estimate(run)
    assert (found.value, found.stderr, found.low, found.high) == (
        usual.value, usual.stderr, usual.low, usual.high,
    )  # fmt: skip
    assert (found.degrees, found.runs_variance) == (6, 0)
    assert runs_tail_p([run], [shares(1, 1, 1, 1, 1, 1, 1)], -0.1) == tail_p(
        difference(run, shares(1, 1, 1, 1, 1, 1, 1)), -0.1
    )


def test_spread_across_runs_alone_gives_students_interval():
    """Items all alike: what is left is the mean of four values, by hand."""
    runs = [shares(*[right] * 9) for right in (1, 2, 2, 3)]
    found = estimate_runs(runs)
    values = np.array([1, 2, 2, 3]) / 4
    error = values.std(ddof=1) / 2
    low, high = scipy_stats.t.interval(0.95, 3, values.mean(), error)
    assert (found.value, found.stderr) == (0.5, pytest.approx(error))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.degrees == pytest.approx(3)


def test_variances_and_degrees_are_welchs():
    """Two sides without items' variance are Welch's t-test of the runs' values."""
    ours, theirs = ([shares(*[r] * 9, of=20) for r in side] for side in ((9, 12, 11), (6, 7, 9, 7)))
    found = estimate_runs_difference(ours, theirs)
    a, b = np.array([9, 12, 11]) / 20, np.array([6, 7, 9, 7]) / 20
    welch = scipy_stats.ttest_ind(a, b, equal_var=False, alternative="greater")
    assert found.degrees == pytest.approx(welch.df)
    assert found.value / found.stderr == pytest.approx(welch.statistic)
    assert runs_tail_p(ours, theirs) == pytest.approx(welch.pvalue)
    assert runs_tail_p(theirs, ours) == pytest.approx(1 - welch.pvalue)


def test_items_and_runs_both_enter():
    rng = np.random.default_rng(0)
    runs = sampled(rng, 40, 3, 0.3)
    found, items = estimate_runs(runs), estimate(runs_mean(runs))
    between = np.var([run.value() for run in runs], ddof=1) / 3
    assert found.stderr == pytest.approx(np.sqrt(items.stderr**2 + between))
    assert found.runs_variance == pytest.approx(between)
    total = items.stderr**2 + between
    assert found.degrees == pytest.approx(total**2 / (items.stderr**4 / 39 + between**2 / 2))
    assert found.low < items.low < items.high < found.high


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_the_interval_over_runs_covers_the_truth(spread):
    rng = np.random.default_rng(1)
    found, p_values = [], []
    for _ in range(400):
        ours, theirs = sampled(rng, 30, 3, spread), sampled(rng, 30, 3, spread)
        found.append(estimate_runs_difference(ours, theirs, draws=400))
        p_values.append(runs_tail_p(ours, theirs, draws=400))
    assert 0.93 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.99
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.075


def test_tail_p_is_the_level_at_which_the_interval_ends():
    rng = np.random.default_rng(5)
    metric = ItemSums(np.column_stack([rng.exponential(size=60), np.ones(60)]), ratio)
    found = estimate(metric)
    assert tail_p(metric, found.low) == pytest.approx(0.025, abs=0.001)
    assert tail_p(metric, found.high) == pytest.approx(0.975, abs=0.001)


def test_tail_p_rejects_a_true_hypothesis_as_often_as_it_says():
    """A rare failure, of one answer in twenty, in clusters of four: the skewed case."""
    rng = np.random.default_rng(2)
    p_values = []
    for _ in range(1000):
        wrong = rng.binomial(4, rng.beta(0.2, 3.8, size=60))
        p_values.append(tail_p(shares(*(4 - wrong)), 0.95, draws=400))
    rejected = [np.mean(np.array(p_values) <= level) for level in (0.01, 0.05)]
    assert rejected[0] <= 0.03
    assert 0.03 <= rejected[1] <= 0.085


def test_tail_p_without_variation_or_without_items():
    same = shares(2, 2, 2, 2, 2)
    assert [tail_p(same, threshold) for threshold in (0.4, 0.5, 0.6)] == [0, 1, 1]
    assert np.isnan(tail_p(shares(1), 0.1))
