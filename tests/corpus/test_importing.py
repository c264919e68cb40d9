"""Tables as people have them become corpora in one command."""

import csv
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from capo_bench.cli.data import app
from capo_bench.corpus.importing import Wanted, import_table
from capo_bench.corpus.model import Corpus, LabelSpace, Response
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.readers.tables import read_delimited, read_table
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

        def load_dataset(*asked):
            assert asked == ("owner/crowd", "full")
            return datasets.DatasetDict({"train": datasets.Dataset.from_list(LONG)})

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
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


def test_what_datasets_cannot_load_is_one_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CapoBenchError, match=r"empty: is no folder of `datasets`: \w.*") as error:
        read_table(tmp_path / "empty")
    assert "\n" not in str(error.value)
    monkeypatch.chdir(tmp_path)

    def load_dataset(*_):
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub.\nx")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
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


def test_levels_are_named_where_their_order_cannot_be_seen(tmp_path: Path) -> None:
    path = long(tmp_path, ["low", "high", "middle", "low"])
    with pytest.raises(CapoBenchError, match="the order of high, low, middle is not known"):
        imported(path, kind="ordinal")
    corpus, _ = imported(path, kind="ordinal", labels=("low", "middle", "high"))
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
            "text,worker,a,b\n" + "A cup,w1,x,y\nA cup,w2,y,x\nA pot,w1,y,y\nA pot,w2,x,x\n",
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
