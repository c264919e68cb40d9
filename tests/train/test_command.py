import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from capo_bench.corpus.load import load
from capo_bench.corpus.model import Response
from capo_bench.corpus.readers import jsonl
from capo_bench.errors import CapoBenchError
from capo_bench.prompts.prompter import Prompter, prompt_hash
from capo_bench.train.card import READ_BY_TASKS, Card, render
from capo_bench.train.command import folder_name, main, run
from capo_bench.train.dataset import Encoder, Options, build
from capo_bench.train.packed_trainer import PackedTrainer

from . import tiny
from .corpora import corpus, crossed

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Seven training items and three to validate on."""
    file = tmp_path_factory.mktemp("corpus") / "toy.jsonl"
    made = crossed(10, 3)
    items = [
        replace(item, split="train" if place < 7 else "validation")
        for place, item in enumerate(made.items)
    ]
    jsonl.write(replace(made, items=tuple(items)), file)
    return file


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def options(source, toy, output, **kwargs):
    settings = {
        "model": source, "corpus": toy, "output": output, "use_cpu": True, "disable_tqdm": True,
        "logging_steps": 1, "learning_rate": 1e-3, **kwargs,
    }  # fmt: skip
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def history(output, key="loss"):
    state = json.loads((output / "trainer_state.json").read_text())
    return {entry["step"]: entry[key] for entry in state["log_history"] if key in entry}


def weights(output):
    return load_file(output / "model.safetensors")


def assert_same_weights(left, right, tolerance=0.0):
    for name, value in weights(left).items():
        torch.testing.assert_close(value, weights(right)[name], rtol=0, atol=tolerance)


def test_from_base_to_scores(source, tmp_path):
    """SFT, CAPO and generation on the bundled corpus; what lm-eval's `hf` model needs is there."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    sft, capo = tmp_path / "sft", tmp_path / "capo"
    short = {"max_steps": 3, "per_device_train_batch_size": 2, "save_strategy": "no"}
    run(["sft", *options(source, "mini-nli", sft, **short)])
    run(["capo", *options(sft, "mini-nli", capo, **short)])
    assert 0 < history(capo, "eval_rewards/accuracies")[3] < 1
    assert set(history(capo, "eval_rewards/margins/Ann1")) == {3}
    card = (capo / "README.md").read_text()
    assert f"capo-bench train capo --model {sft} --corpus mini-nli" in card
    assert "(synthetic)" in card
    assert not list(capo.glob("*.bin"))
    model = HFLM(pretrained=str(capo), device="cpu", batch_size=1)
    request = Instance("generate_until", {}, ("Annotator Ann1:\n", {"max_gen_toks": 4}), 0)
    (text,) = model.generate_until([request], disable_tqdm=True)
    assert isinstance(text, str)


def test_setting_and_items_are_told_on_the_card(source, toy, tmp_path, capsys):
    settings = {"max_steps": 1, "eval_strategy": "no", "save_strategy": "no"}
    seen = {}
    for setting, name in (("tag", "mini-nli"), ("zero-shot", "mini-nli"), ("profile", toy)):
        output = tmp_path / setting
        extra = {"setting": setting, "train_items": 5}
        run(["sft", *options(source, name, output, **settings, **extra)])
        seen[setting] = (output / "README.md").read_text()
    assert "5 of 7 training items" in capsys.readouterr().err
    assert "| training items | 5 of 7 |" in seen["profile"]
    assert "--tasks capo_mini_nli_tag\n" in seen["tag"]
    assert "--tasks capo_mini_nli\n" in seen["zero-shot"]
    metadata = json.dumps({"corpus": str(toy)})
    assert f"--tasks capo_corpus_profile --metadata '{metadata}'\n" in seen["profile"]
    mini = load("mini-nli")
    prompter = Prompter(mini, "zero-shot")
    prompts = [prompter(i, a) for i in mini.split("train") for a, given in i.cells.items() if given]
    assert f"| prompts | zero-shot, hash {prompt_hash(prompts)} |" in seen["zero-shot"]


@pytest.fixture
def labels_alone(tmp_path):
    """Two of three annotators agree on every item; nobody says why."""
    made = crossed(10, 3)
    items = [
        replace(
            item,
            cells={who: (replace(own[0], explanation=""),) for who, own in item.cells.items()},
            split="train" if place < 7 else "validation",
        )
        for place, item in enumerate(made.items)
    ]
    file = tmp_path / "labels.jsonl"
    jsonl.write(
        replace(made, task=replace(made.task, explanations="none"), items=tuple(items)), file
    )
    return file


def test_labels_alone_are_trained_on(source, labels_alone, tmp_path, capsys):
    """SFT learns the labels; CAPO sets them against those of annotators who differ."""
    short = {"max_steps": 2, "save_strategy": "no"}
    run(["sft", *options(source, labels_alone, tmp_path / "sft", **short)])
    assert "7 of 7 training items" in capsys.readouterr().err
    card = (tmp_path / "sft" / "README.md").read_text()
    assert "| left out | nothing |" in card
    run(["capo", *options(tmp_path / "sft", labels_alone, tmp_path / "capo", **short)])
    assert history(tmp_path / "capo")[1] == pytest.approx(0.6931, abs=1e-3)
    made = load(str(labels_alone))
    encode = Encoder(AutoTokenizer.from_pretrained(source))
    data = build(made, "train", Prompter(made, "tag"), encode, Options(rejected="all"))
    yes, no = encode.response("Label: yes"), encode.response("Label: no")
    for group in data.groups:
        for one in group.comparisons:
            (rejected,) = one.rejected
            said = {group.paths[one.chosen].response, group.paths[rejected].response}
            assert said == {yes, no}
    assert sum(len(group.comparisons) for group in data.groups) == 7 * 3


def test_labels_alone_on_which_everybody_agrees_leave_nothing_to_compare(
    source, labels_alone, tmp_path
):
    made = load(str(labels_alone))
    items = tuple(
        replace(item, cells=dict.fromkeys(item.cells, (Response("yes"),))) for item in made.items
    )
    agreed = tmp_path / "agreed.jsonl"
    jsonl.write(replace(made, items=items), agreed)
    with pytest.raises(
        CapoBenchError, match=r"nothing to train on \(21 own responses left out bec"
    ):
        run(["capo", *options(source, agreed, tmp_path / "capo", max_steps=1)])


def test_lora_adapter_goes_on_from_sft_to_capo(source, toy, tmp_path):
    sft, capo = tmp_path / "sft", tmp_path / "capo"
    short = {"max_steps": 2, "save_strategy": "no"}
    run(["sft", *options(source, toy, sft, lora_rank=4, **short)])
    with pytest.raises(CapoBenchError, match="has rank 4, not 8; leave --lora_rank out"):
        run(["capo", *options(sft, toy, capo, lora_rank=8, **short)])
    # As the ladder does: the same options for all that it trains.
    run(["capo", *options(sft, toy, capo, lora_rank=4, **short)])
    assert {p.name for p in capo.glob("*.safetensors")} == {"adapter_model.safetensors"}
    # The reference is the SFT adapter, not the base: CAPO starts at log 2.
    assert history(capo)[1] == pytest.approx(0.6931, abs=1e-3)
    first, second = (load_file(f / "adapter_model.safetensors") for f in (sft, capo))
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert f"pretrained={source},peft={capo}" in (capo / "README.md").read_text()


def test_a_card_shows_no_token(source, toy, tmp_path):
    secret = ["--hub_token=hf_SECRET", "--hub-token", "hf_SECRET"]
    run(["sft", *options(source, toy, tmp_path / "sft", max_steps=1, save_strategy="no"), *secret])
    card = (tmp_path / "sft" / "README.md").read_text()
    assert "SECRET" not in card
    assert "--hub_token=... --hub-token ..." in card


def test_per_annotator_and_yaml(source, toy, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(f"model: {source}\nlearning_rate: 1e-3\nmax_steps: 1\nper_annotator: true\n")
    output = tmp_path / "out"
    run(
        [
            "sft", "--config", str(file), "--corpus", str(toy), "--output", str(output),
            "--target", "A0", "A2", "--use_cpu", "true", "--save_strategy", "no",
        ]
    )  # fmt: skip
    assert sorted(p.name for p in output.iterdir()) == ["A0", "A2"]
    card = output / "A2" / "README.md"
    assert "| annotators | A2 |" in card.read_text()
    # Resuming does what is left: A2 has no checkpoint and starts again, A0 is done.
    card.unlink()
    done = (output / "A0" / "trainer_state.json").stat().st_mtime_ns
    run(
        [
            "sft", "--config", str(file), "--corpus", str(toy), "--output", str(output),
            "--target", "A0", "A2", "--use_cpu", "true", "--save_strategy", "no",
            "--resume_from_checkpoint", "true",
        ]
    )  # fmt: skip
    assert card.exists()
    assert (output / "A0" / "trainer_state.json").stat().st_mtime_ns == done


@pytest.fixture
def sparse(tmp_path):
    """A1 answers train alone, A2 validation alone, and of one train item nothing is known of A3."""
    made = crossed(10, 4)
    items = []
    for place, item in enumerate(made.items):
        split = "train" if place < 7 else "validation"
        cells = {a: r for a, r in item.cells.items() if a != ("A2" if place < 7 else "A1")}
        if place == 0:
            cells["A2"] = ()  # was asked, and could not decide
        items.append(replace(item, split=split, cells=cells))
    file = tmp_path / "sparse.jsonl"
    jsonl.write(replace(made, items=tuple(items)), file)
    return file


def test_who_was_not_trained_on_is_neither_validated_nor_asked_for(
    source, sparse, tmp_path, capsys
):
    short = {"max_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no"}
    run(["sft", *options(source, sparse, tmp_path / "o", setting="profile", **short)])
    assert (tmp_path / "o" / "model.safetensors").exists()
    (log,) = [
        entry
        for entry in json.loads((tmp_path / "o" / "trainer_state.json").read_text())["log_history"]
        if "eval_loss" in entry
    ]
    assert {name for name in log if name.startswith("eval_nll/")} == {
        "eval_nll/A0", "eval_nll/A3"
    }  # fmt: skip
    run(["sft", *options(source, sparse, tmp_path / "own", target="A1", **short)])
    assert "answered the validation split: no evaluation" in capsys.readouterr().err
    assert (tmp_path / "own" / "model.safetensors").exists()


def test_what_another_command_trained_is_not_taken_for_done(source, toy, tmp_path):
    short = {"max_steps": 1, "eval_strategy": "no", "save_strategy": "no", "per_annotator": True}
    command = options(source, toy, tmp_path / "o", target="A0", **short)
    run(["sft", *command])
    before = (tmp_path / "o" / "A0" / "README.md").read_bytes()
    run(["sft", *command, "--resume_from_checkpoint", "true"])
    assert (tmp_path / "o" / "A0" / "README.md").read_bytes() == before
    with pytest.raises(CapoBenchError, match="was trained by another command"):
        run(["capo", *command, "--resume_from_checkpoint", "true"])


def test_the_best_epoch_is_kept_unless_the_command_says_otherwise(source, toy, tmp_path):
    kept = {}
    for name, more in (
        ("default", {}),
        ("not", {"load_best_model_at_end": False}),
        ("of A0", {"metric_for_best_model": "nll/A0"}),
        ("best", {"save_strategy": "best"}),
    ):
        run(["sft", *options(source, toy, tmp_path / name, num_train_epochs=1, **more)])
        state = json.loads((tmp_path / name / "trainer_state.json").read_text())
        settings = (tmp_path / name / "README.md").read_text()
        kept[name] = state["best_model_checkpoint"] is not None, "nll/A0" in settings
    assert kept == {
        "default": (True, False), "not": (False, False), "of A0": (True, True),
        "best": (True, False),
    }  # fmt: skip


def test_no_annotator_leads_out_of_the_folder_or_into_anothers():
    assert [folder_name(name) for name in ("A0", "Zoë-1", "a.b")] == ["A0", "Zoë-1", "a.b"]
    odd = ["..", ".", "a/b", "a_b", "../a", "/a", "a\0", "a\n", "-a", "", "x" * 99, "x" * 100]
    made = [folder_name(name) for name in odd]
    assert len({*made}) == len(odd)
    for name in made:
        assert re.fullmatch(r"\w[\w.-]{0,79}", name)


def test_nothing_on_a_card_forges_a_line_of_it():
    evil = "x\nlicense: mit\n| a | b |\n```\n<script>"
    card = Card(
        method="sft", base=evil, output="out", adapter=True, annotators=(evil,), facts={"c": evil},
        settings={"c": evil}, command=evil, chat=False, template_arguments={}, setting="tag",
        corpus=evil, reading={},
    )  # fmt: skip
    text = render(card)
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "peft", "base_model": evil, "tags": ["capo-bench", "sft"]
    }  # fmt: skip
    assert not re.search(r"^(license|\| a|<script)", body, re.MULTILINE)
    assert len(re.findall("^```", body, re.MULTILINE)) == 6


def test_a_cards_command_can_be_run_as_it_stands():
    def command(output, corpus, **reading):
        read = {"data": None, "splits": "capo", "valid_only": False, "min_responses": 0}
        card = Card(
            method="sft", base="b", output=output, adapter=False, annotators=("A",), facts={},
            settings={}, command="c", chat=False, template_arguments={}, setting="tag",
            corpus=corpus, reading={**read, "min_annotators": 0, **reading},
        )  # fmt: skip
        text = render(card).partition("lm_eval ")[2].partition("\n```")[0]
        return shlex.split(text.replace("\\\n", " "))

    assert command("out/m", "nli")[3] == "pretrained=out/m"
    assert json.loads(command("my runs/a,b", "nli")[3]) == {"pretrained": "my runs/a,b"}
    assert "--metadata" not in command("m", "nli")
    assert "--metadata" not in command("m", "convincing", min_responses=40)
    assert json.loads(command("m", "convincing")[-1]) == {"min_responses": 0}
    files = (ROOT / "tasks").glob("*/*.yaml")
    asked = {re.search(r"corpus: (.*)", t)[1]: int(found[1]) for t in map(Path.read_text, files)
             if (found := re.search(r"min_responses: (\d+)", t))}  # fmt: skip
    assert {name: {"min_responses": n} for name, n in asked.items()} == READ_BY_TASKS


_KILLED = """
import os, signal, sys
from capo_bench.train.command import run
from capo_bench.train.packed_trainer import PackedTrainer
stock = PackedTrainer.training_step
def step(self, *args, **kwargs):
    if self.state.global_step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return stock(self, *args, **kwargs)
PackedTrainer.training_step = step
run(sys.argv[1:])
"""


def test_killed_and_resumed_run_is_the_uninterrupted_one(source, toy, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {
        "per_device_train_batch_size": 2, "num_train_epochs": 3, "eval_strategy": "no",
        "save_strategy": "steps", "save_steps": 2, "gradient_accumulation_steps": 1,
    }  # fmt: skip
    run(["capo", *options(source, toy, whole, **settings)])
    command = ["capo", *options(source, toy, broken, **settings)]
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, *command], cwd=ROOT, capture_output=True, check=False
    )
    assert killed.returncode == -9
    # As if the kill had come while a checkpoint was written.
    (broken / "checkpoint-7").mkdir()
    (broken / "checkpoint-7" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(CapoBenchError, match="holds the checkpoints of a run"):
        run(command)
    run([*command, "--resume_from_checkpoint", "true"])
    assert history(broken) == pytest.approx(history(whole), abs=1e-4)
    assert len(history(whole)) == 12
    assert_same_weights(whole, broken, 1e-6)


def test_resume_from_other_data_is_refused(source, toy, tmp_path):
    output = tmp_path / "out"
    settings = {"max_steps": 1, "eval_strategy": "no", "warmup_steps": 0}
    run(["sft", *options(source, toy, output, **settings)])
    again = {**settings, "resume_from_checkpoint": "true", "target": "A0"}
    with pytest.raises(CapoBenchError, match=r"was trained with data .*, this run has"):
        run(["sft", *options(source, toy, output, **again)])
    again = {**settings, "resume_from_checkpoint": "true"}
    with pytest.raises(CapoBenchError, match="was trained with method sft, this run has capo"):
        run(["capo", *options(source, toy, output, **again)])
    capo = tmp_path / "capo"
    run(["capo", *options(source, toy, capo, **settings)])
    for changed in ({"beta": 0.2}, {"model": output}):
        with pytest.raises(CapoBenchError, match=r"was trained with (objective|reference)"):
            run(
                [
                    "capo",
                    *options(**{"source": source, "toy": toy, "output": capo, **again, **changed}),
                ]
            )
    with pytest.raises(CapoBenchError, match="no whole checkpoint"):
        run(["sft", *options(source, toy, tmp_path / "new", **again)])


def test_two_processes_give_the_gradient_of_one(source, tmp_path):
    """Two of three groups, all of other sizes, in one step of plain SGD; three to evaluate."""
    large = crossed(6, 5)
    items = [
        *(
            replace(crossed(3, size).items[place], split="train")
            for place, size in enumerate((2, 3, 5))
        ),
        *(replace(item, split="validation") for item in large.items[3:]),
    ]
    file = tmp_path / "uneven.jsonl"
    jsonl.write(replace(large, items=tuple(items)), file)
    settings = {
        "max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0,
        "warmup_steps": 0, "save_strategy": "no", "anchor": 1.0, "eval_strategy": "steps",
        "eval_steps": 1, "per_device_eval_batch_size": 1,
    }  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    settings["per_device_train_batch_size"] = 1
    run(["capo", *options(source, file, one, gradient_accumulation_steps=2, **settings)])
    command = ["capo", *options(source, file, two, **settings)]
    done = subprocess.run(
        [
            sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu",
            "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
            "--dynamo_backend", "no", "-m", "capo_bench.train", *command,
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert not torch.equal(weights(one)["model.norm.weight"], weights(source)["model.norm.weight"])
    assert_same_weights(one, two, 1e-6)
    for key in ("loss", "eval_loss", "eval_rewards/margins/A4", "rewards/margins"):
        assert history(two, key) == pytest.approx(history(one, key), abs=1e-5)


def test_two_processes_with_sharded_weights_give_the_gradient_of_one(source, toy, tmp_path):
    """FSDP 2, as the package configures it, over gloo on the CPU."""
    settings = {
        "max_steps": 2, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0,
        "warmup_steps": 0, "save_strategy": "no", "eval_strategy": "no",
        "per_device_train_batch_size": 1,
    }  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    run(["capo", *options(source, toy, one, gradient_accumulation_steps=2, **settings)])
    done = subprocess.run(
        [
            sys.executable, "-m", "accelerate.commands.launch",
            "--config_file", "capo_bench/train/accelerate/fsdp2.yaml",
            "--num_processes", "2", "--mixed_precision", "no",
            "tests/train/fsdp_on_cpu.py", "capo", *options(source, toy, two, **settings),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert not torch.equal(weights(one)["model.norm.weight"], weights(source)["model.norm.weight"])
    assert_same_weights(one, two, 1e-6)


def test_interrupt(source, toy, tmp_path, monkeypatch):
    def interrupted(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(PackedTrainer, "training_step", interrupted)
    with pytest.raises(CapoBenchError, match=r"interrupted after step 0; last good .* none; go on"):
        run(["sft", *options(source, toy, tmp_path / "out")])


def test_full_disk_leaves_the_last_good_checkpoint(source, toy, tmp_path, monkeypatch):
    output = tmp_path / "out"
    stock = PackedTrainer._save_optimizer_and_scheduler

    def full(self, folder):
        if self.state.global_step == 2:
            raise RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0")
        stock(self, folder)

    monkeypatch.setattr(PackedTrainer, "_save_optimizer_and_scheduler", full)
    settings = {"max_steps": 3, "eval_strategy": "no", "save_strategy": "steps", "save_steps": 1}
    command = ["sft", *options(source, toy, output, **settings)]
    with pytest.raises(
        CapoBenchError, match=r"checkpoint-2 cannot be written .*checkpoint-1; free"
    ):
        run(command)
    assert [p.name for p in output.glob("checkpoint-*")] == ["checkpoint-1"]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run([*command, "--resume_from_checkpoint", "true"])
    assert set(history(output)) == {1, 2, 3}


def test_gguf_is_converted_once(source, tmp_path, monkeypatch):
    """What is checked here is the cache; reading the format is transformers' part."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from capo_bench.train import models

    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF")
    read = []
    load_model, load_tokenizer = (c.from_pretrained for c in (AutoModelForCausalLM, AutoTokenizer))

    def opened(load):
        def wrapped(name, gguf_file=None, **kwargs):
            if gguf_file:
                read.append(gguf_file)
                model = load(source)
                model.is_quantized = True
                return model
            return load(name, **kwargs)

        return wrapped

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", opened(load_model))
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", opened(load_tokenizer))
    for _ in range(2):
        model, tokenizer = models.load_model(str(file), dtype="float32", attention=None)
    assert read == ["tiny.gguf"] * 2  # model and tokenizer, once
    assert Encoder(tokenizer).context("a") == Encoder(tiny.tokenizer()).context("a")
    assert model.dtype == torch.float32


BAD = {
    "no such model": ({"model": "/nowhere/model"}, "the model /nowhere/model cannot be loaded"),
    "no such gguf": ({"model": "/nowhere/m.gguf"}, "/nowhere/m.gguf does not exist"),
    "unknown corpus": ({"corpus": "nlli"}, "unknown corpus 'nlli'"),
    "unknown annotator": ({"target": "Bob"}, "no annotator 'Bob'; it has A0, A1, A2"),
    "unknown option": ({"betta": 1}, "--betta"),
    "unknown layers": ({"lora_rank": 2, "lora_targets": "nolayer"}, "LoRA cannot be applied"),
    "bad yaml": ({"config": "/nowhere.yaml"}, "/nowhere.yaml: cannot be read"),
    "output is a file": ({"output": "/dev/null"}, "/dev/null: cannot be written"),
    "bad value": ({"max_length": "many"}, "max_length.*: invalid int value: 'many'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(source, toy, tmp_path, capsys, name):
    changed, message = BAD[name]
    settings = {"model": source, "corpus": toy, "output": tmp_path / "out", **changed}
    assert main(["sft", *options(**{"source": source, "toy": toy, **settings})]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("capo-bench: ")
    assert re.search(message, error)


def test_no_tokenizer_and_no_explanations(source, toy, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((source / name).read_bytes())
    with pytest.raises(CapoBenchError, match="no tokenizer can be loaded from"):
        run(["sft", *options(bare, toy, tmp_path / "a")])
    mute = tmp_path / "mute.jsonl"
    jsonl.write(corpus({"i": {"A": [("yes", "")], "B": [("no", "")]}}), mute)
    with pytest.raises(CapoBenchError, match="item i, annotator A: no explanation"):
        run(["sft", *options(source, mute, tmp_path / "b")])
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (broken / name).write_bytes((source / name).read_bytes())
    save_file({"x": torch.zeros(1)}, broken / "unrelated.safetensors")
    with pytest.raises(CapoBenchError, match=r"the model .*broken cannot be loaded"):
        run(["sft", *options(broken, toy, tmp_path / "c")])


def test_two_trainings_do_not_share_a_folder(source, toy, tmp_path):
    holds = (
        "import sys, time, pathlib\n"
        "from capo_bench.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('ready', flush=True); time.sleep(60)\n"
    )
    arguments = [sys.executable, "-c", holds, str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(CapoBenchError, match="is being written by another process"):
            run(["sft", *options(source, toy, tmp_path / "out", max_steps=1)])
        other.kill()


@pytest.mark.parametrize(("name", "kind"), [("fsdp2", "FSDP"), ("zero2", "DEEPSPEED")])
def test_configurations_for_accelerate_can_be_read(name, kind):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / f"capo_bench/train/accelerate/{name}.yaml"))
    assert config.distributed_type == kind
    assert config.mixed_precision == "bf16"
