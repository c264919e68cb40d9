"""Tables as people have them become corpora in one command."""

import csv
import json
import os
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from capo_bench.cli.data import app
from capo_bench.corpus.importing import Wanted, import_table
from capo_bench.corpus.model import Corpus, LabelSpace, Response, Turn
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.readers.tables import read_delimited, read_table, tidy
from capo_bench.errors import CapoBenchError

LONG = [
    {
        "comment_id": item,
        "worker_id": f"A{worker}",
        "comment_text": f"The bus number {item} came late again mañana",
        "rating": 1 + (item + worker) % 5,
        "rationale": f"Buses of line {item} are late by {worker} minutes",
        "age": 20 + worker,
        "topic": f"t{item % 3}",
        "seconds": item * worker,
    }
    for item in range(12)
    for worker in range(4)
]


def delimited(rows: list[dict], delimiter: str = ",") -> str:
    lines = [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    return "".join(delimiter.join(line) + "\r\n" for line in lines)


def imported(path: Path | str, **wanted) -> tuple[Corpus, list[str]]:
    return import_table(read_table(path), Wanted(**wanted))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", delimited(LONG).encode()),
        ("bom.csv", b"\xef\xbb\xbf" + delimited(LONG).encode()),
        ("excel.csv", ("sep=;\r\n" + delimited(LONG, ";")).encode("cp1252")),
        ("unicode.txt", delimited(LONG, "\t").encode("utf-16")),
        ("padded.csv", (delimited(LONG) + ",,,,,,,\r\n\r\n").encode()),
        ("floats.csv", delimited([{**r, "rating": float(r["rating"])} for r in LONG]).encode()),
        ("lines.jsonl", "".join(json.dumps(row) + "\n" for row in LONG).encode()),
        ("list.json", json.dumps(LONG).encode()),
        ("table.parquet", None),
        ("folder", None),
        ("files", None),
        ("owner/crowd:full", None),
    ],
)
def test_the_same_crowd_in_any_file_needs_no_word_of_explanation(
    tmp_path, monkeypatch, name, content
) -> None:
    path = tmp_path / name
    if name == "folder":
        datasets.Dataset.from_list(LONG).save_to_disk(str(path))
    elif name == "files":  # as a data set of the hub looks when it has been cloned
        path.mkdir()
        (path / "README.md").write_text("# A crowd\n")
        pq.write_table(pa.Table.from_pylist(LONG), path / "train-00000-of-00001.parquet")
    elif ":" in name:

        def load_dataset_builder(*asked):
            assert asked == ("owner/crowd", "full")
            return on_hub(LONG, {"train": ["hf://datasets/owner/crowd@1f/t.csv"]})

        monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    elif content is None:
        pq.write_table(pa.Table.from_pylist(LONG), path)
    else:
        path.write_bytes(content)
    corpus, notes = imported(name if ":" in name else path)
    assert corpus.task.labels == LabelSpace("ordinal", ("1", "2", "3", "4", "5"))
    assert corpus.task.fields == {"comment_text": "Comment text"}
    assert corpus.task.explanations == "required"
    assert corpus.annotator_ids == ("A0", "A1", "A2", "A3")
    item = corpus.by_id["7"]
    assert item.text == {"comment_text": "The bus number 7 came late again mañana"}
    assert item.cells["A3"] == (Response("1", "Buses of line 7 are late by 3 minutes"),)
    assert item.meta == {"topic": "t1"}
    assert corpus.about("A3") == {"age": "23"}
    assert "left out: the columns seconds" in notes


def on_hub(rows: list[dict], files: dict[str, list[str]]) -> SimpleNamespace:
    """What `datasets.load_dataset_builder` gives for a data set of the hub."""
    found = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)})
    return SimpleNamespace(
        config=SimpleNamespace(data_files=files),
        download_and_prepare=lambda: None,
        as_dataset=lambda: found,
    )


def test_what_datasets_cannot_load_is_one_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CapoBenchError, match=r"empty: is no folder of `datasets`: \w.*") as error:
        read_table(tmp_path / "empty")
    assert "\n" not in str(error.value)
    monkeypatch.chdir(tmp_path)

    def load_dataset_builder(*_):
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub.\nx")

    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    found = "^a/b: is no file, no folder, and no data set that the hub gives: Dataset 'a/b' doesn't"
    with pytest.raises(CapoBenchError, match=found) as error:
        read_table("a/b")
    assert "\n" not in str(error.value)
    with pytest.raises(CapoBenchError, match=r"data/missing\.csv: .*(no such|not found|No such)"):
        read_table("data/missing.csv")


def write(path: Path, rows: list[list]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(rows)
    return path


def test_a_wide_table_with_explanations(tmp_path: Path) -> None:
    rows = [["text", "label_A", "reason_A", "label_B", "reason_B"]]
    for n in range(10):
        reasons = [f"for the {n}th cup of tea", "" if n == 9 else f"no {n}th cup at all"]
        rows.append([f"Tea or {n} coffees", "yes", reasons[0], "no" if n else "", reasons[1]])
    corpus, notes = imported(write(tmp_path / "wide.tsv", rows))
    assert corpus.annotator_ids == ("A", "B")
    assert corpus.items[3].cells == {
        "A": (Response("yes", "for the 3th cup of tea"),),
        "B": (Response("no", "no 3th cup at all"),),
    }
    assert corpus.items[0].cells.keys() == {"A"}
    assert "left out: 1 rows without a label" in notes
    assert corpus.task.explanations == "optional"


def test_columns_that_are_named_after_their_annotators(tmp_path: Path) -> None:
    rows = [["id", "tweet", "Ida", "Ola", "n"]]
    rows += [
        [n, f"Tea is good {n}", ["hate", "ok"][n % 2], ["ok", "hate"][n % 2], 5] for n in range(8)
    ]
    path = write(tmp_path / "names.csv", rows)
    corpus, _ = imported(path)
    assert corpus.by_id["1"].cells == {"Ida": (Response("ok"),), "Ola": (Response("hate"),)}
    assert corpus.task.explanations == "none"
    named, _ = imported(path, columns={"label": "Ida,Ola"}, texts=("tweet",))
    assert named.by_id["1"].cells == corpus.by_id["1"].cells


@pytest.mark.parametrize(
    "answers",
    [
        {"annotations": [{"worker": "Ida", "label": "a"}, {"worker": "Ola", "label": "b"}]},
        {"workers": ["Ida", "Ola"], "labels": ["a", "b"]},
        {"annotations": {"Ida": "a", "Ola": "b"}},
    ],
)
def test_answers_inside_of_an_items_row(tmp_path: Path, answers) -> None:
    path = tmp_path / "nested.json"
    path.write_text(json.dumps([{"text": f"Cup of tea {n}", **answers} for n in range(4)]))
    corpus, _ = imported(path)
    assert corpus.items[2].text == {"text": "Cup of tea 2"}
    assert corpus.items[2].cells == {"Ida": (Response("a"),), "Ola": (Response("b"),)}


def long(tmp_path: Path, labels: list[object], column: str = "label") -> Path:
    rows = [["text", "annotator", column]]
    rows += [[f"Cup of tea {n // 2}", f"a{n % 2}", label] for n, label in enumerate(labels)]
    return write(tmp_path / "long.csv", rows)


@pytest.mark.parametrize(
    ("labels", "space"),
    [
        (["x", "y"] * 4, LabelSpace("nominal", ("x", "y"))),
        (["0", "1"] * 4, LabelSpace("nominal", ("0", "1"))),
        (["1", "2", "5", "4"] * 2, LabelSpace("ordinal", ("1", "2", "3", "4", "5"))),
        ([3, 17, 55, 80] * 2, LabelSpace("interval", range=(0, 100), step=1)),
        ([0.1, 0.75, 0.5, 1] * 2, LabelSpace("interval", range=(0, 1), step=0.01)),
        (
            ["joy|fear", "fear", "joy", "anger|joy"] * 2,
            LabelSpace("multilabel", ("anger", "fear", "joy")),
        ),
        (
            ["severe", "None", "moderate", "Mild"] * 2,
            LabelSpace("ordinal", ("None", "Mild", "moderate", "severe")),
        ),
        (
            ["2 - undecided", "10 - agree", "1 - disagree"] * 2,
            LabelSpace("ordinal", ("1 - disagree", "2 - undecided", "10 - agree")),
        ),
        (["Yes", "yes", "Yes", "NO"] * 2, LabelSpace("nominal", ("NO", "Yes"))),
        (["yes, surely", "no, surely"] * 4, LabelSpace("nominal", ("no; surely", "yes; surely"))),
    ],
)
def test_the_kind_of_the_labels_is_seen(tmp_path: Path, labels, space) -> None:
    corpus, _ = imported(long(tmp_path, labels))
    assert corpus.task.labels == space


def test_several_labels_in_a_cell_share_its_explanation(tmp_path: Path) -> None:
    corpus, _ = imported(long(tmp_path, ["joy|fear", "fear", "joy", "anger|joy"] * 2))
    assert corpus.items[0].cells["a0"] == (Response("joy", also=("fear",)),)


@pytest.mark.parametrize("labels", [["|", "a|b", "a"] * 4, [",", ";", "yes"] * 4])
def test_a_cell_of_separators_alone_is_no_label(tmp_path: Path, labels) -> None:
    with pytest.raises(CapoBenchError, match="in which no label stands; write one there"):
        imported(long(tmp_path, labels))


@pytest.mark.parametrize("column", ["annotator", "label", "explanation", "item_id", "language"])
def test_turns_of_a_dialogue_are_a_text_and_nothing_else(tmp_path: Path, column: str) -> None:
    rows = [
        {
            "item_id": f"x{item}",
            "text": f"this is text {item}",
            "annotator": who,
            "label": ("yes", "no")[item % 2],
            "explanation": f"because of what {item} says",
            "language": "en",
        }
        for item in range(8)
        for who in "AB"
    ]
    file = tmp_path / "turns.jsonl"
    turned = [{**row, column: [{"role": "user", "content": row[column]}]} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in turned))
    with pytest.raises(CapoBenchError, match=f"column '{column}' is the .*turns of a dialogue"):
        imported(file)


def test_levels_are_named_where_their_order_cannot_be_seen(tmp_path: Path) -> None:
    path = long(tmp_path, ["dull", "sharp", "blunt", "dull"])
    with pytest.raises(CapoBenchError, match="the order of blunt, dull, sharp is not known"):
        imported(path, kind="ordinal")
    corpus, _ = imported(path, kind="ordinal", labels=("dull", "blunt", "sharp"))
    assert corpus.task.labels.values == (1, 2, 3)


def test_a_label_column_of_any_name_is_found_if_it_is_the_only_one(tmp_path: Path) -> None:
    corpus, notes = imported(long(tmp_path, ["x", "y", "y", "x"], "toxicity"))
    assert "label is 'toxicity'" in " ".join(notes)
    assert len(corpus.items) == 2


def test_whoever_answers_twice_is_counted(tmp_path: Path) -> None:
    rows = [["text", "annotator", "label"], ["A cup", "a", "x"], ["A cup", "a", "y"]]
    rows += [["A cup", "b", "y"], ["A pot", "a", "x"], ["A pot", "a", "x"]]
    corpus, notes = imported(
        write(tmp_path / "t.csv", rows), columns={"item": "text"}, texts=("text",)
    )
    assert corpus.items[0].cells == {"a": (Response("x"),), "b": (Response("y"),)}
    assert "left out: 1 rows that repeat an earlier one" in notes
    assert "left out: 1 rows in which an annotator answers an item again" in " ".join(notes)


def test_splits_are_read_by_their_usual_names(tmp_path: Path) -> None:
    rows = [["text", "annotator", "label", "split"]]
    rows += [
        [f"Cup of tea {n // 2}", f"a{n % 2}", "xy"[n % 2], ["train", "dev", "test"][n // 2]]
        for n in range(6)
    ]
    corpus, _ = imported(write(tmp_path / "t.csv", rows))
    assert [item.split for item in corpus.items] == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("text,label\nA cup,x\nA pot,y\n", "no column tells who answered"),
        ("annotator,label\na,x\nb,y\n", "no column is a text that was labelled"),
        (
            "text,worker,a,b\n" + "A cup,w1,x,y\nA cup,w2,y,x\nA pot,w1,y,x\nA pot,w2,x,x\n",
            "the label could be a, b",
        ),
        ("text,worker,label\nA cup,w1\nA cup,w2,x,y\n", "line 3: 4 cells, but the heading has 3"),
        ("text,worker,worker\nA cup,w1,x\n", "two columns are 'worker'"),
        ("text,worker,label\n", "has no rows"),
        ("", "is empty"),
    ],
)
def test_what_cannot_be_seen_is_asked_for_by_name(tmp_path: Path, text, fault) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CapoBenchError, match=fault):
        imported(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("t.csv", b"\x1f\x8b\x08\x00 text,worker", "is compressed by gzip"),
        ("t.csv", b"PK\x03\x04 text,worker", "is a zip archive or a spreadsheet"),
        ("t.json", b"\x1f\x8b\x08\x00", "is compressed by gzip"),
        ("t.json", '[{"label": "é"}]'.encode("latin-1"), "is not UTF-8 text"),
        ("t.json", "[]".encode("utf-16"), "is UTF-16 text"),
        ("t.parquet", b"PAR1", "cannot be read as Parquet"),
        ("t.csv", b'a,b\n1,"open\n2,x\n', "line 2: a quotation that does not end"),
        ("t.csv", b'a,b\n1,x\n2,"so" she\n', "line 3: a quotation that does not end, or that goes"),
        (
            "t.csv",
            "a,größe\n1,é\n".encode()[:-2] + b"\n",
            r"line 2: is damaged UTF-8 text .byte 12.",
        ),
        ("t.csv", b"\xef\xbb\xbfa,b\n1,\xff\n", "line 2: is damaged UTF-8 text"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16")[:-1], "is damaged UTF-16 text"),
        ("t.json", b'{"columns": ["a"], "data": [5]}', "entry 1 of `data`: expected a list of 1"),
        ("t.json", b'{"columns": ["a"], "data": [["x"], ["x", "y"]]}', "entry 2 of `data`"),
        ("t.json", b'{"columns": ["a", "b"], "data": [["x"]]}', "entry 1 of `data`"),
        ("t.json", b'{"columns": ["a", "a"], "data": [["x", "y"]]}', "no name twice"),
        ("t.json", b'{"columns": [{}], "data": [["x"]]}', "needs a name for each column"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, name, content, fault) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CapoBenchError, match=fault):
        read_table(tmp_path / name)


def test_no_column_of_a_parquet_file_hides_another(tmp_path: Path) -> None:
    columns = [pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["text", "text"]), tmp_path / "t.parquet")
    with pytest.raises(CapoBenchError, match="two columns are 'text'"):
        read_table(tmp_path / "t.parquet")


def test_a_table_has_so_many_cells_at_most(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n" * 5_000_001)
    with pytest.raises(CapoBenchError, match="has more than 10,000,000 cells; divide it"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder, other: (folder / "validation.csv").symlink_to(other / "t.csv"),
        lambda folder, other: os.mkfifo(folder / "README.md"),
        lambda folder, other: readme(folder, f"{other}/t.csv"),
        lambda folder, other: readme(folder, "../other/t.csv"),
        lambda folder, other: (folder / "dataset_dict.json").write_text('{"splits": ["../other"]}'),
        lambda folder, other: (folder / "state.json").write_text(
            '{"_data_files": [{"filename": "../other/data.arrow"}]}'
        ),
    ],
)
def test_a_folder_of_datasets_reads_nothing_outside_of_it(tmp_path: Path, change) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    datasets.Dataset.from_dict({"text": ["secret"]}).save_to_disk(other)
    (other / "data.arrow").write_bytes(next(other.glob("*.arrow")).read_bytes())
    (other / "t.csv").write_text("text,label\nsecret,x\n")
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\nmine,x\n")
    assert read_table(folder).rows == ({"split": "train", "text": "mine", "label": "x"},)
    change(folder, other)
    with pytest.raises(CapoBenchError, match=r"leads out of the folder|no regular file"):
        read_table(folder)


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "https://a.org/t.csv", "C:\\t.csv", "file:///t.csv"]
)
def test_a_data_set_of_the_hub_reads_nothing_outside_of_it(monkeypatch, file) -> None:
    named = {"train": ["hf://datasets/a/b@1f/t.csv"]}
    hub = on_hub([{"text": "mine", "label": "x"}], named)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_: hub)
    assert read_table("a/b").rows == ({"split": "train", "text": "mine", "label": "x"},)
    named["test"] = [file]
    with pytest.raises(CapoBenchError, match=r"a/b: names data outside of the hub, .*get them"):
        read_table("a/b")


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_numbers_of_any_width_are_read_as_they_print(tmp_path: Path, kind) -> None:
    column = [0.1, 2.5, 3.0, None]
    nested = {
        "list": pa.array([column, None, [], [0.7]], pa.list_(kind)),
        "object": pa.array(
            [{"a": 0.1, "b": [0.2]}] * 4, pa.struct({"a": kind, "b": pa.list_(kind)})
        ),
        "map": pa.array([[("k", 0.3)]] * 4, pa.map_(pa.string(), kind)),
    }
    table = pa.table({"n": pa.array(column, kind), **nested})
    pq.write_table(table, tmp_path / "t.parquet")
    rows = read_table(tmp_path / "t.parquet").rows
    assert [row["n"] for row in rows] == ["0.1", "2.5", "3", None]
    assert [row["list"] for row in rows] == [["0.1", "2.5", "3", None], None, [], ["0.7"]]
    assert (rows[0]["a"], rows[0]["b"], rows[0]["map"]) == ("0.1", ["0.2"], [["k", "0.3"]])
    datasets.Dataset(table.select(["n", "list"])).save_to_disk(tmp_path / "saved")
    assert [row["n"] for row in read_table(tmp_path / "saved").rows] == ["0.1", "2.5", "3", None]


def readme(folder: Path, data: str) -> None:
    configured = f"---\nconfigs:\n- config_name: default\n  data_files: {data}\n---\n"
    (folder / "README.md").write_text(configured)


def test_a_long_cell_is_read_before_any_other_table(tmp_path: Path) -> None:
    csv.field_size_limit(131072)  # as it is in a new process
    (tmp_path / "t.csv").write_text(f"a,b\n1,{'x' * 150_000}\n")
    assert len(read_table(tmp_path / "t.csv").rows[0]["b"]) == 150_000


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        (1e-10, "0.0000000001"),
        (0.1 + 0.2, "0.3"),
        (0.12345678912345, "0.12345678912345"),
        (1700000000.123456, "1700000000.123456"),
        (-0.0, "0"),
        (19.0, "19"),
        (1e22, "1" + "0" * 22),
        (2**64, "18446744073709551616"),
        (Decimal("2.00"), "2"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E-20"), "0." + "0" * 19 + "1"),
        ("größe".encode(), "größe"),
        (b"1.0", "1"),
        ("\u00ad\u200b", None),
        (date(2020, 1, 2), "2020-01-02"),
        ([{"a": b"x"}, None], [{"a": "x"}, None]),
    ],
)
def test_a_cell_of_any_type_is_the_text_that_it_stands_for(cell: object, read: object) -> None:
    assert tidy(cell) == read


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (pa.array([b"\xff"]), "row 1: column 'c': bytes that are no UTF-8 text"),
        (pa.array([1e300 * 1e300]), "row 1: column 'c': a number is infinite"),
        (pa.array([1], pa.timestamp("us", tz="No/Where")), "cannot be read as Parquet: 'No/Where'"),
        (pa.array(["x" * 2**20] * 300), "unpacked it has more than the 268,435,456 bytes"),
        (pa.nulls(10_000_001), "or 10,000,000 cells"),
    ],
)
def test_a_parquet_file_is_bounded_and_its_cells_are_texts(tmp_path: Path, column, fault) -> None:
    pq.write_table(pa.table({"c": column}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 2**21
    with pytest.raises(CapoBenchError, match=fault):
        read_table(tmp_path / "t.parquet")


def answered(**more) -> dict:
    return {"text": "A cup of tea", "annotators": ["a", "b"], **more}


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            [answered(labels=["x", "y"]), answered(labels=["x", "y", "y"])],
            "row 2, column labels: .* are not 2, one for each of 'annotators'",
        ),
        (
            [answered(labels=["x", "y"]), answered(labels="x")],
            "row 2, column labels: 'x' are not 2",
        ),
        (
            [answered(labels=["x", "y"], reasons=["it is so"])],
            "row 1, column reasons: .* are not 2",
        ),
        (
            [
                {"chat": [{"role": "a", "content": "Tea?"}], "worker": "w", "label": "x"},
                {"chat": [{"role": "a", "content": [{"text": "?"}]}], "worker": "v", "label": "y"},
            ],
            "row 2, column chat: a turn is .* expected texts as its 'role' and 'content'",
        ),
        (
            [
                {"chat": [{"role": "a", "content": "Tea?"}], "worker": "w", "label": "x"},
                {"chat": ["Tea?"], "worker": "v", "label": "y"},
            ],
            "row 2, column chat: a turn is 'Tea",
        ),
        (
            [
                {"A T": f"a cup {n // 2}", "a-t": f"tea {n // 2}", "who": "vw"[n % 2], "label": n % 2}
                for n in range(8)
            ],
            "the texts 'A T' and 'a-t' would both be the field 'a_t'",
        ),
    ],
)  # fmt: skip
def test_nothing_of_answers_is_lost_or_given_to_another(tmp_path: Path, rows, fault) -> None:
    (tmp_path / "t.json").write_text(json.dumps(rows))
    with pytest.raises(CapoBenchError, match=fault):
        imported(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("most", "wanted", "fault"),
    [
        (4, {"group_by": ("who",)}, "there is no column 'who'"),
        (4, {"group_by": ("label",)}, "--group-by names 'label', which is none of the texts"),
        (10**12, {"kind": "ordinal"}, "more than 1001 levels between 1 and 1e.12; round them"),
        (10**12, {"kind": "interval"}, "more than 1001 levels between 1 and 1e.12; round them"),
    ],
)
def test_what_is_asked_of_a_table_is_bounded(tmp_path: Path, most, wanted, fault) -> None:
    with pytest.raises(CapoBenchError, match=fault):
        imported(long(tmp_path, [1, 2, 3, most] * 3), **wanted)


def test_levels_are_numbered_by_short_numbers(tmp_path: Path) -> None:
    labels = [f"{'9' * 5000}{n % 3} - good" for n in range(12)]
    corpus, _ = imported(long(tmp_path, labels))
    assert corpus.task.labels == LabelSpace("nominal", tuple(labels[:3]))


def test_an_item_keeps_its_id_where_its_answers_have_ids_too(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"d{n}",
            "text": f"A cup of tea {n}",
            "answers": [
                {"id": 10 * n + k, "worker": "vw"[k], "label": (n + k) % 2} for k in range(2)
            ],
        }
        for n in range(6)
    ]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    corpus, _ = imported(tmp_path / "t.json")
    assert [item.id for item in corpus.items] == [f"d{n}" for n in range(6)]
    assert corpus.by_id["d3"].cells == {"v": (Response("1"),), "w": (Response("0"),)}


def test_labels_by_annotator_may_lack_some(tmp_path: Path) -> None:
    labels = [{"Ann": "x", "Bob": "y"}, {"Ann": "y", "Bob": None}, {"Ann": None, "Bob": "x"}]
    rows = pa.table({"text": ["A cup", "A pot", "Some tea"], "labels": labels})
    pq.write_table(rows, tmp_path / "t.parquet")
    corpus, notes = imported(tmp_path / "t.parquet", texts=("text",))
    assert [dict(item.cells) for item in corpus.items] == [
        {"Ann": (Response("x"),), "Bob": (Response("y"),)},
        {"Ann": (Response("y"),)},
        {"Bob": (Response("x"),)},
    ]
    assert "left out: 2 rows without a label" in notes


def test_a_named_column_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(
        CapoBenchError, match="there is no column 'who'; the table has text, annotator"
    ):
        imported(long(tmp_path, ["x", "y"]), columns={"annotator": "who"})


def test_line_breaks_in_quoted_cells_are_kept(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text,n\n"A cup\nof tea",1.0\n', encoding="utf-8")
    assert read_delimited(tmp_path / "t.csv").rows == ({"text": "A cup\nof tea", "n": "1"},)


def test_the_command_asks_before_it_overwrites(tmp_path: Path) -> None:
    path, out = long(tmp_path, ["x", "y"] * 6), tmp_path / "tea.jsonl"
    arguments = ["import", str(path), str(out), "--name", "tea", "--instruction", "Tea?"]
    first = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "wrote corpus tea (tea, nominal labels): 6 items" in first.output
    assert jsonl.read(out).task.instruction == "Tea?"
    with pytest.raises(
        CapoBenchError, match="is there already; choose another name, or add --force"
    ):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    again = CliRunner().invoke(app, [*arguments, "--force"], catch_exceptions=False)
    assert again.exit_code == 0


def each(*heading: str, people: tuple, item, who=lambda _: ()) -> list[list]:
    """A long table in which everybody answers eight items."""
    return [list(heading), *([*item(i, w), *who(w)] for i in range(8) for w in people)]


def test_columns_in_another_language_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    rows = each(
        *("Nr", "Wer", "Kommentar", "Bewertung", "Begründung", "Alter"),
        people=(0, 1, 2, 3),
        item=lambda i, w: [
            *(i, f"Bewerter {w}", f"Der Bus Nummer {i} kam spät", 1 + (i + w) // 4),
            f"Der Bus {i} kommt bei mir immer {w} zu spät",
        ],
        who=lambda w: [20 + w],
    )
    path = tmp_path / "deutsch.csv"
    path.write_bytes("\r\n".join(";".join(map(str, row)) for row in rows).encode("utf-8-sig"))
    corpus, notes = imported(path)
    assert corpus.annotator_ids == ("Bewerter 0", "Bewerter 1", "Bewerter 2", "Bewerter 3")
    assert corpus.about("Bewerter 2") == {"Alter": "22"}
    assert corpus.items[1].text == {"kommentar": "Der Bus Nummer 1 kam spät"}
    assert corpus.items[1].cells["Bewerter 3"] == (
        Response("2", "Der Bus 1 kommt bei mir immer 3 zu spät"),
    )
    assert "UTF-8 text, cells divided by semicolon" in notes


def test_a_text_without_blanks_has_words_too(tmp_path: Path) -> None:
    rows = each(
        *("标注者", "文本", "标签", "理由"),
        people=("甲", "乙", "丙", "丁"),
        item=lambda i, w: [
            *(
                w,
                f"第{i}路公交车今天又迟到了，大家都很生气。",
                "积极" if (i, w) < (4, "丙") else "消极",
            ),
            f"因为{i}路车总是迟到，{w}等了很久。",
        ],
    )
    corpus, _ = imported(write(tmp_path / "zh.csv", rows), language="zh")
    assert corpus.annotator_ids == ("甲", "乙", "丙", "丁")
    assert corpus.task.labels.labels == ("消极", "积极")
    assert corpus.items[5].cells["甲"] == (Response("消极", "因为5路车总是迟到，甲等了很久。"),)


def test_who_answered_is_asked_for_where_two_columns_could_tell(tmp_path: Path) -> None:
    rows = each(
        *("text", "first", "second", "verdict"),
        people=(0, 1, 2, 3),
        item=lambda i, w: [f"Tea or {i} coffees", "abcd"[w], "efgh"[(i + w) % 4], "xy"[w % 2]],
    )
    path = write(tmp_path / "t.csv", rows)
    with pytest.raises(CapoBenchError, match="who answered could be first, second; name it with"):
        imported(path)
    corpus, _ = imported(path, columns={"annotator": "second"})
    assert corpus.items[1].cells["e"] == (Response("y"),)


def test_a_dialogue_is_a_text_in_turns(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Tea?"}, {"role": "bot", "content": "A cup {}, please"}]
    rows = [
        {
            "dialogue_id": f"d{i}",
            "messages": [turns[0], {**turns[1], "content": turns[1]["content"].format(i)}],
            "worker": f"w{w}",
            "rating": 1 + (i + w) % 3,
        }
        for i in range(8)
        for w in range(3)
    ]
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(rows))
    corpus, _ = imported(path)
    assert corpus.by_id["d5"].turns == {
        "messages": (Turn("user", "Tea?"), Turn("bot", "A cup 5, please"))
    }
    assert corpus.by_id["d5"].text == {"messages": "user: Tea?\nbot: A cup 5, please"}
    assert corpus.by_id["d5"].cells["w1"] == (Response("1"),)


def test_an_index_of_pandas_and_its_empty_cells(tmp_path: Path) -> None:
    rows: list[list] = [["", "task_id", "annotator", "sentence", "label"]]
    for n in range(24):
        rows.append([n, 100 + n // 3, n % 3, f"The {n // 3}th cup", ["yes", "NaN", "no"][n % 3]])
    path = write(tmp_path / "pandas.csv", rows)
    corpus, notes = imported(path)
    assert corpus.by_id["101"].cells == {"0": (Response("yes"),), "2": (Response("no"),)}
    assert "left out: the first column, which has no name and counts the rows" in notes
    assert "read as empty: 8 cells 'NaN'; if that is a label, name all with --labels" in notes
    assert "left out: 8 rows without a label" in notes
    corpus, _ = imported(path, labels=("yes", "no", "NaN"))
    assert corpus.by_id["101"].cells["1"] == (Response("NaN"),)


def test_a_batch_of_mechanical_turk(tmp_path: Path) -> None:
    rows: list[list] = [
        ["HITId", "WorkerId", "Input.text", "Answer.mood", "AcceptTime", "Age", "WorkTimeInSeconds"]
    ]
    for i in range(8):
        for w in range(3):
            row = [
                f"3X{i}",
                f"A{w}",
                f"The {i}th cup",
                "xy"[(i + w) % 2],
                f"Mon {i} Mar",
                30 + w,
                i * w,
            ]
            rows += [row] * (1 + (i == 4))
    corpus, notes = imported(write(tmp_path / "batch.csv", rows))
    assert corpus.by_id["3X4"].text == {"input_text": "The 4th cup"}
    assert corpus.by_id["3X4"].cells["A1"] == (Response("y"),)
    assert corpus.about("A1") == {"Age": "31"}
    assert "left out: 3 rows that repeat an earlier one" in notes


def test_who_gave_each_of_an_items_answers_stands_in_columns_too(tmp_path: Path) -> None:
    rows: list[list] = [["text", "worker_1", "rating_1", "worker_2", "rating_2"]]
    rows += [[f"The {i}th cup", f"w{i % 3}", 1 + i % 4, f"w{(i + 1) % 3}", 4] for i in range(12)]
    corpus, notes = imported(write(tmp_path / "wide.csv", rows))
    assert set(corpus.annotator_ids) == {"w0", "w1", "w2"}
    assert corpus.items[1].cells == {"w1": (Response("2"),), "w2": (Response("4"),)}
    assert "who gave them is in worker_*" in notes


def test_text_alone_makes_no_corpus(tmp_path: Path) -> None:
    rows = [["question", "respondent", "answer"]]
    rows += [
        [f"Why is {i} late?", f"r{w}", f"I say {i} times {w} is {i * w} my dear"]
        for i in range(9)
        for w in range(5)
    ]
    with pytest.raises(CapoBenchError, match="without labels there is no corpus; name it with"):
        imported(write(tmp_path / "free.csv", rows))


def test_what_is_written_column_by_column_has_rows(tmp_path: Path) -> None:
    whole, _ = imported(_saved(tmp_path / "list.json", LONG))
    columns = {name: [row[name] for row in LONG] for name in LONG[0]}
    by_number = {name: dict(enumerate(cells)) for name, cells in columns.items()}
    split = {
        "columns": list(columns),
        "index": list(range(len(LONG))),
        "data": [list(r.values()) for r in LONG],
    }
    for shape in (columns, by_number, split):
        corpus, _ = imported(_saved(tmp_path / "other.json", shape))
        assert corpus == whole


def _saved(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("label", "why", "pattern"),
    [
        ("{} rating", "{} comment", "* rating"),
        ("score_{}", "why_{}", "score_*"),
        ("{}", "reason ({})", "Ann,Anton,Bob"),
    ],
)
def test_columns_named_after_people_have_their_reasons_beside(
    tmp_path: Path, label: str, why: str, pattern: str
) -> None:
    def row(n: int) -> dict[str, object]:
        # Bob never gives a 4
        answers = {"Ann": 1 + n % 4, "Anton": 1 + (n + 1) % 4, "Bob": 1 + n % 3}
        return {
            "text": f"The bus number {n} came late",
            **{label.format(who): answer for who, answer in answers.items()},
            **{why.format(who): f"Because {who} said {n}" for who in answers},
        }

    corpus, notes = imported(_saved(tmp_path / "wide.json", [row(n) for n in range(12)]))
    assert f"a wide table: the columns {pattern} are the annotators' labels" in notes
    assert corpus.annotator_ids == ("Ann", "Anton", "Bob")
    assert list(corpus.task.fields) == ["text"]
    assert corpus.items[1].cells == {
        "Ann": (Response("2", "Because Ann said 1"),),
        "Anton": (Response("3", "Because Anton said 1"),),
        "Bob": (Response("2", "Because Bob said 1"),),
    }


def test_decimal_commas_are_numbers_where_semicolons_divide(tmp_path: Path) -> None:
    rows = [
        {
            "Aussage": f"Der Bus Nummer {item} kommt zu sp\u00e4t",
            "Person": f"P{who}",
            "Note": f"{1 + (item + who // 2 * 2) % 5 / 2}".replace(".", ","),
            "Grund": f"Weil Linie {item} um {who} Minuten zu sp\u00e4t ist",
        }
        for item in range(8)
        for who in range(3)
    ]
    path = tmp_path / "noten.csv"
    path.write_bytes(delimited(rows, ";").encode("cp1252"))
    corpus, notes = imported(path)
    assert "numbers with a decimal comma: Note" in notes
    assert corpus.task.labels == LabelSpace("interval", range=(1, 3), step=0.1)
    assert corpus.items[1].cells["P2"][0].labels == ("2.5",)
    # divided by tabs, a comma divides labels, and three digits are thousands
    path.write_bytes(delimited(rows, "\t").encode("cp1252"))
    assert read_delimited(path).rows[3]["Note"] == "1,5"
    path.write_text("a;b\n1,000;x\n2,500;y\n", encoding="utf-8")
    assert [row["a"] for row in read_delimited(path).rows] == ["1,000", "2,500"]


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["['joy', 'fear']", '["joy"]', "[]"], [["joy", "fear"], ["joy"], []]),
        (["[1, 2.0]", "[3]"], [["1", "2"], ["3"]]),
        (["['joy' 'fear']", "['joy']"], ["['joy' 'fear']", "['joy']"]),  # of numpy
        (["[joy]", "[]"], ["[joy]", "[]"]),
        (["[1]", "joy"], ["[1]", "joy"]),
    ],
)
def test_lists_in_cells_of_text(tmp_path: Path, cells: list[str], read: list[object]) -> None:
    path = tmp_path / "lists.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["n", "labels"], *enumerate(cells)])
    assert [row["labels"] for row in read_delimited(path).rows] == read


def test_answers_with_objects_inside(tmp_path: Path) -> None:
    def row(n: int) -> dict[str, object]:
        return {
            "text": f"The bus number {n} came late",
            "annotations": [
                {
                    "annotator": {"id": who, "age": 20 + who},
                    "value": "no" if (n + who) % 2 else "yes",
                    "free_text": f"Bus {n}, says {who}",
                }
                for who in range(3)
            ],
        }

    corpus, _ = imported(_saved(tmp_path / "nested.json", [row(n) for n in range(6)]))
    assert corpus.annotator_ids == ("0", "1", "2")
    assert corpus.items[1].cells["2"] == (Response("no", "Bus 1, says 2"),)
    assert corpus.about("2") == {"annotator.age": "22"}


def test_an_export_of_label_studio(tmp_path: Path) -> None:
    def answer(n: int, who: int) -> dict[str, object]:
        asked = {"sentiment": ("choices", ["bad" if (n + who) % 2 else "good"])}
        asked |= {"why": ("text", [f"Bus {n} of {who} came late"])}
        return {
            "id": 10 * n + who,
            "completed_by": who,
            "result": [
                {"from_name": name, "to_name": "text", "type": kind, "value": {kind: said}}
                for name, (kind, said) in asked.items()
            ],
        }

    tasks = [
        {
            "id": n,
            "data": {"text": f"The bus number {n} came late"},
            "annotations": [answer(n, who) for who in range(3)],
        }
        for n in range(8)
    ]
    corpus, _ = imported(_saved(tmp_path / "export.json", tasks))
    assert corpus.items[3].cells == {
        "0": (Response("bad", "Bus 3 of 0 came late"),),
        "1": (Response("good", "Bus 3 of 1 came late"),),
        "2": (Response("bad", "Bus 3 of 2 came late"),),
    }


def test_reaction_times_are_no_labels(tmp_path: Path) -> None:
    rows = [
        {
            "stimulus": f"The bus number {item} came late",
            "participant": who,
            "score_0_100": (item * 37 + who * 11) % 101,
            "comment": f"Bus {item} was late by {who}",
            "rt_ms": 300 + 7 * item + who,
        }
        for item in range(20)
        for who in range(3)
    ]
    corpus, notes = imported(_saved(tmp_path / "slider.json", rows))
    assert corpus.task.labels == LabelSpace("interval", range=(0, 100), step=1)
    assert "left out: the columns rt_ms" in notes


BUSES = [
    "The bus was late again.",
    "You drove past me, thanks a lot.",
    "Nobody minds waiting for you.",
    "Is that what you call a timetable?",
    "The driver said good morning.",
    "Learn how to drive, will you.",
]
PEOPLE = ("Ann", "Cemal")
SURVEYED = {
    **{"Ann": "frfrfr", "Bo": "rffrrf", "Cemal": "frrffr"},
    **{"Dora": "rrffrf", "Evi": "ffrrfr", "Fay": "rfrfrf"},
}
"""Of each person, whether the buses are fine or rude."""


def answered(n: int, who: str) -> tuple[str, str]:
    """Label and reason for one bus."""
    return {"f": "fine", "r": "rude"}[SURVEYED[who][n]], f"as {who} I read bus {n} so"


CELLS = {(bus, who): answered(n, who) for n, bus in enumerate(BUSES) for who in PEOPLE}


def cells_of(corpus: Corpus) -> dict[tuple[str, str], tuple[str, str]]:
    """Label and explanation by the item's one text and the annotator."""
    return {
        (*item.text.values(), who): (one.label, one.explanation)
        for item in corpus.items
        for who, (one,) in item.cells.items()
    }


def json_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_potato_as_json_lines_and_as_a_table(tmp_path: Path) -> None:
    rows = [
        {
            "user_id": who,
            "instance_id": f"t{BUSES.index(bus)}",
            "displayed_text": bus,
            "label_annotations": {"tone": {label: "true"}, "reason": {"text_box": why}},
            "span_annotations": {},
        }
        for (bus, who), (label, why) in CELLS.items()
    ]
    assert cells_of(imported(json_lines(tmp_path / "potato.jsonl", rows))[0]) == CELLS
    table = [["user", "displayed_text", "tone:::rude", "tone:::fine", "reason:::text_box"]]
    for (bus, who), (label, why) in CELLS.items():
        table.append([who, bus, *("true" if label == one else "" for one in ("rude", "fine")), why])
    assert cells_of(imported(write(tmp_path / "potato.tsv", table))[0]) == CELLS


def test_prodigy_s_choices_without_what_was_skipped(tmp_path: Path) -> None:
    rows = [
        {
            "text": bus,
            "_input_hash": BUSES.index(bus),
            "_task_hash": -BUSES.index(bus),
            "options": [{"id": "rude", "text": "Rude"}, {"id": "fine", "text": "Fine"}],
            "accept": [label],
            "answer": "ignore" if (bus, who) == (BUSES[0], "Ann") else "accept",
            "_annotator_id": who,
            "user_comment": why,
        }
        for (bus, who), (label, why) in CELLS.items()
    ]
    corpus, notes = imported(json_lines(tmp_path / "choice.jsonl", rows))
    assert cells_of(corpus) == {
        cell: said for cell, said in CELLS.items() if cell != (BUSES[0], "Ann")
    }
    assert "left out: 1 rows that Prodigy has not accepted" in notes
    binary = [
        {
            "text": row["text"],
            "label": "SARCASM",
            "answer": "accept" if row["accept"] == ["rude"] else "reject",
            "_task_hash": row["_task_hash"],
            "_annotator_id": row["_annotator_id"],
        }
        for row in rows
    ]
    corpus, _ = imported(json_lines(tmp_path / "binary.jsonl", binary))
    assert corpus.task.labels == LabelSpace("nominal", ("accept", "reject"))
    assert corpus.items[2].cells == {"Ann": (Response("reject"),), "Cemal": (Response("accept"),)}


def test_what_zooniverse_writes_into_cells(tmp_path: Path) -> None:
    rows = [["classification_id", "user_name", "annotations", "subject_data", "subject_ids"]]
    for number, ((bus, who), (label, why)) in enumerate(CELLS.items()):
        said = [{"task": "T0", "task_label": "Is it rude?", "value": label}]
        said += [{"task": "T1", "task_label": "Why?", "value": why}]
        subject = 900 + BUSES.index(bus)
        about = {str(subject): {"retired": None, "text": bus}}
        rows.append([number, who, json.dumps(said), json.dumps(about), subject])
    corpus, _ = imported(write(tmp_path / "zoo.csv", rows))
    assert cells_of(corpus) == CELLS
    assert corpus.items[0].id == "900"


def test_comments_and_labels_in_lists_of_one(tmp_path: Path) -> None:
    rows = [
        {"id": n, "text": bus, "label": [label], "username": who, "Comments": [why]}
        for n, ((bus, who), (label, why)) in enumerate(CELLS.items())
    ]
    assert cells_of(imported(json_lines(tmp_path / "doccano.jsonl", rows))[0]) == CELLS


def test_each_question_has_its_answers_by_the_same_people(tmp_path: Path) -> None:
    rows = [
        {
            "fields": {"text": bus},
            "responses": {
                "tone": [{"value": CELLS[bus, who][0], "user_id": who} for who in PEOPLE],
                "why": [{"value": CELLS[bus, who][1], "user_id": who} for who in PEOPLE[::-1]],
            },
        }
        for bus in BUSES
    ]
    assert cells_of(imported(json_lines(tmp_path / "argilla.jsonl", rows))[0]) == CELLS


def test_annotators_and_labels_of_an_item_in_two_cells(tmp_path: Path) -> None:
    rows = {
        str(n): {
            "text": bus,
            "annotators": "Ann,Cemal",
            "annotations": ",".join(CELLS[bus, who][0] for who in PEOPLE),
            "soft_label": {"0": 0.5, "1": 0.5},
        }
        for n, bus in enumerate(BUSES)
    }
    (tmp_path / "agreement.json").write_text(json.dumps(rows))
    corpus, _ = imported(tmp_path / "agreement.json")
    assert cells_of(corpus) == {cell: (label, "") for cell, (label, _) in CELLS.items()}


def test_a_text_in_words(tmp_path: Path) -> None:
    rows = [
        {"post_tokens": bus.split(), "worker": who, "label": label, "reason": why}
        for (bus, who), (label, why) in CELLS.items()
    ]
    corpus, notes = imported(json_lines(tmp_path / "tokens.jsonl", rows))
    assert cells_of(corpus) == CELLS
    assert "the words in 'post_tokens' are a text, with blanks between them" in notes
    renamed = [{"said" if k == "post_tokens" else k: v for k, v in row.items()} for row in rows]
    named, _ = imported(json_lines(tmp_path / "said.jsonl", renamed), texts=("said",))
    assert cells_of(named) == CELLS


def test_names_over_several_columns(tmp_path: Path) -> None:
    rows = [["", "", "Ann", "", "Cemal", ""], ["Nr", "Text", *["Label", "Why"] * 2]]
    rows += [[str(n), bus, *CELLS[bus, "Ann"], *CELLS[bus, "Cemal"]] for n, bus in enumerate(BUSES)]
    corpus, notes = imported(write(tmp_path / "merged.csv", rows))
    assert cells_of(corpus) == CELLS
    assert "the first 2 lines are the heading" in notes
    # A column without a name over data is still refused.
    fault = r"line 1: column 3 has no name"
    with pytest.raises(CapoBenchError, match=fault):
        imported(write(tmp_path / "plain.csv", [["text", "who", ""], ["A bus", "Ann", "rude"]]))


SURVEY = {(bus, who): answered(n, who) for n, bus in enumerate(BUSES) for who in SURVEYED}


def survey(headings: list[list[str]], *, reasons: bool = True) -> list[list[str]]:
    """A row a person: an id, an age, and for each bus a label and perhaps a reason."""
    return headings + [
        [
            who,
            str(30 + len(who)),
            *(part for bus in BUSES for part in SURVEY[bus, who][: 1 + reasons]),
        ]
        for who in SURVEYED
    ]


QUALTRICS = [
    ["ResponseId", "QID1", *(f"Q{n}{what}" for n in range(6) for what in ("", "_why"))],
    ["Response ID", "How old?", *(q for bus in BUSES for q in (bus, f"Why? {bus}"))],
]
QUALTRICS.append([json.dumps({"ImportId": name}) for name in QUALTRICS[0]])
MONKEY = [
    ["Respondent ID", "Age", *(name for bus in BUSES for name in (bus, ""))],
    ["", "", *["Response", "Open-Ended Response"] * 6],
]


@pytest.mark.parametrize("headings", [QUALTRICS, MONKEY], ids=["Qualtrics", "SurveyMonkey"])
def test_a_survey_has_a_row_a_person(tmp_path: Path, headings: list[list[str]]) -> None:
    corpus, notes = imported(write(tmp_path / "survey.csv", survey(headings)))
    assert cells_of(corpus) == SURVEY
    assert list(corpus.about("Cemal").values()) == ["35"]
    assert "a survey: a row is a person's, and columns are called by the items' texts" in notes


def test_a_survey_of_a_form_asks_who_answered(tmp_path: Path) -> None:
    heading = ["Email", "Age", *(f"Is it rude? [{bus}]" for bus in BUSES)]
    path = write(tmp_path / "form.csv", survey([heading], reasons=False))
    with pytest.raises(CapoBenchError, match=r"a row seems to be a person's.* with --annotator$"):
        imported(path)
    corpus, _ = imported(path, columns={"annotator": "Email"})
    assert cells_of(corpus) == {cell: (label, "") for cell, (label, _) in SURVEY.items()}


def test_a_batch_of_mechanical_turk_with_several_items_a_row(tmp_path: Path) -> None:
    numbers = range(1, 4)
    rows = [
        [
            *("HITId", "WorkerId"),
            *(
                f"{what}{n}"
                for what in ("Input.text", "Answer.tone", "Answer.why")
                for n in numbers
            ),
        ]
    ]
    for hit in (0, 3):
        buses = BUSES[hit : hit + 3]
        for who in PEOPLE:
            said = [CELLS[bus, who] for bus in buses]
            rows.append([f"H{hit}", who, *buses, *(s[0] for s in said), *(s[1] for s in said)])
    path = write(tmp_path / "batch.csv", rows)
    with pytest.raises(CapoBenchError, match=r"--label 'Answer\.tone\*', --text 'text\*'"):
        imported(path)
    corpus, _ = imported(
        path,
        columns={
            "annotator": "WorkerId",
            "label": "Answer.tone*",
            "explanation": "Answer.why*",
        },
        texts=("Input.text*",),
    )
    assert cells_of(corpus) == CELLS
    assert corpus.task.fields == {"input_text": "Input.text"}


def test_labels_that_are_columns_are_named_together(tmp_path: Path) -> None:
    rows = [["post", "coder", "joy", "anger", "note"]]
    marks = [(1, 1), (0, 0), (1, 0), (0, 1)]
    for n, bus in enumerate(BUSES):
        for k, who in enumerate(["Ann", "Bo", "Cemal", "Dora"]):
            rows.append([bus, who, *marks[(n + k) % 4], f"as {who} says of {n}"])
    path = write(tmp_path / "marks.csv", rows)
    with pytest.raises(
        CapoBenchError, match="--label 'joy,anger' and who answered, --annotator 'c"
    ):
        imported(path)
    corpus, notes = imported(path, columns={"annotator": "coder", "label": "joy,anger"})
    assert {who: one.labels for who, (one,) in corpus.items[0].cells.items()} == {
        "Ann": ("joy", "anger"),
        "Bo": ("none",),
        "Cemal": ("joy",),
        "Dora": ("anger",),
    }
    assert "6 rows in which all are denied have the label 'none'" in notes


def test_a_response_that_was_labelled_is_no_label(tmp_path: Path) -> None:
    rows = [["rater_id", "item_id", "context", "response", "Q_overall", "gender"]]
    for n in range(14):
        reply = f"I would rather not say {n}"
        rows += [
            [who, n, f"Tell me of bus {n}", reply, ("Yes", "No")[(n + k) % 2], "f"]
            for k, who in enumerate(PEOPLE)
        ]
    corpus, _ = imported(write(tmp_path / "dices.csv", rows))
    assert corpus.task.labels == LabelSpace("nominal", ("No", "Yes"))
    assert corpus.by_id["3"].text == {
        "context": "Tell me of bus 3",
        "response": "I would rather not say 3",
    }


def test_columns_whose_names_hold_commas_are_all_read(tmp_path: Path) -> None:
    rows = [["text", "Lopez, Ann", "Said, Bo", "Lopez"]]
    rows += [
        [bus, *(answered(n, who)[0] for who in ("Ann", "Bo", "Cemal"))]
        for n, bus in enumerate(BUSES)
    ]
    path = write(tmp_path / "names.csv", rows)
    corpus, _ = imported(path)
    assert corpus.annotator_ids == ("Lopez, Ann", "Said, Bo", "Lopez")
    named, _ = imported(path, columns={"label": "Lopez, Ann,Said, Bo"})
    assert named.annotator_ids == ("Lopez, Ann", "Said, Bo")
