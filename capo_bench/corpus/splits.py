"""Deterministic splits that never let an input text cross from one split into another."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from capo_bench.corpus.evaluable import MIN_TRAIN
from capo_bench.corpus.model import SPLITS, Corpus, Item, SplitName
from capo_bench.errors import CapoBenchError


def with_splits(corpus: Corpus, sizes: Mapping[SplitName, int], *, seed: int = 0) -> Corpus:
    """Assigns every item to a split of exactly the given size.

    Then whoever has answered two groups or more, but none that fell into train, is brought in by
    exchanging groups of one size, where that puts nobody else out (`MIN_TRAIN`).

    Items that share the text of a `group_by` field (directly or through other items) stay
    together. Groups are ordered by a hash of their texts, so that the assignment depends neither on
    the order of the file nor on the machine; the largest are placed first, because single items can
    always fill what is left.

    Args:
        corpus: The corpus; splits that its items already carry are overwritten.
        sizes: Number of items in each split; they must add up to the number of items.
        seed: Another seed gives another assignment.

    Raises:
        CapoBenchError: If the sizes do not add up, or the groups are too large to fill them.
    """
    if sum(sizes.values()) != len(corpus.items):
        raise CapoBenchError(
            f"corpus {corpus.name} has {len(corpus.items)} items, but the splits "
            f"{dict(sizes)} ask for {sum(sizes.values())}"
        )

    return _assign(corpus, sizes, seed, exact=True)


def with_shares(corpus: Corpus, shares: Mapping[SplitName, float], *, seed: int = 0) -> Corpus:
    """Assigns every item to a split of about the given share, for corpora with groups of any size.

    Grouping and order are those of `with_splits`; each group goes whole to the split that lacks
    most of its share, so that a split is off by no more than about the largest group.

    Args:
        corpus: The corpus; splits that its items already carry are overwritten.
        shares: Share of the items in each split; they add up to 1.
        seed: Another seed gives another assignment.
    """
    sizes = {name: share * len(corpus.items) for name, share in shares.items()}
    return _assign(corpus, sizes, seed, exact=False)


def _assign(corpus: Corpus, sizes: Mapping[SplitName, float], seed: int, *, exact: bool) -> Corpus:
    def order(group: list[Item]) -> tuple[int, str]:
        texts = "\0".join(sorted("\1".join(item.text.values()) for item in group))
        return -len(group), hashlib.sha256(f"{seed}\0{texts}".encode()).hexdigest()

    room = {name: sizes[name] for name in SPLITS if sizes.get(name, 0) > 0}
    split_of: dict[str, SplitName] = {}
    placed: list[tuple[list[Item], SplitName]] = []
    for group in sorted(groups(corpus), key=order):
        # The emptiest split in proportion takes the next group, so that groups of several items do
        # not all land in the first one.
        fitting = [name for name in room if room[name] >= len(group) or not exact]
        if not fitting:
            raise CapoBenchError(
                f"corpus {corpus.name}: {len(group)} items share an input text (among them "
                f"{group[0].id}) and fit into no split of {dict(sizes)}; choose other sizes"
            )
        chosen = max(fitting, key=lambda name: room[name] / sizes[name])
        room[chosen] -= len(group)
        split_of.update({item.id: chosen for item in group})
        placed.append((group, chosen))
    split_of |= _exchanged(placed)
    return corpus.placed(split_of)


def _exchanged(placed: Sequence[tuple[list[Item], SplitName]]) -> dict[str, SplitName]:
    """New splits of items, so that more annotators have a group in train.

    Each group outside of train that holds somebody whom train lacks changes places with the first
    one of its size in train whose annotators all have another one there.
    """
    answered = [
        {annotator for item in group for annotator, given in item.cells.items() if given}
        for group, _ in placed
    ]
    known = Counter(
        annotator
        for names, (_, split) in zip(answered, placed, strict=True)
        if split == "train"
        for annotator in names
    )
    groups_of = Counter(annotator for names in answered for annotator in names)
    of_size: dict[int, list[int]] = {}
    for index, (group, split) in enumerate(placed):
        if split == "train":
            of_size.setdefault(len(group), []).append(index)
    untried = {size: iter(indices) for size, indices in of_size.items()}
    moved: dict[str, SplitName] = {}
    for index, (group, split) in enumerate(placed):
        lacking = [a for a in answered[index] if known[a] < MIN_TRAIN <= groups_of[a] - 1]
        if split == "train" or not lacking:
            continue
        for other in untried.get(len(group), ()):
            if all(known[annotator] > MIN_TRAIN for annotator in answered[other]):
                known.subtract(answered[other])
                known.update(answered[index])
                moved |= {item.id: split for item in placed[other][0]}
                moved |= {item.id: "train" for item in group}
                break
    return moved


def groups(corpus: Corpus) -> list[list[Item]]:
    """Items in groups that share a `group_by` text, or all texts, as connected components."""
    parent = {item.id: item.id for item in corpus.items}

    def root(identifier: str) -> str:
        while parent[identifier] != identifier:
            parent[identifier] = parent[parent[identifier]]
            identifier = parent[identifier]
        return identifier

    first_with: dict[str, str] = {}
    for item in corpus.items:
        texts = {name: " ".join(text.split()) for name, text in item.text.items()}
        alike = "\1".join(texts[name] for name in corpus.task.fields)
        for key in (alike, *(texts[name] for name in corpus.task.group_by)):
            parent[root(item.id)] = root(first_with.setdefault(key, item.id))
    members: dict[str, list[Item]] = {}
    for item in corpus.items:
        members.setdefault(root(item.id), []).append(item)
    return list(members.values())
