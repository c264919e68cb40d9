"""Response log-probabilities from a model's stock forward over packed rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from capo_bench.train import attention, flex, kernel
from capo_bench.train.packing import Packed, visible

_PART = 2**24  # bytes of logits that are worked on at once, so that a copy of them is small


def response_logprobs(
    model: nn.Module, config: Any, packed: Packed, most_logits: int | None = None
) -> Tensor:
    """Log pi(response | context) of every path, in nats, [N], float32 or wider.

    Args:
        model: A causal language model of transformers, possibly wrapped (PEFT, DDP, FSDP).
        config: Its configuration; the wrappers hide it.
        packed: The rows, on the model's device.
        most_logits: The head scores in chunks of at most this many bytes of logits if all of them
            are more; they are computed again in the backward pass. Only for models of which
            `scores_in_chunks` says that they can. `None`: logits are computed whole.
    """
    if config.get_text_config()._attn_implementation == flex.NAME:
        packed = flex.joined(packed)
    with ExitStack() as stack:
        if most_logits is not None:
            stack.enter_context(_scoring(_head(model), packed, most_logits))
        logits = model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            attention_mask=None if packed.causal else attention_mask(config, packed),
            logits_to_keep=packed.keep,
            use_cache=False,
            **({} if packed.causal else {"segments": packed.segments}),
        ).logits
    scored: Tensor = (
        _Scored.apply(logits, packed.edge_row, packed.edge_token)  # type: ignore[no-untyped-call]
        if most_logits is None
        else logits
    )
    total = torch.zeros(packed.size, dtype=scored.dtype, device=scored.device)
    return total.index_add(0, packed.part_path, scored[packed.part_edge])


def attention_mask(config: Any, packed: Packed) -> Any:
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
        kind: _for_backend(text, packed, window if kind == "sliding_attention" else None)
        for kind in sorted(kinds)
    }
    return masks if len(masks) > 1 else masks.popitem()[1]


def _for_backend(config: Any, packed: Packed, window: int | None) -> Any:
    # sdpa takes booleans, which it makes numbers of in every call; eager attention adds the mask,
    # whatever its type, and attention by subtrees would cut one in every layer.
    kind = config._attn_implementation
    if kind == flex.NAME:
        return flex.block_mask(packed, window)
    mask = visible(packed, window)
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
        rows = _rows(z)
        normalizer = torch.cat([torch.logsumexp(part, dim=1) for part in torch.split(z, rows)])
        # Kept on the context, not by save_for_backward, because backward overwrites it.
        ctx.z, ctx.dtype = z, logits.dtype
        ctx.save_for_backward(normalizer, row, token)
        return z[row, token] - normalizer[row]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        normalizer, row, token = ctx.saved_tensors
        z, ctx.z = ctx.z, None
        total = torch.zeros_like(normalizer).index_add(0, row, gradient)
        parts = (torch.split(x, _rows(z)) for x in (z, normalizer[:, None], total[:, None]))
        for logits, norm, share in zip(*parts, strict=True):
            logits.sub_(norm).exp_().mul_(-share)
        z.index_put_((row, token), gradient, accumulate=True)
        return z.to(ctx.dtype), None, None


def _rows(logits: Tensor) -> int:
    """Rows of logits, [K, V], that are worked on at once."""
    return max(1, _PART // (logits.shape[1] * logits.itemsize))


def scores_in_chunks(model: nn.Module) -> bool:
    """Whether the model returns what its head gives, and the head is a linear layer.

    Models that scale or cap their logits afterwards do not (Gemma 2, Cohere, Granite, Falcon-H1):
    it is tried on two tokens.
    """
    head = _head(model)
    if type(head) not in (nn.Linear, kernel.OneDnnLinear):
        return False
    given: list[Tensor] = []
    handle = head.register_forward_hook(lambda module, inputs, output: given.append(output))
    tokens = torch.zeros(1, 2, dtype=torch.long, device=head.weight.device)
    try:
        with torch.no_grad():
            logits = model(input_ids=tokens, use_cache=False).logits
    finally:
        handle.remove()
    return len(given) == 1 and torch.equal(logits, given[0].to(logits.dtype))


def _head(model: nn.Module) -> Any:
    inner: Any = getattr(model, "module", model)  # DDP hides the model's methods
    return inner.get_output_embeddings()


@contextmanager
def _scoring(head: nn.Linear, packed: Packed, most: int) -> Iterator[None]:
    """Has the head answer with the scores of `packed`'s edges, [E], instead of logits."""

    def score(hidden: Tensor) -> Tensor:
        weight: Tensor = head.weight
        bias: Tensor | None = head.bias
        device = hidden.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            hidden, weight = hidden.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        hidden = hidden.reshape(-1, hidden.shape[-1])
        fast = type(head) is kernel.OneDnnLinear and weight.dtype == torch.float32
        half = device == "cpu" and weight.dtype == torch.bfloat16
        multiple = kernel.MULTIPLE if fast or half else 1
        hidden = nn.functional.pad(hidden, (0, 0, 0, -len(hidden) % multiple))
        scored: Tensor = _ChunkedScores.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, packed.edge_row, packed.edge_token, most, multiple, fast
        )
        return scored

    head.forward = score  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del head.forward  # the class's own again


def _logits(part: Tensor, weight: Tensor, bias: Tensor | None, room: Tensor | None) -> Tensor:
    """H W^T + b, written into `room`; by oneDNN if there is none."""
    if room is None:
        return kernel.product(part, weight, bias)
    z = torch.mm(part, weight.t(), out=room[: len(part)])
    return z if bias is None else z.add_(bias)


class _ChunkedScores(torch.autograd.Function):
    """log softmax(H W^T + b)[row, token] for each (row, token), a chunk of rows at a time.

    The scores' own logits are computed apart, so that a chunk's logits are needed for their
    logsumexp alone and can be dropped; backward computes them again. Where all logits fit into one
    chunk they are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        row: Tensor,
        token: Tensor,
        most: int,
        multiple: int,
        fast: bool,
    ) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        rows = max(1, most // (weight.shape[0] * wide.itemsize))
        rows = max(multiple, rows // multiple * multiple)
        # One buffer for all: glibc gives memory that was aligned and freed to no equal request.
        room = None if fast else hidden.new_empty(min(rows, len(hidden)), weight.shape[0])
        normalizer = []
        kept = None
        for part in torch.split(hidden, rows):
            z = _logits(part, weight, bias, room).to(wide)
            normalizer += [torch.logsumexp(few, dim=1) for few in torch.split(z, _rows(z))]
            kept = z if len(part) == len(hidden) else None
            del z  # before the next chunk's are made
        norm = torch.cat(normalizer)
        ctx.save_for_backward(hidden, weight, bias, row, token, norm)
        # Kept on the context, not by save_for_backward, because backward overwrites it.
        ctx.kept, ctx.rows, ctx.fast = kept, rows, fast
        own = (hidden[row].to(wide) * weight[token].to(wide)).sum(-1)
        if bias is not None:
            own = own + bias[token].to(wide)
        return own - norm[row]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, row, token, norm = ctx.saved_tensors
        of_hidden, of_weight, of_bias = ctx.needs_input_grad[:3]
        total = torch.zeros_like(norm).index_add(0, row, gradient)
        d_hidden = torch.empty_like(hidden) if of_hidden else None
        d_weight: Tensor | None = None
        d_bias = torch.zeros_like(bias) if of_bias else None
        kept, ctx.kept = ctx.kept, None
        product = kernel.product if ctx.fast else nn.functional.linear
        room = None
        if kept is None and not ctx.fast:
            room = hidden.new_empty(min(ctx.rows, len(hidden)), weight.shape[0])
        start = 0
        for part in torch.split(hidden, ctx.rows):
            z = kept if kept is not None else _logits(part, weight, bias, room).to(norm.dtype)
            end = start + len(part)
            pieces = (torch.split(x[start:end, None], _rows(z)) for x in (norm, total))
            for logits, normal, share in zip(torch.split(z, _rows(z)), *pieces, strict=True):
                logits.sub_(normal).exp_().mul_(-share)
            z = z.to(weight.dtype)
            if d_hidden is not None:
                d_hidden[start:end] = product(z, weight.t())
            if of_weight and (d_weight is None or ctx.fast):
                more = product(z.t(), part.t())
                d_weight = more if d_weight is None else d_weight.add_(more)
            elif d_weight is not None:
                d_weight.addmm_(z.t(), part)
            if d_bias is not None:
                d_bias += z.sum(0)
            start = end
            del z, logits  # before the next chunk's are made
        share = gradient[:, None].to(weight.dtype)
        if d_hidden is not None:
            d_hidden.index_add_(0, row, share * weight[token])
        if d_weight is not None:
            d_weight.index_add_(0, token, share * hidden[row])
        if d_bias is not None:
            d_bias.index_add_(0, token, share[:, 0])
        return d_hidden, d_weight, d_bias, None, None, None, None, None
