"""Plans: weights as the models really have them, and a stage's cost worked out by hand."""

import json

import pytest
from transformers import AutoModelForCausalLM

from capo_bench.corpus.model import Annotator, Corpus, Item, Response
from capo_bench.corpus.tasks import NLI
from capo_bench.errors import CapoBenchError
from capo_bench.experiments.plan import Device, Shape, plan, read_device, read_shape, whole
from capo_bench.experiments.runs import PRESETS, Preset, Run
from capo_bench.prompts.prompter import Prompter
from capo_bench.prompts.responses import render_target
from tests.train import tiny


@pytest.mark.parametrize(
    ("model", "billions"),
    # As the models' cards have them; norms, which plans leave out, are some 100,000.
    [("Qwen3-4B", 4.022), ("meta-llama/Llama-3.2-3B-Instruct", 3.213), ("SmolLM2-135M", 0.1345)],
)
def test_weights_are_those_of_the_models_cards(model, billions):
    assert read_shape(model).weights / 1e9 == pytest.approx(billions, rel=1e-3)


@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_weights_of_a_configuration_are_those_of_the_model(architecture, tmp_path):
    folder = tiny.folder(tmp_path, architecture)
    model = AutoModelForCausalLM.from_pretrained(folder)
    matrices = [p.numel() for p in model.parameters() if p.dim() == 2]
    assert read_shape(str(folder)).weights == sum(matrices)


SHAPE = {
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 4,
    "vocab_size": 10,
}


def test_what_nothing_is_known_of_is_named(tmp_path):
    with pytest.raises(CapoBenchError, match="nothing is known of the model org/none"):
        read_shape("org/none")
    (tmp_path / "config.json").write_text('{"n_embd": 8}')
    with pytest.raises(CapoBenchError, match="num_attention_heads"):
        read_shape(str(tmp_path))
    for key, value in {"num_attention_heads": 0, "hidden_size": 1e300, "vocab_size": True}.items():
        (tmp_path / "config.json").write_text(json.dumps({**SHAPE, key: value}))
        with pytest.raises(CapoBenchError, match=r"config\.json: .* counts nothing"):
            read_shape(str(tmp_path))
    with pytest.raises(CapoBenchError, match="unknown device tpu"):
        read_device("tpu")


def test_a_stage_by_hand():
    text = {"context": "a" * 30, "statement": "b"}
    cells = {name: (Response("neutral", "x" * 7),) for name in ("Ann1", "Ann2")}
    items = tuple(
        Item(f"{split}-{n}", {**text, "statement": str(n)}, cells, split=split)
        for split, count in (("train", 3), ("test", 1))
        for n in range(count)
    )
    corpus = Corpus("hand", NLI, (Annotator("Ann1"), Annotator("Ann2")), items)
    prompt = len(Prompter(corpus, "tag")(items[0], "Ann1"))
    response = len(render_target(("neutral",), "x" * 7))
    # The prompts part at the annotator's number, three characters before their end: "1:\n".
    read = (prompt - 3 + 2 * 3) / 4
    own, all_four = 2 * response / 4, 4 * response / 4

    shape = Shape(1, 4, 2, 1, 2, 8, 10, True)
    body = 4 * (2 * 2 * (2 + 1) + 3 * 8)  # query and output 2 x 2 wide, key and value 2 x 1
    assert (shape.body, shape.head, shape.weights) == (body, 40, body + 40)
    device = Device(training=10, prefill=5, bandwidth=20, memory=1, price=0, start=7, source="")
    options = {"per_device_train_batch_size": 2, "num_train_epochs": 2}
    preset = Preset(options, {}, {}, "hf", {}, {"batch_size": 64, "gen_kwargs": "max_gen_toks=5"})
    runs = (Run("sft", "sft", "tag", train=options), Run("capo", "capo", "tag", train=options))
    sft, asked, capo, _ = plan(shape, corpus, preset, runs, device)

    assert sft.tokens == pytest.approx(6 * (read + own))
    once = body * (read + own) + 40 * own
    assert sft.seconds == pytest.approx(7 + 6 * 6 * once / 10)
    assert sft.memory == pytest.approx(
        16 * shape.weights + 2 * (read + own) * 4 * 34 + 2 * own * 10 * 10
    )
    once = body * (read + all_four) + 40 * all_four
    assert capo.seconds == pytest.approx(7 + 6 * 6 * once / 10 + 3 * 2 * once / 5)
    # Two prompts in one batch of 64 slots; five tokens, each reading or computing with all weights.
    prompts = 2 * prompt / 4
    written = 5 * max(4 * shape.weights / 20, 2 * 64 * shape.weights / 5)
    expected = 7 + 2 * (body * prompts + 40 * 2) / 5 + written
    assert asked.seconds == pytest.approx(expected)
    assert whole([sft, capo]).memory == max(sft.memory, capo.memory)


def test_every_preset_can_be_planned_and_the_command_prints_it(call):
    for preset in PRESETS:
        arguments = ("--model", "Qwen3-4B", "--corpus", "mini-nli", "--preset", preset)
        status, out, err = call("ladder", "--plan", *arguments)
        assert status == 0, err
        assert "train capo-0" in out
