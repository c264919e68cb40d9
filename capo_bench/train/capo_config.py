"""Settings of cross-annotator preference optimization."""

from __future__ import annotations

from dataclasses import dataclass

from capo_bench.errors import CapoBenchError
from capo_bench.train.options import CapoOptions
from capo_bench.train.packed_config import PackedConfig


@dataclass
class CapoConfig(CapoOptions, PackedConfig):
    """Cross-annotator preference optimization, from an SFT start.

    Raises:
        CapoBenchError: If beta is not above 0 or the anchor below 0.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta > 0:
            raise CapoBenchError(f"beta must be above 0, got {self.beta}; 0.1 is usual")
        if self.anchor < 0:
            raise CapoBenchError(f"anchor must not be negative, got {self.anchor}")
        if self.rejected_per_target is not None and self.rejected_per_target < 1:
            raise CapoBenchError(
                f"rejected_per_target must be at least 1, got {self.rejected_per_target}"
            )
