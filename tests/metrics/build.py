"""Small corpora and predictions for tests of metrics, written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from capo_bench.corpus.model import Annotator, Corpus, Item, LabelSpace, Response, TaskSpec
from capo_bench.corpus.tasks import NLI
from capo_bench.metrics.cells import Cells, Prediction, join
from capo_bench.prompts.responses import render_target

SCALE = TaskSpec(
    name="scale",
    instruction="How alike are the questions?",
    fields={"question1": "Question 1", "question2": "Question 2"},
    labels=LabelSpace("ordinal", ("-2", "-1", "0", "1", "2")),
    group_by=("question1",),
)


def corpus(rows: Sequence[Mapping[str, Sequence[tuple[str, str]]]], task: TaskSpec = NLI) -> Corpus:
    """A corpus whose items, all in `test`, have these cells: annotator to (label, explanation)."""
    ids = sorted({annotator for row in rows for annotator in row})
    items = tuple(
        Item(
            id=f"i{index}",
            text={name: f"{name} text {index}" for name in task.fields},
            cells={a: tuple(Response(*pair) for pair in pairs) for a, pairs in row.items()},
            split="test",
        )
        for index, row in enumerate(rows)
    )
    return Corpus("hand", task, tuple(Annotator(a) for a in ids), items)


def answer(of: Corpus, answers: Sequence[Mapping[str, tuple[Sequence[str], str] | str]]) -> Cells:
    """Cells in which item n is answered by (labels, explanation) or by raw text, per annotator."""
    predictions = [
        Prediction(
            f"i{index}",
            annotator,
            given if isinstance(given, str) else render_target(*given),
        )
        for index, row in enumerate(answers)
        for annotator, given in row.items()
    ]
    return join(of, "test", predictions)
