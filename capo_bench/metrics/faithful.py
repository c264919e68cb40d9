"""Faithful rate, the headline: right labels, in a voice that cannot be told from the annotator's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from capo_bench.corpus.model import cell_labels
from capo_bench.metrics.cells import Cells
from capo_bench.metrics.guards import Flags
from capo_bench.metrics.indistinguishability import Discrimination
from capo_bench.metrics.labels import labels_agree
from capo_bench.stats.resampling import Array, Measured, Undefined, linearised


def faithful_rate(
    cells: Cells, attributed: Flags | Undefined, told: Discrimination | Undefined
) -> Measured:
    """The headline: label skill of the responses in the target's voice, times indistinguishability.

    A response is *right* if its label agrees with the target's own and its explanation is attributed
    to the target. For annotator a with n_a responses let R_a be the right ones, C_a those that would
    be right if the labels were dealt at random to a's responses, O_a those of a's own labels that
    would agree with a's own labels dealt at random, and I_a the share of `indistinguishability`. Then

        faithful_rate = sum_a (R_a - C_a) I_a / sum_a (n_a - O_a)

    The chance correction is Cohen's, taken inside the joint: whoever answers as the annotator usually
    does, in whatever voice, is at 0, and so is whoever answers another item. I_a is fitted to these
    very responses, so that there is no fixed classifier, threshold or list to search against. Both
    are taken annotator by annotator: what is gained with one makes up for nothing with another.

    1: every answer is right and cannot be told from the annotator's own. People reach the attribution
    classifier's accuracy. 0: no better than chance, or always told apart; by chance below 0. Where a
    corpus has no explanations there is no voice, and the headline is `label_skill`.

    Args:
        cells: The evaluated cells; those whose annotator attribution cannot name or who gave no
            explanation are left out.
        attributed: Whether each response alone is attributed to its target, shape (cells,).
        told: What the discriminator found.
    """
    if cells.corpus.task.explanations == "none":
        return label_skill(cells)
    if isinstance(attributed, Undefined):
        return attributed
    if isinstance(told, Undefined):
        return told
    skill = _skill(cells, told.counted, attributed)
    if skill.reachable <= 0:
        return Undefined("the annotators always give the same label, so that none has to be told")
    share = np.nan_to_num(told.shares)
    value = float(skill.beyond @ share) / skill.reachable
    beyond = _by_item(cells, skill.beyond_change * share[cells.annotator])
    beyond += told.influence(skill.beyond)
    found = linearised(value, _ratio_change(skill, value, beyond, cells))
    return replace(found, floor=0.0)  # below it by chance alone


def label_skill(cells: Cells) -> Measured:
    """Agreement with the annotators' own labels beyond chance, over all of them together.

    sum_a (R_a - C_a) / sum_a (n_a - O_a) as in `faithful_rate`, of the labels alone: Cohen's kappa
    with the annotator's own labels dealt at random for the second rater, pooled over annotators, each
    weighing as much as there is to be told of them. 1: as the annotators; 0: no better than chance.
    """
    everyone = np.ones(len(cells), dtype=np.bool_)
    skill = _skill(cells, everyone, everyone)
    if skill.reachable <= 0:
        return Undefined("the annotators always give the same label, so that none has to be told")
    value = float(skill.beyond.sum()) / skill.reachable
    beyond = _by_item(cells, skill.beyond_change)
    return linearised(value, _ratio_change(skill, value, beyond, cells))


def indistinguishability(cells: Cells, told: Discrimination | Undefined) -> Measured:
    """Mean over responses of their annotator's share min(1, (1 - AUC) / AUC); see `discriminate`.

    How often a response passes for the annotator's own, for each time that it is told. 0: a
    classifier that is fitted to the responses always tells them from the annotators' own; 1: it
    cannot.
    """
    if isinstance(told, Undefined):
        return told
    weights = np.bincount(
        cells.annotator[told.counted], minlength=len(cells.corpus.annotator_ids)
    ).astype(np.float64)
    share = np.nan_to_num(told.shares)
    value = float(weights @ share) / weights.sum()
    own = np.where(told.counted, share[cells.annotator] - value, 0)
    lost = _by_item(cells, told.counted)
    change = told.influence(weights) - _by_item(cells, own)
    return linearised(value, change / (weights.sum() - lost))


@dataclass(frozen=True)
class _Skill:
    """Right answers beyond chance, and how they change without each cell.

    Attributes:
        beyond: R_a - C_a, shape (annotators,).
        beyond_change: By how much it changes for the cell's annotator without the cell, (cells,).
        reachable: sum_a (n_a - O_a).
        reachable_change: By how much it changes without the cell, shape (cells,).
    """

    beyond: Array
    beyond_change: Array
    reachable: float
    reachable_change: Array


def _skill(cells: Cells, counted: Flags, voiced: Flags) -> _Skill:
    space = cells.corpus.task.labels.labels
    predicted, of_predicted = _kinds([parsed.labels for parsed in cells.parsed])
    human, of_human = _kinds(
        [tuple(sorted(cell_labels(own), key=space.index)) for own in cells.references]
    )
    agrees = _subset(predicted, human)
    n, voice = counted.astype(np.float64), (counted & voiced).astype(np.float64)
    right = voice * labels_agree(cells)
    annotators = len(cells.corpus.annotator_ids)
    # Per annotator: responses, right ones, voiced ones by what they predict, cells by their labels.
    per = np.hstack(
        [
            n[:, None],
            right[:, None],
            voice[:, None] * np.eye(len(predicted))[of_predicted],
            n[:, None] * np.eye(len(human))[of_human],
        ]
    )
    total = np.zeros((annotators, per.shape[1]))
    np.add.at(total, cells.annotator, per)

    def beyond_and_reachable(sums: Array) -> tuple[Array, Array]:
        size, hits = sums[:, 0], sums[:, 1]
        said, given = sums[:, 2 : 2 + len(predicted)], sums[:, 2 + len(predicted) :]
        known = np.maximum(size, 1)
        chance = ((said @ agrees) * given).sum(axis=1) / known
        own = ((given @ _subset(human, human)) * given).sum(axis=1) / known
        return hits - chance, size - own

    beyond, reachable = beyond_and_reachable(total)
    without = beyond_and_reachable(total[cells.annotator] - per)
    return _Skill(
        beyond,
        without[0] - beyond[cells.annotator],
        float(reachable.sum()),
        without[1] - reachable[cells.annotator],
    )


def _ratio_change(skill: _Skill, value: float, beyond: Array, cells: Cells) -> Array:
    reachable = _by_item(cells, skill.reachable_change)
    return np.asarray(
        (value * skill.reachable + beyond) / np.maximum(skill.reachable + reachable, 1e-9) - value
    )


def _by_item(cells: Cells, values: ArrayLike) -> Array:
    weights = np.asarray(values, dtype=np.float64)
    return np.asarray(np.bincount(cells.item, weights, len(cells.items)), dtype=np.float64)


def _kinds(sets: list[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], NDArray[np.int64]]:
    """The distinct label sets, and which of them each cell has."""
    index = {kind: at for at, kind in enumerate(dict.fromkeys(sets))}
    return list(index), np.array([index[kind] for kind in sets], dtype=np.int64)


def _subset(answers: list[tuple[str, ...]], truths: list[tuple[str, ...]]) -> Array:
    """Whether an answer agrees with a truth: it says something, and nothing beyond it."""
    return np.array(
        [[bool(answer) and set(answer) <= set(truth) for truth in truths] for answer in answers],
        dtype=np.float64,
    ).reshape(len(answers), len(truths))
