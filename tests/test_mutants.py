"""Whatever is done to a file, it is refused in one line or no annotation is lost or changed.

Every text that somebody wrote holds a word of its own, so that what is read can be compared with what
stands in the file: each word that the file still holds must be read, as the same person's answer to
the same item with the same label.
"""

import copy
import csv
import gzip
import io
import json
import random
import re
from collections import Counter
from contextlib import suppress

import pandas
import pytest
import yaml

from capo_bench.corpus.importing import Wanted, import_table
from capo_bench.corpus.readers import jsonl, lewidi, ukpconvarg, varierr
from capo_bench.corpus.readers.tables import read_delimited, read_table
from capo_bench.display import blank, skeleton
from capo_bench.errors import CapoBenchError
from capo_bench.files import naming
from capo_bench.human_validation import ANSWERS, evaluate
from capo_bench.leaderboard.submission import read_submission
from capo_bench.regression.baseline import read_baseline
from capo_bench.scoring.predictions import read_predictions
from tests.corpus.build import nli_record, pair, par_record, varierr_row
from tests.leaderboard.build import CARD

WORD = re.compile(r"zq\d+|Ann77\d+")
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


RAW = {
    "number": ["1e400", "-1e400", "NaN", "-Infinity", "01", "+1", ".5", "1_0", "9" * 4000, "1.0"],
    "deep": ["[" * 70 + "]" * 70, "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000],
}
"""What no Python value is written as, by kind."""

ALIKE = str.maketrans("aeopcxyi", "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456")
HIDDEN = "\u200b\ufeff\u00ad\u202e\u2060\u180e\U000e0041"
BLANKS = " \t\u00a0\u3000\n\r\u2028\u0085"


def spellings(name, rng):
    """Other texts that a reader may take for one: kind, and the text."""
    yield "alike", name.translate(ALIKE)
    yield "alike", "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)
    yield "hidden", name[:1] + rng.choice(HIDDEN) + name[1:]
    yield "hidden", rng.choice(HIDDEN) + name
    yield "blank", rng.choice(BLANKS) + name
    yield "blank", name + rng.choice(BLANKS)
    yield "case", name.swapcase()
    yield "surrogate", name + "\ud800"


def strange(value, rng):
    """What else can happen to every key and value: kind, and the changed value."""
    for path in list(places(value))[1:]:
        at = value
        for part in path:
            at = at[part]
        for kind, new in spellings(path[-1], rng) if isinstance(path[-1], str) else ():
            if new != path[-1]:
                yield f"{kind} key", changed(value, path, renamed(lambda _, new=new: new))
                yield f"second {kind} key", changed(value, path, beside(new))
        if isinstance(at, str):
            for kind, new in spellings(at, rng):
                yield kind, changed(value, path, put(new))
        elif at is not None and not isinstance(at, dict | list):
            for new in (str(at), float(at), str(float(at)), int(at), -at, at * 10**6 + 2**64):
                if repr(new) != repr(at):
                    yield "type", changed(value, path, put(new))
        for kind, texts in RAW.items():
            yield kind, changed(value, path, put(f"\0{kind}{rng.randrange(len(texts))}\0"))


def beside(new):
    return lambda parent, key: parent.__setitem__(new, copy.deepcopy(parent[key]))


def raw(text):
    """The text with what stands for the entries of `RAW` replaced by them."""
    found = re.compile(r'"(?:\\u0000|\\0)(number|deep)(\d+)(?:\\u0000|\\0)"')
    return found.sub(lambda match: RAW[match[1]][int(match[2])], text)


def strange_texts(text, rng):
    """What else can happen to a text as a whole: kind, and the text or bytes."""
    for end in ("\r\n", "\r", "\u2028", "\u0085", "\x0b", "\n\r\n\u2028\n"):
        yield "line ends", text.replace("\n", end)
    for place in rng.sample(range(1, len(text)), 6):
        yield "mark", text[:place] + "\ufeff" + text[place:]
    yield "mark", "\ufeff\ufeff" + text
    pairs = (("}", ",}"), ("]", ",]"), ("{", "{,"), ("\n", ",\n"), (":", "::"), ('"', "'"))
    for old, new in pairs:
        spots = [match.start() for match in re.finditer(re.escape(old), text)]
        for place in rng.sample(spots, min(2, len(spots))):
            yield "comma", text[:place] + new + text[place + len(old) :]
    yield from (("more", more) for more in ("// c\n" + text, text + text, text + "\x1a"))
    content, packed = text.encode(), gzip.compress(text.encode())
    for found in (packed, packed[: len(packed) // 2], packed[:2], content + packed):
        yield "packed", found
    for code in ("utf-16", "utf-16-le", "utf-32", "cp500"):
        yield "encoding", text.encode(code)
    yield "encoding", content[:-3] + b"\xc3"
    yield "encoding", content + b"\xed\xa0\x80"
    yield "encoding", text.replace("a", "\u00e4").encode("latin-1")
    yield "encoding", content.replace(b"a", b"\xc1\xa1")
    yield "long", text + " " * 2_000_000


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
    text = (folder / "f").read_text(errors="replace")
    rows = WORD.findall(text)
    with (folder / "rater.csv").open("w") as file:
        csv.writer(file).writerows([["row", *ANSWERS], *([row, 1, "yes", "no"] for row in rows)])
    found = evaluate(folder / "f", [folder / "rater.csv"])
    whole = found.rows == text.count('"row"')
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


def strange_xml(rng):
    """What else can happen to it: entities, other documents, encodings, depth, and every text."""
    entity = '<!DOCTYPE a [<!ENTITY x "zq01 x"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>'
    yield "entity", entity + XML.replace("zq01 x", "&x;")
    for place in (
        'SYSTEM "file:///etc/passwd"',
        '[<!ENTITY % p SYSTEM "http://127.0.0.1:9/"> %p;]',
    ):
        yield "entity", f"<!DOCTYPE a {place}>{XML}"
    for new in ("&nbsp;", "&#x202e;", "&#0;", "<![CDATA[zq01 x]]>", "zq<!-- c -->01 x", "<?pi x?>"):
        yield "entity", XML.replace("zq01 x", new)
    for code in ("UTF-7", "utf-16", "EBCDIC-CP-US", "rot13", "no such"):
        yield "encoding", f'<?xml version="1.0" encoding="{code}"?>{XML}'
    yield "deep", "<a>" * 100_000
    yield "deep", XML.replace("zq01 x", "<b>" * 5000 + "zq01 x" + "</b>" * 5000)
    yield "namespace", XML.replace("<argumentPairs>", '<argumentPairs xmlns="u">')
    yield "namespace", XML.replace("<pair>", '<p:pair xmlns:p="u">').replace("</pair>", "</p:pair>")
    for found in re.finditer(r"<(\w+)>([^<]+)</\1>", XML[: len(XML) // 2]):
        name, start, end = found[1], XML[: found.start()], XML[found.end() :]
        for kind, new in spellings(found[2], rng):
            yield kind, f"{start}<{name}>{new}</{name}>{end}"
        for kind, new in spellings(name, rng):
            yield f"{kind} key", f"{start}<{new}>{found[2]}</{new}>{end}"
        yield "second", f"{start}<{name}>other</{name}>{found[0]}{end}"
        yield "second", f"{start}{found[0]}<{name}/>{end}"
        yield "namespace", f"{start}<x>{found[0]}</x>{end}"


def xml_mutants():
    """What can happen to each element: gone, renamed, twice, emptied, its text in another element."""
    elements = re.finditer(r"<(\w+)>([^<]*)</\1>|<(\w+)>", XML)
    for found in elements:
        start, end, name = found.start(), found.end(), found[1] or found[3]
        yield "drop", XML[:start] + XML[end:]
        yield "duplicate", XML[:end] + found[0] + XML[end:]
        yield "rename", XML[:start] + found[0].replace(name, name.upper()) + XML[end:]
        yield "rename", XML[:start] + found[0].replace(name, f"{name}x") + XML[end:]
        for other in (name.lower(), name.swapcase(), f"{name}x") if found[3] else ():
            content, _, rest = XML[end:].partition(f"</{name}>")
            yield "rename", f"{XML[:start]}<{other}>{content}</{other}>{rest}"
        if found[1]:
            for inner in ("", " ", "<b>x</b>", f"<b>{found[2]}</b>", f"{found[2]}<b/>tail", "&#0;"):
                yield "retype", XML[:start] + f"<{name}>{inner}</{name}>" + XML[end:]


def read_xml(folder):
    (folder / "f").replace(folder / "f.xml")
    return triples(ukpconvarg.read_ukpconvarg(folder))


def newer_corpus(_):
    header, first, second = corpus_file(None)
    labels = {"kind": "ordinal", "labels": ["no", "yes"], "values": [0, 2.5]}
    who = [{"id": "A", "meta": {"age": 30, "share": 0.5}}, {"id": "B"}]
    return [
        {**header, "format": "capo-bench-corpus/2", "language": "en", "annotators": who,
         "task": {**header["task"], "labels": labels}},
        {**first, "meta": {"n": 1.5}},
        {**second, "idk": ["B"], "language": "de", "source_id": "s"},
    ]  # fmt: skip


def table(_):
    return [
        {"id": f"i{n // 2}", "passage": f"text {n // 2}", "worker": "AB"[n % 2],
         "label": "bad" if n == 1 else "good", "reason": f"zq{n}1 because"}
        for n in range(6)
    ]  # fmt: skip


def read_rows(ending):
    def read(folder):
        file = (folder / "f").replace(folder / f"f.{ending}")
        columns = {"annotator": "worker", "label": "label", "explanation": "reason", "item": "id"}
        wanted = Wanted(columns, ("passage",), kind="nominal", labels=("good", "bad"))
        with naming(file):  # as the command does
            corpus, notes = import_table(read_table(file), wanted)
            if any(note.startswith(("left out", "kept of")) for note in notes):
                raise CapoBenchError("says what it leaves out, or takes for something else")
        return triples(corpus)

    return read


def rows_say(text):
    """By word what its row says, whatever that is: in a table any text or number is an id."""

    def plain(value):
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        said = value if isinstance(value, str) else json.dumps(value)
        return re.sub(r"^(-?\d+)\.0+$", r"\1", said.strip())

    text = text.strip("\ufeff").strip()
    listed = text.startswith("[")
    rows = json.loads(text) if listed else [json.loads(r) for r in text.split("\n") if r.strip()]
    return {
        word: (plain(row["id"]), (plain(row["worker"]), (plain(row["label"]).lower(),)))
        for row in rows
        for word in WORD.findall(str(row.get("reason")))
    }


def crowd(first, second, labels):
    return {
        str(n): {
            "text": {first: f"text {n}", second: "reply"}, "annotators": f"Ann77{n}1,Ann77{n}2",
            "annotations": {f"Ann77{n}1": labels[0], f"Ann77{n}2": labels[n]},
            "other_info": {"source": "s", "level": 1.0}, "lang": "de",
        }
        for n in (1, 2)
    }  # fmt: skip


def read_crowd(prefix, name):
    """Labels alone: an annotator's id is the word by which an answer is known."""

    def read(folder):
        (folder / "f").replace(folder / f"{prefix}_train.json")
        (folder / f"{prefix}_annotators_meta.json").write_text("{}")
        return {
            annotator: (item.id, responses[0].labels)
            for item in lewidi.read_lewidi(folder, name).items
            for annotator, responses in item.cells.items()
            if responses
        }

    return read


def lines_of(value):
    return "".join(dumped(line) + "\n" for line in value)


def yaml_of(value):
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).replace('"\\0again ', '"')


FORMATS = {
    "corpus": (corpus_file, lines_of, read_corpus),
    "newer corpus": (newer_corpus, lines_of, read_corpus),
    "table": (table, lines_of, read_rows("jsonl")),
    "table as a list": (table, dumped, read_rows("json")),
    "lewidi-csc": (
        lambda _: crowd("context", "response", "136"),
        dumped,
        read_crowd("CSC", "lewidi-csc"),
    ),
    "lewidi-mp": (lambda _: crowd("post", "reply", "010"), dumped, read_crowd("MP", "lewidi-mp")),
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
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    (folder / "f").write_bytes(content)
    try:
        return read(folder)
    except CapoBenchError as error:
        return str(error)


STRANGE = 120
"""How many of the strange mutants of a format are tried, which are thousands."""


def swapped(form, rng):
    """Files of other formats under this one's name."""
    others = [name for name in FORMATS if FORMATS[name][2] is not FORMATS[form][2]]
    for other in rng.sample(others, 4):
        make, write, _ = FORMATS[other]
        yield "other format", write(make(None)) if make else XML


def as_text(mutant):
    return mutant if isinstance(mutant, str) else mutant.decode("utf-8", "replace")


def same(found, sound):
    """Whether it stands for the same; what spells an id otherwise meets the corpus only later."""
    return found == sound or (
        isinstance(found, str) and isinstance(sound, str) and skeleton(found) == skeleton(sound)
    )


@pytest.mark.parametrize("form", FORMATS)
def test_a_mutant_is_refused_in_one_line_or_nothing_of_it_is_lost(form, tmp_path, monkeypatch):
    make, write, read = FORMATS[form]
    value = make(None) if make else None
    text = write(value) if make else XML
    sound = answer(tmp_path / "sound", text, read)
    assert len(sound) >= 2, sound
    rng = random.Random(form)
    broken = [(kind, write(one)) for kind, one in mutants(value)] if make else list(xml_mutants())
    more = list(strange(value, rng) if make else strange_xml(rng))
    more = rng.sample(more, min(STRANGE, len(more)))
    broken += [(kind, raw(write(one)) if make else one) for kind, one in more]
    lost, seen, accepted = [], set(), 0
    for kind, mutant in [*broken, *texts(text), *strange_texts(text, rng), *swapped(form, rng)]:
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
        meant = rows_say(as_text(mutant)) if form.startswith("table") else sound
        held = sorted(set(WORD.findall(as_text(mutant))) & set(meant))
        if any(word not in found or not same(found[word][1], meant[word][1]) for word in held):
            lost.append((kind, mutant, found))
            continue
        # Ids may be others, but what was about one item still is.
        pairs = [(one, other) for one in held for other in held if one < other]
        if any(
            (found[one][0] == found[other][0]) != (meant[one][0] == meant[other][0])
            for one, other in pairs
        ):
            lost.append((kind, mutant, found))
    COUNTS[form] += len(seen)
    assert not lost, f"{len(lost)} of {len(seen)} ({accepted} accepted), such as {lost[:3]}"


CELLS = [
    ["id", "text", "worker", "label", "reason"],
    *(
        [f"i{n // 2}", f"some {n // 2}", "AB"[n % 2], "yes", why]
        for n, why in enumerate(
            ["it is, so", 'she says "no"', "so\nit is", "größer ’tis", "x; y", ""]
        )
    ),
]


def delimited_mutants(rng):
    """What can happen to delimited text: marks put in and taken out anywhere, and bytes turned."""
    for delimiter, ends in ((",", "\n"), (";", "\r\n"), ("\t", "\n")):
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, lineterminator=ends).writerows(CELLS)
        sound = out.getvalue()
        for code in ("utf-8", "utf-8-sig", "cp1252", "utf-16"):
            content = sound.encode(code)
            yield content
            yield from (content[:place] for place in rng.sample(range(len(content)), 12))
            for place in rng.sample(range(len(content)), 24):
                turned = content[place] ^ 1 << rng.randrange(8)
                yield content[:place] + bytes([turned]) + content[place + 1 :]
        for mark in (
            '"',
            delimiter,
            "\r",
            "\n",
            "\u2028",
            "\x0b",
            "\ufeff",
            "'",
            "\\",
            '""',
            "\x00",
        ):
            for place in rng.sample(range(len(sound)), 12):
                yield (sound[:place] + mark + sound[place:]).encode()
            yield sound.replace(mark, "").encode()
        yield (f"sep={delimiter}{ends}" + sound).encode()


def of_pandas(content, delimiter):
    """The same file as another program reads it."""
    marks = {b"\xff\xfe": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
    codes = [code for mark, code in marks.items() if content.startswith(mark)] or [
        "utf-8",
        "cp1252",
    ]
    for code in codes:
        with suppress(UnicodeDecodeError):
            text = content.decode(code)
            break
    lines = {"skiprows": 1} if text.startswith("sep=") else {}
    found = pandas.read_csv(
        io.StringIO(text, newline=""), sep=delimiter, dtype=str, keep_default_na=False,
        skip_blank_lines=False, index_col=False, **lines,
    )  # fmt: skip
    texts = ([str(cell).strip() for cell in row] for row in found.values.tolist())
    # What cannot be seen, such as a byte order mark within, is nothing in a cell.
    rows = [["" if blank(text) else text for text in row] for row in texts]
    return [name.strip() for name in found.columns], [row for row in rows if any(row)]


def test_a_mutant_of_delimited_text_is_refused_or_read_as_pandas_does(tmp_path):
    named = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
    file, seen, read, refusals, longer = tmp_path / "t.csv", set(), 0, [], []
    for mutant in delimited_mutants(random.Random("delimited")):
        if mutant in seen:
            continue
        seen.add(mutant)
        file.write_bytes(mutant)
        try:
            found = read_delimited(file)
        except CapoBenchError as error:
            refusals.append(str(error))
            continue
        read += 1
        try:
            columns, rows = of_pandas(mutant, named[found.notes[0].rpartition(" ")[2]])
        except pandas.errors.ParserError as error:
            longer.append(str(error))  # it also refuses a row that ends in a further, empty cell
            continue
        assert [[row.get(name) or "" for name in columns] for row in found.rows] == rows, mutant
    assert all(str(file) in said and "\n" not in said for said in refusals)
    assert all("Expected 5 fields" in said for said in longer)
    assert read > len(seen) / 4
    COUNTS["delimited"] = len(seen)


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
    if set(COUNTS) == {*FORMATS, "delimited", "sheet"}:  # all of the above ran in this process
        assert sum(COUNTS.values()) >= 2000, COUNTS
