"""Explanation consistency: its distance against scipy, its two fixed points, its refusals."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.metrics import consistency
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.prompts.responses import render_target
from capo_bench.stats.resampling import Undefined

from .build import answer, corpus


@pytest.fixture(scope="module")
def mini():
    base = synthesize("mini-nli", items=300).corpus
    return base, consistency.fit_style_bins(base)


def scored(mini, written_by):
    base, bins = mini
    predictions = []
    for item, annotator in evaluated_cells(base, "test"):
        own = item.cells.get(written_by(annotator)) or item.cells[annotator]
        predictions.append(
            Prediction(item.id, annotator, render_target([own[0].label], own[0].explanation))
        )
    return consistency.explanation_consistency(join(base, "test", predictions), bins)


def test_the_value_is_the_definition_with_scipys_distance(mini):
    base, bins = mini
    predictions = [
        Prediction(item.id, annotator, "Label: neutral\nExplanation: I am not sure, it may be so.")
        for item, annotator in evaluated_cells(base, "test")
    ]
    cells = join(base, "test", predictions)

    def mean_distance(placed, annotator):
        shares = np.mean(placed, axis=0)
        pairs = zip(shares, bins.train[annotator], strict=True)
        return np.mean([jensenshannon(p, q, base=2) for p, q in pairs])

    humans = [
        np.mean(bins.place([r.explanation for r in refs], [source] * len(refs)), axis=0)
        for refs, source in zip(cells.references, cells.inputs, strict=True)
    ]
    model = bins.place(cells.explanations, cells.inputs)

    def contrast(rows, annotator):
        by = [mean_distance(rows, other) for other in range(4)]
        return np.mean(np.delete(by, annotator)) - by[annotator]

    ours = theirs = 0.0
    for a in range(4):
        own = np.flatnonzero(cells.annotator == a)
        ours += contrast(model[own], a)
        theirs += contrast([humans[i] for i in own], a)
    found = consistency.explanation_consistency(cells, bins)
    assert found.value() == pytest.approx(ours / theirs)


def test_what_an_item_changes_is_what_its_absence_changes(mini):
    base, bins = mini
    predictions = [
        Prediction(item.id, annotator, f"Label: neutral\nExplanation: I am not sure of {item.id}.")
        for item, annotator in evaluated_cells(base, "test")
    ]
    whole = consistency.explanation_consistency(join(base, "test", predictions), bins)
    n = len(whole.sums)
    for left in (0, 7):
        item = base.split("test")[left].id
        rest = [one for one in predictions if one.item != item]
        part = consistency.explanation_consistency(join(base, "test", rest), bins)
        # An item's pseudo-value is the metric less (n - 1) times what its absence changes, but for
        # what centres them all.
        changes = (whole.value() - whole.sums[:, 0]) / (n - 1)
        other = (whole.value() - whole.sums[left - 1, 0]) / (n - 1)
        gone = base.split("test")[left - 1].id
        rest = [one for one in predictions if one.item != gone]
        again = consistency.explanation_consistency(join(base, "test", rest), bins)
        assert changes[left] - other == pytest.approx(part.value() - again.value())


def test_bins_hold_about_equal_shares_of_the_training_texts(mini):
    _base, bins = mini
    lengths = bins.train[:, bins.names.index("words")].mean(axis=0)
    assert lengths.sum() == pytest.approx(1)
    # Word counts tie, so that eighths are met roughly.
    assert lengths.max() < 0.25


def test_the_annotators_themselves_score_one(mini):
    assert scored(mini, lambda a: a).value() == pytest.approx(1, abs=0.05)


def test_swapped_annotators_score_below_zero(mini):
    # Who writes as somebody else is nearer to them than to the target.
    ids = mini[0].annotator_ids
    values = [
        scored(mini, lambda a, by=by: ids[(ids.index(a) + by) % len(ids)]).value()
        for by in (1, 2, 3)
    ]
    assert -1 < np.mean(values) < -0.1
    assert max(values) < 0.2


def test_indistinguishable_annotators_leave_it_undefined():
    base = synthesize("mini-nli", 0.0, items=300).corpus
    found = scored((base, consistency.fit_style_bins(base)), lambda a: a)
    assert isinstance(found, Undefined)
    assert "cannot be told apart" in found.reason


def test_one_annotator_leaves_it_undefined():
    human = corpus([{"A": [("neutral", "one says nothing here")]}] * 3)
    train = replace(
        human, items=tuple(replace(i, id=f"t{i.id}", split="train") for i in human.items)
    )
    both = replace(human, items=human.items + train.items)
    cells = answer(both, [{"A": (["neutral"], "x")}] * 3)
    found = consistency.explanation_consistency(cells, consistency.fit_style_bins(both))
    assert isinstance(found, Undefined)
    assert "two annotators" in found.reason
