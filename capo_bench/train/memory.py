"""What a training run needs of memory, known before it starts, and what a forward pass may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from torch import nn

from capo_bench.errors import CapoBenchError

MOST_LOGITS = 2**26
"""Bytes of logits that are held at once; more are computed in chunks."""

# A CPU gains nothing from passes of more tokens; a GPU fills its units with them.
_MOST_TOKENS = {"cpu": 1024}
_MOST_TOKENS_ELSEWHERE = 16_384
_SHARE = (
    0.7  # of the free memory; the rest is for fragments, other programs and what is not counted
)


@dataclass(frozen=True)
class Estimate:
    """Bytes, by what they hold.

    Attributes:
        state: Gradients, the optimizer's state and what else is held; the weights are there already.
        token: Activations kept for the backward pass, for each token of a forward pass.
        logits: Logits and their gradient.
        free: What is free on the device.
        device: Where: `cpu`, `cuda`, ...
    """

    state: int
    token: int
    logits: int
    free: int
    device: str

    def needed(self, tokens: int) -> int:
        """Bytes that training takes on top of the weights, with passes of so many tokens."""
        return self.state + self.logits + self.token * tokens

    def pass_tokens(self) -> int:
        """Most tokens of a forward pass, by what is free."""
        room = _SHARE * self.free - self.state - self.logits
        most = _MOST_TOKENS.get(self.device, _MOST_TOKENS_ELSEWHERE)
        return max(1, min(most, int(room / self.token)))

    def check(self, tokens: int) -> None:
        """Refuses passes of so many tokens if they do not fit.

        Raises:
            CapoBenchError: If they do not.
        """
        if self.needed(tokens) > self.free:
            raise CapoBenchError(
                f"training needs about {_gb(self.needed(tokens))} beside the weights "
                f"({self.text(tokens)}), {_gb(self.free)} are free; lower --max_trie_tokens, set "
                "--activation_checkpointing true, or train an adapter with --lora_rank 16"
            )

    def text(self, tokens: int) -> str:
        """In words."""
        return (
            f"{_gb(self.state)} gradients and optimizer, {_gb(self.token * tokens)} activations of "
            f"{tokens:,} tokens, {_gb(self.logits)} logits"
        )


def estimate(
    model: nn.Module,
    config: Any,
    *,
    checkpointing: bool,
    logits_whole: bool,
    moments: int = 2,
    shards: int = 1,
    held: int = 0,
) -> Estimate:
    """What training a model needs.

    The activations are counted on a Llama block: of each layer and token some twelve vectors of the
    hidden size and four of the intermediate size are kept, in the weights' type.

    Args:
        model: The model, on its device.
        config: Its configuration.
        checkpointing: Whether activations are computed again instead of kept.
        logits_whole: Whether the model's head cannot score in chunks.
        moments: What the optimizer keeps of each trained weight, in the weights' type; AdamW two.
        shards: Among how many processes gradients and the optimizer's state are divided.
        held: Bytes that a method keeps beside all that, such as a second model.
    """
    text = config.get_text_config()
    trained = [p for p in model.parameters() if p.requires_grad]
    first = next(model.parameters())
    hidden = text.hidden_size
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    layers = text.num_hidden_layers
    layer = (12 * hidden + 4 * inner) * first.element_size()
    token = layers * hidden * first.element_size() + layer if checkpointing else layers * layer
    # Some two fifths of the tokens are scored; their logits and the gradient, in float32.
    row = 8 * text.vocab_size
    return Estimate(
        state=held + sum((1 + moments) * p.numel() * p.element_size() for p in trained) // shards,
        token=token + (2 * row // 5 if logits_whole else 0),
        logits=0 if logits_whole else 2 * MOST_LOGITS,
        free=_free(first.device),
        device=first.device.type,
    )


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
