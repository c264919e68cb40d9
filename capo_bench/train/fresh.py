"""A small model of random weights with a tokenizer of its own, for worlds that it can learn whole.

A pretrained model of useful size takes days on a processor to learn a synthetic world well. One of
two million weights, which knows nothing else, takes half an hour: what the score says of a model that
has converged can be measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from capo_bench.corpus.model import Corpus
from capo_bench.errors import CapoBenchError
from capo_bench.prompts.prompter import Prompter
from capo_bench.train.options import NewOptions

_END = "<|endoftext|>"
_POSITIONS = 1024


def write_new(corpus: Corpus, options: NewOptions, folder: Path) -> int:
    """Writes a random Llama and a byte-level BPE tokenizer of the training split's texts.

    Args:
        corpus: What it will be trained on; nothing but its training split is read.
        options: Sizes and seed.
        folder: Where it is written to: `config.json`, safetensors and a tokenizer.

    Returns:
        Its number of weights, the embeddings included, which the head shares.

    Raises:
        CapoBenchError: If the sizes do not go together, or the folder holds something.
    """
    for name in ("hidden_size", "layers", "heads"):
        if getattr(options, name) < 1:
            raise CapoBenchError(f"--{name} must be at least 1, got {getattr(options, name)}")
    if options.hidden_size % (2 * options.heads):
        raise CapoBenchError(
            f"--hidden_size {options.hidden_size} and --heads {options.heads}: expected a multiple "
            "of twice the heads"
        )
    if folder.exists() and any(folder.iterdir()):
        raise CapoBenchError(f"{folder} holds something; choose another folder")
    tokenizer = _tokenizer(corpus, options.vocabulary)
    torch.manual_seed(options.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.hidden_size,
            intermediate_size=options.hidden_size * 8 // 3,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_key_value_heads=options.heads,
            max_position_embeddings=_POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def _tokenizer(corpus: Corpus, vocabulary: int) -> Any:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    learns = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(corpus), learns)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=_END, eos_token=_END, pad_token=_END
    )


def _texts(corpus: Corpus) -> Iterator[str]:
    prompter = Prompter(corpus, "tag")
    for item in corpus.split("train"):
        for annotator, cell in item.cells.items():
            yield prompter(item, annotator)
            yield from (response.explanation for response in cell)
