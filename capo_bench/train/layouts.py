"""Which layout and routines a model computes exactly with: tried on one group before training."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from capo_bench.errors import CapoBenchError
from capo_bench.train import attention, kernel
from capo_bench.train.logprobs import response_logprobs
from capo_bench.train.packing import Layout, Path, build, pack

_log = logging.getLogger(__name__)

# Nats a token in float32. Rounding stays below 1e-5; the silent failures known (a mask of the wrong
# type, a sliding window that a prepared mask bypasses) are off by 0.3 and more.
TOLERANCE = 1e-4


def choose(
    model: nn.Module,
    config: Any,
    groups: Sequence[Sequence[Path]],
    wanted: Literal["auto", "trie", "target", "plain"],
) -> Layout:
    """The layout to train in, and the routines to go with it.

    The group with the longest sequence is computed in the layout wanted and plainly. `auto` falls
    back to `plain`, with a warning that names the reason. On a CPU the model is switched to what is
    faster there, if it is exact: oneDNN's products, if a trial says so, and, where the trie is exact
    and the model uses `sdpa`, the same attention by subtrees.

    Raises:
        CapoBenchError: If a layout is asked for that this model does not compute exactly.
    """
    paths = max(groups, key=lambda group: max(len(p.context) + len(p.response) for p in group))
    # A few sequences suffice: the first and the last of them differ most.
    paths = [*paths[:8], *paths[-8:]] if len(paths) > 16 else list(paths)
    _choose_products(model, config, groups, paths)
    if wanted == "plain":
        return "plain"
    layout: Layout = "trie" if wanted == "auto" else wanted
    stock = config._attn_implementation
    # Many small calls suit a CPU; a GPU would wait for its launches.
    by_subtree = stock == "sdpa" and next(model.parameters()).device.type == "cpu"
    if by_subtree:
        model.set_attn_implementation(attention.NAME)  # type: ignore[operator]
    reason = _difference(model, config, paths, layout)
    if reason is None:
        return layout
    if by_subtree:
        model.set_attn_implementation(stock)  # type: ignore[operator]
    where = f"{config.model_type} with {stock} attention does not compute packed rows exactly"
    if wanted != "auto":
        raise CapoBenchError(f"{where} ({reason}); use --layout plain")
    _log.warning(
        "%s (%s): training with plain rows, which gives the same loss, slower", where, reason
    )
    return "plain"


def _choose_products(
    model: nn.Module, config: Any, groups: Sequence[Sequence[Path]], paths: list[Path]
) -> None:
    """Switches to the faster matrix products of a CPU unless they differ from the stock ones."""
    some = groups[:: max(1, len(groups) // 32)]
    rows = int(statistics.median(len(build(group).tokens) for group in some))
    if not kernel.use_faster_products(model, rows):
        return
    reason = _difference(model, config, paths, "plain")
    if reason is not None:
        kernel.use_stock_products(model)
        _log.warning("oneDNN's products are faster, but %s: not used", reason)


def _difference(model: nn.Module, config: Any, paths: list[Path], layout: Layout) -> str | None:
    """What is wrong with the layout and the routines in use, or `None`."""
    device = next(model.parameters()).device
    lengths = torch.tensor([len(path.response) for path in paths], device=device)
    with torch.no_grad(), _evaluating(model), _wide(model):
        with kernel.stock_products(model):
            plain = response_logprobs(model, config, pack([paths], "plain").to(device))
        try:
            packed = response_logprobs(model, config, pack([paths], layout).to(device))
        # Whatever a model raises when it is given a mask of its own is the reason to be named.
        except Exception as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    worst = float(((packed - plain).abs() / lengths).max())
    return None if worst <= TOLERANCE else f"off by {worst:.2g} nats a token"


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _wide(model: nn.Module) -> Iterator[None]:
    """Half-precision weights as float32, so that rounding does not hide a difference."""
    narrow = {p: p.dtype for p in model.parameters() if p.dtype in (torch.float16, torch.bfloat16)}
    for parameter in narrow:
        parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for parameter, dtype in narrow.items():
            parameter.data = parameter.data.to(dtype)
