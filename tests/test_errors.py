"""The one error: where the fault is can be read from its attributes, and people read one line."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from capo_bench.errors import CapoBenchError
from capo_bench.files import naming, read_json_lines, validated


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "no label"),
        ({"file": Path("a/b.jsonl")}, "a/b.jsonl: no label"),
        ({"file": "b.jsonl", "line": 3}, "b.jsonl, line 3: no label"),
        ({"file": "b.jsonl", "line": 3, "id": "item x"}, "b.jsonl, line 3, item x: no label"),
        ({"id": "item x"}, "item x: no label"),
    ],
)
def test_the_text_is_made_of_place_and_message(place, text):
    error = CapoBenchError("no label", **place)
    assert str(error) == text
    assert error.message == "no label"
    assert (error.file, error.line, error.id) == tuple(map(place.get, ("file", "line", "id")))


def test_a_reader_further_out_adds_the_place_and_keeps_what_is_known():
    with pytest.raises(CapoBenchError) as found, naming("c.jsonl", line=7):
        raise CapoBenchError("two labels", id="item y")
    assert str(found.value) == "c.jsonl, line 7, item y: two labels"


def test_a_broken_line_of_a_file_is_named_by_attributes(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"a": 1}\n\n{"a": }\n')
    with pytest.raises(CapoBenchError, match="not valid JSON") as found:
        list(read_json_lines(file))
    assert (found.value.file, found.value.line) == (file, 3)


def test_a_value_of_the_wrong_type_is_named_by_attributes():
    with pytest.raises(CapoBenchError, match=r"^f\.json, item 4: the whole: .*; mend it$") as found:
        validated(TypeAdapter(int), "x", "mend it", file="f.json", id="item 4")
    assert (found.value.file, found.value.line, found.value.id) == ("f.json", None, "item 4")
