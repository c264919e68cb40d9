import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capo_bench.corpus.model import (
    Annotator,
    Corpus,
    Item,
    Judgment,
    LabelSpace,
    Response,
    TaskSpec,
    Turn,
    readable,
)
from capo_bench.corpus.readers import jsonl
from capo_bench.display import visible
from capo_bench.errors import CapoBenchError
from capo_bench.files import read_json

from .build import TASK, corpus_of

# Half a surrogate pair is no text that a file could hold.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ANNOTATORS = ("Ida", "Ola", "Per")

responses = st.lists(
    st.builds(
        Response,
        label=st.sampled_from(TASK.labels.labels),
        explanation=text,
        judgments=st.lists(
            st.builds(
                Judgment,
                annotator=st.sampled_from(ANNOTATORS),
                makes_sense=st.none() | st.booleans(),
            ),
            max_size=2,
            unique_by=lambda judgment: judgment.annotator,
        ).map(tuple),
    ),
    max_size=3,
).map(tuple)
item_parts = st.fixed_dictionaries(
    {
        "text": st.fixed_dictionaries({"letter": text, "reply": text}),
        "cells": st.dictionaries(st.sampled_from(ANNOTATORS), responses),
        "idk": st.lists(st.sampled_from(ANNOTATORS), unique=True).map(tuple),
        "split": st.sampled_from([None, "train", "validation", "test"]),
        "source_id": st.none() | text,
        "turns": st.sampled_from([{}, {"reply": (Turn("A", "Tea?"), Turn("B", "Please."))}]),
        "language": st.sampled_from([None, "de"]),
        "meta": st.dictionaries(text, st.none() | st.booleans() | text | st.integers(), max_size=2),
    }
)


def spoken(turns: dict[str, tuple[Turn, ...]]) -> dict[str, str]:
    return dict.fromkeys(turns, "A: Tea?\nB: Please.")


def seen(name: str) -> bool:
    return name == name.strip() and visible(name) == name


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    parts = draw(st.lists(item_parts, min_size=1, max_size=4))
    return Corpus(
        name=draw(text.filter(seen)),
        task=TASK,
        annotators=tuple(
            Annotator(name, draw(st.dictionaries(text, text, max_size=2))) for name in ANNOTATORS
        ),
        items=tuple(
            Item(id=f"i{n}", **{**part, "text": {**part["text"], **spoken(part["turns"])}})
            for n, part in enumerate(parts)
        ),
        synthetic=draw(st.booleans()),
        license=draw(text),
        citation=draw(text),
        language=draw(st.sampled_from(["", "en"])),
    )


@settings(max_examples=60)
@given(corpora())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> None:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    jsonl.write(corpus, path)
    again = jsonl.read(path)
    assert again == corpus
    assert again.fingerprint == corpus.fingerprint
    schema = jsonl.json_schema()
    header, *items = [
        json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line
    ]
    jsonschema.validate(header, schema["header"])
    for item in items:
        jsonschema.validate(item, schema["item"])


def test_format_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    header = (
        '{"format": "capo-bench-corpus/1", "name": "tea", "task": {"name": "tea", '
        '"instruction": "Good?", "fields": {"note": "Note"}, "labels": {"kind": "ordinal", '
        '"labels": ["0", "1", "2"]}, "group_by": ["note"]}, "annotators": [{"id": "Ida"}]}'
    )
    item = '{"id": "1", "text": {"note": "Too hot"}, "cells": {"Ida": [{"label": "2"}]}}'
    path.write_text(f"\n{header}\n\n{item}\n", encoding="utf-8")
    assert jsonl.read(path) == Corpus(
        name="tea",
        task=TaskSpec(
            "tea",
            "Good?",
            {"note": "Note"},
            LabelSpace("ordinal", ("0", "1", "2")),
            ("note",),
            explanations="none",
        ),
        annotators=(Annotator("Ida"),),
        items=(Item("1", {"note": "Too hot"}, {"Ida": (Response("2"),)}),),
    )


def test_an_explanation_left_out_does_not_change_a_fingerprint_of_version_1(tmp_path) -> None:
    header = (
        '{"format": "capo-bench-corpus/1", "name": "tea", "task": {"name": "tea", '
        '"instruction": "Good?", "fields": {"note": "Note"}, "labels": {"kind": "nominal", '
        '"labels": ["a", "b"]}, "group_by": []}, "annotators": [{"id": "Ida"}, {"id": "Tom"}]}'
    )
    cells = '{"Ida": [{"label": "a", "explanation": "x"}], "Tom": [{"label": "b"}]}'
    path = tmp_path / "corpus.jsonl"
    path.write_text(f'{header}\n{{"id": "1", "text": {{"note": "n"}}, "cells": {cells}}}\n')
    found = jsonl.read(path)
    assert found.task.explanations == "optional"
    assert found.fingerprint == "fda8d90fa7a989ea"  # as before there was version 2
    jsonl.write(found, path)
    assert jsonl.read(path).fingerprint == "fda8d90fa7a989ea"


@pytest.fixture
def lines(tmp_path: Path) -> list[str]:
    """A good file of a header and two items, line by line."""
    path = tmp_path / "good.jsonl"
    jsonl.write(corpus_of(["Dear A,", "Dear B,"]), path)
    return path.read_text(encoding="utf-8").splitlines()


def replaced(old: str, new: str, number: int) -> Any:
    def change(lines: list[str]) -> list[str]:
        assert old in lines[number - 1]
        return [
            line.replace(old, new) if n == number else line for n, line in enumerate(lines, start=1)
        ]

    return change


def tasked(**said: Any) -> Any:
    """Puts this into the task of the header."""

    def change(lines: list[str]) -> list[str]:
        header = json.loads(lines[0])
        header["task"] |= said
        return [json.dumps(header), *lines[1:]]

    return change


def interval(low: Any, high: Any, step: Any) -> Any:
    return tasked(labels={"kind": "interval", "range": [low, high], "step": step})


TWICE = '{"annotator": "Ida", "makes_sense": true}'


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: [], ["is empty: expected a header line"]),
        (lambda lines: lines[:1], ["corpus letters is empty"]),
        (lambda lines: lines[1:], ["line 1", "format", "Field required"]),
        (lambda lines: [*lines[:2], '{"id": '], ["line 3", "not valid JSON"]),
        (lambda lines: [*lines[:2], "7"], ["line 3"]),
        (lambda lines: [*lines, lines[2]], ["item 'i1' occurs twice"]),
        (replaced('"format"', '"form"', 1), ["line 1"]),
        (
            replaced("corpus/2", "corpus/3", 1),
            ["line 1", "capo-bench-corpus/2", "'capo-bench-corpus/3'"],
        ),
        (replaced('["letter"]', '["subject"]', 1), ["line 1", "task", "subject"]),
        (replaced('["warm", "cool"]', '["warm", "warm"]', 1), ["line 1", "distinct labels"]),
        (replaced('"id": "i0"', '"id": "i0", "id": "i9"', 2), ["line 2", "'id' occurs twice"]),
        (replaced('"id": "i0"', '"id": "i0", "color": 1', 2), ["line 2", "color"]),
        (replaced('"id": "i0"', '"id": "i0", "split": "dev"', 2), ["line 2", "split", "'dev'"]),
        (
            replaced('"label": "warm"', '"label": "tepid"', 3),
            ["item i1, annotator Ida: unknown label 'tepid', expected one of warm, cool"],
        ),
        (
            replaced('"Ida"', '"Eva"', 3),
            ["item i1: annotator 'Eva' is not among the corpus's annotators (Ida)"],
        ),
        (replaced('"reply"', '"answer"', 3), ["item i1: the input texts are ['answer', 'letter']"]),
        (replaced('"id": "i1"', '"id": "i1", "idk": ["Eva"]', 3), ["item i1: annotator 'Eva'"]),
        (
            replaced('"warm", "cool"', '"warm", "Label: cool"', 1),
            ["line 1", "looks like markup, or like the start of an answer"],
        ),
        (replaced('"warm", "cool"', '"warm", "<b>cool</b>"', 1), ["line 1", "looks like markup"]),
        (
            replaced('"label": "warm"', f'"label": "warm", "judgments": [{TWICE}, {TWICE}]', 3),
            ["item i1, annotator Ida: 'Ida' judges one response twice; keep one judgment"],
        ),
        (replaced('"name": "letters"', '"name": "letters", "language": "en\\n"', 1), ["language"]),
        *(
            (tasked(wording={"ask": said}), ["line 1", "write {annotator} without `:` or `!`"])
            for said in ("{annotator:>9999999999}", "{annotator!x}", "{annotator!r:>{annotator}}")
        ),
        *(
            (interval(*given), ["line 1", "task.labels", "numbers"])
            for given in ((0, 100, 5e-324), (-1e308, 1e308, 1), (0, 1e308, 1e-308))
        ),
        (interval("0", 100, 1), ["line 1", "task.labels.range.0", "valid number (got '0')"]),
        *(
            (replaced('"name": "letters"', f'"name": "{name}"', 1), ["corpus name", fault])
            for name, fault in (
                ("a" * 1001, "goes on for 1001 characters; shorten it"),
                ("let\\u200bters", "'let\\\\u200bters' has a blank at its edge, or characters"),
                (" letters", "has a blank at its edge"),
            )
        ),
        (interval(0, True, 1), ["line 1", "task.labels.range.1", "valid number (got 'True')"]),
    ],
)
def test_bad_file(tmp_path: Path, lines: list[str], change: Any, expected: list[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(line + "\n" for line in change(lines)), encoding="utf-8")
    with pytest.raises(CapoBenchError) as error:
        jsonl.read(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize("name", ["dev::snli::12", "a##[1]", "[red]a", "Zoë", "ਪ੍ਰੀਤ", "👩‍🔬"])
def test_a_name_that_is_seen_may_hold_anything(name: str) -> None:
    assert readable(name) == name


@pytest.mark.parametrize("name", ["a\u200b", "a\u202eb", "a\nb", " a", "a\u00a0b", "a" * 1001])
def test_a_name_with_what_cannot_be_seen_is_none(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be seen|shorten it"):
        readable(name)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(CapoBenchError, match="cannot be read: No such file"):
        jsonl.read(tmp_path / "absent.jsonl")
    with pytest.raises(CapoBenchError, match="no regular file but a folder"):
        jsonl.read(tmp_path)
    (tmp_path / "latin.jsonl").write_bytes(b'{"name": "caf\xe9"}')
    with pytest.raises(CapoBenchError, match=r"not UTF-8 text \(byte 13\)"):
        jsonl.read(tmp_path / "latin.jsonl")


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(CapoBenchError, match="cannot be written"):
        jsonl.write(corpus_of(["Dear A,"]), tmp_path / "file" / "corpus.jsonl")


def test_several_labels_need_a_multilabel_space() -> None:
    task = TaskSpec("mood", "?", TASK.fields, LabelSpace("nominal", ("warm", "cool")), ("letter",))
    item = Item(
        "i0", {"letter": "Dear A,", "reply": "Hi."}, {"Ida": (Response("warm"), Response("cool"))}
    )
    with pytest.raises(CapoBenchError, match=r"item i0, annotator Ida: 2 labels .* nominal corpus"):
        corpus_of([], task=task, items=(item,))


def test_trailing_commas_only_between_values(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    path.write_text('{"a": "x,}", "b": ["q\\",]", ], }', encoding="utf-8")
    assert read_json(path, trailing_commas=True) == {"a": "x,}", "b": ['q",]']}
    with pytest.raises(CapoBenchError, match="is not valid JSON"):
        read_json(path)
