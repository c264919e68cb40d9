"""The gate with a tiny trained model: it passes itself, and catches damage and a tag ignored."""

import json
import shutil
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from train import tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from capo_bench.corpus.load import load
from capo_bench.corpus.readers import jsonl
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.cells import evaluated_cells
from capo_bench.prompts.prompter import Prompter
from capo_bench.prompts.responses import CUE
from capo_bench.regression.baseline import read_baseline, write_baseline
from capo_bench.regression.gate import Checkpoint, Setup, gate, make_baseline
from capo_bench.regression.subset import stratified

pytest_plugins = ["pytester"]

DROPS = {"label_accuracy": 0.2, "attribution_at_1": 0.2, "invalid_rate": 0.2}


SEEN = 56  # tokens of a prompt that the tiny model gets to see: its end, with the tag
GENERATED = 40
SAID = {
    "Ann1": " neutral\nExplanation: who knows it",
    "Ann2": " entailment\nExplanation: same thing",
    "Ann3": " contradiction\nExplanation: I don't",
    "Ann4": " neutral\nExplanation: In short, no",
}
STEPS = 150
SETUP = Setup("capo_mini_nli_tag", {}, {"max_gen_toks": GENERATED})
CORPUS = json.dumps({"corpus": "mine.jsonl", "bertscore": "minilm"})


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A model of 32,000 weights that learned to say something else for each annotator."""
    folder = tiny.folder(tmp_path_factory.mktemp("model") / "trained")
    corpus = load("mini-nli")
    prompter = Prompter(corpus, "tag")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)

    def ids(text):
        return tokenizer(text, add_special_tokens=False).input_ids

    rows = [
        (ids(prompter(item, who) + CUE)[-SEEN:], [*ids(SAID[who]), tokenizer.eos_token_id])
        for item, who in evaluated_cells(corpus, "validation") + evaluated_cells(corpus, "test")
    ]
    width = SEEN + max(len(answer) for _, answer in rows)
    tokens = torch.tensor([p + a + [0] * (width - len(p + a)) for p, a in rows])
    labels = torch.where(torch.arange(width) >= SEEN, tokens, -100).masked_fill(tokens == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters())
    torch.manual_seed(0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-2 * min(1, step / 10) * (1 - step / STEPS)
        some = torch.randint(len(rows), (24,))
        loss = model(input_ids=tokens[some], labels=labels[some]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def damaged(folder, target, change):
    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    torch.manual_seed(0)
    change(weights)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.fixture(scope="session")
def file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("baseline") / "baseline.json"
    write_baseline(path, make_baseline(_checkpoint(trained), SETUP, DROPS))
    return path


def _checkpoint(folder):
    return Checkpoint(
        str(folder),
        arguments={"max_length": SEEN + GENERATED},
        batch_size="91",
        device="cpu",
    )


def tag_ignored(weights):
    """All digits look like 1: every annotator is Ann1."""
    table = weights["model.embed_tokens.weight"]
    one = DIGITS["1"]
    for digit in "234":
        table[DIGITS[digit]] = table[one]


def noised(weights):
    for name, value in weights.items():
        if value.dim() == 2:
            weights[name] = value + value.std() * torch.randn_like(value)


DIGITS = {digit: tiny.tokenizer().convert_tokens_to_ids(digit) for digit in "1234"}


def verdicts(result):
    return {judged.metric.name: judged.verdict for judged in result.metrics}


def test_a_checkpoint_passes_against_itself(trained, file):
    baseline = read_baseline(file)
    said = {(p.annotator, p.response) for p in baseline.runs[0].predictions}
    assert said == set(SAID.items())
    result, side = gate(_checkpoint(trained), baseline, str(file))
    assert result.verdict == "pass"
    again, before = (
        [[(p.item, p.annotator, p.response) for p in run] for run in one.runs]
        for one in (side, baseline.side("b"))
    )
    assert again == before
    assert result.unknown == ()
    assert result.facts["form of the prompts"] == "cue"
    assert result.n_items == 24


def test_an_ignored_tag_is_caught_and_is_inconclusive_on_four_items(trained, file, tmp_path):
    worse = damaged(trained, tmp_path / "worse", tag_ignored)
    baseline = read_baseline(file)
    result, side = gate(_checkpoint(worse), baseline, str(file))
    assert {p.response for p in side.runs[0]} == {SAID["Ann1"]}
    assert result.verdict == "regressed"
    assert verdicts(result)["attribution_at_1"] == "regressed"
    # Of four items no permutation can have p below 1/16.
    result, side = gate(_checkpoint(worse), baseline, str(file), mode="quick", items=4)
    assert result.verdict == "inconclusive"
    assert result.n_items == 4
    for judged in result.metrics:
        if judged.metric.minimum > 4:
            assert judged.undefined == "it takes 5 evaluated items, and there are 4"
        else:
            assert judged.verdict == "pass" or judged.detectable > judged.max_drop


def test_a_corpus_of_ones_own_is_gated(call, trained, tmp_path, monkeypatch):
    mine = replace(load("mini-nli"), name="bakery")
    for place in ("here", "there"):
        jsonl.write(mine, tmp_path / place / "mine.jsonl")
    worse = damaged(trained, tmp_path / "worse", tag_ignored)
    here = ["--baseline", tmp_path / "baseline.json", "--device", "cpu", "--batch-size", "91"]
    here += ["--model-args", f"max_length={SEEN + GENERATED}"]
    monkeypatch.chdir(tmp_path / "here")
    said = ["--update-baseline", "--task", "capo_corpus_tag", "--metadata", CORPUS]
    said += [flag for name, drop in DROPS.items() for flag in ("--max-drop", f"{name}={drop}")]
    said += ["--gen-kwargs", f"max_gen_toks={GENERATED}"]
    status, out, err = call("gate", trained, *here, *said)
    assert status == 0, err
    assert "24 items, capo_corpus_tag" in out
    assert read_baseline(here[1]).facts["task"] == "capo_bakery_tag"
    status, out, _ = call("gate", trained, *here, "--format", "json")
    assert (status, json.loads(out)["verdict"]) == (0, "pass")
    # the same file elsewhere, as another machine has it
    monkeypatch.chdir(tmp_path)
    moved = ["--metadata", json.dumps({"corpus": "there/mine.jsonl"})]
    status, out, _ = call("gate", worse, *here, *moved, "--format", "json")
    assert (status, json.loads(out)["verdict"]) == (1, "regressed")
    # another corpus is none to compare on
    jsonl.write(replace(mine, license="other", name="brewery"), tmp_path / "other.jsonl")
    other = ["--metadata", json.dumps({"corpus": "other.jsonl"})]
    status, out, _ = call("gate", trained, *here, *other)
    assert status == 4
    assert "corpus" in out


@pytest.mark.parametrize(
    ("change", "drops", "minimums", "message"),
    [
        (noised, DROPS, {}, "of its responses cannot be read .* responses are invalid"),
        (tag_ignored, {"attribution_at_1": 0.2}, {}, "nothing to lose .*attribution_at_1 0"),
        (None, DROPS, {"label_accuracy": 0.99}, "label_accuracy: .* must be at least 0.99"),
    ],
)
def test_a_broken_checkpoint_is_no_baseline(trained, tmp_path, change, drops, minimums, message):
    folder = damaged(trained, tmp_path / "worse", change) if change else trained
    with pytest.raises(CapoBenchError, match=f"is no baseline: .*{message}"):
        make_baseline(_checkpoint(folder), SETUP, drops, minimums)


def test_a_baseline_keeps_its_minimums_and_the_gate_holds_to_them(trained, file, tmp_path):
    baseline = read_baseline(file).model_copy(update={"minimums": {"invalid_rate": 0.1}})
    write_baseline(tmp_path / "b.json", baseline)
    again = read_baseline(tmp_path / "b.json")
    assert again.minimums == {"invalid_rate": 0.1}
    result, _ = gate(_checkpoint(trained), again, "b")
    assert result.verdict == "pass"
    assert [(limit.limit, limit.candidate) for limit in result.limits] == [(0.1, 0.0)]


def test_noised_weights_are_caught(trained, file, tmp_path):
    worse = damaged(trained, tmp_path / "worse", noised)
    result, _ = gate(_checkpoint(worse), read_baseline(file), str(file))
    assert result.verdict == "regressed"
    assert verdicts(result)["invalid_rate"] == "regressed"


def test_incomparable_before_the_model_is_loaded(file, tmp_path):
    baseline = read_baseline(file)
    other = baseline.model_copy(update={"facts": {**baseline.facts, "prompt_hash": "0" * 16}})
    (tmp_path / "config.json").write_text("no model")
    result, side = gate(_checkpoint(tmp_path), other, "b")
    assert (result.verdict, side) == ("incomparable", None)
    assert result.mismatches[0].base == "0" * 16


def test_a_baseline_that_lacks_an_item_is_told_so_before_the_model_is_loaded(file, tmp_path):
    baseline = read_baseline(file)
    gone, *_ = baseline.runs[0].responses
    runs = [
        run.model_copy(update={"responses": {k: v for k, v in run.responses.items() if k != gone}})
        for run in baseline.runs
    ]
    fewer = baseline.model_copy(update={"runs": runs})
    (tmp_path / "config.json").write_text("no model")
    result, side = gate(_checkpoint(tmp_path), fewer, "fewer")
    assert (result.verdict, side) == ("incomparable", None)
    assert result.mismatches[0].what == f"items (only the second has item {gone})"


def test_a_baseline_is_read_as_written(file):
    baseline = read_baseline(file)
    write_baseline(file, baseline)
    assert read_baseline(file) == baseline
    text = file.read_text()
    assert "climbers" not in text  # no corpus text
    # One item a line.
    assert sum(line.startswith("   ") for line in text.splitlines() if "Ann1" in line) == 23


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "2"}, "format"),
        ({"extra": 1}, "extra"),
        ({"max_drops": {"label_accuracy": 0}}, "greater than 0"),
        ({"runs": []}, "runs"),
        ({"facts": {}}, "fingerprint"),
        ({"facts": {"fingerprint": "f", "prompt_hash\u200b": "x"}}, "facts have the unknown key"),
        ({"options": {"spilt": "train"}}, "options have the unknown key 'spilt'"),
        ({"runs": [{"seed": 0, "responses": {"i": {}}}]}, "runs.0.responses.i: .*at least 1"),
    ],
)
def test_a_wrong_baseline_is_one_line(file, tmp_path, change, message):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(CapoBenchError, match=f"wrong.json: .*{message}"):
        read_baseline(wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baseline", "none.json"], "none.json: cannot be read"),
        (["--baseline", "none.json", "--update-baseline"], "a new one needs --task"),
        (["--baseline", "{file}", "--runs", "2"], "--runs is the baseline's to say"),
        (["--baseline", "{file}", "--update-baseline", "--runs", "2"], "without sampling"),
        (["--baseline", "{file}", "--update-baseline", "--task", "none"], "no task 'none'"),
        (["--baseline", "{file}", "--update-baseline", "--mode", "quick"], "holds all items"),
        (["--baseline", "{file}", "--metadata", "[]"], "must be a JSON object"),
        (["--baseline", "{file}"], "holds neither config.json"),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_baseline(call, file, tmp_path, arguments, message):
    before = file.read_bytes()
    if "none" in arguments:
        (tmp_path / "config.json").write_text("{}")
    status, _, err = call("gate", tmp_path, *(a.format(file=file) for a in arguments))
    assert status == 2
    assert message in err.splitlines()[-1]
    assert file.read_bytes() == before


def test_an_adapter_names_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    expected = {"pretrained": "base", "peft": str(tmp_path)}
    assert Checkpoint(str(tmp_path)).model_arguments() == expected
    assert Checkpoint("org/name").model_arguments() == {"pretrained": "org/name"}
    with pytest.raises(CapoBenchError, match="is no folder"):
        Checkpoint("./nowhere").model_arguments()


def test_the_subset_is_stratified_and_always_the_same():
    corpus = load("mini-nli")
    items = corpus.split("train")
    chosen = stratified(corpus.task, items, 20)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 20
    turned = stratified(corpus.task, items[::-1], 20)
    assert {items[i].id for i in chosen} == {items[::-1][i].id for i in turned}
    assert stratified(corpus.task, items, 10**6) == list(range(len(items)))
    # Each stratum within one item of its share, counted here without the code under test.
    strata = Counter(map(_stratum, items))
    taken = Counter(_stratum(items[i]) for i in chosen)
    for key, size in strata.items():
        assert abs(taken[key] - 20 * size / len(items)) < 1


def _stratum(item):
    votes = [r.label for responses in item.cells.values() for r in responses]
    order = ["entailment", "neutral", "contradiction"]
    return min(order, key=lambda x: (-votes.count(x), order.index(x))), sum(
        len(responses) > 0 for responses in item.cells.values()
    )


# --- the plugin ----------------------------------------------------------------------------------


@pytest.fixture
def run(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def inner(*arguments):
        return pytester.runpytest_inprocess(
            "-p", "capo_bench.regression.plugin", *map(str, arguments)
        )

    return inner


def test_pyargs_runs_a_test_for_each_metric(run, trained, file):
    found = run(
        "--pyargs", "capo_bench.regression", "--capo-checkpoint", trained, "--capo-baseline", file,
        "--capo-model-args", f"max_length={SEEN + GENERATED}", "--capo-batch-size", "91",
        "--capo-model", "capo-hf", "--junitxml", "x.xml",
    )  # fmt: skip
    found.assert_outcomes(passed=3)
    names = {case.get("name") for case in ET.parse("x.xml").iter("testcase")}
    assert names == {f"test_checkpoint[{name}]" for name in DROPS}


_SUITE = """
from dataclasses import replace

import pytest
from capo_bench.regression.result import Judged, Result
from capo_bench.metrics.registry import METRICS

def named(name):
    return replace(METRICS[0], name=name)

@pytest.fixture(scope="session")
def capo_comparison():
    kinds = ["pass", "regressed", "inconclusive"]
    return Result("a", "b", tuple(Judged(named(k), 0.1, k, undefined="x") for k in kinds))

@pytest.mark.parametrize("name", ["pass", "regressed", "inconclusive", "other"])
def test_it(capo_check, name):
    capo_check(name)
"""


@pytest.mark.parametrize(
    ("reaction", "outcomes"),
    [
        ("fail", {"passed": 1, "failed": 3}),
        ("xfail", {"passed": 1, "failed": 2, "xfailed": 1}),
        ("skip", {"passed": 1, "failed": 2, "skipped": 1}),
    ],
)
def test_fixtures_react_to_verdicts(run, pytester, reaction, outcomes):
    pytester.makepyfile(_SUITE)
    found = run("--capo-inconclusive", reaction)
    found.assert_outcomes(**outcomes)
    found.stdout.fnmatch_lines(["*other is not gated by the baseline*"])


def test_without_a_checkpoint_it_skips_and_imports_nothing_heavy(pytester, monkeypatch):
    # Installed, the plugin loads by itself; asked for as well, it would be there twice.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        """
        import sys

        def test_light():
            assert not {"numpy", "torch", "lm_eval", "transformers", "pydantic"} & set(sys.modules)

        def test_it(capo_comparison):
            assert False
        """
    )
    pytester.plugins = []
    found = pytester.runpytest_subprocess("-p", "capo_bench.regression.plugin")
    found.assert_outcomes(passed=1, skipped=1)


def test_the_plugin_is_declared():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"capo-bench": "capo_bench.regression.plugin"}
