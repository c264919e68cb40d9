"""Settings of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from capo_bench.train.options import SftOptions
from capo_bench.train.packed_config import PackedConfig


@dataclass
class SftConfig(SftOptions, PackedConfig):
    """Supervised fine-tuning on the annotators' own responses."""
