"""Packed groups: many sequences of one item as one row that computes every shared token once.

The sequences (a prompt and a response each) are merged into a trie over their finished token ids.
A row holds the trie's nodes in pre-order; a token's position is its depth, and it sees exactly the
tokens on its own path, so that its hidden state is the one it has in a row of its own. Node k is
on the path of node q if and only if k <= q < end(k), where end(k) closes the subtree of k.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

# How the sequences of one group are laid out: all in one trie, one trie a prompt, one row each.
Layout = Literal["trie", "target", "plain"]

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Path:
    """One sequence to score: the log-probability of `response` after `context`, both not empty."""

    context: Tokens
    response: Tokens


@dataclass(frozen=True)
class Trie:
    """One row.

    Attributes:
        tokens: Token ids of the nodes in pre-order.
        positions: Depth of each node, from 0.
        ends: For each node, one more than the last node of its subtree.
        edges: (node, next token) for each token to be scored; shared ones occur once.
        scored: For each path, the edges of its response.
        branches: First nodes of the subtrees below the row's unbranched beginning, if it branches.
    """

    tokens: list[int]
    positions: list[int]
    ends: list[int]
    edges: list[tuple[int, int]]
    scored: list[list[int]]
    branches: list[int]


def build(paths: Sequence[Path]) -> Trie:
    """Merges paths into one trie.

    In lexicographic order each path shares its longest prefix with the one before it, so that
    appending what is new yields the nodes in pre-order. The last token of a response is scored but
    never read.
    """
    inputs = [path.context + path.response[:-1] for path in paths]
    tokens: list[int] = []
    positions: list[int] = []
    ends: list[int] = []
    edge_ids: dict[tuple[int, int], int] = {}
    scored: list[list[int]] = [[] for _ in paths]
    stack: list[int] = []  # nodes of the path before
    previous: Tokens = ()
    for index in sorted(range(len(paths)), key=inputs.__getitem__):
        ids = inputs[index]
        shared = common_prefix(previous, ids)
        for node in stack[shared:]:
            ends[node] = len(tokens)
        new = range(len(tokens), len(tokens) + len(ids) - shared)
        tokens += ids[shared:]
        positions += range(shared, len(ids))
        ends += [0] * len(new)
        stack = [*stack[:shared], *new]
        previous = ids
        first = len(paths[index].context) - 1
        scored[index] = [
            edge_ids.setdefault(edge, len(edge_ids))
            for edge in zip(stack[first:], paths[index].response, strict=True)
        ]
    for node in stack:
        ends[node] = len(tokens)
    return Trie(tokens, positions, ends, list(edge_ids), scored, _branches(positions, ends))


def nodes(paths: Sequence[Path]) -> int:
    """Nodes of the trie of some paths."""
    inputs = sorted(path.context + path.response[:-1] for path in paths)
    shared = sum(common_prefix(left, right) for left, right in itertools.pairwise(inputs))
    return sum(map(len, inputs)) - shared


def rows(paths: Sequence[Path], layout: Layout) -> list[tuple[Trie, list[int]]]:
    """The rows of one group, each with the indices of the paths that it holds."""
    keys: Iterable[object]
    if layout == "trie":
        keys = [None] * len(paths)
    elif layout == "target":
        keys = [path.context for path in paths]
    else:
        keys = range(len(paths))
    members: dict[object, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    return [(build([paths[i] for i in held]), held) for held in members.values()]


@dataclass(frozen=True)
class Packed:
    """Rows padded to one length, and where the responses' log-probabilities are found in them.

    Attributes:
        input_ids: [B, T] token ids.
        position_ids: [B, T] positions.
        subtree_end: [B, T] ends of the subtrees; padding sees itself alone.
        keep: [B, T] true where a next token is scored; K of them are.
        edge_row: [E] index into the K kept positions, in row-major order.
        edge_token: [E] the token scored there.
        part_edge: [L] an edge of a response.
        part_path: [L] the path which that edge belongs to, 0 to N - 1.
        segments: For each row the bounds of its unbranched beginning and of the subtrees below.
        causal: Whether every row is a single path, so that a plain causal mask serves.
        size: Number N of paths.
    """

    input_ids: Tensor
    position_ids: Tensor
    subtree_end: Tensor
    keep: Tensor
    edge_row: Tensor
    edge_token: Tensor
    part_edge: Tensor
    part_path: Tensor
    segments: list[list[int]]
    causal: bool
    size: int

    def to(self, device: torch.device, non_blocking: bool = False) -> Packed:
        """The same rows on another device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def pack(groups: Sequence[Sequence[Path]], layout: Layout, multiple: int = 1) -> Packed:
    """Lays out groups of paths as padded rows; the paths are numbered through in order.

    Args:
        groups: The paths of each group.
        layout: How a group is laid out.
        multiple: Rows are padded to a multiple of this many tokens, so that few lengths occur.
    """
    tries: list[Trie] = []
    held: list[list[int]] = []
    size = 0
    for group in groups:
        for trie, members in rows(group, layout):
            tries.append(trie)
            held.append([size + member for member in members])
        size += len(group)
    longest = max(len(trie.tokens) for trie in tries)
    length = -(-longest // multiple) * multiple
    causal = all(not trie.branches for trie in tries)
    # Padding, which no other token sees, may be any token. A trie may have more nodes than the model
    # has positions; a causal row may not, and where its positions began anew, so would a sequence.
    input_ids = torch.zeros(len(tries), length, dtype=torch.long)
    index = torch.arange(length).repeat(len(tries), 1)
    position_ids = index.clone() if causal else torch.zeros_like(index)
    subtree_end = index + 1
    keep = torch.zeros(len(tries), length, dtype=torch.bool)
    edge_row: list[Tensor] = []
    edge_token: list[int] = []
    part_edge: list[int] = []
    part_path: list[int] = []
    kept = 0
    for row, (trie, members) in enumerate(zip(tries, held, strict=True)):
        used = len(trie.tokens)
        input_ids[row, :used] = torch.tensor(trie.tokens)
        position_ids[row, :used] = torch.tensor(trie.positions)
        subtree_end[row, :used] = torch.tensor(trie.ends)
        nodes = torch.tensor([node for node, _ in trie.edges])
        keep[row, nodes] = True
        for path, edges in zip(members, trie.scored, strict=True):
            part_edge += [len(edge_token) + edge for edge in edges]
            part_path += [path] * len(edges)
        edge_row.append(kept - 1 + keep[row].cumsum(0)[nodes])
        edge_token += [token for _, token in trie.edges]
        kept += int(keep[row].sum())
    return Packed(
        input_ids=input_ids,
        position_ids=position_ids,
        subtree_end=subtree_end,
        keep=keep,
        edge_row=torch.cat(edge_row),
        edge_token=torch.tensor(edge_token),
        part_edge=torch.tensor(part_edge),
        part_path=torch.tensor(part_path),
        segments=[[*trie.branches, len(trie.tokens)] for trie in tries],
        causal=causal,
        size=size,
    )


def visible(packed: Packed, window: int | None = None) -> Tensor:
    """The mask, [B, 1, T, T]: true where a query (third axis) sees a key (fourth).

    Args:
        packed: The rows.
        window: If given, only the keys less than this many positions back are seen.
    """
    index = torch.arange(packed.input_ids.shape[1], device=packed.input_ids.device)
    mask = (index[None, :, None] >= index[None, None, :]) & (
        index[None, :, None] < packed.subtree_end[:, None, :]
    )
    if window is not None:
        depth = packed.position_ids
        mask &= depth[:, :, None] - depth[:, None, :] < window
    return mask[:, None]


def common_prefix(left: Tokens, right: Tokens) -> int:
    """Number of tokens that two sequences share at their beginnings."""
    shared = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        shared += 1
    return shared


def _branches(positions: list[int], ends: list[int]) -> list[int]:
    # A node in pre-order is an only child exactly if it is followed by its own continuation: the
    # unbranched beginning ends where the next node's subtree no longer reaches the row's end.
    size = len(positions)
    start = 0
    while start < size and ends[start] == size:
        start += 1
    found = []
    while start < size:
        found.append(start)
        start = ends[start]
    return found
