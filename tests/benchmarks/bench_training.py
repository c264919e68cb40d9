"""Training speed side by side: TRL's DPOTrainer, plain rows, and packed groups.

    python tests/benchmarks/bench_training.py --model MODEL [--corpus nli] [--annotators 4]
        [--setting tag] [--chat] [--lora] [--bf16] [--method capo|sft] [--items 3] [--per-step 1]
        [--profile] [--pairs N]

Every contestant is a process of its own with one thread, float32 weights (under bf16 autocast with
--bf16; TRL as shipped always) and AdamW, and takes one
optimizer step every --per-step items. Contestants take turns, a step each, so that a busy machine
disturbs all alike; what is reported is the median CPU time (user and system) of an item. The floor
is the time of the matrix products alone, at the rate this machine reaches on the model's own shapes
between the turns. Memory is the peak above weights, gradients and optimizer state. All but "TRL as
shipped" run with `keep_freed_memory`, as `capo-bench train` does.

Without --annotators the items are the corpus's; with it they are random tokens of the lengths that
VariErr-NLI has, divided where they exceed the trainer's default budget. `--model tiny` is a random
Llama of four layers with SmolLM2's vocabulary.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path as File
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from capo_bench.corpus.load import load
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.prompts.prompter import Prompter
from capo_bench.train.capo_config import CapoConfig
from capo_bench.train.capo_trainer import CapoTrainer
from capo_bench.train.command import keep_freed_memory
from capo_bench.train.dataset import Encoder, Group, Options, build
from capo_bench.train.logprobs import response_logprobs
from capo_bench.train.loss import Comparisons, preference
from capo_bench.train.models import load_model, with_lora
from capo_bench.train.packing import Path, Tokens, nodes, pack
from capo_bench.train.packing import build as build_trie
from capo_bench.train.sft_config import SftConfig
from capo_bench.train.sft_trainer import SftTrainer

CONTESTANTS = {
    "capo": {
        "trl": "TRL as shipped: bf16, checkpointing",
        "trl-compact": "TRL, compact head",
        "trl-compact-2": "TRL, compact head, 2 pairs a pass",
        "pairwise": "plain pairwise",
        "plain": "each sequence once",
        "target": "trie a target",
        "trie": "trie an item (ours)",
    },
    "sft": {
        "plain": "plain rows",
        "trie": "trie an item (ours)",
    },
}
# Parts of a step by the operations that belong to them, in `--profile`.
PARTS = {
    "matrix products": ("::mm", "::addmm", "::bmm", "::linear", "_linear_pointwise"),
    "attention": ("scaled_dot_product",),
    "AdamW": ("adamw",),
    "copies and casts": ("::copy_", "::cat", "::clone"),
}
TEXT = {"tag": (45, 75), "zero-shot": (135, 165)}  # tokens that an item's prompts share


class RandomTokens:
    """Stands for an `Encoder`: texts become random tokens, as many as those of VariErr-NLI have."""

    def __init__(self, setting: str) -> None:
        self._lengths = TEXT[setting]

    def context(self, prompt: str) -> Tokens:
        """What an item's prompts share, and an annotator's turn."""
        item, _ = prompt.split("\n")
        return self._tokens(item, *self._lengths) + self._tokens(prompt, 6, 6)

    def response(self, text: str) -> Tokens:
        """A label and an explanation."""
        return self._tokens("label", 9, 9) + self._tokens(text, 8, 24)

    def _tokens(self, text: str, low: int, high: int) -> Tokens:
        rng = random.Random(text)
        return tuple(rng.randrange(10, 200) for _ in range(rng.randint(low, high)))


def items(options: argparse.Namespace) -> list[list[Group]]:
    """The groups of each item to train on, the same for every contestant."""
    return random.Random(0).sample(complete(options), options.items)


def complete(options: argparse.Namespace) -> list[list[Group]]:
    """The groups of each item that all annotators answered once, each in other words.

    An item larger than the trainer's default budget of a trie is divided as the trainer does.
    """
    prompter: Any
    encoder: Any
    if options.annotators is None:
        _, tokenizer = load_model(options.model, dtype="float32", attention=None)
        encoder = Encoder(tokenizer, chat=options.chat)
        corpus = load(options.corpus)
        prompter = Prompter(corpus, options.setting, form=encoder.form)
    else:
        encoder = RandomTokens(options.setting)
        corpus = synthesize("places", annotators=options.annotators).corpus
        prompter = lambda item, annotator: f"{item.id}\n{annotator}"  # noqa: E731
    rejected: Any = "all" if options.method == "capo" else None
    built = build(corpus, "train", prompter, encoder, Options(rejected))
    by_item: dict[str, list[Group]] = {}
    for group in built.groups:
        comparisons = tuple(replace(c, weight=c.share) for c in group.comparisons)
        by_item.setdefault(group.item, []).append(replace(group, comparisons=comparisons))
    most = len(corpus.annotator_ids)
    others = (most - 1) * (options.method == "capo")
    full = []
    for groups in by_item.values():
        rivals = Counter[tuple[str, Tokens]]()
        for group in groups:
            for c in group.comparisons:
                rivals[c.annotator, group.paths[c.chosen].response] += len(c.rejected)
        answered = {annotator for annotator, _ in rivals}
        if len(rivals) == len(answered) == most and set(rivals.values()) == {others}:
            full.append(groups)
    return full


class Worker:
    """One contestant."""

    def __init__(self, kind: str, options: argparse.Namespace, items: list[list[Group]]) -> None:
        torch.set_num_threads(1)
        if kind != "trl":
            keep_freed_memory()
        self.kind, self.method, self.pairs = kind, options.method, options.pairs
        self.share = 1.0  # what there is to compute over what was
        self.half = options.bf16 or kind == "trl"
        self.model, self.tokenizer = load_model(options.model, dtype="float32", attention=None)
        torch.manual_seed(0)
        if options.lora:
            self.model = with_lora(self.model, rank=16, alpha=32, targets=["all-linear"])
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
        self.fixed = 3 * sum(p.numel() * p.element_size() for p in trained)
        folder = tempfile.mkdtemp()
        common = {
            "output_dir": folder, "use_cpu": True, "eval_strategy": "no", "save_strategy": "no",
            "disable_tqdm": True,
        }  # fmt: skip
        groups = [group for item in items for group in item]
        self.trl: Any = None
        if kind.startswith("trl"):
            self._start_trl(folder)
        elif self.method == "sft":
            self.ours = SftTrainer(self.model, SftConfig(**common, layout=kind), groups)
        else:
            layout = "plain" if kind == "pairwise" else kind
            config = CapoConfig(**common, layout=layout, reference_free=True)
            self.ours = CapoTrainer(self.model, config, groups, cache=File(folder))
        self.model.train()
        reset_peak()
        self.start = memory("VmRSS")

    def _start_trl(self, folder: str) -> None:
        import trl.trainer.utils
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        if "compact" in self.kind:
            trl.trainer.utils._use_triton = lambda device: True  # used for this choice alone
        self.trl = DPOTrainer(
            self.model,
            args=DPOConfig(
                output_dir=folder, use_cpu=True, bf16=False, activation_checkpointing=False,
                precompute_ref_log_probs=True, disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
            processing_class=self.tokenizer,
        )  # fmt: skip
        if self.kind == "trl":
            self.model.activation_checkpointing_enable()
        self.trl.get_train_dataloader()  # the reference of the one pair
        self.trl.precompute_ref_logps = True

    def step(self, items: list[list[Group]]) -> tuple[float, float, float]:
        """CPU seconds and tokens an item, and the loss, of one optimizer step."""
        start = time.process_time()
        loss, tokens = self._backward([group for item in items for group in item], len(items))
        computed = time.process_time()
        self.optimizer.step()
        self.optimizer.zero_grad()
        updated = time.process_time() - computed
        seconds = (computed - start) * self.share + updated
        return seconds / len(items), loss, tokens * self.share / len(items)

    def _backward(self, groups: list[Group], items: int) -> tuple[float, int]:
        self.share = 1.0
        # Every comparison has as many rejected responses as any other: a mean over pairs serves.
        pairs = [
            (group.paths[c.chosen], group.paths[other])
            for group in groups
            for c in group.comparisons
            for other in c.rejected
        ]
        if self.trl is not None:
            all_pairs, most = len(pairs), len(pairs) // items
            if self.pairs is not None:
                pairs = pairs[:: max(1, all_pairs // self.pairs)]
                self.share = all_pairs / len(pairs)
            return self._backward_trl(pairs, most)
        if self.kind == "pairwise":
            packed = pack([[path for pair in pairs for path in pair]], "plain")
            with self._autocast():
                logprobs = response_logprobs(self.model, self.model.config, packed)
            own = torch.arange(0, 2 * len(pairs), 2)
            comparisons = Comparisons(own, own[:, None] + 1, torch.ones(len(pairs)))
            zero = torch.zeros_like(logprobs)
            loss = preference(logprobs, zero, zero + 1, comparisons, beta=0.1).loss.mean()
            loss.backward()
            return loss.item(), packed.input_ids.numel()
        if self.pairs is not None:
            some = groups[:: max(1, len(groups) // self.pairs)]
            self.share = sum(nodes(g.paths) for g in groups) / sum(nodes(g.paths) for g in some)
            groups = some
        inputs = self.ours._collate([list(self.ours.prepared(groups))])
        count = self.ours._get_num_items_in_batch([inputs], torch.device("cpu"))
        total = 0.0
        for batch in inputs["passes"]:
            with self._autocast():
                loss = self.ours.compute_loss(
                    self.model, {"batch": batch}, num_items_in_batch=count
                )
            loss.backward()
            total += loss.item()
        return total, inputs["input_ids"].numel()

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.half)

    def _backward_trl(self, pairs: list[tuple[Path, Path]], most: int) -> tuple[float, int]:
        rows = [
            {
                "prompt_ids": list(own.context),
                "chosen_ids": list(own.response),
                "rejected_ids": list(other.response),
                "ref_chosen_logps": 0.0,
                "ref_rejected_logps": 0.0,
            }
            for own, other in pairs
        ]
        size = 2 if self.kind.endswith("-2") else most
        total, tokens = 0.0, 0
        for first in range(0, len(rows), size):
            batch = self.trl.data_collator(rows[first : first + size])
            part = len(rows[first : first + size]) / len(rows)
            with self._autocast():
                loss = self.trl.compute_loss(self.model, batch) * part
            loss.backward()
            total, tokens = total + loss.item(), tokens + batch["input_ids"].numel()
        return total, tokens

    def profile(self, items: list[list[Group]]) -> dict[str, float]:
        """Seconds of one step by what they are spent on."""
        with torch.profiler.profile() as profiler:
            self.step(items)
        seconds = dict.fromkeys([*PARTS, "elementwise", "dispatch and autograd"], 0.0)
        for event in profiler.key_averages():
            rest = "elementwise" if event.key.startswith("aten::") else "dispatch and autograd"
            part = next(
                (p for p, names in PARTS.items() if any(n in event.key for n in names)), rest
            )
            seconds[part] += event.self_cpu_time_total / 1e6
        return seconds

    def peak(self) -> float:
        """Bytes above weights, gradients and optimizer state."""
        return memory("VmHWM") - self.start - self.fixed


def memory(what: str) -> float:
    """Bytes of this process by their name in /proc."""
    lines = File("/proc/self/status").read_text().splitlines()
    return 1024 * float(next(line for line in lines if line.startswith(what)).split()[1])


def reset_peak() -> None:
    """Has the peak counted from now."""
    File("/proc/self/clear_refs").write_text("5")


def work(
    pipe: Connection, kind: str, options: argparse.Namespace, items: list[list[Group]]
) -> None:
    """A worker's process: answers groups with their step, and `None` with its peak."""
    worker = Worker(kind, options, items)
    pipe.send("ready")
    while True:
        given = pipe.recv()
        if given is None:
            pipe.send(worker.peak())
            if options.profile:
                parts = worker.profile(items[: options.per_step])
                whole = sum(parts.values())
                shown = ", ".join(f"{part} {s / whole:.0%}" for part, s in parts.items())
                print(f"{CONTESTANTS[options.method][kind]}: {shown}")
            return
        pipe.send(worker.step(given))


def rate(model: Any, tokens: int) -> float:
    """Floating-point operations a second of this machine on the model's own matrix products."""
    config = model.config
    left = torch.randn(tokens, config.hidden_size)
    right = torch.randn(config.hidden_size, config.intermediate_size)
    left @ right
    start = time.process_time()
    for _ in range(100):
        left @ right
    return 200 * left.numel() * config.intermediate_size / (time.process_time() - start)


def floor(model: Any, item: list[Group], lora: bool) -> float:
    """Seconds of the matrix products of an item on its tries: 2 operations a weight and token, once
    forward and twice backward (once where the weights are frozen); the head where a token is
    scored."""
    tries = [build_trie(group.paths) for group in item]
    head = model.config.hidden_size * model.config.vocab_size
    body = sum(
        p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "layers" in name
    )
    times = 4 if lora else 6
    tokens = sum(len(trie.tokens) for trie in tries)
    scored = sum(len({node for node, _ in trie.edges}) for trie in tries)
    return times * (body * tokens + head * scored) / rate(model, tokens // len(tries))


def tiny() -> str:
    """Folder of a small random model."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = f"{tempfile.mkdtemp()}/tiny"
    config = LlamaConfig(
        vocab_size=49_152, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    core = Tokenizer(WordLevel({"<eos>": 0, "a": 1, "b": 2, "c": 3}, unk_token="<eos>"))
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>").save_pretrained(folder)
    return folder


def main() -> None:
    """Runs the comparison and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", default="nli")
    parser.add_argument("--annotators", type=int)
    parser.add_argument("--setting", choices=TEXT, default="tag")
    parser.add_argument("--chat", action="store_true", help="Prompts in the chat template.")
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--method", choices=["capo", "sft"], default="capo")
    parser.add_argument("--items", type=int, default=3)
    parser.add_argument(
        "--pairs",
        type=int,
        help="TRL computes so many and ours so many tries, and their time is scaled up.",
    )
    parser.add_argument("--per-step", type=int, default=1, help="Items an optimizer step.")
    parser.add_argument("--bf16", action="store_true", help="Autocast, for all.")
    parser.add_argument("--profile", action="store_true", help="Prints what steps consist of.")
    parser.add_argument("--only", nargs="*", help="Contestants; ours is always among them.")
    options = parser.parse_args()
    if options.model == "tiny":
        options.model = tiny()
    torch.set_num_threads(1)
    chosen_items = items(options)
    model, _ = load_model(options.model, dtype="float32", attention=None)
    names = CONTESTANTS[options.method]
    chosen = [kind for kind in names if not options.only or kind in options.only or kind == "trie"]
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for kind in chosen:
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there, kind, options, chosen_items))
        process.start()
        processes.append(process)
        here.recv()
        pipes[kind] = here
    steps: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in chosen}
    floors = []
    for number in range(-1, len(chosen_items)):  # the first turn warms up
        turn = [chosen_items[(number + i) % len(chosen_items)] for i in range(options.per_step)]
        for kind, pipe in pipes.items():
            pipe.send(turn)
            taken = pipe.recv()
            if number >= 0:
                steps[kind].append(taken)
        if number >= 0:
            floors.append(statistics.mean(floor(model, item, options.lora) for item in turn))
    peaks = {}
    for kind, pipe in pipes.items():
        pipe.send(None)
        peaks[kind] = pipe.recv()
    for process in processes:
        process.join()
    print_table(options, names, steps, peaks, floors)


def print_table(
    options: argparse.Namespace,
    names: dict[str, str],
    steps: dict[str, list[tuple[float, float, float]]],
    peaks: dict[str, float],
    floors: list[float],
) -> None:
    """One line a contestant, and the floor."""
    data = f"A = {options.annotators}" if options.annotators else options.corpus
    data += f", {options.setting} prompts{' in the chat template' if options.chat else ''}"
    trained = "LoRA" if options.lora else "full"
    table = Table(
        title=f"{options.method}, {trained}{', bf16' if options.bf16 else ''}, {data}, "
        f"{len(floors)} items, {options.per_step} a step, {File(options.model).name}"
    )
    for column in ("layout", "s/item", "items/s", "tokens", "loss", "peak GB", "ours is faster by"):
        table.add_column(column, justify="left" if column == "layout" else "right")
    ours = [seconds for seconds, _, _ in steps["trie"]]
    for kind, taken in steps.items():
        seconds = [s for s, _, _ in taken]
        ratio = statistics.median(s / o for s, o in zip(seconds, ours, strict=True))
        least = min(s / o for s, o in zip(seconds, ours, strict=True))
        table.add_row(
            names[kind],
            f"{statistics.median(seconds):.3g}",
            f"{1 / statistics.median(seconds):.3g}",
            f"{statistics.mean(n for _, _, n in taken):.0f}",
            f"{statistics.mean(loss for _, loss, _ in taken):.5f}",
            f"{peaks[kind] / 1e9:.2f}",
            f"{ratio:.1f} (min {least:.1f})",
        )
    share = statistics.median(f / o for f, o in zip(floors, ours, strict=True))
    table.add_row("floor: matrix products", f"{statistics.median(floors):.3g}", "", "", "", "", "")
    Console(width=110).print(table)
    print(f"Ours spends {share:.0%} of its time on the floor.")


if __name__ == "__main__":
    main()
