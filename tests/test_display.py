"""What is printed is safe and always comes out."""

import io
import json
import os
import subprocess
import sys

import pytest
from rich.table import Table

from capo_bench import display
from capo_bench.cli import app as cli
from capo_bench.corpus.load import load
from capo_bench.display import console, forgiving, neutral, skeleton, tracked, visible
from capo_bench.errors import UNEXPECTED
from capo_bench.leaderboard.findings import Finding, as_github
from capo_bench.render.html import escape_markdown, script_json

HIDDEN = [
    "\x1b[31m", "\x07", "\r", "\x9b", "\u202e", "\u2066", "\u200b", "\u200e", "\ufeff", "\u2060",
    "\u00ad", "\u2028", "\u3164", "\u115f", "\u00a0", "\U000e0041", "\ud800", "\ufe0f",
]  # fmt: skip


@pytest.mark.parametrize("hidden", HIDDEN)
def test_whatever_steers_or_cannot_be_seen_is_shown_as_an_escape(hidden):
    shown = visible(f"a{hidden}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert skeleton(f"a{hidden[0]}b") == "ab"
    for sink in (
        escape_markdown(f"a{hidden}b"),
        script_json(f"a{hidden}b"),
        neutral(f"a{hidden}b"),
    ):
        assert hidden[0] not in sink


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x\n::error::y", "x\\n\\x3a:error::y"),
        ("  ::add-mask::y", "  \\x3a:add-mask::y"),
        ("::warning file=a,line=1::y", "\\x3a:warning file=a,line=1::y"),
        ("x ##[error]y", "x \\x23#[error]y"),
        ("std::vector, a::b, ## [x]", "std::vector, a::b, ## [x]"),
    ],
)
def test_what_a_runner_of_github_takes_for_a_command_is_an_escape(text, shown, capsys):
    display.say(text)
    assert capsys.readouterr().out == f"{shown}\n"


def test_plain_text_of_any_script_stays_as_it_is():
    for text in ("a", "Zoë", "答案", "سؤال", "क्ष", "می‌خواهم", "👩‍🔬", "❤️", "a\\b"):
        assert visible(text) == text
    assert visible("a\nb\tc") == "a\\nb\\tc"
    assert visible("a\nb\tc", lines=True) == "a\nb\tc"


def test_names_that_look_alike_have_one_skeleton():
    alike = [
        "Model I",
        "model l",
        "Mode1-1".replace("-", ""),
        "ＭＯＤＥＬ　1",
        "M\u043edel 1",
        "Model\u200b1",
    ]
    assert {skeleton(name) for name in alike} == {skeleton("Model 1")}
    assert skeleton("SFT, beta 0.1") != skeleton("SFT, beta 0.2")


def test_strings_in_a_table_are_text_and_steer_nothing(monkeypatch):
    table = Table("a[/b]", title="[red]x\x1b[2J")
    table.add_row("[link=file:///]y :smile:")
    out = io.StringIO()
    shown = console()
    shown.file = out
    shown.print(table)
    for part in ("a[/b]", "[red]x\\x1b[2J", "[link=file:///]y :smile:"):
        assert part in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_in_a_log_long_work_says_once_a_minute_how_far_it_is(monkeypatch, capsys):
    # Read at the start and before each item: 31 seconds an item.
    clock = iter(range(0, 1000, 31))
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    assert list(tracked("abcde", "scoring \x1b")) == list("abcde")
    # Before the first at 31 s, before the second at 62, before the fourth at 124.
    said = ["scoring \\x1b: 1 of 5, 1 min", "scoring \\x1b: 3 of 5, 2 min"]
    assert capsys.readouterr().err.splitlines() == said
    clock = iter((0, 100, 200))
    assert list(tracked(iter("ab"), "reading")) == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == [
        "reading: 0, 2 min",
        "reading: 1, 3 min",
    ]


def test_on_a_terminal_long_work_has_a_bar_and_silent_work_says_nothing(monkeypatch, capsys):
    assert list(tracked("ab", "x", silent=True)) == ["a", "b"]
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(tracked("ab", "sco[red]ring", 2)) == ["a", "b"]
    shown = capsys.readouterr().err
    assert "sco[red]ring" in shown
    assert "100%" in shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_few_characters_gets_escapes(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    forgiving(stream)
    display.say("a 答 – ✓", file=stream)
    stream.flush()
    assert raw.getvalue().decode(encoding).startswith("a \\u7b54 ")


def test_no_name_forges_an_annotation(tmp_path):
    finding = Finding(
        "error", "files", tmp_path / "a\n::error::x", 1, "no\r\n::error file=x::y\x1b"
    )
    line = as_github(finding, tmp_path)
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    "command",
    [
        ("describe", "FILE"),
        ("describe", "FILE", "--json"),
        ("validate", "FILE"),
        ("convert", "FILE", "OUT"),
    ],
    ids=" ".join,
)
def test_a_corpus_name_with_markup_is_shown_as_written(tmp_path, call, command):
    header = {
        "format": "capo-bench-corpus/1",
        "name": "a[/b] ::error::x",
        "task": {
            "name": "n",
            "instruction": "i",
            "fields": {"c": "C"},
            "labels": {"kind": "nominal", "labels": ["a", "b"]},
            "group_by": [],
        },
        "annotators": [{"id": "A"}, {"id": "B"}, {"id": "silent[/b]"}],
    }
    cells = {"A": [{"label": "a", "explanation": "e"}], "B": [{"label": "b", "explanation": "f"}]}
    file = tmp_path / "c.jsonl"
    lines = [header, {"id": "1", "text": {"c": "x"}, "cells": cells}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    paths = {"FILE": file, "OUT": tmp_path / "out.jsonl"}
    status, out, err = call("data", *(paths.get(part, part) for part in command))
    assert (status, "Traceback" in err) == (0, False)
    assert "a[/b] " in out
    assert all(character.isprintable() for character in out.replace("\n", ""))
    assert "--json" in command or "::error::" not in out


@pytest.mark.parametrize(
    "fault", [ValueError("a\nb\x1b"), RecursionError(), MemoryError(), KeyError("k")]
)
def test_a_fault_of_the_program_is_one_line_and_a_status_of_its_own(monkeypatch, call, fault):
    def fails(**_):
        raise fault

    monkeypatch.setattr(cli, "app", fails)
    status, _, err = call("compare")
    assert status == UNEXPECTED
    assert err.startswith(f"capo-bench: unexpected {type(fault).__name__}: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    monkeypatch.setenv("CAPO_BENCH_DEBUG", "1")
    status, _, err = call("compare")
    assert status == UNEXPECTED
    assert "Traceback" in err


def test_what_the_system_refuses_a_file_is_no_fault_of_the_program(call, tmp_path):
    status, _, err = call("data", "convert", "mini-nli", tmp_path / f"{'x' * 300}.jsonl")
    assert status == 2
    assert err.endswith("x: File name too long\n")
    assert err.count("\n") == 1


def test_debug_shows_the_traceback_of_bad_input(call, monkeypatch):
    monkeypatch.setenv("CAPO_BENCH_DEBUG", "")
    status, _, err = call("--debug", "data", "validate", "missing.jsonl")
    assert status == 2
    assert "Traceback" in err


def test_a_pipe_that_nobody_reads_is_no_regression():
    code = "import sys; from capo_bench.cli import main; sys.argv = ['capo-bench', 'tasks']; main()"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-u", "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr


def test_no_corpus_needs_an_escape():
    texts = [text for item in load("mini-nli").items for text in item.text.values()]
    assert [visible(text, lines=True) for text in texts] == texts
