import json
from pathlib import Path

import pytest

from capo_bench.corpus.model import Judgment, Response
from capo_bench.corpus.readers.varierr import read_varierr
from capo_bench.errors import CapoBenchError

from .build import pair, varierr_row, write_lines


def test_quirks_of_cells(tmp_path: Path) -> None:
    row = varierr_row(
        entailment=[pair(0, "  It says “before”.\t", {0: True, 1: None}), pair(3, "Early, yes.")],
        neutral=[pair(0, "Before the fog  may be late.", {0: False})],
        contradiction=[pair(2, "Fog comes at night.")],
        idk=[2, 1],
    )
    other = varierr_row("8b", statement="It left late.", neutral=[pair(1, "No time is given.")])
    corpus = read_varierr(write_lines(tmp_path / "varierr.json", [row, other]))

    assert corpus.annotator_ids == ("Ann1", "Ann2", "Ann3", "Ann4")
    first, second = corpus.items
    assert first.text == {
        "context": "The ferry left before the fog came.",
        "statement": "The ferry left early.",
    }
    assert (first.id, first.source_id, first.split) == ("7a", "7a", None)
    assert first.cells == {
        # two labels; edge whitespace gone, the annotator's own double blank kept
        "Ann1": (
            Response(
                "entailment", "It says “before”.", (Judgment("Ann1", True), Judgment("Ann2", None))
            ),
            Response("neutral", "Before the fog  may be late.", (Judgment("Ann1", False),)),
        ),
        "Ann2": (),  # "I don't know" and nothing else
        "Ann3": (Response("contradiction", "Fog comes at night."),),  # both
        "Ann4": (Response("entailment", "Early, yes."),),
    }
    assert first.idk == ("Ann2", "Ann3")
    # neither a label nor "I don't know": no cell
    assert second.cells == {"Ann2": (Response("neutral", "No time is given."),)}
    assert second.idk == ()


def test_valid_only_keeps_self_confirmed_pairs(tmp_path: Path) -> None:
    row = varierr_row(
        entailment=[pair(0, "Confirmed.", {0: True, 1: False})],
        neutral=[pair(0, "Withdrawn.", {0: False, 1: True}), pair(1, "Never asked.", {0: True})],
    )
    corpus = read_varierr(write_lines(tmp_path / "v.json", [row])).valid_only()
    assert {a: [r.explanation for r in c] for a, c in corpus.items[0].cells.items()} == {
        "Ann1": ["Confirmed."],
        "Ann2": [],
    }
    assert corpus.name == "varierr-nli-valid"


GOOD = json.dumps(varierr_row(neutral=[pair(0, "It may be.")]))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([GOOD, '{"id": "8b", '], ["line 2", "not valid JSON"]),
        ([GOOD, "", '{"id": "1", "id": "2"}'], ["line 3", "'id' occurs twice"]),
        ([GOOD, '{"id": "8b"}'], ["line 2", "context", "Field required"]),
        (
            [GOOD.replace('"reason": "It may be."', '"reason": null')],
            ["line 1", "neutral.0.reason"],
        ),
        (
            [GOOD.replace('"annotator": 0', '"annotator": "zero"')],
            ["line 1", "neutral.0.annotator"],
        ),
        ([GOOD, GOOD], ["'7a' occurs twice"]),
        (["[1, 2]"], ["line 1"]),
        ([], ["is empty"]),
    ],
)
def test_bad_file(tmp_path: Path, lines: list[str], expected: list[str]) -> None:
    path = tmp_path / "varierr.json"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CapoBenchError) as error:
        read_varierr(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for part in expected:
        assert part in message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CapoBenchError, match=r"absent\.json: cannot be read: No such file"):
        read_varierr(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"entailment": [pair(9, "So.")]}, "less than or equal to 3"),
        ({"entailment": [pair(-1, "So.")]}, "greater than or equal to 0"),
        ({"entailment": [pair(True, "So.")]}, "valid integer"),
        ({"idk": [9]}, "less than or equal to 3"),
        ({"entailment": [pair(0, "So.", {0: "yes"})]}, "valid boolean"),
        ({"Entailment": [pair(0, "So.")]}, "Entailment: Unexpected keyword argument"),
        ({"entailment": [{**pair(0, "So."), "Reason": "No."}]}, "Reason: Unexpected keyword"),
    ],
)
def test_nobody_and_nothing_is_taken_for_somebody_else(tmp_path: Path, fields, fault) -> None:
    file = write_lines(tmp_path / "varierr.json", [varierr_row(), varierr_row("8b", **fields)])
    with pytest.raises(CapoBenchError, match=rf"varierr\.json, line 2: .*{fault}"):
        read_varierr(file)


def test_a_pair_without_a_reason_is_refused(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "varierr.json", [varierr_row(neutral=[pair(0, " ")])])
    with pytest.raises(CapoBenchError, match="item 7a, annotator Ann1: no explanation"):
        read_varierr(file)
