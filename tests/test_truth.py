"""The metrics against the truth, in synthetic corpora whose response probabilities are known."""

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from benchmarks.truth import imitator

from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.metrics.attribution import attribution, fit_attributor
from capo_bench.metrics.cells import join
from capo_bench.metrics.consistency import explanation_consistency, fit_style_bins, style_contrasts
from capo_bench.metrics.labels import label_agreement
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.comparing import difference, holm, permutation_p
from capo_bench.stats.resampling import ItemSums, Undefined, estimate

WORLDS = pytest.mark.parametrize("make", ["mini-nli", "mini-paraphrase"])
DIALS = (0.0, 0.3, 0.6, 1.0)


@lru_cache
def world_of(make, dial, items):
    return synthesize(make, dial, items=items)


def cells_of(world, predictions):
    return join(world.corpus, "test", predictions)


# --- attribution ---------------------------------------------------------------------------------


def attribution_of(world):
    """Attribution of fresh responses at 1, 3 and 10."""
    attributor = fit_attributor(world.corpus, normalised=False)
    cells = cells_of(world, imitator(world, 1))
    scores = attributor.log_probabilities(cells.explanations, cells.inputs)
    return [estimate(attribution(cells, scores, attributor.annotators, k)) for k in (1, 3, 10)]


@lru_cache
def attributed(make, dial):
    """The same, and the Bayes limit of the first two."""
    world = world_of(make, dial, 400)
    limits = [world.bayes_attribution(k, draws=draws) for k, draws in ((1, 50), (3, 12))]
    return attribution_of(world), limits


@WORLDS
def test_attribution_rises_with_the_dial(make):
    curve = [attributed(make, dial)[0][0].value for dial in DIALS]
    assert all(later - earlier > 0.05 for earlier, later in pairwise(curve))


@WORLDS
def test_attribution_is_at_chance_where_all_are_alike(make):
    measured, limits = attributed(make, 0.0)
    assert limits == pytest.approx([0.25, 0.25])
    for found in measured:
        assert found.low < 0.25 < found.high


@WORLDS
@pytest.mark.parametrize("dial", DIALS)
def test_attribution_comes_close_to_the_bayes_limit_and_not_above(make, dial):
    measured, limits = attributed(make, dial)
    for found, limit in zip(measured, limits, strict=False):
        # The limit is estimated too, with a standard error below .02.
        assert found.value < limit + 3 * np.hypot(found.stderr, 0.02)
    # Where habits are faint, 256 items do not teach them all.
    assert measured[0].value > limits[0] - 0.15


@WORLDS
def test_attribution_of_distinct_people_nearly_reaches_the_bayes_limit(make):
    world = synthesize(make, items=1000)
    (one, three, ten), limit = attribution_of(world), world.bayes_attribution(draws=50)
    assert limit > 0.9
    assert limit - 0.08 < one.value < limit
    assert three.value > 0.97
    assert ten.value > 0.99


# --- explanation consistency ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=["mini-nli", "mini-paraphrase"])
def distinct(request):
    world = world_of(request.param, 1.0, 400)
    return world, fit_style_bins(world.corpus)


def test_consistency_of_a_fresh_draw_of_the_same_annotator_is_1(distinct):
    world, bins = distinct
    values = []
    for seed in range(3):
        measured = explanation_consistency(cells_of(world, imitator(world, seed)), bins)
        found = estimate(measured, draws=1000)
        assert found.low < 1 < found.high
        values.append(found.value)
    assert np.mean(values) == pytest.approx(1, abs=0.06)


def test_consistency_of_another_annotator_is_below_0(distinct):
    world, bins = distinct
    found = [
        explanation_consistency(cells_of(world, imitator(world, 1, shift)), bins).value()
        for shift in (1, 2, 3)
    ]
    # Nearer to whom it imitates than to the target, by about what the target is nearer to itself,
    # shared among the three others.
    assert np.mean(found) == pytest.approx(-1 / 3, abs=0.1)
    assert max(found) < 0.1


@WORLDS
def test_consistency_is_not_defined_where_all_are_alike(make):
    world = world_of(make, 0.0, 400)
    cells = cells_of(world, imitator(world, 1))
    bins = fit_style_bins(world.corpus)
    found = explanation_consistency(cells, bins)
    assert isinstance(found, Undefined)
    assert "cannot be told apart" in found.reason
    defined = [row for row in style_contrasts(cells, bins) if not isinstance(row.caught, Undefined)]
    # Of 108 habits one or the other looks distinct by chance.
    assert len(defined) <= 2


def test_habits_are_caught_by_a_fresh_draw_and_missed_by_another_annotator(distinct):
    world, bins = distinct
    rows = [style_contrasts(cells_of(world, imitator(world, 1, shift)), bins) for shift in (0, 1)]
    caught, missed = (
        np.array([row.caught.value for row in run if not isinstance(row.caught, Undefined)])
        for run in rows
    )
    assert len(caught) == len(missed) > 20
    assert np.median(caught) == pytest.approx(1, abs=0.15)
    assert np.median(missed) < 0.2


# --- labels --------------------------------------------------------------------------------------


@WORLDS
@pytest.mark.parametrize("dial", [0.0, 1.0])
def test_label_agreement_of_fresh_draws_is_the_true_one(make, dial):
    world = world_of(make, dial, 400)
    runs = [cells_of(world, imitator(world, seed)) for seed in range(8)]
    measured = [label_agreement(cells)["label_accuracy"].value() for cells in runs]
    counts = np.bincount(runs[0].annotator)
    true = [world.label_agreement(annotator) for annotator in world.corpus.annotator_ids]
    # Eight times 384 draws: the standard error of their mean is at most .5 / sqrt(3072).
    assert np.mean(measured) == pytest.approx(np.average(true, weights=counts), abs=0.025)


# --- all metrics ---------------------------------------------------------------------------------


def compared(world):
    """Imitators of the annotators themselves, less imitators of their neighbours.

    Returns:
        Of every metric that is defined, the difference, and its p-value adjusted by Holm.
    """
    scorer = Scorer(world.corpus, "test", "minilm")
    runs = imitator(world, 1), imitator(world, 2, shift=1)
    ours, theirs = (scorer.measure(cells_of(world, run)) for run in runs)
    defined = [
        name
        for name, found in ours.items()
        if isinstance(found, ItemSums) and isinstance(theirs[name], ItemSums)
    ]
    p = [permutation_p(ours[name], theirs[name], draws=2000) for name in defined]
    return {
        name: (difference(ours[name], theirs[name]), adjusted)
        for name, adjusted in zip(defined, holm(p), strict=True)
    }


@WORLDS
def test_no_metric_tells_annotators_apart_where_all_are_alike(make):
    found = compared(world_of(make, 0.0, 100))
    assert "explanation_consistency" not in found
    assert {"faithful_rate", "attribution_at_1", "contrast_bertscore"} <= set(found)
    assert all(p > 0.05 for _, p in found.values())
    contrast = estimate(found["contrast_rouge_l"][0], draws=2000)
    assert contrast.low < 0 < contrast.high


def test_identity_metrics_tell_annotators_apart_where_they_are_distinct():
    found = compared(world_of("mini-nli", 1.0, 200))
    for name in (
        "faithful_rate",
        "attribution_at_1",
        "attribution_at_10",
        "explanation_consistency",
        "contrast_rouge_l",
        "contrast_bertscore",
        "indistinguishability",
    ):
        assert found[name][1] < 0.05
        assert estimate(found[name][0], draws=2000).low > 0
