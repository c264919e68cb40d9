"""The label space: what can be said with it, and that whatever is said is read again."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capo_bench.corpus.model import Item, LabelSpace, Response, TaskSpec, Wording
from capo_bench.corpus.readers import jsonl
from capo_bench.errors import CapoBenchError
from capo_bench.files import read_json_lines
from capo_bench.prompts.prompter import Prompter
from capo_bench.prompts.responses import parse, render_target

from .build import TASK, corpus_of


@pytest.mark.parametrize(
    ("kind", "labels", "fault"),
    [
        ("nominal", ("yes, surely", "no"), "has a comma or a line break"),
        ("nominal", ("yes\nsure", "no"), "has a comma or a line break"),
        ("nominal", ("A", "a", "b"), "'A' and 'a' differ only in case"),
        ("nominal", ("yes", "Yes."), "differ only in case or edge marks"),
        ("nominal", (" yes", "no"), "has a blank at its edge"),
        ("nominal", ("", "no"), "has a blank at its edge or is empty"),
        ("nominal", ("\ud800", "no"), "has a comma or a line break"),
        ("nominal", ("yes",), "2 to 1001 distinct labels"),
        ("ordinal", ("1", "+2"), "write it plainly, as '2'"),
        ("ordinal", ("1", "01"), "write it plainly, as '1'"),
        ("ordinal", ("2", "1"), "must ascend"),
    ],
)
def test_labels_that_no_response_could_name_are_refused(kind, labels, fault) -> None:
    with pytest.raises(ValueError, match=fault):
        LabelSpace(kind, labels)


def test_levels_have_the_values_that_they_name_or_their_rank_or_those_given() -> None:
    assert LabelSpace("ordinal", ("-1", "0", "2.5")).values == (-1, 0, 2.5)
    assert LabelSpace("ordinal", ("low", "middle", "high")).values == (1, 2, 3)
    given = LabelSpace("ordinal", ("low", "middle", "high"), values=(0, 1, 10))
    assert given.value_of == {"low": 0, "middle": 1, "high": 10}
    with pytest.raises(ValueError, match="one finite number for each of 3 labels"):
        LabelSpace("ordinal", ("low", "middle", "high"), values=(0, 1))
    with pytest.raises(ValueError, match="values are for ordinal labels"):
        LabelSpace("nominal", ("low", "high"), values=(0, 1))


def test_an_interval_is_its_range_in_steps() -> None:
    space = LabelSpace("interval", range=(-1, 1), step=0.5)
    assert space.labels == ("-1", "-0.5", "0", "0.5", "1")
    assert space.values == (-1, -0.5, 0, 0.5, 1)
    assert [space.recognise(text) for text in ("+.5", "1.0", "−0.50", "0.3")] == [
        "0.5",
        "1",
        "-0.5",
        None,
    ]
    for ends, step in (((0, 1), 0.3), ((0, 1e9), 1), ((1, 0), 1), ((0, 1), 0), (None, 1)):
        with pytest.raises(ValueError, match=r"interval|choose a step"):
            LabelSpace("interval", range=ends, step=step)


def test_aliases_are_read_as_their_label() -> None:
    space = LabelSpace(
        "nominal", ("ironic", "not ironic"), aliases={"1": "ironic", "Yes.": "ironic"}
    )
    assert [space.recognise(said) for said in ("1", "yes", "NOT IRONIC.", "no")] == [
        "ironic",
        "ironic",
        "not ironic",
        None,
    ]
    with pytest.raises(ValueError, match="stands for 'sad', which is no label"):
        LabelSpace("nominal", ("ironic", "not ironic"), aliases={"2": "sad"})


@given(
    kind=st.sampled_from(["nominal", "multilabel", "ordinal"]),
    labels=st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=5),
)
def test_every_label_that_a_space_accepts_survives_render_and_parse(kind, labels) -> None:
    try:
        space = LabelSpace(kind, tuple(labels))
    except ValueError:
        return
    task = TaskSpec("t", "?", {"text": "Text"}, space)
    for label in labels:
        parsed = parse(task, render_target([label], "Because."))
        assert (parsed.labels, parsed.explanation, parsed.error) == ((label,), "Because.", None)


def test_one_explanation_may_be_for_several_labels(tmp_path: Path) -> None:
    both = Response("warm", "Kind but brief.", also=("cool",))
    item = Item("i", {"letter": "Dear A,", "reply": "Hi."}, {"Ida": (both,)})
    corpus = corpus_of([], items=(item,))
    jsonl.write(corpus, tmp_path / "c.jsonl")
    assert jsonl.read(tmp_path / "c.jsonl").items[0].cells["Ida"] == (both,)
    single = replace(TASK, labels=LabelSpace("nominal", ("warm", "cool")))
    with pytest.raises(CapoBenchError, match=r"2 labels \['cool', 'warm'\] in a nominal corpus"):
        corpus_of([], items=(item,), task=single)


def test_a_dialogue_is_a_line_a_turn_and_is_written_as_turns(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(
        '{"format": "capo-bench-corpus/2", "name": "tea", "language": "en", "task": {"name": "tea", '
        '"instruction": "Polite?", "fields": {"talk": "Dialogue"}, "labels": {"kind": "interval", '
        '"range": [0, 1], "step": 0.5}, "explanations": "none"}, "annotators": [{"id": "Ida", '
        '"meta": {"age": 40}}]}\n'
        '{"id": "1", "text": {}, "turns": {"talk": [{"speaker": "A", "text": "Tea?"}, '
        '{"speaker": "B", "text": "No."}]}, "cells": {"Ida": [{"label": "0.5"}]}}\n',
        encoding="utf-8",
    )
    corpus = jsonl.read(path)
    assert corpus.items[0].text == {"talk": "A: Tea?\nB: No."}
    again = tmp_path / "again.jsonl"
    jsonl.write(corpus, again)
    assert list(read_json_lines(again)) == list(read_json_lines(path))


@pytest.mark.parametrize(
    ("explanations", "given", "fault"),
    [("required", "", "no explanation"), ("none", "So.", "an explanation")],
)
def test_explanations_are_as_the_task_declares_them(tmp_path, explanations, given, fault) -> None:
    item = Item("i", {"letter": "Dear A,", "reply": "Hi."}, {"Ida": (Response("warm", given),)})
    task = replace(TASK, explanations=explanations)
    jsonl.write(corpus_of([], items=(item,), task=task), tmp_path / "c.jsonl")
    with pytest.raises(CapoBenchError, match=f"item i, annotator Ida: {fault}, but"):
        jsonl.read(tmp_path / "c.jsonl")


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("So.", "So.", "required"),
        ("So.", "", "optional"),
        ("", "", "none"),
        ("  ", "\u200b", "none"),
    ],
)
def test_the_responses_of_version_1_tell_whether_there_are_explanations(
    tmp_path, first, second, found
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(
        '{"format": "capo-bench-corpus/1", "name": "tea", "task": {"name": "tea", "instruction": '
        '"?", "fields": {"t": "T"}, "labels": {"kind": "nominal", "labels": ["a", "b"]}, '
        '"group_by": []}, "annotators": [{"id": "Ida"}]}\n'
        + "".join(
            f'{{"id": "{n}", "text": {{"t": "x"}}, "cells": {{"Ida": [{{"label": "a", '
            f'"explanation": "{said}"}}]}}}}\n'
            for n, said in enumerate((first, second))
        ),
        encoding="utf-8",
    )
    assert jsonl.read(path).task.explanations == found


def test_a_corpus_may_word_its_prompts_itself() -> None:
    wording = Wording(
        answer="Antworte mit einem Wort ({labels}).",
        persona="Bekannt ist von {annotator}:",
        ask="Antwort von {annotator}:",
    )
    task = replace(TASK, explanations="none", wording=wording)
    corpus = corpus_of(["Dear A,"], task=task, personas={"Ida": {"Alter": 40}})
    assert Prompter(corpus, "persona")(corpus.items[0], "Ida") == (
        "How does the letter sound? Antworte mit einem Wort (one of warm, cool, or several of them "
        "separated by commas).\nForm of the answer:\nLabel: cool\n\n"
        "Letter: Dear A,\nReply: Reply number 0.\n\n"
        "Bekannt ist von Ida:\nAlter: 40\n\nAntwort von Ida:\n"
    )
    with pytest.raises(ValueError, match="wording ask has the unknown placeholder 'name'"):
        Wording(ask="{name}:")


def test_persona_needs_something_to_say() -> None:
    with pytest.raises(CapoBenchError, match="knows nothing of its annotators but their ids"):
        Prompter(corpus_of(["Dear A,"]), "persona")
