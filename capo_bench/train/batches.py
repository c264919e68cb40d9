"""Batches: which groups go into one forward pass, in which order, and as what tensors."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.utils.data import Sampler

from capo_bench.train.dataset import Group
from capo_bench.train.loss import Comparisons
from capo_bench.train.packing import Layout, Packed, nodes, pack


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs.

    Attributes:
        packed: The rows.
        comparisons: The comparisons, as indices into the rows' paths.
        lengths: [N] tokens of each path's response.
        reference: [N] log pi_ref of each path; NaN where it was not computed.
        annotator: [C] index of each comparison's target annotator.
        share: [C] what part of a comparison each is.
    """

    packed: Packed
    comparisons: Comparisons
    lengths: Tensor
    reference: Tensor
    annotator: Tensor
    share: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The same batch on another device; accelerate calls this."""
        return Batch(
            packed=self.packed.to(device, non_blocking),
            comparisons=replace(
                self.comparisons,
                **{
                    field.name: getattr(self.comparisons, field.name).to(device)
                    for field in fields(Comparisons)
                },
            ),
            lengths=self.lengths.to(device),
            reference=self.reference.to(device),
            annotator=self.annotator.to(device),
            share=self.share.to(device),
        )


class Order(Sampler[int]):
    """A permutation for each epoch that the seed alone decides, so that it is known beforehand."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed, self._epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Accelerate calls this before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed} {self._epoch}")
        return iter(rng.sample(range(self._size), self._size))


def compose(groups: Sequence[Group], layout: Layout, most: int, seed: int) -> list[list[int]]:
    """Batches, as indices of groups, of at most `most` items of similar sizes.

    The groups of one item stay together: how finely an item is divided, which is a matter of memory,
    changes no step. Batches are composed once, so that every epoch has the same number of steps and a
    resumed run sees the same batches; their order is shuffled in every epoch.

    Args:
        groups: The groups.
        layout: How a group is laid out.
        most: Most items of a batch.
        seed: Of the composition.
    """
    by_item: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        by_item.setdefault(group.item, []).append(index)
    items = list(by_item.values())
    shapes = [max(_shape(groups[index], layout) for index in own) for own in items]
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    batches: list[list[int]] = []
    window = 16 * most
    for start in range(0, len(order), window):
        similar = sorted(order[start : start + window], key=lambda i: shapes[i])
        batches += [
            [index for item in similar[first : first + most] for index in items[item]]
            for first in range(0, len(similar), most)
        ]
    return batches


def passes(groups: Sequence[Group], layout: Layout, budget: float) -> list[list[Group]]:
    """A batch divided into forward passes within a token budget, shorter groups first.

    Args:
        groups: The batch.
        layout: How a group is laid out.
        budget: Most tokens of a pass, padding included; a group that needs more is a pass alone.
    """
    shapes = [_shape(group, layout) for group in groups]
    found: list[list[Group]] = []
    rows = 0
    for index in sorted(range(len(groups)), key=lambda i: shapes[i]):
        width, more = shapes[index]
        rows += more
        if not found or rows * width > budget:
            found.append([])
            rows = more
        found[-1].append(groups[index])
    return found


def tokens(group: Group, layout: Layout) -> int:
    """Tokens of a group's rows, padding included."""
    width, count = _shape(group, layout)
    return width * count


def collate(
    groups: Sequence[Group], layout: Layout, annotators: Sequence[str], multiple: int = 1
) -> Batch:
    """Packs groups in a layout; annotators are numbered by their place in `annotators`.

    Rows are padded to a multiple of `multiple` tokens.
    """
    chosen: list[int] = []
    rejected: list[list[int]] = []
    weight: list[float] = []
    annotator: list[int] = []
    first = 0
    for group in groups:
        for comparison in group.comparisons:
            chosen.append(first + comparison.chosen)
            rejected.append([first + path for path in comparison.rejected])
            weight.append(comparison.weight)
            annotator.append(annotators.index(comparison.annotator))
        first += len(group.paths)
    most = max(map(len, rejected))
    return Batch(
        packed=pack([group.paths for group in groups], layout, multiple=multiple),
        comparisons=Comparisons(
            chosen=torch.tensor(chosen),
            rejected=torch.tensor(
                [others + [-1] * (most - len(others)) for others in rejected], dtype=torch.long
            ),
            weight=torch.tensor(weight),
        ),
        lengths=torch.tensor([len(p.response) for group in groups for p in group.paths]),
        reference=torch.cat(
            [torch.tensor(g.reference or [math.nan] * len(g.paths)) for g in groups]
        ),
        annotator=torch.tensor(annotator),
        share=torch.tensor([c.share for group in groups for c in group.comparisons]),
    )


def _shape(group: Group, layout: Layout) -> tuple[int, int]:
    """Length of the longest row of a group, and its rows."""
    if layout == "trie":
        return nodes(group.paths), 1
    packed = pack([group.paths], layout)
    return packed.input_ids.shape[1], packed.input_ids.shape[0]
