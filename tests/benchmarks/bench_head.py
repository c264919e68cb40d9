"""Memory and time of a pass with a large vocabulary: logits whole, and scored in chunks.

    python tests/benchmarks/bench_head.py [--words 150000]

A random Llama of four layers of 256 with a tied head, one thread, a trie of 1,110 tokens of which 800
are scored. What is reported is the peak of a forward and backward pass above the weights, gradients
included, and its CPU time; each way in a process of its own, after a pass that warms it up.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import random
import time

os.environ.update(OMP_NUM_THREADS="1")

import torch
from bench_training import memory, reset_peak
from transformers import LlamaConfig, LlamaForCausalLM

from capo_bench.train.attention import NAME
from capo_bench.train.command import keep_freed_memory
from capo_bench.train.logprobs import response_logprobs
from capo_bench.train.memory import MOST_LOGITS
from capo_bench.train.models import join_tied_gradients
from capo_bench.train.packing import Path, pack


def measure(words: int, most: int | None) -> tuple[float, float]:
    """Peak in bytes and CPU seconds of a pass."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    config = LlamaConfig(
        vocab_size=words, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.set_attn_implementation(NAME)
    if most is not None:
        join_tied_gradients(model)
    rng = random.Random(0)
    shared = tuple(rng.randrange(words) for _ in range(318))
    paths = [Path(shared, tuple(rng.randrange(words) for _ in range(100))) for _ in range(8)]
    packed = pack([paths], "trie")
    ctypes.CDLL(None).malloc_trim(0)  # what the model's start left free would hide a part
    start = memory("VmRSS")
    for _ in range(2):
        model.zero_grad()
        reset_peak()
        begun = time.process_time()
        response_logprobs(model, model.config, packed, most).sum().backward()
    return memory("VmHWM") - start, time.process_time() - begun


def main() -> None:
    """Prints a line a way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=150_000)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for name, most in (("whole", None), ("in chunks", MOST_LOGITS)):
        with context.Pool(1) as pool:
            peak, seconds = pool.apply(measure, (options.words, most))
        print(f"{options.words:,} words, logits {name}: {peak / 1e9:.2f} GB, {seconds:.2f} s")


if __name__ == "__main__":
    main()
