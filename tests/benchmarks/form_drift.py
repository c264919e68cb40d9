"""Which parts of a response CAPO moves, and when their form breaks.

    python tests/benchmarks/form_drift.py --model SFT [--corpus nli] [--anchor 0 0.1 1]
        [--steps 8] [--learning-rate 5e-5]

Trains from an SFT model at a constant rate, 4 items a step, once for each anchor weight. Twice on
the way and at the end it prints how far the log-probabilities of chosen and rejected validation
responses are from where they started, in nats: of the label, of the form between label and text (a
line break and `Explanation:`), and of the text; and how many of 20 greedy responses are unreadable.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path as File
from statistics import mean
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import torch
from transformers import TrainerCallback

from capo_bench.caches import cache_folder
from capo_bench.corpus.load import load
from capo_bench.corpus.model import Corpus
from capo_bench.prompts.prompter import Prompter
from capo_bench.prompts.responses import CUE, parse
from capo_bench.train.capo_config import CapoConfig
from capo_bench.train.capo_trainer import CapoTrainer
from capo_bench.train.command import keep_freed_memory
from capo_bench.train.dataset import Encoder, Group, Options, build
from capo_bench.train.models import load_model


def pieces(response: Sequence[str]) -> dict[str, range]:
    """Label, form and text as ranges of a response's decoded tokens."""
    line = next(place for place, token in enumerate(response) if "\n" in token)
    colon = next(place for place, token in enumerate(response) if place > line and ":" in token)
    return {
        "label": range(line),
        "form": range(line, colon + 1),
        "text": range(colon + 1, len(response) - 1),
    }


@torch.no_grad()
def logprobs(model: Any, tokenizer: Any, groups: Sequence[Group]) -> dict[str, float]:
    """Mean log-probability of each piece of chosen and rejected responses, in nats."""
    found = defaultdict(list)
    for group in groups:
        for comparison in group.comparisons:
            for role, index in (
                ("chosen", comparison.chosen),
                ("rejected", comparison.rejected[0]),
            ):
                path = group.paths[index]
                ids = torch.tensor([path.context + path.response])
                logits = model(input_ids=ids).logits[0].log_softmax(-1)
                first = len(path.context) - 1
                tokens = [tokenizer.decode([token]) for token in path.response]
                for name, places in pieces(tokens).items():
                    value = sum(logits[first + t, path.response[t]].item() for t in places)
                    found[f"{role} {name}"].append(value)
    return {name: mean(values) for name, values in found.items()}


@torch.no_grad()
def unreadable(model: Any, tokenizer: Any, corpus: Corpus, prompts: Sequence[str]) -> int:
    """How many greedy responses have no label or no explanation."""
    inputs = tokenizer([prompt + CUE for prompt in prompts], return_tensors="pt", padding=True)
    made = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    texts = tokenizer.batch_decode(made[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    return sum(parse(corpus.task, CUE + text).error is not None for text in texts)


def drift(options: argparse.Namespace, anchor: float) -> None:
    """Trains with one anchor and prints a line at each look."""
    model, tokenizer = load_model(options.model, dtype="float32", attention=None)
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    corpus = load(options.corpus)
    prompter, encoder = Prompter(corpus, "tag"), Encoder(tokenizer)
    train = build(corpus, "train", prompter, encoder, Options("all", items=120)).groups
    validation = build(corpus, "validation", prompter, encoder, Options("all")).groups
    chosen = random.Random(1).sample(list(corpus.split("validation")), 6)
    prompts = [prompter(item, annotator) for item in chosen for annotator in item.cells][:20]
    held_out = [g for g in validation if g.item in {item.id for item in chosen}][:3]
    start = logprobs(model, tokenizer, held_out)

    class Look(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if (
                state.global_step % max(1, options.steps // 3)
                and state.global_step < args.max_steps
            ):
                return
            model.eval()
            now = logprobs(model, tokenizer, held_out)
            change = ", ".join(f"{name} {now[name] - start[name]:+.2f}" for name in start)
            bad = unreadable(model, tokenizer, corpus, prompts)
            print(f"anchor {anchor}, step {state.global_step}: {change}; {bad}/{len(prompts)}")
            model.train()

    arguments = CapoConfig(
        output_dir=tempfile.mkdtemp(), use_cpu=True, eval_strategy="no", save_strategy="no",
        max_steps=options.steps, learning_rate=options.learning_rate, anchor=anchor,
        per_device_train_batch_size=4, lr_scheduler_type="constant", warmup_steps=0,
    )  # fmt: skip
    cache = File(cache_folder()) / "reference"
    CapoTrainer(model, arguments, train, cache=cache, callbacks=[Look()]).train()


def main() -> None:
    """Runs the experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="A model after SFT on `tag` prompts.")
    parser.add_argument("--corpus", default="nli")
    parser.add_argument("--anchor", type=float, nargs="+", default=[0.0, 0.1, 1.0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    for anchor in options.anchor:
        drift(options, anchor)


if __name__ == "__main__":
    main()
