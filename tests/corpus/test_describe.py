import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from capo_bench.cli.data import app
from capo_bench.corpus.describe import PairAgreement, SplitSummary, describe, tables
from capo_bench.corpus.model import (
    Annotator,
    Corpus,
    Item,
    Judgment,
    LabelSpace,
    Response,
    TaskSpec,
)
from capo_bench.corpus.readers import jsonl
from capo_bench.errors import CapoBenchError

from .build import TASK, corpus_of, nli_record, write_lewidi

WARM, COOL = Response("warm", "It thanks her."), Response("cool", "One curt line.")


def item(
    number: int, letter: str, split: Any = None, idk: tuple[str, ...] = (), **cells: Any
) -> Item:
    return Item(str(number), {"letter": letter, "reply": f"Reply {number}."}, cells, idk, split)


CORPUS = Corpus(
    name="letters",
    task=TASK,
    annotators=(Annotator("Ida"), Annotator("Ola"), Annotator("Per")),
    items=(
        item(1, "Dear A,", "train", Ida=(WARM,), Ola=(WARM,)),
        item(2, "Dear A,", "test", Ida=(WARM,), Ola=(COOL,)),
        item(3, "Dear C,", "train", Ida=(COOL,), Ola=(COOL,), Per=(COOL,)),
        item(4, "Dear D,", "train", ("Ola", "Per"), Ida=(WARM, COOL), Ola=(COOL,), Per=()),
        item(5, "Dear E,", None, Ida=(Response("cool", ""),), Per=()),
    ),
)


SPLIT = replace(CORPUS, items=(*CORPUS.items[:4], replace(CORPUS.items[4], split="validation")))


def test_counts_by_hand() -> None:
    d = describe(CORPUS)
    assert (d.items, d.cells, d.responses, d.multi_label, d.idk) == (5, 10, 11, 1, 2)
    assert (d.missing, d.shared_items, d.shared_groups, d.crossing_groups) == (4, 2, 1, 1)
    assert d.splits == {
        "train": SplitSummary(3, 7, 8),
        "test": SplitSummary(1, 2, 2),
        "none": SplitSummary(1, 1, 1),
    }
    ida, ola, per = d.annotators
    assert (ida.labelled, ida.multi_label, ida.idk, ida.missing, ida.responses) == (5, 1, 0, 0, 6)
    assert (ola.labelled, ola.multi_label, ola.idk, ola.missing, ola.responses) == (4, 0, 1, 1, 4)
    assert (per.labelled, per.multi_label, per.idk, per.missing, per.responses) == (1, 0, 1, 3, 1)
    assert ida.labels == {"warm": 3, "cool": 3}
    assert ola.labels == {"warm": 1, "cool": 3}
    assert ida.mean_words == 3
    # Ida: five explanations, two different ones; Ola: four, two different ones
    assert (ida.repeated, ola.repeated, per.repeated) == (pytest.approx(3 / 5), 0.5, 0)


def test_agreement_by_hand() -> None:
    d = describe(CORPUS)
    # Ida and Ola both gave exactly one label to items 1, 2, 3: warm/warm, warm/cool, cool/cool.
    # p_o = 2/3, p_e = (2*1 + 1*2) / 9 = 4/9, kappa = (2/9) / (5/9)
    # Each of them and Per: item 3 alone, where kappa is not defined.
    assert d.pairs == (
        PairAgreement(("Ida", "Ola"), 3, pytest.approx(0.4)),
        PairAgreement(("Ida", "Per"), 1, None),
        PairAgreement(("Ola", "Per"), 1, None),
    )
    # Units {w,w}, {w,c}, {c,c,c}, {wc,c}; d(w,c) = 1, d(w,wc) = d(c,wc) = 1 - 1/2 * 2/3 = 2/3.
    # n = 9 values: 3 w, 5 c, 1 wc. D_o = (2*1/1 + 2*(2/3)/1) / 9 = 10/27;
    # D_e = 2 * (3*5*1 + 3*1*2/3 + 5*1*2/3) / (9*8) = 2 * (61/3) / 72 = 61/108
    assert d.alpha == pytest.approx(1 - (10 / 27) / (61 / 108))
    assert d.alpha_distance == "MASI"


def test_ordinal_corpus() -> None:
    labels = LabelSpace("ordinal", ("-1", "0", "1"))
    task = TaskSpec("warmth", "?", TASK.fields, labels, ("letter",))

    def cell(label: str) -> tuple[Response]:
        return (Response(label),)

    answers = [("-1", "-1"), ("0", "0"), ("1", "0"), ("1", "1")]
    items = tuple(
        item(n, f"Dear {n},", Ida=cell(a), Ola=cell(b)) for n, (a, b) in enumerate(answers)
    )
    annotators = (Annotator("Ida"), Annotator("Ola"))
    d = describe(Corpus("warmth", task, annotators, items))
    # rows 1,1,2; columns 1,2,1: expected cost = sum r c d^2 / 4
    # = (1*(0 + 2 + 4) + 1*(1 + 0 + 1) + 2*(4 + 2 + 0)) / 4 = 5; observed 1
    assert d.pairs == (PairAgreement(("Ida", "Ola"), 4, pytest.approx(1 - 1 / 5)),)
    # D_o = 2*1/8; values -1,-1,0,0,0,1,1,1: D_e = 2*(2*3*1 + 2*3*4 + 3*3*1) / 56 = 78/56
    assert d.alpha == pytest.approx(1 - (2 / 8) / (78 / 56))
    assert d.alpha_distance == "interval"
    assert d.annotators[0].mean_words is None
    assert d.annotators[0].repeated is None


def test_nominal_corpus_and_no_labels_at_all() -> None:
    task = replace(TASK, labels=LabelSpace("nominal", ("warm", "cool")))
    d = describe(Corpus("bare", task, (Annotator("Ida"),), (item(1, "Dear A,", Ida=()),)))
    assert (d.alpha, d.alpha_distance, d.pairs) == (None, "nominal", ())
    assert (d.cells, d.missing) == (0, 1)


def test_judgments_are_counted() -> None:
    judged = Response("warm", "Warm.", (Judgment("Ida", True), Judgment("Ola", None)))
    corpus = corpus_of([], items=(item(1, "Dear A,", Ida=(judged,)),))
    assert describe(corpus).judgments == 2


def shown(corpus: Corpus) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    for table in tables(describe(corpus)):
        console.print(table)
    return console.export_text()


def test_tables() -> None:
    text = shown(CORPUS)
    assert "Corpus letters" in text
    assert "synthetic" not in text
    assert "2 in 1 groups" in text
    assert "Cohen's kappa, 0.40 to 0.40" in text
    assert "synthetic" in shown(replace(CORPUS, synthetic=True))


def test_many_annotators_stay_readable() -> None:
    names = [f"W{n:02d}" for n in range(20)]
    cells = dict.fromkeys(names, (WARM,))
    corpus = Corpus("crowd", TASK, tuple(map(Annotator, names)), (item(1, "Dear A,", **cells),))
    assert len(describe(corpus).pairs) == 190
    assert "... and 175 more pairs; see --json" in shown(corpus)
    assert "... and 5 more annotators; see --json" in shown(corpus)


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    jsonl.write(SPLIT, tmp_path / "letters.jsonl")
    return tmp_path / "letters.jsonl"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_command_describe_json(letters: Path) -> None:
    found = json.loads(run("describe", letters, "--json"))
    assert found == json.loads(json.dumps(asdict(describe(SPLIT))))


def test_a_file_without_splits_has_one_fingerprint_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    jsonl.write(
        replace(CORPUS, items=tuple(replace(item, split=None) for item in CORPUS.items)), file
    )
    validated = json.loads(run("validate", file, "--json"))
    assert validated["fingerprint"] == json.loads(run("describe", file, "--json"))["fingerprint"]
    assert "the items have no split" in validated["remarks"][0]


def test_splits_for_some_items_only_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    jsonl.write(CORPUS, file)
    for command in ("validate", "describe"):
        with pytest.raises(
            CapoBenchError, match=r"1 of 5 items have no split, the first is item 5"
        ):
            run(command, file)


def test_command_validate(letters: Path) -> None:
    text = run("validate", letters)
    assert "letters.jsonl: valid, corpus letters (mood, multilabel labels): 5 items" in text
    assert "1 groups of items with a shared context cross splits" in text
    found = json.loads(run("validate", letters, "--json"))
    assert found["valid"] is True
    assert len(found["remarks"]) == 1
    assert found["fingerprint"] == SPLIT.fingerprint


def test_command_validate_names_the_line(letters: Path) -> None:
    lines = letters.read_text(encoding="utf-8").splitlines()
    letters.write_text("\n".join([*lines[:3], "{"]), encoding="utf-8")
    with pytest.raises(CapoBenchError, match=r"letters\.jsonl, line 4: not valid JSON"):
        run("validate", letters)


def test_command_validate_names_an_explanation_that_is_no_answer(tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    odd = replace(
        SPLIT.items[1], cells={"Ola": (Response("cool", "Label: warm, but it is curt."),)}
    )
    jsonl.write(replace(SPLIT, items=(SPLIT.items[0], odd, *SPLIT.items[2:])), file)
    fault = (
        r"letters\.jsonl, item 2, annotator Ola: the explanation 'Label: warm, but it is curt\.' is "
        "read as: different labels in different places; reword it, or leave the response out"
    )
    with pytest.raises(CapoBenchError, match=fault):
        run("validate", file)


def test_command_convert(tmp_path: Path) -> None:
    record = nli_record("Ann1,Ann1", {"Ann1": "neutral,entailment"}, ["Perhaps.", "Surely."])
    folder = write_lewidi(tmp_path / "data", "VariErrNLI", train={"12": record})
    out = tmp_path / "out" / "nli.jsonl"
    assert "nli.jsonl: wrote corpus lewidi-nli" in run(
        "convert", "lewidi-nli", out, "--path", folder
    )
    cells = jsonl.read(out).items[0].cells
    assert cells == {"Ann1": (Response("neutral", "Perhaps."), Response("entailment", "Surely."))}
    assert sorted(path.name for path in out.parent.iterdir()) == ["nli.jsonl"]
    with pytest.raises(CapoBenchError, match=r"does not end in \.jsonl"):
        run("convert", "lewidi-nli", tmp_path / "nli.json", "--path", folder)


def test_command_schema() -> None:
    schemas = json.loads(run("schema"))
    assert schemas["header"]["properties"]["format"]["enum"] == [
        "capo-bench-corpus/1",
        "capo-bench-corpus/2",
    ]
    assert {"id", "text", "cells"} == set(schemas["item"]["required"])


def label_table(labels: LabelSpace, said: list[str]) -> list[list[str]]:
    """The cells of the table of labels where Ida says these, line by line."""
    items = tuple(
        item(n, "Dear Ida,", "train", Ida=(Response(label, "So."),)) for n, label in enumerate(said)
    )
    corpus = Corpus("wide", replace(TASK, labels=labels), (Annotator("Ida"),), items)
    out = io.StringIO()
    for table in tables(describe(corpus)):
        if str(table.title).startswith("Labels"):
            Console(file=out, width=250).print(table)
    return [line.split() for line in out.getvalue().splitlines() if line.strip()]


def test_a_long_scale_is_told_in_bands() -> None:
    lines = label_table(LabelSpace("interval", range=(0, 100), step=1), ["0", "12", "13", "100"])
    assert " ".join(lines[1]) == (
        "0 to 11 12 to 24 25 to 36 37 to 49 50 to 62 63 to 74 75 to 87 88 to 100 mean"
    )
    assert lines[-1] == ["Ida", "25", "50", "0", "0", "0", "0", "0", "25", "+31.25"]


def test_of_many_labels_the_most_frequent_have_a_column() -> None:
    labels = [f"l{n}" for n in range(20)]
    lines = label_table(LabelSpace("nominal", tuple(labels)), [*labels[9:], "l0", "l3", "l3"])
    # eleven columns of those that were said once or more, in their order, and one of nine others
    assert lines[1][:2] == ["l3", "l0"]
    assert lines[1][-2:] == ["9", "others"]
    assert lines[-1] == ["Ida", "14", *["7"] * 10, "14"]
