"""Tiny random models of the architectures in use, and random groups of paths."""

import pathlib
import random

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from capo_bench.train.packing import Path

VOCABULARY = 97
WINDOW = 7
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MIXED = {
    "head_dim": 8,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
_BUILD = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SHAPE, head_dim=8)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**_SHAPE, **_MIXED, query_pre_attn_scalar=8, attn_implementation="eager")
    ),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_SHAPE, **_MIXED)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_SHAPE, sliding_window=WINDOW)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=256,
            bos_token_id=1, eos_token_id=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )
    ),
}  # fmt: skip
ARCHITECTURES = tuple(_BUILD)


def model(architecture: str = "llama", dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(0)
    built = _BUILD[architecture]()
    # Larger weights than the default initialisation, so that attention is far from uniform.
    for parameter in built.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return built.to(dtype).eval()


def group(seed: int, annotators: int = 3, shared: int = 12) -> list[Path]:
    """All (annotator, response) sequences of an item: a shared text, a turn each, responses."""
    rng = random.Random(seed)

    def tokens(size: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, VOCABULARY) for _ in range(size))

    text = tokens(shared)
    turns = [tokens(rng.randrange(2, 5)) for _ in range(annotators)]
    start = tokens(2)
    responses = [(*start, *tokens(rng.randrange(1, 9)), 2) for _ in range(annotators)]
    return [Path(text + turn, response) for turn in turns for response in responses]


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, with a begin and an end token."""
    alphabet = sorted(ByteLevel.alphabet())
    specials = ["<pad>", "<bos>", "<eos>"]
    vocabulary = {token: index for index, token in enumerate([*specials, *alphabet])}
    core = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = ByteLevelDecoder()
    core.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


CHATS = {
    # The real ones' outlines: Llama's headers, and Qwen's empty thought before an answer.
    "llama": "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "qwen3": "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}",
}


def folder(path: pathlib.Path, architecture: str = "llama", *, chat: bool = False) -> pathlib.Path:
    """A saved model and tokenizer, small enough to train in seconds."""
    shape = {
        **_SHAPE, "vocab_size": 259, "num_hidden_layers": 2, "max_position_embeddings": 2048
    }  # fmt: skip
    torch.manual_seed(0)
    if architecture == "qwen3":
        Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=8)).save_pretrained(path)
    else:
        LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(path)
    words = tokenizer()
    words.chat_template = CHATS[architecture] if chat else None
    words.save_pretrained(path)
    return path
