import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from capo_bench.errors import CapoBenchError
from capo_bench.harness import decoding
from capo_bench.harness.decoding import cannot_decode, decode, prefilled
from capo_bench.harness.model import SharedPrefixLM, settled
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


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_every_answer_is_that_of_its_prompt_alone(architecture, rows):
    model = tiny.model(architecture, torch.float64)
    prompts = [[4], [5, 6, 7, 8, 9], [5, 6, 7, 3, 4, 9], [5, 6], [9, 9, 2, 1, 7, 8, 3], [4, 5, 6]]

    def alone(prompt):
        told = []
        while len(told) < 7 and (not told or told[-1] % 5):
            told.append(model(torch.tensor([[*prompt, *told]])).logits[0, -1].argmax().item())
        return told

    found = dict(decode(model, prompts, rows=rows, limit=7, over=lambda told: told[-1] % 5 == 0))
    wanted = [alone(prompt) for prompt in prompts]
    assert [found[index] for index in range(len(prompts))] == wanted
    assert len({len(told) for told in wanted}) > 1


@pytest.mark.parametrize("more", [0, 100])
def test_answers_that_leave_no_room_for_a_prompt_are_refused(source, more):
    model = SharedPrefixLM(pretrained=str(source), dtype="float32", device="cpu", max_length=64)
    kwargs = {"until": ["\n"], "max_gen_toks": 64 + more, "do_sample": False}
    request = Instance("generate_until", {}, ("Annotator Ann1:\n", kwargs), 0)
    with pytest.raises(CapoBenchError, match="leaves no room for a prompt in the 64 tokens"):
        model.generate_until([request], disable_tqdm=True)


def test_a_row_that_is_over_makes_room(monkeypatch):
    model = tiny.model("llama", torch.float64)
    sizes = []
    step = decoding._step
    monkeypatch.setattr(
        decoding,
        "_step",
        lambda m, tokens, *rest: sizes.append(len(tokens)) or step(m, tokens, *rest),
    )
    prompts = [[8, 5], [3, 5], [3, 6], [3, 7], [8, 6]]
    over = lambda told: told[0] % 2 == 0 or len(told) == 4  # noqa: E731
    found = dict(decode(model, prompts, rows=2, limit=9, over=over))
    lengths = [len(told) for told in found.values()]
    assert set(lengths) == {1, 4}
    assert sum(sizes) == sum(lengths)  # no row is computed for nothing
    assert max(sizes) == 2


@pytest.mark.parametrize(
    ("text", "stops", "over"),
    [
        ("yes", ["\n\n"], False),
        ("yes\n\nMore", ["\n\n"], True),
        ("yes\n", ["\n\n"], False),
        ("one bc", ["bc", "e bcd"], False),  # "d" would move the cut before "e"
        ("one bcx", ["bc", "e bcd"], True),
        ("one bcd", ["bc", "e bcd"], True),
    ],
)
def test_an_answer_is_over_where_its_end_can_no_longer_move(text, stops, over):
    assert settled(text, stops) is over


def test_models_that_answer_by_other_rules_are_left_to_hf(source, caplog):
    model = SharedPrefixLM(pretrained=str(source), dtype="float32", device="cpu", batch_size=2)
    assert model._decodes
    other = SharedPrefixLM(pretrained=str(source), dtype="float32", device="cpu", batch_size=2)
    other.model.generation_config.repetition_penalty = 1.3
    assert not other._decodes
    assert "its generation settings have repetition_penalty" in caplog.text


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
    assert cannot_decode(model) == "its layers have windows or states"


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
def test_a_cache_that_answers_otherwise_is_not_used(architecture, monkeypatch):
    model = tiny.model(architecture, torch.float32)
    assert cannot_decode(model) is None
    step = decoding._step
    monkeypatch.setattr(
        decoding, "_step", lambda m, tokens, *rest: step(m, (tokens + 1) % tiny.VOCABULARY, *rest)
    )
    assert "of their spread" in cannot_decode(model)
