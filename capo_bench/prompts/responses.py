"""The text of a response: how it is rendered and how it is read.

`parse` is the inverse of `render_target` and never guesses. It reads in two stages: *strict*, the
form that prompts ask for, and *readable*, whatever else states exactly one label and an explanation
(`capo_bench.prompts.reading`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from capo_bench.corpus.model import Response, TaskSpec
from capo_bench.prompts.reading import (
    CONFLICT,
    DISOWNED,
    NOTHING,
    SEVERAL,
    UNFINISHED,
    UNKNOWN,
    Answer,
    KnownTask,
    answered,
    disowns,
    find_answer,
    first_answer,
    lists_annotators,
    states_other,
    strip_marks,
    strip_markup,
    strip_thoughts,
    takes_back,
    tidy,
    undecorated,
    unmarked,
)

CUE = "Label:"
"""What every response starts with. Where a model can go on from it, evaluation puts it in the
model's mouth, so that a model that was not tuned knows where to start; a response may repeat it."""

CHAT_STOP = ["<|endoftext|>"]
"""Where a message of its own stops: thoughts, greetings and answers may hold any plain text, and
APIs refuse an empty list."""

EXPLANATION_CHARACTERS = 5_000
"""The longest explanation that is read: several times what anyone wrote in the corpora known here.

Metrics take memory by the n-grams of an explanation, some 400 times its length."""

ANSWER_CHARACTERS = 20_000
"""The longest answer that is read, without thoughts: more is no label and an explanation."""

EMPTY = "no text"
ENDLESS = f"an answer of more than {ANSWER_CHARACTERS:,} characters"
TOO_LONG = f"an explanation of more than {EXPLANATION_CHARACTERS:,} characters"

LOST = "an answer that ends within it, as at </s> or [/INST]"

MANY_INVALID = 0.05
"""Above this share of invalid responses, people are told why (`complaints`)."""
MANY_TRUNCATED = 0.05
"""Above this share of responses that ended at the token limit, people are told (`truncation`)."""

_RESPONSE = re.compile(
    r"\s*(?:\**label\**\s*:)?\**(?P<labels>[^\n]*)(?:\n\s*\**explanation\**\s*:\**(?P<explanation>.*))?",
    flags=re.IGNORECASE | re.DOTALL,
)

Reading = Literal["strict", "readable"]


@dataclass(frozen=True)
class Parsed:
    """What a response says.

    Attributes:
        labels: The labels, in the order of the label space; empty if none could be read.
        explanation: The explanation, without edge whitespace; `""` if none could be read.
        error: Why the response is invalid, one of a few reasons, or `None` if it is valid.
        reading: The stage that read it: `strict` if it has the form that was asked for, `readable`
            if it says the same in another one; `None` if it is invalid.
        unknown_mark: A special token at its end that belongs to no tokenizer known here; it is cut.
    """

    labels: tuple[str, ...]
    explanation: str
    error: str | None
    reading: Reading | None = None
    unknown_mark: str | None = None


def render_target(labels: Collection[str], explanation: str) -> str:
    """The text that a faithful model answers.

    Args:
        labels: One label, or several for a multi-label task.
        explanation: The explanation; line breaks in it become blanks. Without one, the label is all.
    """
    one_line = explanation.replace("\n", " ").strip()
    said = f"{CUE} {', '.join(labels)}"
    return f"{said}\nExplanation: {one_line}" if one_line else said


def parse(task: TaskSpec, text: str) -> Parsed:
    """Reads label and explanation from a model's text, or says why it cannot.

    Thoughts are cut up to the last mark of their end, marks of turns and fences come off. What then
    has the form of `render_target` is *strict*: `Label:` may be missing (the cue that the model went
    on from), any case, bold, quotes or a full stop around a label are accepted, and whatever follows
    a blank line is ignored. Anything else is *readable* if it states exactly one label (or set of
    labels, where the task allows several) and an explanation. Whatever follows the first answer as
    a further item or annotator is ignored, but a text that states another label besides is invalid.
    """
    return _parsed(KnownTask.of(task), text)


def as_read(task: TaskSpec, response: Response) -> tuple[Response, str | None]:
    """An annotator's response as it would be read if a model gave it.

    Formatting goes that is taken off every answer, so that who repeats an annotator word by word says
    the same.

    Returns:
        The response, and `None`; or the response as it stands, and why its words are no answer: they
        state another label, say, or take the answer back.
    """
    parsed = parse(task, render_target(response.labels, response.explanation))
    if parsed.error is not None:
        return response, parsed.error
    whole = _letters(strip_markup(response.explanation)) == _letters(parsed.explanation)
    if set(parsed.labels) != set(response.labels) or not whole:
        return response, LOST
    if parsed.explanation == response.explanation:
        return response, None
    return replace(response, explanation=parsed.explanation), None


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@lru_cache(maxsize=2**15)  # control rows and submissions share many texts
def _parsed(known: KnownTask, text: str) -> Parsed:
    task = known.task
    if not text.strip():
        return Parsed((), "", EMPTY)
    thoughtless = strip_thoughts(text)
    if thoughtless is None:
        return Parsed((), "", UNFINISHED)
    if not thoughtless.strip():
        return Parsed((), "", NOTHING)
    turn, unknown_mark = strip_marks(thoughtless)
    if len(turn) > ANSWER_CHARACTERS:
        return Parsed((), "", ENDLESS)
    body = strip_markup(turn)
    answer = first_answer(task, body)
    found = Answer((), "", CONFLICT) if lists_annotators(body) else _strict(task, answer)
    as_asked = found.error is None and answer.rstrip() == first_answer(task, text).rstrip()
    if found.error not in (None, CONFLICT):
        found = find_answer(task, answer)
    if found.error is None and takes_back(task, answer, found.labels):
        found = Answer((), "", CONFLICT)
    if found.error is None and disowns(task, answer, found):
        found = Answer((), "", DISOWNED)
    if len(found.explanation) > EXPLANATION_CHARACTERS:
        found = Answer(found.labels, "", TOO_LONG)
    reading: Reading = "strict" if as_asked else "readable"
    return Parsed(
        found.labels,
        found.explanation,
        found.error,
        reading if found.error is None else None,
        unknown_mark,
    )


def complaints(task: TaskSpec, responses: Iterable[str]) -> list[str]:
    """Why responses are invalid, with counts and one example each; empty while few are.

    Args:
        task: The task that they answer.
        responses: The raw texts.

    Returns:
        One line a reason, the most frequent first, if more than `MANY_INVALID` of the responses are
        invalid; and one line for special tokens that were cut without being known.
    """
    examples: dict[str, str] = {}
    reasons: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    total = 0
    for text in responses:
        total += 1
        parsed = parse(task, text)
        if parsed.error is not None:
            reasons[parsed.error] += 1
            examples.setdefault(parsed.error, text)
        if parsed.unknown_mark is not None:
            marks[parsed.unknown_mark] += 1
    lines = []
    if reasons.total() > MANY_INVALID * total:
        lines = [
            f"{count} of {total} responses are invalid, {reason}, such as {_short(examples[reason])}"
            for reason, count in reasons.most_common()
        ]
    if marks:
        lines.append(
            f"{marks.total()} of {total} responses end with an unknown special token, such as "
            f"{next(iter(marks))}; it was cut"
        )
    return lines


def truncation(truncated: Collection[bool | None]) -> list[str]:
    """A line if more than `MANY_TRUNCATED` of the responses ended at the token limit.

    Args:
        truncated: Whether each did; `None` where it is not known.
    """
    cut = sum(one is True for one in truncated)
    if cut <= MANY_TRUNCATED * len(truncated):
        return []
    return [
        f"{cut} of {len(truncated)} responses ended at the token limit; give more room, such as "
        "--gen_kwargs max_gen_toks=512"
    ]


def stop_sequences(task: TaskSpec) -> list[str]:
    """Where to stop a model that goes on with further items or answers after its response.

    Only for models that go on from `CUE`: thoughts and greetings may contain any of these.
    """
    return [f"\n{next(iter(task.fields.values()))}:", f"\n{CUE}", "\nAnnotator "]


def _strict(task: TaskSpec, text: str) -> Answer:
    match = _RESPONSE.match(text)
    assert match is not None  # every part of the pattern may be empty
    named = [task.labels.recognise(part) for part in match["labels"].split(",")]
    if None in named:
        return Answer((), "", UNKNOWN)
    if len(set(named)) > 1 and task.labels.kind != "multilabel":
        return Answer((), "", SEVERAL)
    labels = tuple(label for label in task.labels.labels if label in named)
    if states_other(task, text, labels):
        return Answer((), "", CONFLICT)
    explanation = tidy(match["explanation"] or "", text[: match.start("explanation")])
    # Quotes around an explanation are its writer's, unless the label has them, too.
    quoted = match["labels"].strip()[-1:] in {'"', "'", "”"}
    return answered(task, labels, undecorated(explanation) if quoted else unmarked(explanation))


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return repr(one_line if len(one_line) <= 100 else f"{one_line[:60]} ... {one_line[-35:]}")
