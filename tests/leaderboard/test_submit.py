"""From what lm-eval writes to a submission, on a real output folder of the bundled corpus."""

import json
import shutil

import lm_eval
import pytest
import yaml
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from capo_bench.harness.paths import tasks_path
from capo_bench.leaderboard.submission import read_submission
from capo_bench.scoring.scorer import METRICS_VERSION

TASK = "capo_mini_nli_tag"
ASKED = {
    "system": "Always lol",
    "model": "org/dummy",
    "method": "prompted",
    "training_data": "none",
    "test_items_seen": False,
    "uses_test_explanations": False,
    "hardware": "one CPU",
    "submitted_by": "A tester",
    "licence": "CC-BY-4.0",
}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """What `capo-bench run --log_samples --output_path` leaves, by lm-eval's own writer.

    The model answers the same word to everything; only the slow question which packages the machine
    has is answered here.
    """
    folder = tmp_path_factory.mktemp("lm")
    tracker = EvaluationTracker(output_path=str(folder))
    manager = TaskManager(include_path=str(tasks_path()), include_defaults=False)
    with pytest.MonkeyPatch.context() as patch:
        about = {"pretty_env_info": "PyTorch version: 2.13.0+cpu\nOS: any", "lm_eval_version": "0"}
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: results.update(about))
        results = lm_eval.simple_evaluate(
            model="dummy",
            tasks=["capo_mini_nli_tag"],
            task_manager=manager,
            torch_random_seed=7,
            evaluation_tracker=tracker,
        )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    tracker.save_results_samples("capo_mini_nli_tag", samples["capo_mini_nli_tag"])
    return folder


@pytest.fixture
def card(tmp_path):
    file = tmp_path / "extra.yaml"
    file.write_text(yaml.safe_dump(ASKED))
    return file


@pytest.fixture
def edited(output, tmp_path):
    """Copies the output folder with its results edited."""

    def edit(name, change):
        folder = tmp_path / name
        shutil.copytree(output, folder)
        (file,) = folder.rglob("results_*.json")
        results = json.loads(file.read_text())
        change(results)
        file.write_text(json.dumps(results))
        return folder

    return edit


def test_the_card_holds_what_the_results_know_and_what_was_given(call, output, card, tmp_path):
    folder = tmp_path / "mini-nli" / "submissions" / "lol"
    status, out, _ = call(
        *("submit", output, "--output", folder, "--card", card),
        *("--set", "hardware=2 cores: slow", "--set", "parameters=135", "--set", "method=other"),
    )
    assert status == 0
    assert f"{folder}: 1 run (91 responses)" in out
    made = read_submission(folder)
    (results,) = output.rglob("results_*.json")
    metadata = json.loads(results.read_text())["configs"]["capo_mini_nli_tag"]["metadata"]
    assert made.card.board == "mini-nli"  # from the place in leaderboards/
    assert made.card.hardware == "2 cores: slow"
    assert made.card.parameters == 135
    assert made.card.method == "other"
    assert made.card.setting == "tag"
    assert made.card.prompt_hash == metadata["prompt_hash"]
    assert made.card.versions["metrics"] == str(METRICS_VERSION)
    assert made.card.versions["task"] == "1.0"
    assert made.card.versions["bertscore"] == "all-MiniLM-L6-v2_L5"
    assert made.card.versions["torch"] == "2.13.0+cpu"
    assert made.card.decoding["do_sample"] is False
    assert made.card.decoding["max_gen_toks"] == 128
    assert made.card.decoding["chat_template"] is False
    (run,) = made.card.runs
    assert (run.seed, run.file) == (7, "predictions-7.jsonl")
    assert run.claimed["invalid_rate"] == 1
    assert run.claimed["label_accuracy"] == 0
    assert "responses" not in run.claimed
    assert not any("stderr" in name for name in run.claimed)
    assert {line.response for line in made.predictions[0]} == {"lol"}
    assert made.fingerprint == metadata["signature"]["fingerprint"]


def test_seeds_become_runs(call, output, edited, card, tmp_path):
    other = edited("other", lambda results: results["config"].update(torch_seed=8))
    folder = tmp_path / "lol"
    status, out, err = call(
        *("submit", output, other, "--output", folder, "--card", card, "--set", "board=mini-nli")
    )
    assert (status, err) == (0, "")
    assert "2 runs (91, 91 responses)" in out
    assert [run.seed for run in read_submission(folder).card.runs] == [7, 8]


def test_a_seed_that_is_added_stands_as_if_it_had_been_there_from_the_start(
    call, output, edited, card, tmp_path
):
    other = edited("other", lambda results: results["config"].update(torch_seed=3))
    rest = ("--card", card, "--set", "board=mini-nli", "--set", "notes=seeds 3 and 7")
    at_once, later = tmp_path / "at-once", tmp_path / "later"
    assert call("submit", other, output, "--output", at_once, *rest)[0] == 0
    first = ("--card", card, "--set", "board=mini-nli", "--set", "notes=seed 7")
    assert call("submit", output, "--output", later, *first)[0] == 0
    status, out, err = call(
        "submit", other, "--output", later, "--add", "--set", "notes=seeds 3 and 7"
    )
    assert (status, err) == (0, "")
    assert "2 runs (91, 91 responses)" in out
    files = ["card.yaml", "predictions-3.jsonl", "predictions-7.jsonl"]
    assert sorted(file.name for file in later.iterdir()) == files
    assert [(later / name).read_bytes() for name in files] == [
        (at_once / name).read_bytes() for name in files
    ]


def test_a_seed_joins_runs_that_were_scored_by_older_metrics(call, output, edited, card, tmp_path):
    made = tmp_path / "lol"
    rest = ("--output", made, "--card", card, "--set", "board=mini-nli")
    assert call("submit", output, *rest)[0] == 0
    written = yaml.safe_load((made / "card.yaml").read_text())
    written["versions"]["metrics"] = "2"
    (made / "card.yaml").write_text(yaml.safe_dump(written))
    other = edited("other", lambda results: results["config"].update(torch_seed=8))
    assert call("submit", other, "--output", made, "--add")[0] == 0
    found = read_submission(made).card
    assert found.versions["metrics"] == str(METRICS_VERSION)
    assert [bool(run.claimed) for run in found.runs] == [False, True]


def _hotter(results):
    results["configs"]["capo_mini_nli_tag"]["generation_kwargs"]["temperature"] = 1.0
    results["config"]["torch_seed"] = 8


def _asked_otherwise(results):
    results["configs"]["capo_mini_nli_tag"]["metadata"]["prompt_hash"] = "0123456789abcdef"


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda results: None, (), "has a run with the seed 7; run with --seed anew"),
        (_hotter, (), "differ in decoding"),
        (_asked_otherwise, (), "differ in prompt_hash"),
        (_hotter, ("--force",), "--add keeps the runs that are there, --force removes them"),
        (_hotter, ("--set", "prompt_hash=0"), "prompt_hash come from the results alone"),
    ],
)
def test_what_cannot_be_added(call, output, edited, card, tmp_path, change, arguments, message):
    made = tmp_path / "lol"
    rest = ("--output", made, "--card", card, "--set", "board=mini-nli")
    assert call("submit", output, *rest)[0] == 0
    before = {file.name: file.read_bytes() for file in made.iterdir()}
    status, _, err = call("submit", edited("other", change), "--output", made, "--add", *arguments)
    assert status == 2
    assert message in err
    assert {file.name: file.read_bytes() for file in made.iterdir()} == before


def test_runs_are_added_to_a_submission_only(call, output, tmp_path):
    status, _, err = call("submit", output, "--output", tmp_path / "lol", "--add")
    assert status == 2
    assert "lol: holds no submission to add to; leave --add out" in err


def test_seeds_of_checkpoints_that_lie_elsewhere_by_now_become_runs(call, edited, card, tmp_path):
    runs = [
        edited(
            f"of-{seed}",
            lambda results, seed=seed: (
                results["config"].update(torch_seed=seed),
                results.update(model_name=f"out/sft-{seed}/model"),
            ),
        )
        for seed in (1, 2)
    ]
    folder = tmp_path / "lol"
    status, _, err = call(
        "submit", *runs, "--output", folder, "--card", card, "--set", "board=mini-nli"
    )
    assert (status, err) == (0, "")
    assert read_submission(folder).card.model == "org/dummy"  # the card's


def test_all_that_is_missing_is_named_at_once(call, output, tmp_path):
    status, _, err = call("submit", output, "--output", tmp_path / "lol", "--set", "method=sft")
    assert status == 2
    for key in {*ASKED, "board"} - {"method", "model"}:
        assert f"{key} (" in err
    assert "--set key=value" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "lol").exists()


def _limited(results):
    results["n-samples"]["capo_mini_nli_tag"]["effective"] = 2


def _judge(results):
    del results["configs"]["capo_mini_nli_tag"]["metadata"]["signature"]


def _unlogged(results):
    results["configs"]["capo_nli"] = results["configs"].pop("capo_mini_nli_tag")
    results["n-samples"] = {}


def _climbing(results):
    results["configs"] = {"../../x": results["configs"][TASK]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_limited, "limited to 2 of 24 items"),
        (_judge, "does not answer as the annotators (a judge's task?)"),
        (_unlogged, "is missing; run lm-eval with --log_samples"),
        (lambda results: results["configs"].update(another={}), "choose one with --task"),
        (lambda results: results.clear(), "config, configs, results: Field required"),
        (lambda results: results["config"].update(torch_seed=None), "names no torch_seed"),
        (lambda results: results.update(results=["x"]), "results: Input should be a valid dict"),
        (lambda results: results["configs"].update(capo_mini_nli_tag="x"), "configs.capo_mini_nli"),
        (lambda results: results.update({"n-samples": {TASK: 3}}), f"n-samples.{TASK}: Input"),
        (lambda results: results["configs"][TASK].update(metadata=["x"]), "a judge's task?"),
        (lambda results: results["configs"][TASK].update(generation_kwargs="x"), "are no object"),
        (
            lambda results: results["results"][TASK].update({"invalid_rate,none": 10**400}),
            "claimed",
        ),
        (_climbing, "/samples_../../x_"),
        (
            lambda results: results["configs"][TASK]["metadata"]["signature"].update(fingerprint=3),
            "is of the corpus with fingerprint 3, but samples_",
        ),
        (
            lambda results: results["configs"][TASK]["metadata"]["signature"].update(split="train"),
            "is of the split train, but samples_",
        ),
    ],
)
def test_runs_that_cannot_be_submitted(call, edited, card, tmp_path, change, message):
    folder = edited("lm", change)
    status, _, err = call("submit", folder, "--output", tmp_path / "lol", "--card", card)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [(_hotter, "differ in decoding"), (lambda results: None, "another run has the seed 7 too")],
)
def test_runs_of_one_system_differ_in_the_seed_alone(
    call, output, edited, card, tmp_path, change, message
):
    other = edited("other", change)
    status, _, err = call("submit", output, other, "--output", tmp_path / "lol", "--card", card)
    assert status == 2
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "method=magic"), "method: Input should be 'prompted'"),
        (("--set", "colour=red"), "colour: Extra inputs are not permitted"),
        (("--set", "test_items_seen=maybe"), "test_items_seen: Input should be a valid boolean"),
        (("--set", "prompt_hash=0"), "prompt_hash come from the results alone"),
        (("--set", "board=nli"), "--set board is given twice; keep one"),
        (("--set", "licence"), "--set licence: expected key=value"),
        (("--task", "capo_nli"), "has no task capo_nli; it has capo_mini_nli_tag"),
    ],
)
def test_wrong_settings(call, output, card, tmp_path, arguments, message):
    status, _, err = call(
        *("submit", output, "--output", tmp_path / "lol", "--card", card),
        *("--set", "board=mini-nli", *arguments),
    )
    assert status == 2
    assert message in err


def test_a_folder_that_is_no_id_or_in_use(call, output, card, tmp_path):
    rest = ("--card", card, "--set", "board=mini-nli")
    status, _, err = call("submit", output, "--output", tmp_path / "My system", *rest)
    assert status == 2
    assert "'My system' is no id" in err
    assert not (tmp_path / "My system").exists()
    status, _, err = call("submit", output, "--output", tmp_path, *rest)
    assert status == 2
    assert "is there already; choose another name, or add --force" in err
    used = tmp_path / "lol"
    used.mkdir()
    (used / "notes.txt").write_text("mine")
    status, _, err = call("submit", output, "--output", used, *rest, "--force")
    assert status == 2
    assert "is in use already" in err  # it holds no submission
    assert (used / "notes.txt").read_text() == "mine"


def test_a_submission_is_replaced_by_force_alone(call, output, card, tmp_path):
    made = tmp_path / "lol"
    rest = ("--output", made, "--card", card, "--set", "board=mini-nli")
    assert call("submit", output, *rest)[0] == 0
    (made / "left.txt").write_text("of the old one")
    before = (made / "card.yaml").read_text()
    assert call("submit", output, *rest, "--set", "system=Another name")[0] == 2
    assert (made / "card.yaml").read_text() == before
    assert call("submit", output, *rest, "--set", "system=Another name", "--force")[0] == 0
    assert "Another name" in (made / "card.yaml").read_text()
    assert not (made / "left.txt").exists()


def test_a_fault_in_samples_is_named_by_their_file(call, edited, card, tmp_path):
    folder = edited("other", lambda results: None)
    (samples,) = folder.rglob("samples_*.jsonl")
    samples.write_text("no json\n")
    status, _, err = call("submit", folder, "--output", tmp_path / "lol", "--card", card)
    assert status == 2
    assert f"{samples}, line 1: " in err


def test_the_same_run_twice(call, output, card, tmp_path):
    status, _, err = call("submit", output, output, "--output", tmp_path / "lol", "--card", card)
    assert status == 2
    assert "another run has the seed 7 too" in err


def test_a_folder_with_several_runs_or_none(call, output, card, tmp_path):
    (tmp_path / "none").mkdir()
    rest = ("--output", tmp_path / "lol", "--card", card)
    assert "holds no results_*.json" in call("submit", tmp_path / "none", *rest)[2]
    assert "does not exist" in call("submit", tmp_path / "nothing", *rest)[2]
    shutil.copytree(output, tmp_path / "both" / "1")
    shutil.copytree(output, tmp_path / "both" / "2")
    assert (
        "holds 2 runs; name their files one by one" in call("submit", tmp_path / "both", *rest)[2]
    )
