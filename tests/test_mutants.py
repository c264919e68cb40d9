"""Whatever is done to a file, it is refused in one line or no annotation is lost or changed.

Every text that somebody wrote holds a word of its own, so that what is read can be compared with what
stands in the file: each word that the file still holds must be read, as the same person's answer to
the same item with the same label.
"""

import copy
import csv
import io
import json
import random
import re
from collections import Counter

import pytest
import yaml

from capo_bench.corpus.readers import jsonl, lewidi, ukpconvarg, varierr
from capo_bench.errors import CapoBenchError
from capo_bench.human_validation import ANSWERS, evaluate
from capo_bench.leaderboard.submission import read_submission
from capo_bench.regression.baseline import read_baseline
from capo_bench.scoring.predictions import read_predictions
from tests.corpus.build import nli_record, pair, par_record, varierr_row
from tests.leaderboard.build import CARD

WORD = re.compile(r"zq\d+")
DOUBLED = "\0again "  # before the name of a key that is written a second time
COUNTS = Counter()


def dumped(value):
    return json.dumps(value).replace(json.dumps(DOUBLED)[1:-1], "")


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from places(part, (*path, index))


def changed(value, path, change):
    """A copy in which `change(parent, key)` was done at a place."""
    whole = [copy.deepcopy(value)]
    parent, key = whole, 0
    for part in path:
        parent, key = parent[key], part
    change(parent, key)
    return whole[0]


def renamed(name):
    def change(parent, key):
        items = [(name(k) if k == key else k, part) for k, part in parent.items()]
        parent.clear()
        parent.update(items)

    return change


def put(new):
    return lambda parent, key: parent.__setitem__(key, new)


def doubled(parent, key):
    parent.update({f"{DOUBLED}{key}": copy.deepcopy(parent[key])})


def repeated(parent, key):
    parent.insert(key, copy.deepcopy(parent[key]))


def shuffled(parent, key):
    items = list(parent[key].items())
    random.Random(0).shuffle(items)
    parent[key] = dict(items)


def mutants(value):
    """What can happen to every key and value of a JSON value: kind, and the changed value."""
    for path in list(places(value))[1:]:
        at = value
        for part in path:
            at = at[part]
        yield "drop", changed(value, path, lambda parent, key: parent.pop(key))
        for new in (None, True, 7, -1, 0.5, "", " ", [], {}, [at], {"a": at}, "x\ud800", 10**400):
            if type(new) is not type(at) or not new:
                yield "retype", changed(value, path, put(new))
        if isinstance(at, str):
            yield "truncate", changed(value, path, put(at[: len(at) // 2]))
            yield "truncate", changed(value, path, put(at[:-1]))
        if isinstance(at, dict) and len(at) > 1:
            yield "reorder", changed(value, path, shuffled)
        if isinstance(path[-1], str):
            for name in (str.upper, str.capitalize, lambda k: f"{k} ", lambda k: f"{k}x"):
                if name(path[-1]) != path[-1]:
                    yield "rename", changed(value, path, renamed(name))
            yield "duplicate", changed(value, path, doubled)
        else:
            yield "duplicate", changed(value, path, repeated)


def texts(text):
    """What can happen to a text as a whole."""
    for place in range(0, len(text), max(1, len(text) // 12)):
        yield "truncate", text[:place]
    lines = text.splitlines(keepends=True)
    if len(lines) > 2:
        for place in range(len(lines)):
            yield "drop", "".join(lines[:place] + lines[place + 1 :])
            yield "duplicate", "".join([*lines[: place + 1], *lines[place:]])
        yield "reorder", "".join(reversed(lines))


def triples(corpus):
    """By word: the item that its answer is about, and annotator and labels."""
    return {
        word: (item.id, (annotator, response.labels))
        for item in corpus.items
        for annotator, responses in item.cells.items()
        for response in responses
        for word in WORD.findall(response.explanation)
    }


def by_response(predictions):
    return {
        word: (one.item, one.annotator)
        for one in predictions
        for word in WORD.findall(one.response)
    }


# Each format: the sound content by file name, which file is changed, how it is written and read.


def corpus_file(_):
    task = {
        "name": "t",
        "instruction": "?",
        "fields": {"c": "C"},
        "labels": {"kind": "nominal", "labels": ["yes", "no"]},
        "group_by": ["c"],
    }
    answers = {
        "A": [{"label": "yes", "explanation": "zq1 and"}],
        "B": [{"label": "no", "explanation": "zq2 then"}],
    }
    more = {"A": [{"label": "no", "explanation": "zq3 or"}]}
    return [
        {"format": "capo-bench-corpus/1", "name": "n", "task": task,
         "annotators": [{"id": "A"}, {"id": "B"}]},
        {"id": "i1", "text": {"c": "one"}, "cells": answers, "split": "train"},
        {"id": "i2", "text": {"c": "two"}, "cells": more, "split": "test"},
    ]  # fmt: skip


def read_corpus(folder):
    return triples(jsonl.read(folder / "f"))


def varierr_file(_):
    return [
        varierr_row("1a", entailment=[pair(0, "zq1 a", {0: True, 1: False})], idk=[2]),
        varierr_row(
            "2a", context="Other.", neutral=[pair(1, "zq2 b"), pair(3, "zq3")],
            contradiction=[pair(1, "zq4 c")],
        ),
    ]  # fmt: skip


def read_varierr(folder):
    return triples(varierr.read_varierr(folder / "f"))


META = {"Ann1": {"Age": "30"}, "Ann2": {"Age": "40"}}


def lewidi_nli(_):
    return {
        "1": nli_record("Ann1,Ann2", {"Ann1": "neutral", "Ann2": "entailment"}, ["zq1 a", "zq2 b"]),
        "2": nli_record(
            "Ann1,Ann1,Ann2", {"Ann1": "neutral,entailment", "Ann2": "contradiction"},
            ["zq3", "zq4 d", "zq5 e"], context="Other.",
        ),
    }  # fmt: skip


def lewidi_par(_):
    return {
        "1": par_record("Ann1,Ann2", {"Ann1": "3", "Ann2": "-2"}, ["zq1 a", "zq2 b"]),
        "2": {**par_record("Ann2", {"Ann2": "0"}, ["zq3 c"]),
              "text": {"Question1": "Which?", "Question2": "Who?"}},
    }  # fmt: skip


def read_lewidi(prefix, name):
    def read(folder):
        (folder / "f").replace(folder / f"{prefix}_train.json")
        for part, value in (("dev", {}), ("annotators_meta", META)):
            (folder / f"{prefix}_{part}.json").write_text(json.dumps(value))
        return triples(lewidi.read_lewidi(folder, name))

    return read


def predictions(_):
    return [
        {
            "fingerprint": "0" * 16,
            "item": f"i{n}",
            "annotator": "AB"[n % 2],
            "response": f"zq{n}1 a",
        }
        for n in range(3)
    ]


def samples(_):
    return [
        {
            "doc_id": n,
            "doc": {
                "corpus": "mini-nli", "splits": "capo", "split": "test", "valid_only": False,
                "min_responses": 0, "fingerprint": "0" * 16, "item": f"i{n}",
                "annotators": ["A", "B"],
            },
            "resps": [["as it came"], ["as it came"]],
            "filtered_resps": [f"zq{n}1", f"zq{n}2"],
        }
        for n in range(2)
    ]  # fmt: skip


def read_responses(folder):
    return by_response(read_predictions(folder / "f").predictions)


def baseline(_):
    return {
        "format": "capo-bench-baseline/1", "model": "m", "task": "t", "metadata": {"k": 1},
        "options": {"corpus": "mini-nli"}, "facts": {"fingerprint": "0" * 16}, "gen_kwargs": {},
        "apply_chat_template": False, "versions": {"a": "1"}, "max_drops": {"label_accuracy": 0.1},
        "runs": [
            {"seed": s, "responses": {"i": {"A": f"zq{s}1", "B": f"zq{s}2"}, "j": {"A": f"zq{s}3"}}}
            for s in (1, 2)
        ],
    }  # fmt: skip


def read_base(folder):
    return by_response([p for run in read_baseline(folder / "f").runs for p in run.predictions])


def card(_):
    named = {key: f"zq{n} b" for n, key in enumerate(("system", "model", "hardware", "notes"), 10)}
    decoding = {"temperature": 0.5, "until": ["zq20 c"]}
    return {**CARD, **named, "decoding": decoding}


def read_card(folder):
    (folder / "s").mkdir()
    (folder / "f").replace(folder / "s" / "card.yaml")
    line = {"fingerprint": "0" * 16, "item": "i", "annotator": "A", "response": "r"}
    (folder / "s" / "predictions-1.jsonl").write_text(json.dumps(line))
    read = read_submission(folder / "s").card.model_dump()
    return {word: (0, key) for key, part in read.items() for word in WORD.findall(str(part))}


def key_file(_):
    return {
        "format": "capo-bench-key/1", "corpus": "mini-nli", "fingerprint": "0" * 16, "seed": 0,
        "rows": [
            {"row": f"zq{n}1", "item": f"i{n}", "annotator": "A", "other": "B",
             "writer": ("model", "human")[n % 2], "place": 1 + n % 2, "classifier": 1}
            for n in range(3)
        ],
    }  # fmt: skip


def read_key(folder):
    text = (folder / "f").read_text()
    rows = WORD.findall(text)
    with (folder / "rater.csv").open("w") as file:
        csv.writer(file).writerows([["row", *ANSWERS], *([row, 1, "yes", "no"] for row in rows)])
    found = evaluate(folder / "f", [folder / "rater.csv"])
    whole = found.rows == len(json.loads(text)["rows"])
    return dict.fromkeys(rows, (0, 0)) if whole else {}


XML = (
    "<argumentPairs>"
    + "".join(
        f"<pair><id>p{n}</id><arg1><text>one {n}</text><stance>yes</stance></arg1>"
        f"<arg2><text>two</text><stance>yes</stance></arg2>"
        f"<debateMetaData><title>t</title></debateMetaData><mTurkAssignments>"
        f"<mTurkAssignment><turkID>A</turkID><reason>zq{n}1 x</reason><value>a1</value>"
        f"</mTurkAssignment>\n<mTurkAssignment><turkID>B</turkID><reason>zq{n}2 y</reason>"
        f"<value>equal</value></mTurkAssignment></mTurkAssignments></pair>\n"
        for n in range(2)
    )
    + "</argumentPairs>"
)


def xml_mutants():
    """What can happen to each element: gone, renamed, twice, emptied, its text in another element."""
    elements = re.finditer(r"<(\w+)>([^<]*)</\1>|<(\w+)>", XML)
    for found in elements:
        start, end, name = found.start(), found.end(), found[1] or found[3]
        yield "drop", XML[:start] + XML[end:]
        yield "duplicate", XML[:end] + found[0] + XML[end:]
        yield "rename", XML[:start] + found[0].replace(name, name.upper()) + XML[end:]
        yield "rename", XML[:start] + found[0].replace(name, f"{name}x") + XML[end:]
        if found[1]:
            for inner in ("", " ", "<b>x</b>", f"<b>{found[2]}</b>", f"{found[2]}<b/>tail", "&#0;"):
                yield "retype", XML[:start] + f"<{name}>{inner}</{name}>" + XML[end:]


def read_xml(folder):
    (folder / "f").replace(folder / "f.xml")
    return triples(ukpconvarg.read_ukpconvarg(folder))


def lines_of(value):
    return "".join(dumped(line) + "\n" for line in value)


def yaml_of(value):
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).replace('"\\0again ', '"')


FORMATS = {
    "corpus": (corpus_file, lines_of, read_corpus),
    "varierr": (varierr_file, lines_of, read_varierr),
    "lewidi-nli": (lewidi_nli, dumped, read_lewidi("VariErrNLI", "lewidi-nli")),
    "lewidi-par": (lewidi_par, dumped, read_lewidi("Paraphrase", "lewidi-paraphrase")),
    "predictions": (predictions, lines_of, read_responses),
    "samples": (samples, lines_of, read_responses),
    "baseline": (baseline, dumped, read_base),
    "card": (card, yaml_of, read_card),
    "key": (key_file, dumped, read_key),
    "ukpconvarg": (None, None, read_xml),
}


def answer(folder, text, read):
    """What is read of a text: a message, or what each word stands for."""
    folder.mkdir()
    (folder / "f").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        return read(folder)
    except CapoBenchError as error:
        return str(error)


@pytest.mark.parametrize("form", FORMATS)
def test_a_mutant_is_refused_in_one_line_or_nothing_of_it_is_lost(form, tmp_path, monkeypatch):
    make, write, read = FORMATS[form]
    value = make(None) if make else None
    text = write(value) if make else XML
    sound = answer(tmp_path / "sound", text, read)
    assert len(sound) >= 2, sound
    broken = [(kind, write(one)) for kind, one in mutants(value)] if make else list(xml_mutants())
    lost, seen, accepted = [], set(), 0
    for kind, mutant in [*broken, *texts(text)]:
        if mutant in seen or mutant == text:
            continue
        seen.add(mutant)
        found = answer(tmp_path / str(len(seen)), mutant, read)
        if isinstance(found, str):
            assert "\n" not in found, found
            assert len(found) < 1000, found
            if str(tmp_path) not in found:
                lost.append((kind, mutant, found))
            continue
        accepted += 1
        held = sorted(set(WORD.findall(mutant)) & set(sound))
        if any(word not in found or found[word][1] != sound[word][1] for word in held):
            lost.append((kind, mutant, found))
            continue
        # Ids may be others, but what was about one item still is.
        pairs = [(one, other) for one in held for other in held if one < other]
        if any(
            (found[one][0] == found[other][0]) != (sound[one][0] == sound[other][0])
            for one, other in pairs
        ):
            lost.append((kind, mutant, found))
    COUNTS[form] += len(seen)
    assert not lost, f"{len(lost)} of {len(seen)} ({accepted} accepted), such as {lost[:3]}"


SHEET = [["row", *ANSWERS], *([f"zq{n}1", "12"[n % 2], "yes", "no"] for n in range(4))]


def sheet_mutants():
    def joined(rows, **style):
        out = io.StringIO()
        csv.writer(out, lineterminator="\n", **style).writerows(rows)
        return out.getvalue()

    for row in range(len(SHEET)):
        yield joined([*SHEET[:row], *SHEET[row + 1 :]])
        yield joined([*SHEET[: row + 1], *SHEET[row:]])
        for column in range(len(ANSWERS) + 1):
            for new in ("", "x", "3", "yes", "1", "'1", "\x00", SHEET[row][column].upper(), "2.5"):
                rows = copy.deepcopy(SHEET)
                rows[row][column] = new
                yield joined(rows)
            rows = copy.deepcopy(SHEET)
            del rows[row][column]
            yield joined(rows)
            rows = copy.deepcopy(SHEET)
            rows[row].insert(column, "1")
            yield joined(rows)
    yield from (text for _, text in texts(joined(SHEET)))
    yield joined([row[::-1] for row in SHEET])


def test_a_mutant_of_a_rating_sheet_is_refused_or_read_as_it_stands(tmp_path):
    value = key_file(None)
    value["rows"] = [{**value["rows"][0], "row": row[0]} for row in SHEET[1:]]
    (tmp_path / "key.json").write_text(json.dumps(value))
    seen, refusals = set(), []
    for mutant in sheet_mutants():
        if mutant in seen:
            continue
        seen.add(mutant)
        file = tmp_path / "rater.csv"
        file.write_text(mutant)
        try:
            found = evaluate(tmp_path / "key.json", [file])
        except CapoBenchError as error:
            refusals.append(str(error))
        else:
            filled = [line for line in mutant.splitlines()[1:] if line.strip(",\n").count(",") >= 1]
            assert found.raters == {"rater": len(filled)}, mutant
    assert all("\n" not in said and str(file) in said for said in refusals)
    assert len(refusals) > len(seen) / 2
    COUNTS["sheet"] = len(seen)


def test_there_are_mutants_enough():
    if set(COUNTS) == {*FORMATS, "sheet"}:  # all of the above ran in this process
        assert sum(COUNTS.values()) >= 2000, COUNTS
