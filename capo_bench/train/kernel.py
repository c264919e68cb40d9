"""Which routine multiplies float32 matrices on a CPU: torch's own choice, or oneDNN's.

torch sends float32 products of linear layers to MKL. On some processors oneDNN, inside the same
torch, is up to twice as fast; on others it is slower. A trial on the model's own shapes decides.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_log = logging.getLogger(__name__)

GAIN = 1.1  # oneDNN must be faster by this factor
MULTIPLE = 32  # to which rows are padded where products are oneDNN's
_MOST_ROWS = 512  # more rows change no verdict
_ROUNDS = 5


class OneDnnLinear(nn.Linear):
    """A linear layer whose float32 products on a CPU, forward and backward, are oneDNN's."""

    def forward(self, input: Tensor) -> Tensor:
        """X W^T + b, [..., in] to [..., out]."""
        if input.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        result: Tensor = _Product.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.t()) if of_x else None,
            product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X W^T + b by oneDNN."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(
        x.contiguous(), weight.contiguous(), bias, "none", [], ""
    )
    return result


def use_faster_products(model: nn.Module, rows: int) -> bool:
    """Switches a float32 model on a CPU to oneDNN's products if a trial says they are faster.

    oneDNN compiles and keeps a routine for every shape that it meets: some megabytes for each new
    number of rows. Pad rows to a multiple of `MULTIPLE` so that shapes repeat.

    Args:
        model: The model; its linear layers keep their weights.
        rows: Tokens of a typical forward pass.

    Returns:
        Whether it was switched.
    """
    layers = [m for m in model.modules() if type(m) is nn.Linear]
    if not layers or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if any(m.weight.dtype != torch.float32 or m.weight.device.type != "cpu" for m in layers):
        return False
    ratio = speedup(layers, min(rows, _MOST_ROWS))
    _log.info("oneDNN multiplies %.2f times as fast as torch's own choice", ratio)
    if ratio < GAIN:
        return False
    for layer in layers:
        layer.__class__ = OneDnnLinear
    return True


def use_stock_products(model: nn.Module) -> list[nn.Module]:
    """Undoes `use_faster_products`; returns the layers that had been switched."""
    switched: list[nn.Module] = [m for m in model.modules() if type(m) is OneDnnLinear]
    for module in switched:
        module.__class__ = nn.Linear
    return switched


@contextmanager
def stock_products(model: nn.Module) -> Iterator[None]:
    """The model with torch's own products for the length of a `with` block."""
    switched = use_stock_products(model)
    try:
        yield
    finally:
        for module in switched:
            module.__class__ = OneDnnLinear


def row_multiple(model: nn.Module, *, bf16: bool = False) -> int:
    """What the tokens of a row should be a multiple of.

    Args:
        model: The model.
        bf16: Whether it computes under bfloat16's autocast, whose products on a CPU are oneDNN's.
    """
    weights = next(model.parameters())
    half = weights.device.type == "cpu" and (bf16 or weights.dtype == torch.bfloat16)
    ours = any(type(m) is OneDnnLinear for m in model.modules())
    return MULTIPLE if half or ours else 1


def emulates_bf16(model: nn.Module, *, bf16: bool = False) -> bool:
    """Whether the model computes in bfloat16 on an x86 processor that has no instructions for it.

    Args:
        model: The model.
        bf16: Whether it computes under bfloat16's autocast.
    """
    weights = next(model.parameters())
    found = torch.cpu.get_capabilities()
    native = found["architecture"] != "x86_64" or found["avx512_bw"]  # as oneDNN has it
    return weights.device.type == "cpu" and (bf16 or weights.dtype == torch.bfloat16) and not native


def speedup(layers: Sequence[nn.Linear], rows: int) -> float:
    """Time of torch's own products over oneDNN's, on the shapes of some layers, by trial.

    The three products of a shape (forward, gradients of input and weight) count as often as the
    shape occurs; shapes that occur once, such as the head's, are left out if others occur more.
    """
    shapes = Counter((layer.out_features, layer.in_features) for layer in layers)
    least = min(2, max(shapes.values()))
    stock = fast = 0.0
    for (outputs, inputs), count in shapes.items():
        if count < least:
            continue
        x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        gradient = torch.randn(rows, outputs)
        for theirs, left, right in (
            (partial(nn.functional.linear, x, weight), x, weight),
            (partial(torch.mm, gradient, weight), gradient, weight.t()),
            (partial(torch.mm, gradient.t(), x), gradient.t(), x.t()),
        ):
            ours = partial(product, left, right)
            ours()  # the first call of a shape compiles
            times = [(_seconds(theirs), _seconds(ours)) for _ in range(_ROUNDS)]
            stock += count * min(first for first, _ in times)
            fast += count * min(second for _, second in times)
    return stock / fast


def _seconds(work: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
