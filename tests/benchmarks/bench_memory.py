"""Resident memory of a training process over many steps of varied lengths.

    python tests/benchmarks/bench_memory.py [--model MODEL] [--steps 1000] [--bf16]

CAPO, one random item a step (VariErr-NLI's lengths, texts of 10 to 400 tokens, two to five
annotators), AdamW, one thread, glibc told to keep freed memory as `capo-bench train` does. Without
--model a random Llama of four layers of 128 with 8,192 words.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from pathlib import Path as File

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import torch
from bench_training import memory
from transformers import LlamaConfig, LlamaForCausalLM

from capo_bench.train.capo_config import CapoConfig
from capo_bench.train.capo_trainer import CapoTrainer
from capo_bench.train.command import keep_freed_memory
from capo_bench.train.dataset import Comparison, Group
from capo_bench.train.models import load_model
from capo_bench.train.packing import Path


def item(number: int) -> Group:
    """An item of random tokens and lengths."""
    rng = random.Random(number)

    def tokens(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(10, 8000) for _ in range(rng.randint(low, high)))

    text, annotators = tokens(10, 400), range(rng.randint(2, 5))
    responses = [tokens(5, 40) for _ in annotators]
    paths, comparisons = [], []
    for a in annotators:
        first, turn = len(paths), text + tokens(6, 6)
        paths += [Path(turn, response) for response in responses]
        others = tuple(first + b for b in annotators if b != a)
        comparisons.append(Comparison(str(a), first + a, others, 1.0))
    return Group(str(number), tuple(paths), tuple(comparisons))


def main() -> None:
    """Prints the memory as the steps go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if options.model:
        model, _ = load_model(options.model, dtype="float32", attention=None)
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=8192, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
                num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
            )
        )  # fmt: skip
    groups = [item(number) for number in range(options.steps)]
    folder = tempfile.mkdtemp()
    config = CapoConfig(
        output_dir=folder, use_cpu=True, bf16=options.bf16, eval_strategy="no",
        save_strategy="no", disable_tqdm=True, reference_free=True, max_trie_tokens=10**6,
    )  # fmt: skip
    trainer = CapoTrainer(model, config, groups, cache=File(folder))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    shown = {step for step in (10, 50, 100, 300, 500, 1000, options.steps) if step <= options.steps}
    for step, group in enumerate(groups, start=1):
        inputs = trainer._collate([list(trainer.prepared([group]))])
        for batch in inputs["passes"]:
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
                loss = trainer.compute_loss(model, {"batch": batch})
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step in shown:
            now, peak = memory("VmRSS") / 1e6, memory("VmHWM") / 1e6
            print(f"step {step}: {now:.0f} MB, peak {peak:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
