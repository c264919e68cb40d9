"""Scenes of the corpus `places`: thousands of items from few parts, with combinations held out.

A context tells two aspects of a place and a statement is about one aspect, told or not. The parts
(places, aspects, values, claims) occur in every split, but a place and an aspect meet in one split
only, in contexts as in statements: who answers the test split well has not memorised its pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any

from capo_bench.corpus.model import SplitName
from capo_bench.corpus.synthetic.material import Material, Scene, capitalised, pick, shuffled
from capo_bench.errors import CapoBenchError

_BLOCK: Mapping[SplitName, int] = {"train": 16, "validation": 3, "test": 6}
"""Of every 25 items, and of the 25 aspects of every place, so many belong to each split."""
_ITEMS_A_PAIR = 100  # of the more than 500 that two contexts' aspects and their order allow
_TOLD = (6, 1, 1)  # weights: the first value is told, the second is, neither
_CLAIMED = (2, 2, 1)  # weights of an aspect's claims: the third is neutral whatever is told

Pair = tuple[str, int, SplitName]
"""A place, an aspect and the split in which the two meet."""


def scenes(material: Material, count: int, seed: int) -> tuple[Scene, ...]:
    """The items with what belongs to them, split; no two have the same texts.

    Every 25 items on end hold 16 training, 3 validation and 6 test items. A smaller corpus is the
    beginning of a larger one of the same seed.

    Raises:
        CapoBenchError: If there are too few items for all splits, or more than can be made.
    """
    rng = Random(f"{material.name}/{seed}/items")
    pairs = _pairs(material, rng)
    least, most = sum(_BLOCK.values()), _ITEMS_A_PAIR * len(pairs)
    if not least <= count <= most:
        raise CapoBenchError(f"{material.name}: {count} items, expected {least} to {most}")
    made: dict[tuple[str, ...], Scene] = {}
    while len(made) < count:
        pair = pairs[len(made) % len(pairs)]
        scene = _scene(material, f"{material.name}-{len(made) + 1:04d}", pair, pairs, rng)
        made.setdefault(tuple(scene.text.values()), scene)
    return tuple(made.values())


def _pairs(material: Material, rng: Random) -> list[Pair]:
    """Every place with every aspect once, each 25 on end shared out as `_BLOCK` says.

    The aspects are written around a circle which every place enters one step later, so that each
    aspect is met in every split.
    """
    places = shuffled(rng, list(material.tables["place"]))
    aspects = shuffled(rng, range(len(material.tables["aspect"])))
    ring = [split for split, share in _BLOCK.items() for _ in range(share)]
    by_split: dict[SplitName, list[Pair]] = {split: [] for split in _BLOCK}
    for turn, place in enumerate(places):
        for step, aspect in enumerate(aspects):
            split = ring[(step + turn) % len(ring)]
            by_split[split].append((place, aspect, split))
    queues = {split: iter(shuffled(rng, found)) for split, found in by_split.items()}
    woven: list[Pair] = []
    for _ in places:
        block = [pair for split, n in _BLOCK.items() for pair in islice(queues[split], n)]
        woven += shuffled(rng, block)
    return woven


def _scene(
    material: Material, identifier: str, pair: Pair, pairs: Sequence[Pair], rng: Random
) -> Scene:
    place, aspect, split = pair
    tables = material.tables
    others = [a for p, a, s in pairs if (p, s) == (place, split) and a != aspect]
    asked = tables["aspect"][aspect]
    claim = asked["claim"][pick(rng, _CLAIMED)]
    told = pick(rng, _TOLD)
    fillers = [_drawn(tables["aspect"][a]["value"], rng) for a in shuffled(rng, others)]
    if told < len(asked["value"]):
        kind, shown = claim["kind"][told], [asked["value"][told], fillers[0]]
    else:
        kind, shown = "N", fillers[:2]
    ground = shown[0]
    first, second = (
        value["says"].replace("at {it}", "there").format(it="it") for value in shuffled(rng, shown)
    )
    context = _drawn(tables["contexts"], rng).format(name=tables["place"][place], a=first, b=second)
    words = {key: claim[key].format(it=place) for key in ("text", "key", "gap", "point")}
    statement = words.pop("text")
    return Scene(
        id=identifier,
        text={"context": context, "statement": capitalised(statement) + "."},
        words={
            **words,
            **{"statement": statement, "claim": statement, "span": ground["span"]},
            "fact": ground["says"].format(it=place),
        },
        log_odds=tables["kinds"][kind],
        meaning=0.0,
        second=tables["rates"]["second"][kind],
        idk=tables["rates"]["idk"][kind],
        split=split,
    )


def _drawn(values: Sequence[Any], rng: Random) -> Any:
    return values[pick(rng, [1] * len(values))]
