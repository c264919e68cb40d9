"""Control rows: impostors that answer a whole split without being the annotator, and the humans.

A metric is worth what it does to them. Apart from the ceilings, no row reads the target's own
response to the item: what an impostor may know is the item, the train split, and what other
annotators answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any

from capo_bench.corpus.evaluable import MAX_READ, is_crowd, spread
from capo_bench.corpus.model import Corpus, Item, LabelSpace, Response, TaskSpec, cell_labels
from capo_bench.corpus.synthetic.world import world_of
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.attribution import fit_attributor
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.metrics.guards import PHRASE_N, fit_item_vectors, ngrams
from capo_bench.metrics.lexicon import Lexicon, lexicon_of
from capo_bench.metrics.registry import HEADLINE
from capo_bench.metrics.tokens import words
from capo_bench.prompts.responses import render_target
from capo_bench.render.estimates import estimate_json
from capo_bench.scoring.cache import Measurements, measured
from capo_bench.scoring.scorer import Scorer, Scores
from capo_bench.stats.resampling import Estimate, Undefined

HUMAN, AGAIN = "human", "asked-again"
CEILINGS = (HUMAN, AGAIN)
"""The rows that are no impostors: the annotators, and in a synthetic world the same once more."""
LABEL_ROWS = (
    HUMAN,
    "other-annotator",
    "swapped",
    "others-majority",
    "wrong-item",
    "empty",
    "constant",
)
"""The rows that differ in their labels: those of a corpus of labels alone."""

_STUFFED_FROM, _STUFFED_WITH = 12, 8


def control_predictions(
    corpus: Corpus, split: str = "test", seed: int = 0
) -> dict[str, tuple[Prediction, ...]]:
    """The responses of every control row to every labelled cell of a split.

    | row | label | explanation |
    |---|---|---|
    | `human` | the target's own (the ceiling) | the target's own, the first of the cell |
    | `asked-again` | fresh, of the target, in a synthetic world (all that can be learned) | fresh |
    | `other-annotator` | of a random other annotator of the item | theirs |
    | `swapped` | of the annotator next in the corpus's order | theirs |
    | `others-majority` | the others' majority | of another annotator, with that label if any |
    | `wrong-item` | the target's own for another item of the split | theirs for that item |
    | `empty` | none | none |
    | `constant` | the target's most frequent in training | the target's most typical in training |
    | `majority-template` | the others' majority | one template that quotes the item |
    | `random-train` | the others' majority | a random training explanation of the target |
    | `nearest-train` | the others' majority | the target's for the nearest training item |
    | `favourite-phrase` | as `other-annotator` | with the target's favourite 3-gram appended |
    | `best-train-appended` | as `other-annotator` | with the target's most typical one appended |
    | `refilled-train` | the others' majority | `nearest-train` with the item's words filled in |
    | `spliced-train` | the others' majority | halves of two training explanations, refilled |
    | `stuffed` | as `others-majority` | with frequent function words of the target appended |

    The others' majority is their most frequent label for the item (the median of ordinal ones); most
    typical is what the attribution classifier takes for the target's most surely; the favourite
    3-gram is the one whose rate exceeds that of the others most. Where nobody else answered the item,
    another annotator's random training response stands in for theirs.

    Pure and deterministic: every choice has a generator of its own, seeded with `seed`, its purpose,
    the item and the annotator. Rows that build on another annotator's response share it.

    Args:
        corpus: The corpus.
        split: The split to answer; not `train`, which the impostors know.
        seed: Another seed gives other random choices.

    Raises:
        CapoBenchError: If the split is `train` or has no labelled cells, there is one annotator
            only, or nobody has training responses.
    """
    cells = evaluated_cells(corpus, split)
    if split == "train":
        raise CapoBenchError("control rows know the train split; choose another split to answer")
    if not cells:
        raise CapoBenchError(
            f"split {split} of corpus {corpus.name} has no labelled cells of annotators whom "
            "training responses show, so there is nothing to answer"
        )
    if len(corpus.annotator_ids) < 2:
        raise CapoBenchError(f"corpus {corpus.name} has one annotator; controls need two or more")
    impostor = _Impostor(corpus, cells)
    world = world_of(corpus)
    rows: dict[str, list[Prediction]] = {}
    for item, annotator in cells:
        answer = _label_answers if corpus.task.explanations == "none" else _answers
        for row, text in answer(impostor, item, annotator, seed).items():
            rows.setdefault(row, []).append(Prediction(item.id, annotator, text))
            if row == HUMAN and world:
                said = world.sample(
                    item.id, annotator, Random(f"{seed}/{AGAIN}/{item.id}/{annotator}")
                )
                fresh = render_target(said.labels, said.explanation)
                rows.setdefault(AGAIN, []).append(Prediction(item.id, annotator, fresh))
    return {row: tuple(predictions) for row, predictions in rows.items()}


@dataclass(frozen=True)
class ControlRow:
    """One control row, scored.

    Attributes:
        name: As in `control_predictions`.
        scores: All metrics.
        below_human: `faithful_rate` of the row `human` minus this row's, paired by item.
    """

    name: str
    scores: Scores
    below_human: Estimate | Undefined

    def as_json(self) -> dict[str, Any]:
        """As `Scores.as_json`, and `below_human`."""
        return {**self.scores.as_json(), "below_human": estimate_json(self.below_human)}


def score_controls(
    scorer: Scorer, predictions: Mapping[str, Sequence[Prediction]]
) -> Iterator[ControlRow]:
    """Scores control rows one by one, `human` first; what was scored before costs nothing.

    Args:
        scorer: The scorer of their corpus and split.
        predictions: As from `control_predictions`.
    """
    human: Measurements | None = None
    for name, row in predictions.items():
        (found,) = measured(scorer, (row,))
        human = human or found
        yield ControlRow(name, found.scores, human.minus(found, HEADLINE))


def _label_answers(known: _Impostor, item: Item, annotator: str, seed: int) -> dict[str, str]:
    """What `LABEL_ROWS` answer for one cell, by row."""

    def rng(row: str) -> Random:
        return Random(f"{seed}/{row}/{item.id}/{annotator}")

    labels = (
        cell_labels(item.cells[annotator]),
        known.other(item, annotator, rng("other")).labels,
        known.next(item, annotator, rng("swapped")).labels,
        [known.majority(item, annotator)],
        known.elsewhere(item, annotator, rng("elsewhere")).labels,
        None,
        [known.usual_label(annotator)],
    )
    return {
        row: "" if one is None else render_target(one, "")
        for row, one in zip(LABEL_ROWS, labels, strict=True)
    }


def _answers(known: _Impostor, item: Item, annotator: str, seed: int) -> dict[str, str]:
    """What every row answers for one cell, by row, in the order of tables."""

    def rng(row: str) -> Random:
        return Random(f"{seed}/{row}/{item.id}/{annotator}")

    own = item.cells[annotator]
    own_labels = cell_labels(own)
    shown = known.shown(annotator)
    other = known.other(item, annotator, rng("other"))
    agreeing = known.agreeing(item, annotator, rng("agreeing"))
    near_item, near = known.nearest(item, annotator)
    history = known.train[shown]
    typical, favourite = known.typical[shown], known.favourite[shown]
    usual = known.function_words[shown] or [""]
    stuffing = " ".join(rng("stuffing").choices(usual, k=_STUFFED_WITH))
    halves = [
        _refill(response.explanation, source, item, known.lexicon).split()
        for source, response in rng("splicing").choices(history, k=2)
    ]
    first, second = (half[: -(-len(half) // 2)] for half in (halves[0], halves[1][::-1]))

    def whole(response: Response) -> str:
        return render_target(response.labels, response.explanation)

    def guessed(explanation: str) -> str:
        return render_target([known.majority(item, annotator)], explanation)

    return {
        HUMAN: render_target(own_labels, own[0].explanation),
        "other-annotator": whole(other),
        "swapped": whole(known.next(item, annotator, rng("swapped"))),
        "others-majority": guessed(agreeing.explanation),
        "wrong-item": whole(known.elsewhere(item, annotator, rng("elsewhere"))),
        "empty": "",
        "constant": render_target([known.usual_label(annotator)], typical),
        "majority-template": guessed(_template(known.corpus.task, item)),
        "random-train": guessed(rng("train").choice(history)[1].explanation),
        "nearest-train": guessed(near.explanation),
        "favourite-phrase": whole(replace(other, explanation=f"{other.explanation} {favourite}")),
        "best-train-appended": whole(replace(other, explanation=f"{other.explanation} {typical}")),
        "refilled-train": guessed(_refill(near.explanation, near_item, item, known.lexicon)),
        "spliced-train": guessed(" ".join([*first, *second[::-1]])),
        "stuffed": guessed(f"{agreeing.explanation} {stuffing}"),
    }


def central_label(space: LabelSpace, labels: Sequence[str]) -> str:
    """The most frequent of some labels, or on a scale their median (the lower of two)."""
    if space.ordered:
        return sorted(labels, key=space.value_of.__getitem__)[(len(labels) - 1) // 2]
    return max(space.labels, key=labels.count)


class _Impostor:
    """What an impostor knows: the items, the train split, the other annotators' responses."""

    def __init__(self, corpus: Corpus, cells: Sequence[tuple[Item, str]]) -> None:
        self.corpus = corpus
        self.cells = cells
        self.lexicon = lexicon_of(corpus)
        labels_alone = corpus.task.explanations == "none"
        histories = {
            annotator: [
                pair
                for pair in corpus.responses("train", annotator)
                if labels_alone or pair[1].explanation
            ]
            for annotator in corpus.annotator_ids
        }
        self.busiest = max(histories, key=lambda annotator: len(histories[annotator]))
        crowd = is_crowd(corpus) and not labels_alone
        self.train = {
            annotator: spread(history, MAX_READ) if crowd else history
            for annotator, history in histories.items()
        }
        self.place = {annotator: index for index, annotator in enumerate(corpus.annotator_ids)}
        self.writers = [annotator for annotator, history in self.train.items() if history]
        self.answered: dict[str, list[Item]] = {}
        for item, annotator in cells:
            self.answered.setdefault(annotator, []).append(item)
        self._answered_by: dict[str, list[str]] = {}
        self.posed = dict.fromkeys(map(self.shown, self.answered))
        if not self.train[self.busiest]:
            raise CapoBenchError(
                f"corpus {corpus.name} has no training responses, so nobody can be posed as"
            )

    def shown(self, annotator: str) -> str:
        """Whom an impostor poses as: where train shows nothing of the target, the busiest one."""
        return annotator if self.train[annotator] else self.busiest

    def others(self, item: Item, annotator: str) -> list[Response]:
        """The other annotators' responses to the item."""
        return [r for other in self._answering(item, annotator) for r in item.cells[other]]

    def _answering(self, item: Item, annotator: str) -> list[str]:
        """Who else answered the item, in the corpus's order."""
        if item.id not in self._answered_by:
            given = (one for one, responses in item.cells.items() if responses)
            self._answered_by[item.id] = sorted(given, key=self.place.__getitem__)
        return [one for one in self._answered_by[item.id] if one != annotator]

    def other(self, item: Item, annotator: str, rng: Random) -> Response:
        """A response of a random other annotator, to this item if there is one."""
        if answered := self._answering(item, annotator):
            return rng.choice(item.cells[rng.choice(answered)])
        return self._substitute(annotator, rng)

    def next(self, item: Item, annotator: str, rng: Random) -> Response:
        """The first response of the annotator who comes next and answered the item."""
        others = self._answering(item, annotator)
        if not others:
            return self._substitute(annotator, rng)
        after = [other for other in others if self.place[other] > self.place[annotator]]
        return item.cells[(after or others)[0]][0]

    def _substitute(self, annotator: str, rng: Random) -> Response:
        # Nobody else answered: someone else's training response stands in.
        known = bool(self.train[annotator])
        others = len(self.writers) - known
        if not others:
            raise CapoBenchError(
                f"corpus {self.corpus.name}: nobody but {annotator} has training responses; "
                "controls need two annotators or more"
            )
        drawn = rng.randrange(others)
        if known and drawn >= self.writers.index(annotator):
            drawn += 1
        return rng.choice(self.train[self.writers[drawn]])[1]

    def majority(self, item: Item, annotator: str) -> str:
        """The others' most frequent label, or median; where there are none, the target's usual."""
        labels = [label for response in self.others(item, annotator) for label in response.labels]
        return (
            central_label(self.corpus.task.labels, labels)
            if labels
            else self.usual_label(annotator)
        )

    def usual_label(self, annotator: str) -> str:
        """The target's most frequent training label."""
        labels = [label for _, r in self.train[self.shown(annotator)] for label in r.labels]
        return max(self.corpus.task.labels.labels, key=labels.count)

    @cached_property
    def typical(self) -> dict[str, str]:
        """Each annotator's training explanation that is most surely theirs, else their longest."""
        attributor = fit_attributor(self.corpus, normalised=True)
        columns: dict[str, int] = {}
        if not isinstance(attributor, Undefined):
            ids = self.corpus.annotator_ids
            columns = {ids[a]: column for column, a in enumerate(attributor.annotators)}
        found = {}
        for annotator in self.posed:
            history = self.train[annotator]
            texts = [response.explanation for _, response in history]
            if annotator in columns and not isinstance(attributor, Undefined):
                inputs = [item.text for item, _ in history]
                scores = attributor.log_probabilities(texts, inputs)[:, columns[annotator]]
                found[annotator] = texts[int(scores.argmax())]
            elif texts:
                found[annotator] = max(texts, key=len)
        return found

    @cached_property
    def favourite(self) -> dict[str, str]:
        """Each annotator's 3-gram whose rate in training exceeds that of the others most."""
        # In a crowd, against those who are asked for: they have most of what was said.
        read = self.posed if is_crowd(self.corpus) else self.train
        counts = {
            a: Counter(g for _, r in self.train[a] for g in ngrams(words(r.explanation), PHRASE_N))
            for a in read
        }
        everyone: Counter[tuple[str, ...]] = Counter()
        for own in counts.values():
            everyone.update(own)
        total = sum(len(self.train[annotator]) for annotator in read)
        found = {}
        for annotator in self.posed:
            own = counts[annotator]
            n = max(len(self.train[annotator]), 1)
            rest = max(total - len(self.train[annotator]), 1)
            excess = {gram: own[gram] / n - (everyone[gram] - own[gram]) / rest for gram in own}
            ranked = sorted(own, key=lambda gram: (excess[gram], gram))
            found[annotator] = " ".join(ranked[-1]) if ranked else ""
        return found

    @cached_property
    def function_words(self) -> dict[str, list[str]]:
        """Each annotator's most frequent function words in training."""
        return {
            annotator: [
                word
                for word, _ in Counter(
                    word
                    for _, response in self.train[annotator]
                    for word in words(response.explanation)
                    if word in self.lexicon.function
                ).most_common(_STUFFED_FROM)
            ]
            for annotator in self.posed
        }

    def nearest(self, item: Item, annotator: str) -> tuple[Item, Response]:
        """The target's training response to the item that is most like this one."""
        return self._nearest[item.id, annotator]

    @cached_property
    def _nearest(self) -> dict[tuple[str, str], tuple[Item, Response]]:
        # Annotator by annotator: held against their own history alone, as few have all items in it.
        histories = [self.train[annotator] for annotator in self.posed]
        train = list({item.id: item for own in histories for item, _ in own}.values())
        items = {item.id: item for item, _ in self.cells}
        column = {item.id: at for at, item in enumerate(train)}
        row = {identifier: at for at, identifier in enumerate(items)}
        vectors = fit_item_vectors(self.corpus)
        known, asked = vectors.items(train), vectors.items(list(items.values()))
        found = {}
        for annotator, answered in self.answered.items():
            history = self.train[self.shown(annotator)]
            own = known[[column[item.id] for item, _ in history]]
            similarity = (asked[[row[item.id] for item in answered]] @ own.T).toarray()
            for item, best in zip(answered, similarity.argmax(axis=1), strict=True):
                found[item.id, annotator] = history[best]
        return found

    def agreeing(self, item: Item, annotator: str, rng: Random) -> Response:
        """A random response of another annotator that has the majority label, else any of theirs."""
        label = self.majority(item, annotator)
        agreeing = [r for r in self.others(item, annotator) if label in r.labels]
        return rng.choice(agreeing) if agreeing else self.other(item, annotator, rng)

    def elsewhere(self, item: Item, annotator: str, rng: Random) -> Response:
        """The target's response to another item of the split, else of the train split."""
        own = [other for other in self.answered[annotator] if other.id != item.id]
        if own:
            return rng.choice(own).cells[annotator][0]
        return rng.choice(self.train[self.shown(annotator)])[1]


def _refill(explanation: str, source: Item, target: Item, lexicon: Lexicon) -> str:
    """Replaces the words that an explanation shares with its item by words of another item."""
    content = {word for text in source.text.values() for word in words(text)} - lexicon.function
    fill = [
        word
        for text in target.text.values()
        for word in words(text)
        if word not in lexicon.function
    ]
    chosen: dict[str, str] = {}
    out = []
    for token in explanation.split():
        word = next(iter(words(token)), "")
        shared = word in content and fill
        out.append(chosen.setdefault(word, fill[len(chosen) % len(fill)]) if shared else token)
    return " ".join(out)


def _template(task: TaskSpec, item: Item) -> str:
    quoted = [f'the {title.lower()} is "{item.text[name]}"' for name, title in task.fields.items()]
    return f"This is the answer because {' and '.join(quoted)}."
