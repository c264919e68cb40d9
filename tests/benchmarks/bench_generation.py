"""Answers of lm_eval's `hf` and of `capo-hf`: CPU time of each, and whether they are the same.

    python tests/benchmarks/bench_generation.py --model MODEL [--corpus nli] [--setting tag]
        [--items 20] [--tokens 128] [--batch 16] [--temperature 0]

One thread. The prompts are those of the task for the first items of the test split, all annotators,
with its stop sequences. The contestants take turns, a part of the items each; load cancels. Time to
load the model is left out. Above temperature 0 both draw, of one distribution, so that their answers
differ.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from capo_bench.corpus.load import load
from capo_bench.harness.model import SharedPrefixLM
from capo_bench.prompts.contexts import context
from capo_bench.prompts.prompter import Prompter
from capo_bench.prompts.responses import CUE, stop_sequences


def main() -> None:
    """Prints a line a turn and the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", default="nli")
    parser.add_argument("--setting", default="tag")
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=128, help="Most tokens of an answer.")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    corpus = load(options.corpus)
    prompter = Prompter(corpus, options.setting)
    items = corpus.split("test")[: options.items]
    parts = [items[turn :: options.turns] for turn in range(options.turns)]
    wanted = {
        "until": stop_sequences(corpus.task), "max_gen_toks": options.tokens,
        "temperature": options.temperature, "do_sample": options.temperature > 0,
    }  # fmt: skip
    models: dict[str, Any] = {
        name: kind(
            pretrained=options.model, dtype="float32", device="cpu", batch_size=options.batch
        )
        for name, kind in (("hf", HFLM), ("capo-hf", SharedPrefixLM))
    }
    total = dict.fromkeys(models, 0.0)
    equal = count = 0
    for part in parts:
        prompts = [str(context(prompter(item, a), CUE)) for item in part for a in item.cells]
        answers = {}
        for name, model in models.items():
            requests = [
                Instance("generate_until", {}, (prompt, dict(wanted)), number)
                for number, prompt in enumerate(prompts)
            ]
            start = time.process_time()
            answers[name] = model.generate_until(requests, disable_tqdm=True)
            taken = time.process_time() - start
            total[name] += taken
            print(f"{name}: {len(prompts)} answers, {taken:.1f} s", flush=True)
        equal += sum(a == b for a, b in zip(*answers.values(), strict=True))
        count += len(prompts)
    ratio = total["hf"] / total["capo-hf"]
    print(
        f"{options.setting}, batch {options.batch}: hf {total['hf']:.1f} s, capo-hf "
        f"{total['capo-hf']:.1f} s, {ratio:.2f} times; {equal} of {count} answers equal"
    )


if __name__ == "__main__":
    main()
