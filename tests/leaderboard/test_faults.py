"""A submission on which the program itself fails harms no other, and is no faulty submission."""

import json

import pytest

from capo_bench.errors import UNEXPECTED
from capo_bench.leaderboard import board as board_module
from capo_bench.leaderboard import verify as verify_module
from capo_bench.report import build as report_module
from capo_bench.scoring import cache as cache_module
from tests.leaderboard.boards import board_folder, few_controls, mixed, rows, submit

GOOD, BAD = mixed(0.75, "other-annotator", 3), tuple(rows()["wrong-item"])


@pytest.fixture
def boards(tmp_path, cache):
    """Two submissions."""
    root = tmp_path / "boards"
    folder = board_folder(root, contrasts="[[good, bad]]")
    submit(folder, "good", GOOD)
    submit(folder, "bad", BAD)
    return root


def failing(monkeypatch, module, name, fails):
    """Has a function of a module fail as a fault of the program does, for some of its arguments."""
    sound = getattr(module, name)

    def other(*arguments, **named):
        if fails(*arguments):
            raise ZeroDivisionError("by\nnothing")
        return sound(*arguments, **named)

    monkeypatch.setattr(module, name, other)


def is_bad(submission, *_):
    return submission.id == "bad"


def ranked(boards):
    table = json.loads((boards / "mini-nli" / "table.json").read_text())
    return {row["id"] for row in table["entries"] if row["kind"] == "system"}


def scored_badly(monkeypatch):
    """Has scoring fail, whether or not it was done before."""
    load = cache_module._load
    monkeypatch.setattr(
        cache_module, "_load", lambda scorer, runs: None if BAD in runs else load(scorer, runs)
    )
    failing(monkeypatch, cache_module, "_measure", lambda scorer, runs: BAD in runs)


@pytest.mark.parametrize(
    "breaks",
    [
        lambda patch: failing(patch, board_module, "read_submission", lambda f: f.name == "bad"),
        lambda patch: failing(patch, board_module, "check_card", is_bad),
        scored_badly,
        lambda patch: failing(patch, board_module, "check_claims", is_bad),
        lambda patch: failing(patch, board_module, "_on_responses", is_bad),
    ],
    ids=["read", "checked", "scored", "compared with its claims", "read through"],
)
def test_the_others_are_ranked_and_the_fault_is_said(call, boards, breaks):
    with pytest.MonkeyPatch.context() as patch:
        breaks(patch)
        status, out, _ = call("leaderboard", "build", boards)
    assert status == UNEXPECTED
    assert ranked(boards) == {"good"}
    (said,) = [line for line in out.splitlines() if "'bad'" in line]
    assert said.startswith("  failed on 'bad': 'unexpected ZeroDivisionError: by nothing;")
    text = (boards / "mini-nli" / "contrasts.md").read_text()
    assert "Left out, because a submission is refused: good − bad." in text


def test_a_fault_leaves_nothing_behind(call, boards):
    with pytest.MonkeyPatch.context() as patch:
        scored_badly(patch)
        call("leaderboard", "build", boards)
    status, _, _ = call("leaderboard", "build", boards)
    assert status == 0
    assert ranked(boards) == {"good", "bad"}


def test_verify_tells_a_fault_of_the_program_from_a_refusal(call, boards):
    below = boards / "mini-nli" / "submissions"
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, verify_module, "check_card", is_bad)
        status, out, _ = call("verify", below, "--format", "json")
    assert status == UNEXPECTED
    good, bad = sorted(
        json.loads(out)["submissions"], key=lambda one: one["accepted"], reverse=True
    )
    assert good["accepted"]
    assert [finding["rule"] for finding in bad["findings"]] == ["program"]
    (below / "bad" / "card.yaml").write_text("format: 2")
    assert call("verify", below)[0] == 1


def test_a_report_that_fails_harms_no_other(call, boards):
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, report_module, "build", lambda scorer, run, *_: tuple(run) == BAD)
        patch.setattr(report_module, "control_predictions", few_controls)
        status, out, _ = call("leaderboard", "build", boards, "--reports")
    assert status == UNEXPECTED
    assert "failed on the report of mini-nli, bad: unexpected ZeroDivisionError" in out
    assert ranked(boards) == {"good", "bad"}
    reports = boards / "mini-nli" / "reports"
    assert [folder.name for folder in reports.iterdir()] == ["good"]
    assert (boards / "local.html").read_text().count("reports/good/0/report.html") == 1
