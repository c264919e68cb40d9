"""The whole path on the bundled corpora: prompting, SFT, CAPO, scores, and going on after a stop."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from train import tiny

from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.errors import CapoBenchError
from capo_bench.experiments.designs import ABLATIONS, EQUAL_COMPUTE, ladder
from capo_bench.experiments.publish import publish
from capo_bench.experiments.runs import PRESETS, Experiment
from capo_bench.experiments.stages import RECORD, Stage, run_all
from capo_bench.leaderboard.board import read_board
from capo_bench.leaderboard.submission import read_card
from capo_bench.leaderboard.verify import verify
from capo_bench.train.command import main as train

SMOKE = PRESETS["smoke"]


def in_process(command):
    """Runs a run's command without the ten seconds that a new process takes to import torch."""
    from capo_bench.harness.launch import launch

    _, _, module, *arguments = command
    if module == "capo_bench.train":
        return train(arguments)
    assert (module, arguments[0]) == ("capo_bench", "run")
    before = sys.argv
    try:
        launch(arguments[1:])
    finally:
        sys.argv = before
    return 0


def paper(preset):
    return ladder("mini-nli", preset, ablations=False)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return str(tiny.folder(tmp_path / "tiny"))


def test_paper_comes_before_ablations_and_every_start_before_what_starts_there():
    found = ladder("nli", PRESETS["cpu"])
    systems = [run.system for run in found if run.seed == 0]
    prompted, trained = systems[: systems.index("sft")], systems[systems.index("sft") :]
    assert prompted[:3] == ["zero-shot", "icl", "profile"]
    sampled = ["sft-sampled", "capo-sampled", "sft-equal-compute-sampled"]
    ablations = [name for one in ABLATIONS for name in (one, f"{one}-sampled")]
    assert trained == ["sft", "capo", "sft-equal-compute", *sampled, *ablations]
    for place, run in enumerate(found):
        if run.start:
            assert (run.start, run.seed) in {(r.system, r.seed) for r in found[:place]}


def test_sft_beside_capo_goes_on_for_as_long_as_capo_takes():
    preset = replace(SMOKE, sft={"num_train_epochs": 5}, capo={"max_steps": 30}, capo_cost=2.5)
    (run,) = [one for one in paper(preset) if one.system == EQUAL_COMPUTE]
    assert (run.method, run.start, run.train["max_steps"]) == ("sft", "sft", 75)
    for run in ladder("places.jsonl", PRESETS["scratch"], ablations=False):
        if run.system == EQUAL_COMPUTE:
            assert run.train["learning_rate"] == PRESETS["scratch"].capo["learning_rate"]
            assert "warmup_steps" not in run.train


def test_a_ladder_is_trained_on_more_of_the_world_and_asked_as_the_corpus_says():
    found = ladder("places.jsonl", PRESETS["scratch"], items=6400, world="grown.jsonl")
    assert {run.method for run in found} == {"sft", "capo"}  # random weights are not asked
    for run in found:
        if run.train:
            assert (run.corpus, run.metadata) == ("grown.jsonl", {"corpus": "places.jsonl"})
            assert run.train["train_items"] == 6400
        else:
            assert (run.corpus, dict(run.metadata)) == (None, {})
    experiment = Experiment("new", "places.jsonl", Path("out"), PRESETS["scratch"], found)
    trains, asks = (stage.command for stage in experiment.stages(found[0]))
    assert trains[trains.index("--corpus") + 1] == "grown.jsonl"
    assert '"corpus": "places.jsonl"' in asks[asks.index("--metadata") + 1]


@pytest.mark.usefixtures("own_tasks")
def test_ladder_in_the_smoke_preset(source, tmp_path):
    """Without in-context and profile prompts, which tests/test_harness.py asks with."""
    preset = replace(SMOKE, evaluate={**SMOKE.evaluate, "limit": 4})  # seconds instead of a minute
    chosen = tuple(r for r in paper(preset) if r.system in ("zero-shot", "sft", "capo"))
    few = Experiment(source, "mini-nli", tmp_path / "runs", preset, chosen)
    assert [stage.name for stage, _ in run_all(few.stages(), in_process)] == [
        "evaluate zero-shot",
        "train sft-0",
        "evaluate sft-0",
        "train capo-0",
        "evaluate capo-0",
    ]
    asked = {}
    for run in few.runs:
        (task, found) = json.loads(few.results(run).read_text())["configs"].popitem()
        asked[run.name] = task, found["metadata"]["setting"]
    assert asked == {
        "zero-shot": ("capo_mini_nli", "zero-shot"),
        "sft-0": ("capo_mini_nli_tag", "tag"),
        "capo-0": ("capo_mini_nli_tag", "tag"),
    }
    start = json.loads((tmp_path / "runs/capo-0" / RECORD).read_text())["train"]["command"]
    assert start[start.index("--model") + 1] == str(tmp_path / "runs/sft-0/model")

    # What stands is not run again; other settings than those of what stands are refused.
    assert list(run_all(few.stages(), pytest.fail)) == []
    changed = replace(preset, sft={"learning_rate": 1e-4})
    other = Experiment(source, "mini-nli", tmp_path / "runs", changed, paper(changed))
    with pytest.raises(CapoBenchError, match="train ran with other settings") as refused:
        list(run_all(other.stages(), pytest.fail))
    assert refused.value.file == tmp_path / "runs/sft-0" / RECORD


@pytest.mark.usefixtures("own_tasks")
@pytest.mark.parametrize(
    ("architecture", "kind", "train"), [("qwen3", "capo-hf", {}), ("llama", "hf", {"lora_rank": 4})]
)
def test_models_are_trained_and_asked_in_their_chat_without_thinking(
    architecture, kind, train, tmp_path, monkeypatch
):
    """The second one as the preset `gpu` does it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = str(tiny.folder(tmp_path / "tiny", architecture, chat=True))
    evaluate, train = {**SMOKE.evaluate, "limit": 1}, {**SMOKE.train, **train}
    preset = replace(SMOKE, chat=True, model=kind, evaluate=evaluate, train=train)
    chosen = tuple(r for r in paper(preset) if r.system in ("sft", "capo"))
    few = Experiment(model, "mini-nli", tmp_path / "runs", preset, chosen)
    list(run_all(few.stages(), in_process))
    (samples,) = few.results(few.runs[-1]).parent.glob("samples_*.jsonl")
    asked = json.loads(samples.read_text().splitlines()[0])["arguments"]["gen_args_0"]["arg_0"]
    start = {"qwen3": "<|im_start|>user\nContext: ", "llama": "<|start_header_id|>user<"}
    end = {"qwen3": "</think>\n\nLabel:", "llama": "assistant<|end_header_id|>\n\nLabel:"}
    assert asked.startswith(start[architecture])
    assert asked.endswith(end[architecture])


def test_goes_on_at_the_stage_that_failed(tmp_path):
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

    stages = Experiment("base", "mini-nli", tmp_path / "runs", SMOKE, paper(SMOKE)).stages()
    with pytest.raises(CapoBenchError, match=r"evaluate icl stopped with status 1.*goes on"):
        list(run_all(stages, run))
    stage, seconds = next(run_all(stages, run))
    assert stage.name == "evaluate icl"
    assert seconds is None  # no training has run, so that nobody knows how long it takes
    going = run_all(stages, run)
    next(going)
    assert next(going)[0].name == "evaluate profile"
    assert "capo_mini_nli_icl" in ran[2]


def test_what_an_interrupted_attempt_took_counts_and_its_leavings_do_not(tmp_path, monkeypatch):
    clock = iter([0.0, 100.0, 1000.0, 1007.0, 2000.0, 2001.0])
    monkeypatch.setattr("capo_bench.experiments.stages.time.monotonic", lambda: next(clock))
    stage = Stage(tmp_path, "evaluate", "evaluate", ("ask",), "results_*")
    (tmp_path / "results_1").touch()  # all that is left of an attempt that was killed

    def interrupted(command):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run(interrupted)
    assert not stage.done()
    assert stage.seconds() is None
    stage.run(lambda command: 0)
    assert stage.done()
    assert stage.seconds() == 107
    stage.run(lambda command: 0)  # as where its result was deleted: anew
    assert stage.seconds() == 1
    record = json.loads((tmp_path / RECORD).read_text())
    del record["evaluate"]["finished"]  # as records were
    (tmp_path / RECORD).write_text(json.dumps(record))
    assert stage.done()


def test_a_result_stands_as_long_as_what_it_started_from_was_made_in_the_same_way(tmp_path):
    def stages(rate):
        sft = Stage(tmp_path / "sft", "train", "train sft", ("sft", rate), "made")
        capo = Stage(tmp_path / "capo", "train", "train capo", ("capo",), "made", start=sft)
        asked = Stage(tmp_path / "asked", "evaluate", "evaluate", ("ask",), "made", start=capo)
        return sft, capo, asked

    def make(stage):
        stage.folder.mkdir()
        (stage.folder / "made").touch()
        stage.run(lambda command: 0)

    for stage in stages("1e-4"):
        make(stage)
    assert list(run_all(stages("1e-4"), pytest.fail)) == []
    shutil.rmtree(tmp_path / "sft")
    sft, capo, asked = stages("1e-5")
    make(sft)
    with pytest.raises(CapoBenchError, match="or from a checkpoint that did"):
        capo.done()
    with pytest.raises(CapoBenchError, match="or from a checkpoint that did") as refused:
        asked.done()  # two steps away
    assert refused.value.file == tmp_path / "asked" / RECORD
    assert sft.done()
    record = json.loads((tmp_path / "asked" / RECORD).read_text())
    del record["evaluate"]["started"]  # as records were
    (tmp_path / "asked" / RECORD).write_text(json.dumps(record))
    assert asked.done()


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


@pytest.mark.usefixtures("own_tasks")
def test_finished_systems_become_submissions_of_a_board(tmp_path):
    preset = replace(SMOKE, evaluate={"gen_kwargs": "max_gen_toks=16"})
    chosen = tuple(r for r in paper(preset) if r.system in ("zero-shot", "sft", "capo"))
    few = Experiment("org/Base_1B", "mini-nli", tmp_path / "runs", preset, chosen)
    going = run_all(few.stages(), dummy)
    while next(going)[0].name != "train capo-0":
        pass
    given = {"submitted_by": "A tester", "licence": "CC0-1.0", "hardware": "one CPU"}
    board = tmp_path / "boards" / "mini-nli"
    made = publish(few, board, given, "capo-bench ladder ...")
    (made[1] / "predictions-9.jsonl").touch()  # as if of a seed that is no more
    # Made anew, not refused, when more has run meanwhile.
    assert publish(few, board, given, "capo-bench ladder ...") == made
    assert [folder.name for folder in made] == ["base-1b-zero-shot", "base-1b-sft"]
    assert {file.name for file in made[1].iterdir()} == {"card.yaml", "predictions-0.jsonl"}
    card = read_card(made[1] / "card.yaml")
    assert (card.system, card.method, card.setting) == ("SFT, Base_1B", "sft", "tag")
    assert (card.base_model, card.board) == ("Base_1B", "mini-nli")
    assert card.training_data == "train split of mini-nli"
    assert [run.seed for run in card.runs] == [0]
    spec = read_board(board)
    assert (spec.corpus, spec.bertscore) == ("mini-nli", "minilm")
    assert spec.contrasts == [["base-1b-sft", "base-1b-zero-shot"]]
    # What stands only later is contrasted, too; pairs that somebody has taken out stay out.
    while next(going)[0].name != "evaluate capo-0":
        pass
    next(going, None)
    (board / "board.yaml").write_text("title: T\ncorpus: mini-nli\nbertscore: minilm\n")
    (again,) = (few.folder(run) for run in few.runs if run.system == "zero-shot")
    (kept,) = again.glob("results/*")
    for file in list(kept.iterdir()):  # as of an evaluation that was killed at its very end
        shutil.copy(file, file.with_stem(re.sub(r"\d{4}-", "1999-", file.stem)))
    assert len(publish(few, board, given, "capo-bench ladder ...")) == 3
    assert read_board(board).contrasts == [["base-1b-capo", "base-1b-sft"]]
    scorer = spec.options(board).scorer()
    assert [verify(folder, scorer, "mini-nli").errors for folder in made] == [(), ()]


def test_an_experiment_without_a_finished_system_makes_no_board(tmp_path):
    none = Experiment("base", "mini-nli", tmp_path / "runs", SMOKE, paper(SMOKE))
    with pytest.raises(CapoBenchError, match="no finished system"):
        publish(none, tmp_path / "board", {}, "")


def test_corpus_without_tasks_is_refused(tmp_path):
    with pytest.raises(CapoBenchError, match="corpus mine has no tasks"):
        Experiment("base", "mine", tmp_path, SMOKE, ())


def flag(command, name):
    return command[command.index(f"--{name}") + 1]


def test_a_file_is_trained_and_asked_by_the_tasks_of_own_corpora(tmp_path):
    file = str(tmp_path / "mine.jsonl")
    runs = ladder(file, SMOKE, ablations=False)
    assert "persona" not in {run.system for run in runs}
    kept = {"min_responses": 20, "min_annotators": 3}
    stages = Experiment("base", file, tmp_path / "runs", SMOKE, runs, kept).stages()
    commands = {stage.name: stage.command for stage in stages}
    trained = commands["train sft-0"]
    assert (flag(trained, "corpus"), flag(trained, "min_responses")) == (file, "20")
    asked = commands["evaluate sft-0"]
    assert flag(asked, "tasks") == "capo_corpus_tag"
    assert json.loads(flag(asked, "metadata")) == {"k": 2, "corpus": file, **kept}


def test_a_checkpoint_that_answers_by_sampling_is_a_system_of_its_own(tmp_path):
    stages = Experiment("base", "mini-nli", tmp_path / "runs", SMOKE, paper(SMOKE)).stages()
    commands = {stage.name: stage.command for stage in stages}
    greedy, sampled = (commands[f"evaluate {name}-0"] for name in ("capo", "capo-sampled"))
    assert "train capo-sampled-0" not in commands
    assert flag(greedy, "model") == flag(sampled, "model") == "capo-hf"
    assert flag(greedy, "model_args") == flag(sampled, "model_args")
    assert flag(greedy, "gen_kwargs") == "max_gen_toks=16"
    assert flag(sampled, "gen_kwargs") == "max_gen_toks=16,do_sample=true,temperature=0.7"


def test_a_board_of_a_file_has_the_file_and_what_is_kept_of_it(tmp_path, monkeypatch):
    """Asked beside all tasks of lm_eval's own, as users do."""
    monkeypatch.setenv("CAPO_BENCH_BERTSCORE", "minilm")
    made = synthesize("mini-nli", items=40, annotators=3).corpus
    file = tmp_path / "mine.jsonl"
    jsonl.write(made, file)
    kept = {"min_responses": 10}
    runs = tuple(r for r in ladder(str(file), SMOKE) if r.system == "zero-shot")
    few = Experiment("org/Base_1B", str(file), tmp_path / "runs", SMOKE, runs, kept)
    list(run_all(few.stages(), dummy))
    given = {"submitted_by": "A tester", "licence": "CC0-1.0", "hardware": "one CPU"}
    board = tmp_path / "boards" / "mine"
    (folder,) = publish(few, board, given, "capo-bench ladder ...")
    spec = read_board(board)
    assert (spec.corpus, spec.min_responses) == ("mine.jsonl", 10)
    assert (board / "mine.jsonl").read_bytes() == file.read_bytes()
    assert verify(folder, spec.options(board).scorer(), "mine").errors == ()
