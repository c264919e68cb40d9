"""How often one computes with pairs, or rows, what a trie computes once: the bound on any speed-up.

    python tests/benchmarks/bound.py --model MODEL [--method capo|sft] [--setting tag] [--chat]

Of each item of VariErr-NLI's training split that four annotators answered once, each in other words:
the multiplications of the layers, a token each, and of the head, a scored token each, over those of
its trie. TRL scores tokens of responses only and takes two pairs a pass, padded; rows are padded to
the longest of the item. Where both sides multiply by the same routine, and spend the same share of
their time on it, no trainer is faster than this.
"""

from __future__ import annotations

import argparse
import statistics

import bench_training

from capo_bench.train.dataset import Group
from capo_bench.train.models import load_model
from capo_bench.train.packing import Path, build

Counts = tuple[int, int]
"""Tokens, and tokens at which the head scores."""


def ours(group: Group) -> Counts:
    """Of an item's trie."""
    trie = build(group.paths)
    return len(trie.tokens), len({node for node, _ in trie.edges})


def theirs(group: Group) -> Counts:
    """Of its pairs, two a pass, or, where nothing is rejected, of its sequences."""
    pairs = [
        (group.paths[c.chosen], group.paths[other])
        for c in group.comparisons
        for other in c.rejected
    ]
    if not pairs:
        return padded(group.paths, read=-1)
    passes = [pairs[first : first + 2] for first in range(0, len(pairs), 2)]
    counts = [padded([path for pair in some for path in pair]) for some in passes]
    tokens, scored = zip(*counts, strict=True)
    return sum(tokens), sum(scored)


def padded(rows: tuple[Path, ...] | list[Path], read: int = 0) -> Counts:
    """Of rows of equal length; ours do not read the last token (`read` is -1), TRL's do."""
    longest = max(len(path.context) + len(path.response) for path in rows)
    return len(rows) * (longest + read), sum(len(path.response) for path in rows)


def main() -> None:
    """Prints means of the counts and the ratios of items."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--method", choices=["capo", "sft"], default="capo")
    parser.add_argument("--setting", choices=bench_training.TEXT, default="tag")
    parser.add_argument("--chat", action="store_true")
    options = parser.parse_args()
    model, _ = load_model(options.model, dtype="float32", attention=None)
    head = model.config.hidden_size * model.config.vocab_size
    body = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "layers" in n)
    groups = bench_training.complete(
        argparse.Namespace(**vars(options), corpus="nli", annotators=None)
    )
    counts = [(theirs(group), ours(group)) for (group,) in groups]
    ratios = sorted(
        (body * t + head * s) / (body * tokens + head * scored)
        for (t, s), (tokens, scored) in counts
    )
    for name, side in zip(("theirs", "ours"), zip(*counts, strict=True), strict=True):
        tokens, scored = (statistics.mean(column) for column in zip(*side, strict=True))
        print(f"{name}: {tokens:.0f} tokens an item, {scored:.0f} scored")
    print(
        f"multiplications, theirs over ours, {len(ratios)} items: "
        f"mean {statistics.mean(ratios):.2f}, least {ratios[0]:.2f}, most {ratios[-1]:.2f}"
    )


if __name__ == "__main__":
    main()
