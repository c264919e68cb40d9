"""Judge-based attribution as an lm-eval task: a language model says whose response it reads.

The judge sees earlier responses of every annotator under the letters A, B, C ... and one or several
responses of one of them. Letters and places favour some annotators whatever they wrote, so each
question is asked once for every rotation of the annotators (a Latin square: each stands once in each
place), and the judge's log-probabilities are averaged over the rotations.

One document is a block of items, so that `--limit` keeps whole blocks and the blocks are what is
independent.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import datasets
import numpy as np

from capo_bench import __version__
from capo_bench.corpus.model import Corpus
from capo_bench.errors import CapoBenchError
from capo_bench.harness.base import BenchTask, token_counter
from capo_bench.metrics.cells import Cells, join
from capo_bench.prompts.prompter import earlier_responses
from capo_bench.prompts.reading import strip_marks, strip_markup, strip_thoughts
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.options import Natural, Options, read_options
from capo_bench.scoring.predictions import PredictionFile, human_predictions, read_predictions
from capo_bench.stats.resampling import Array, Estimate, ItemSums, estimate, item_means

_log = logging.getLogger(__name__)

PREDICTIONS, HUMAN, BIAS = "judge_attribution", "judge_attribution_human", "position_bias"

UNREADABLE = "unreadable_rate"

_LETTER_TOKENS = 8
_TIE = 1e-6  # log-probabilities that differ by less are rounding
_NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split()


@dataclass(frozen=True)
class JudgeOptions(Options):
    """The keys that a judge task's `metadata`, and with it `--metadata`, may set.

    Attributes:
        predictions: A file of predictions or logged samples to judge. The human responses to the
            same items are judged beside them; without a file, they alone are.
        group_size: Items a question covers: it shows an annotator's responses to all of them (fewer,
            where the annotator left some out).
        k: The most earlier responses of each annotator.
        example_tokens: The most tokens that those of one annotator may take.
    """

    predictions: str | None = None
    group_size: int = 1
    k: Natural = 8
    example_tokens: Natural = 256


class JudgeTask(BenchTask):
    """A corpus, a split and perhaps a file of predictions as an lm-eval task.

    Metrics:
        * `judge_attribution`: share of the questions about predictions in which the annotator who
          was to be imitated is strictly the judge's first choice; only if predictions are given;
        * `judge_attribution_human`: the same for what the annotators themselves answered to the same
          items: the most that this judge can see. Chance is one over the number of annotators;
        * `position_bias`: how far the most or least chosen place is from its fair share of choices,
          over all rotations, 0 (none) to 1 - 1/annotators (always the same place).

    A question whose explanations are all empty counts as not attributed, whatever the judge says.

    Args:
        config: The task's configuration; its `metadata` may set the fields of `JudgeOptions`.

    Raises:
        CapoBenchError: If the corpus or the predictions cannot be had or do not fit each other, if
            there are fewer than two annotators or more than letters, if an annotator has no
            training explanations, or if the group size exceeds the split.
    """

    cue = "Annotator"  # a letter follows
    scale = "log_probabilities"
    own_examples = "the prompt has examples of its own; use the metadata key k"

    def download(self, *_: Any, **__: Any) -> None:
        """Builds the questions; the base class would fetch a dataset here."""
        given = dict(self.config.metadata or {})
        file = Path(given["predictions"]) if given.get("predictions") else None
        found = read_predictions(file) if file else None
        self.options = options = read_options(
            (found.options if found else {}) | given, JudgeOptions
        )
        self._corpus = corpus = options.load()
        if file and found:
            found.check(file, corpus)
        self._letters = _letters(corpus)
        self.answers_per_question = len(self._letters)
        self._histories = _histories(corpus, options, token_counter(options, given))
        documents = _documents(corpus, options, found)
        self.dataset = {options.split: datasets.Dataset.from_list(documents)}
        self.config.test_split = options.split
        self._sources = (HUMAN,) if found is None else (PREDICTIONS, HUMAN)
        self._scores: dict[str, Estimate] = {}
        self.config.metadata = {
            **given,
            "judge": given.get("pretrained") or given.get("model"),
            "group_size": options.group_size,
            "examples_per_annotator": len(next(iter(self._histories.values()))),
            "signature": {
                "capo_bench": __version__,
                "corpus": corpus.name,
                "fingerprint": corpus.fingerprint,
                "split": options.split,
                "synthetic": corpus.synthetic,
            },
        }

    def doc_to_text(self, doc: Mapping[str, Any], doc_to_text: object = None) -> str:
        """The prompt for one question and rotation of the document, by default the first ones."""
        return self._prompt(doc["questions"][doc.get("question", 0)], doc.get("rotation", 0))

    def doc_to_target(self, doc: Mapping[str, Any], doc_to_target: object = None) -> list[str]:
        """The annotators whom the questions are about; for the log of samples only."""
        return [question["annotator"] for question in doc["questions"]]

    def doc_to_choice(self, doc: Mapping[str, Any], doc_to_choice: object = None) -> list[str]:
        """The letters, in the order of the places."""
        return list(self._letters)

    def prepare(self) -> None:
        """Nothing: a judge's answers are all that its metrics need."""

    def questions(self, doc: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Each of the document's questions in each rotation."""
        return [
            {**doc, "question": question, "rotation": rotation}
            for question in range(len(doc["questions"]))
            for rotation in range(len(self._letters))
        ]

    def process_results(
        self, doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]
    ) -> dict[str, Any]:
        """What the judge said of each question; the shares wait for `aggregation`."""
        by_place = self._by_place(doc, results)
        by_annotator = over_rotations(by_place)
        best = by_place >= by_place.max(axis=-1, keepdims=True) - _TIE
        picks = (best / best.sum(axis=-1, keepdims=True)).sum(axis=(0, 1))
        return self._judged(doc, by_annotator, picks, {})

    def _by_place(self, doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> Array:
        """Log-probabilities of the letters, shape (questions, rotations, places)."""
        places = len(self._letters)
        if len(results) != len(doc["questions"]) * places**2:
            raise CapoBenchError(
                f"{self.config.task}, item {doc['items'][0]}: the judge gave {len(results)} answers "
                f"to {len(doc['questions']) * places**2} requests"
            )
        given = np.array([value for value, _ in results]).reshape(-1, places, places)
        if not np.isfinite(given).all():
            raise CapoBenchError(
                f"{self.config.task}, item {doc['items'][0]}: the judge gave no finite "
                "log-likelihood for some letters; use a model that scores given continuations"
            )
        return np.asarray(given - np.logaddexp.reduce(given, axis=-1, keepdims=True))

    def _judged(
        self, doc: Mapping[str, Any], by_annotator: Array, picks: Array, told: dict[str, Any]
    ) -> dict[str, Any]:
        verdicts = [
            {
                "source": question["source"],
                "annotator": question["annotator"],
                self.scale: dict(zip(self._corpus.annotator_ids, scores.tolist(), strict=True)),
                "attributed": question["explained"] and self._first(scores, question["annotator"]),
            }
            for question, scores in zip(doc["questions"], by_annotator, strict=True)
        ]
        responses = {
            "verdicts": verdicts,
            "picks": picks.tolist(),
            "count": len(verdicts),
            **told,
        }
        return self.handed_on(responses)

    def perfect_results(self, doc: Mapping[str, Any]) -> list[tuple[float, bool]]:
        """What a judge without a doubt gives, for a rehearsal of the task."""
        return [
            (float(self._order(rotation)[place] == question["annotator"]), False)
            for question in doc["questions"]
            for rotation in range(len(self._letters))
            for place in range(len(self._letters))
        ]

    def metric_names(self) -> Sequence[str]:
        """Those of the sources, and the bias."""
        return (*self._sources, BIAS)

    def higher_is_better(self) -> dict[str, bool]:
        """Direction of every metric."""
        return {**dict.fromkeys(self._sources, True), BIAS: False}

    def _first(self, scores: Array, annotator: str) -> bool:
        own = self._corpus.annotator_ids.index(annotator)
        return bool(scores[own] > np.delete(scores, own).max() + _TIE)

    def _order(self, rotation: int) -> tuple[str, ...]:
        names = self._corpus.annotator_ids
        return names[rotation:] + names[:rotation]

    def _prompt(self, question: Mapping[str, Any], rotation: int) -> str:
        shown = "\n\n".join(
            "\n\n".join([f"Annotator {letter}:", *self._histories[annotator]])
            for letter, annotator in zip(self._letters, self._order(rotation), strict=True)
        )
        several = len(question["responses"]) > 1
        responses = "\n\n".join(question["responses"])
        return (
            f"{_number(len(self._letters)).capitalize()} annotators were asked: "
            f"{self._corpus.task.instruction} Each of them answered many items. "
            f"These are some answers of each.\n\n{shown}\n\n"
            f"One of these annotators also gave "
            f"{'these answers to other items' if several else 'this answer to another item'}:\n\n"
            f"{responses}\n\nWhich annotator was it?\n"
        )

    def score(self, documents: list[dict[str, Any]]) -> int:
        """Shares of the questions, by source."""

        def shares(source: str) -> ItemSums:
            judged = [
                (verdict["attributed"], index)
                for index, document in enumerate(documents)
                for verdict in document["verdicts"]
                if verdict["source"] == source
            ]
            values, blocks = zip(*judged, strict=True)
            found = item_means(values, np.array(blocks, dtype=np.int64), len(documents))
            return replace(found, bounds=(0, 1))

        picks = np.array([document["picks"] for document in documents])
        self._scores = {source: estimate(shares(source)) for source in self._sources}
        self._scores[BIAS] = estimate(ItemSums(picks, position_bias, bounds=(0, 1)))
        return sum(len(document["verdicts"]) for document in documents)

    def read(self, name: str, field: str) -> float:
        """A share's value or standard error."""
        return float(getattr(self._scores[name], field))


class WritingJudgeTask(JudgeTask):
    """A judge that gives no log-likelihoods and writes its verdict, such as one behind a chat API.

    The questions are those of `JudgeTask`, each asked once for every rotation; an annotator's score
    is the share of the rotations in which the judge named their letter, whatever place it stood for.
    An answer that does not name exactly one letter names nobody.

    Metrics:
        Those of `JudgeTask`, and `unreadable_rate`: the share of answers that name nobody.
    """

    scale = "votes"

    def download(self, *args: Any, **kwargs: Any) -> None:
        """Builds the questions."""
        super().download(*args, **kwargs)
        self.answers_per_question = 1

    def doc_to_text(self, doc: Mapping[str, Any], doc_to_text: object = None) -> str:
        """The prompt of `JudgeTask`, and what to answer."""
        letters = ", ".join(self._letters)
        return f"{super().doc_to_text(doc)}Answer with one letter ({letters}) and nothing else.\n"

    def default_tokens(self) -> int:
        """A letter, or a thought before it."""
        return _LETTER_TOKENS if self.form == "cue" else super().default_tokens()

    def stops(self) -> list[str]:
        """The end of the line."""
        return ["\n"]

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """What the judge wrote of each question; the shares wait for `aggregation`."""
        named = [read_letter(text, self._letters) for text in results]
        places = len(self._letters)
        votes = np.array(
            [[letter == own for own in self._letters] for letter in named], dtype=float
        )
        votes = votes.reshape(-1, places, places)
        told = {"unreadable": named.count(None), "answers": len(named)}
        return self._judged(doc, over_rotations(votes), votes.sum(axis=(0, 1)), told)

    def perfect_results(self, doc: Mapping[str, Any]) -> list[Any]:
        """What a judge without a doubt writes, for a rehearsal of the task."""
        return [
            f" {self._letters[self._order(rotation).index(question['annotator'])]}"
            for question in doc["questions"]
            for rotation in range(len(self._letters))
        ]

    def metric_names(self) -> Sequence[str]:
        """Those of `JudgeTask`, and the share of unreadable answers."""
        return (*super().metric_names(), UNREADABLE)

    def higher_is_better(self) -> dict[str, bool]:
        """Direction of every metric."""
        return {**super().higher_is_better(), UNREADABLE: False}

    def score(self, documents: list[dict[str, Any]]) -> int:
        """Shares of the questions, by source, and of the answers that name nobody."""
        count = super().score(documents)
        sums = np.array([[d["unreadable"], d["answers"]] for d in documents], dtype=float)
        rate = ItemSums(sums, lambda s: np.asarray(s[..., 0] / s[..., 1]), (0, 1))
        self._scores[UNREADABLE] = estimate(rate)
        return count


def read_letter(text: str, letters: str) -> str | None:
    """The letter that a judge's answer names, or `None` if it names none or several.

    A letter stands alone, after `Annotator`, or after a word for an answer; an `A` within a sentence
    is an article.
    """
    thoughtless = strip_thoughts(text) or ""
    said = strip_markup(strip_marks(thoughtless)[0]).strip(" \t\n*_`\"'().:")
    alone = said.removeprefix("Annotator").strip(" \t\n*_`\"'().:")
    if len(alone) == 1 and alone.upper() in letters:
        return alone.upper()
    words = r"\b(?:[Aa]nnotator|[Aa]nswer(?:\s+is)?|[Ll]etter(?:\s+is)?)"
    named = set(re.findall(rf"{words}[\s:*_`\"'(]+([{letters}])\b", said))
    return named.pop() if len(named) == 1 else None


def over_rotations(by_place: Array) -> Array:
    """Means over rotations.

    Args:
        by_place: Shape (..., rotations, places): in rotation r, place p shows annotator
            (p + r) mod places.

    Returns:
        Shape (..., annotators).
    """
    places = by_place.shape[-1]
    rotation = np.arange(places)[:, None]
    place = (np.arange(places)[None, :] - rotation) % places
    return np.asarray(by_place[..., rotation, place].mean(axis=-2))


def position_bias(picks: Array) -> Array:
    """Largest distance of a place's share of choices from the fair one; (..., places) to (...)."""
    with np.errstate(invalid="ignore"):  # nothing was chosen at all: not defined
        shares = picks / picks.sum(axis=-1, keepdims=True)
    return np.asarray(np.abs(shares - 1 / picks.shape[-1]).max(axis=-1))


def _letters(corpus: Corpus) -> str:
    n = len(corpus.annotator_ids)
    if not 2 <= n <= len(ascii_uppercase):
        raise CapoBenchError(
            f"corpus {corpus.name} has {n} annotators; a judge chooses between 2 to "
            f"{len(ascii_uppercase)}"
        )
    return ascii_uppercase[:n]


def _histories(
    corpus: Corpus, options: JudgeOptions, count_tokens: Callable[[str], int]
) -> dict[str, list[str]]:
    """Equally many training responses of each annotator, as many as the budget allows."""
    histories = {}
    for annotator in corpus.annotator_ids:
        own = earlier_responses(corpus, annotator)
        used = np.cumsum([count_tokens(text) for text in own[: options.k]])
        histories[annotator] = own[: int((used <= options.example_tokens).sum())]
    shown = min(map(len, histories.values()))
    if shown == 0:
        raise CapoBenchError(
            f"k={options.k} and example_tokens={options.example_tokens} leave no example of some "
            "annotator; raise them"
        )
    return {annotator: own[:shown] for annotator, own in histories.items()}


def _documents(
    corpus: Corpus, options: JudgeOptions, found: PredictionFile | None
) -> list[dict[str, Any]]:
    sources = {HUMAN: join(corpus, options.split, human_predictions(corpus, options.split))}
    if found is not None:
        judged = {prediction.item for prediction in found.predictions}
        human = [p for p in human_predictions(corpus, options.split) if p.item in judged]
        sources = {
            PREDICTIONS: join(corpus, options.split, found.predictions),
            HUMAN: join(corpus, options.split, human),
        }
    items = sources[HUMAN].items
    size = options.group_size
    if not 1 <= size <= len(items):
        raise CapoBenchError(
            f"group_size={size}: a question can cover 1 to {len(items)} items, as many as split "
            f"{options.split} of corpus {corpus.name} has to judge"
        )
    left = len(items) % size
    if left:
        _log.warning(
            "%d of %d items fill no block of %d and are not judged", left, len(items), size
        )
    return [
        {
            "fingerprint": corpus.fingerprint,
            "items": [item.id for item in items[start : start + size]],
            "questions": [
                question
                for source, cells in sources.items()
                for question in _questions(source, cells, range(start, start + size))
            ],
        }
        for start in range(0, len(items) - left, size)
    ]


def _questions(source: str, cells: Cells, block: range) -> list[dict[str, Any]]:
    questions = []
    for index, annotator in enumerate(cells.corpus.annotator_ids):
        own = np.flatnonzero(np.isin(cells.item, block) & (cells.annotator == index))
        responses = [cells.parsed[cell] for cell in own]
        if responses:
            questions.append(
                {
                    "source": source,
                    "annotator": annotator,
                    "responses": [render_target(r.labels, r.explanation) for r in responses],
                    "explained": any(r.explanation for r in responses),
                }
            )
    return questions


def _number(n: int) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) else str(n)
