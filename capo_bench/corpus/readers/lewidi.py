"""The LeWiDi-2025 shared task's VariErrNLI and Par: its files, in its own splits.

Two things are unlike what the files suggest. An id is not unique: LeWiDi's NLI ids drop the suffix
of VariErr's, so 500 items have 480 ids; ours add a hash of the input texts. And explanations follow
the `annotators` string, which names an annotator once for each label they gave
(`"Ann1,Ann2,Ann2"`): the n-th repeat belongs to the n-th of their labels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from capo_bench.corpus.model import Annotator, Corpus, Item, Response, SplitName, TaskSpec
from capo_bench.corpus.tasks import NLI, PARAPHRASE
from capo_bench.errors import CapoBenchError
from capo_bench.files import naming, read_json, validated

_CITATION = (
    "Elisa Leonardelli et al. LeWiDi-2025 at NLPerspectives: The Third Edition of the Learning "
    "with Disagreements Shared Task. NLPerspectives at EMNLP 2025."
)


@dataclass(frozen=True)
class _Info:
    explanations: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Record:
    text: Mapping[str, str]
    annotators: str
    annotations: Mapping[str, str | None] | str | None = None
    other_info: _Info | str | None = None


_records = TypeAdapter(dict[str, Any])
_record = TypeAdapter(_Record)
_meta = TypeAdapter(dict[str, dict[str, str]])


def read_lewidi_nli(folder: Path) -> Corpus:
    """Reads LeWiDi-2025's VariErrNLI; see `read_lewidi_par`."""
    return _read(folder, "lewidi-nli", "VariErrNLI", NLI)


def read_lewidi_par(folder: Path) -> Corpus:
    """Reads LeWiDi-2025's Par.

    Args:
        folder: Holds `*_train.json`, `*_dev.json`, `*_annotators_meta.json` and, if there is one,
            `*_test.json` or `*_test_clear.json`. The test items of the latter have no labels: all
            their cells are empty, and explanations given with them are left out.

    Raises:
        CapoBenchError: If a file is missing or malformed, a label is unknown, or explanations,
            annotators and labels do not align; file and id are named.
    """
    return _read(folder, "lewidi-paraphrase", "Paraphrase", PARAPHRASE)


def _read(folder: Path, name: str, prefix: str, task: TaskSpec) -> Corpus:
    meta_path = folder / f"{prefix}_annotators_meta.json"
    meta = validated(
        _meta,
        read_json(meta_path, trailing_commas=True),
        "expected an object of texts for each annotator",
        file=meta_path,
    )
    items = tuple(
        item for split, path in _files(folder, prefix) for item in _items(path, split, task)
    )
    with naming(folder / f"{prefix}_*.json"):
        return Corpus(
            name=name,
            task=task,
            annotators=tuple(Annotator(identifier, about) for identifier, about in meta.items()),
            items=items,
            license="see le-wi-di.github.io",
            citation=_CITATION,
        )


def _files(folder: Path, prefix: str) -> Iterator[tuple[SplitName, Path]]:
    yield "train", folder / f"{prefix}_train.json"
    yield "validation", folder / f"{prefix}_dev.json"
    # The unlabelled file is of use only while the labelled one is not public.
    for name in (f"{prefix}_test.json", f"{prefix}_test_clear.json"):
        if (folder / name).exists():
            yield "test", folder / name
            return


def _items(path: Path, split: SplitName, task: TaskSpec) -> Iterator[Item]:
    advice = "expected the LeWiDi-2025 format"
    for source_id, value in validated(_records, read_json(path), advice, file=path).items():
        item = f"item {source_id}"
        record = validated(_record, value, advice, file=path, id=item)
        text = {name.lower(): words for name, words in record.text.items()}
        digest = hashlib.sha256("\0".join(text[name] for name in sorted(text)).encode()).hexdigest()
        with naming(path, id=item):
            cells = _cells(record)
        yield Item(
            id=f"{source_id}-{digest[:8]}",
            text=text,
            cells=cells,
            split=split,
            source_id=source_id,
        )


def _cells(record: _Record) -> dict[str, tuple[Response, ...]]:
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
    explanations = record.other_info.explanations if isinstance(record.other_info, _Info) else ()
    if len(explanations) != len(annotators):
        raise CapoBenchError(
            f"{len(explanations)} explanations for {len(annotators)} entries of "
            "`annotators`, expected one each, in that order; mend the file"
        )
    cells: dict[str, tuple[Response, ...]] = {}
    for annotator, explanation in zip(annotators, explanations, strict=True):
        sofar = cells.get(annotator, ())
        cells[annotator] = (*sofar, Response(labels[annotator][len(sofar)], explanation.strip()))
    return cells
