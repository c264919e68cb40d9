"""Contrasts of single features of style: one by hand, their order, and what is not defined."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from capo_bench.metrics.consistency import fit_style_bins, style_contrasts
from capo_bench.stats.resampling import Undefined

from .build import answer, corpus

# A ends with a full stop in three of four explanations, B in one of four, always three words.
ENDS = {"A": (".", ".", ".", ""), "B": (".", "", "", "")}


def words(end):
    return f"So it is{end}"


@pytest.fixture(scope="module")
def rows():
    human = [{a: [("neutral", words(ends[i % 4]))] for a, ends in ENDS.items()} for i in range(80)]
    base = corpus(human)
    train = tuple(
        replace(item, split="train" if i < 40 else "test") for i, item in enumerate(base.items)
    )
    both = replace(base, items=train)
    # The model always writes a full stop.
    answers = [dict.fromkeys(ENDS, (["neutral"], words(".")))] * 40
    test = corpus(human[40:])
    cells = replace(answer(test, answers), corpus=both)
    return style_contrasts(cells, fit_style_bins(both))


def test_one_feature_by_hand(rows):
    found = {(row.annotator, row.feature): row for row in rows}
    apart = jensenshannon([0.75, 0.25], [0.25, 0.75], base=2)
    near, far = (jensenshannon([1, 0], own, base=2) for own in ([0.75, 0.25], [0.25, 0.75]))
    # The annotators' own test explanations are as their training ones: at no distance from them.
    for annotator, model in (("A", far - near), ("B", near - far)):
        row = found[annotator, "final full stop"]
        assert row.own == pytest.approx(apart)
        assert row.model == pytest.approx(model)
        assert row.caught.value == pytest.approx(model / apart)
        assert row.caught.low < row.caught.value < row.caught.high


def test_the_most_distinctive_feature_of_each_annotator_comes_first(rows):
    assert [row.annotator for row in rows] == ["A"] * (len(rows) // 2) + ["B"] * (len(rows) // 2)
    assert rows[0].feature == rows[len(rows) // 2].feature == "final full stop"
    apart = [row.own for row in rows if row.annotator == "A"]
    assert apart == sorted(apart, reverse=True)


def test_a_feature_that_all_share_is_neither_caught_nor_missed(rows):
    shared = next(row for row in rows if row.feature == "words")
    assert (shared.own, shared.model) == (0, 0)
    assert isinstance(shared.caught, Undefined)
    assert "cannot be told apart" in shared.caught.reason


def test_one_annotator_alone_has_no_rows():
    base = corpus([{"A": [("neutral", "So it is.")]}])
    train = replace(base, items=(replace(base.items[0], split="train"),))
    cells = answer(base, [{"A": ""}])
    assert style_contrasts(cells, fit_style_bins(train)) == []
    assert np.isfinite(fit_style_bins(train).train).all()
