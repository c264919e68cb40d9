"""An attack on the headline that reaches more than the red team: better labels, sets of finer texts.

    python tests/benchmarks/stronger_sets.py --corpus nli --knows train

It knows the items and what was answered before the evaluated split; with `--knows others` also what
the *other* annotators answered to the evaluated items, which no honest system reads. What the
annotator who is imitated answered to these is read by the score alone.

Labels are guessed for each annotator from how an item's texts compare, in words and in the states of
a small encoder, and from the others' labels where these are known; how is chosen by folds of the
earlier splits. Explanations are the annotator's earlier ones taken apart, with whole runs of the
item's words where whole runs of another item's stood. Of these and the red team's own texts the set
is searched that is nearest to what the annotator wrote before, in rounds: what nearly made it into
the set stays, the rest is drawn anew. `--own-sets` writes for these labels as the red team's
`chosen_as_sets` does.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import GroupKFold

from capo_bench.corpus.model import Corpus, Item, Response, cell_labels, splits_before
from capo_bench.metrics.bertscore import load_encoder
from capo_bench.metrics.cells import Prediction, join
from capo_bench.metrics.indistinguishability import (
    Discriminator,
    label_similarities,
    text_similarities,
)
from capo_bench.metrics.instruments import Reading
from capo_bench.metrics.labels import indicators
from capo_bench.metrics.lexicon import Lexicon
from capo_bench.metrics.registry import HEADLINE, IDENTITY, INDISTINCT, LABEL, measure
from capo_bench.metrics.style import mask_normalised
from capo_bench.metrics.tokens import normalise
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.attacker import Author, Cell, Guess, Material
from capo_bench.scoring.choosing import _reader, _shapes, chosen_as_sets
from capo_bench.scoring.forgeries import GENERATORS, written
from capo_bench.scoring.guessing import _alike, _beyond_chance
from capo_bench.scoring.options import Options
from capo_bench.scoring.red_team import CANDIDATES
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Array, Undefined, estimate

FOLDS = 5
# Of the red team's generators; the peers join in where what they read is known.
FAMILIES = ("chains", "copied", "edits", "pieces")
LONGEST = 45  # words and runs of words of an explanation
PASSES = 15  # of a descent over the cells
HEADER = """\
| corpus | knows | sets | seed | labels by | label skill by folds | faithful rate | label skill \
| P(target) | consistency | indistinguishable | shares | seconds |
|---|---|---|--:|---|--:|--:|--:|--:|--:|--:|---|--:|"""
SHOWN = (HEADLINE, LABEL, IDENTITY, "explanation_consistency", INDISTINCT)


def better_guess(
    material: Material, shares: Sequence[float], *, peers: bool
) -> tuple[Guess, float, str]:
    """The guess of labels that has most skill on the earlier splits, by folds of their items.

    Trees say how likely each label is; the guess is the one that exceeds a share of the annotator's
    usual rate most. Beside them stands what the red team goes by: its own best guess, or the others'
    majority.

    Args:
        material: What is known.
        shares: Of the usual rate, to choose from.
        peers: Whether the others' answers are known.

    Returns:
        The guess, its skill by folds, and how it is made.
    """
    corpus, labels = material.corpus, material.corpus.task.labels.labels
    known = [
        (item, annotator, label)
        for annotator in material.history
        for split in splits_before(material.split)
        for item, response in corpus.responses(split, annotator)
        for label in response.labels
    ]
    told, asked = [(item, annotator) for item, annotator, _ in known], material.cells
    truth = np.array([labels.index(label) for *_, label in known])
    ids = list(material.history)
    who, asks = (np.array([ids.index(a) for _, a in cells]) for cells in (told, asked))
    usual = np.zeros((len(ids), len(labels)))
    np.add.at(usual, (who, truth), 1)
    usual /= usual.sum(axis=1, keepdims=True)
    compared = _compared(corpus, material.lexicon)
    rows, new_rows = (
        np.array(
            [[*compared[i.id], *(_others_said(corpus, i, a) if peers else ())] for i, a in cells]
        )
        for cells in (told, asked)
    )
    held_out = np.zeros((len(told), len(labels)))
    for fit, left in GroupKFold(FOLDS).split(rows, groups=[item.id for item, _ in told]):
        held_out[left] = _probable(
            rows[fit], who[fit], truth[fit], rows[left], who[left], len(labels)
        )
    new = _probable(rows, who, truth, new_rows, asks, len(labels))
    guesses = {
        f"trees, {share} of the usual rate off": [
            (found - share * usual[own]).argmax(axis=1)
            for found, own in ((held_out, who), (new, asks))
        ]
        for share in shares
    }
    theirs = "majority" if peers else "predicted"
    guesses[f"red team's {theirs}"] = [
        np.array([labels.index(material.guesses[theirs](*cell)) for cell in cells])
        for cells in (told, asked)
    ]
    skills = {
        how: _beyond_chance(guessed, truth, who) / _beyond_chance(truth, truth, who)
        for how, (guessed, _) in guesses.items()
    }
    for how, skill in skills.items():
        _progress(f"{how}: label skill {skill:.3f} by folds")
    how = max(skills, key=lambda one: skills[one])
    best = {(i.id, a): labels[at] for (i, a), at in zip(asked, guesses[how][1], strict=True)}
    return (lambda item, annotator: best[item.id, annotator]), skills[how], how


def _probable(
    rows: Array, who: NDArray[np.int64], truth: NDArray[np.int64],
    new_rows: Array, asks: NDArray[np.int64], labels: int,
) -> Array:  # fmt: skip
    """Probabilities of the labels of new cells, by a fit to each annotator's known ones."""
    found = np.zeros((len(asks), labels))
    for one in np.unique(asks):
        trees = ExtraTreesClassifier(200, min_samples_leaf=4, max_features=0.3, random_state=0)
        trees.fit(rows[who == one], truth[who == one])
        ours = np.flatnonzero(asks == one)
        found[np.ix_(ours, trees.classes_)] = trees.predict_proba(new_rows[ours])
    return found


def _compared(corpus: Corpus, lexicon: Lexicon) -> dict[str, Array]:
    """By item how its first and last text compare: in words, and in an encoder's states."""
    texts = [list(item.text.values()) for item in corpus.items]
    states = load_encoder("minilm").encode([own[end] for end in (0, -1) for own in texts])
    means = np.stack([one.mean(axis=0) for one in states])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    first, last = np.split(means, 2)
    topics = np.hstack([np.abs(first - last), first * last])
    topics = PCA(min(30, len(texts)), random_state=0).fit_transform(topics)
    found = {}
    for at, item in enumerate(corpus.items):
        one, other = states[at], states[len(texts) + at]
        words = one[1:-1] @ other[1:-1].T
        nearest = words.max(axis=1), words.max(axis=0)  # to each word of either text
        found[item.id] = np.array(
            [
                *_alike(item, lexicon),
                *(taken(near) for near in nearest for taken in (np.mean, np.min)),
                *(np.sort(near)[:3].mean() for near in nearest),
                *np.log([len(one), len(other)]),
                first[at] @ last[at],
                *topics[at],
            ]
        )
    return found


def _others_said(corpus: Corpus, item: Item, annotator: str) -> Array:
    """The labels that each of the others gave to the item, and their mean; of a scale the numbers."""
    space = corpus.task.labels
    said = [
        cell_labels(item.cells.get(one, ())) if one != annotator else ()
        for one in corpus.annotator_ids
    ]
    shares = indicators(space.labels, said).astype(float)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
    shares = np.vstack([shares, shares.sum(axis=0) / max(sum(map(bool, said)), 1)])
    values = np.array(space.values or np.zeros(len(space.labels)))
    return np.hstack([shares.ravel(), shares @ values, shares @ values**2])


class Span(NamedTuple):
    """A run of words that an explanation took from a text of its item, to be filled from another."""

    text: str
    length: int


Token = str | Span
Frame = list[Token]


def framed(explanation: str, item: Item, function: frozenset[str]) -> Frame:
    """An explanation with spans for what it took from its item.

    The red team's slots stand for one word each; a run that is filled by a run reads as language.
    """
    tokens = normalise(explanation).split()
    sources = {name: normalise(text).split() for name, text in item.text.items()}
    out: Frame = []
    at = 0
    while at < len(tokens):
        length, name = max(
            ((_run(tokens[at:], words[p:], function), name)
             for name, words in sources.items() for p in range(len(words))),
            key=lambda found: found[0], default=(0, ""),
        )  # fmt: skip
        # A function word stands in every item; a run that begins with one is taken if it is long.
        taken = length >= (3 if tokens[at] in function else 1)
        out.append(Span(name, length) if taken else tokens[at])
        at += length if taken else 1
    return out


def _run(ours: Sequence[str], theirs: Sequence[str], function: frozenset[str]) -> int:
    """How many words two texts share from their start, up to the last that is no function word."""
    length = 0
    for at, (one, other) in enumerate(zip(ours, theirs, strict=False), 1):
        if one != other:
            break
        length = length if one in function else at
    return length


def _seen(token: Token) -> str:
    return "#" if isinstance(token, Span) else token


class Writer:
    """Writes for annotators and labels, from frames of what the annotators wrote before."""

    def __init__(self, material: Material, guess: Guess) -> None:
        self.material, self.guess = material, guess
        self.frames = {
            annotator: [framed(r.explanation, item, material.lexicon.function) for item, r in own]
            for annotator, own in material.history.items()
        }
        self._follows: dict[Author, dict[tuple[str, ...], Frame]] = {}

    def follows(self, author: Author) -> Mapping[tuple[str, ...], Frame]:
        """What follows one to three words in the frames that argue for the label; `>` is the end."""
        if author not in self._follows:
            found = defaultdict(list)
            for at in self.material.fitting(author):
                frame = ["<"] * 3 + self.frames[author.annotator][at] + [">"]
                past = [*map(_seen, frame)]
                for place in range(3, len(frame)):
                    for order in (1, 2, 3):
                        found[tuple(past[place - order : place])].append(frame[place])
            self._follows[author] = dict(found)
        return self._follows[author]

    def walked(self, author: Author, rng: Random, weights: Sequence[float]) -> Frame:
        """A walk over the frames that goes by the last three, two or one words, at random."""
        follows, past, out = self.follows(author), ["<"] * 3, Frame()
        while len(out) < LONGEST:
            order = rng.choices((3, 2, 1), weights)[0]
            known = (follows.get(tuple(past[-n:])) for n in range(order, 0, -1))
            token = rng.choice(next(filter(None, known)))
            if token == ">":
                break
            out.append(token)
            past.append(_seen(token))
        return out

    def earlier(self, author: Author, rng: Random) -> Frame:
        """What the annotator wrote of another item for the label, to be refilled."""
        return self.frames[author.annotator][rng.choice(self.material.fitting(author))]

    def spliced(self, author: Author, rng: Random) -> Frame:
        """Two earlier explanations, cut at a word that both have."""
        first, second = self.earlier(author, rng), self.earlier(author, rng)
        cuts = [
            (p, q)
            for p in range(1, len(first))
            for q in range(1, len(second))
            if _seen(first[p]) == _seen(second[q])
        ]
        p, q = rng.choice(cuts or [(len(first), len(second))])
        return first[:p] + second[q:]

    def repeated(self, author: Author, rng: Random) -> Frame:
        """An earlier explanation, word for word."""
        own = self.material.history[author.annotator]
        return normalise(own[rng.choice(self.material.fitting(author))][1].explanation).split()


# Walks say more that is new than the others do, so that there are more of them.
DRAFTS: Sequence[Callable[[Writer, Author, Random], Frame]] = (
    *[partial(Writer.walked, weights=(0.75, 0.2, 0.05))] * 4,
    *[partial(Writer.walked, weights=(0.4, 0.45, 0.15))] * 4,
    *[Writer.spliced] * 3,
    Writer.earlier,
    Writer.repeated,
)


def filled(frame: Frame, item: Item, function: frozenset[str], rng: Random) -> str:
    """The spans filled with runs of the item's words that begin with a content word."""
    sources = {name: normalise(text).split() for name, text in item.text.items()}
    used: set[tuple[str, int]] = set()
    out: list[str] = []
    for token in frame:
        if isinstance(token, str):
            out.append(token)
            continue
        words = sources[token.text]
        length = min(token.length, len(words))
        starts = [p for p in range(len(words) - length + 1) if words[p] not in function] or [0]
        start = rng.choice([p for p in starts if (token.text, p) not in used] or starts)
        used.add((token.text, start))
        out += words[start : start + length]
    return " ".join(out) or "it is"


def drawn(writer: Writer, cells: Sequence[Cell], seed: int, *, peers: bool) -> Iterator[list[str]]:
    """An explanation for each cell by every way to write one, some of the red team's included."""
    function = writer.material.lexicon.function
    for n, draft in enumerate(DRAFTS):
        texts = []
        for item, annotator in cells:
            rng = Random(f"{seed}/{n}/{item.id}/{annotator}")
            author = Author(annotator, writer.guess(item, annotator))
            texts.append(filled(draft(writer, author, rng), item, function, rng))
        yield texts
    for generator, (family, _) in GENERATORS.items():
        if family in FAMILIES or (peers and family == "peers"):
            yield written(writer.material, generator, cells, writer.guess, seed)


def nearest_sets(writer: Writer, *, peers: bool, rounds: int, kept: int, seed: int) -> list[str]:
    """Of each annotator's candidates the set nearest to what they wrote before, in rounds.

    After each round every cell keeps so many of its candidates, those that would do best in the set
    as it stands, and as many new ones are drawn as in the first. Nearest by the maximum mean
    discrepancy in the score's kernel of labels and texts, as in `chosen_as_sets`.
    """
    material = writer.material
    readers = {
        split: _reader(material, split, peers=peers)
        for split in (material.split, *splits_before(material.split))
    }
    chosen: dict[tuple[str, str], str] = {}
    for annotator, own in material.history.items():
        cells = [cell for cell in material.cells if cell[1] == annotator]
        if not cells:
            continue
        human = [_shapes(readers[i.split], [r.explanation], [(i, annotator)])[0] for i, r in own]
        pool: list[dict[str, Array]] = [{} for _ in cells]  # of each cell the shapes, by text
        for turn in range(rounds):
            for draw in drawn(writer, cells, seed * 1000 + turn, peers=peers):
                _add(pool, draw, cells, readers[material.split])
            shapes = [shape for some in pool for shape in some.values()]
            flat = [(at, text) for at, some in enumerate(pool) for text in some]
            candidates = [(*cells[at], text) for at, text in flat]
            kernel = _kernel(writer, own, human, candidates, shapes)
            of_cell = np.array([at for at, _ in flat])
            rows = [np.flatnonzero(of_cell == at) for at in range(len(cells))]
            distance, taken, ranked = _descend(kernel, len(own), rows, seed)
            pool = [
                {text: some[text] for text in (flat[row][1] for row in order[:kept])}
                for some, order in zip(pool, ranked, strict=True)
            ]
            _progress(f"{annotator}, round {turn + 1}: {len(flat)} candidates, at {distance:.5f}")
        for (item, _), row in zip(cells, taken, strict=True):
            chosen[item.id, annotator] = flat[row][1]
    return [chosen[item.id, annotator] for item, annotator in material.cells]


def _add(
    pool: list[dict[str, Array]], draw: Sequence[str], cells: Sequence[Cell], reader: Discriminator
) -> None:
    """Adds a text to each cell's candidates, where it is none yet."""
    new = [at for at, text in enumerate(draw) if text not in pool[at]]
    shapes = _shapes(reader, [draw[at] for at in new], [cells[at] for at in new]) if new else ()
    for at, shape in zip(new, shapes, strict=True):
        pool[at][draw[at]] = shape


def _kernel(
    writer: Writer, own: Sequence[tuple[Item, Response]], human: Sequence[Array],
    candidates: Sequence[tuple[Item, str, str]], shapes: Sequence[Array],
) -> Array:  # fmt: skip
    """Similarities of an annotator's earlier responses and then the candidates."""
    lexicon, spread = writer.material.lexicon, np.std(human, axis=0) + 1e-9
    texts = [(item, response.explanation) for item, response in own]
    texts += [(item, text) for item, _, text in candidates]
    masked = [mask_normalised(text, item.text, lexicon) for item, text in texts]
    said = [response.labels for _, response in own]
    said += [(writer.guess(item, annotator),) for item, annotator, _ in candidates]
    shape = (np.array([*human, *shapes]) - np.mean(human, axis=0)) / spread
    kernel = text_similarities(masked, shape, lexicon)
    kernel *= label_similarities(said, writer.material.corpus.task.labels.labels)
    return kernel


def _descend(
    kernel: Array, known: int, own: Sequence[NDArray[np.int64]], seed: int
) -> tuple[float, NDArray[np.int64], list[NDArray[np.int64]]]:
    """A set that no change of one cell brings nearer.

    Args:
        kernel: Of the known texts and then of all candidates.
        known: How many texts are known.
        own: The candidates of each cell.
        seed: Of the set to begin with and the order of cells.

    Returns:
        Its discrepancy, its candidates, and of each cell all of them, best first.
    """
    to_known, among = kernel[known:, :known].mean(axis=1), kernel[known:, known:]
    rng = np.random.default_rng(seed)
    taken = np.array([rng.choice(rows) for rows in own])
    near = among[taken].sum(axis=0)

    def cost(cell: int) -> Array:
        """What the set would come to with each candidate of a cell."""
        rows = own[cell]
        others = near[rows] - among[taken[cell], rows]
        return (2 * others + among[rows, rows]) / len(own) - 2 * to_known[rows]

    for _ in range(PASSES):
        before = taken.copy()
        for cell in rng.permutation(len(own)):
            best = own[cell][cost(cell).argmin()]
            near += among[best] - among[taken[cell]]
            taken[cell] = best
        if (taken == before).all():
            break
    distance = among[np.ix_(taken, taken)].mean() - 2 * to_known[taken].mean()
    distance = float(distance + kernel[:known, :known].mean())
    return distance, taken, [rows[cost(cell).argsort()] for cell, rows in enumerate(own)]


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def scored(scorer: Scorer, predictions: Sequence[Prediction]) -> list[str]:
    """Cells of a Markdown table: `SHOWN` with intervals, and the annotators' shares."""
    reading = Reading(join(scorer.corpus, scorer.split, predictions), scorer.instruments)
    found = measure(reading, only=SHOWN)
    cells = [
        "not defined"
        if isinstance(found[name], Undefined)
        else f"{(one := estimate(found[name])).value:.3f} [{one.low:.3f}, {one.high:.3f}]"
        for name in SHOWN
    ]
    told = reading.discrimination
    shares = [] if isinstance(told, Undefined) else [f"{share:.2f}" for share in told.shares]
    return [*cells, ", ".join(shares)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="mini-nli")
    parser.add_argument("--knows", choices=["train", "others"], default="train")
    parser.add_argument("--rounds", type=int, default=5, help="of search")
    parser.add_argument("--kept", type=int, default=12, help="candidates of a cell between rounds")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5, 1.0],
                        help="of an annotator's usual rate of a label to take off")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--own-sets", action="store_true", help="the red team's texts and search")
    given = parser.parse_args()
    start, peers = time.monotonic(), given.knows == "others"
    scorer: Scorer = Options(given.corpus).scorer()
    material = Material(scorer.corpus, scorer.split)
    guess, by_folds, how = better_guess(material, given.shares, peers=peers)
    if given.own_sets:
        name, texts = "own sets", chosen_as_sets(material, guess, CANDIDATES, given.seed)
    else:
        name = f"{given.rounds} rounds, {given.kept} kept"
        options = {"rounds": given.rounds, "kept": given.kept, "seed": given.seed}
        texts = nearest_sets(Writer(material, guess), peers=peers, **options)
    predictions = [
        Prediction(item.id, annotator, render_target([guess(item, annotator)], text))
        for (item, annotator), text in zip(material.cells, texts, strict=True)
    ]
    cells = scored(scorer, predictions)
    print(HEADER)
    row = [given.corpus, given.knows, name, str(given.seed), how, f"{by_folds:.3f}", *cells]
    print(f"| {' | '.join(row)} | {time.monotonic() - start:.0f} |")


if __name__ == "__main__":
    main()
