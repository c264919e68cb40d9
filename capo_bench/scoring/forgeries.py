"""What an attacker knows, and what they write of it without a language model.

Each generator makes explanations from the items and the annotators' responses outside the evaluated
split; those of the family `peers` also read what the other annotators answered to the evaluated
items, which no honest system does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from random import Random

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from capo_bench.corpus.model import SPLITS, Corpus, Item, cell_labels, splits_before
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.attribution import fit_attributor
from capo_bench.metrics.cells import evaluated_cells
from capo_bench.metrics.guards import fit_item_vectors
from capo_bench.metrics.lexicon import Lexicon, lexicon_of
from capo_bench.metrics.style import mask_normalised
from capo_bench.metrics.tokens import normalise, words
from capo_bench.scoring.controls import central_label
from capo_bench.stats.resampling import Undefined

_NEAREST = 12  # earlier responses, by their items, that a generator chooses among
_TELLING = 25  # words and pairs of words by which the attribution classifier knows an annotator
_ALIKE = 5  # earlier responses, by how they are worded, that a generator chooses among
_LONGEST = 60  # words

Cell = tuple[Item, str]
Write = Callable[["Material", Item, str, Random], list[str]]


class Material:
    """What an attacker knows, prepared for the generators."""

    def __init__(self, corpus: Corpus, split: str) -> None:
        attributor = fit_attributor(corpus, normalised=True)
        if isinstance(attributor, Undefined):
            raise CapoBenchError(f"corpus {corpus.name} has nobody to imitate: {attributor.reason}")
        self.corpus, self.split, self.attributor = corpus, split, attributor
        self.lexicon = lexicon_of(corpus)
        known: set[str] = {corpus.annotator_ids[a] for a in attributor.annotators}
        self.cells = [cell for cell in evaluated_cells(corpus, split) if cell[1] in known]
        read = splits_before(split)
        self.history = {
            a: [
                (item, response)
                for name in read
                for item, response in corpus.responses(name, a)
                if normalise(response.explanation)
            ]
            for a in sorted(known)
        }
        # Words that an explanation shares with its item become slots, to be filled from another.
        self.masked: dict[str, list[list[str]]] = {
            a: [mask_normalised(r.explanation, i.text, self.lexicon).split() for i, r in own]
            for a, own in self.history.items()
        }
        self._chains: dict[tuple[str, int], dict[tuple[str, ...], list[str]]] = {}

    def texts(self, generator: str, cells: Sequence[Cell], seed: int) -> list[str]:
        """An explanation for each cell; every choice has a generator of its own."""
        write = GENERATORS[generator][1]
        return [
            " ".join(write(self, item, a, Random(f"{seed}/{generator}/{item.id}/{a}"))[:_LONGEST])
            or "it is"
            for item, a in cells
        ]

    def filled(self, tokens: Sequence[str], item: Item, rng: Random) -> list[str]:
        """The slots filled with content words of the item, in its order from a random place on."""
        content = [
            word
            for text in item.text.values()
            for word in words(text)
            if word not in self.lexicon.function
        ] or ["it"]
        at = rng.randrange(len(content))
        out = []
        for token in tokens:
            out.append(content[at % len(content)] if "#" in token else token)
            at += "#" in token
        return out

    def near(self, item: Item, annotator: str, rng: Random) -> list[str]:
        """A masked earlier response of the annotator, to one of the items nearest to this one."""
        return self.masked[annotator][self.nearest(item, annotator, rng)]

    def nearest(self, item: Item, annotator: str, rng: Random) -> int:
        """Which of the annotator's history, of the responses to the items nearest to this one."""
        return rng.choice(self._nearest[item.id, annotator])

    def earlier(self, annotator: str, rng: Random) -> list[str]:
        """A masked earlier response of the annotator."""
        return rng.choice(self.masked[annotator])

    def someone_else(self, annotator: str, rng: Random) -> str:
        """Another annotator with a history."""
        return rng.choice([a for a, own in self.masked.items() if a != annotator and own])

    def follows(self, annotator: str, context: tuple[str, ...]) -> list[str]:
        """The words that follow a context in the annotator's masked history; `>` is the end."""
        key = annotator, len(context)
        if key not in self._chains:
            chain: dict[tuple[str, ...], list[str]] = defaultdict(list)
            for tokens in self.masked[annotator]:
                padded = ["<"] * len(context) + tokens + [">"]
                for at in range(len(padded) - len(context)):
                    chain[tuple(padded[at : at + len(context)])].append(padded[at + len(context)])
            self._chains[key] = dict(chain)
        return self._chains[key].get(context, [])

    @cached_property
    def frames(self) -> dict[str, tuple[list[list[str]], list[int]]]:
        """Of each annotator the third of masked responses with the commonest 4-grams, and slots.

        Slots that follow each other are one; beside the frames, how many words each of them held.
        """
        found = {}
        for annotator, own in self.masked.items():
            runs = [[(slot, list(run)) for slot, run in groupby(t, key=_is_slot)] for t in own]
            lengths = [len(run) for one in runs for slot, run in one if slot]
            frames = [
                [token for slot, run in one for token in (["#"] if slot else run)] for one in runs
            ]
            grams = [{tuple(frame[at : at + 4]) for at in range(len(frame))} for frame in frames]
            held = Counter(gram for one in grams for gram in one)
            common = [sum(held[gram] for gram in one) / len(one) for one in grams]
            order = sorted(range(len(frames)), key=lambda at: -common[at])
            kept = [frames[at] for at in order[: -(-len(frames) // 3)]]
            found[annotator] = kept, lengths or [1]
        return found

    def alike(self, tokens: Sequence[str], item: Item, annotator: str, rng: Random) -> int:
        """Which of the annotator's history, of the masked responses most like a masked text."""
        vectoriser, rows = self._wordings[annotator]
        similarity = (rows @ vectoriser.transform([" ".join(tokens)]).T).toarray()[:, 0]
        own = self.history[annotator]
        order = [at for at in np.argsort(-similarity, kind="stable") if own[at][0].id != item.id]
        return int(rng.choice(order[:_ALIKE]))

    @cached_property
    def _wordings(self) -> dict[str, tuple[TfidfVectorizer, csr_matrix]]:
        found = {}
        for annotator, own in self.masked.items():
            vectoriser = TfidfVectorizer(
                sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False
            )
            found[annotator] = vectoriser, vectoriser.fit_transform(map(" ".join, own))
        return found

    @cached_property
    def telling(self) -> dict[str, tuple[list[str], list[list[str]]]]:
        """Of each annotator the words and pairs of words that the classifier knows them by."""
        columns, weights = self.attributor.columns, self.attributor.coefficients
        grams = [
            (at, gram.split()) for at, (kind, gram) in enumerate(columns)
            if kind == "words" and "#" not in gram
        ]  # fmt: skip
        found = {}
        for row, annotator in zip(weights, self.attributor.annotators, strict=True):
            ranked = [gram for at, gram in sorted(grams, key=lambda pair: -row[pair[0]])]
            found[self.corpus.annotator_ids[annotator]] = (
                [gram[0] for gram in ranked if len(gram) == 1][:_TELLING],
                [gram for gram in ranked if len(gram) == 2][:_TELLING],
            )
        return found

    @cached_property
    def _nearest(self) -> dict[tuple[str, str], list[int]]:
        vectors = fit_item_vectors(self.corpus)
        asked = list({item.id: item for item, _ in [*self.cells, *self.rehearsal]}.values())
        found = {}
        for annotator, own in self.history.items():
            if not own:
                continue
            items = [item for item, _ in own]
            similarity = (vectors.items(asked) @ vectors.items(items).T).toarray()
            for item, row in zip(asked, similarity, strict=True):
                # Never the response to the item itself, which is known where the attacker rehearses.
                order = [
                    int(at) for at in np.argsort(-row, kind="stable") if items[at].id != item.id
                ]
                found[item.id, annotator] = order[:_NEAREST]
        return found

    @cached_property
    def rehearsal(self) -> list[Cell]:
        """Cells whose human explanations the attacker knows, to fit a discriminator on."""
        return [
            (item, a)
            for item, a in evaluated_cells(self.corpus, before(self.split))
            if a in self.history and normalise(item.cells[a][0].explanation)
        ]

    def usual_label(self, _: Item, annotator: str) -> str:
        """The annotator's most frequent training label."""
        labels = [x for _, r in self.corpus.responses("train", annotator) for x in r.labels]
        return max(self.corpus.task.labels.labels, key=labels.count)

    def majority_label(self, item: Item, annotator: str) -> str:
        """The others' most frequent label for the item, or their median on a scale."""
        labels = [
            label
            for other, given in item.cells.items()
            if other != annotator
            for label in cell_labels(given)
        ]
        if not labels:
            return self.usual_label(item, annotator)
        return central_label(self.corpus.task.labels, labels)

    def predicted_label(self, item: Item, annotator: str) -> str:
        """The guess of a multinomial logistic regression fitted on the training labels."""
        return self._predicted[item.id, annotator]

    @cached_property
    def _predicted(self) -> dict[tuple[str, str], str]:
        train = [
            (item, a, label)
            for a in self.history
            for item, r in self.corpus.responses("train", a)
            for label in r.labels
        ]
        ids = list(self.history)
        texts = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
        texts.fit([" ".join(item.text.values()) for item, *_ in train])

        def rows(cells: Sequence[Cell]) -> csr_matrix:
            who = np.eye(len(ids))[[ids.index(a) for _, a in cells]]
            alike = np.array([_alike(item, self.lexicon) for item, _ in cells])
            # What the texts share, for each annotator apart; and their words.
            own = (who[:, :, None] * alike[:, None, :]).reshape(len(cells), -1)
            wording = texts.transform([" ".join(item.text.values()) for item, _ in cells])
            return hstack([csr_matrix(np.hstack([who, alike, own])), wording]).tocsr()

        fitted = LogisticRegression(C=1.0, max_iter=2000)
        fitted.fit(rows([(item, a) for item, a, _ in train]), [label for *_, label in train])
        asked = [*self.cells, *self.rehearsal]
        guesses = fitted.predict(rows(asked))
        return {(i.id, a): str(g) for (i, a), g in zip(asked, guesses, strict=True)}


def _is_slot(token: str) -> bool:
    return "#" in token


def before(split: str) -> str:
    """The split before one, which an attacker knows and may rehearse on."""
    return (splits_before(split) or SPLITS[:1])[-1]


def _alike(item: Item, lexicon: Lexicon) -> list[float]:
    """How much the input texts share: words, content words, lengths, negations."""
    texts = [words(text) for text in item.text.values()]
    first, second = set(texts[0]), set(texts[-1])
    shared = first & second
    negated = [any(w in ("not", "no", "never") or w.endswith("n't") for w in t) for t in texts]
    return [
        len(shared) / max(len(first | second), 1),
        len(shared) / max(len(second), 1),
        len(shared - lexicon.function) / max(len((first | second) - lexicon.function), 1),
        abs(len(texts[0]) - len(texts[-1])) / max(len(texts[0]) + len(texts[-1]), 1),
        float(negated[0] != negated[-1]),
        float(texts[0] == texts[-1]),
    ]


def _length(material: Material, annotator: str, rng: Random) -> int:
    return max(4, len(material.earlier(annotator, rng)))


def _salad(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """The item's words shuffled with the annotator's telling words."""
    own = [word for text in item.text.values() for word in words(text)]
    length = _length(material, annotator, rng)
    telling = rng.choices(material.telling[annotator][0] or ["so"], k=max(2, length // 2))
    mixed = rng.sample(own, min(len(own), max(2, length - len(telling)))) + telling
    rng.shuffle(mixed)
    return mixed


def _frequent(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """One of the annotator's commonest frames, with runs of the item's words between."""
    frames, lengths = material.frames[annotator]
    inputs = [known for text in item.text.values() if (known := words(text))] or [["it"]]
    out = []
    for token in rng.choice(frames):
        if "#" not in token:
            out.append(token)
            continue
        source, length = rng.choice(inputs), rng.choice(lengths)
        start = rng.randrange(max(1, len(source) - length + 1))
        out += source[start : start + length]
    return out


def _template(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Telling pairs of words with the item's words between them."""
    out: list[str] = []
    length = _length(material, annotator, rng)
    while len(out) < length:
        out += [*rng.choice(material.telling[annotator][1] or [["it", "is"]]), "#"]
    return material.filled(out, item, rng)


def _other_telling(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Another annotator's earlier response, a third of its words replaced by telling ones."""
    tokens = material.near(item, material.someone_else(annotator, rng), rng)
    telling = material.telling[annotator][0] or ["so"]
    replaced = [t if t == "#" or rng.random() > 0.35 else rng.choice(telling) for t in tokens]
    return material.filled(replaced, item, rng)


def _refilled(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """The annotator's response to a near item, with this item's words in it."""
    return material.filled(material.near(item, annotator, rng), item, rng)


def _refilled_any(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Any earlier response of the annotator, with this item's words in it."""
    return material.filled(material.earlier(annotator, rng), item, rng)


def _refilled_by_label(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """An earlier response with the label that a predictor expects here, with this item's words."""
    label = material.predicted_label(item, annotator)
    own = zip(material.history[annotator], material.masked[annotator], strict=True)
    fitting = [masked for (at, r), masked in own if label in r.labels and at.id != item.id]
    return material.filled(rng.choice(fitting or material.masked[annotator]), item, rng)


def _substituted(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A near response, each word from its item replaced by the word in the same place of this one."""
    at = material.nearest(item, annotator, rng)
    source, response = material.history[annotator][at]
    place: dict[str, tuple[str, float]] = {}
    for field in source.text:
        inputs = normalise(source.text[field]).split()
        for index, word in enumerate(inputs):
            place.setdefault(word, (field, index / len(inputs)))
    out = []
    masked = material.masked[annotator][at]
    for word, mask in zip(normalise(response.explanation).split(), masked, strict=True):
        field, share = place.get(word, ("", 0.0))
        inputs = [
            known
            for known in normalise(item.text.get(field, "")).split()
            if known not in material.lexicon.function
        ]
        out.append(inputs[int(share * len(inputs))] if "#" in mask and inputs else word)
    return out


def _copied(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """An earlier response to a near item, word for word."""
    _, response = material.history[annotator][material.nearest(item, annotator, rng)]
    return normalise(response.explanation).split()


def _shuffled(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A near response cut into pieces of two to four words, in another order."""
    tokens = material.near(item, annotator, rng)
    pieces: list[list[str]] = []
    while tokens:
        cut = rng.randint(2, 4)
        pieces.append(list(tokens[:cut]))
        tokens = tokens[cut:]
    rng.shuffle(pieces)
    return material.filled([token for piece in pieces for token in piece], item, rng)


def _spliced(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """The first half of one earlier response and the second of another."""
    first, second = material.earlier(annotator, rng), material.earlier(annotator, rng)
    return material.filled([*first[: -(-len(first) // 2)], *second[len(second) // 2 :]], item, rng)


def _stitched(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """As many clauses as a near response has, the later ones from other responses."""
    first, *rest = _clauses(material.near(item, annotator, rng), material.lexicon)
    out = list(first)
    for _ in rest:
        out += _clauses(material.earlier(annotator, rng), material.lexicon)[-1]
    return material.filled(out, item, rng)


def _clauses(tokens: Sequence[str], lexicon: Lexicon) -> list[list[str]]:
    """Cut before each connective, or in half where the language has no list of them."""
    joins = lexicon.kinds.get("connectives")
    if joins is None:
        return [list(tokens[: len(tokens) // 2]), list(tokens[len(tokens) // 2 :])]
    out: list[list[str]] = [[]]
    for token in tokens:
        if joins(token) and len(out[-1]) > 2:
            out.append([])
        out[-1].append(token)
    return out


def _alternate(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Three words of the annotator and two of another, in turn."""
    own = material.near(item, annotator, rng)
    other = material.near(item, material.someone_else(annotator, rng), rng)
    out = [
        token
        for at in range(0, max(len(own), len(other)), 5)
        for token in (*own[at : at + 3], *other[at + 3 : at + 5])
    ]
    return material.filled(out[: _length(material, annotator, rng)], item, rng)


def _quoting(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A run of the item's words and the end of an earlier response."""
    text = words(rng.choice(list(item.text.values())))
    length = rng.randint(3, 8)
    start = rng.randrange(max(1, len(text) - length + 1))
    tail = material.earlier(annotator, rng)
    return [*text[start : start + length], *material.filled(tail[len(tail) // 2 :], item, rng)]


def _inserted(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A near response with one of the annotator's function words after every third word."""
    spare = [t for t in material.earlier(annotator, rng) if t in material.lexicon.function] or [
        "so"
    ]
    out = []
    for at, token in enumerate(material.near(item, annotator, rng)):
        out += [token, rng.choice(spare)] if at % 3 == 2 else [token]
    return material.filled(out, item, rng)


def _dropped(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A near response without a fifth of its words."""
    return material.filled(
        [t for t in material.near(item, annotator, rng) if rng.random() > 0.2], item, rng
    )


def _swapped(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A near response, words replaced by others that stand between the same neighbours."""
    out = list(material.near(item, annotator, rng))
    for at in range(len(out)):
        if rng.random() < 0.3:
            before = out[at - 1] if at else "<"
            after = out[at + 1] if at + 1 < len(out) else ">"
            fitting = [
                word
                for word in material.follows(annotator, (before,))
                if word != ">" and after in material.follows(annotator, (word,))
            ]
            out[at] = rng.choice(fitting) if fitting else out[at]
    return material.filled(out, item, rng)


def _chain(order: int) -> Write:
    def write(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
        """A walk over the annotator's n-grams."""
        context, out = ("<",) * order, list[str]()
        while len(out) < _LONGEST:
            word = rng.choice(material.follows(annotator, context))
            if word == ">":
                break
            out.append(word)
            context = (*context[1:], word)
        return material.filled(out, item, rng)

    return write


def _backoff(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """A walk that goes back at random to shorter contexts, to be as new as people are."""
    past, out = ["<"] * 3, list[str]()
    while len(out) < _LONGEST:
        longest = rng.choices((3, 2, 1), (0.45, 0.4, 0.15))[0]
        follow = next(
            found
            for order in range(longest, 0, -1)
            if (found := material.follows(annotator, tuple(past[-order:])))
        )
        word = rng.choice(follow)
        if word == ">":
            break
        out.append(word)
        past.append(word)
    return material.filled(out, item, rng)


def _peers(item: Item, annotator: str) -> list[list[str]]:
    return [
        normalise(given[0].explanation).split()
        for other, given in sorted(item.cells.items())
        if other != annotator and given and normalise(given[0].explanation)
    ]


def _peer(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Another annotator's answer to this very item, or a near response where nobody else answered."""
    others = _peers(item, annotator)
    return rng.choice(others) if others else _refilled(material, item, annotator, rng)


def _peer_telling(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Another annotator's answer to this item, its function words replaced by telling ones."""
    telling = [w for w in material.telling[annotator][0] if w in material.lexicon.function] or [
        "so"
    ]
    return [
        rng.choice(telling) if token in material.lexicon.function and rng.random() < 0.4 else token
        for token in _peer(material, item, annotator, rng)
    ]


def _peer_spliced(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Half of another annotator's answer to this item, and half of a response of the annotator's."""
    theirs = _peer(material, item, annotator, rng)
    own = _refilled(material, item, annotator, rng)
    if rng.random() < 0.5:
        return [*own[: -(-len(own) // 2)], *theirs[len(theirs) // 2 :]]
    return [*theirs[: -(-len(theirs) // 2)], *own[len(own) // 2 :]]


def _peer_framed(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Another annotator's answer to this item, begun and ended as the annotator does."""
    theirs = _peer(material, item, annotator, rng)
    own = material.filled(material.earlier(annotator, rng), item, rng)
    head, tail = rng.randint(1, 3), rng.randint(0, 3)
    return [*own[:head], *theirs[head : len(theirs) - tail], *own[len(own) - tail :]]


def _peer_rewritten(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Another annotator's answer to this item; what the annotator would not say there is replaced."""
    out = list(_peer(material, item, annotator, rng))
    masked = mask_normalised(" ".join(out), item.text, material.lexicon).split()
    for at, token in enumerate(masked):
        last = masked[at - 1] if at else "<"
        follow = material.follows(annotator, (last,))
        if "#" not in token and token not in follow:
            usual = [word for word in follow if word != ">" and "#" not in word]
            masked[at] = out[at] = rng.choice(usual) if usual else token
    return out


def _peer_retrieved(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """The annotator's earlier response most like another's answer, filled with that one's words."""
    theirs = _peer(material, item, annotator, rng)
    masked = mask_normalised(" ".join(theirs), item.text, material.lexicon).split()
    taken = [word for word, mask in zip(theirs, masked, strict=True) if "#" in mask] or theirs
    at = material.alike(masked, item, annotator, rng)
    fill = iter(taken * _LONGEST)
    return [next(fill) if "#" in token else token for token in material.masked[annotator][at]]


def _mixture(material: Material, item: Item, annotator: str, rng: Random) -> list[str]:
    """Any of the others that keep word order, so that no one trait is all responses'."""
    write = rng.choice((_refilled_any, _chain(2), _spliced, _swapped, _quoting, _dropped, _backoff))
    return write(material, item, annotator, rng)


GENERATORS: Mapping[str, tuple[str, Write]] = {
    "word-salad": ("words", _salad),
    "other-with-telling-words": ("words", _other_telling),
    "slot-template": ("templates", _template),
    "frequent-frame": ("templates", _frequent),
    "refilled-near": ("refilled", _refilled),
    "refilled-any": ("refilled", _refilled_any),
    "refilled-by-label": ("refilled", _refilled_by_label),
    "substituted": ("refilled", _substituted),
    "copied": ("copied", _copied),
    "shuffled-pieces": ("pieces", _shuffled),
    "spliced-halves": ("pieces", _spliced),
    "alternating-pieces": ("pieces", _alternate),
    "stitched-clauses": ("pieces", _stitched),
    "quote-and-tail": ("pieces", _quoting),
    "inserted-words": ("edits", _inserted),
    "dropped-words": ("edits", _dropped),
    "swapped-words": ("edits", _swapped),
    "bigram-chain": ("chains", _chain(1)),
    "trigram-chain": ("chains", _chain(2)),
    "fourgram-chain": ("chains", _chain(3)),
    "backoff-chain": ("chains", _backoff),
    "mixture": ("mixture", _mixture),
    "peer": ("peers", _peer),
    "peer-with-telling-words": ("peers", _peer_telling),
    "peer-spliced": ("peers", _peer_spliced),
    "peer-framed": ("peers", _peer_framed),
    "peer-rewritten": ("peers", _peer_rewritten),
    "peer-retrieved": ("peers", _peer_retrieved),
}
"""By name: the family, and how it writes the words of an explanation."""
