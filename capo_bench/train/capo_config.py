"""Settings of cross-annotator preference optimization."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from capo_bench.errors import CapoBenchError
from capo_bench.train.packed_config import PackedConfig


@dataclass
class CapoConfig(PackedConfig):
    """Cross-annotator preference optimization, from an SFT start.

    Raises:
        CapoBenchError: If beta is not above 0 or the anchor below 0.
    """

    beta: float = field(
        default=0.1, metadata={"help": "Strength of the preference; the inverse of the KL's price."}
    )
    loss: Literal["sigmoid", "softmax"] = field(
        default="sigmoid",
        metadata={"help": "sigmoid: pairwise (DPO). softmax: own against all rejected at once."},
    )
    rejected: Literal["all", "same-label", "other-label"] = field(
        default="all",
        metadata={"help": "Whose responses are rejected: with any label, the same or another one."},
    )
    anchor: float = field(
        default=0.0,
        metadata={"help": "Weight of the own response's negative log-likelihood a token."},
    )
    length_normalized: bool = field(
        default=False, metadata={"help": "Divide log-probabilities by the response's length."}
    )
    reference_free: bool = field(
        default=False, metadata={"help": "No reference model: log pi_ref is taken as 0."}
    )
    learning_rate: float = field(default=5e-6, metadata={"help": "Peak learning rate."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta > 0:
            raise CapoBenchError(f"beta must be above 0, got {self.beta}; 0.1 is usual")
        if self.anchor < 0:
            raise CapoBenchError(f"anchor must not be negative, got {self.anchor}")
