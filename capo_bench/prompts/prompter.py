"""Prompts, target texts and the parser: the one copy that evaluation and training share.

A prompt is the question and the item first, whatever depends on the annotator last, so that the
annotators of one item share the longest possible prefix. A response is two lines, `Label: ...` and
`Explanation: ...`; `parse` is the exact inverse of `render_target` and never guesses.

What a prompt may know of an annotator comes from the train split alone: `Prompter` never reads a
label or an explanation of another split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Literal, get_args

from capo_bench.corpus.model import Corpus, Item, Response, TaskSpec
from capo_bench.errors import CapoBenchError, listed
from capo_bench.prompts.profiles import Vocabulary, describe_annotator
from capo_bench.prompts.responses import CUE, render_target

Setting = Literal["tag", "zero-shot", "icl", "profile", "persona"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)
Form = Literal["cue", "chat"]
MAX_EXAMPLES = 50


def at_most_tokens(text: str) -> int:
    """An upper bound of a text's tokens: 3 characters each, for English and common tokenizers."""
    return -(-len(text) // 3)


class Prompter:
    """The prompts of one corpus in one setting.

    Settings:
        * `tag`: the item and the annotator's id, for models tuned on this form;
        * `zero-shot`: with instructions;
        * `icl`: with the annotator's own training responses as examples;
        * `profile`: with a description of the annotator computed from their training responses;
        * `persona`: with what the corpus knows of the annotator's person, such as age or education.

    Args:
        corpus: The corpus. Of its labels and explanations only the train split is read.
        setting: One of `SETTINGS`.
        examples: For `icl`, the most examples of an annotator, 1 to 50. The choice is fixed by a
            hash of the item ids; the same examples serve all items.
        example_tokens: For `icl`, the examples stop before they exceed this many tokens.
        count_tokens: Counts the tokens of a text.
        form: `cue` where the model goes on from the start of its answer, `chat` where it answers in
            a message of its own and is told to do so in the form of an answer and no other (but for
            `tag`, which tuned models know).

    Raises:
        CapoBenchError: On an unknown setting, a number of examples out of range, `persona` for a
            corpus that knows nothing of any annotator, or an annotator without training responses
            in a setting that needs them (once their prompt is wanted).
    """

    def __init__(
        self,
        corpus: Corpus,
        setting: Setting = "zero-shot",
        *,
        examples: int = 10,
        example_tokens: int = 2048,
        count_tokens: Callable[[str], int] = at_most_tokens,
        form: Form = "cue",
    ) -> None:
        if setting not in SETTINGS:
            raise CapoBenchError(
                f"unknown prompt setting {setting!r}; expected one of {', '.join(SETTINGS)}"
            )
        if not 1 <= examples <= MAX_EXAMPLES:
            raise CapoBenchError(f"icl takes 1 to {MAX_EXAMPLES} examples, got {examples}")
        if setting == "persona" and not any(map(corpus.about, corpus.annotator_ids)):
            raise CapoBenchError(
                f"corpus {corpus.name} knows nothing of its annotators but their ids, so there is no "
                "`persona`; use `zero-shot`, or give the annotators a `meta`"
            )
        self._corpus = corpus
        self._setting = setting
        self._examples = examples
        self._example_tokens = example_tokens
        self._count_tokens = count_tokens
        self._form = form
        self._turns: dict[str, str] = {}

    def __call__(self, item: Item, annotator: str) -> str:
        """The prompt that asks for one annotator's response to one item."""
        return self.shared(item) + self.turn(annotator)

    def shared(self, item: Item) -> str:
        """The part of a prompt that does not depend on the annotator."""
        task = self._corpus.task
        head = "" if self._setting == "tag" else f"{_instructions(task)}\n\n"
        return f"{head}{render_input(task, item.text)}\n\n"

    def turn(self, annotator: str) -> str:
        """The part of a prompt that depends on the annotator and not on the item."""
        if annotator not in self._turns:
            turn = self._build_turn(annotator)
            if self._form == "chat" and self._setting != "tag":
                turn += f"\n{_REPLY[self._corpus.task.explanations]}"
            self._turns[annotator] = turn
        return self._turns[annotator]

    def _build_turn(self, annotator: str) -> str:
        if annotator not in self._corpus.annotator_ids:
            raise CapoBenchError(
                f"corpus {self._corpus.name} has no annotator {annotator!r}; "
                f"it has {listed(self._corpus.annotator_ids)}"
            )
        if self._setting == "tag":
            return f"Annotator {annotator}:\n"
        ask = f"{_worded(self._corpus.task.wording.ask or _ASK, annotator)}\n"
        if self._setting == "zero-shot":
            return ask
        if self._setting == "persona":
            persona = self._persona(annotator)
            return f"{persona}\n\n{ask}" if persona else ask
        history = self._corpus.responses("train", annotator)
        if not history and self._corpus.everyone:
            return ask
        if not history:
            raise CapoBenchError(
                f"annotator {annotator} of corpus {self._corpus.name} has no training responses, "
                f"which the setting {self._setting!r} needs; use `zero-shot`"
            )
        if self._setting == "profile":
            profile = describe_annotator(self._corpus.task, annotator, history, self._vocabulary)
            return f"{profile}\n\n{ask}"
        return f"{self._render_examples(annotator)}\n\n{ask}"

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.of(
            response.explanation
            for item in self._corpus.split("train")
            for given in item.cells.values()
            for response in given
            if response.explanation
        )

    def _persona(self, annotator: str) -> str:
        """What is known of the annotator, a line each; `""` where it is nothing."""
        known = self._corpus.about(annotator)
        if not known:
            return ""
        head = _worded(self._corpus.task.wording.persona or _PERSONA, annotator)
        return "\n".join([head, *(f"{what}: {value}" for what, value in known.items())])

    def _render_examples(self, annotator: str) -> str:
        history = in_hash_order(self._corpus.responses("train", annotator))
        shown = [_worded(self._corpus.task.wording.examples or _EXAMPLES, annotator)]
        left = self._example_tokens
        for item, response in history[: self._examples]:
            text = "\n".join(
                (
                    render_input(self._corpus.task, item.text),
                    render_target(response.labels, response.explanation),
                )
            )
            left -= self._count_tokens(text)
            if left < 0:
                break
            shown.append(text)
        return "\n\n".join(shown)


def earlier_responses(corpus: Corpus, annotator: str) -> list[str]:
    """An annotator's explained training responses, rendered, by which a judge can know them.

    Raises:
        CapoBenchError: If there are none.
    """
    own = [
        render_target(response.labels, response.explanation)
        for _, response in in_hash_order(corpus.responses("train", annotator))
        if response.explanation
    ]
    if not own:
        raise CapoBenchError(
            f"annotator {annotator} of corpus {corpus.name} has no training explanations, by which "
            "a judge could know them; leave the annotator out of the corpus"
        )
    return own


def in_hash_order(history: Iterable[tuple[Item, Response]]) -> list[tuple[Item, Response]]:
    """Responses with their items, shuffled in a way that only their ids and labels decide."""

    def order(entry: tuple[Item, Response]) -> str:
        return hashlib.sha256(f"{entry[0].id}\0{entry[1].label}".encode()).hexdigest()

    return sorted(history, key=order)


def render_input(task: TaskSpec, text: Mapping[str, str]) -> str:
    """The input texts of an item, each after its title."""
    return "\n".join(f"{title}: {text[name]}" for name, title in task.fields.items())


def task_name(corpus: str, setting: Setting) -> str:
    """The task of lm-eval for a corpus of ours in a prompt setting, such as `capo_nli_tag`."""
    suffix = "" if setting == "zero-shot" else f"_{setting}"
    name = re.sub(r"\W+", "_", corpus).strip("_")  # it is part of files' names
    return f"capo_{name}{suffix}"


def prompt_hash(prompts: Iterable[str]) -> str:
    """16 hex digits that identify a list of prompts, whatever template or setting made them."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(prompt.encode() + b"\0")
    return digest.hexdigest()[:16]


_ASK = "For the item above, annotator {annotator} answers:"
_EXAMPLES = "Annotator {annotator} answered other items like this:"
_PERSONA = "What is known of annotator {annotator}:"
_ANSWERS = {
    "required": "Give the label first ({labels}), then the explanation in one or two sentences.",
    "optional": "Give the label first ({labels}), then, if you like, an explanation in a sentence.",
    "none": "Answer with the label alone ({labels}).",
}
_LINES = "Reply with the answer alone: one line that begins with `Label:`"
_REPLY = {
    "required": f"{_LINES} and one that begins with `Explanation:`.",
    "optional": f"{_LINES} and, if there is an explanation, one that begins with `Explanation:`.",
    "none": f"{_LINES}.",
}


def _worded(template: str, annotator: str) -> str:
    return template.format(annotator=annotator)


def _instructions(task: TaskSpec) -> str:
    space = task.labels
    which = f"one of {', '.join(space.labels)}"
    if space.kind == "multilabel":
        which += ", or several of them separated by commas"
    if space.kind == "interval":
        step = float(space.labels[1]) - float(space.labels[0])
        which = f"a number from {space.labels[0]} to {space.labels[-1]} in steps of {step:g}"
    answer = (task.wording.answer or _ANSWERS[task.explanations]).format(labels=which)
    # The form shows a label, the middle one, and not a placeholder: small models copy placeholders.
    form = [f"{CUE} {space.labels[len(space.labels) // 2]}"]
    if task.explanations != "none":
        form.append("Explanation: ...")
    return "\n".join([f"{task.instruction} {answer}", "Form of the answer:", *form])
