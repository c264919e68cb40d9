"""The project's own corpus format: JSON lines, a header and then one item a line.

The header says what was asked and who answered; each item line is an `Item`. Both are the
dataclasses of `capo_bench.corpus.model`, so that their JSON Schema is the documentation of the
format (`capo-bench data schema`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from capo_bench.corpus.model import Annotator, Corpus, Item, TaskSpec
from capo_bench.errors import CapoBenchError
from capo_bench.files import naming, read_json_lines, validated_line, write_json_lines

FORMAT = "capo-bench-corpus/1"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Header:
    """First line of a corpus file: everything about a corpus but its items."""

    format: Literal["capo-bench-corpus/1"]
    name: str
    task: TaskSpec
    annotators: tuple[Annotator, ...]
    synthetic: bool = False
    license: str = ""
    citation: str = ""


_header = TypeAdapter(Header)
_item = TypeAdapter(Item)


def read(path: Path) -> Corpus:
    """Reads a corpus file.

    Raises:
        CapoBenchError: Naming the file and the line, if the file is missing, is not JSON lines, or
            a line does not follow the schema.
    """
    lines = read_json_lines(path)
    first = next(lines, None)
    if first is None:
        raise CapoBenchError(f"{path} is empty: expected a header line and at least one item")
    header: Header = validated_line(_header, path, *first)
    items = tuple(validated_line(_item, path, number, value) for number, value in lines)
    with naming(path):
        return Corpus(
            name=header.name,
            task=header.task,
            annotators=header.annotators,
            items=items,
            synthetic=header.synthetic,
            license=header.license,
            citation=header.citation,
        )


def write(corpus: Corpus, path: Path) -> None:
    """Writes a corpus file; `read` gives back an equal corpus.

    The file appears under its name only when it is complete.
    """
    header = Header(
        format="capo-bench-corpus/1",
        name=corpus.name,
        task=corpus.task,
        annotators=corpus.annotators,
        synthetic=corpus.synthetic,
        license=corpus.license,
        citation=corpus.citation,
    )
    write_json_lines(
        path,
        [
            _header.dump_python(header, mode="json"),
            *(_item.dump_python(item, mode="json") for item in corpus.items),
        ],
    )


def json_schema() -> dict[str, Any]:
    """JSON Schemas of the two kinds of line: `header` (the first one) and `item` (all others)."""
    return {"header": _header.json_schema(), "item": _item.json_schema()}
