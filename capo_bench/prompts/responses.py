"""The text of a response: how it is rendered and how it is read.

`parse` is the inverse of `render_target` and never guesses.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from capo_bench.corpus.model import TaskSpec

CUE = "Label:"
"""What every response starts with. Evaluation puts it in the model's mouth, so that a model that
was not tuned knows where to start; a response may repeat it or go on from there."""

_RESPONSE = re.compile(
    r"\s*(?:\**label\**\s*:)?\**(?P<labels>[^\n]*)(?:\n\s*\**explanation\**\s*:\**(?P<explanation>.*))?",
    flags=re.IGNORECASE | re.DOTALL,
)
_BLANK_LINE = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Parsed:
    """What a response says.

    Attributes:
        labels: The labels, in the order of the label space; empty if none could be read.
        explanation: The explanation, without edge whitespace; `""` if none could be read.
        error: Why the response is invalid, or `None` if it is valid.
    """

    labels: tuple[str, ...]
    explanation: str
    error: str | None


def render_target(labels: Collection[str], explanation: str) -> str:
    """The text that a faithful model answers.

    Args:
        labels: One label, or several for a multi-label task.
        explanation: The explanation; line breaks in it become blanks. Without one, the label is all.
    """
    one_line = explanation.replace("\n", " ").strip()
    said = f"Label: {', '.join(labels)}"
    return f"{said}\nExplanation: {one_line}" if one_line else said


def parse(task: TaskSpec, text: str) -> Parsed:
    """Reads label and explanation from a model's text, or says why it cannot.

    Accepted beside the exact form: no `Label:` (the cue that the model went on from), blanks and
    line breaks before it, any case, markdown bold, and
    quotes or a full stop around a label. Whatever follows a blank line is ignored. A label that is
    not one of the task's, or more than one label where the task allows one, makes it invalid.
    """
    match = _RESPONSE.match(text)
    assert match is not None  # every part of the pattern may be empty
    explanation = _BLANK_LINE.split((match["explanation"] or "").lstrip(), maxsplit=1)[0]
    explanation = " ".join(line.strip() for line in explanation.split("\n")).strip()
    named = [task.labels.recognise(part) for part in match["labels"].split(",")]
    if None in named:
        return Parsed((), explanation, f"unknown label {match['labels'].strip()[:40]!r}")
    if len(set(named)) > 1 and task.labels.kind != "multilabel":
        return Parsed((), explanation, "more than one label")
    labels = tuple(label for label in task.labels.labels if label in named)
    lacking = task.explanations == "required" and not explanation
    return Parsed(labels, explanation, "no explanation" if lacking else None)


def stop_sequences(task: TaskSpec) -> list[str]:
    """Where to stop a model that goes on with further items or answers after its response."""
    return [f"\n{next(iter(task.fields.values()))}:", f"\n{CUE}", "\nAnnotator "]
