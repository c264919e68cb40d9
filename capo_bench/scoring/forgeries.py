"""What an attacker writes without a language model.

Each generator makes explanations from the items and the annotators' responses outside the evaluated
split, of these the ones that argue for the label that is given; those of the family `peers` also
read what the other annotators answered to the evaluated items, which no honest system does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from capo_bench.corpus.model import Item
from capo_bench.metrics.lexicon import Lexicon
from capo_bench.metrics.style import mask_normalised
from capo_bench.metrics.tokens import normalise, words
from capo_bench.scoring.attacker import Author, Cell, Guess, Material

_LONGEST = 60  # words

Write = Callable[[Material, Item, Author, Random], list[str]]


def written(
    material: Material, generator: str, cells: Sequence[Cell], guess: Guess, seed: int
) -> list[str]:
    """An explanation for each cell and its label; every cell has random draws of its own."""
    write = GENERATORS[generator][1]
    found = []
    for item, annotator in cells:
        author = Author(annotator, guess(item, annotator))
        rng = Random(f"{seed}/{generator}/{item.id}/{annotator}")
        found.append(" ".join(write(material, item, author, rng)[:_LONGEST]) or "it is")
    return found


def _length(material: Material, author: Author, rng: Random) -> int:
    return max(4, len(material.earlier(author, rng)))


def _salad(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """The item's words shuffled with the annotator's telling words."""
    own = [word for text in item.text.values() for word in words(text)]
    length = _length(material, author, rng)
    telling = rng.choices(material.telling[author.annotator][0] or ["so"], k=max(2, length // 2))
    mixed = rng.sample(own, min(len(own), max(2, length - len(telling)))) + telling
    rng.shuffle(mixed)
    return mixed


def _frequent(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """One of the annotator's commonest frames, with runs of the item's words between."""
    frames, lengths = material.frames(author)
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


def _template(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Telling pairs of words with the item's words between them."""
    out: list[str] = []
    length = _length(material, author, rng)
    while len(out) < length:
        out += [*rng.choice(material.telling[author.annotator][1] or [["it", "is"]]), "#"]
    return material.filled(out, item, rng)


def _other_telling(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Another annotator's earlier response, a third of its words replaced by telling ones."""
    tokens = material.near(item, material.someone_else(author, rng), rng)
    telling = material.telling[author.annotator][0] or ["so"]
    replaced = [t if t == "#" or rng.random() > 0.35 else rng.choice(telling) for t in tokens]
    return material.filled(replaced, item, rng)


def _refilled(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """The annotator's response to a near item, with this item's words in it."""
    return material.filled(material.near(item, author, rng), item, rng)


def _refilled_any(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Any earlier response of the annotator, with this item's words in it."""
    return material.filled(material.earlier(author, rng), item, rng)


def _substituted(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """A near response, each word from its item replaced by the word in the same place of this one."""
    at = material.nearest(item, author, rng)
    source, response = material.history[author.annotator][at]
    place: dict[str, tuple[str, float]] = {}
    for field in source.text:
        inputs = normalise(source.text[field]).split()
        for index, word in enumerate(inputs):
            place.setdefault(word, (field, index / len(inputs)))
    out = []
    masked = material.masked[author.annotator][at]
    for word, mask in zip(normalise(response.explanation).split(), masked, strict=True):
        field, share = place.get(word, ("", 0.0))
        inputs = [
            known
            for known in normalise(item.text.get(field, "")).split()
            if known not in material.lexicon.function
        ]
        out.append(inputs[int(share * len(inputs))] if "#" in mask and inputs else word)
    return out


def _copied(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """An earlier response to a near item, word for word."""
    _, response = material.history[author.annotator][material.nearest(item, author, rng)]
    return normalise(response.explanation).split()


def _shuffled(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """A near response cut into pieces of two to four words, in another order."""
    tokens = material.near(item, author, rng)
    pieces: list[list[str]] = []
    while tokens:
        cut = rng.randint(2, 4)
        pieces.append(list(tokens[:cut]))
        tokens = tokens[cut:]
    rng.shuffle(pieces)
    return material.filled([token for piece in pieces for token in piece], item, rng)


def _spliced(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """The first half of one earlier response and the second of another."""
    first, second = material.earlier(author, rng), material.earlier(author, rng)
    return material.filled([*first[: -(-len(first) // 2)], *second[len(second) // 2 :]], item, rng)


def _stitched(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """As many clauses as a near response has, the later ones from other responses."""
    first, *rest = _clauses(material.near(item, author, rng), material.lexicon)
    out = list(first)
    for _ in rest:
        out += _clauses(material.earlier(author, rng), material.lexicon)[-1]
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


def _alternate(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Three words of the annotator and two of another, in turn."""
    own = material.near(item, author, rng)
    other = material.near(item, material.someone_else(author, rng), rng)
    out = [
        token
        for at in range(0, max(len(own), len(other)), 5)
        for token in (*own[at : at + 3], *other[at + 3 : at + 5])
    ]
    return material.filled(out[: _length(material, author, rng)], item, rng)


def _quoting(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """A run of the item's words and the end of an earlier response."""
    text = words(rng.choice(list(item.text.values())))
    length = rng.randint(3, 8)
    start = rng.randrange(max(1, len(text) - length + 1))
    tail = material.earlier(author, rng)
    return [*text[start : start + length], *material.filled(tail[len(tail) // 2 :], item, rng)]


def _inserted(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """A near response with one of the annotator's function words after every third word."""
    spare = [t for t in material.earlier(author, rng) if t in material.lexicon.function] or ["so"]
    out = []
    for at, token in enumerate(material.near(item, author, rng)):
        out += [token, rng.choice(spare)] if at % 3 == 2 else [token]
    return material.filled(out, item, rng)


def _dropped(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """A near response without a fifth of its words."""
    return material.filled(
        [t for t in material.near(item, author, rng) if rng.random() > 0.2], item, rng
    )


def _swapped(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """A near response, words replaced by others that stand between the same neighbours."""
    out = list(material.near(item, author, rng))
    for at in range(len(out)):
        if rng.random() < 0.3:
            before = out[at - 1] if at else "<"
            after = out[at + 1] if at + 1 < len(out) else ">"
            fitting = [
                word
                for word in material.follows(author, (before,))
                if word != ">" and after in material.follows(author, (word,))
            ]
            out[at] = rng.choice(fitting) if fitting else out[at]
    return material.filled(out, item, rng)


def _chain(order: int) -> Write:
    def write(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
        """A walk over the annotator's n-grams."""
        context, out = ("<",) * order, list[str]()
        while len(out) < _LONGEST:
            word = rng.choice(material.follows(author, context))
            if word == ">":
                break
            out.append(word)
            context = (*context[1:], word)
        return material.filled(out, item, rng)

    return write


def _backoff(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """A walk that goes back at random to shorter contexts, to be as new as people are."""
    past, out = ["<"] * 3, list[str]()
    while len(out) < _LONGEST:
        longest = rng.choices((3, 2, 1), (0.45, 0.4, 0.15))[0]
        follow = next(
            found
            for order in range(longest, 0, -1)
            if (found := material.follows(author, tuple(past[-order:])))
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


def _peer(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Another annotator's answer to this very item, or a near response where nobody else answered."""
    others = _peers(item, author.annotator)
    return rng.choice(others) if others else _refilled(material, item, author, rng)


def _peer_telling(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Another annotator's answer to this item, its function words replaced by telling ones."""
    telling = [
        w for w in material.telling[author.annotator][0] if w in material.lexicon.function
    ] or ["so"]
    return [
        rng.choice(telling) if token in material.lexicon.function and rng.random() < 0.4 else token
        for token in _peer(material, item, author, rng)
    ]


def _peer_spliced(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Half of another annotator's answer to this item, and half of a response of the annotator's."""
    theirs = _peer(material, item, author, rng)
    own = _refilled(material, item, author, rng)
    if rng.random() < 0.5:
        return [*own[: -(-len(own) // 2)], *theirs[len(theirs) // 2 :]]
    return [*theirs[: -(-len(theirs) // 2)], *own[len(own) // 2 :]]


def _peer_framed(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Another annotator's answer to this item, begun and ended as the annotator does."""
    theirs = _peer(material, item, author, rng)
    own = material.filled(material.earlier(author, rng), item, rng)
    head, tail = rng.randint(1, 3), rng.randint(0, 3)
    return [*own[:head], *theirs[head : len(theirs) - tail], *own[len(own) - tail :]]


def _peer_rewritten(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Another annotator's answer to this item; what the annotator would not say there is replaced."""
    out = list(_peer(material, item, author, rng))
    masked = mask_normalised(" ".join(out), item.text, material.lexicon).split()
    for at, token in enumerate(masked):
        last = masked[at - 1] if at else "<"
        follow = material.follows(author, (last,))
        if "#" not in token and token not in follow:
            usual = [word for word in follow if word != ">" and "#" not in word]
            masked[at] = out[at] = rng.choice(usual) if usual else token
    return out


def _peer_retrieved(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """The annotator's earlier response most like another's answer, filled with that one's words."""
    theirs = _peer(material, item, author, rng)
    masked = mask_normalised(" ".join(theirs), item.text, material.lexicon).split()
    taken = [word for word, mask in zip(theirs, masked, strict=True) if "#" in mask] or theirs
    at = material.alike(masked, item, author, rng)
    fill = iter(taken * _LONGEST)
    return [
        next(fill) if "#" in token else token for token in material.masked[author.annotator][at]
    ]


def _mixture(material: Material, item: Item, author: Author, rng: Random) -> list[str]:
    """Any of the others that keep word order, so that no one trait is all responses'."""
    write = rng.choice((_refilled_any, _chain(2), _spliced, _swapped, _quoting, _dropped, _backoff))
    return write(material, item, author, rng)


GENERATORS: Mapping[str, tuple[str, Write]] = {
    "word-salad": ("words", _salad),
    "other-with-telling-words": ("words", _other_telling),
    "slot-template": ("templates", _template),
    "frequent-frame": ("templates", _frequent),
    "refilled-near": ("refilled", _refilled),
    "refilled-any": ("refilled", _refilled_any),
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
