"""Settings that SFT and CAPO share, on top of transformers' own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from transformers import TrainingArguments

from capo_bench.errors import CapoBenchError


@dataclass
class PackedConfig(TrainingArguments):  # type: ignore[misc]
    """Every `transformers.TrainingArguments` option and what packing adds.

    `per_device_train_batch_size` counts items; some defaults differ from transformers'.

    Raises:
        CapoBenchError: If a value is out of range.
    """

    form: Literal["auto", "trie", "target", "plain"] = field(
        default="auto",
        metadata={
            "help": "How the sequences of an item are laid out: all in one trie, one trie a target "
            "annotator, or one row each. All give the same loss. auto: the trie if the model is "
            "found to compute it exactly, else plain."
        },
    )
    max_length: int = field(
        default=1024,
        metadata={"help": "Longest sequence in tokens; longer responses are cut and counted."},
    )
    max_trie_tokens: int = field(
        default=2048,
        metadata={
            "help": "Token budget of one trie. An item that needs more is divided by target "
            "annotators, and rejected responses are sampled."
        },
    )
    max_batch_tokens: int = field(
        default=8192,
        metadata={"help": "Token budget of one forward pass, padding included."},
    )
    balance: Literal["both", "items", "annotators", "none"] = field(
        default="both",
        metadata={
            "help": "What weighs the same however much data it has: items, annotators, both."
        },
    )
    drop_overlong: bool = field(
        default=False,
        metadata={"help": "Drop items whose prompt leaves no room for a response, with a count."},
    )
    apply_chat_template: bool = field(
        default=False,
        metadata={"help": "Wrap prompts in the chat template, as lm-eval's flag of this name."},
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "no, steps, epoch or best."})
    save_total_limit: int | None = field(
        default=2, metadata={"help": "How many checkpoints are kept."}
    )
    logging_steps: float = field(default=10, metadata={"help": "Steps between two logs."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the rate."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Steps, or a share below 1."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.remove_unused_columns = False
        for name in ("max_length", "max_trie_tokens", "max_batch_tokens"):
            if getattr(self, name) < 2:
                raise CapoBenchError(f"{name} must be at least 2, got {getattr(self, name)}")
        if self.label_smoothing_factor or self.use_liger_kernel or self.torch_compile:
            raise CapoBenchError(
                "label_smoothing_factor, use_liger_kernel and torch_compile do not apply to packed "
                "groups; leave them out"
            )
