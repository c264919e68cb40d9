from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capo_bench.corpus.model import TaskSpec
from capo_bench.corpus.splits import groups, with_shares, with_splits
from capo_bench.errors import CapoBenchError

from .build import TASK, corpus_of

LETTERS = [f"Dear {n}," for n in range(30)] + ["Dear all,"] * 6 + ["Dear both,"] * 4
SIZES = {"train": 24, "validation": 8, "test": 8}


def assigned(corpus):
    return {item.text["letter"] + item.text["reply"]: item.split for item in corpus.items}


def test_exact_sizes_and_no_letter_crosses() -> None:
    corpus = with_splits(corpus_of(LETTERS), SIZES)
    assert {name: len(corpus.split(name)) for name in SIZES} == SIZES
    of_letter: dict[str, set[str]] = {}
    for item in corpus.items:
        of_letter.setdefault(item.text["letter"], set()).add(item.split)
    assert all(len(splits) == 1 for splits in of_letter.values())


@settings(max_examples=30)
@given(st.permutations(range(len(LETTERS))))
def test_order_of_the_file_does_not_matter(order: list[int]) -> None:
    corpus = corpus_of(LETTERS)
    shuffled = replace(corpus, items=tuple(corpus.items[n] for n in order))
    assert assigned(with_splits(shuffled, SIZES)) == assigned(with_splits(corpus, SIZES))


def test_answers_do_not_matter_and_seeds_do() -> None:
    corpus = corpus_of(LETTERS)
    silent = replace(corpus, items=tuple(replace(item, cells={}) for item in corpus.items))
    assert assigned(with_splits(silent, SIZES)) == assigned(with_splits(corpus, SIZES))
    assert assigned(with_splits(corpus, SIZES, seed=1)) != assigned(with_splits(corpus, SIZES))


def test_groups_join_through_any_field_and_any_blanks() -> None:
    task = TaskSpec("pairs", "?", TASK.fields, TASK.labels, ("letter", "reply"))
    texts = [("a", "b"), ("c", " b "), ("c", "d"), ("e  f", "g"), ("h", "e f"), ("i", "j")]
    corpus = corpus_of([letter for letter, _ in texts], task=task)
    items = tuple(
        replace(item, text={"letter": letter, "reply": reply})
        for item, (letter, reply) in zip(corpus.items, texts, strict=True)
    )
    found = groups(replace(corpus, items=items))
    assert [[item.id for item in group] for group in found] == [
        ["i0", "i1", "i2"],
        ["i3", "i4"],
        ["i5"],
    ]


def test_equal_items_stay_together_without_group_by() -> None:
    task = replace(TASK, group_by=())
    corpus = corpus_of(["a", "a", "b"], task=task)
    assert len(groups(corpus)) == 3
    same = replace(corpus.items[1], text=corpus.items[0].text)
    found = groups(replace(corpus, items=(corpus.items[0], same, corpus.items[2])))
    assert [len(group) for group in found] == [2, 1]


def test_a_corpus_in_splits_is_the_same_corpus() -> None:
    corpus = corpus_of(LETTERS)
    before = corpus.fingerprint, corpus.by_id  # what is remembered of it is not its successor's
    placed = with_splits(corpus, SIZES)
    split_of = {item.id: item.split for item in placed.items}
    items = tuple(replace(item, split=split_of[item.id]) for item in corpus.items)
    assert placed == replace(corpus, items=items)
    assert placed.fingerprint == replace(corpus, items=items).fingerprint != before[0]
    assert all(placed.by_id[item.id] is item for item in placed.items)
    assert {item.split for item in corpus.items} == {None}


def test_sizes_must_add_up() -> None:
    with pytest.raises(CapoBenchError, match=r"letters has 2 items, but the splits .* ask for 3"):
        with_splits(corpus_of(["a", "b"]), {"train": 2, "test": 1})


def test_group_too_large() -> None:
    with pytest.raises(CapoBenchError, match=r"3 items share an input text \(among them i0\)"):
        with_splits(corpus_of(["a", "a", "a", "b"]), {"train": 2, "test": 2})


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        (["a", "b", "c"], [1, 1, 1]),
        (list("abcdefghij"), [6, 2, 2]),
        # groups of five: shares of 21, 7 and 7 cannot be exact
        (list("abcdefg") * 5, [20, 10, 5]),
        # one group holds nearly everything
        (["a"] * 8 + ["b", "c"], [8, 1, 1]),
        (["a"] * 5, [5, 0, 0]),
    ],
)
def test_shares(letters: list[str], expected: list[int]) -> None:
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    corpus = with_shares(corpus_of(letters), shares)
    found = [item.split for item in corpus.items]
    assert [found.count(name) for name in shares] == expected
    assert all(len({item.split for item in group}) == 1 for group in groups(corpus))
