"""Attention over packed rows on a GPU, by torch's FlexAttention.

All rows are laid end to end as one, in which a token sees k exactly if k <= q < end(k): the mask of
a trie and the separation of rows at once. FlexAttention skips the blocks of 128 tokens in which
nothing is seen. On a CPU it has no backward pass; there it is for tests of the forward pass.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from capo_bench.train.packing import Packed

NAME = "flex_by_trie"
BLOCK = 128


def joined(packed: Packed) -> Packed:
    """The rows laid end to end as one row, padded to a multiple of `BLOCK` tokens."""
    rows, length = packed.input_ids.shape
    size = rows * length
    missing = -size % BLOCK
    offset = torch.arange(rows, device=packed.input_ids.device)[:, None] * length
    padding = torch.arange(size, size + missing, device=packed.input_ids.device)

    def flat(values: Tensor, more: Tensor) -> Tensor:
        return torch.cat([values.flatten(), more.to(values.dtype)])[None]

    nothing = torch.zeros_like(padding)
    return replace(
        packed,
        input_ids=flat(packed.input_ids, nothing),
        position_ids=flat(packed.position_ids, nothing),
        subtree_end=flat(packed.subtree_end + offset, padding + 1),
        keep=flat(packed.keep, nothing),
        causal=False,
    )


def block_mask(packed: Packed, window: int | None = None) -> BlockMask:
    """What is seen in a joined row.

    Args:
        packed: One row, as `joined` makes it.
        window: If given, only the keys less than this many positions back are seen.
    """
    ends, depth = packed.subtree_end[0], packed.position_ids[0]

    def seen(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        visible = (k <= q) & (q < ends[k])
        return visible if window is None else visible & (depth[q] - depth[k] < window)

    length = len(ends)
    return create_block_mask(
        seen, None, None, length, length, device=str(ends.device), BLOCK_SIZE=BLOCK
    )


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: BlockMask | Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers.

    Args:
        module: The attention layer.
        query: [1, H, T, D].
        key: [1, H', T, D].
        value: [1, H', T, D].
        attention_mask: What is seen; plain rows, which have none, go to sdpa.
        scaling: What scores are multiplied by; 1 / sqrt(D) by default.
        softcap: Scores are bent to stay below it, if given.
        **kwargs: Passed on for plain rows; packed rows know no dropout.

    Returns:
        [1, T, H, D] and `None`.
    """
    if not isinstance(attention_mask, BlockMask):
        result, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return result, None

    def bend(score: Tensor, *place: Tensor) -> Tensor:
        return score if softcap is None else softcap * torch.tanh(score / softcap)

    output = _flex(query.device.type)(
        query,
        key,
        value,
        score_mod=None if softcap is None else bend,
        block_mask=attention_mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2).contiguous(), None


@cache
def _flex(device: str) -> Any:
    """FlexAttention, compiled once for all lengths; on a CPU as it is."""
    if device == "cpu":
        return flex_attention
    # Each depth of window and each number of heads is a program; past the limit torch would
    # silently run the slow one.
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
