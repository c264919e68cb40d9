"""Verdicts on the bundled corpus, and the four forms in which they are told."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from capo_bench.errors import CapoBenchError
from capo_bench.metrics.cells import Prediction
from capo_bench.regression.compare import MAX_DROPS, compare
from capo_bench.regression.outputs import FORMATS, as_github, as_json, as_junit, as_text
from capo_bench.regression.sides import Side, read_side
from capo_bench.scoring.predictions import write_predictions

NASTY = (
    "Label: neutral\nExplanation: <script>alert(1)</script> | @all [x](http://a) \x1b[31m\x00 `$1`"
)
# Its bootstrap is what takes time.
NO_HABITS = {name: drop for name, drop in MAX_DROPS.items() if name != "explanation_consistency"}


def verdicts(result):
    return {judged.metric.name: judged.verdict for judged in result.metrics}


def test_a_run_passes_against_itself(side, scorer, human):
    result = compare(side(human), side(human[::-1]), scorer)
    assert result.verdict == "pass"
    assert verdicts(result) == dict.fromkeys(MAX_DROPS, "pass")
    assert {judged.difference.value for judged in result.metrics} == {0}
    assert result.flips == ()
    assert (result.n_items, result.n_responses, result.runs) == (24, 91, (1, 1))


def test_answers_are_the_same_whether_or_not_it_is_known_that_they_were_cut(side, scorer, human):
    told = tuple(replace(one, truncated=False) for one in human)
    result = compare(side(human), side(told), scorer)
    assert result.verdict == "pass"
    assert {judged.p_worse for judged in result.metrics} == {1}


def test_an_ignored_annotator_tag_is_a_regression(side, scorer, human, untagged):
    result = compare(side(human), side(untagged), scorer, NO_HABITS)
    assert result.verdict == "regressed"
    found = {judged.metric.name: judged for judged in result.metrics}
    assert found["label_accuracy"].verdict == "regressed"
    assert found["attribution_at_1"].verdict == "regressed"
    labels = sum("label" in flip.lost for flip in result.flips)
    assert found["label_accuracy"].difference.value == pytest.approx(-labels / 91)
    # Nobody can tell that none of 24 items would break: (1 - .05)^24 > .05.
    assert found["invalid_rate"].verdict == "inconclusive"


def test_three_unreadable_responses_are_inconclusive_with_power(side, scorer, human, broken):
    result = compare(side(human), side(broken), scorer, NO_HABITS)
    assert result.verdict == "inconclusive"
    invalid = next(j for j in result.metrics if j.metric.name == "invalid_rate")
    assert invalid.difference.value == pytest.approx(3 / 91)
    assert invalid.detectable > invalid.max_drop
    assert invalid.items_needed > 24
    assert {flip.candidate for flip in result.flips} == {"?"}
    assert "24 items can tell changes of" in as_text(result)
    assert f"takes about {invalid.items_needed} items" in " ".join(as_text(result).split())


def test_a_wide_margin_passes_what_a_narrow_one_does_not(side, scorer, human, broken):
    wide = compare(side(human), side(broken), scorer, {"invalid_rate": 0.3, "label_accuracy": 0.3})
    assert verdicts(wide) == {"label_accuracy": "pass", "invalid_rate": "pass"}
    narrow = compare(side(human), side(broken), scorer, {"invalid_rate": 0.01})
    assert narrow.verdict == "inconclusive"


def test_a_metric_that_rose_is_no_regression(side, scorer, human, untagged):
    result = compare(side(untagged), side(human), scorer, {"label_accuracy": 0.05})
    assert result.verdict == "inconclusive"  # too few items, however good
    assert result.metrics[0].p_worse > 0.9
    assert result.gained["label"] == pytest.approx(result.metrics[0].difference.value * 91)


def test_two_systems_at_the_floor_are_inconclusive_never_a_pass(side, scorer, human, untagged):
    empty = tuple(replace(p, response="") for p in human)
    nonsense = tuple(replace(p, response="?") for p in human)
    drops = {"faithful_rate": 0.3, "label_accuracy": 0.3, "invalid_rate": 0.3}
    for candidate in (nonsense, empty):
        result = compare(side(empty), side(candidate), scorer, drops)
        assert result.verdict == "inconclusive"
        assert set(verdicts(result).values()) == {"inconclusive"}
        assert all(judged.at_floor for judged in result.metrics)
    assert "has nothing to lose" in " ".join(as_text(result).split())
    # Nothing can be lost of a headline that is at 0, but it can be won.
    result = compare(side(nonsense), side(human), scorer, {"faithful_rate": 0.3})
    assert result.verdict == "inconclusive"
    assert result.metrics[0].difference.low > 0


def test_what_is_not_gated_and_became_worse_is_told(side, scorer, human, untagged):
    result = compare(side(human), side(untagged), scorer, {"invalid_rate": 0.3})
    assert result.verdict == "pass"
    assert "attribution_at_1" in {d.metric.name for d in result.declines}
    assert all(decline.p <= 0.05 for decline in result.declines)
    for form in (as_text, as_github):
        assert "but worse, and not gated" in " ".join(form(result).split())
    told = json.loads(as_json(result))["not_gated_and_worse"]
    assert "attribution_at_1" in {one["metric"] for one in told}
    assert compare(side(human), side(human), scorer, {"invalid_rate": 0.3}).declines == ()


def test_a_worst_value_holds_whatever_the_baseline_has(side, scorer, human, broken):
    drops = {"invalid_rate": 0.3}
    rate = 3 / 91
    for worst, verdict in ((rate - 0.01, "regressed"), (rate + 0.01, "pass")):
        result = compare(side(broken), side(broken), scorer, drops, {"invalid_rate": worst})
        assert result.verdict == verdict
        failures = ET.fromstring(as_junit(result)).get("failures")
        assert failures == str(int(verdict == "regressed"))
    assert "must be at most" in as_text(result)
    high = compare(side(human), side(broken), scorer, drops, {"label_accuracy": 0.999})
    assert high.verdict == "regressed"
    with pytest.raises(CapoBenchError, match="lies between 0 and 1"):
        compare(side(human), side(human), scorer, drops, {"invalid_rate": 5})


def test_the_spread_of_runs_enters(side, scorer, human, untagged):
    one = compare(side(human), side(untagged), scorer, {"label_accuracy": 0.05}).metrics[0]
    several = compare(
        side(human), side(untagged, human, untagged), scorer, {"label_accuracy": 0.05}
    ).metrics[0]
    # Two thirds of the drop, and a standard error that holds the runs' spread: s / sqrt(3).
    drop = -one.difference.value
    assert several.difference.value == pytest.approx(-2 / 3 * drop)
    assert several.difference.stderr >= drop / 3
    assert several.verdict == "inconclusive"
    assert several.items_needed is None


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"fingerprint": "0" * 16}, "corpus fingerprint"),
        ({"prompt_hash": "b"}, "prompt hash"),
        ({"task_version": "2.0"}, "task version"),
        ({"metrics": "2"}, "metrics version"),
        ({"task": "capo_other"}, "task"),
    ],
)
def test_what_is_not_comparable_is_refused_with_both_values(side, scorer, human, facts, message):
    known = {"prompt_hash": "a", "task_version": "1.0", "metrics": "1", "task": "capo_mini_nli"}
    result = compare(side(human, **known), side(human, **{**known, **facts}), scorer)
    assert result.verdict == "incomparable"
    (mismatch,) = result.mismatches
    assert mismatch.what == message
    assert mismatch.candidate == next(iter(facts.values()))
    for form in FORMATS.values():
        assert mismatch.candidate in form(result)
    assert result.metrics == ()


def test_what_one_side_does_not_tell_is_said(side, scorer, human):
    result = compare(side(human, prompt_hash="a"), side(human), scorer, {"label_accuracy": 0.1})
    assert result.unknown == ("prompt hash",)
    assert "prompt hash" in as_text(result)


def test_other_items_are_refused(side, scorer, human):
    fewer = [p for p in human if p.item != human[0].item]
    result = compare(side(human), side(fewer), scorer)
    assert result.verdict == "incomparable"
    said = str(result.mismatches[0])
    assert said.startswith(f"items (only the first has item {human[0].item}): 91 responses to 24")
    assert said.endswith("23 items")


def test_the_first_few_of_what_is_missing_are_named(side, scorer, human):
    ids = sorted({p.item for p in human})
    some = [p for p in human if p.item in ids[:3] and p is not human[0]]
    result = compare(side(some), side([p for p in human if p.item not in ids[:2]]), scorer)
    named = ", ".join(f"item {one}" for one in ids[3:11])
    assert str(result.mismatches[0]).startswith(
        f"items (only the first has item {ids[0]}, item {ids[1]}; "
        f"only the second has {named} ... and {len(ids) - 11} more): "
    )
    lacking = compare(side(human), side(human[1:]), scorer).mismatches[0]
    whose = f"item {human[0].item} of {human[0].annotator}"
    assert lacking.what == f"items (only the first has {whose})"


@pytest.mark.parametrize(
    ("drops", "message"),
    [({"accuracy": 0.1}, "no metric 'accuracy'"), ({"label_accuracy": 0.0}, "must be above 0")],
)
def test_senseless_margins(side, scorer, human, drops, message):
    with pytest.raises(CapoBenchError, match=message):
        compare(side(human), side(human), scorer, drops)


# --- forms ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nasty(scorer, human):
    hostile = tuple(replace(p, response=NASTY) for p in human)
    facts = {"fingerprint": scorer.corpus.fingerprint}
    sides = Side("a", (human,), facts), Side("<b>\x1b", (hostile,), facts)
    return compare(*sides, scorer, NO_HABITS)


def test_json_is_json_and_keeps_responses_as_they_are(nasty):
    data = json.loads(as_json(nasty))
    assert (data["verdict"], data["exit_code"]) == ("regressed", 1)
    assert data["flips"][0]["candidate"] == NASTY
    assert {metric["metric"] for metric in data["metrics"]} == set(NO_HABITS)


def test_junit_is_valid_xml_without_control_characters(nasty):
    root = ET.fromstring(as_junit(nasty))
    (suite,) = root
    assert suite.get("tests") == "4"
    cases = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert cases["label_accuracy"] == ["failure"]
    assert cases["invalid_rate"] == ["error"]
    assert int(suite.get("failures")) == sum(tags == ["failure"] for tags in cases.values())
    assert "\x1b" not in as_junit(nasty)
    assert "<script>" in suite.find("system-out").text


def test_markdown_shows_hostile_responses_as_text(nasty):
    page = as_github(nasty)
    row = next(line for line in page.splitlines() if "script" in line)
    assert "<script" not in page
    assert "@all" not in page
    assert "&#64;all" in page  # escaped once
    assert "[x]" not in page
    assert "\x1b" not in page
    # Four cells: an unescaped pipe would make more.
    assert row.replace("\\|", "").count("|") == 5


def test_text_steers_no_terminal(nasty):
    assert "\x1b" not in as_text(nasty)
    assert "\x00" not in as_text(nasty)


def test_passes_have_no_failures(side, scorer, human):
    root = ET.fromstring(as_junit(compare(side(human), side(human), scorer, NO_HABITS)))
    assert (root.get("failures"), root.get("errors")) == ("0", "0")


# --- the command ---------------------------------------------------------------------------------


def test_exit_status_is_the_verdict(call, tmp_path, scorer, human, untagged, broken):
    files = {}
    for name, run in (("human", human), ("untagged", untagged), ("broken", broken)):
        files[name] = tmp_path / f"{name}.jsonl"
        write_predictions(files[name], scorer.corpus, run)
    files["other"] = tmp_path / "other.jsonl"
    files["other"].write_text(
        files["human"].read_text().replace(scorer.corpus.fingerprint, "f" * 16)
    )
    for name, status in (("human", 0), ("untagged", 1), ("broken", 3), ("other", 4)):
        found, out, _ = call(
            "compare", files["human"], files[name], "--corpus", "mini-nli", "--format", "json",
            "--max-drop", "label_accuracy=0.05",
        )  # fmt: skip
        assert found == status == json.loads(out)["exit_code"]
    assert call("compare", files["human"], tmp_path / "none", "--corpus", "mini-nli")[0] == 2
    status, _, err = call("compare", files["human"], files["human"])
    assert status == 2
    assert "--corpus nli" in err
    args = ("compare", files["human"], files["human"], "--corpus", "mini-nli")
    status, _, err = call(*args, "--max-drop", "label_accuracy")
    assert status == 2
    assert "METRIC=VALUE" in err
    xml = tmp_path / "report.xml"
    seed = tmp_path / "seed-1.jsonl"
    other = replace(human[0], response=f"{human[0].response} Indeed.")
    write_predictions(seed, scorer.corpus, [other, *human[1:]])
    again = "--candidate", seed, "--max-drop", "label_accuracy=0.3"
    status, out, _ = call(*args, *again, "--format", "junit", "--output", xml)
    assert status == 0
    assert "Pass" in out
    assert ET.parse(xml).getroot().tag == "testsuites"


def test_runs_of_two_corpora_are_no_side(tmp_path, scorer):
    for name, mark in (("a", "0" * 16), ("b", "1" * 16)):
        line = {"fingerprint": mark, "item": "i", "annotator": "A", "response": ""}
        (tmp_path / name).write_text(json.dumps(line) + "\n")
    with pytest.raises(CapoBenchError, match=r"corpus fingerprint: 0{16} against 1{16}"):
        read_side([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(CapoBenchError, match="neither samples"):
        read_side([tmp_path])
    assert read_side([tmp_path / "a"]).runs == ((Prediction("i", "A", ""),),)
