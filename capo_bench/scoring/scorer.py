"""Scores of one set of predictions: every metric, once, with its uncertainty.

A `Scorer` holds what depends on the corpus alone (the fitted attributor, the annotators' style,
the references' encodings), so that many sets of predictions share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capo_bench import __version__
from capo_bench.corpus.evaluable import (
    MAX_ASKED,
    MAX_COMPARED,
    MAX_COMPETING,
    MAX_HELD,
    MAX_NAMED_OF_CROWD,
    MAX_READ,
    MAX_RECALLED,
    coverage,
    evaluable,
    is_crowd,
    named,
)
from capo_bench.corpus.model import Corpus
from capo_bench.metrics.bertscore import default_encoder, encoder_signature, load_encoder
from capo_bench.metrics.cells import Cells, Prediction, evaluated_cells, join
from capo_bench.metrics.consistency import StyleContrast, style_contrasts
from capo_bench.metrics.guards import GUARDS, excesses
from capo_bench.metrics.indistinguishability import Discrimination, discriminate
from capo_bench.metrics.instruments import Instruments, Reading
from capo_bench.metrics.labels import labels_agree
from capo_bench.metrics.lexicon import lexicon_of
from capo_bench.metrics.registry import HEADLINE, IDENTITY, INDISTINCT, LABEL, measure, metrics_of
from capo_bench.metrics.text import rouge_l
from capo_bench.render.estimates import estimate_json
from capo_bench.stats.resampling import (
    Estimate,
    Measured,
    Resampled,
    Undefined,
    interval,
    resample,
)

METRICS_VERSION = 3
"""Raised whenever a metric of the same name may come out differently."""


@dataclass(frozen=True)
class Scores:
    """All metrics of one set of predictions.

    Attributes:
        estimates: By metric name, in the order of tables; `Undefined` says why there is no number.
        n_items: Evaluated items.
        n_responses: Evaluated responses, invalid ones among them.
        signature: Exactly what was computed: versions, corpus, split, encoder.
    """

    estimates: dict[str, Estimate | Undefined]
    n_items: int
    n_responses: int
    signature: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain data; an undefined metric has the key `undefined` with the reason."""
        return {
            "signature": self.signature,
            "n_items": self.n_items,
            "n_responses": self.n_responses,
            "metrics": {name: estimate_json(found) for name, found in self.estimates.items()},
        }


NOBODY = -1
"""In `Verdicts.attributed_to`: no annotator stands out, as for an empty explanation."""


@dataclass(frozen=True)
class Verdicts:
    """What the metrics say of each single response; all arrays follow the order of the cells.

    Attributes:
        label_agrees: Whether the label agrees with the annotator's own, shape (cells,).
        named: Indices in `corpus.annotator_ids` of the annotators that attribution can name.
        probabilities: Of each of `named`, on normalised text, shape (cells, named).
        attributed_to: Index in `corpus.annotator_ids` of the most probable annotator, or `NOBODY`.
        relevant: Whether the explanation is closer to its item than to nine in ten others.
        copied: Whether it is taken from the target's training explanations; means nothing where
            `guarded` is false.
        guarded: Whether the target has training explanations enough to tell a copy.
        rouge_l: ROUGE-L against the target's own explanations, 0..1.
        passes: How often it passes for the target's own, as `Discrimination.passes`, 0..2; means
            nothing where `compared` is false.
        compared: Whether the discriminator held it against the target's own explanation.
    """

    label_agrees: NDArray[np.bool_]
    named: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    attributed_to: NDArray[np.int64]
    relevant: NDArray[np.bool_] | Undefined
    copied: NDArray[np.bool_] | Undefined
    guarded: NDArray[np.bool_]
    rouge_l: NDArray[np.float64]
    passes: NDArray[np.float64] | Undefined
    compared: NDArray[np.bool_]


class Scorer:
    """Scores predictions for one split of one corpus.

    Args:
        corpus: The corpus.
        split: The split that is predicted.
        encoder: BERTScore's encoder, as `load_encoder` takes it; default: `default_encoder`'s.
    """

    def __init__(self, corpus: Corpus, split: str = "test", encoder: str | None = None) -> None:
        self.corpus = corpus
        self.split = split
        self.encoder = encoder or default_encoder(corpus.name)
        self.instruments = Instruments(corpus, split, self.encoder)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets one scorer for all that it scores, and fits it itself."""
        return _scorer_here, (self.corpus, self.split, self.encoder)

    def prepare(self) -> None:
        """Loads the encoder, if there is anything to read, so that scoring cannot fail later.

        Raises:
            CapoBenchError: If it cannot be had.
        """
        if self.corpus.task.explanations != "none":
            load_encoder(self.encoder)

    def score(self, predictions: Sequence[Prediction]) -> Scores:
        """All metrics of `metrics_of(corpus)`.

        Raises:
            CapoBenchError: As `capo_bench.metrics.cells.join` does.
        """
        cells = join(self.corpus, self.split, predictions)
        return self.summarise(cells, self.measure(cells))

    def summarise(self, cells: Cells, measured: Mapping[str, Measured]) -> Scores:
        """Values and intervals of what `measure` found for these cells."""
        return Scores(
            estimates={
                metric.name: _estimated(measured[metric.name]) for metric in metrics_of(self.corpus)
            },
            n_items=len(cells.items),
            n_responses=len(cells),
            signature=self.signature,
        )

    def measure(self, cells: Cells, *, encoded: bool = True) -> dict[str, Measured]:
        """Every metric as sums over items, for whoever resamples or compares them.

        Args:
            cells: The evaluated cells.
            encoded: Without it, the metrics that need BERTScore's encoder are left out.
        """
        return measure(Reading(cells, self.instruments), encoded=encoded)

    def axes(self, cells: Cells) -> dict[str, Measured]:
        """The headline and what stands for each of its axes, for whoever scores very many rows."""
        names = (HEADLINE, LABEL, IDENTITY, INDISTINCT)
        return measure(Reading(cells, self.instruments), only=names)

    def verdicts(self, cells: Cells) -> Verdicts:
        """What the metrics say of each single response."""
        attributor, guards = self.instruments.attributor, self.instruments.guards
        named = np.array([], dtype=np.int64)
        probabilities = np.zeros((len(cells), 0))
        attributed_to = np.full(len(cells), NOBODY)
        if not isinstance(attributor, Undefined):
            named = attributor.annotators
            scores = attributor.log_probabilities(cells.explanations, cells.inputs)
            probabilities = np.exp(scores)
            # As in `attributed`: a tie is nobody's.
            alone = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) == 1
            attributed_to = np.where(alone, named[scores.argmax(axis=1)], NOBODY)
        relevant: NDArray[np.bool_] | Undefined
        copied: NDArray[np.bool_] | Undefined
        guarded = np.zeros(len(cells), dtype=np.bool_)
        if isinstance(guards, Undefined):
            relevant = copied = guards
        elif len(self.corpus.split(self.split)) < 2:
            relevant = copied = Undefined("the split has one item, so nothing is off the item")
        else:
            guarded = np.isin(cells.annotator, list(guards.own)) & cells.is_explained
            relevant, excess = excesses(cells, guards)
            usual = [guards.own[a].copied if a in guards.own else 0.0 for a in cells.annotator]
            copied = excess[:, 1] + usual > 0.5  # the excess is 1 or 0 less the annotator's rate
        references = [[response.explanation for response in own] for own in cells.references]
        told: Discrimination | Undefined = Undefined("no evaluated cell has a human explanation")
        if len(cells.explained):
            told = discriminate(cells, self.instruments.discriminator)
        return Verdicts(
            label_agrees=labels_agree(cells),
            named=named,
            probabilities=probabilities,
            attributed_to=attributed_to,
            relevant=relevant,
            copied=copied,
            guarded=guarded,
            rouge_l=rouge_l(cells.explanations, references),
            passes=told if isinstance(told, Undefined) else told.passes,
            compared=np.zeros(len(cells), np.bool_)
            if isinstance(told, Undefined)
            else told.counted,
        )

    def excess_by_annotator(self, cells: Cells) -> dict[str, dict[str, float]] | Undefined:
        """What guards find beyond each annotator's own behaviour, as a share of the responses.

        Returns:
            By guard and annotator; -1..1, and what `irrelevance_excess`, `copy_excess` and
            `ngram_excess` sum up where it is above 0. Annotators without guards are left out.
        """
        guards = self.instruments.guards
        if isinstance(guards, Undefined):
            return guards
        if len(self.corpus.split(self.split)) < 2:
            return Undefined("the split has one item, so nothing is off the item")
        cells = cells.explained.known
        _, excess = excesses(cells, guards)
        rows = {a: cells.annotator == a for a in guards.own if (cells.annotator == a).any()}
        return {
            name: {
                self.corpus.annotator_ids[a]: float(excess[own, column].mean())
                for a, own in rows.items()
            }
            for column, name in enumerate(GUARDS)
        }

    def style(self, cells: Cells) -> list[StyleContrast]:
        """Which style features of each annotator the responses have caught; see `style_contrasts`."""
        return style_contrasts(cells, self.instruments.style_bins)

    @property
    def signature(self) -> dict[str, Any]:
        """What the numbers depend on beside the predictions."""
        return {
            "capo_bench": __version__,
            "metrics": METRICS_VERSION,
            "corpus": self.corpus.name,
            "fingerprint": self.corpus.fingerprint,
            "split": self.split,
            "synthetic": self.corpus.synthetic,
            "bertscore": encoder_signature(self.encoder),
            **self._left_out,
        }

    @cached_property
    def _left_out(self) -> dict[str, str]:
        """What share of the split the numbers speak for, and what of its languages is not read."""
        known = named(self.corpus)
        found = {"evaluated": coverage(self.corpus, self.split, evaluable(self.corpus))}
        if known:
            found["headline and identity"] = coverage(self.corpus, self.split, known)
        left_out = {what: str(share) for what, share in found.items() if not share.whole}
        if self.corpus.task.explanations == "optional":
            cells = evaluated_cells(self.corpus, self.split)
            given = sum(any(r.explanation for r in item.cells[a]) for item, a in cells)
            left_out["explained"] = f"{given} of {len(cells)} responses"
        if self.corpus.task.explanations != "none":
            if is_crowd(self.corpus):
                left_out["crowd"] = (
                    f"at most {MAX_ASKED} responses, of whole items, are asked for, first to what "
                    f"the busiest answered; relevance, guards and identity are of "
                    f"{MAX_NAMED_OF_CROWD} annotators, of each of whom {MAX_READ} "
                    f"training explanations are fitted to, {MAX_RECALLED} searched for old words "
                    f"and manner, all for copies, and {MAX_HELD} responses held against their own; "
                    f"{MAX_COMPARED} responses, of whole items, are compared word by word and "
                    f"read for their argument; {MAX_COMPETING} items compete"
                )
            words = lexicon_of(self.corpus)
            if words.unread:
                left_out["function words"] = ", ".join(words.languages)
                left_out["not read"] = words.unread
        return left_out


def _estimated(measured: Measured) -> Estimate | Undefined:
    if isinstance(measured, Undefined):
        return measured
    return conclude(resample(measured))


def conclude(resampled: Resampled) -> Estimate | Undefined:
    """A metric with its uncertainty, from its resampled values."""
    found = interval(resampled)
    # NaN is the sums' way of saying so: nothing occurred that the metric could be taken over.
    if found.value != found.value:
        return Undefined("nothing was observed that it could be computed from")
    return found


_here: dict[tuple[str, str, str], Scorer] = {}


def _scorer_here(corpus: Corpus, split: str, encoder: str) -> Scorer:
    key = corpus.fingerprint, split, encoder
    return _here.setdefault(key, Scorer(corpus, split, encoder))
