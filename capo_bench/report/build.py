"""What a report says of one run: its scores between floor and ceiling, and every single response.

This gathers; `capo_bench.report.page` writes it down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from capo_bench.errors import CapoBenchError
from capo_bench.metrics.cells import Cells, Prediction, join
from capo_bench.metrics.consistency import StyleContrast
from capo_bench.metrics.registry import HEADLINE, Metric, metric_named, metrics_of
from capo_bench.scoring.cache import Measurements, measured
from capo_bench.scoring.controls import CEILINGS, HUMAN, control_predictions
from capo_bench.scoring.scorer import Scorer, Scores, Verdicts
from capo_bench.stats.resampling import Estimate, Undefined

Control = tuple[str, Sequence[Prediction]]
Controls = Sequence[Control]
Level = Literal["faithful", "partly", "unproven", "unfaithful", "undefined"]


@dataclass(frozen=True)
class ReferenceRow:
    """A control row, or the humans, on the items that the run answers.

    Attributes:
        name: As in `capo_bench.scoring.controls.control_predictions`.
        scores: All metrics.
        lead: `faithful_rate` of the run minus this row's, paired by item.
    """

    name: str
    scores: Scores
    lead: Estimate | Undefined


@dataclass(frozen=True)
class Finding:
    """The answer to `is the run faithful?`.

    Attributes:
        level: `faithful` (above every control and not told apart from the humans), `partly` (above
            every control, below the humans), `unproven` (not told apart from the best control),
            `unfaithful` (below it) or `undefined`.
        title: The same in a few words.
        reason: The comparison it rests on, in a sentence.
    """

    level: Level
    title: str
    reason: str


@dataclass(frozen=True)
class Report:
    """Everything that a report shows.

    Attributes:
        name: What the run is called.
        cells: The evaluated cells.
        raw: The model's text for each cell, as it came.
        metrics: What was computed, in the order of tables.
        scores: The run's.
        references: `human` and the control rows, or why there are none.
        verdicts: What the metrics say of each response.
        style: Which style features of each annotator the model has caught.
    """

    name: str
    cells: Cells
    raw: tuple[str, ...]
    metrics: tuple[Metric, ...]
    scores: Scores
    references: tuple[ReferenceRow, ...] | Undefined
    verdicts: Verdicts
    style: tuple[StyleContrast, ...]

    @property
    def controls(self) -> tuple[ReferenceRow, ...]:
        """The control rows without the humans."""
        rows = () if isinstance(self.references, Undefined) else self.references
        return tuple(row for row in rows if row.name not in CEILINGS)

    @property
    def human(self) -> ReferenceRow | None:
        """The ceiling."""
        rows = () if isinstance(self.references, Undefined) else self.references
        return next((row for row in rows if row.name == HUMAN), None)

    def best_control(self, metric: Metric) -> tuple[ReferenceRow, Estimate] | None:
        """The control row that comes out best at a metric, the first of equals; the floor."""
        found = [
            (row, value)
            for row in self.controls
            if isinstance(value := row.scores.estimates[metric.name], Estimate)
        ]
        sign = 1 if metric.higher_is_better else -1
        return max(found, key=lambda pair: sign * pair[1].value, default=None)

    @property
    def finding(self) -> Finding:
        """Where the run stands between floor and ceiling."""
        return judge(self._compared())

    def _compared(self) -> tuple[str, Estimate, Estimate] | Undefined:
        """The best control at the headline, and the run's lead over it and over the humans."""
        headline = self.scores.estimates[HEADLINE]
        for needed in (headline, self.references):
            if isinstance(needed, Undefined):
                return needed
        best, human = self.best_control(metric_named(HEADLINE)), self.human
        if best is None or human is None:
            return Undefined("no control row has a faithful rate")
        floor, ceiling = best[0].lead, human.lead
        if isinstance(floor, Undefined) or isinstance(ceiling, Undefined):
            return Undefined("the comparison with controls and humans is not defined")
        if not (isfinite(floor.low) and isfinite(ceiling.low)):
            return Undefined("there is no interval; it takes two items or more")
        return best[0].name, floor, ceiling


def judge(compared: tuple[str, Estimate, Estimate] | Undefined) -> Finding:
    """Where a run stands between floor and ceiling.

    Args:
        compared: Name of the best control, and the run's lead in `faithful_rate` over it and over the
            humans; or why they cannot be compared.
    """
    if isinstance(compared, Undefined):
        return Finding("undefined", "No verdict", f"Not defined, because {compared.reason}.")
    name, floor, ceiling = compared
    reason = f"Its faithful rate is {_apart(floor)} the best control, {name}, and "
    reason += f"{_apart(ceiling)} the annotators' own."
    if floor.high < 0:
        return Finding("unfaithful", "Not faithful: an impostor does better", reason)
    if floor.low <= 0:
        return Finding("unproven", "Not shown to be faithful: an impostor does as well", reason)
    if ceiling.high < 0:
        title = "Partly faithful: above every impostor, below the annotators"
        return Finding("partly", title, reason)
    title = "Faithful: not told apart from the annotators themselves"
    return Finding("faithful", title, reason)


def build(
    scorer: Scorer,
    predictions: Sequence[Prediction],
    name: str,
    track: Callable[[Controls], Iterable[Control]] = iter,
) -> Report:
    """Scores a run, the humans and the controls on the same items.

    Where the corpus allows no control rows, the report says why and stands without them.

    Args:
        scorer: The scorer of the run's corpus and split.
        predictions: The run.
        name: What the run is called.
        track: Wraps the rows that are about to be scored, to show progress.

    Raises:
        CapoBenchError: As `capo_bench.metrics.cells.join` does.
    """
    corpus = scorer.corpus
    cells = join(corpus, scorer.split, predictions)
    (found,) = measured(scorer, (predictions,))
    texts = {(p.item, p.annotator): p.response for p in predictions}
    references: tuple[ReferenceRow, ...] | Undefined
    try:
        controls = control_predictions(corpus, scorer.split)
    except CapoBenchError as error:
        references = Undefined(f"there are no control rows: {error}")
    else:
        references = _references(scorer, cells, controls, found, track)
    return Report(
        name=name,
        cells=cells,
        raw=tuple(
            texts[cells.items[item].id, corpus.annotator_ids[annotator]]
            for item, annotator in zip(cells.item, cells.annotator, strict=True)
        ),
        metrics=metrics_of(corpus),
        scores=found.scores,
        references=references,
        verdicts=scorer.verdicts(cells),
        style=tuple(scorer.style(cells)),
    )


def _references(
    scorer: Scorer,
    cells: Cells,
    controls: Mapping[str, Sequence[Prediction]],
    run: Measurements,
    track: Callable[[Controls], Iterable[Control]],
) -> tuple[ReferenceRow, ...]:
    answered = {item.id for item in cells.items}
    rows = []
    for name, row in track(list(controls.items())):
        (found,) = measured(scorer, ([p for p in row if p.item in answered],))
        rows.append(ReferenceRow(name, found.scores, run.minus(found, HEADLINE)))
    return tuple(rows)


def _apart(found: Estimate) -> str:
    """A difference in words, with its interval."""
    low, high = found.low, found.high
    if found.value < 0:
        low, high = -high, -low
    interval = f"{low:.3f} to {high:.3f}".replace("-", "−")
    return f"{abs(found.value):.3f} ({interval}) {'below' if found.value < 0 else 'above'}"
