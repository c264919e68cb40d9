"""Which layout and routines a model computes exactly with: tried on one group before training."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from capo_bench.errors import CapoBenchError
from capo_bench.train import attention, flex, kernel
from capo_bench.train.logprobs import response_logprobs
from capo_bench.train.packing import Layout, Path, build, pack

_log = logging.getLogger(__name__)

# Nats a token in float32. Rounding stays below 1e-5; the silent failures known (a mask of the wrong
# type, a sliding window that a prepared mask bypasses) are off by 0.3 and more.
TOLERANCE = 1e-4
_GRADIENT_TOLERANCE = 1e-2  # of the largest norm; TensorFloat-32 rounds to 1e-3


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
    reasons: list[str] = []
    for backend in _backends(stock, next(model.parameters()).device.type):
        if backend != config._attn_implementation:
            model.set_attn_implementation(backend)  # type: ignore[operator]
        # FlexAttention compiles its backward pass for the device: it is tried as well.
        reason = _state(model, config) or _difference(
            model, config, paths, layout, gradients=backend == flex.NAME
        )
        if reason is None:
            for what in reasons:
                _log.warning("not used: %s", what)
            return layout
        reasons.append(f"{backend} attention: {reason}")
    if config._attn_implementation != stock:
        model.set_attn_implementation(stock)  # type: ignore[operator]
    where = f"{config.model_type} does not compute packed rows exactly ({'; '.join(reasons)})"
    if wanted != "auto":
        raise CapoBenchError(f"{where}; use --layout plain")
    _log.warning("%s: training with plain rows, which gives the same loss, slower", where)
    return "plain"


def _backends(stock: str, device: str) -> list[str]:
    """The attentions to try with packed rows, the fastest first.

    Raises:
        CapoBenchError: If the one asked for cannot serve them.
    """
    if stock == "sdpa" and device == "cpu":
        return [attention.NAME]  # many small calls suit a CPU; a GPU would wait for its launches
    if stock == "sdpa":
        return [flex.NAME, stock]
    if stock == "flex_attention" and device != "cpu":
        return [flex.NAME]
    if stock in ("eager", attention.NAME, flex.NAME):
        return [stock]
    raise CapoBenchError(
        f"--attention {stock} on a {device} takes no mask of a trie; leave --attention out (sdpa, "
        "and FlexAttention on a GPU), or use eager"
    )


def _state(model: nn.Module, config: Any) -> str | None:
    """Layers that carry a state from token to token, which a trie would mix up, if there are any."""
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    carrying = sorted(kinds - {"full_attention", "sliding_attention", "chunked_attention"})
    if carrying:
        return f"layers of kind {', '.join(carrying)} carry a state from token to token"
    return "its layers carry a state" if getattr(model, "_is_stateful", False) else None


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


def _difference(
    model: nn.Module, config: Any, paths: list[Path], layout: Layout, gradients: bool = False
) -> str | None:
    """What is wrong with the layout and the routines in use, or `None`.

    Args:
        model: The model.
        config: Its configuration.
        paths: Some sequences of one item.
        layout: The layout to compare with plain rows.
        gradients: Whether gradients are compared, too.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([len(path.response) for path in paths], device=device)

    def computed(layout: Layout) -> tuple[Tensor, Tensor | None]:
        with torch.set_grad_enabled(gradients):
            values = response_logprobs(model, config, pack([paths], layout).to(device))
            if not gradients:
                return values, None
            signs = torch.ones_like(values)
            signs[::2] = -1  # as chosen and rejected responses
            trained = [p for p in model.parameters() if p.requires_grad]
            found = torch.autograd.grad((values * signs).sum(), trained, allow_unused=True)
            return values.detach(), torch.stack([g.norm() for g in found if g is not None])

    with _evaluating(model), _wide(model):
        with kernel.stock_products(model):
            plain, wanted = computed("plain")
        try:
            packed, got = computed(layout)
        # Whatever a model raises when it is given a mask of its own is the reason to be named.
        except Exception as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    worst = float(((packed - plain).abs() / lengths).max())
    if not worst <= TOLERANCE:
        return f"off by {worst:.2g} nats a token"
    if got is not None and wanted is not None:
        worst = float(((got - wanted).abs() / wanted.max()).max())
        if not worst <= _GRADIENT_TOLERANCE:
            return f"gradients off by {worst:.2g} of the largest"
    return None


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
