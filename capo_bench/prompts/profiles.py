"""A description of an annotator in words, computed from their training history."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from capo_bench.corpus.model import Item, Response, TaskSpec

History = Sequence[tuple[Item, Response]]

_WORD = re.compile(r"(?:[^\W_]|['’])+")


@dataclass(frozen=True)
class Vocabulary:
    """In how many explanations each word stands, and of how many explanations that is known."""

    words: Counter[str]
    explanations: int

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """The vocabulary of explanations."""
        counts: Counter[str] = Counter()
        total = 0
        for text in texts:
            counts.update(set(_words(text)))
            total += 1
        return cls(counts, total)


def describe_annotator(
    task: TaskSpec, annotator: str, history: History, everyone: Vocabulary
) -> str:
    """Describes how an annotator labels and writes, set against their colleagues.

    Args:
        task: The task, for its labels.
        annotator: The annotator's id, as the description names it.
        history: The annotator's training responses; not empty.
        everyone: The vocabulary of all training explanations, the annotator's own among them.

    Returns:
        Three or four sentences: labels, length, form (full stops, capitals, quotation marks), usual
        openings and words used more than by others. Deterministic.
    """
    texts = [response.explanation for _, response in history if response.explanation]
    sentences = [f"How annotator {annotator} works, from {len(history)} earlier responses."]
    sentences.append(_labels(task, [label for _, response in history for label in response.labels]))
    if texts:
        sentences.append(_form(texts))
        sentences.append(_wording(texts, everyone))
    return " ".join(sentence for sentence in sentences if sentence)


def _labels(task: TaskSpec, labels: Sequence[str]) -> str:
    counts = Counter(labels)
    common = [label for label, _ in counts.most_common(3)]
    shares = ", ".join(f"{label} ({100 * counts[label] / len(labels):.0f}%)" for label in common)
    if not task.labels.ordered:
        return f"Most frequent labels: {shares}."
    values = sorted(labels, key=task.labels.value_of.__getitem__)
    tenth = len(values) // 10
    return (
        f"Labels: mostly between {values[tenth]} and {values[-1 - tenth]}, in the middle "
        f"{values[len(values) // 2]}; most frequent {shares}."
    )


def _form(texts: Sequence[str]) -> str:
    habits = [f"Explanations have about {median(len(_words(text)) for text in texts):.0f} words"]
    for what, share in (
        ("end with a full stop", _share(text.endswith(".") for text in texts)),
        ("start with a capital letter", _share(text[:1].isupper() for text in texts)),
        ("quote words of the item", _share('"' in text or "“" in text for text in texts)),
    ):
        how_often = (
            "almost never"
            if share < 0.1
            else "seldom"
            if share < 0.35
            else "about half the time"
            if share < 0.65
            else "mostly"
            if share < 0.9
            else "almost always"
        )
        habits.append(f"they {how_often} {what}")
    return f"{'; '.join(habits)}."


def _wording(texts: Sequence[str], everyone: Vocabulary) -> str:
    parts = []
    openings = Counter(" ".join(text.split()[:3]) for text in texts)
    usual = [opening for opening, n in openings.most_common(3) if n >= max(2, 0.03 * len(texts))]
    if usual:
        parts.append("Usual openings: " + ", ".join(f"“{opening}”" for opening in usual) + ".")
    others = everyone.explanations - len(texts)
    if others:
        own = Vocabulary.of(texts).words

        def excess(word: str) -> float:
            return own[word] / len(texts) - (everyone.words[word] - own[word]) / others

        favourite = sorted(own, key=lambda word: (-excess(word), word))[:6]
        favourite = [word for word in favourite if excess(word) > 0.03]
        if favourite:
            parts.append(f"Words used more than by others: {', '.join(favourite)}.")
    return " ".join(parts)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return sum(values) / len(values)
