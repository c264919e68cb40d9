"""How small a difference between two systems a corpus can tell, metric by metric, before any is run.

What decides it is how much the paired difference of two comparable systems varies from item to
item. It is estimated on the real test items with *imitators*: an imitator answers as the annotator in
a random part of the cells, and as another annotator of the item in the rest, so that its answers
are people's own and its quality is set. Two imitators of equal quality, drawn independently, differ
by chance alone. They share no weights, so that two checkpoints of one model, whose answers go
together, can be told apart somewhat better than the table says; systems at a metric's floor vary
less, and have nothing to tell.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan, sqrt

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from capo_bench.corpus.model import Corpus
from capo_bench.metrics.cells import Prediction, join
from capo_bench.metrics.registry import Metric, metrics_of
from capo_bench.scoring.predictions import human_predictions
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.comparing import minimum_detectable_effect
from capo_bench.stats.noninferiority import ALPHA, detectable_drop
from capo_bench.stats.resampling import LEVEL, Bounds, ItemSums, Measured, interval, resample

PEOPLE = 0.5
_PAIRS = 6


@dataclass(frozen=True)
class Power:
    """What a metric can tell.

    Attributes:
        metric: The metric.
        value: Of the imitators, mean over all drawn.
        spread: Standard deviation of the paired difference from item to item: its standard error
            over the items times the square root of their number, root mean square over the pairs;
            `nan` where the metric is undefined.
        noise: Standard error of the difference that no number of items makes smaller.
        bounds: The smallest and the largest value that the metric can have.
    """

    metric: Metric
    value: float
    spread: float
    noise: float
    bounds: Bounds

    def stderr(self, items: int) -> float:
        """Standard error of a difference over so many items."""
        return sqrt(self.spread**2 / items + self.noise**2)

    def told(self, items: int) -> float:
        """The smallest true difference that a two-sided test at .05 finds with power .8."""
        least = self._missed(items, (1 - LEVEL) / 2)
        return max(minimum_detectable_effect(self.stderr(items), items), least)

    def margin(self, items: int) -> float:
        """The smallest drop that the gate can rule out with power .8 where there is none.

        For one metric by itself, one-sided at .05.
        """
        least = self._missed(items, ALPHA)
        return max(detectable_drop(self.stderr(items), items - 1, items), least)

    def _missed(self, items: int, alpha: float) -> float:
        """What so many items may have missed of a metric that lies at a bound, else 0."""
        low, high = self.bounds
        reach = (1 - alpha ** (1 / items)) * (high - low)
        at_bound = isfinite(reach) and not low + reach < self.value < high - reach
        return reach if at_bound else 0.0


def power(scorer: Scorer, *, people: float = PEOPLE, encoded: bool = False) -> list[Power]:
    """The power of every metric of a corpus on the split of a scorer.

    The imitators' six pairs give the spread to about a tenth; over other numbers of items it is
    taken to stay, which holds for means and nearly so for the rest.

    Args:
        scorer: The scorer of the corpus and split.
        people: The part of the cells that imitators answer as the annotator would.
        encoded: Whether to take the metrics that need BERTScore's encoder, too.
    """
    cells = [
        join(scorer.corpus, scorer.split, imitator(scorer.corpus, scorer.split, people, seed))
        for seed in range(2 * _PAIRS)
    ]
    measured = [scorer.measure(one, encoded=encoded) for one in cells]
    return [
        _power(metric, [one[metric.name] for one in measured])
        for metric in metrics_of(scorer.corpus)
        if metric.name in measured[0]
    ]


def imitator(corpus: Corpus, split: str, people: float, seed: int) -> list[Prediction]:
    """Answers of which a part is the annotator's own and the rest another annotator's of the item.

    Args:
        corpus: The corpus.
        split: The split.
        people: The part that is the annotator's own, 0..1. Where nobody else answered the item, the
            rest is empty.
        seed: Of the draw.
    """
    human = human_predictions(corpus, split)
    said: dict[str, list[Prediction]] = defaultdict(list)
    for one in human:
        said[one.item].append(one)
    rng = random.Random(seed)
    answers = []
    for own in human:
        others = [one.response for one in said[own.item] if one.annotator != own.annotator]
        other = rng.choice(others) if others else ""
        answers.append(own if rng.random() < people else replace(own, response=other))
    return answers


def _power(metric: Metric, drawn: Sequence[Measured]) -> Power:
    runs = [resample(one) for one in drawn if isinstance(one, ItemSums)]
    if len(runs) < len(drawn):
        return Power(metric, nan, nan, nan, (-inf, inf))
    apart = [one.minus(other) for one, other in zip(runs[::2], runs[1::2], strict=True)]
    found = [interval(replace(one, noise=0.0, slack=(0.0, 0.0))).stderr for one in apart]
    defined = [error for error in found if isfinite(error)]
    n = len(apart[0].without)
    return Power(
        metric,
        float(np.mean([run.value for run in runs])),
        sqrt(n * float(np.mean(np.square(defined)))) if defined else nan,
        sqrt(float(np.mean([one.noise**2 for one in apart]))),
        runs[0].bounds,
    )


def power_table(
    found: Sequence[Power], scorer: Scorer, items: Sequence[int], people: float
) -> Table:
    """The differences that are told, and the margin of the gate at the split's own size."""
    n = len(scorer.corpus.split(scorer.split))
    table = Table(
        title=f"Differences told with power .8: {scorer.corpus.name}, {scorer.split}",
        caption=f"Two-sided at .05, of two independent imitators that have {people:g} of the cells "
        f"right. margin: the drop that the gate can rule out with power .8 on the {n} items of the "
        "split, one-sided, for one gated metric.",
        box=SIMPLE_HEAD,
        show_edge=False,
    )
    table.add_column("metric", no_wrap=True)
    for heading in ("value", *(f"{size} items" for size in items), "margin"):
        table.add_column(heading, justify="right")
    for one in found:
        if isfinite(one.spread):
            numbers = [one.value, *map(one.told, items), one.margin(n)]
            table.add_row(one.metric.name, *(f"{number:.3f}" for number in numbers))
        else:
            table.add_row(one.metric.name, *["not defined"], *[""] * (len(items) + 1))
    return table
