import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from capo_bench.harness.model import SharedPrefixLM, prefilled
from capo_bench.train import kernel

from . import tiny

PROMPTS = [
    f"{item}\n\nAnnotator {annotator}:"
    for item in ("A man sleeps. He is awake.", "Two dogs run on a beach at noon.")
    for annotator in ("Ann1", "Ann2", "Ann13", "Ann4")
] + ["Short:"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("tiny"))


def answers(kind, source, batch):
    model = kind(pretrained=str(source), dtype="float32", device="cpu", batch_size=batch)
    wanted = {"until": ["\n\n"], "max_gen_toks": 12, "temperature": 0.0, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (prompt, dict(wanted)), number)
        for number, prompt in enumerate(PROMPTS)
    ]
    return model.generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize("batch", [1, 4, 9])
def test_answers_are_those_of_hf(source, batch):
    theirs = answers(HFLM, source, batch)
    assert len(set(theirs)) > 3
    assert answers(SharedPrefixLM, source, batch) == theirs


def test_answers_with_faster_products_are_those_of_hf(source, monkeypatch):
    monkeypatch.setattr(kernel, "speedup", lambda layers, rows: 2.0)
    assert answers(SharedPrefixLM, source, 4) == answers(HFLM, source, 4)


@pytest.mark.parametrize("batch", [1, 3, 9])
@pytest.mark.parametrize("continuations", [(" A", " B", " C"), (" A", " dogs run quickly")])
def test_log_likelihoods_are_those_of_hf(source, batch, continuations):
    theirs, ours = (
        kind(pretrained=str(source), dtype="float32", device="cpu", batch_size=batch)
        for kind in (HFLM, SharedPrefixLM)
    )
    asked = [
        (None, *theirs._encode_pair(prompt, text))
        for prompt in PROMPTS[:4]
        for text in continuations
    ]
    _, context, _ = asked[0]
    greedy = theirs._model_call(torch.tensor([context]))[0, -1].argmax().item()
    asked.append((None, context, [greedy]))
    expected = theirs._loglikelihood_tokens(asked, disable_tqdm=True)
    found = ours._loglikelihood_tokens(asked, disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx(
        [value for value, _ in expected], abs=1e-3
    )
    assert [exact for _, exact in found] == [exact for _, exact in expected]
    assert found[-1][1] is True


def test_logits_are_had_of_the_scored_positions_alone(source):
    model = SharedPrefixLM(pretrained=str(source), dtype="float32", device="cpu", batch_size=8)
    shapes = []
    head = model.model.get_output_embeddings()
    head.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape[:-1]))
    asked = [(prompt, letter) for prompt in PROMPTS[:4] for letter in (" A", " B")]
    encoded = [model._encode_pair(*pair) for pair in asked]
    requests = [(None, context, wanted[-1:]) for (context, wanted) in encoded]
    model._loglikelihood_tokens(requests, disable_tqdm=True)
    assert shapes == [(4,)]  # a position a prompt, whatever its length and the letters


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
def test_the_cache_is_that_of_each_prompt_alone(architecture):
    model = tiny.model(architecture, torch.float32)
    rows = [[5, 6, 7, 8, 9], [5, 6, 7, 3, 4, 9], [4, 6, 9]]
    length = max(map(len, rows))
    context = torch.tensor([[0] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    cache = prefilled(model, context, mask)
    for number, row in enumerate(rows):
        alone = model(input_ids=torch.tensor([row[:-1]]), use_cache=True)
        past = getattr(alone, "cache", None) or alone.past_key_values
        for ours, theirs in zip(cache.layers, past.layers, strict=True):
            for name in ("keys", "values"):
                got = getattr(ours, name)[number, :, length - len(row) :]
                torch.testing.assert_close(got, getattr(theirs, name)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["gemma3", "mistral"])
def test_models_with_windows_are_left_to_hf(architecture):
    model = tiny.model(architecture, torch.float32)
    assert prefilled(model, torch.ones(2, 9, dtype=torch.long), torch.ones(2, 9)) is None
