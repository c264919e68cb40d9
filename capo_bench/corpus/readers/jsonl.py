"""The project's own corpus format: JSON lines, a header and then one item a line.

The header says what was asked and who answered; each item line is an `Item`. Both are the
dataclasses of `capo_bench.corpus.model`, so that their JSON Schema is the documentation of the
format (`capo-bench data schema`). Version 2 adds to version 1 what `TaskSpec`, `Item` and `Response`
hold beyond it, and is what is written; version 1 did not say whether responses have explanations, so
that there the responses tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, StrictBool, TypeAdapter
from pydantic.dataclasses import dataclass

from capo_bench.corpus.model import (
    Annotator,
    Corpus,
    Explanations,
    Item,
    TaskSpec,
    check_explanations,
)
from capo_bench.errors import CapoBenchError
from capo_bench.files import (
    naming,
    read_json_lines,
    uncollected,
    validated_line,
    write_json_lines,
)

Version = Literal["capo-bench-corpus/1", "capo-bench-corpus/2"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Header:
    """First line of a corpus file: everything about a corpus but its items."""

    format: Version
    name: str
    task: TaskSpec
    annotators: tuple[Annotator, ...]
    synthetic: StrictBool = False
    license: str = ""
    citation: str = ""
    language: str = ""
    everyone: StrictBool = False


_header = TypeAdapter(Header)
_item = TypeAdapter(Item)


@uncollected()
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
    task = header.task
    if header.format == "capo-bench-corpus/1":
        task = replace(task, explanations=_implied(items))
    with naming(path):
        corpus = Corpus(
            name=header.name,
            task=task,
            annotators=header.annotators,
            items=items,
            synthetic=header.synthetic,
            license=header.license,
            citation=header.citation,
            language=header.language,
            everyone=header.everyone,
        )
        check_explanations(corpus)
    return corpus


def _implied(items: Sequence[Item]) -> Explanations:
    explained = {
        bool(response.explanation)
        for item in items
        for responses in item.cells.values()
        for response in responses
    }
    return "optional" if len(explained) > 1 else "none" if explained == {False} else "required"


def write(corpus: Corpus, path: Path) -> None:
    """Writes a corpus file; `read` gives back an equal corpus.

    What has its default value is left out. The file appears under its name only when it is complete.
    """
    header = Header(
        format="capo-bench-corpus/2",
        name=corpus.name,
        task=corpus.task,
        annotators=corpus.annotators,
        synthetic=corpus.synthetic,
        license=corpus.license,
        citation=corpus.citation,
        language=corpus.language,
        everyone=corpus.everyone,
    )
    first = _header.dump_python(header, mode="json", exclude_defaults=True)
    if corpus.task.labels.kind == "interval":
        del first["task"]["labels"]["labels"], first["task"]["labels"]["values"]
    write_json_lines(path, [first, *map(_line, corpus.items)])


def _line(item: Item) -> dict[str, Any]:
    line: dict[str, Any] = _item.dump_python(item, mode="json", exclude_defaults=True)
    line["text"] = {name: text for name, text in line["text"].items() if name not in item.turns}
    return line


def json_schema() -> dict[str, Any]:
    """JSON Schemas of the two kinds of line: `header` (the first one) and `item` (all others)."""
    return {"header": _header.json_schema(), "item": _item.json_schema()}
