"""What the synthetic corpora are made of: scenes, personas, and the wording of explanations.

The words themselves are data, `mini_nli.toml`, `mini_paraphrase.toml` and `places.toml`, which say at
their head how they are built. `render` turns a tuple of choices into an explanation and `readings`
finds every tuple that renders to a given explanation, so that its probability can be summed exactly.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import product
from random import Random
from typing import Any, TypeVar

from capo_bench.corpus.model import SplitName
from capo_bench.errors import CapoBenchError

T = TypeVar("T")

_REUSED_SLOTS = 0.1  # share of items that return to an earlier text of their frame
_JITTER = 1.5  # how far the meaning of a question pair can be from that of its pattern
_OTHER = 0.5  # weight of an option that a persona's habits do not name
_CONCENTRATION = 2.0  # how one-sided the habits of a drawn persona are; 0 gives the mean persona
_SHORT_FORMS = (
    ("does not", "doesn't"),
    ("do not", "don't"),
    ("is not", "isn't"),
    ("cannot", "can't"),
    ("it is ", "it's "),
)


@dataclass(frozen=True)
class Persona:
    """One annotator's own distributions.

    Attributes:
        id: The annotator's id.
        about: The persona in words.
        tilt: How they label. NLI: what they add to the log odds of each label. Paraphrase: the
            `shift`, `stretch` and `spread` of their scale.
        habits: For each choice, the probabilities of its options.
    """

    id: str
    about: str
    tilt: Mapping[str, float]
    habits: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Language:
    """How explanations are worded.

    Attributes:
        choices: The options of each choice, in the order of the habits' probabilities.
        class_of: For each label, the class of patterns that explains it.
        patterns: Class, then style, then the variants of the wording.
        codas: Class, then the second sentences by name.
    """

    choices: Mapping[str, tuple[str, ...]]
    class_of: Mapping[str, str]
    patterns: Mapping[str, Mapping[str, Sequence[str]]]
    codas: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, eq=False)
class Scene:
    """An item and what its annotators do not see.

    Attributes:
        id: The item's id.
        text: The input texts.
        words: What explanations are made of, by name.
        log_odds: NLI: log odds of the labels that can be chosen; empty for paraphrase.
        meaning: Paraphrase: how alike the questions are, about -5 to 5; 0 for NLI.
        second: Probability that one label is not enough for an annotator.
        idk: Probability that an annotator cannot decide.
        split: The split that it belongs to; `None` where the texts decide.
    """

    id: str
    text: Mapping[str, str]
    words: Mapping[str, str]
    log_odds: Mapping[str, float]
    meaning: float
    second: float
    idk: float
    split: SplitName | None = None


@dataclass(frozen=True)
class Material:
    """One material file.

    Attributes:
        name: Name of the corpus, the file's stem with hyphens.
        language: How explanations are worded.
        personas: The annotators that the file describes.
        missing: Probability that an answer got lost.
        tables: The file as it is.
    """

    name: str
    language: Language
    personas: tuple[Persona, ...]
    missing: float
    tables: Mapping[str, Any]


def load(stem: str) -> Material:
    """Reads `<stem>.toml` from the package, and the file whose language and personas it shares."""
    tables = _read(stem)
    if "language" in tables:
        shared = _read(tables["language"])
        tables = {
            **shared,
            **tables,
            "kinds": shared["kinds"] | tables["kinds"],
            "rates": {
                **shared["rates"],
                **{rate: shared["rates"][rate] | more for rate, more in tables["rates"].items()},
            },
        }
    decided = tables.get("decided", 1)
    if "kinds" in tables:
        kinds = {kind: _times(decided, odds) for kind, odds in tables["kinds"].items()}
        tables = {**tables, "kinds": kinds}
    choices = {choice: tuple(options) for choice, options in tables["choices"].items()}
    language = Language(
        choices=choices,
        class_of={label: kind for kind, labels in tables["classes"].items() for label in labels},
        patterns=tables["patterns"],
        codas=tables["codas"],
    )
    personas = tuple(
        Persona(
            id=table["id"],
            about=table["about"],
            tilt=_times(decided, table["tilt"]),
            habits={
                choice: _normalised(
                    [table["habits"].get(choice, {}).get(o, _OTHER) for o in options]
                )
                for choice, options in choices.items()
            },
        )
        for table in tables["persona"]
    )
    return Material(
        name=stem.replace("_", "-"),
        language=language,
        personas=personas,
        missing=tables["rates"]["missing"],
        tables=tables,
    )


def _times(factor: float, values: Mapping[str, float]) -> dict[str, float]:
    return {key: factor * value for key, value in values.items()}


def _read(stem: str) -> dict[str, Any]:
    source = files("capo_bench.corpus.synthetic").joinpath(f"{stem}.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))


def crowd(material: Material, count: int, seed: int) -> tuple[Persona, ...]:
    """The personas of the material, then as many drawn ones as are needed.

    A drawn persona favours some options of each choice at random, in proportion to what the described
    personas do on average; its tilt lies between theirs.
    """
    described = material.personas
    personas = list(described[:count])
    while len(personas) < count:
        identifier = f"Ann{len(personas) + 1}"
        rng = Random(f"{material.name}/{seed}/persona/{identifier}")
        tilt = {}
        for key in described[0].tilt:
            values = [persona.tilt[key] for persona in described]
            tilt[key] = min(values) + rng.random() * (max(values) - min(values))
        habits = {}
        for choice in material.language.choices:
            mean = [
                sum(weights) for weights in zip(*(p.habits[choice] for p in described), strict=True)
            ]
            # -log(1 - u) is exponentially distributed: a power of it makes few options stand out.
            habits[choice] = _normalised(
                [weight * (-math.log(1 - rng.random())) ** _CONCENTRATION for weight in mean]
            )
        personas.append(Persona(identifier, "drawn at random", tilt, habits))
    return tuple(personas)


def scenes(material: Material, count: int, seed: int) -> tuple[Scene, ...]:
    """The items with what belongs to them; no two have the same texts.

    The patterns of all frames take turns in random order, so that small corpora repeat none. A
    smaller corpus is the beginning of a larger one of the same seed.

    Raises:
        CapoBenchError: If the material cannot make so many.
    """
    rng = Random(f"{material.name}/{seed}/items")
    frames = material.tables["frame"]
    part = "statement" if "kinds" in material.tables else "pair"
    turns = shuffled(
        rng, [(i, j) for i, frame in enumerate(frames) for j in range(len(frame[part]))]
    )
    fillings = [math.prod(len(fillers) for fillers in frame["slots"].values()) for frame in frames]
    capacity = min(fillings) * len(turns)
    if count > capacity:
        raise CapoBenchError(
            f"{material.name} can make {capacity} different items, not {count}; ask for fewer"
        )
    last: dict[int, tuple[int, ...]] = {}
    used: dict[tuple[int, int], set[tuple[int, ...]]] = {turn: set() for turn in turns}
    made: list[Scene] = []
    while len(made) < count:
        i, j = turns[len(made) % len(turns)]
        sizes = [len(fillers) for fillers in frames[i]["slots"].values()]
        filling = last.get(i, ())
        if not filling or rng.random() >= _REUSED_SLOTS or filling in used[i, j]:
            filling = _fresh(rng, sizes, used[i, j])
        last[i] = filling
        used[i, j].add(filling)
        slots = {
            slot: fillers[index]
            for (slot, fillers), index in zip(frames[i]["slots"].items(), filling, strict=True)
        }
        identifier = f"{material.name}-{len(made) + 1:04d}"
        made.append(_scene(material, identifier, frames[i], frames[i][part][j], slots, rng))
    return tuple(made)


def render(language: Language, kind: str, scene: Scene, chosen: Mapping[str, str]) -> str:
    """The explanation that a tuple of choices makes, for one class of labels."""
    surface = (chosen["short_forms"], chosen["quotes"])
    body = _body(language, kind, scene, chosen["style"], chosen["variant"], *surface)
    coda = _coda(language, kind, scene, chosen["coda"], *surface)
    return _cased(chosen["opening"] + body, chosen["casing"]) + _cased(
        coda + chosen["stop"], chosen["casing"]
    )


def readings(language: Language, kind: str, scene: Scene, text: str) -> Iterator[dict[str, str]]:
    """Every tuple of choices that renders to the text.

    The text is read from left to right, and a tuple is dropped as soon as the text contradicts it.
    """
    body_choices = ("style", "variant", "short_forms", "quotes")
    for casing, opening in product(language.choices["casing"], language.choices["opening"]):
        if not text.startswith(_cased(opening, casing)):
            continue
        for values in product(*(language.choices[choice] for choice in body_choices)):
            head = _cased(opening + _body(language, kind, scene, *values), casing)
            if not text.startswith(head):
                continue
            for coda, stop in product(language.choices["coda"], language.choices["stop"]):
                tail = _coda(language, kind, scene, coda, *values[2:]) + stop
                if _cased(tail, casing) == text[len(head) :]:
                    yield {
                        **dict(zip(body_choices, values, strict=True)),
                        **{"casing": casing, "opening": opening, "coda": coda, "stop": stop},
                    }


def pick(rng: Random, weights: Sequence[float]) -> int:
    """An index drawn in proportion to the weights."""
    left = rng.random() * sum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return index
    return max(index for index, weight in enumerate(weights) if weight > 0)  # rounding


def shuffled(rng: Random, values: Sequence[T]) -> list[T]:
    """The values in random order."""
    keyed = [(rng.random(), index) for index in range(len(values))]
    return [values[index] for _, index in sorted(keyed)]


def capitalised(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=1 << 16)
def _body(
    language: Language,
    kind: str,
    scene: Scene,
    style: str,
    variant: str,
    short_forms: str,
    quotes: str,
) -> str:
    """The first sentence, without opening and stop."""
    pattern = language.patterns[kind][style][int(variant)]
    return _worded(pattern, scene, short_forms, quotes)


@lru_cache(maxsize=1 << 16)
def _coda(
    language: Language, kind: str, scene: Scene, coda: str, short_forms: str, quotes: str
) -> str:
    """The second sentence with what separates it from the first, without stop."""
    if coda == "none":
        return ""
    sentence = _worded(language.codas[kind][coda], scene, short_forms, quotes)
    return f". {capitalised(sentence)}"


def _worded(pattern: str, scene: Scene, short_forms: str, quotes: str) -> str:
    if short_forms == "yes":
        for long, short in _SHORT_FORMS:
            pattern = pattern.replace(long, short)
    pattern = pattern.replace("«", quotes[:1]).replace("»", quotes[-1:])
    return pattern.format_map(scene.words)


def _cased(text: str, casing: str) -> str:
    return text.lower() if casing == "lower" else capitalised(text)


def _scene(
    material: Material,
    identifier: str,
    frame: Mapping[str, Any],
    entry: Mapping[str, Any],
    slots: Mapping[str, Any],
    rng: Random,
) -> Scene:
    words = {key: text.format_map(slots) for key, text in entry.items() if isinstance(text, str)}
    if "statement" in entry:
        kind, rates = entry["kind"], material.tables["rates"]
        return Scene(
            id=identifier,
            text={
                "context": _context(frame["context"], slots),
                "statement": capitalised(words["statement"]) + ".",
            },
            words={"claim": words["statement"]} | words,
            log_odds=material.tables["kinds"][kind],
            meaning=0.0,
            second=rates["second"][kind],
            idk=rates["idk"][kind],
        )
    return Scene(
        id=identifier,
        text={"question1": capitalised(words["q1"]), "question2": capitalised(words["q2"])},
        words=words,
        log_odds={},
        meaning=entry["meaning"] + _JITTER * (rng.random() + rng.random() - 1),
        second=0.0,
        idk=0.0,
    )


def _context(pattern: str, slots: Mapping[str, Any]) -> str:
    text = pattern.format_map(slots)
    if pattern[0].islower():  # transcribed speech
        return text
    return re.sub(r"(?:^|\. )[a-z]", lambda start: start[0].upper(), text)


def _fresh(rng: Random, sizes: Sequence[int], taken: set[tuple[int, ...]]) -> tuple[int, ...]:
    while True:
        filling = tuple(pick(rng, [1] * size) for size in sizes)
        if filling not in taken:
            return filling


def _normalised(weights: Sequence[float]) -> tuple[float, ...]:
    total = sum(weights)
    return tuple(weight / total for weight in weights)
