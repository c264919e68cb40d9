"""The trainer's own options, beside those of `transformers.TrainingArguments`.

They stand apart from the configurations that take them in, so that the command's help need not
import transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class RunConfig:
    """What is trained on what."""

    model: str = field(
        metadata={"help": "Folder or hub name of a model, folder of a PEFT adapter, or .gguf file."}
    )
    corpus: str = field(metadata={"help": "nli, paraphrase, mini-nli, ..., or a .jsonl file."})
    data: str | None = field(default=None, metadata={"help": "Where the corpus's data lie."})
    splits: Literal["capo", "native"] = field(
        default="capo", metadata={"help": "The benchmark's splits or the data's own."}
    )
    valid_only: bool = field(
        default=False, metadata={"help": "Only responses that their own author confirmed."}
    )
    min_responses: int = field(
        default=0, metadata={"help": "Only annotators with at least so many labelled responses."}
    )
    min_annotators: int = field(
        default=0, metadata={"help": "Only items that at least so many of them labelled."}
    )
    setting: Literal["tag", "zero-shot", "profile", "persona"] = field(
        default="tag",
        metadata={
            "help": "How prompts introduce the annotator, as in evaluation: by id alone, with "
            "instructions, with a description made of their training responses, or with what the "
            "corpus knows of their person."
        },
    )
    train_items: int | None = field(
        default=None,
        metadata={
            "help": "Train on this many items, chosen by a hash of their ids: fewer are among more."
        },
    )
    target: list[str] = field(
        default_factory=list, metadata={"help": "Target annotators; all by default, jointly."}
    )
    per_annotator: bool = field(
        default=False, metadata={"help": "One model an annotator, each in a folder of its own."}
    )
    lora_rank: int = field(default=0, metadata={"help": "Rank of a LoRA adapter; 0: all weights."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale of the LoRA adapter."})
    lora_targets: list[str] = field(
        default_factory=lambda: ["all-linear"], metadata={"help": "Layers that LoRA adapts."}
    )
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32",
        metadata={"help": "Type of the weights; for mixed precision keep float32 and set --bf16."},
    )
    attention: str | None = field(
        default=None, metadata={"help": "Attention implementation of transformers."}
    )
    config: str | None = field(
        default=None, metadata={"help": "YAML file of options; the command line overrides it."}
    )


@dataclass
class PackedOptions:
    """What SFT and CAPO share; some are transformers' with another default."""

    layout: Literal["auto", "trie", "target", "plain"] = field(
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
        default=1024,
        metadata={
            "help": "Token budget of one trie. An item that needs more is divided into several that "
            "begin alike, by target annotators and by rejected responses."
        },
    )
    max_batch_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Token budget of one forward pass, padding included: a batch that holds more is "
            "computed in several, with the same result. By default what the free memory allows, at "
            "most 1,024 on a CPU and 16,384 elsewhere."
        },
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
    enable_thinking: bool | None = field(
        default=None, metadata={"help": "For the template, as lm-eval's model argument."}
    )
    chat_template_args: str | None = field(
        default=None,
        metadata={"help": "JSON of more arguments for the template, as lm-eval's of this name."},
    )
    per_device_train_batch_size: int = field(
        default=4,
        metadata={"help": "Items a step; how many are computed at once is the memory's affair."},
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "no, steps, epoch or best."})
    load_best_model_at_end: bool | None = field(
        default=None,
        metadata={
            "help": "Keep the best epoch on validation; by default wherever each epoch is evaluated "
            "and saved."
        },
    )
    save_total_limit: int | None = field(
        default=2, metadata={"help": "How many checkpoints are kept."}
    )
    logging_steps: float = field(default=10, metadata={"help": "Steps between two logs."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the rate."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Steps, or a share below 1."})


@dataclass
class SftOptions:
    """What supervised fine-tuning adds."""

    learning_rate: float | None = field(
        default=None,
        metadata={"help": "Peak learning rate; by default it follows size and LoRA."},
    )
    num_train_epochs: float = field(
        default=3, metadata={"help": "Epochs; the best one on validation is kept."}
    )


@dataclass
class CapoOptions:
    """What cross-annotator preference optimization adds."""

    beta: float = field(
        default=0.1, metadata={"help": "Strength of the preference; the inverse of the KL's price."}
    )
    loss: Literal["sigmoid", "softmax"] = field(
        default="sigmoid",
        metadata={"help": "sigmoid: pairwise (DPO). softmax: chosen against all rejected at once."},
    )
    rejected: Literal["all", "same-label", "other-label"] = field(
        default="all",
        metadata={"help": "Whose responses are rejected: with any label, the same or another one."},
    )
    rejected_per_target: int | None = field(
        default=None,
        metadata={
            "help": "Sample this many rejected responses for each chosen one; all by default."
        },
    )
    anchor: float = field(
        default=0.0,
        metadata={"help": "Weight of the chosen response's negative log-likelihood a token."},
    )
    length_normalized: bool = field(
        default=False, metadata={"help": "Divide log-probabilities by the response's length."}
    )
    reference_free: bool = field(
        default=False, metadata={"help": "No reference model: log pi_ref is taken as 0."}
    )
    precompute: bool = field(
        default=True,
        metadata={
            "help": "Compute the reference's log-probabilities before training and keep them. If "
            "not, in every step: with new LoRA adapters by the model without them, else by a copy."
        },
    )
    learning_rate: float | None = field(
        default=None,
        metadata={"help": "Peak learning rate; by default it follows size and LoRA."},
    )
    num_train_epochs: float = field(
        default=1, metadata={"help": "Epochs; the best one on validation is kept."}
    )


@dataclass
class NewOptions:
    """A small model of random weights, for a world that it can learn whole."""

    corpus: str = field(metadata={"help": "What it will be trained on, such as a .jsonl file."})
    output: str = field(metadata={"help": "Folder of model and tokenizer."})
    hidden_size: int = field(default=192, metadata={"help": "Width of the layers."})
    layers: int = field(default=4, metadata={"help": "Number of layers."})
    heads: int = field(default=3, metadata={"help": "Attention heads of a layer."})
    vocabulary: int = field(
        default=4096, metadata={"help": "Most words of the tokenizer, bytes included."}
    )
    seed: int = field(default=0, metadata={"help": "Of the weights."})
