"""Which model families the packed layout is exact on: tiny random models against plain rows.

    python tests/benchmarks/parity.py [FAMILY ...]

Every family is built with random weights (larger than at initialisation, so that attention is far
from uniform), asked which layout training would take, and computed in it and plainly, in float32:
the largest difference of a response's log-probability, in nats a token, and of a weight's gradient,
relative to the largest of all.
"""

import argparse
import logging
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from capo_bench.train.layouts import choose
from capo_bench.train.logprobs import response_logprobs
from capo_bench.train.packing import pack
from tests.train import tiny

FAMILIES = (
    *(
        "llama",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "gemma",
        "gemma2",
        "gemma3_text",
        "mistral",
        "mixtral",
    ),
    *(
        "phi",
        "phi3",
        "olmo",
        "olmo2",
        "olmo3",
        "granite",
        "cohere",
        "cohere2",
        "smollm3",
        "starcoder2",
    ),
    *("stablelm", "glm", "glm4", "ernie4_5", "helium", "nemotron", "exaone4", "arcee", "seed_oss"),
    *("gpt_oss", "gpt2", "gpt_neox", "gptj", "opt", "falcon", "bloom", "mpt"),
    *("mamba", "lfm2", "qwen3_next", "recurrent_gemma"),
)
SHAPE = {
    "vocab_size": tiny.VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
# What families call theirs, or need beside it.
OF_FAMILY: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 4, "n_head": 4},
    "gptj": {"n_embd": 32, "n_layer": 4, "n_head": 4, "rotary_dim": 4},
    "mpt": {"d_model": 32, "n_layers": 4, "n_heads": 4, "max_seq_len": 256},
    "bloom": {"n_layer": 4, "n_head": 4},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "gemma2": {"sliding_window": tiny.WINDOW},
    "gemma3_text": {"sliding_window": tiny.WINDOW},
    "mistral": {"sliding_window": tiny.WINDOW},
    "olmo3": {"sliding_window": tiny.WINDOW},
    "cohere2": {"sliding_window": tiny.WINDOW},
    "gpt_oss": {"sliding_window": tiny.WINDOW, "num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "mixtral": {"num_local_experts": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "qwen3_next": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}


def compared(family: str) -> tuple[str, str, str]:
    """The layout taken and why, and both differences, as cells of a table."""
    torch.manual_seed(0)
    shape = {**SHAPE, **OF_FAMILY.get(family, {})}
    if family == "falcon":  # derives it
        del shape["head_dim"]
    config = AutoConfig.for_model(family, **shape)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    groups = [tiny.group(1), tiny.group(2)]
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("capo_bench.train.layouts")
    log.addHandler(handler)
    layout = choose(model, model.config, groups, "auto")
    log.removeHandler(handler)
    if layout == "plain":
        reason = said[-1].partition("(")[2].rpartition(")")[0]
        return f"plain: {reason}", "", ""
    lengths = torch.tensor([len(path.response) for group in groups for path in group])
    outcomes = []
    for one in ("plain", layout):
        model.zero_grad()
        values = response_logprobs(model, model.config, pack(groups, one))
        (values * torch.linspace(-1, 1, len(values))).sum().backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        outcomes.append((values.detach(), gradients))
    (plain, wanted), (packed, got) = outcomes
    nats = float(((packed - plain).abs() / lengths).max())
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    off = max(float((got[name] - wanted[name]).abs().max()) for name in wanted) / largest
    return f"{layout}, {model.config._attn_implementation}", f"{nats:.1g}", f"{off:.1g}"


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", default=FAMILIES)
    print("| family | layout | log-probability, nats a token | gradient |")
    print("|---|---|--:|--:|")
    for family in parser.parse_args().families:
        print(f"| {family} | {' | '.join(compared(family))} |", flush=True)


if __name__ == "__main__":
    main()
