"""Training speed on a GPU: packed tries by FlexAttention against TRL's DPOTrainer, in one process.

    python tests/benchmarks/bench_gpu.py [--model MODEL] [--annotators 4] [--items 8] [--rounds 5]

bf16 autocast, AdamW, one optimizer step every --items items of random tokens of VariErr-NLI's
lengths (`--setting zero-shot`). The contestants take turns; printed are the median and the least
ratio of a turn, the peak of memory, and the share of the device's bf16 peak, measured by a product of
8,192 x 8,192 matrices. Without --model a Qwen3 of 0.6 billion random weights is made. TRL runs
padding-free if flash-attention is installed. The attention that the check at the start chose, and
why others were not, is printed first.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path as File
from typing import Any

import bench_training as shared
import torch
from transformers import AutoModelForCausalLM, Qwen3Config

from capo_bench.train.capo_config import CapoConfig
from capo_bench.train.capo_trainer import CapoTrainer
from capo_bench.train.packing import build


def model_of(name: str | None) -> Any:
    """The model named, or Qwen3-0.6B's shape with random weights."""
    if name:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    else:
        torch.manual_seed(0)
        config = Qwen3Config(
            vocab_size=151_936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
            num_attention_heads=16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.cuda()


def peak_rate() -> float:
    """bf16 operations a second of a large product."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    a @ a
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        a @ a
    torch.cuda.synchronize()
    return 10 * 2 * 8192**3 / (time.perf_counter() - start)


class Contestant:
    """A way to train: `ours` or `trl`."""

    def __init__(self, kind: str, options: argparse.Namespace, groups: list[Any]) -> None:
        self.kind, self.groups = kind, groups
        self.model = model_of(options.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6, fused=True)
        folder = tempfile.mkdtemp()
        if kind == "ours":
            config = CapoConfig(
                output_dir=folder, bf16=True, reference_free=True, eval_strategy="no",
                save_strategy="no", disable_tqdm=True, max_trie_tokens=10**6,
            )  # fmt: skip
            self.trainer: Any = CapoTrainer(self.model, config, groups, cache=File(folder))
            print("ours:", self.trainer.layout, self.model.config._attn_implementation)
        else:
            self.trainer = self._trl(folder)
        self.model.train()

    def _trl(self, folder: str) -> Any:
        from datasets import Dataset
        from transformers.utils import is_flash_attn_2_available
        from trl import DPOConfig, DPOTrainer

        padding_free = is_flash_attn_2_available()
        if padding_free:
            self.model.set_attn_implementation("flash_attention_2")
        print("trl: padding-free" if padding_free else "trl: padded rows (no flash-attention here)")
        _, tokenizer = shared.load_model(shared.tiny(), dtype="float32", attention=None)
        trainer = DPOTrainer(
            self.model,
            args=DPOConfig(
                output_dir=folder, bf16=True, activation_checkpointing=False, disable_tqdm=True,
                precompute_ref_log_probs=True, padding_free=padding_free,
            ),
            train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
            processing_class=tokenizer,
        )  # fmt: skip
        trainer.get_train_dataloader()
        trainer.precompute_ref_logps = True
        return trainer

    def step(self) -> float:
        """Seconds of one optimizer step over all items."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            self._backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        torch.cuda.synchronize()
        return time.perf_counter() - start

    def _backward(self) -> None:
        if self.kind == "ours":
            inputs = self.trainer._collate([self.groups])
            count = self.trainer._get_num_items_in_batch([inputs], torch.device("cuda"))
            for batch in inputs["passes"]:
                self.trainer.compute_loss(
                    self.model, {"batch": batch}, num_items_in_batch=count
                ).backward()
            return
        rows = [
            {
                "prompt_ids": list(group.paths[c.chosen].context),
                "chosen_ids": list(group.paths[c.chosen].response),
                "rejected_ids": list(group.paths[other].response),
                "ref_chosen_logps": 0.0,
                "ref_rejected_logps": 0.0,
            }
            for group in self.groups
            for c in group.comparisons
            for other in c.rejected
        ]
        for first in range(0, len(rows), 16):
            part = rows[first : first + 16]
            batch = self.trainer.data_collator(part)
            batch = {k: v.cuda() if torch.is_tensor(v) else v for k, v in batch.items()}
            loss = self.trainer.compute_loss(self.model, batch) * len(part) / len(rows)
            loss.backward()


def main() -> int:
    """Runs the contest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--annotators", type=int, default=4)
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO)
    items = shared.items(
        argparse.Namespace(
            model=options.model,
            corpus=None,
            annotators=options.annotators,
            setting="zero-shot",
            chat=False,
            method="capo",
            items=options.items,
        )
    )
    groups = [group for item in items for group in item]
    found: dict[str, list[float]] = {}
    memory = {}
    contestants = {}
    for kind in ("ours", "trl"):
        contestants[kind] = Contestant(kind, options, groups)
        for _ in range(3):  # compiles
            contestants[kind].step()
    for _ in range(options.rounds):
        for kind, contestant in contestants.items():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            found.setdefault(kind, []).append(contestant.step())
            memory[kind] = (torch.cuda.max_memory_allocated() - before) / 1e9
    ratios = [theirs / ours for ours, theirs in zip(found["ours"], found["trl"], strict=True)]
    tokens = sum(len(build(group.paths).tokens) for group in groups)
    weights = sum(p.numel() for p in contestants["ours"].model.parameters())
    share = 6 * weights * tokens / statistics.median(found["ours"]) / peak_rate()
    for kind, seconds in found.items():
        print(
            f"{kind}: {statistics.median(seconds):.3f} s a step, {memory[kind]:.2f} GB above rest"
        )
    print(f"ours is faster by {statistics.median(ratios):.1f} (least {min(ratios):.1f})")
    print(f"ours: {tokens} tokens a step, {share:.0%} of the device's bf16 rate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
