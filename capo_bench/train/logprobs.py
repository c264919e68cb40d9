"""Response log-probabilities from a model's stock forward over packed rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from capo_bench.train import attention
from capo_bench.train.packing import Packed, visible

_ROWS = 64  # logits are worked on in parts that a processor's cache holds


def response_logprobs(model: nn.Module, config: Any, packed: Packed) -> Tensor:
    """Log pi(response | context) of every path, in nats, [N], float32 or wider.

    Args:
        model: A causal language model of transformers, possibly wrapped (PEFT, DDP, FSDP).
        config: Its configuration; the wrappers hide it.
        packed: The rows, on the model's device.
    """
    logits = model(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        attention_mask=None if packed.causal else attention_mask(config, packed),
        logits_to_keep=packed.keep,
        use_cache=False,
        **({} if packed.causal else {"segments": packed.segments}),
    ).logits
    scored: Tensor = _Scored.apply(logits, packed.edge_row, packed.edge_token)  # type: ignore[no-untyped-call]
    total = torch.zeros(packed.size, dtype=scored.dtype, device=scored.device)
    return total.index_add(0, packed.part_path, scored[packed.part_edge])


def attention_mask(config: Any, packed: Packed) -> Tensor | dict[str, Tensor]:
    """What a model takes as the mask of packed rows.

    A prepared mask bypasses the model's own sliding window, so that the window is put into it. A
    model with layers of several kinds takes a mask for each kind.
    """
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or ())
    if not kinds:
        kinds = {"sliding_attention" if window else "full_attention"}
    masks = {
        kind: _for_backend(text, visible(packed, window if kind == "sliding_attention" else None))
        for kind in sorted(kinds)
    }
    return masks if len(masks) > 1 else masks.popitem()[1]


def _for_backend(config: Any, mask: Tensor) -> Tensor:
    # sdpa takes booleans, which it makes numbers of in every call; eager attention adds the mask,
    # whatever its type, and attention by subtrees would cut one in every layer.
    kind = config._attn_implementation
    if kind not in ("eager", attention.NAME):
        return mask
    dtype = torch.float32 if kind == attention.NAME else config.dtype or torch.float32
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(
        ~mask, torch.finfo(dtype).min
    )


class _Scored(torch.autograd.Function):
    """log softmax(logits)[row, token] for each (row, token); each pair at most once.

    As z - logsumexp(z): torch's log_softmax in float32 on a CPU is off by up to 1.6e-5 a token over
    a vocabulary of 49,000, this by 3e-6. The gradient is written over the logits, the largest
    tensor of a step, which nothing else needs.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, row: Tensor, token: Tensor) -> Tensor:
        z = logits if logits.dtype == torch.float64 else logits.float()
        normalizer = torch.cat([torch.logsumexp(part, dim=1) for part in torch.split(z, _ROWS)])
        # Kept on the context, not by save_for_backward, because backward overwrites it.
        ctx.z, ctx.dtype = z, logits.dtype
        ctx.save_for_backward(normalizer, row, token)
        return z[row, token] - normalizer[row]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        normalizer, row, token = ctx.saved_tensors
        z, ctx.z = ctx.z, None
        total = torch.zeros_like(normalizer).index_add(0, row, gradient)
        parts = (torch.split(x, _ROWS) for x in (z, normalizer[:, None], total[:, None]))
        for logits, norm, share in zip(*parts, strict=True):
            logits.sub_(norm).exp_().mul_(-share)
        z.index_put_((row, token), gradient, accumulate=True)
        return z.to(ctx.dtype), None, None
