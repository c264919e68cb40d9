"""The whole path on the bundled corpora: prompting, SFT, CAPO, scores, and going on after a stop."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from train import tiny

from capo_bench.errors import CapoBenchError
from capo_bench.experiments.ladder import ABLATIONS, PRESETS, RUNG_FILE, Ladder, rungs
from capo_bench.experiments.publish import publish
from capo_bench.leaderboard.board import read_board
from capo_bench.leaderboard.submission import read_card
from capo_bench.leaderboard.verify import verify
from capo_bench.train.command import main as train

SMOKE = PRESETS["smoke"]


def in_process(command):
    """Runs a rung's command without the ten seconds that a new process takes to import torch."""
    from lm_eval.__main__ import cli_evaluate

    _, _, module, *arguments = command
    if module == "capo_bench.train":
        return train(arguments)
    assert module == "lm_eval"
    before, sys.argv = sys.argv, ["lm_eval", *arguments]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
    return 0


def paper(preset):
    return rungs(preset, ablations=False)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return str(tiny.folder(tmp_path / "tiny"))


def test_paper_comes_before_ablations_and_every_start_before_what_starts_there():
    found = rungs(PRESETS["cpu"])
    assert [rung.name for rung in found[:9]] == [
        "zero-shot", "icl", "profile", "sft-0", "capo-0", "sft-1", "capo-1", "sft-2", "capo-2",
    ]  # fmt: skip
    assert {rung.system for rung in found[9:]} == set(ABLATIONS)
    for place, rung in enumerate(found):
        if rung.start:
            assert (rung.start, rung.seed) in {(r.system, r.seed) for r in found[:place]}


def test_ladder_in_the_smoke_preset(source, tmp_path):
    """Without in-context and profile prompts, which tests/test_harness.py asks with."""
    preset = replace(SMOKE, evaluate={**SMOKE.evaluate, "limit": 4})  # seconds instead of a minute
    climbed = [rung for rung in paper(preset) if rung.system in ("zero-shot", "sft", "capo")]
    ladder = Ladder(source, "mini-nli", tmp_path / "runs", preset, climbed, run=in_process)
    steps = [(step.kind, step.rung.name) for step, _ in ladder.climb()]
    assert steps == [
        ("evaluate", "zero-shot"),
        ("train", "sft-0"),
        ("evaluate", "sft-0"),
        ("train", "capo-0"),
        ("evaluate", "capo-0"),
    ]
    asked = {}
    for rung in ladder.rungs:
        (file,) = ladder.results(rung).glob("results_*.json")
        (task, found) = json.loads(file.read_text())["configs"].popitem()
        asked[rung.name] = task, found["metadata"]["setting"]
    assert asked == {
        "zero-shot": ("capo_mini_nli", "zero-shot"),
        "sft-0": ("capo_mini_nli_tag", "tag"),
        "capo-0": ("capo_mini_nli_tag", "tag"),
    }
    start = json.loads((tmp_path / "runs/capo-0" / RUNG_FILE).read_text())["train"]["command"]
    assert start[start.index("--model") + 1] == str(tmp_path / "runs/sft-0/model")

    # What stands is not run again; other settings than those of what stands are refused.
    again = Ladder(source, "mini-nli", tmp_path / "runs", preset, climbed, run=pytest.fail)
    assert list(again.climb()) == []
    other = replace(preset, sft={"learning_rate": 1e-4})
    changed = Ladder(source, "mini-nli", tmp_path / "runs", other, paper(other), run=pytest.fail)
    with pytest.raises(CapoBenchError, match=r"sft-0.*other settings"):
        list(changed.climb())


def test_goes_on_at_the_step_that_failed(tmp_path):
    ran = []

    def run(command):
        """Leaves the results of a process, or fails at the second one."""
        ran.append(command)
        if len(ran) == 2:
            return 1
        folder = tmp_path / "runs" / ["zero-shot", "", "icl"][len(ran) - 1] / "results" / "model"
        folder.mkdir(parents=True)
        (folder / "results_1.json").write_text("{}")
        return 0

    ladder = Ladder("base", "mini-nli", tmp_path / "runs", SMOKE, paper(SMOKE), run=run)
    with pytest.raises(CapoBenchError, match=r"icl: evaluate stopped with status 1.*goes on"):
        list(ladder.climb())
    step, seconds = next(ladder.climb())
    assert (step.rung.name, step.kind) == ("icl", "evaluate")
    assert seconds is None  # no training has run, so that nobody knows how long it takes
    climb = ladder.climb()
    next(climb)
    assert next(climb)[0].rung.name == "profile"
    assert "capo_mini_nli_icl" in ran[2]


def dummy(command):
    """Evaluates lm-eval's own dummy in the model's place; trains nothing."""
    arguments = list(command)
    at = arguments.index("--model")
    if arguments[2] == "capo_bench.train":
        folder = Path(arguments[arguments.index("--output") + 1])
        folder.mkdir(parents=True)
        (folder / "README.md").write_text("a card")
        return 0
    arguments[at : at + 4] = ["--model", "dummy"]
    return in_process(arguments)


def test_finished_systems_become_submissions_of_a_board(tmp_path):
    preset = replace(SMOKE, evaluate={"gen_kwargs": "max_gen_toks=16"})
    ladder = Ladder("org/Base_1B", "mini-nli", tmp_path / "runs", preset, paper(preset), run=dummy)
    ladder.rungs = tuple(r for r in ladder.rungs if r.system in ("zero-shot", "sft", "capo"))
    climb = ladder.climb()
    while next(climb)[0].rung.system != "capo":
        pass
    given = {"submitted_by": "A tester", "licence": "CC0-1.0", "hardware": "one CPU"}
    board = tmp_path / "boards" / "mini-nli"
    for _ in range(2):  # made anew, not refused, when the ladder went on meanwhile
        made = publish(ladder, board, given, "capo-bench ladder ...")
        assert [folder.name for folder in made] == ["base-1b-zero-shot", "base-1b-sft"]
    card = read_card(made[1] / "card.yaml")
    assert (card.system, card.method, card.setting) == ("SFT, Base_1B", "sft", "tag")
    assert (card.base_model, card.board) == ("Base_1B", "mini-nli")
    assert card.training_data == "train split of mini-nli"
    assert [run.seed for run in card.runs] == [0]
    spec = read_board(board)
    assert (spec.corpus, spec.bertscore) == ("mini-nli", "minilm")
    assert spec.contrasts == [["base-1b-sft", "base-1b-zero-shot"]]
    scorer = spec.options(board).scorer()
    assert [verify(folder, scorer, "mini-nli").errors for folder in made] == [(), ()]


def test_a_ladder_without_a_finished_system_makes_no_board(tmp_path):
    ladder = Ladder("base", "mini-nli", tmp_path / "runs", SMOKE, paper(SMOKE), run=pytest.fail)
    with pytest.raises(CapoBenchError, match="no finished system"):
        publish(ladder, tmp_path / "board", {}, "")


def test_corpus_without_tasks_is_refused(tmp_path):
    with pytest.raises(CapoBenchError, match="no tasks"):
        Ladder("base", "my.jsonl", tmp_path, SMOKE, ())
