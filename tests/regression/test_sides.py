"""What is known of a run, from each kind of file and folder."""

import json
import shutil
from dataclasses import replace

import pytest
from leaderboard.build import CARD, FINGERPRINT, PREDICTIONS, written

from capo_bench.errors import CapoBenchError
from capo_bench.metrics.cells import Prediction
from capo_bench.regression.sides import read_side
from capo_bench.scoring.scorer import METRICS_VERSION

DATE = "2026-01-02T03-04-05.678901"


def logged(folder, task="capo_x", prompt_hash="p", responses=("a", "b")):
    folder.mkdir(exist_ok=True)
    doc = {
        "corpus": "mini-nli", "splits": "capo", "split": "test", "valid_only": False,
        "fingerprint": "f" * 16, "item": "i", "text": {"s": "secret"}, "annotators": ["A", "B"],
    }  # fmt: skip
    line = json.dumps({"doc": doc, "filtered_resps": list(responses)})
    (folder / f"samples_{task}_{DATE}.jsonl").write_text(line + "\n")
    metadata = {
        "signature": {"fingerprint": "f" * 16, "metrics": 1},
        "split": "test",
        "prompt_hash": prompt_hash,
    }
    results = {
        "configs": {task: {"metadata": metadata}},
        "versions": {task: 1.0},
        "chat_template": None,
    }
    (folder / f"results_{DATE}.json").write_text(json.dumps(results))
    return folder


def test_a_folder_of_lm_eval(tmp_path):
    side = read_side([logged(tmp_path / "run")])
    assert side.runs == ((Prediction("i", "A", "a"), Prediction("i", "B", "b")),)
    assert side.facts == {
        "fingerprint": "f" * 16, "split": "test", "task": "capo_x", "task_version": "1.0",
        "prompt_hash": "p", "metrics": "1", "chat_template": "no",
    }  # fmt: skip
    assert side.options["corpus"] == "mini-nli"


def test_samples_without_results_know_less(tmp_path):
    folder = logged(tmp_path / "run")
    (folder / f"results_{DATE}.json").unlink()
    assert read_side([folder]).facts == {"fingerprint": "f" * 16, "split": "test"}


def test_two_seeds_are_two_runs_and_two_prompts_are_not(tmp_path):
    folders = [logged(tmp_path / "1"), logged(tmp_path / "2", responses=("c", "d"))]
    assert [run[0].response for run in read_side(folders).runs] == ["a", "c"]
    other = logged(tmp_path / "3", prompt_hash="q")
    with pytest.raises(CapoBenchError, match="no two runs of one system: prompt hash: p against q"):
        read_side([folders[0], other])


def test_a_folder_with_two_tasks_is_refused(tmp_path):
    logged(tmp_path / "run", task="capo_x")
    with pytest.raises(CapoBenchError, match=r"samples of 2 tasks \(capo_x, capo_y\)"):
        read_side([logged(tmp_path / "run", task="capo_y")])


def test_results_of_another_form_are_one_line(tmp_path):
    folder = logged(tmp_path / "run")
    (folder / f"results_{DATE}.json").write_text("{}")
    with pytest.raises(CapoBenchError, match=r"has not the form of lm_eval's results"):
        read_side([folder])


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("split", "train", "results beside it are of another run: split: test against train"),
        ("signature", {"fingerprint": "0" * 16, "metrics": 1}, "of another run: "),
        ("prompt_hash", None, "has not the form of lm_eval's results"),
    ],
)
def test_results_and_samples_are_of_one_run(tmp_path, key, value, fault):
    folder = logged(tmp_path / "run")
    file = folder / f"results_{DATE}.json"
    results = json.loads(file.read_text())
    results["configs"]["capo_x"]["metadata"][key] = value
    file.write_text(json.dumps(results))
    with pytest.raises(CapoBenchError, match=fault):
        read_side([folder])


def test_one_run_counts_once(tmp_path):
    folder = logged(tmp_path / "run")
    copied = shutil.copytree(folder, tmp_path / "copied")  # or run again, where nothing is drawn
    for again in (folder, copied, *folder.glob("samples_*")):
        with pytest.raises(CapoBenchError, match=r"holds the answers of .* once more") as refused:
            read_side([folder, again])
        assert str(refused.value.file).startswith(str(again))


def test_a_submission_in_a_board_answers_what_the_board_asks_for(tmp_path):
    (tmp_path / "board.yaml").write_text(
        "title: T\ncorpus: own.jsonl\nsplit: dev\nbertscore: minilm\n"
    )
    runs = [{"seed": 1, "file": "p.jsonl", "claimed": {}}]
    written(tmp_path / "submissions" / "one", predictions=(PREDICTIONS,), runs=runs)
    side = read_side([tmp_path / "submissions" / "one"])
    assert side.facts["split"] == "dev"
    assert side.options == {
        "corpus": str(tmp_path / "own.jsonl"), "data": None, "splits": "capo", "split": "dev",
        "valid_only": False, "bertscore": "minilm", "min_responses": 0, "min_annotators": 0,
    }  # fmt: skip


def test_a_submission(tmp_path):
    runs = [{"seed": n, "file": f"p-{n}.jsonl", "claimed": {}} for n in (1, 2)]
    other = (PREDICTIONS[1], replace(PREDICTIONS[0], response="Label: b"))
    written(tmp_path / "one", predictions=(PREDICTIONS, other), runs=runs)
    side = read_side([tmp_path / "one"])
    assert side.runs == (PREDICTIONS, other)
    assert side.facts == {
        "fingerprint": FINGERPRINT, "prompt_hash": CARD["prompt_hash"], "task_version": "1",
        "metrics": str(METRICS_VERSION),
    }  # fmt: skip
