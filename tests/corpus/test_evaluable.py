"""Who is evaluated, and splits that keep them in train."""

from dataclasses import replace
from hashlib import blake2b

import pytest

import capo_bench.corpus.evaluable as evaluable_module
import capo_bench.metrics.cells as cells_module
from capo_bench.corpus.evaluable import (
    CROWD,
    coverage,
    drawn,
    evaluable,
    named,
    spread,
)
from capo_bench.corpus.model import Annotator, Corpus, Item, Response
from capo_bench.corpus.splits import with_shares, with_splits
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.cells import Prediction, evaluated_cells, join

from .build import TASK

SAID = (Response("warm", "It thanks her."),)
PLAIN = (Response("warm"),)


def crowd(*items: tuple[str | None, dict[str, tuple[Response, ...]]], **fields) -> Corpus:
    names = dict.fromkeys(name for _, cells in items for name in cells)
    return Corpus(
        "crowd",
        TASK,
        tuple(map(Annotator, names)),
        tuple(
            Item(f"i{n}", {"letter": f"Dear {n},", "reply": f"Reply {n}."}, cells, (), split)
            for n, (split, cells) in enumerate(items)
        ),
        **fields,
    )


def test_rows_are_spread_evenly_over_all():
    assert spread("abcdefghij", 4) == ["a", "c", "f", "h"]
    assert spread("abc", 3) == ["a", "b", "c"]


FOUR = crowd(
    ("train", {"Ida": SAID, "Ola": PLAIN}),
    ("train", {"Ida": SAID}),
    ("test", {"Ida": SAID, "Ola": SAID, "Per": SAID}),
    ("test", {"Per": SAID, "Eva": ()}),
)


def test_only_explained_training_responses_count_where_there_are_explanations() -> None:
    assert FOUR.history_sizes == {"Ida": 2, "Ola": 0, "Per": 0, "Eva": 0}
    assert evaluable(FOUR) == ("Ida",)
    assert evaluable(FOUR, minimum=3) == ()
    labels_alone = replace(FOUR, task=replace(TASK, explanations="none"))
    assert evaluable(labels_alone) == ("Ida", "Ola")


def test_what_is_left_out_is_counted() -> None:
    found = coverage(FOUR, "test", evaluable(FOUR))
    assert str(found) == "over 1 of 3 annotators, 1 of 4 responses"
    assert not found.whole
    assert coverage(FOUR, "test", ["Ida", "Ola", "Per"]).whole


def test_only_the_evaluable_are_asked_and_others_predictions_are_ignored() -> None:
    assert [(item.id, who) for item, who in evaluated_cells(FOUR, "test")] == [("i2", "Ida")]
    ida = Prediction("i2", "Ida", "Label: warm\nExplanation: So.")
    per = Prediction("i3", "Per", "Label: warm\nExplanation: So.")
    assert join(FOUR, "test", [ida, per]).annotator.tolist() == [0]
    with pytest.raises(CapoBenchError, match="none of the predictions is for an annotator with"):
        join(FOUR, "test", [per])
    with pytest.raises(CapoBenchError, match="item i3, annotator Eva: not a labelled cell"):
        join(FOUR, "test", [ida, Prediction("i3", "Eva", "")])


def test_a_shared_task_with_its_own_splits_asks_for_everyone() -> None:
    everyone = replace(FOUR, everyone=True)
    assert evaluable(everyone) == everyone.annotator_ids
    assert len(evaluated_cells(everyone, "test")) == 4


def test_splits_bring_everyone_into_train_who_answered_twice() -> None:
    # Sixty annotators of two items each and one of a single item, beside one of all items.
    pairs = [{"All": SAID, f"A{n // 2}": SAID} for n in range(120)]
    corpus = crowd(*((None, cells) for cells in [*pairs, {"All": SAID, "Once": SAID}]))
    for split in (
        with_shares(corpus, {"train": 0.6, "validation": 0.2, "test": 0.2}),
        with_splits(corpus, {"train": 72, "validation": 25, "test": 24}),
    ):
        sizes = {name: len(split.split(name)) for name in ("train", "validation", "test")}
        assert sizes == {"train": 72, "validation": 25, "test": 24}
        lost = set(split.annotator_ids) - set(evaluable(split))
        assert lost <= {"Once"}


def test_min_responses_leaves_annotators_out_and_items_that_nobody_answered() -> None:
    kept = FOUR.at_least(2)
    assert kept.name == "crowd-min2"
    assert kept.annotator_ids == ("Ida", "Ola", "Per")
    assert [item.id for item in kept.at_least(3).items] == ["i0", "i1", "i2"]
    with pytest.raises(
        CapoBenchError, match="nobody has 4 labelled responses, the busiest annotator has 3"
    ):
        FOUR.at_least(4)


def test_min_annotators_leaves_out_items_that_fewer_labelled() -> None:
    # Three answer i0 to i2 in part; only those items stay that as many labelled as is asked for.
    by = {item.id: sum(map(bool, item.cells.values())) for item in FOUR.items}
    two = FOUR.shared_by(2)
    assert [item.id for item in two.items] == [name for name, count in by.items() if count >= 2]
    assert two.name == "crowd-by2"
    with pytest.raises(CapoBenchError, match="no item is labelled by 5 annotators"):
        FOUR.shared_by(5)


def test_of_a_large_crowd_the_busiest_are_told_apart() -> None:
    # Annotator n answers items 0 to n, so that the last ones are the busiest.
    answers = [{f"A{n:02d}": SAID for n in range(item, 60)} for item in range(60)]
    corpus = crowd(*(("train", cells) for cells in answers))
    assert named(corpus) == tuple(f"A{n}" for n in range(14, 60))
    assert named(corpus, minimum=1) == tuple(f"A{n}" for n in range(10, 60))


def test_of_a_crowd_fewer_are_told_apart_and_first_asked_for(monkeypatch) -> None:
    """Everybody answered fifteen train items, and P0 to P24 one more; each two of the test items."""
    people = [f"P{n}" for n in range(CROWD + 1)]
    train = [("train", dict.fromkeys(people, SAID))] * 15
    more = ("train", dict.fromkeys(people[:25], SAID))
    test = [("test", {people[n]: SAID, people[n + 1]: SAID}) for n in range(CROWD)]
    many = crowd(*train, more, *test)
    assert named(many) == tuple(people[:25])
    # Both of items i16 to i39 are among them, one of i40.
    monkeypatch.setattr(evaluable_module, "MAX_ASKED", 48)
    assert {item.id for item, _ in evaluated_cells(many, "test")} == {
        f"i{n}" for n in range(16, 40)
    }
    monkeypatch.setattr(evaluable_module, "MAX_ASKED", 50)
    items = {item.id for item, _ in evaluated_cells(many, "test")}
    assert items == {f"i{n}" for n in range(16, 41)}


def test_of_a_crowd_with_reasons_whole_items_are_asked_about(monkeypatch) -> None:
    """Which ones hangs on their ids alone, and what is left out is counted."""
    people = [f"P{n}" for n in range(CROWD + 1)]
    train = ("train", dict.fromkeys(people, SAID))
    test = [("test", {people[n]: SAID, people[n + 1]: SAID}) for n in range(20)]
    many = crowd(train, *test)
    assert len(evaluated_cells(many, "test")) == 40
    monkeypatch.setattr(evaluable_module, "MAX_ASKED", 7)
    cells = evaluated_cells(many, "test")
    items = list({item.id: item for item, _ in cells}.values())
    first = sorted(many.split("test"), key=lambda item: blake2b(item.id.encode()).digest())[:3]
    assert sorted(item.id for item in items) == sorted(item.id for item in first)
    assert [who for _, who in cells] == [
        who for item in items for who in sorted(item.cells, key=people.index)
    ]
    turned = replace(many, items=many.items[::-1])
    assert {item.id for item, _ in evaluated_cells(turned, "test")} == {item.id for item in items}
    told = coverage(many, "test", evaluable(many))
    assert str(told).endswith("6 of 40 responses")
    # answers to the others are left out, and an item that is asked about must be whole
    every = [
        Prediction(item.id, who, "Label: warm") for item in many.split("test") for who in item.cells
    ]
    assert len(join(many, "test", every)) == 6
    with pytest.raises(CapoBenchError, match="1 cells lack a prediction"):
        join(
            many, "test", [p for p in every if (p.item, p.annotator) != (items[0].id, cells[0][1])]
        )
    # without reasons, and of few people, all are
    labels = replace(many, task=replace(TASK, explanations="none"))
    assert len(evaluated_cells(labels, "test")) == 40
    few = crowd(("train", dict.fromkeys(people[:21], SAID)), *test)
    assert len(evaluated_cells(few, "test")) == 40


def test_whole_items_by_their_ids() -> None:
    items = crowd(*[(None, {"Ida": SAID})] * 6).items
    order = sorted(range(6), key=lambda n: blake2b(f"i{n}".encode()).digest())
    assert drawn(items, [1] * 6, 6) == [0, 1, 2, 3, 4, 5]
    assert drawn(items, [1] * 6, 4) == sorted(order[:4])
    assert drawn(items, [3] * 6, 10) == sorted(order[:3])
    assert drawn(items, [9] * 6, 4) == order[:1]
    # those that are wanted most come first
    last = order[-1]
    wanted = [int(at == last) for at in range(6)]
    assert drawn(items, [1] * 6, 3, wanted) == sorted([last, *order[:2]])


def test_of_a_crowd_some_items_are_compared_and_some_people_known(monkeypatch) -> None:
    people = [f"P{n}" for n in range(CROWD + 1)]
    train = [("train", dict.fromkeys(people if n == 0 else people[:2], SAID)) for n in range(15)]
    test = [("test", {people[n]: SAID, people[n + 1]: SAID}) for n in range(20)]
    many = crowd(*train, *test)
    answers = [
        Prediction(item.id, who, "Label: warm") for item in many.split("test") for who in item.cells
    ]
    cells = join(many, "test", answers)
    assert cells.compared is cells  # there are few
    monkeypatch.setattr(cells_module, "MAX_COMPARED", 7)
    some = join(many, "test", answers).compared
    first = sorted(many.split("test"), key=lambda item: blake2b(item.id.encode()).digest())[:3]
    assert [some.items[at].id for at in some.item] == sorted(
        [item.id for item in first] * 2, key=lambda one: int(one[1:])
    )
    # P0 has one answer and P1 two in the test split, and only they have fifteen in train
    assert [many.annotator_ids[one] for one in cells.known.annotator] == ["P0", "P1", "P1"]
    few = replace(many, annotators=many.annotators[:50], items=many.items[1:30])
    whole = join(few, "test", [p for p in answers if p.item in {i.id for i in few.items}])
    assert whole.compared is whole
    assert whole.known is whole
