"""The LeWiDi-2025 shared task's four corpora: its files, in its own splits.

VariErrNLI and Par have explanations, CSC and MP are labels alone by hundreds of annotators.
Two things are unlike what the files suggest. An id is not unique: LeWiDi's NLI ids drop the suffix
of VariErr's, so 500 items have 480 ids; ours add a hash of the input texts. And explanations follow
the `annotators` string, which names an annotator once for each label they gave
(`"Ann1,Ann2,Ann2"`): the n-th repeat belongs to the n-th of their labels.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import JsonValue, StrictFloat, StrictInt, TypeAdapter
from pydantic.dataclasses import dataclass

from capo_bench.corpus.model import (
    Annotator,
    Corpus,
    Item,
    Response,
    SplitName,
    TaskSpec,
    check_labels,
)
from capo_bench.corpus.readers.tables import tidy
from capo_bench.corpus.tasks import CSC, MP, NLI, PARAPHRASE
from capo_bench.display import blank, skeleton, visible
from capo_bench.errors import CapoBenchError, listed
from capo_bench.files import naming, read_json, validated

_CITATION = (
    "Elisa Leonardelli et al. LeWiDi-2025 at NLPerspectives: The Third Edition of the Learning "
    "with Disagreements Shared Task. NLPerspectives at EMNLP 2025."
)


@dataclass(frozen=True)
class _Info:
    """What LeWiDi tells of an item beside its labels; MP has the last three."""

    explanations: tuple[str, ...] = ()
    source: str | None = None
    level: StrictFloat | None = None
    language_variety: str | None = None


@dataclass(frozen=True)
class _Record:
    text: Mapping[str, str]
    annotators: str
    annotations: Mapping[str, str | None] | str | None = None
    other_info: _Info | str | None = None
    lang: str | None = None


@dataclass(frozen=True)
class _Dataset:
    """One of the four corpora.

    Attributes:
        prefix: Of its files' names.
        task: What was asked.
        crowd: Whether annotators may lack metadata, and the train or the dev file may be missing.
    """

    prefix: str
    task: TaskSpec
    crowd: bool = False


DATASETS: Mapping[str, _Dataset] = {
    "lewidi-nli": _Dataset("VariErrNLI", NLI),
    "lewidi-paraphrase": _Dataset("Paraphrase", PARAPHRASE),
    "lewidi-csc": _Dataset("CSC", CSC, crowd=True),
    "lewidi-mp": _Dataset("MP", MP, crowd=True),
}
"""By the name of the corpus."""

_NOT_KNOWN = frozenset({"", "nan", "DATA_EXPIRED", "CONSENT_REVOKED", "Prefer not to say"})

_records = TypeAdapter(dict[str, Any])
_record = TypeAdapter(_Record)
_meta = TypeAdapter(dict[str, dict[str, str | StrictInt | StrictFloat]])


def read_lewidi(folder: Path, name: str) -> Corpus:
    """Reads one of LeWiDi-2025's corpora.

    Args:
        folder: Holds `*_train.json`, `*_dev.json`, `*_annotators_meta.json` and, if there is one,
            `*_test.json` or `*_test_clear.json`. The test items of the latter have no labels: all
            their cells are empty, and explanations given with them are left out. CSC and MP may
            have a dev file alone.
        name: A key of `DATASETS`, the corpus's name.

    Raises:
        CapoBenchError: If a file is missing or malformed, a label is unknown, there are no labels in
            train or dev, or explanations, annotators and labels do not align; file and id are named.
    """
    dataset = DATASETS[name]
    about = personas(folder, name)
    files = list(_files(folder, dataset))
    items: dict[str, Item] = {}
    for split, path in files:
        for item in _items(path, split, dataset):
            place = f"item {item.source_id}"
            if item.id in items:
                other = items[item.id].split
                raise CapoBenchError(
                    f"the same item stands in the {other} file, too; keep it in one of them",
                    file=path,
                    id=place,
                )
            unknown = item.cells.keys() - about.keys()
            if dataset.crowd:  # some of whom have no metadata
                unknown = {one for one in unknown if not re.fullmatch("Ann[0-9]{1,18}", one)}
            if unknown:
                raise CapoBenchError(
                    f"annotator {min(unknown)!r} is not in {dataset.prefix}_annotators_meta.json, "
                    f"which has {listed(about)}; mend the id, or add them there",
                    file=path,
                    id=place,
                )
            items[item.id] = item
    if dataset.crowd:
        named = {one for item in items.values() for one in item.cells} - about.keys()
        about |= {annotator: {} for annotator in sorted(named, key=_by_number)}
    with naming(folder / f"{dataset.prefix}_*.json"):
        return Corpus(
            name=name,
            task=dataset.task,
            annotators=tuple(Annotator(annotator, known) for annotator, known in about.items()),
            items=tuple(items.values()),
            license="see le-wi-di.github.io",
            citation=_CITATION,
            language="" if name == "lewidi-mp" else "en" if dataset.crowd else "",
            everyone=dataset.crowd,
        )


def personas(folder: Path, name: str) -> dict[str, dict[str, JsonValue]]:
    """What LeWiDi tells of a corpus's annotators, by their ids; what it does not know is left out.

    Args:
        folder: Holds `*_annotators_meta.json`.
        name: A key of `DATASETS`.

    Raises:
        CapoBenchError: If the file is missing or malformed.
    """
    path = folder / f"{DATASETS[name].prefix}_annotators_meta.json"
    advice = "expected an object of texts for each annotator"
    # MP's file has NaN for an age that is not known.
    given = read_json(path, trailing_commas=True, finite=False)
    found = validated(_meta, given, advice, file=path)
    with naming(path):
        known: dict[str, dict[str, JsonValue]] = {
            # MP's file has the numbers alone, and ages such as 19.0.
            f"Ann{one}" if re.fullmatch("[0-9]+", one) else one: {
                what: value if isinstance(value, str) else tidy(value)
                for what, value in about.items()
                if str(value) not in _NOT_KNOWN
            }
            for one, about in found.items()
        }
    if len(known) < len(found):
        raise CapoBenchError("names an annotator twice, with `Ann` and without", file=path)
    return known


def _by_number(annotator: str) -> tuple[int, str]:
    number = annotator.removeprefix("Ann")
    return (int(number) if number.isdecimal() else -1, annotator)


def _files(folder: Path, dataset: _Dataset) -> Iterator[tuple[SplitName, Path]]:
    train, dev = (folder / f"{dataset.prefix}_{part}.json" for part in ("train", "dev"))
    if not dataset.crowd or train.exists():
        yield "train", train
    if not dataset.crowd or dev.exists() or not train.exists():
        yield "validation", dev
    # The unlabelled file is of use only while the labelled one is not public.
    for part in ("test", "test_clear"):
        if (path := folder / f"{dataset.prefix}_{part}.json").exists():
            yield "test", path
            return


def _items(path: Path, split: SplitName, dataset: _Dataset) -> Iterator[Item]:
    task = dataset.task
    advice = "expected the LeWiDi-2025 format"
    for source_id, value in validated(_records, read_json(path), advice, file=path).items():
        place = f"item {source_id}"
        if isinstance(value, dict):
            _check_keys(value, _Record, path, place)
            _check_keys(value.get("other_info"), _Info, path, place)
        record = validated(_record, value, advice, file=path, id=place)
        text = {name.lower(): words for name, words in record.text.items()}
        if len(text) < len(record.text):
            raise CapoBenchError(
                f"text has keys that differ only in case ({listed(record.text)}); keep one of them",
                file=path,
                id=place,
            )
        if text.keys() != task.fields.keys():
            raise CapoBenchError(
                f"text has {listed(record.text)}, expected {listed(task.fields)}",
                file=path,
                id=place,
            )
        with naming(path, id=place):
            cells = _cells(record, task)
            if split != "test" and not any(cells.values()):
                raise CapoBenchError(f"no labels in `annotations`, expected some in {path.name}")
        digest = hashlib.sha256("\0".join(text[name] for name in sorted(text)).encode()).hexdigest()
        item = Item(
            id=f"{source_id}-{digest[:8]}",
            text=text,
            cells=cells,
            split=split,
            source_id=source_id,
            language=record.lang if task == MP else None,
            meta=_about(record),
        )
        check_labels(item, task.labels, path)
        yield item


def _check_keys(value: Any, kind: type, path: Path, place: str) -> None:
    """Refuses a key that is nearly one that is read: what it holds would be passed over."""
    known = {skeleton(one.name): one.name for one in fields(kind)}
    for key in value if isinstance(value, dict) else ():
        meant = known.get(skeleton(key[:80]), key)
        if meant != key:
            raise CapoBenchError(
                f"the key {visible(key)[:60]!r} looks like {meant!r}; write it so, or remove it",
                file=path,
                id=place,
            )


def _about(record: _Record) -> dict[str, JsonValue]:
    if not isinstance(record.other_info, _Info):
        return {}
    info = {key: getattr(record.other_info, key) for key in ("source", "level", "language_variety")}
    return {key: value for key, value in info.items() if value is not None}


def _cells(record: _Record, task: TaskSpec) -> dict[str, tuple[Response, ...]]:
    annotators = [name.strip() for name in record.annotators.split(",")]
    given = record.annotations if isinstance(record.annotations, Mapping) else {}
    labels = {
        a: tuple(filter(None, map(str.strip, (v or "").split(",")))) for a, v in given.items()
    }
    if not any(labels.values()):
        return dict.fromkeys(annotators, ())
    times = Counter(annotators)
    for annotator in sorted({*times, *labels}):
        own = labels.get(annotator, ())
        if times[annotator] != len(own):
            raise CapoBenchError(
                f"{annotator} has {len(own)} labels but stands {times[annotator]} times "
                "in `annotators`, expected once for each label; mend the file"
            )
    if task.explanations == "none":
        return {
            annotator: tuple(Response(task.labels.aliases.get(label, label)) for label in own)
            for annotator, own in labels.items()
        }
    explanations = record.other_info.explanations if isinstance(record.other_info, _Info) else ()
    if len(explanations) != len(annotators):
        raise CapoBenchError(
            f"{len(explanations)} explanations for {len(annotators)} entries of "
            "`annotators`, expected one each, in that order; mend the file"
        )
    cells: dict[str, tuple[Response, ...]] = {}
    for annotator, explanation in zip(annotators, explanations, strict=True):
        if blank(explanation):
            raise CapoBenchError(f"{annotator}'s explanation is empty; mend the file")
        sofar = cells.get(annotator, ())
        cells[annotator] = (*sofar, Response(labels[annotator][len(sofar)], explanation.strip()))
    return cells
