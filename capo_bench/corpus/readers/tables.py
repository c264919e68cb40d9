"""Tables as people have them: delimited text of spreadsheets, JSON, Parquet, `datasets` folders.

Every cell comes out as text, as `None` where it is empty, or as a list or mapping where the file has
one. Numbers lose a decimal part of nothing but zeros, which spreadsheets add.
"""

from __future__ import annotations

import ast
import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from capo_bench.display import blank, skeleton, visible
from capo_bench.errors import CapoBenchError, listed
from capo_bench.files import (
    FILE_BYTES,
    VALUES,
    naming,
    parse_json,
    read_bytes,
    read_json,
    read_json_lines,
    refuse_archive,
    uncollected,
)

DELIMITERS = ",;\t|"
_SPLITS = {"dev": "validation", "valid": "validation", "val": "validation", "eval": "validation"}
_DELIMITED = (".csv", ".tsv", ".txt", ".tab")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_DECIMAL = re.compile(r"[+-]?\d+(,\d+)?")
_RUN_TOGETHER = re.compile(r"['\"]\s+['\"]")  # to Python, `'a' 'b'` is one text
_BEYOND = re.compile(r"[^\x00-\x7f]")
_SUBJECT = ("annotations", "subject_data", "subject_ids")  # of Zooniverse
_ANSWERS = {"Response", "Open-Ended Response"}  # in the second line of SurveyMonkey
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: Their names.
        rows: The cells of each row by column.
        notes: What was understood of the file, for people.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()


@uncollected()
def read_table(name: Path | str) -> Table:
    """Reads a table.

    Args:
        name: A file that ends in `.csv`, `.tsv`, `.txt` (delimited text), `.json` (a list of
            objects, or an object of them by id), `.jsonl`, `.ndjson` or `.parquet`; a folder that
            `datasets.save_to_disk` wrote, or of files that `datasets.load_dataset` takes; or, where
            nothing is there by that name, a data set of the Hugging Face hub, `OWNER/NAME` or
            `OWNER/NAME:CONFIGURATION`. What stands in the column `split` of several splits is their
            names.

    Raises:
        CapoBenchError: If it cannot be read as what its name says, or has no rows.
    """
    source = Path(name)
    kind = "folder" if source.is_dir() else source.suffix.lower()
    if kind in _DELIMITED:
        table = read_delimited(source)
    elif kind in (".jsonl", ".ndjson"):
        table = _of_objects(
            source, [(f"line {n}", row) for n, row in read_json_lines(source, finite=False)]
        )
    elif kind == ".json":
        table = _of_json(source)
    elif kind == ".parquet":
        table = _of_parquet(source)
    elif kind == "folder":
        table = _of_folder(source)
    elif not source.exists() and _HUB_NAME.fullmatch(str(name)):
        table = _of_hub(str(name))
    else:
        raise CapoBenchError(
            "is no table by its name; expected .csv, .tsv, .json, .jsonl, .parquet, a folder of "
            "`datasets`, or OWNER/NAME of the hub",
            file=source,
        )
    if not table.rows:
        raise CapoBenchError("has no rows", file=source)
    return table


def read_delimited(path: Path) -> Table:
    """Reads delimited text as spreadsheets save it.

    The encoding follows from a byte order mark, else it is UTF-8, else Windows-1252; the delimiter
    from a first line `sep=;`, else from what divides most rows into equally many cells. Rows and
    columns of nothing but empty cells are left out.

    Raises:
        CapoBenchError: If the file cannot be read, a quotation does not end or goes on after its
            end, a column has no name or the name of another, or a row has more cells than there are
            columns; the line is named.
    """
    csv.field_size_limit(FILE_BYTES)
    text, encoding = _decoded(path)
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r"sep=(.)", first.strip("\r\ufeff "))
    delimiter = declared[1] if declared else _delimiter(text)
    notes = [f"{encoding} text, cells divided by {_named(delimiter)}"]
    if text.count(delimiter) + text.count("\n") + text.count("\r") > VALUES:
        raise CapoBenchError(f"has more than {VALUES:,} cells; divide it", file=path)
    body = io.StringIO(rest if declared else text, newline="")
    reader = csv.reader(body, delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    before = int(bool(declared))  # where the last row ended
    try:
        for row in reader:
            before = reader.line_num + bool(declared)
            if not all(map(blank, row)):
                rows.append(row)
                lines.append(before)
    except csv.Error as error:
        raise CapoBenchError(
            "a quotation that does not end, or that goes on after its end; write a quotation mark "
            "inside of a quoted cell twice",
            file=path,
            line=before + 1,
        ) from error
    if not rows:
        raise CapoBenchError("is empty: expected a heading and rows", file=path)
    heading, lines_of = _heading(rows)
    if lines_of > 1:
        notes.append(f"the first {lines_of} lines are the heading")
        del rows[1:lines_of], lines[1:lines_of]
    used = [i for i in range(len(heading)) if heading[i] or any(_cell(r, i) for r in rows[1:])]
    if 0 in used and not heading[0] and _counts([_cell(row, 0) for row in rows[1:]]):
        used.remove(0)
        notes.append("left out: the first column, which has no name and counts the rows")
    nameless = [i + 1 for i in used if not heading[i]]
    twice = [name for name, count in Counter(heading[i] for i in used).items() if count > 1]
    if nameless or twice:
        fault = f"column {nameless[0]} has no name" if nameless else f"two columns are {twice[0]!r}"
        raise CapoBenchError(
            f"{fault}; give each column a name of its own", file=path, line=lines[0]
        )
    for row, line in zip(rows, lines, strict=True):
        if not all(map(blank, row[len(heading) :])):
            raise CapoBenchError(
                f"{len(row)} cells, but the heading has {len(heading)}; quote cells that hold a "
                f"{_named(delimiter)}",
                file=path,
                line=line,
            )
    columns = {heading[i]: [_cell(row, i) for row in rows[1:]] for i in used}
    read = {name: _read(cells, delimiter) for name, cells in columns.items()}
    if commas := [n for n, cells in read.items() if cells != columns[n] and not _has_lists(cells)]:
        notes.append(f"numbers with a decimal comma: {listed(commas)}")
    made = [dict(zip(read, row, strict=True)) for row in zip(*read.values(), strict=True)]
    if not any(map(_has_objects, read.values())):
        return Table(tuple(read), tuple(made), (*notes,))
    table = _of_objects(
        path, [(f"line {line}", row) for line, row in zip(lines[1:], made, strict=True)]
    )
    return replace(table, notes=(*notes,))


def _heading(rows: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """The columns' names, and how many lines they take.

    Qualtrics writes the questions' texts into a second line, by which columns are called if they
    differ, and ids into a third. SurveyMonkey, and whoever merges cells, writes a name over several
    columns that the second line tells apart, as it does below other names: `Ann` over `Label` and
    `Why`, `Bob` over `Label` and `Why`.
    """
    first = [name.strip() for name in rows[0]]
    second, third = (
        [_cell(row, at) or "" for at in range(len(first))] for row in [*rows[1:3], [], []][:2]
    )
    if third and all(cell.startswith('{"ImportId"') for cell in third):
        texts = [" ".join((text or name).split()) for name, text in zip(first, second, strict=True)]
        return (texts if len(set(texts)) == len(texts) else first), 3
    starts = [at for at, name in enumerate(first) if name]
    spans = [range(start, end) for start, end in pairwise([*starts, len(first)])]
    below = Counter(tuple(second[at] for at in span if second[at]) for span in spans)
    shared = [one for one, count in below.items() if count > 1 and len(set(one)) == len(one) > 1]
    said = [cell for cell in second if cell]
    if not shared and not (len(said) > 1 and set(said) <= _ANSWERS):
        return first, 1
    over: Iterator[str] = accumulate(first, lambda before, name: name or before)
    names = [
        f"{name} {own}".strip() if own not in ("", "Response") else name if own else alone
        for name, own, alone in zip(over, second, first, strict=True)
    ]
    return names, 2


def _read(cells: list[str | None], delimiter: str) -> list[Any]:
    """A column's cells: lists where all are written as such, numbers without a decimal comma.

    Whose commas are decimal divides cells by semicolons. Three digits may be thousands.
    """
    said = [cell for cell in cells if cell is not None]
    if said and all(cell[0] in "[{" and cell[-1] in "]}" for cell in said):
        objects = [cell and _objects(cell) for cell in cells]
        if objects.count(None) == cells.count(None):
            return objects
    if said and all(cell[0] == "[" and cell[-1] == "]" for cell in said):
        lists = [None if cell is None else _list(cell) for cell in cells]
        if lists.count(None) == cells.count(None):
            return lists
    if delimiter == ";" and all(_DECIMAL.fullmatch(cell) for cell in said):
        digits = {len(cell.partition(",")[2]) for cell in said} - {0}
        if digits - {3}:
            return [cell and _plain(cell.replace(",", ".")) for cell in cells]
    return cells


def _has_lists(cells: Sequence[Any]) -> bool:
    return any(isinstance(cell, list | dict) for cell in cells)


def _has_objects(cells: Sequence[Any]) -> bool:
    return any(isinstance(cell, dict) or (cell and isinstance(cell[0], dict)) for cell in cells)


def _objects(cell: str) -> dict[str, Any] | list[Any] | None:
    """An object, or a list of them, in JSON; `None` where it is none."""
    try:
        found = parse_json(cell, finite=False)
    except ValueError:
        return None
    objects = found if isinstance(found, list) else [found]
    return found if objects and all(isinstance(one, dict) for one in objects) else None


def _list(cell: str) -> list[Any] | None:
    """A list as Python or JSON writes it; `None` where it is none, as of what numpy writes."""
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    plain = all(isinstance(one, str | int | float) for one in found)
    return tidy(found) if plain and not _RUN_TOGETHER.search(cell) else None


def _counts(cells: Sequence[str | None]) -> bool:
    """Whether the cells are 0, 1, 2 ... or 1, 2, 3 ..., as pandas and R put before rows."""
    return any(cells == [str(start + n) for n in range(len(cells))] for start in (0, 1))


def _decoded(path: Path) -> tuple[str, str]:
    content = read_bytes(path)
    refuse_archive(path, content)
    encoding = next((code for mark, code in _BOMS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        lenient = content.decode(encoding, "replace")
        broken = lenient.count("\N{REPLACEMENT CHARACTER}")
        # What has more sound letters beyond ASCII than broken ones is no other encoding.
        if encoding != "utf-8" or len(_BEYOND.findall(lenient)) > 2 * broken:
            raise CapoBenchError(
                f"is damaged {encoding.removesuffix('-sig').upper()} text (byte {error.start}); save "
                "it anew as UTF-8",
                file=path,
                line=error.object.count(b"\n", 0, error.start) + 1,
            ) from error
        try:
            text, encoding = content.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError as other:
            raise CapoBenchError("is neither UTF-8 nor Windows-1252 text", file=path) from other
    if "\0" in text:
        raise CapoBenchError("holds null bytes, so it is no text; save it as CSV", file=path)
    return text, encoding.removesuffix("-sig").upper() if encoding != "Windows-1252" else encoding


def _delimiter(text: str) -> str:
    sample = text[:200_000]

    def fit(delimiter: str) -> tuple[float, int]:
        rows = [
            row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter) if row
        ]
        width = len(rows[0]) if rows else 0
        alike = sum(len(row) == width for row in rows[:200]) / max(len(rows[:200]), 1)
        return (alike if width > 1 else 0.0, width)

    return max(DELIMITERS, key=fit)


def _named(delimiter: str) -> str:
    return {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}.get(delimiter, delimiter)


def _cell(row: Sequence[str], index: int) -> str | None:
    cell = row[index].strip() if index < len(row) else ""
    return None if blank(cell) else _plain(cell)


def _plain(text: str) -> str:
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", text)


def _of_json(path: Path) -> Table:
    value = read_json(path, finite=False)  # pandas writes NaN for an empty cell
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), list):
        value = next(iter(value.values()))
    with naming(path):
        value = _transposed(value)
    if isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        keyed = [(f"entry {key}", {"id": key, **row}) for key, row in value.items()]
        return _of_objects(path, keyed)
    if not isinstance(value, list):
        raise CapoBenchError("expected a list of objects, or objects by their ids", file=path)
    return _of_objects(path, [(f"entry {n}", row) for n, row in enumerate(value, start=1)])


def _transposed(value: Any) -> Any:
    """Rows, of what pandas and others write column by column; anything else as it is."""
    if not isinstance(value, dict) or not value:
        return value
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list):
        return _split_table(names, data)
    columns = list(value.values())
    if all(isinstance(one, dict) for one in columns):  # cells by the number of their row
        counted = [str(number) for number in range(len(columns[0]))]
        if len(counted) < 2 or any(list(one) != counted for one in columns):
            return value
        columns = [list(one.values()) for one in columns]
    if not all(isinstance(one, list) and len(one) == len(columns[0]) for one in columns):
        return value
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def _split_table(names: Sequence[Any], rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows of what pandas calls split: the columns' names, and beside them a list a row."""
    heading = [str(name) for name in names if isinstance(name, str | int)]
    if len(set(heading)) < len(names):
        raise CapoBenchError("`columns` needs a name for each column, and no name twice")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != len(heading):
            raise CapoBenchError(
                f"expected a list of {len(heading)} cells, one for each of `columns`",
                id=f"entry {number} of `data`",
            )
    return [dict(zip(heading, row, strict=True)) for row in rows]


def answer_cells(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of one answer among an item's, without objects in it: `annotator.id`.

    Label Studio's answers have a `result` for each question; it is called as the question is.
    """
    cells: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, dict):
            cells |= {f"{name}.{key}": part for key, part in value.items()}
        elif name == "result" and isinstance(value, list) and value:
            for one in value:
                if not isinstance(one, dict) or not isinstance(one.get("value"), dict):
                    break
                said = next(iter(one["value"].values()), None)
                if isinstance(said, list) and len(said) == 1:
                    said = said[0]
                cells[str(one.get("from_name", name))] = said
        else:
            cells[name] = value
    return cells


def _of_objects(path: Path | str, rows: Sequence[tuple[str, Any]]) -> Table:
    for place, row in rows:
        if not isinstance(row, dict):
            raise CapoBenchError("expected an object of columns and cells", file=path, id=place)
    flat = [_classified(row) for _, row in rows]
    fixed: frozenset[str] | None = None
    while fixed is None or fixed:  # objects may hold further ones
        fixed = _fixed(flat)
        for at, (place, _) in enumerate(rows):
            with naming(path, id=place):
                flat[at] = _flat(flat[at], fixed)
    columns = tuple(dict.fromkeys(name for row in flat for name in row))
    _check_names(path, columns, flat)
    return Table(columns, tuple({name: row.get(name) for name in columns} for row in flat))


def _classified(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of Zooniverse with a column for each question and for each part of the subject."""
    asked, about = row.get("annotations"), row.get("subject_data")
    if not isinstance(asked, list) or not isinstance(about, dict) or len(about) != 1:
        return row
    if not all(isinstance(one, dict) and {"task", "value"} <= one.keys() for one in asked):
        return row
    said = {str(one.get("task_label") or one["task"]): one["value"] for one in asked}
    ((item, parts),) = about.items()
    if not isinstance(parts, dict) or len(said) < len(asked):
        return row
    rest = {name: cell for name, cell in row.items() if name not in _SUBJECT}
    return {"item_id": item, **parts, **said, **rest}


def _check_names(
    path: Path | str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Refuses names that look alike and of which no row has two: one column, spelt in two ways."""
    alike: dict[str, list[str]] = {}
    for name in columns:
        alike.setdefault(skeleton(name[:300]), []).append(name)
    for names in alike.values():
        if len(names) > 1 and not any(sum(name in row for name in names) > 1 for row in rows):
            raise CapoBenchError(
                f"columns {listed([visible(name[:60]) for name in names])} look alike and never "
                "stand in one row; give them one name",
                file=path,
            )


def _fixed(rows: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Columns of objects that have the same keys in all rows, so that these are columns too.

    Objects of several short texts alone, or of none, stay as they are: they may be labels by
    annotator.
    """
    keys: dict[str, set[tuple[str, ...]]] = {}
    short: dict[str, bool] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, dict):
                keys.setdefault(name, set()).add(tuple(value))
                said = [part for part in value.values() if part is not None]
                alone = all(isinstance(part, str) and len(part) <= 40 for part in said)
                short[name] = short.get(name, True) and alone and len(value) > 1
    return frozenset(name for name, found in keys.items() if len(found) == 1 and not short[name])


def _flat(row: Mapping[str, Any], fixed: frozenset[str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    name = ""
    try:
        for name, value in row.items():
            if name in fixed and isinstance(value, dict):
                for key, part in value.items():
                    free = key not in row and key not in flat
                    flat[key if free else f"{name}.{key}"] = tidy(part)
            else:
                flat[name] = tidy(value)
    except CapoBenchError as error:
        raise CapoBenchError(f"column {name[:60]!r}: {error.message}") from error
    return flat


def tidy(value: Any) -> Any:
    """A cell's value as text, `None`, or a list or mapping of such.

    Raises:
        CapoBenchError: If it is an infinite number, or bytes that are no UTF-8 text.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, Mapping):
        return {str(key): tidy(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(part) for part in value]
    text = _as_text(value).strip()
    return None if blank(text) else _plain(text)


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):  # a Parquet file need not say that they are text
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise CapoBenchError("bytes that are no UTF-8 text; write texts") from error
    if isinstance(value, float):
        if math.isinf(value):
            raise CapoBenchError("a number is infinite, or too large; write it as a text")
        return plain_number(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def plain_number(value: float) -> str:
    """A number as people write it, without exponent, and without what binary fractions add to it."""
    rounded = round(value, 9)
    value = rounded if math.isclose(rounded, value, rel_tol=1e-12) else value
    return _plain(f"{Decimal(repr(value + 0.0)):f}")  # no -0


def _of_parquet(path: Path) -> Table:
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(read_bytes(path)))
        names = Counter(table.schema_arrow.names)
        twice = [name for name, count in names.items() if count > 1]
        found = [] if twice else _rows(table)
    # The last three: of moments that Python has no name for, and zones.
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, LookupError) as error:
        reason = str(error).split("\n")[0]
        raise CapoBenchError(f"cannot be read as Parquet: {reason}", file=path) from error
    if twice:
        raise CapoBenchError(
            f"two columns are {twice[0]!r}; give each column a name of its own", file=path
        )
    return _of_objects(path, [(f"row {n}", row) for n, row in enumerate(found, start=1)])


def _rows(table: Any) -> list[dict[str, Any]]:
    """The rows of an open Parquet file; few bytes of it can stand for any number of cells."""
    groups = (table.metadata.row_group(n) for n in range(table.metadata.num_row_groups))
    longest = max((group.total_byte_size for group in groups), default=0)  # bounds each cell
    too_much = ValueError(
        f"unpacked it has more than the {FILE_BYTES:,} bytes or {VALUES:,} cells that are read; "
        "divide it"
    )
    if table.metadata.num_rows * len(table.schema_arrow.names) > VALUES:
        raise too_much
    rows: list[dict[str, Any]] = []
    size = 0
    for batch in table.iter_batches(batch_size=min(max(FILE_BYTES // max(longest, 1), 1), 1024)):
        size += batch.nbytes
        if size > FILE_BYTES:
            raise too_much
        rows += _printed(batch.to_pylist(), table.schema_arrow)
    return rows


def _printed(rows: Iterable[dict[str, Any]], schema: Any) -> Iterator[dict[str, Any]]:
    """Rows of an Arrow schema with numbers of 16 and 32 bits as they print: .1, not .10000000149."""
    narrow = {field.name: field.type for field in schema if "float" in str(field.type)}
    for row in rows:
        yield {**row, **{name: _shortest(row[name], kind) for name, kind in narrow.items()}}


def _shortest(value: Any, kind: Any) -> Any:
    """A cell of an Arrow type, or what is in it."""
    from pyarrow import types

    if isinstance(value, float):
        narrow = types.is_float32(kind) or types.is_float16(kind)
        return float(str(kind.to_pandas_dtype()(value))) if narrow else value
    if isinstance(value, dict):
        return {name: _shortest(part, kind.field(name).type) for name, part in value.items()}
    if isinstance(value, list) and types.is_map(kind):
        return [(key, _shortest(part, kind.item_type)) for key, part in value]
    if isinstance(value, list):
        return [_shortest(part, kind.value_type) for part in value]
    return value


def _of_folder(folder: Path) -> Table:
    import datasets

    saved = any((folder / file).is_file() for file in ("dataset_dict.json", "state.json"))
    # What is made of local files is of no use to anybody later.
    with _datasets(folder, "no folder of `datasets`"), TemporaryDirectory() as cache:
        _check_inside(folder, folder.rglob("*"))
        if saved:
            _check_inside(folder, _saved_files(folder))
            return _of_datasets(folder, datasets.load_from_disk(str(folder)))
        builder = datasets.load_dataset_builder(str(folder), cache_dir=cache)
        # A README.md may name any file or address as the data.
        _check_inside(folder, map(Path, _data_files(builder)))
        builder.download_and_prepare()
        return _of_datasets(folder, builder.as_dataset())


def _data_files(builder: Any) -> list[str]:
    """The files of all splits that a builder of `datasets` would read."""
    return [str(file) for files in (builder.config.data_files or {}).values() for file in files]


def _saved_files(folder: Path) -> Iterator[Path]:
    """What `datasets.load_from_disk` would read of a folder."""
    several = folder / "dataset_dict.json"
    parts = read_json(several)["splits"] if several.is_file() else [""]
    for part in parts:
        for file in read_json(folder / part / "state.json")["_data_files"]:
            yield folder / part / file["filename"]


def _check_inside(folder: Path, files: Iterable[Path]) -> None:
    """Refuses links and names that lead out of a folder, and what is no file."""
    inside = folder.resolve()
    for file in files:
        if not file.resolve().is_relative_to(inside):
            raise CapoBenchError(f"leads out of the folder {folder}; put the file there", file=file)
        if not file.is_dir() and not file.is_file():
            raise CapoBenchError("no regular file; put the file itself here", file=file)


def _of_hub(name: str) -> Table:
    import datasets

    place, _, configuration = name.partition(":")
    with _datasets(name, "no file, no folder, and no data set that the hub gives"):
        # Code that comes with a data set is never run: what needs it is refused.
        builder = datasets.load_dataset_builder(place, configuration or None)
        # Its README.md may name any file of this machine, or any address, as the data.
        for file in _data_files(builder):
            if not file.startswith("hf://datasets/"):
                raise CapoBenchError(
                    f"names data outside of the hub, {file}; get them yourself", file=name
                )
        builder.download_and_prepare()
        return _of_datasets(name, builder.as_dataset())


@contextmanager
def _datasets(source: Path | str, what: str) -> Iterator[None]:
    """Says in one line what `datasets` cannot load."""
    import datasets

    datasets.disable_progress_bars()
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        RuntimeError,
        TypeError,  # these two: what its files hold is not checked there before it is used
        AttributeError,
        datasets.exceptions.DatasetsError,
    ) as error:
        reason = str(error).strip().split("\n")[0]
        raise CapoBenchError(f"is {what}: {reason}", file=source) from error
    finally:
        datasets.enable_progress_bars()


def _of_datasets(source: Path | str, found: Any) -> Table:
    import datasets

    parts = found if isinstance(found, dict) else {"": found}
    rows: list[tuple[str, Any]] = []
    for name, part in parts.items():
        named = {
            column: feature
            for column, feature in part.features.items()
            if isinstance(feature, datasets.ClassLabel)
        }
        for row in _printed(part, part.features.arrow_schema):
            for column, feature in named.items():
                known = row[column] is not None and row[column] >= 0
                row[column] = feature.int2str(row[column]) if known else None
            placed = {"split": _SPLITS.get(name, name), **row} if name else row
            rows.append((f"row {len(rows) + 1}", placed))
    table = _of_objects(source, rows)
    notes = [f"splits {listed(list(parts))}"] if len(parts) > 1 else []
    return Table(table.columns, table.rows, tuple(notes))
