"""The headline and label skill against values worked out by hand, and against leaving items out."""

from dataclasses import replace

import numpy as np
import pytest

from capo_bench.metrics.cells import Cells
from capo_bench.metrics.faithful import faithful_rate, indistinguishability, label_skill
from capo_bench.metrics.indistinguishability import Discrimination, _Pool
from capo_bench.stats.resampling import Undefined

from .build import answer, corpus

# A gives entailment to two of four items, neutral to the others; B always gives neutral.
HUMAN = [
    {"A": [("entailment", "yes")], "B": [("neutral", "no")]},
    {"A": [("entailment", "yes")], "B": [("neutral", "no")]},
    {"A": [("neutral", "yes")], "B": [("neutral", "no")]},
    {"A": [("neutral", "yes")], "B": [("neutral", "no")]},
]


def cells_of(*labels: tuple[str, str]) -> Cells:
    answers = [{"A": ([a], "yes"), "B": ([b], "no")} for a, b in labels]
    return answer(corpus(HUMAN), answers)


OWN = cells_of(*[("entailment", "neutral")] * 2, *[("neutral", "neutral")] * 2)
ONE_WRONG = cells_of(*[("entailment", "neutral")] * 3, ("neutral", "neutral"))
USUAL = cells_of(*[("neutral", "neutral")] * 4)
EVERY = np.ones(8, dtype=np.bool_)


def told(cells: Cells, a: float, b: float) -> Discrimination:
    """That so much of each annotator's responses passes, whichever item is left out."""
    share = np.array([a, b])
    group = np.zeros(len(cells.items), dtype=np.int64)
    pool = _Pool(np.arange(2), np.ones(2), share, share[None], group)
    return Discrimination(
        np.ones(len(cells), dtype=np.bool_), share[cells.annotator], share, (pool,)
    )


@pytest.mark.parametrize(
    ("cells", "skill"),
    [
        # Of A's labels dealt at random half agree: 4 - 2 are to be told, and B's tell nothing.
        (OWN, 1),
        # 3 are right; of 3 entailments 2/4 agree by chance and so of 1 neutral: 2. (3 - 2) / 2.
        (ONE_WRONG, 0.5),
        (USUAL, 0),
    ],
)
def test_label_skill_by_hand(cells, skill):
    assert label_skill(cells).value() == pytest.approx(skill)


@pytest.mark.parametrize(
    ("named", "shares", "rate"),
    [
        (EVERY, (1, 1), 0.5),
        # Whether B's responses pass is of no weight: there is nothing to be told of B.
        (EVERY, (1, 0), 0.5),
        (EVERY, (0.4, 1), 0.5 * 0.4),
        # Not in A's voice: the right entailment of item 0. 2 are right, of 2 entailments and
        # 1 neutral in A's voice half by chance: (2 - 1.5) / 2.
        (np.arange(8) != 0, (1, 1), 0.25),
        (np.zeros(8, dtype=np.bool_), (1, 1), 0),
    ],
)
def test_the_headline_by_hand(named, shares, rate):
    found = faithful_rate(ONE_WRONG, named, told(ONE_WRONG, *shares))
    assert found.value() == pytest.approx(rate)


def test_indistinguishability_is_the_mean_over_responses():
    assert indistinguishability(OWN, told(OWN, 0.2, 0.6)).value() == pytest.approx(0.4)


@pytest.mark.parametrize("left", range(4))
@pytest.mark.parametrize("metric", ["skill", "headline"])
def test_what_an_item_changes_is_what_its_absence_changes(left, metric):
    def of(cells: Cells):
        if metric == "skill":
            return label_skill(cells)
        return faithful_rate(cells, EVERY[: len(cells)], told(cells, 0.4, 0.7))

    def without(item: int) -> float:
        kept = ONE_WRONG.item != item
        part = replace(
            ONE_WRONG,
            items=tuple(one for at, one in enumerate(ONE_WRONG.items) if at != item),
            item=(ONE_WRONG.item - (ONE_WRONG.item > item))[kept],
            annotator=ONE_WRONG.annotator[kept],
            references=tuple(r for r, k in zip(ONE_WRONG.references, kept, strict=True) if k),
            parsed=tuple(p for p, k in zip(ONE_WRONG.parsed, kept, strict=True) if k),
        )
        return of(part).value()

    whole = of(ONE_WRONG)
    changes = np.array([without(item) for item in range(4)]) - whole.value()
    expected = whole.value() - 3 * (changes - changes.mean())
    assert whole.sums[left, 0] == pytest.approx(expected[left])


def test_annotators_who_never_vary_leave_nothing_to_be_told():
    same = corpus([{"A": [("neutral", "yes")]}] * 3)
    cells = answer(same, [{"A": (["neutral"], "yes")}] * 3)
    for found in (label_skill(cells), faithful_rate(cells, EVERY[:3], told(cells, 1, 1))):
        assert isinstance(found, Undefined)
        assert "always give the same label" in found.reason
