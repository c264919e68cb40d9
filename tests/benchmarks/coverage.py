"""How often a 95 % interval holds the truth, by kind of metric and where its value lies.

    python tests/benchmarks/coverage.py [--repeats 1000]
    python tests/benchmarks/coverage.py --corpus nli [--repeats 300] [--only METRIC ...]

Without a corpus, items are drawn from worlds whose truth is known: items are easy or hard for
everybody who answers them, and have one to eight answers. With one, the population is the test split
of a real corpus, answered by graded mixtures of people and of the item's other annotators; as many
items as it has are drawn from it anew each time, and every metric of the benchmark is tried. Every
row has draws of its own, so that no two err together.

`below` and `above` are the shares of intervals that miss the truth on that side, `rule of three` the
share of those whose width is what items that were not seen leave (`Resampled.slack`): there the
interval is wider than its level by design, as that of a discrete number near its bound must be.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np

from capo_bench.corpus.agreement import kappa
from capo_bench.stats.resampling import Array, Estimate, ItemSums, interval, ratio, resample

DRAWS = 1000  # a tenth of what the command draws: intervals are .8 % wider, and four times as cheap
_MANY = 200_000  # items that stand for all there are

Rng = np.random.Generator
World = Callable[[Rng, int], ItemSums]
"""Draws so many items."""


@dataclass(frozen=True)
class Case:
    """A metric in a world.

    Attributes:
        name: What is measured.
        at: Where its value lies.
        worlds: Draws one system's items, or those of two systems that answer the same items.
        truth: The value over all items there are.
    """

    name: str
    at: str
    worlds: Callable[[Rng, int], tuple[ItemSums, ...]]
    truth: float

    def estimate(self, rng: Rng, n: int) -> tuple[Estimate, bool]:
        """The interval from n items, and whether items that were not seen decide its width."""
        first, *second = (resample(one, draws=DRAWS) for one in self.worlds(rng, n))
        found = first.minus(second[0]) if second else first
        whole = interval(found)
        seen = interval(replace(found, slack=(0.0, 0.0))) if any(found.slack) else whole
        return whole, (seen.low, seen.high) != (whole.low, whole.high)


def cases() -> Iterator[Case]:
    """Every kind of metric, from bound to bound."""
    for rate in (0.0, 0.005, 0.01, 0.05, 0.5, 0.95, 0.99, 1.0):
        yield _one("share", f"{rate:g}", _share(rate), rate)
    for mean in (0.02, 0.25, 0.95):
        yield _one("mean of a score", f"{mean:g}", _score(mean))
    for skill in (0.0, 0.05, 0.4, 0.95):
        yield _one("kappa, 4 annotators", f"skill {skill:g}", _kappa(skill))
    yield _one("kappa, one label said", "0", _kappa(0.0, constant=True))
    for right in (0.0, 0.02, 0.3, 0.9):
        yield _one("product of annotators", f"right {right:g}", _product(right))
    for rate, other in (
        (0.0, 0.0),
        (0.01, 0.0),
        (0.05, 0.0),
        (0.02, 0.02),
        (0.5, 0.4),
        (1.0, 0.95),
    ):
        yield _two("difference of shares", f"{rate:g} - {other:g}", rate, other)


def coverage(case: Case, n: int, repeats: int, seed: int = 0) -> tuple[float, float, float, float]:
    """Shares of intervals that hold the truth, lie above it, below it, and are set by `slack`.

    The first is `nan` where there is no interval.
    """
    rng = np.random.default_rng(seed)
    found = [case.estimate(rng, n) for _ in range(repeats)]
    above = float(np.mean([one.low > case.truth + 1e-9 for one, _ in found]))
    below = float(np.mean([one.high < case.truth - 1e-9 for one, _ in found]))
    held = nan if all(isnan(one.low) for one, _ in found) else 1 - above - below
    return held, above, below, float(np.mean([unseen for _, unseen in found]))


def _one(name: str, at: str, world: World, truth: float | None = None) -> Case:
    if truth is None:
        truth = world(np.random.default_rng(99), _MANY).value()
    return Case(name, at, lambda rng, n: (world(rng, n),), truth)


def _ease(rng: Rng, n: int, rate: float) -> Array:
    """An item's rate of being answered right; alike within an item by .3 (Beta-binomial)."""
    if rate in (0.0, 1.0):
        return np.full(n, rate)
    together = (1 - 0.3) / 0.3
    return rng.beta(rate * together, (1 - rate) * together, size=n)


def _sizes(rng: Rng, n: int) -> Array:
    return rng.choice([1, 2, 3, 4, 4, 4, 4, 8], size=n)


def _share(rate: float) -> World:
    def world(rng: Rng, n: int) -> ItemSums:
        size = _sizes(rng, n)
        right = rng.binomial(size, _ease(rng, n, rate))
        return ItemSums(np.column_stack([right, size]).astype(float), ratio, (0, 1))

    return world


def _score(mean: float) -> World:
    def world(rng: Rng, n: int) -> ItemSums:
        size = _sizes(rng, n)
        item = np.repeat(np.arange(n), size)
        score = rng.beta(8 * (p := _ease(rng, n, mean)[item] * 0.998 + 0.001), 8 * (1 - p))
        sums = np.column_stack([np.bincount(item, score, n), size])
        return ItemSums(sums.astype(float), ratio, (0, 1))

    return world


def _kappa(skill: float, constant: bool = False) -> World:
    """Annotators 0 to 3 answer 1, 3/4, 1/2 and 1/4 of the items, with their own label habits."""
    base = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4], [0.6, 0.2, 0.2]])

    def world(rng: Rng, n: int) -> ItemSums:
        confusion = np.zeros((n, 4, 3, 3))
        known = rng.random(n)  # hard items are hard for all
        for annotator, habits in enumerate(base):
            human = rng.choice(3, p=habits, size=n)
            guess = np.zeros(n, dtype=int) if constant else rng.choice(3, p=habits, size=n)
            said = np.where(known < skill, human, guess)
            answered = rng.random(n) < 1 - annotator / 4
            confusion[np.arange(n), annotator, human, said] = answered
        return ItemSums(confusion.reshape(n, -1), combine, (-1, 1))

    def combine(sums: Array) -> Array:
        return np.asarray(np.nanmean(kappa(sums.reshape(*sums.shape[:-1], 4, 3, 3)), axis=-1))

    return world


def _product(right: float) -> World:
    """Mean over annotators of (right - chance) / (1 - chance) times a share kept; chance is .3."""

    def world(rng: Rng, n: int) -> ItemSums:
        sums = np.zeros((n, 4, 3))
        ease = _ease(rng, n, 0.3 + 0.7 * right)
        for annotator in range(4):
            answered = rng.random(n) < 1 - annotator / 4
            sums[:, annotator, 0] = answered
            sums[:, annotator, 1] = answered & (rng.random(n) < ease)
            sums[:, annotator, 2] = answered & (rng.random(n) < 0.9 - 0.2 * annotator)
        return ItemSums(sums.reshape(n, -1), combine, (-1, 1))

    def combine(sums: Array) -> Array:
        answered, hit, kept = np.moveaxis(sums.reshape(*sums.shape[:-1], 4, 3), -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.nanmean((hit / answered - 0.3) / 0.7 * kept / answered, axis=-1))

    return world


def _two(name: str, at: str, rate: float, other: float) -> Case:
    def worlds(rng: Rng, n: int) -> tuple[ItemSums, ...]:
        size = _sizes(rng, n)
        place = rng.random(n)  # easy for one is easy for the other
        drawn = []
        for p in (rate, other):
            ease = np.quantile(_ease(rng, 4000, p), place)
            right = rng.binomial(size, ease)
            drawn.append(ItemSums(np.column_stack([right, size]).astype(float), ratio, (0, 1)))
        return tuple(drawn)

    return Case(name, at, worlds, rate - other)


def real(corpus: str) -> Iterator[Case]:
    """Every metric on graded mixtures of people and the item's other annotators."""
    from capo_bench.analysis.power import imitator
    from capo_bench.metrics.cells import join
    from capo_bench.scoring.options import Options

    scorer = Options(corpus).scorer()
    for share in (0.0, 0.1, 0.5, 0.95, 1.0):
        mixed = imitator(scorer.corpus, scorer.split, share, seed=5)
        measured = scorer.measure(join(scorer.corpus, scorer.split, mixed), encoded=False)
        for name, found in measured.items():
            if isinstance(found, ItemSums) and name != "explanation_consistency":
                yield Case(name, f"people {share:g}", _population(found), found.value())


def _population(all_items: ItemSums) -> Callable[[Rng, int], tuple[ItemSums, ...]]:
    def worlds(rng: Rng, n: int) -> tuple[ItemSums, ...]:
        chosen = rng.integers(len(all_items.sums), size=len(all_items.sums))
        return (replace(all_items, sums=all_items.sums[chosen]),)

    return worlds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", help="a real corpus instead of made worlds")
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--only", nargs="+", metavar="METRIC", help="some of the metrics")
    args = parser.parse_args()
    sizes = (0,) if args.corpus else (50, 100)
    print("| metric | value at | items | truth | coverage | above | below | rule of three |")
    print("|---|---|---|---|---|---|---|---|")
    for row, case in enumerate(real(args.corpus) if args.corpus else cases()):
        if args.only and case.name not in args.only:
            continue
        for n in sizes:
            held, above, below, unseen = coverage(case, n, args.repeats, row if args.corpus else 0)
            if isnan(held):
                continue  # a constant without bounds, of which there is no interval
            print(
                f"| {case.name} | {case.at} | {n or 'all'} | {case.truth:.3f} | {held:.3f} "
                f"| {above:.3f} | {below:.3f} | {unseen:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
