"""Verification: broken submissions are caught by the rule they break, hostile ones do nothing."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from capo_bench.harness.paths import tasks_path
from capo_bench.leaderboard.findings import Finding, as_github
from capo_bench.leaderboard.submission import read_submission
from capo_bench.leaderboard.verify import TASK_VERSION, check_cells, check_claims, verify
from capo_bench.metrics.cells import evaluated_cells
from capo_bench.prompts.prompter import Prompter, prompt_hash
from capo_bench.scoring.controls import control_predictions
from capo_bench.scoring.options import Options
from capo_bench.scoring.scorer import METRICS_VERSION
from tests.leaderboard.build import CARD, PREDICTIONS, edit_card, written

NOW = str(METRICS_VERSION)
RUN = CARD["runs"][0]


@pytest.fixture(scope="module")
def scorer():
    return Options("mini-nli").scorer()


@pytest.fixture(scope="module")
def rows(scorer):
    return control_predictions(scorer.corpus)


@pytest.fixture
def make(scorer, rows, tmp_path):
    """A complete submission; by default a stranger's, who answers as another annotator would."""
    prompter = Prompter(scorer.corpus, "zero-shot")
    prompts = prompt_hash(prompter(i, a) for i, a in evaluated_cells(scorer.corpus, "test"))

    def build(row="other-annotator", edit=list, fingerprint=scorer.corpus.fingerprint, **card):
        card = {"prompt_hash": prompts, "runs": [{**RUN, "claimed": {}}], **card}
        card = {"versions": {**CARD["versions"], "task": "1.0"}, **card}
        return written(tmp_path / "s", (edit(rows[row]),), fingerprint, **card).folder

    return build


def found(folder, scorer, board="mini-nli"):
    return [(f.severity, f.rule, f.message) for f in verify(folder, scorer, board).findings]


@pytest.fixture(scope="module", autouse=True)
def _no_cache_of_the_user(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def one(folder, scorer, board="mini-nli"):
    (finding,) = found(folder, scorer, board)
    return finding


def test_nothing_is_said_of_a_sound_submission(make, scorer):
    verified = verify(make(), scorer, "mini-nli")
    assert verified.findings == ()
    assert verified.errors == ()


def test_missing_cells_are_counted_and_named(make, scorer, rows):
    folder = make(edit=lambda row: [row[0], *row[4:]])
    gone = rows["human"][1:4]
    severity, rule, message = one(folder, scorer)
    assert (severity, rule) == ("error", "completeness")
    assert message.startswith("3 of 91 cells are missing, such as ")
    for line in gone:
        assert f"{line.item!r} of {line.annotator!r}" in message


def test_extra_and_double_cells(make, scorer):
    folder = make(
        edit=lambda rows: [*rows, rows[0], rows[0], replace(rows[1], item="[red]::error::")]
    )
    extra, double = found(folder, scorer)
    assert extra[:2] == double[:2] == ("error", "completeness")
    assert extra[2].startswith("1 answered cells are no labelled cells of split test")
    assert "'[red]::error::'" in extra[2]
    assert double[2].startswith("1 of 91 cells are answered more than once")


def test_a_run_that_stands_twice_is_one(tmp_path, scorer):
    runs = [RUN | {"claimed": {}}, {"seed": 2, "file": "2.jsonl"}]
    human = control_predictions(scorer.corpus)["human"]
    written(tmp_path / "s", (human, human[::-1]), scorer.corpus.fingerprint, runs=runs)
    (message,) = (f.message for f in check_cells(read_submission(tmp_path / "s"), scorer))
    assert message.startswith("answers everything as predictions-1.jsonl does")


def test_another_corpus(make, scorer):
    severity, rule, message = one(make(fingerprint="0" * 16), scorer)
    assert (severity, rule) == ("error", "fingerprint")
    assert "0000000000000000" in message
    assert scorer.corpus.fingerprint in message


def test_forged_scores(make, scorer):
    forged = {"label_accuracy": 0.98, "invalid_rate": 0.0, "rouge_l": 0.996, "label_kappa": 1.5}
    folder = make("human", test_items_seen=True, runs=[{**RUN, "claimed": forged}])
    errors = [f for f in verify(folder, scorer, "mini-nli").findings if f.severity == "error"]
    assert [f.rule for f in errors] == ["claims", "claims"]
    assert errors[0].message.startswith("seed 1 claims label_accuracy 0.9800, recomputed 1.0000")
    assert errors[1].message.startswith("seed 1 claims label_kappa 1.5000, recomputed 1.0000")
    assert {f.file.name for f in errors} == {"card.yaml"}


@pytest.mark.parametrize(
    ("metrics", "encoder", "claimed", "found", "findings"),
    [
        (NOW, "e", {"a": 0.5}, 0.5049, []),
        (NOW, "e", {"a": 0.5}, 0.5051, ["error"]),
        (NOW, "e", {"a": 0.5}, float("nan"), ["error"]),
        (NOW, "e", {"b": 0.5}, 0.5, ["warning"]),
        (NOW, "e", {"bertscore_f1": 0.5}, 0.6, ["error"]),
        (NOW, "another", {"bertscore_f1": 0.5}, 0.6, ["note"]),
        (NOW, "another", {"a": 0.5, "bertscore_f1": 0.5}, 0.6, ["note", "error"]),
        ("0", "e", {"a": 0.5}, 0.6, []),
    ],
)
def test_what_a_claim_is_compared_with(tmp_path, metrics, encoder, claimed, found, findings):
    runs = [RUN | {"claimed": {}}, {"seed": 2, "file": "2.jsonl", "claimed": claimed}]
    versions = {"metrics": metrics, "bertscore": encoder}
    written(tmp_path / "s", (PREDICTIONS, PREDICTIONS), versions=versions, runs=runs)
    submission = read_submission(tmp_path / "s")
    measured = {"a": (0.5, found), "bertscore_f1": (0.5, found)}
    scorer = SimpleNamespace(signature={"bertscore": "e"})
    assert [f.severity for f in check_claims(submission, measured, scorer)] == findings


@pytest.mark.parametrize(
    ("card", "severity", "rule", "message"),
    [
        ({"versions": {"metrics": NOW, "task": "0.9"}}, "error", "versions", "task is '0.9'"),
        ({"versions": {"metrics": NOW}}, "error", "versions", "versions.task is None"),
        (
            {"versions": {"metrics": "99", "task": "1.0"}},
            "error",
            "versions",
            f"newer than {NOW} here",
        ),
        ({"versions": {"metrics": "01", "task": "1.0"}}, "error", "versions", "a whole number"),
        ({"versions": {"metrics": "²", "task": "1.0"}}, "error", "versions", "a whole number"),
        ({"board": "nli"}, "error", "board", "says board nli, but this is mini-nli"),
        ({"prompt_hash": "0" * 16}, "warning", "prompts", "asked with other prompts"),
        ({"test_items_seen": True}, "warning", "leakage", "saw test items"),
        ({"uses_test_explanations": True}, "warning", "leakage", "not comparable"),
    ],
)
def test_what_the_card_alone_shows(make, scorer, card, severity, rule, message):
    finding = one(make(**card), scorer)
    assert finding[:2] == (severity, rule)
    assert message in finding[2]


def test_claims_of_older_metrics_are_not_compared(make, scorer):
    versions = {"metrics": "0", "task": "1.0"}
    forged = [{**RUN, "claimed": {"label_accuracy": 0.999}}]
    finding = one(make(versions=versions, runs=forged), scorer)
    assert finding[:2] == ("warning", "versions")


def test_guards_name_the_annotators(make, scorer):
    copied = found(make("best-train-appended"), scorer)
    assert [(severity, rule) for severity, rule, _ in copied] == [("warning", "guards")] * 2
    messages = [message for _, _, message in copied]
    assert messages[0].startswith(
        "copy_excess above 0.2: Ann1 0.83, Ann2 0.78, Ann3 0.67, Ann4 0.80"
    )
    assert messages[1].startswith("ngram_excess above 0.2: Ann1 ")


def test_unreadable_responses_are_a_guard_of_their_annotator(make, scorer):
    def silence(rows):
        return [replace(row, response="?") if row.annotator == "Ann2" else row for row in rows]

    guards = [message for _, rule, message in found(make(edit=silence), scorer) if rule == "guards"]
    assert guards[0] == "invalid_rate above 0.2: Ann2 1.00"


def test_test_explanations_handed_in_are_noticed(make, scorer):
    severity, rule, message = one(make("human"), scorer)
    assert (severity, rule) == ("warning", "leakage")
    assert "90 of 91 explanations" in message
    assert "(not declared)" in message


def test_files_that_the_card_does_not_list(make, scorer):
    folder = make()
    (folder / "notes.pkl").write_bytes(b"\x80\x04.")
    assert one(folder, scorer)[:2] == ("error", "files")


HOSTILE = {
    "system": '=HYPERLINK("http://x","y")|[x](javascript:alert(1))',
    "model": "<script>alert(1)</script>",
    "notes": "@SUM(1)\n<img src=x onerror=alert(1)>",
}


@pytest.mark.parametrize("form", ["rich", "json", "github"])
def test_a_hostile_submission_is_told_harmlessly(call, make, form):
    folder = make(**HOSTILE)
    file = folder / "predictions-1.jsonl"
    sound = file.read_text()
    hostile = {**json.loads(sound.splitlines()[0]), "item": "x\x1b[2J\n::error::%0A\u202e"}
    file.write_text(sound + json.dumps(hostile) + "\n")
    status, out, err = call("verify", folder, "--corpus", "mini-nli", "--format", form)
    assert (status, err) == (1, "")
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\n::error::" not in out
    if form == "json":
        (submission,) = json.loads(out)["submissions"]
        assert submission["accepted"] is False
        assert submission["findings"][0]["rule"] == "schema"
    if form == "github":
        (line,) = out.splitlines()
        assert line.startswith("::error file=")
        assert "predictions-1.jsonl,line=92,title=capo-bench verify%3A schema::" in line
        assert "%250A" in line


def test_a_response_of_10_mb_a_path_and_a_link(call, make, tmp_path):
    folder = make()
    file = folder / "predictions-1.jsonl"
    sound = file.read_text()
    first = json.loads(sound.splitlines()[0])
    file.write_text(json.dumps({**first, "response": "y" * 10_000_000}) + "\n" + sound)
    status, out, _ = call("verify", folder, "--corpus", "mini-nli")
    assert status == 1
    assert "schema: predictions-1.jsonl, line 1: response: String should have at most 100000" in out
    assert len(out) < 1000
    file.rename(tmp_path / "elsewhere.jsonl")
    file.symlink_to(tmp_path / "elsewhere.jsonl")
    status, out, _ = call("verify", folder, "--corpus", "mini-nli")
    assert status == 1
    assert "no regular file" in out
    edit_card(folder, runs=[{"seed": 1, "file": "../elsewhere.jsonl"}])
    status, out, _ = call("verify", folder, "--corpus", "mini-nli")
    assert status == 1
    assert "runs.0.file: String should match pattern" in out


def test_what_cannot_be_checked_is_status_2(call, make, tmp_path):
    folder = make()
    status, _, err = call("verify", folder)
    assert (status, err.count("\n")) == (2, 1)
    assert "lies in no board" in err
    status, _, err = call("verify", tmp_path / "nothing", "--corpus", "mini-nli")
    assert status == 2
    assert "is no folder" in err


def test_annotations_escape_what_github_reads(tmp_path):
    finding = Finding("note", "a,b", tmp_path / "50%:x" / "a\nb", 3, "100%\r\nsure: a,b")
    (tmp_path / "below").mkdir()
    around = replace(finding, file=tmp_path / "below" / ".." / "a,b.yaml")
    assert as_github(around, tmp_path) == as_github(
        replace(finding, file=tmp_path / "a,b.yaml"), tmp_path
    )
    assert as_github(finding, tmp_path) == (
        "::notice file=50%25%3Ax/a%0Ab,line=3,title=capo-bench verify%3A a%2Cb"
        "::100%25%0D%0Asure: a,b"
    )


def test_the_version_is_that_of_every_task():
    files = [file for file in tasks_path().glob("*/capo_*.yaml") if file.parent.name != "judge"]
    versions = [re.search(r"^  version: (\S+)$", file.read_text(), re.M)[1] for file in files]
    assert len(versions) >= 16
    assert set(versions) == {TASK_VERSION}
