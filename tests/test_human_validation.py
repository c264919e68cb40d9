"""Sheets for human raters: what a rater sees, what comes back, and what follows from it."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from capo_bench.cli.app import app
from capo_bench.corpus.model import Annotator, Corpus, Item, LabelSpace, Response, TaskSpec
from capo_bench.corpus.readers import jsonl
from capo_bench.display import neutral
from capo_bench.errors import CapoBenchError
from capo_bench.human_validation import (
    ANSWERS,
    SHOWN,
    _read_sheet,
    evaluate,
    export,
    make_sheet,
)
from capo_bench.metrics.cells import Prediction, join
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.predictions import write_predictions

NAMES = ("Ada", "Bo", "Cy")
AWKWARD = "He said: \"no, never;\"\n=cmd|' /C calc'!A0"


def build(names: tuple[str, ...] = NAMES, train: int = 16, test: int = 10) -> Corpus:
    """Explanations name writer and item; what reaches a cell first looks like a formula."""
    task = TaskSpec(
        "toy", "Is it so?", {"text": "=HYPERLINK(A1)"}, LabelSpace("nominal", ("yes", "no")), ()
    )
    items = tuple(
        Item(
            f"i{number}",
            {"text": f"Text {number}, {AWKWARD}"},
            {name: (Response("no", f'{name}, says "{number}"; {AWKWARD}'),) for name in names},
            split="train" if number < train else "test",
        )
        for number in range(train + test)
    )
    return Corpus("toy", task, tuple(map(Annotator, names)), items)


def predict(corpus: Corpus, said="MODEL for {}: x"):
    return [
        Prediction(item.id, name, render_target(["yes"], said.format(name)))
        for item in corpus.split("test")
        for name in corpus.annotator_ids
    ]


def sheet_of(corpus: Corpus, rows: int = 20, seed: int = 0):
    cells = join(corpus, "test", predict(corpus))
    return make_sheet(cells, rows=rows, history=3, seed=seed)


@pytest.fixture(scope="module")
def drawn():
    return sheet_of(build())


def test_each_row_shows_the_annotators_history_and_both_responses(drawn):
    corpus, (sheet, key) = build(), drawn
    assert len(sheet) == len(key.rows) == 20
    for shown, secret in zip(sheet, key.rows, strict=True):
        assert shown["row"] == secret.row
        assert shown["history"].count(f"{secret.annotator}, says") == 3
        said = [name for name in NAMES if f"{name}, says" in shown["history"]]
        assert said == [secret.annotator]
        text = corpus.by_id[secret.item].text["text"]
        assert shown["item"] == f"'=HYPERLINK(A1): {text}"
        own, other = (shown[f"response_{place}"] for place in (secret.place, 3 - secret.place))
        written = "MODEL for" if secret.writer == "model" else f"{secret.annotator}, says"
        assert written in own
        assert f"{secret.other}, says" in other
        assert secret.other != secret.annotator


def test_the_sheet_is_blind_balanced_and_seeded(drawn):
    sheet, key = drawn
    assert set(sheet[0]) == set(SHOWN)
    writers = [row.writer for row in key.rows]
    assert writers.count("model") == 10
    assert writers[::2] != ["model"] * 10
    assert {row.place for row in key.rows} == {1, 2}
    assert len({(row.item, row.annotator) for row in key.rows}) == 20
    assert sheet_of(build()) == drawn
    assert [row.item for row in sheet_of(build(), seed=1)[1].rows] != [r.item for r in key.rows]


def test_the_classifiers_choice_is_the_right_one_where_it_is_plain(drawn):
    human = [row for row in drawn[1].rows if row.writer == "human"]
    assert [row.classifier for row in human] == [row.place for row in human]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\rx", r"'\rx"),
        (" =1", "' =1"),
        ("＝1", "'＝1"),
        ("1=1", "1=1"),
        ("Label: no\n=1", "Label: no\n=1"),
        ("", ""),
    ],
)
def test_formulas_are_neutralised(text, shown):
    assert neutral(text) == shown


def fill(folder: Path, rater: str, answers, **style) -> Path:
    """The sheet as a rater saves it; `answers` maps a row of the key to the three answers."""
    text = (folder / "sheet.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row in rows:
        row.update(zip(ANSWERS, answers(row["row"]), strict=True))
    path = folder / f"{rater}.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0], **style)
        writer.writeheader()
        writer.writerows(rows)
    return path


def exported(folder: Path, drawn):
    export(folder, *drawn)
    return folder, {row.row: row for row in drawn[1].rows}


def test_the_sheet_comes_back_as_it_went(tmp_path, drawn):
    folder, _ = exported(tmp_path / "out", drawn)
    raw = (folder / "sheet.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert [{name: row[name] for name in SHOWN} for row in rows] == drawn[0]
    assert all(row[name] == "" for row in rows for name in ANSWERS)
    assert not any(value.startswith(tuple("=+-@")) for row in rows for value in row.values())
    tasks = json.loads((folder / "label-studio.json").read_text(encoding="utf-8"))
    assert [task["data"] for task in tasks] == drawn[0]
    secrets = "writer", "place", "classifier"
    assert not any(name in json.dumps(tasks) for name in secrets)


@pytest.mark.parametrize("style", [{}, {"delimiter": ";"}, {"quoting": csv.QUOTE_ALL}])
def test_shares_are_those_of_the_answers(tmp_path, drawn, style):
    folder, key = exported(tmp_path / "out", drawn)
    names = list(key)
    models = [name for name in names if key[name].writer == "model"]

    def answers(name):
        # Right about every human row and 3 of 10 of the model's; the annotator's explanations are
        # sound where the model wrote them, the others' never.
        right = name not in models or name in models[:3]
        place = key[name].place
        sound = ["NO ", "no"]
        sound[place - 1] = "yes" if name in models else "no"
        return [str(place if right else 3 - place), *sound]

    found = evaluate(folder / "key.json", [fill(folder, "Eve", answers, **style)])
    values = {name: share.value for name, share in found.shares.items()}
    agrees = np.mean(
        [key[name].classifier == int(answers(name)[0]) for name in names if key[name].classifier]
    )
    assert values == {
        "model recognised": pytest.approx(0.3),
        "annotator recognised": 1.0,
        "classifier agrees": pytest.approx(agrees),
        "model sound": 1.0,
        "annotator sound": 0.0,
        "other sound": 0.0,
    }
    model = found.shares["model recognised"]
    assert model.low < 0.3 < model.high
    assert found.raters == {"Eve": 20}
    assert found.kappas == {}


def test_kappas_are_those_of_scikit_learn_over_the_common_rows(tmp_path, drawn):
    folder, key = exported(tmp_path / "out", drawn)
    random = np.random.default_rng(3)
    given = {
        rater: {
            name: [str(random.integers(1, 3)), *random.choice(["yes", "no"], 2)] for name in key
        }
        for rater in ("Eve", "Flo")
    }
    skipped = set(list(key)[:4])
    sheets = [
        fill(folder, "Eve", lambda name: given["Eve"][name]),
        fill(folder, "Flo", lambda name: ["", "", ""] if name in skipped else given["Flo"][name]),
    ]
    found = evaluate(folder / "key.json", sheets)
    common = [name for name in key if name not in skipped]
    eve, flo = ([given[rater][name] for name in common] for rater in ("Eve", "Flo"))
    kappas = found.kappas["Eve", "Flo"]
    assert kappas["which"] == pytest.approx(
        cohen_kappa_score([a[0] for a in eve], [a[0] for a in flo])
    )
    assert kappas["sound"] == pytest.approx(
        cohen_kappa_score([s for a in eve for s in a[1:]], [s for a in flo for s in a[1:]])
    )
    assert found.raters == {"Eve": 20, "Flo": 16}


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda _: ["3", "yes", "yes"], "row r.*: which is '3'; answer 1 or 2"),
        (lambda _: ["[1]", "yes", "yes"], "row r.*: which is .*; answer 1 or 2"),
        (lambda _: ["1", "", "yes"], "row r.*: sound_1 is ''; answer yes or no"),
        (lambda _: ["", "", ""], "no row is filled in"),
    ],
)
def test_wrong_answers_are_named(tmp_path, drawn, answers, message):
    folder, _ = exported(tmp_path / "out", drawn)
    with pytest.raises(CapoBenchError, match=rf"Eve\.csv: {message}"):
        evaluate(folder / "key.json", [fill(folder, "Eve", answers)])


def test_sheets_that_do_not_fit_are_named(tmp_path, drawn):
    folder, _ = exported(tmp_path / "out", drawn)
    good = fill(folder, "Eve", lambda _: ["1", "yes", "no"])
    text = good.read_text(encoding="utf-8-sig")
    for name, content, message in (
        ("alien", text.replace(drawn[0][0]["row"], "r0"), "row 'r0' is not in the key"),
        ("twice", text + text.split("\n", 1)[1], "occurs twice"),
        ("bare", "row,which\nr0,1\n", "there is no column 'sound_1'"),
        ("empty", "", "is empty"),
    ):
        path = folder / f"{name}.csv"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(CapoBenchError, match=message):
            evaluate(folder / "key.json", [path])
    (folder / "again").mkdir()
    twin = folder / "again" / "Eve.csv"
    twin.write_text(text, encoding="utf-8")
    with pytest.raises(CapoBenchError, match="another sheet is called Eve"):
        evaluate(folder / "key.json", [good, twin])
    (folder / "key.json").write_text('{"format": "x"}', encoding="utf-8")
    with pytest.raises(
        CapoBenchError, match=r"key\.json.* that `capo-bench validate-humans export`"
    ):
        evaluate(folder / "key.json", [good])


def test_bad_corpora_are_named():
    with pytest.raises(CapoBenchError, match="no response can be compared"):
        sheet_of(build(("Ada",)))
    corpus = build()
    silent = Corpus(
        corpus.name,
        corpus.task,
        (*corpus.annotators, Annotator("Di")),
        tuple(
            Item(i.id, i.text, {**i.cells, "Di": (Response("yes", "Late."),)}, split=i.split)
            if i.split == "test"
            else i
            for i in corpus.items
        ),
    )
    # Nothing in train shows Di, who is left out and refuses nothing.
    assert "Di" not in {row.annotator for row in sheet_of(silent, rows=40)[1].rows}


def test_the_commands_go_round(tmp_path):
    corpus = build()
    jsonl.write(corpus, tmp_path / "toy.jsonl")
    write_predictions(tmp_path / "p.jsonl", corpus, predict(corpus))
    folder = tmp_path / "out"
    arguments = ["--corpus", str(tmp_path / "toy.jsonl"), "--output", str(folder), "--rows", "12"]
    result = CliRunner().invoke(
        app, ["validate-humans", "export", str(tmp_path / "p.jsonl"), *arguments]
    )
    assert "12 rows, 12 asked for" in result.stdout
    places = {
        row["row"]: row["place"]
        for row in json.loads((folder / "key.json").read_text(encoding="utf-8"))["rows"]
    }
    sheet = fill(folder, "Eve", lambda name: [str(places[name]), "yes", "yes"])
    result = CliRunner().invoke(
        app, ["validate-humans", "import", str(folder / "key.json"), str(sheet), "--json"]
    )
    shares = json.loads(result.stdout)["shares"]
    assert shares["model recognised"]["value"] == 1.0
    assert shares["other sound"]["value"] == 1.0


@pytest.mark.parametrize(
    "saved",
    [
        lambda text: ("\ufeffsep=;\r\n" + text.replace(",", ";")).encode(),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: (text + ",,,\r\n").encode("cp1252"),
        lambda text: text.replace("yes", "TRUE").replace("no", "FALSE").encode(),
        lambda text: text.replace("r1,1", "r1,1.0").encode(),
    ],
)
def test_sheets_are_read_as_spreadsheets_save_them(tmp_path, saved):
    rows = {"r1": None, "r2": None}
    (tmp_path / "s.csv").write_bytes(
        saved("row,which,sound_1,sound_2\r\nr1,1,yes,no\r\nr2,2,no,no\r\n")
    )
    assert _read_sheet(tmp_path / "s.csv", rows) == {
        "r1": {"which": "1", "sound_1": "yes", "sound_2": "no"},
        "r2": {"which": "2", "sound_1": "no", "sound_2": "no"},
    }
