"""VariErr-NLI (Weber-Genzel et al., ACL 2024): its file, and its copy on the Hugging Face hub.

500 NLI items; in a first round each of four annotators gave label-explanation pairs or said "I
don't know", in a second one they judged every pair, their own among them.

What the corpus has that a reader must not lose: 77 cells with two labels, 136 "I don't know", of
which one beside a label, and 9 cells with neither.
"""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictBool, StrictInt, TypeAdapter
from pydantic.dataclasses import dataclass

from capo_bench.corpus.model import (
    Annotator,
    Corpus,
    Item,
    Judgment,
    Response,
    check_explanations,
    items_content,
)
from capo_bench.corpus.tasks import NLI
from capo_bench.errors import CapoBenchError
from capo_bench.files import naming, read_json_lines, validated

HUB_DATASET = "mainlp/varierr"
# The content is what is pinned: `read_hub` refuses a copy that differs from CONTENT_SHA256, so that
# the branch may move but the corpus cannot.
HUB_REVISION = "main"
CONTENT_SHA256 = "f68caccb3c7e2296a8077aa39c2636f94b2929bcca41b626020ff9f3c01e6d7e"

_CITATION = (
    "Leon Weber-Genzel, Siyao Peng, Marie-Catherine de Marneffe and Barbara Plank. VariErr NLI: "
    "Separating Annotation Error from Human Label Variation. ACL 2024."
)


_strict = ConfigDict(extra="forbid")
_Who = Annotated[StrictInt, Field(ge=0, le=3)]


@dataclass(frozen=True, config=_strict)
class _Verdict:
    annotator: _Who
    makes_sense: StrictBool | None


@dataclass(frozen=True, config=_strict)
class _Pair:
    annotator: _Who
    reason: str
    judgments: tuple[_Verdict, ...]
    id: Any = None
    label_correction: Any = None
    self_corrected: Any = None


@dataclass(frozen=True, config=_strict)
class _Row:
    id: str
    context: str
    statement: str
    entailment: tuple[_Pair, ...]
    neutral: tuple[_Pair, ...]
    contradiction: tuple[_Pair, ...]
    idk: tuple[_Who, ...]
    # What follows from the pairs, or comes from another corpus, is not read.
    label_count_round_1: Any = None
    label_count_round_2: Any = None
    label_set_round_1: Any = None
    label_set_round_2: Any = None
    error_labels: Any = None
    has_ambiguity: Any = None
    chaosnli_labels: Any = None


_row = TypeAdapter(_Row)


def read_varierr(path: Path) -> Corpus:
    """Reads `varierr.json`, one JSON object a line; the items have no split.

    Raises:
        CapoBenchError: If the file cannot be read or a line is not a VariErr item; file and line
            are named.
    """
    return from_rows(read_json_lines(path), path)


def read_hub() -> list[dict[str, Any]]:
    """The rows of VariErr-NLI on the Hugging Face hub, through `datasets`.

    Raises:
        CapoBenchError: If what the hub gives is not the corpus that this package was made with.
        OSError: If the hub cannot be reached (`ConnectionError`, `TimeoutError`, `URLError`), has
            no such dataset or refuses it; `datasets`' own exceptions for these are OSErrors too.
    """
    import datasets  # takes a second, and is seldom needed

    if not datasets.config.HF_HUB_OFFLINE:
        _knock(datasets.config.HF_ENDPOINT)
    loaded = datasets.load_dataset(HUB_DATASET, revision=HUB_REVISION, split="train")
    rows: list[dict[str, Any]] = [dict(row) for row in loaded]
    corpus = from_rows(enumerate(rows, start=1), HUB_DATASET)
    found = content_sha256(corpus)
    if found != CONTENT_SHA256:
        raise CapoBenchError(
            f"the hub's {HUB_DATASET} is not the VariErr-NLI of this benchmark (sha256 "
            f"{found[:16]}, expected {CONTENT_SHA256[:16]}); scores would not compare: use a copy "
            "of varierr.json from github.com/mainlp/VariErr-NLI, or a newer capo-bench"
        )
    return rows


def from_rows(rows: Iterable[tuple[int, Any]], source: str | Path) -> Corpus:
    """Builds the corpus from rows of `varierr.json`.

    VariErr's annotators 0 to 3 are called Ann1 to Ann4, as LeWiDi-2025 calls the same persons. Who
    said "I don't know" and gave no label has an empty cell; who gave neither has none.

    Args:
        rows: Each after its number in the source, from 1.
        source: Where the rows come from, for messages.

    Raises:
        CapoBenchError: If a row lacks a field or has one of a wrong type, or an id occurs twice.
    """
    advice = "expected the fields of varierr.json as its authors publish it"
    items = [
        _item(validated(_row, value, advice, file=source, line=number)) for number, value in rows
    ]
    ids = {annotator for item in items for annotator in (*item.cells, *item.idk)}
    with naming(source):
        corpus = Corpus(
            name="varierr-nli",
            task=NLI,
            annotators=tuple(Annotator(identifier) for identifier in sorted(ids)),
            items=tuple(items),
            license="see github.com/mainlp/VariErr-NLI",
            citation=_CITATION,
        )
        check_explanations(corpus)
    return corpus


def content_sha256(corpus: Corpus) -> str:
    """64 hex digits of the items alone: no prompt text or name changes them."""
    content = items_content(corpus.items)
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _item(row: _Row) -> Item:
    idk = tuple(_name(annotator) for annotator in sorted(set(row.idk)))
    cells: dict[str, tuple[Response, ...]] = dict.fromkeys(idk, ())
    for label in NLI.labels.labels:
        for pair in getattr(row, label):
            annotator = _name(pair.annotator)
            response = Response(
                label,
                pair.reason.strip(),
                tuple(Judgment(_name(v.annotator), v.makes_sense) for v in pair.judgments),
            )
            cells[annotator] = (*cells.get(annotator, ()), response)
    return Item(
        id=row.id,
        text={"context": row.context, "statement": row.statement},
        cells=dict(sorted(cells.items())),
        idk=idk,
        source_id=row.id,
    )


def _name(annotator: int) -> str:
    return f"Ann{annotator + 1}"


def _knock(url: str) -> None:
    # `load_dataset` retries for 20 s and more where there is no network; this fails at once.
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:
        return  # it answered, whatever it thinks of the request
