"""A cheap part of a split that looks like the whole: stratified, and the same on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from capo_bench.corpus.model import Item, TaskSpec, cell_labels


def stratified(task: TaskSpec, items: Sequence[Item], size: int) -> list[int]:
    """Indices of `size` items, each stratum in proportion (largest remainders), in ascending order.

    A stratum is a majority label and a number of annotators; within one, a hash of the item's id
    decides, so that no generator and no order of the items matters. Intervals do not use the strata,
    which makes them somewhat wide rather than narrow.

    Args:
        task: The task, for the order of its labels.
        items: Items with at least one labelled cell each.
        size: How many to take; all if there are no more.
    """
    strata: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        strata[_stratum(task, item)].append(index)
    for members in strata.values():
        members.sort(key=lambda index: _hash(items[index].id))
    size = min(size, len(items))
    exact = {key: size * len(members) / len(items) for key, members in strata.items()}
    taken = {key: int(share) for key, share in exact.items()}
    by_remainder = sorted(exact, key=lambda key: (taken[key] - exact[key], _hash(repr(key))))
    for key in by_remainder[: size - sum(taken.values())]:
        taken[key] += 1
    return sorted(index for key, members in strata.items() for index in members[: taken[key]])


def _stratum(task: TaskSpec, item: Item) -> tuple[str, int]:
    """Majority label, the first of equals in the task's order, and number of annotators."""
    labels = [label for responses in item.cells.values() for label in cell_labels(responses)]
    votes = Counter(labels)
    first = max(task.labels.labels, key=lambda label: votes[label])
    return first, sum(bool(responses) for responses in item.cells.values())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
