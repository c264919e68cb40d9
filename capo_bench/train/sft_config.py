"""Settings of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field

from capo_bench.train.packed_config import PackedConfig


@dataclass
class SftConfig(PackedConfig):
    """Supervised fine-tuning on the annotators' own responses."""

    learning_rate: float = field(default=2e-5, metadata={"help": "Peak learning rate."})
