"""What metrics read: instruments fitted to a corpus, and one set of responses as they see it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from capo_bench.corpus.evaluable import is_crowd
from capo_bench.corpus.model import Corpus
from capo_bench.metrics.argument import ArgumentClassifier, fit_arguments
from capo_bench.metrics.attribution import Attributor, fit_attributor
from capo_bench.metrics.bertscore import BATCH_TOKENS_OF_CROWD, Encoder, load_encoder
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.consistency import StyleBins, fit_style_bins
from capo_bench.metrics.guards import Guards, fit_guards
from capo_bench.metrics.indistinguishability import (
    Discrimination,
    Discriminator,
    discriminate,
    fit_discriminator,
)
from capo_bench.stats.resampling import Array, Undefined


class Instruments:
    """What depends on the corpus alone, each fitted when it is first asked for.

    Args:
        corpus: The corpus; classifiers and style features are fitted to its train split.
        split: The split that is predicted.
        encoder: BERTScore's encoder, as `load_encoder` takes it.
    """

    def __init__(self, corpus: Corpus, split: str, encoder: str) -> None:
        self.corpus = corpus
        self.split = split
        self._encoder = encoder

    @property
    def encoder(self) -> Encoder:
        """BERTScore's encoder, loaded."""
        encoder = load_encoder(self._encoder)
        crowd = is_crowd(self.corpus)
        return replace(encoder, batch_tokens=BATCH_TOKENS_OF_CROWD) if crowd else encoder

    @cached_property
    def attributor(self) -> Attributor | Undefined:
        """Who wrote a text, by its normalised form."""
        return fit_attributor(self.corpus, normalised=True)

    @cached_property
    def raw_attributor(self) -> Attributor | Undefined:
        """Who wrote a text, case and punctuation included."""
        return fit_attributor(self.corpus, normalised=False)

    @cached_property
    def guards(self) -> Guards | Undefined:
        """The annotators' own behaviour, against which tricks are held."""
        return fit_guards(self.corpus)

    @cached_property
    def discriminator(self) -> Discriminator:
        """What is known of the annotators before a classifier is fitted to responses."""
        return fit_discriminator(self.corpus, self.split)

    @cached_property
    def arguments(self) -> ArgumentClassifier | Undefined:
        """Which label an explanation argues for."""
        return fit_arguments(self.corpus)

    @cached_property
    def style_bins(self) -> StyleBins:
        """The annotators' style of writing."""
        return fit_style_bins(self.corpus)


@dataclass(frozen=True)
class Named:
    """Whose the explanations are taken to be.

    Attributes:
        annotators: Indices in `corpus.annotator_ids` of those that attribution can name.
        log_probabilities: Of each of them for each cell, shape (cells, annotators); 0 where the
            target is none of them.
    """

    annotators: NDArray[np.int64]
    log_probabilities: Array


@dataclass(frozen=True)
class Reading:
    """One set of responses as the instruments see it; what several metrics need is taken once.

    Attributes:
        cells: The evaluated cells.
        instruments: Those of the cells' corpus and split.
    """

    cells: Cells
    instruments: Instruments

    @cached_property
    def explained(self) -> Reading:
        """The cells whose annotator gave an explanation, to which one can be compared."""
        cells = self.cells.explained
        return self if cells is self.cells else Reading(cells, self.instruments)

    @cached_property
    def named(self) -> Named | Undefined:
        """Who wrote the normalised texts."""
        return self._named(self.instruments.attributor)

    @cached_property
    def named_raw(self) -> Named | Undefined:
        """Who wrote the texts as they are."""
        return self._named(self.instruments.raw_attributor)

    @cached_property
    def discrimination(self) -> Discrimination | Undefined:
        """What a classifier that is fitted to the responses makes of them."""
        return discriminate(self.cells, self.instruments.discriminator)

    def _named(self, attributor: Attributor | Undefined) -> Named | Undefined:
        if isinstance(attributor, Undefined):
            return attributor
        texts, inputs = self.cells.explanations, self.cells.inputs
        # A response for somebody who cannot be named counts nowhere, and need not be read.
        rows = np.flatnonzero(np.isin(self.cells.annotator, attributor.annotators))
        scores = np.zeros((len(self.cells), len(attributor.annotators)))
        scores[rows] = attributor.log_probabilities(
            [texts[row] for row in rows], [inputs[row] for row in rows]
        )
        return Named(attributor.annotators, scores)
