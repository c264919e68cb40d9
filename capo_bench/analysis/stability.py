"""How well a corpus's annotators can be told apart by their explanations, and by what.

The first question about any corpus that a model is to imitate: an annotator who writes as the others
do cannot be imitated measurably. Nothing here depends on a model's responses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from capo_bench.corpus.model import Corpus
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.attribution import Attributor, attribution, fit_attributor
from capo_bench.metrics.cells import Cells, join
from capo_bench.metrics.consistency import StyleBins, fit_style_bins
from capo_bench.metrics.style import style_features
from capo_bench.scoring.predictions import human_predictions
from capo_bench.stats.resampling import (
    Array,
    Estimate,
    ItemSums,
    Undefined,
    estimate,
    jackknife,
    sum_by_item,
)

GROUP_SIZES = (1, 2, 3, 5, 10, 20)
VARIANTS: Mapping[str, Mapping[str, bool]] = {
    "raw": {"normalised": False},
    "normalised": {"normalised": True},
    "style only": {"normalised": True, "words": False},
}
"""What the classifier reads: case and punctuation too; words, without those of the item; or nothing
but style features and the rates of function words."""

SHOWN_WEIGHTS = 8
SHOWN_ANNOTATORS = 6
_SHUFFLES = 100
_SEED = 0


@dataclass(frozen=True)
class CurvePoint:
    """Attribution of the human explanations in groups.

    Attributes:
        variant: A key of `VARIANTS`.
        k: Explanations in a group.
        share: Share of groups attributed to their writer.
    """

    variant: str
    k: int
    share: Estimate | Undefined


@dataclass(frozen=True)
class Feature:
    """One style feature and how it differs between the annotators.

    Attributes:
        name: Name of the style feature.
        divergence: Jensen-Shannon divergence of the annotators' distributions in training, each
            weighted equally, in bits: 0 (alike) to log2(annotators).
        chance: Its mean when the explanations of each item change their writers at random. Few
            explanations of an annotator raise both.
        deviations: For each annotator, their mean less the mean of all annotators' means, in standard
            deviations of all explanations.
    """

    name: str
    divergence: Estimate
    chance: float
    deviations: dict[str, float]


@dataclass(frozen=True)
class Weight:
    """What the classifier (normalised) goes by most for one annotator.

    Attributes:
        annotator: Whom it speaks for, or against if the weight is negative.
        kind: `words`, `style feature` or `function word`.
        name: The n-gram (`#` stands for a word of the item), style feature or function word.
        weight: Coefficient times the standard deviation of the feature in training.
    """

    annotator: str
    kind: str
    name: str
    weight: float


@dataclass(frozen=True)
class Analysis:
    """All of it, for one corpus.

    Attributes:
        corpus: Name.
        synthetic: Whether a program wrote it.
        fingerprint: The corpus's fingerprint.
        split: The split whose explanations are attributed.
        chance: Share of groups that guessing attributes; `nan` if nobody can be attributed.
        curve: Attribution by variant and group size.
        annotators: Those with explanations in training and in the split.
        distances: Mean Jensen-Shannon distance over the style features, 0..1, between a row's
            annotator in the split and a column's in training; the diagonal is how far they are from
            themself.
        features: From the most telling style feature to the least.
        weights: By annotator, and by how much they count.
    """

    corpus: str
    synthetic: bool
    fingerprint: str
    split: str
    chance: float
    curve: tuple[CurvePoint, ...]
    annotators: tuple[str, ...]
    distances: tuple[tuple[float, ...], ...]
    features: tuple[Feature, ...]
    weights: tuple[Weight, ...]

    @property
    def title(self) -> str:
        """The corpus's name, marked if it is synthetic."""
        return f"{self.corpus} (synthetic)" if self.synthetic else self.corpus

    def as_json(self) -> dict[str, Any]:
        """Plain data; an undefined share has the key `reason`."""
        return {**asdict(self), "chance": self.chance if math.isfinite(self.chance) else None}


def analyse(corpus: Corpus, split: str = "test") -> Analysis:
    """Analyses the annotators' own explanations.

    Args:
        corpus: The corpus. Classifier and style features are fitted on its train split.
        split: The split whose explanations are attributed and compared with training.

    Raises:
        CapoBenchError: If fewer than two annotators have explanations in both splits, or the split is
            the train split.
    """
    if split == "train":
        raise CapoBenchError("the classifier has seen the train split; analyse another one")
    if corpus.task.explanations == "none":
        raise CapoBenchError(
            f"corpus {corpus.name} has labels alone, so there are no explanations to tell its "
            "annotators by"
        )
    cells = join(corpus, split, human_predictions(corpus, split))
    bins = fit_style_bins(corpus)
    evaluated = {
        annotator: _place(bins, corpus, split, annotator) for annotator in corpus.annotator_ids
    }
    known = [
        index
        for index, annotator in enumerate(corpus.annotator_ids)
        if len(evaluated[annotator]) and np.isfinite(bins.train[index]).all()
    ]
    if len(known) < 2:
        raise CapoBenchError(
            f"corpus {corpus.name}: {len(known)} annotators have explanations both in train and in "
            f"{split}; telling annotators apart takes two"
        )
    fitted = {name: fit_attributor(corpus, **variant) for name, variant in VARIANTS.items()}
    normalised = fitted["normalised"]
    ids = tuple(corpus.annotator_ids[index] for index in known)
    rows = np.stack([evaluated[annotator].mean(axis=0) for annotator in ids])
    distances = jensenshannon(rows[:, None], bins.train[known][None, :], base=2, axis=-1)
    return Analysis(
        corpus=corpus.name,
        synthetic=corpus.synthetic,
        fingerprint=corpus.fingerprint,
        split=split,
        chance=math.nan if isinstance(normalised, Undefined) else 1 / len(normalised.annotators),
        curve=tuple(point for name in VARIANTS for point in _curve(cells, name, fitted[name])),
        annotators=ids,
        distances=tuple(map(tuple, distances.mean(axis=-1).tolist())),
        features=_features(corpus, bins, ids),
        weights=() if isinstance(normalised, Undefined) else _weights(corpus, normalised),
    )


def _curve(cells: Cells, variant: str, fitted: Attributor | Undefined) -> list[CurvePoint]:
    if isinstance(fitted, Undefined):
        return [CurvePoint(variant, 1, fitted)]
    scores = fitted.log_probabilities(cells.explanations, cells.inputs)
    points = []
    for k in GROUP_SIZES:
        measured = attribution(cells, scores, fitted.annotators, k)
        share = (
            measured
            if isinstance(measured, Undefined)
            else estimate(replace(measured, bounds=(0, 1)))
        )
        points.append(CurvePoint(variant, k, share))
    return points


def _place(bins: StyleBins, corpus: Corpus, split: str, annotator: str) -> Array:
    rows = [(r.explanation, i.text) for i, r in corpus.responses(split, annotator) if r.explanation]
    return bins.place([text for text, _ in rows], [source for _, source in rows])


def _features(corpus: Corpus, bins: StyleBins, annotators: tuple[str, ...]) -> tuple[Feature, ...]:
    rows = [
        (position, index, response.explanation, item.text)
        for index, annotator in enumerate(annotators)
        for position, item in enumerate(corpus.split("train"))
        for response in item.cells.get(annotator, ())
        if response.explanation
    ]
    items, writers = (np.array([row[at] for row in rows], dtype=np.int64) for at in (0, 1))
    texts, inputs = [row[2] for row in rows], [row[3] for row in rows]
    placed = bins.place(texts, inputs)
    values = np.array(
        [
            style_features(text, source, bins.lexicon)
            for text, source in zip(texts, inputs, strict=True)
        ]
    )
    n_items, n = len(corpus.split("train")), len(annotators)
    shape = (n, placed.shape[2])
    shuffled = [_histograms(placed, _shuffle(items, writers, seed), n) for seed in range(_SHUFFLES)]
    chance = divergence(np.stack(shuffled).swapaxes(1, 2)).mean(axis=0)
    means = np.stack([values[writers == index].mean(axis=0) for index in range(n)])
    spread = values.std(axis=0)
    deviations = (means - means.mean(axis=0)) / np.where(spread > 0, spread, 1)

    def combine(sums: Array) -> Array:
        return divergence(sums.reshape(*sums.shape[:-1], *shape))

    features = []
    for j, name in enumerate(bins.names):
        one_hot = np.zeros((len(rows), *shape))
        one_hot[np.arange(len(rows)), writers] = placed[:, j]
        measured = ItemSums(sum_by_item(one_hot.reshape(len(rows), -1), items, n_items), combine)
        by_annotator = dict(zip(annotators, deviations[:, j].tolist(), strict=True))
        features.append(Feature(name, jackknife(measured), float(chance[j]), by_annotator))
    return tuple(sorted(features, key=lambda feature: -feature.divergence.value))


def divergence(counts: Array) -> Array:
    """Jensen-Shannon divergence of several histograms, each weighted equally, in bits.

    Lin (1991), https://doi.org/10.1109/18.61115: the entropy of the mean distribution less the mean
    of the entropies.

    Args:
        counts: Shape (..., histograms, bins); a histogram without counts is left out.

    Returns:
        Shape (...).
    """
    total = counts.sum(axis=-1, keepdims=True)
    present = (total > 0).sum(axis=-2)
    p = counts / np.where(total > 0, total, 1)
    own = np.where(total[..., 0] > 0, entropy(np.where(total > 0, p, 1), base=2, axis=-1), 0)
    middle = entropy(p.sum(axis=-2), base=2, axis=-1)
    return np.asarray((middle - own.sum(axis=-1) / present[..., 0]).clip(min=0))


def _histograms(placed: Array, writers: NDArray[np.int64], n: int) -> Array:
    return np.stack([placed[writers == index].sum(axis=0) for index in range(n)])


def _shuffle(items: NDArray[np.int64], writers: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The writers of each item's explanations in random order."""
    noise = np.random.default_rng([_SEED, seed]).random(len(items))
    out = np.empty_like(writers)
    out[np.argsort(items, kind="stable")] = writers[np.lexsort((noise, items))]
    return out


def _weights(corpus: Corpus, attributor: Attributor) -> tuple[Weight, ...]:
    rows = [
        (response.explanation, item.text)
        for index in attributor.annotators
        for item, response in corpus.responses("train", corpus.annotator_ids[index])
        if response.explanation
    ]
    seen = attributor.matrix([text for text, _ in rows], [source for _, source in rows])
    mean = np.asarray(seen.mean(axis=0)).ravel()
    spread = np.sqrt(np.asarray(seen.multiply(seen).mean(axis=0)).ravel() - mean**2)
    columns = attributor.columns
    # Character n-grams overlap with words and with each other; none of them is worth reading.
    readable = np.array([kind != "characters" for kind, _ in columns])
    weights = []
    for index, coefficients in zip(attributor.annotators, attributor.coefficients, strict=True):
        effect = np.where(readable, coefficients * spread, 0)
        for column in np.argsort(-np.abs(effect), kind="stable")[:SHOWN_WEIGHTS]:
            kind, name = columns[column]
            annotator = corpus.annotator_ids[index]
            weights.append(Weight(annotator, kind, name, float(effect[column])))
    return tuple(weights)


def tables(analysis: Analysis) -> list[Table]:
    """The analysis for a terminal: attribution over k, distances, features, weights."""
    return [
        _curve_table(analysis),
        *([_distance_table(analysis)] if len(analysis.annotators) <= SHOWN_ANNOTATORS else []),
        _feature_table(analysis),
        *([_weight_table(analysis)] if len(analysis.annotators) <= SHOWN_ANNOTATORS else []),
    ]


def _curve_table(analysis: Analysis) -> Table:
    rows: dict[int, dict[str, Estimate]] = {}
    missing: dict[str, int] = {}
    for point in analysis.curve:
        if isinstance(point.share, Undefined):
            missing.setdefault(point.share.reason, point.k)
        else:
            rows.setdefault(point.k, {})[point.variant] = point.share
    undefined = "".join(f"\nNot defined from k = {k}: {why}." for why, k in missing.items())
    guessing = f"Guessing: {analysis.chance:.3f}. " if math.isfinite(analysis.chance) else ""
    table = Table(
        title=f"{analysis.title}, {analysis.split}: groups of k human explanations attributed to "
        "their writer",
        title_justify="left",
        box=SIMPLE_HEAD,
        caption=f"95 % intervals, clustered on the item. {guessing}"
        f"Fingerprint {analysis.fingerprint}.{undefined}",
        caption_justify="left",
        min_width=84,
    )
    table.add_column("k", justify="right")
    for variant in VARIANTS:
        table.add_column(variant, justify="right")
    for k, shares in rows.items():
        table.add_row(str(k), *(_share(shares.get(variant)) for variant in VARIANTS))
    return table


def _share(share: Estimate | None) -> str:
    return f"{share.value:.3f} ({share.low:.3f} .. {share.high:.3f})" if share else "-"


def _distance_table(analysis: Analysis) -> Table:
    table = Table(
        title=f"Distance of style: {analysis.split} explanations (rows) from training (columns)",
        title_justify="left",
        box=SIMPLE_HEAD,
        min_width=72,
    )
    for heading in ("", *analysis.annotators):
        table.add_column(heading, justify="right")
    for annotator, row in zip(analysis.annotators, analysis.distances, strict=True):
        nearest = min(row)
        shown = [Text(f"{d:.3f}", "bold" if d == nearest else "") for d in row]
        table.add_row(annotator, *shown)
    return table


def _feature_table(analysis: Analysis) -> Table:
    many = len(analysis.annotators)
    more = "" if many <= SHOWN_ANNOTATORS else f". --json has distances and weights of all {many}"
    table = Table(
        title="Style features by what they tell of the writer",
        title_justify="left",
        box=SIMPLE_HEAD,
        caption="Jensen-Shannon divergence between the annotators in training, in bits; jackknife "
        f"over items. Chance: with each item's explanations dealt out at random{more}",
        caption_justify="left",
    )
    table.add_column("style feature")
    for heading in ("bits", "95 % interval", "chance", "most", "least"):
        table.add_column(heading, justify="right")
    for feature in analysis.features:
        found = feature.divergence
        extremes = [pick(feature.deviations.items(), key=_second) for pick in (max, min)]
        table.add_row(
            feature.name,
            f"{found.value:.3f}",
            f"{found.low:.3f} .. {found.high:.3f}",
            f"{feature.chance:.3f}",
            *(f"{annotator} {value:+.2f}" for annotator, value in extremes),
        )
    return table


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def _weight_table(analysis: Analysis) -> Table:
    table = Table(
        title="What the classifier goes by, for and against each annotator",
        title_justify="left",
        box=SIMPLE_HEAD,
        caption="# stands for a word of the item",
        caption_justify="left",
    )
    by_annotator: dict[str, list[Weight]] = {}
    for weight in analysis.weights:
        by_annotator.setdefault(weight.annotator, []).append(weight)
    for annotator in by_annotator:
        table.add_column(annotator)
    for row in zip(*by_annotator.values(), strict=True):
        table.add_row(*(f"{weight.weight:+.2f} {_quoted(weight)}" for weight in row))
    return table


def _quoted(weight: Weight) -> str:
    return weight.name if weight.kind == "style feature" else f"“{weight.name}”"
