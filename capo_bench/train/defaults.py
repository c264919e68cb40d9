"""What training takes where nobody says otherwise, and whether it was too short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SMALL = 135e6  # parameters of the model that the rule was measured on
_RATE, _LEAST = 5e-4, 1e-5
_LORA = 10  # an adapter takes about ten times the rate of all weights
_CAPO = 10  # preference optimization from an SFT start takes about a tenth of SFT's
_CHANCE = 0.5
_MARGIN = 0.05


def learning_rate(method: str, parameters: int, *, adapter: bool) -> float:
    """The peak learning rate for a model.

    SFT of all weights: 5e-4 for 135 million parameters, inversely proportional to the size and at
    least 1e-5 (1.7e-5 for 4 billion). A LoRA adapter takes ten times that, at most 5e-4 (the factor
    is Schulman's, https://thinkingmachines.ai/blog/lora). CAPO takes a tenth of SFT's.

    Args:
        method: `sft` or `capo`.
        parameters: Of the whole model.
        adapter: Whether a LoRA adapter alone is trained.
    """
    rate = max(_LEAST, _RATE * min(1.0, _SMALL / parameters))
    if adapter:
        rate = min(_RATE, _LORA * rate)
    return rate / _CAPO if method == "capo" else rate


def undertrained(history: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a run looks too short to judge its method by, or `None`.

    Args:
        history: The trainer's log (`trainer.state.log_history`).
    """
    evaluated = [entry for entry in history if "eval_loss" in entry]
    told_apart = [
        float(entry[name])
        for entry in history
        for name in ("eval_rewards/accuracies", "rewards/accuracies")
        if name in entry
    ]
    if told_apart and told_apart[-1] <= _CHANCE + _MARGIN:
        return (
            f"the annotator's own response is preferred in {told_apart[-1]:.2f} of the comparisons, "
            f"and guessing gives {_CHANCE}; train longer or with a higher --learning_rate"
        )
    losses = [float(entry["eval_loss"]) for entry in evaluated]
    if len(losses) > 1 and losses[-1] < (1 - _MARGIN) * min(losses[:-1]):
        return (
            f"the loss on validation was still falling at the end ({min(losses[:-1]):.3f}, then "
            f"{losses[-1]:.3f}); train longer (--num_train_epochs)"
        )
    return None
