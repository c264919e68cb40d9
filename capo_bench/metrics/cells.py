"""What every metric is computed from: one row per evaluated cell, response beside references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from capo_bench.corpus.evaluable import MAX_COMPARED, asked, drawn, evaluable, is_crowd, named
from capo_bench.corpus.model import Corpus, Item, Response
from capo_bench.errors import CapoBenchError
from capo_bench.prompts.responses import Parsed, as_read, parse


@dataclass(frozen=True)
class Prediction:
    """A model's raw text for one cell.

    Attributes:
        item: Id of the item.
        annotator: Id of the target annotator.
        response: The raw text; may be empty.
        truncated: Whether it ended at the token limit; `None` where that is not known.
    """

    item: str
    annotator: str
    response: str
    truncated: bool | None = None


def answers_of(run: Iterable[Prediction]) -> frozenset[tuple[str, str, str]]:
    """Item, annotator and response of each: the same for two runs that say the same everywhere.

    Whether a response was cut is left out, since not every file tells.
    """
    return frozenset((one.item, one.annotator, one.response) for one in run)


@dataclass(frozen=True)
class Cells:
    """Predictions beside the corpus, sorted by item and annotator; all arrays follow this order.

    Attributes:
        corpus: The corpus that was answered.
        items: The evaluated items, in the corpus's order.
        item: Index of each cell's item in `items`, shape (cells,).
        annotator: Index of each cell's annotator in `corpus.annotator_ids`, shape (cells,).
        references: The human responses of each cell, one or more, as they are read (`as_read`).
        parsed: What each prediction says.
        truncated: Whether each prediction ended at the token limit; `None` where it is not known.
    """

    corpus: Corpus
    items: tuple[Item, ...]
    item: NDArray[np.int64]
    annotator: NDArray[np.int64]
    references: tuple[tuple[Response, ...], ...]
    parsed: tuple[Parsed, ...]
    truncated: tuple[bool | None, ...]

    def __len__(self) -> int:
        return len(self.parsed)

    @property
    def explanations(self) -> list[str]:
        """The predicted explanations."""
        return [parsed.explanation for parsed in self.parsed]

    @cached_property
    def explained(self) -> Cells:
        """Those whose annotator gave an explanation, of the same items."""
        return self._only(self.is_explained)

    @cached_property
    def is_explained(self) -> NDArray[np.bool_]:
        """Whether the annotator gave an explanation, to which one can be compared, shape (cells,)."""
        return np.array(
            [any(r.explanation for r in own) for own in self.references], dtype=np.bool_
        )

    @cached_property
    def compared(self) -> Cells:
        """Of a crowd some items' cells alone, which are `MAX_COMPARED` at most; else all."""
        if not is_crowd(self.corpus):
            return self
        sizes = np.bincount(self.item, minlength=len(self.items)).tolist()
        return self._only(np.isin(self.item, drawn(self.items, sizes, MAX_COMPARED)))

    @cached_property
    def known(self) -> Cells:
        """Of a crowd the cells of those whose writing is known (`named`), if any; else all."""
        if not is_crowd(self.corpus):
            return self
        chosen = frozenset(named(self.corpus))
        ids = self.corpus.annotator_ids
        kept = np.array([ids[one] in chosen for one in self.annotator], dtype=np.bool_)
        return self._only(kept) if kept.any() else self

    def _only(self, kept: NDArray[np.bool_]) -> Cells:
        """Some of the cells, of the same items."""
        if kept.all():
            return self
        return replace(
            self,
            item=self.item[kept],
            annotator=self.annotator[kept],
            references=tuple(compress(self.references, kept)),
            parsed=tuple(compress(self.parsed, kept)),
            truncated=tuple(compress(self.truncated, kept)),
        )

    @cached_property
    def inputs(self) -> list[Mapping[str, str]]:
        """The input texts of each cell's item."""
        return [self.items[index].text for index in self.item]


def evaluated_cells(corpus: Corpus, split: str) -> list[tuple[Item, str]]:
    """The labelled cells of a split's evaluable annotators, in the order in which they are asked.

    Of a crowd with reasons no more than `capo_bench.corpus.evaluable.MAX_ASKED`, of whole items.
    """
    place = {annotator: index for index, annotator in enumerate(evaluable(corpus))}
    return [
        (item, annotator)
        for item in asked(corpus, split)
        for annotator in sorted(place.keys() & item.cells.keys(), key=place.__getitem__)
        if item.cells[annotator]
    ]


def labelled_cells(corpus: Corpus, split: str) -> frozenset[tuple[str, str]]:
    """Ids of item and annotator of all labelled cells of a split, asked about or not."""
    return frozenset(
        (item.id, annotator)
        for item in corpus.split(split)
        for annotator, given in item.cells.items()
        if given
    )


def join(corpus: Corpus, split: str, predictions: Sequence[Prediction]) -> Cells:
    """Puts predictions beside the corpus.

    Args:
        corpus: The corpus.
        split: The split that was predicted.
        predictions: In any order. Either all evaluated cells of the split, or all of some of its
            items. Those for annotators who cannot be evaluated (`evaluable`) are left out, as are
            those for items that nobody is asked about (`asked`).

    Raises:
        CapoBenchError: If there are none, one is for a cell that the split does not have, a cell is
            predicted twice, or an item is predicted for some of its annotators only.
    """
    if not predictions:
        raise CapoBenchError("there are no predictions to score")
    expected = evaluated_cells(corpus, split)
    known = labelled_cells(corpus, split)
    said: dict[tuple[str, str], Prediction] = {}
    for prediction in predictions:
        cell = (prediction.item, prediction.annotator)
        if cell not in known:
            raise CapoBenchError(
                f"item {prediction.item}, annotator {prediction.annotator}: not a labelled cell of "
                f"split {split} of corpus {corpus.name}; were the predictions made for another "
                "corpus or split?"
            )
        if cell in said:
            raise CapoBenchError(
                f"item {prediction.item}, annotator {prediction.annotator}: predicted twice; "
                "keep one response for each cell"
            )
        said[cell] = prediction
    started = {item for item, _ in said} & {item.id for item, _ in expected}
    cells = [(item, annotator) for item, annotator in expected if item.id in started]
    missing = [
        (item.id, annotator) for item, annotator in cells if (item.id, annotator) not in said
    ]
    if missing:
        raise CapoBenchError(
            f"{len(missing)} cells lack a prediction, the first is item {missing[0][0]}, annotator "
            f"{missing[0][1]}; give every annotator of an item a response (it may be empty)"
        )
    if not cells:
        raise CapoBenchError(
            f"corpus {corpus.name}: none of the predictions is for an annotator with training "
            "responses, so there is nothing to score"
        )
    items = tuple(item for item in corpus.split(split) if item.id in started)
    item_index = {item.id: index for index, item in enumerate(items)}
    annotator_index = {annotator: index for index, annotator in enumerate(corpus.annotator_ids)}
    answers = [said[item.id, annotator] for item, annotator in cells]
    return Cells(
        corpus=corpus,
        items=items,
        item=np.array([item_index[item.id] for item, _ in cells], dtype=np.int64),
        annotator=np.array([annotator_index[a] for _, a in cells], dtype=np.int64),
        references=tuple(
            tuple(as_read(corpus.task, own)[0] for own in item.cells[annotator])
            for item, annotator in cells
        ),
        parsed=tuple(parse(corpus.task, answer.response) for answer in answers),
        truncated=tuple(answer.truncated for answer in answers),
    )
