"""Who can be evaluated: the annotators of whom a model can have learnt something.

An annotator of whom nothing is in the train split is nobody to imitate. They are left out, and
counted, by everything that asks for or scores responses; nothing refuses a corpus for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import TypeVar

from capo_bench.corpus.model import Corpus, Item

T = TypeVar("T")

MIN_TRAIN = 1
"""Fewest training responses of an annotator who is evaluated."""

MIN_EXPLANATIONS = 15
"""Fewest training explanations of an annotator whose manner of writing can be known."""

MAX_NAMED = 50
"""Most annotators who are told from each other by their writing: of more the busiest. Telling so
many apart is hard enough, and what it takes grows with annotators times words."""

CROWD = 100
"""Most annotators of a corpus of which everything is read; with more it is a crowd."""

MAX_NAMED_OF_CROWD = 25
"""Most of them in a crowd: few with many responses tell more than many with few."""

MAX_ASKED = 1000
"""Most responses of a crowd with reasons that are asked for and scored, of one split."""

MAX_COMPARED = 100
"""Most of them that are held word by word against what the annotators wrote."""

MAX_READ = 50
"""Most training explanations of an annotator of a crowd that classifiers are fitted to."""

MAX_RECALLED = 100
"""Most earlier explanations of an annotator of a crowd in which old words and manner are sought."""

MAX_HELD = 20
"""Most evaluated responses of an annotator of a crowd that are held against their own."""

MAX_VOCABULARY = 2000
"""Most items of a crowd whose words are told from each other by how rare they are."""

MAX_COMPETING = 500
"""Most items of a crowd's split that a text is compared with, beside its own."""


def evaluable(corpus: Corpus, minimum: int = MIN_TRAIN) -> tuple[str, ...]:
    """The annotators with at least so many training responses, in the corpus's order.

    Everyone is, whatever the minimum, in a corpus that says so (`Corpus.everyone`) or has no train
    split at all.
    """
    if corpus.everyone or not any(item.split == "train" for item in corpus.items):
        return corpus.annotator_ids
    sizes = corpus.history_sizes
    return tuple(one for one in corpus.annotator_ids if sizes[one] >= minimum)


def named(corpus: Corpus, minimum: int = MIN_EXPLANATIONS) -> tuple[str, ...]:
    """The annotators whose writing can be known, in the corpus's order.

    Those with at least so many training explanations, of more than `MAX_NAMED` (of a crowd
    `MAX_NAMED_OF_CROWD`) the busiest; nobody in a corpus of labels alone.
    """
    if corpus.task.explanations == "none":
        return ()
    sizes = corpus.history_sizes
    known = [one for one in corpus.annotator_ids if sizes[one] >= minimum]
    most = MAX_NAMED_OF_CROWD if is_crowd(corpus) else MAX_NAMED
    chosen = set(sorted(known, key=lambda one: -sizes[one])[:most])
    return tuple(one for one in known if one in chosen)


def is_crowd(corpus: Corpus) -> bool:
    """Whether more annotators answered than of whom everything can be read."""
    return len(corpus.annotator_ids) > CROWD


def spread(rows: Sequence[T], most: int) -> list[T]:
    """So many of the rows at most, evenly spread over all of them, in their order."""
    if len(rows) <= most:
        return list(rows)
    return [rows[index * len(rows) // most] for index in range(most)]


def drawn(
    items: Sequence[Item], sizes: Sequence[int], most: int, wanted: Sequence[int] | None = None
) -> list[int]:
    """Places of whole items that hold so many responses at most, or of all if there are no more.

    Those that are wanted most, and of equals their ids tell which: the same whatever order they come
    in.

    Args:
        items: The items.
        sizes: Responses to each of them.
        most: Responses at most, but of one item all.
        wanted: How much each of them is wanted; default: all alike.
    """
    if sum(sizes) <= most:
        return list(range(len(items)))
    first = [-one for one in wanted or [0] * len(items)]
    order = sorted(
        range(len(items)), key=lambda at: (first[at], blake2b(items[at].id.encode()).digest())
    )
    totals = accumulate(sizes[at] for at in order)
    kept = sum(total <= most for total in totals)
    return sorted(order[: max(kept, 1)])


def asked(corpus: Corpus, split: str) -> Sequence[Item]:
    """The items of a split about which annotators are asked; see `MAX_ASKED`.

    Those that most of the annotators answered whose writing is known (`named`): the headline is
    theirs, and of a crowd's responses at random they would be few.
    """
    items = corpus.split(split)
    if not is_crowd(corpus) or corpus.task.explanations == "none":
        return items
    sizes, wanted = (
        [sum(bool(own) and a in some for a, own in item.cells.items()) for item in items]
        for some in (frozenset(evaluable(corpus)), frozenset(named(corpus)))
    )
    return [items[at] for at in drawn(items, sizes, MAX_ASKED, wanted)]


def competing(corpus: Corpus, split: str) -> Sequence[Item]:
    """The items of a split that a text about one of them is compared with."""
    return spread(asked(corpus, split), MAX_COMPETING) if is_crowd(corpus) else corpus.split(split)


@dataclass(frozen=True)
class Coverage:
    """How much of a split a number speaks for.

    Attributes:
        annotators: Annotators that it is taken over.
        of_annotators: Annotators with a labelled cell in the split.
        cells: Their labelled cells in the split.
        of_cells: All labelled cells of the split.
    """

    annotators: int
    of_annotators: int
    cells: int
    of_cells: int

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.cells == self.of_cells

    def __str__(self) -> str:
        """Such as `over 16 of 48 annotators, 240 of 289 responses`."""
        return (
            f"over {self.annotators} of {self.of_annotators} annotators, "
            f"{self.cells} of {self.of_cells} responses"
        )


def coverage(corpus: Corpus, split: str, annotators: Collection[str]) -> Coverage:
    """What share of a split's labelled cells, and of those who gave them, some annotators are."""
    chosen = frozenset(annotators)
    cells, taken = (
        Counter(one for item in items for one, responses in item.cells.items() if responses)
        for items in (corpus.split(split), asked(corpus, split))
    )
    own = {annotator: count for annotator, count in taken.items() if annotator in chosen}
    return Coverage(len(own), len(cells), sum(own.values()), cells.total())
