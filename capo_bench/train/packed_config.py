"""Settings that SFT and CAPO share, on top of transformers' own."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import TrainingArguments

from capo_bench.errors import CapoBenchError
from capo_bench.train.options import PackedOptions

_USELESS = (
    "label_smoothing_factor",
    "use_liger_kernel",
    "torch_compile",
    "neftune_noise_alpha",
    "auto_find_batch_size",
    "dataloader_drop_last",
)


@dataclass
class PackedConfig(PackedOptions, TrainingArguments):  # type: ignore[misc]
    """Every `transformers.TrainingArguments` option and what packing adds.

    `per_device_train_batch_size` counts items; some defaults differ from transformers'.

    Raises:
        CapoBenchError: If a value is out of range.
    """

    def __post_init__(self) -> None:
        if self.save_strategy == "best":
            self.metric_for_best_model: str | None = self.metric_for_best_model or "loss"
        super().__post_init__()
        self.remove_unused_columns = False
        for name in ("max_length", "max_trie_tokens", "max_batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise CapoBenchError(f"{name} must be at least 2, got {value}")
        if useless := [name for name in _USELESS if getattr(self, name)]:
            raise CapoBenchError(
                f"{', '.join(useless)} do not apply to packed groups; leave them out"
            )
