"""Submissions as files: what is written is read, and what is not in the schema is refused."""

import json
import os

import jsonschema
import pytest
import yaml

from capo_bench.errors import CapoBenchError
from capo_bench.leaderboard.submission import (
    Card,
    find_submissions,
    read_submission,
    schemas,
)
from tests.leaderboard.build import CARD, FINGERPRINT, PREDICTIONS, edit_card, written


def test_what_is_written_is_read(tmp_path):
    submission = written(tmp_path / "my-system")
    assert submission == read_submission(tmp_path / "my-system")
    assert submission.id == "my-system"
    assert submission.predictions == (PREDICTIONS,)
    assert submission.fingerprint == FINGERPRINT
    assert submission.card == Card.model_validate(CARD)
    assert submission.card.decoding["temperature"] == 0
    assert submission.card.decoding["do_sample"] is False
    assert sorted(os.listdir(tmp_path / "my-system")) == ["card.yaml", "predictions-1.jsonl"]
    with pytest.raises(CapoBenchError, match="in use already"):
        written(tmp_path / "my-system")


def test_the_published_schemas_are_valid_and_accept_what_is_written(tmp_path):
    folder = written(tmp_path / "s").folder
    for schema in schemas().values():
        jsonschema.Draft202012Validator.check_schema(schema)
    card = jsonschema.Draft202012Validator(schemas()["card"])
    line = jsonschema.Draft202012Validator(schemas()["prediction"])
    card.validate(yaml.safe_load((folder / "card.yaml").read_text()))
    for text in (folder / "predictions-1.jsonl").read_text().splitlines():
        line.validate(json.loads(text))
    assert not card.is_valid({**CARD, "status": "verified"})
    assert not card.is_valid({**CARD, "board": "../nli"})
    assert not card.is_valid({**CARD, "system": "a\x1b[2Jb"})
    assert not line.is_valid({"fingerprint": FINGERPRINT, "item": "x", "annotator": "a"})


RUN = CARD["runs"][0]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"status": "verified"}, "card.yaml, line {last}: status: Extra inputs are not permitted"),
        ({"a\x1b[2Jb\nc": 1}, r"'a\\x1b\[2Jb\\nc': Extra inputs"),
        ({"method": "magic"}, "card.yaml, line 5: method: Input should be 'prompted', 'sft'"),
        ({"method": None, "licence": 3}, "method: .*; licence: .*got 3"),
        ({"system": "a\x1b[2Jb"}, "card.yaml, line 3: system: String should match pattern"),
        ({"system": "a\u202eb"}, "system: String should match pattern"),
        ({"system": "x" * 301}, "system: String should have at most 300 characters"),
        ({"format": 2}, "format: Input should be 1"),
        ({"test_items_seen": "no"}, "test_items_seen: Input should be a valid boolean"),
        ({"parameters": 0}, "parameters: .*greater than or equal to 1"),
        ({"url": "javascript:alert(1)"}, "url: String should match pattern"),
        ({"url": 'https://a"onclick=b'}, "url: String should match pattern"),
        ({"decoding": {"a": {"b": 1}}}, "decoding.a"),
        ({"decoding": {"a": float("inf")}}, "decoding.a"),
        ({"decoding": {"top_p": 1, "ｔｏｐ_p": 2}}, "decoding: .*looks like 'top_p'; keep one"),
        ({"versions": {"task": "1", "t\u0430sk": "2"}}, "versions: .*looks like 'task'; keep one"),
        ({"runs": []}, "runs: List should have at least 1 item"),
        ({"runs": [{**RUN, "file": "../x.jsonl"}]}, "runs.0.file: String should match pattern"),
        ({"runs": [{**RUN, "file": "/etc/passwd"}]}, "runs.0.file: String should match pattern"),
        ({"runs": [{**RUN, "file": "a\\b.jsonl"}]}, "runs.0.file: String should match pattern"),
        ({"runs": [RUN, {"seed": 1, "file": "b.jsonl"}]}, "two runs have the same seed"),
        (
            {"runs": [RUN, {"seed": 2, "file": RUN["file"].upper().replace("JSONL", "jsonl")}]},
            "two runs have the same file",
        ),
        ({"runs": [{**RUN, "claimed": {"a": float("nan")}}]}, "runs.0.claimed.a: .* finite number"),
        ({"runs": [{**RUN, "claimed": {"a": "0.5"}}]}, "runs.0.claimed.a: .* valid number"),
        ({"runs": [{**RUN, "claimed": {"<b>": 1.0}}]}, "runs.0.claimed.<b>"),
    ],
)
def test_a_card_beyond_the_schema_names_its_line_and_key(tmp_path, card, message):
    folder = written(tmp_path / "s").folder
    edit_card(folder, **card)
    last = len((folder / "card.yaml").read_text().splitlines())
    with pytest.raises(CapoBenchError, match=message.replace("{last}", str(last))) as found:
        read_submission(folder)
    assert "\n" not in str(found.value)
    assert "\x1b" not in str(found.value)
    assert len(str(found.value)) < 1000


BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 2: an alias"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is a merge or occurs twice"),
        ("a: 1\n<<: {b: 2}\n", "line 2: the key '<<' is a merge or occurs twice"),
        ("a: !!python/object/apply:os.system ['touch pwned']\n", r"line 1: a tag \(!\)"),
        ("a: [1\n", "line 2: expected ',' or ']'"),
        ("[" * 2000, "not plain YAML: maximum recursion depth"),
        ("a: " + "9" * 5000, "not plain YAML: Exceeds the limit"),
        ("parameters: 0x" + "f" * 5000, "is a number to some"),
        ("parameters: 1" + ":59" * 5000 + ".5", "is a number to some"),
        ("a: 2026-02-31\n", "not plain YAML: day is out of range"),
        ("", "the whole: Input should be a valid dictionary"),
        ("- a\n", "the whole: Input should be a valid dictionary"),
        ("x" * (64 * 1024 + 1), "has 65,537 bytes, more than the 65,536"),
        ("a: \x00\n", "holds null bytes"),
    ],
)
def test_hostile_yaml(tmp_path, text, message):
    folder = written(tmp_path / "s").folder
    (folder / "card.yaml").write_text(text)
    with pytest.raises(CapoBenchError, match=message) as found:
        read_submission(folder)
    assert str(found.value).startswith(str(folder / "card.yaml"))
    assert "\n" not in str(found.value)
    assert not (tmp_path / "pwned").exists()


LINE = {"fingerprint": FINGERPRINT, "item": "x", "annotator": "Ann1", "response": "Label: a"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            {**LINE, "response": "y" * 100_001},
            "line 3: response: String should have at most 100000",
        ),
        ({**LINE, "context": "corpus text"}, "line 3: context: Extra inputs are not permitted"),
        ({**LINE, "response": None}, "line 3: response: .* valid string .got None"),
        ({**LINE, "fingerprint": "f" * 16}, "line 3: fingerprint f{16}, but the lines before have"),
        ({**LINE, "fingerprint": "../../etc/passwd"}, "line 3: fingerprint: .* pattern"),
        ([1], "line 3: the whole: Input should be a valid dictionary"),
    ],
)
def test_predictions_beyond_the_schema(tmp_path, line, message):
    folder = written(tmp_path / "s").folder
    with (folder / "predictions-1.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(CapoBenchError, match=message) as found:
        read_submission(folder)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no predictions"),
        ("[" * 100_000, "line 1: an array"),
        ('{"item": ' + "[" * 100_000, "line 1: not valid JSON .nested more than 64 deep"),
        ('{"item": "x", "item": "y"}', "line 1: not valid JSON .the key 'item' occurs twice"),
        (json.dumps({**LINE, "response": "\ud800"}), "line 1: .*response: half of a surrogate"),
        ('{"response": NaN}', "line 1: .*response"),
    ],
)
def test_hostile_json(tmp_path, text, message):
    folder = written(tmp_path / "s").folder
    file = folder / "predictions-1.jsonl"
    file.write_text(text)
    with pytest.raises(CapoBenchError, match=message) as found:
        read_submission(folder)
    assert found.value.file == file
    assert found.value.line == (1 if text else None)
    assert str(file) not in found.value.message


@pytest.mark.parametrize("name", ["card.yaml", "predictions-1.jsonl"])
def test_bytes_that_are_no_text(tmp_path, name):
    folder = written(tmp_path / "s").folder
    (folder / name).write_bytes(b"\xff\xfe")
    with pytest.raises(CapoBenchError, match="is UTF-16 text; save it as UTF-8") as found:
        read_submission(folder)
    assert found.value.file == folder / name


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    folder = written(tmp_path / "s").folder
    with (folder / "predictions-1.jsonl").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)  # sparse
    with pytest.raises(CapoBenchError, match=r"has 67,108,865 bytes, more than the 67,108,864"):
        read_submission(folder)


@pytest.mark.parametrize("name", ["card.yaml", "predictions-1.jsonl"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "none"])
def test_only_regular_files_are_read(tmp_path, name, kind):
    folder = written(tmp_path / "s").folder
    (folder / name).rename(tmp_path / "elsewhere")
    if kind == "link":
        (folder / name).symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    message = "No such file" if kind == "none" else "no regular file"
    with pytest.raises(CapoBenchError, match=f"{name}: .*{message}"):
        read_submission(folder)


def test_the_folder_is_no_link_and_has_an_id_for_a_name(tmp_path):
    folder = written(tmp_path / "s").folder
    (tmp_path / "link").symlink_to(folder)
    folder.rename(tmp_path / "A<b>")
    with pytest.raises(CapoBenchError, match="link"):
        read_submission(tmp_path / "link")
    with pytest.raises(CapoBenchError, match="'A<b>' is no id"):
        read_submission(tmp_path / "A<b>")


def test_submissions_are_found_in_order(tmp_path):
    for name in ("b", "a"):
        written(tmp_path / name)
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").touch()
    assert find_submissions(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert find_submissions(tmp_path / "a") == [tmp_path / "a"]
    with pytest.raises(CapoBenchError, match="no folder"):
        find_submissions(tmp_path / "README.md")
    with pytest.raises(CapoBenchError, match="holds neither"):
        find_submissions(tmp_path / ".git")
