"""The gate with a tiny trained model: it passes itself, and catches damage and a tag ignored."""

import json
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from train import tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from capo_bench.corpus.load import load
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.cells import evaluated_cells
from capo_bench.prompts import CUE, Prompter
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
STEPS = 200
SETUP = Setup("capo_mini_nli_tag", {}, {"max_gen_toks": GENERATED})


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
    print(loss)
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


def test_probe(trained, file):
    base = read_baseline(file)
    print(Counter(p.response for p in base.runs[0].predictions).most_common(8))
    result, side = gate(_checkpoint(trained), base, "b")
    print(result.verdict, [(j.metric.name, j.base, j.candidate, j.verdict) for j in result.metrics])
