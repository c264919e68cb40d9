"""The command line as its users meet it: outputs, and bad input in one line with status 2."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import capo_bench
from capo_bench.cli.app import app
from capo_bench.corpus.load import load
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.predictions import read_predictions, write_predictions
from capo_bench.train.options import RunConfig


@pytest.fixture(scope="module")
def corpus():
    return load("mini-nli")


@pytest.fixture
def human(corpus, tmp_path):
    """The human test responses as a file of predictions."""
    path = tmp_path / "human.jsonl"
    predictions = [
        Prediction(
            item.id, a, render_target([item.cells[a][0].label], item.cells[a][0].explanation)
        )
        for item, a in evaluated_cells(corpus, "test")
    ]
    write_predictions(path, corpus, predictions)
    return path


def test_score_prints_a_table_and_json_with_the_same_numbers(call, human):
    status, out, _ = call("score", human, "--corpus", "mini-nli")
    assert status == 0
    assert "label_accuracy" in out
    assert "synthetic" in out
    status, out, _ = call("score", human, "--corpus", "mini-nli", "--json")
    (result,) = json.loads(out)
    assert result["metrics"]["label_accuracy"]["value"] == 1
    assert result["metrics"]["rouge_l"]["value"] == 1
    assert result["metrics"]["invalid_rate"]["value"] == 0
    assert result["n_items"] == 24
    assert result["signature"]["fingerprint"] == load("mini-nli").fingerprint


def test_predictions_are_written_and_read(corpus, tmp_path):
    predictions = (Prediction("x", "Ann1", "a “quoted”\nline"), Prediction("y", "Ann2", ""))
    write_predictions(tmp_path / "p.jsonl", corpus, predictions)
    found = read_predictions(tmp_path / "p.jsonl")
    assert found.predictions == predictions
    assert found.fingerprint == corpus.fingerprint


def edited(path, edit):
    """The file with its list of JSON values edited in place."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    edit(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows.clear(), "holds no predictions"),
        (lambda rows: rows[3].pop("item"), "line 4: item: Field required"),
        (
            lambda rows: rows[0].update(response=3),
            "line 1: response: Input should be a valid string",
        ),
        (lambda rows: rows.append(rows[0]), "predicted twice"),
        (lambda rows: rows.pop(), "1 cells lack a prediction"),
        (
            lambda rows: rows[0].update(item="nobody"),
            "item nobody, annotator Ann1: not a labelled cell",
        ),
        (lambda rows: rows[0].update(annotator="Ann9"), "annotator Ann9: not a labelled cell"),
        (lambda rows: rows[0].update(fingerprint="0" * 16), "mixes predictions for 2 corpora"),
        (lambda rows: [row.update(fingerprint="0" * 16) for row in rows], "has b26fee2a002aaa6f"),
        (
            lambda rows: rows.insert(0, {"doc": {"question": "?"}}),
            "line 1: a sample of another task",
        ),
    ],
)
def test_bad_predictions(call, human, edit, message):
    status, out, err = call("score", edited(human, edit), "--corpus", "mini-nli")
    assert status == 2
    assert message in err
    assert str(human) in err or "annotator" in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "missing.jsonl", "--corpus", "mini-nli"), "missing.jsonl: cannot be read"),
        (("data", "describe", "mini-what"), "unknown corpus 'mini-what'"),
        (("data", "validate", "missing.jsonl"), "missing.jsonl: cannot be read"),
        (("run", "--model", "hf", "--model_args", "pretrained=/no/such/model"), "does not exist"),
        (("validate", "--metadata", "{oops"), "--metadata is not valid JSON"),
        (("validate", "capo_nothing"), "1 of 1 tasks failed"),
        (("train", "dpo"), "expected `train sft ...` or `train capo ...`"),
        (("train", "capo", "--form", "trie"), "--form is called --layout now"),
        (("train", "sft", "--form=plain"), "--form is called --layout now"),
        (("controls", "--corpus", "nothing"), "unknown corpus 'nothing'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(call, arguments, message):
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert err.strip().count("\n") == 0


def test_malformed_json_names_file_and_line(call, human):
    human.write_text(human.read_text() + "{broken\n")
    status, _, err = call("score", human, "--corpus", "mini-nli")
    assert status == 2
    assert f"{human}, line 92: not valid JSON" in err


def test_tasks_prints_a_folder_with_the_tasks(call):
    _, out, _ = call("tasks")
    assert (Path(out.strip()) / "capo_mini.yaml").is_file()


def test_validate_reports_each_task(call):
    status, out, _ = call("validate", "capo_mini_nli")
    assert status == 0
    assert out.split() == ["ok", "capo_mini_nli"]


def test_the_installed_command_has_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "capo_bench", "score", "no.jsonl"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("capo-bench: no.jsonl: cannot be read")


def command_names(group=None, before=()):
    """The words that name each command, those in groups of commands among them."""
    group = group or typer.main.get_command(app)
    for name in group.list_commands(None):
        yield [*before, name]
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from command_names(command, (*before, name))


LIGHT = [
    ["--version"],
    ["tasks"],
    ["data", "schema"],
    *([*words, "--help"] for words in ([], ["train", "sft"], ["train", "capo"], *command_names())),
]


def test_help_and_small_commands_import_nothing_heavy():
    script = f"""
import contextlib, io, sys
from capo_bench.cli import main
heavy = {{"torch", "lm_eval", "datasets", "transformers", "matplotlib", "sklearn", "scipy"}}
for arguments in {LIGHT!r}:
    sys.argv = ["capo-bench", *arguments]
    out, status = io.StringIO(), 0
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    print(*arguments, status, bool(out.getvalue()), sorted(heavy & set(sys.modules)), sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["|".join([*a, "0", "True", "[]"]) for a in LIGHT]


def test_a_command_imports_only_its_own_module():
    script = """
import sys
from capo_bench.cli.app import main
sys.argv = ["capo-bench", "score", "--help"]
try:
    main()
finally:
    print(sorted(name for name in sys.modules if name.startswith("capo_bench.cli.")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    modules = done.stdout.splitlines()[-1]
    assert modules == "['capo_bench.cli.app', 'capo_bench.cli.options', 'capo_bench.cli.score']"


def test_the_version_is_that_of_the_package(call):
    assert call("--version") == (0, f"capo-bench {capo_bench.__version__}\n", "")


@pytest.mark.parametrize("method", ["sft", "capo"])
def test_the_help_of_train_lists_every_option_of_ours(call, method):
    from capo_bench.train.command import CONFIGS

    _, out, _ = call("train", method, "--help")
    for kind in (RunConfig, *CONFIGS[method].__mro__):
        if kind.__module__.startswith("capo_bench."):
            for name in inspect.get_annotations(kind):
                assert f"--{name} " in out
    assert "transformers.TrainingArguments" in out


def test_the_whole_list_of_options_is_had_on_request(call):
    status, out, _ = call("train", "sft", "--help_all")
    assert status == 0
    assert "--num_train_epochs" in out
    assert "--balance" in out


@pytest.mark.parametrize(
    "command",
    [
        "analyse mini-nli --output OUT",
        "compare base.jsonl candidate.jsonl --output OUT",
        "controls --corpus mini-nli --output OUT",
        "data convert mini-nli OUT",
        "data import table.csv OUT",
        "data synthesize OUT",
        "gate checkpoint --baseline base.json --output OUT",
        "gate checkpoint --baseline base.json --predictions OUT",
        "leaderboard export every-eval-ever board/submissions/one --output OUT",
        "leaderboard export lewidi board/submissions/one --output OUT",
        "report samples.jsonl --output OUT",
        "score samples.jsonl --responses OUT",
        "submit results --output OUT",
        "validate-humans export samples.jsonl --output OUT",
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_whatever_writes_refuses_first_what_is_there(call, tmp_path, command, folder):
    place = tmp_path / "there.jsonl"
    kept = place / "kept.txt" if folder else place
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    status, out, err = call(*command.replace("OUT", str(place)).split())
    assert (status, out) == (2, "")
    assert err.endswith("is there already; choose another name, or add --force\n")
    assert kept.read_text() == "mine"


@pytest.mark.parametrize("flag", ["--valid-only", "--valid_only"])
def test_options_are_written_with_hyphens_or_underscores(call, human, flag):
    status, _, err = call("score", human, "--corpus", "mini-nli", flag)
    assert status == 2
    assert "corpus mini-nli has no validity judgments" in err


@pytest.mark.parametrize("flag", ["--data", "--path"])
def test_the_folder_of_data_has_one_name_and_the_old_one(call, tmp_path, flag):
    status, _, err = call("data", "describe", "paraphrase", flag, tmp_path)
    assert status == 2
    assert f"nothing at {tmp_path}" in err


def test_a_message_names_the_flag_of_the_command_that_printed_it(call, human):
    status, _, err = call("score", human)
    assert status == 2
    assert err == f"capo-bench: {human}: does not tell its corpus; name it, such as --corpus nli\n"
    _, _, err = call("controls")
    assert err == "capo-bench: no corpus is named; name it, such as --corpus nli\n"
