"""Attention over packed rows, subtree by subtree.

In a packed row most pairs of tokens do not see each other: below the unbranched beginning, which
all sequences share, the subtrees are apart. The stock kernel computes all pairs and masks; here the
beginning attends to itself and each subtree to the beginning and itself, so that the work grows
with the number of subtrees and not with its square. The results are the same numbers.

It computes in float32 at least: a CPU's backward pass of attention in
half precision takes four times as long.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_by_subtree"


def subtree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: list[list[int]] | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' sdpa attention, cut along the subtrees of packed rows.

    Args:
        module: The attention layer.
        query: [B, H, T, D].
        key: [B, H', T, D].
        value: [B, H', T, D].
        attention_mask: [B, 1, T, T] what is added to the scores of packed rows, or `None` for
            plain rows.
        segments: For each row the bounds of its beginning and its subtrees; `None` for plain rows.
        scaling: What scores are multiplied by; 1 / sqrt(D) by default.
        **kwargs: Passed on for plain rows; packed rows know no dropout.

    Returns:
        [B, T, H, D] and `None`, as transformers' attention functions do.
    """
    if segments is None or attention_mask is None:
        kwargs["scaling"] = scaling
        result, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return result, None
    with torch.autocast(query.device.type, enabled=False):
        dtype = torch.promote_types(query.dtype, torch.float32)
        q, k, v, mask = (x.to(dtype) for x in (query, key, value, attention_mask))
        result = _by_subtree(q, k, v, mask, segments, scaling)
    return result.to(query.dtype), None


def _by_subtree(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    segments: list[list[int]],
    scaling: float | None,
) -> Tensor:
    outputs = []
    length = query.shape[2]
    for row, bounds in enumerate(segments):
        q, k, v, mask = (x[row : row + 1] for x in (query, key, value, attention_mask))
        # Split, not sliced: the gradient of a slice is as long as what it was taken from.
        edges = [0, *bounds, length]
        sizes = [end - start for start, end in itertools.pairwise(edges)]
        q_parts, k_parts, v_parts = (torch.split(x, sizes, dim=2) for x in (q, k, v))
        begin = bounds[0]
        pieces = []
        for part, (start, end) in enumerate(itertools.pairwise([0, *bounds])):
            if start == end:
                continue
            seen_k, seen_v = k_parts[part], v_parts[part]
            seen = mask[:, :, start:end, start:end]
            if start > 0 and begin > 0:
                seen_k = torch.cat([k_parts[0], seen_k], dim=2)
                seen_v = torch.cat([v_parts[0], seen_v], dim=2)
                seen = torch.cat([mask[:, :, start:end, :begin], seen], dim=3)
            piece = functional.scaled_dot_product_attention(
                q_parts[part], seen_k, seen_v, attn_mask=seen, scale=scaling, enable_gqa=True
            )
            pieces.append(piece.transpose(1, 2))
        if bounds[-1] < length:
            pieces.append(v.new_zeros(1, length - bounds[-1], query.shape[1], v.shape[3]))
        outputs.append(torch.cat(pieces, dim=1))
    return torch.cat(outputs)


AttentionInterface.register(NAME, subtree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
