"""Sampled answers: the distribution that `hf` draws from, and draws that belong to the answer."""

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from scipy.stats import chisquare
from transformers import GenerationConfig

from capo_bench.harness import decoding, sampling
from capo_bench.harness.model import SharedPrefixLM

from . import tiny

PROMPTS = ["A man sleeps.\n\nAnn1:", "A man sleeps.\n\nAnn2:", "Two dogs run.\n\nAnn1:", "Short:"]
SAMPLED = {"do_sample": True, "temperature": 0.7}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(source):
    return loaded(SharedPrefixLM, source)


def loaded(kind, source):
    return kind(pretrained=str(source), dtype="float32", device="cpu", batch_size=2)


def answers(model, prompts=PROMPTS, seed=1, **settings):
    torch.manual_seed(seed)
    wanted = {"until": ["\n\n"], "max_gen_toks": 12, **(settings or SAMPLED)}
    requests = [
        Instance("generate_until", {}, (prompt, dict(wanted)), number)
        for number, prompt in enumerate(prompts)
    ]
    return model.generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize(
    ("asked", "of_model"),
    [
        ({}, {}),  # `generate` keeps the 50 likeliest of 259 tokens unless it is told
        ({"top_p": 0.8}, {}),
        ({"top_k": 5}, {}),
        ({"top_k": 0, "min_p": 0.7}, {}),
        ({"top_p": 0.9, "top_k": 20, "min_p": 0.9}, {}),
        ({}, {"top_p": 0.6, "temperature": 0.2}),
        ({"top_k": 0}, {"top_k": 3, "min_p": 0.7}),
        ({"top_p": 1.0}, {"top_p": 0.5, "top_k": 7}),
    ],
)
def test_tokens_are_drawn_from_the_distribution_of_hf(source, asked, of_model):
    theirs = loaded(HFLM, source)
    settings = theirs.model.generation_config
    settings.update(**of_model)
    seen = []
    generate = theirs.model.generate

    def recorded(**kwargs):
        found = generate(**kwargs, output_logits=True, output_scores=True,
                         return_dict_in_generate=True)  # fmt: skip
        seen.append((found.logits[0], found.scores[0]))
        return found.sequences

    theirs.model.generate = recorded
    answers(theirs, PROMPTS[:1], **SAMPLED, **asked)
    ((logits, scores),) = seen
    ours = sampling.warpers({**SAMPLED, **asked}, settings)(None, logits)
    assert 0 < torch.isfinite(ours).sum() < 259
    torch.testing.assert_close(ours.softmax(-1), scores.softmax(-1))


def nucleus(logits, temperature, top_p):
    """Probabilities by hand: the likeliest tokens that together reach `top_p`."""
    odds = np.exp((logits - logits.max()) / temperature)
    likely = odds / odds.sum()
    order = np.argsort(-likely)
    kept = order[: 1 + np.searchsorted(np.cumsum(likely[order]), top_p)]
    found = np.zeros_like(likely)
    found[kept] = likely[kept] / likely[kept].sum()
    return found


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 1.0), (1.5, 1.0), (1.2, 0.8)])
def test_frequencies_are_those_of_the_softmax(temperature, top_p):
    model = tiny.model("llama", torch.float64)
    torch.manual_seed(3)
    size, start = 3000, (5, 6, 7)
    asked = {"temperature": temperature, "top_p": top_p, "top_k": 0}
    choose = sampling.drawing(
        sampling.warpers(asked, GenerationConfig()), sampling.generators(["?"] * size)
    )
    found = decoding.decode(
        model, [start] * size, rows=1000, limit=2, over=lambda told: False, choose=choose
    )
    drawn = np.array([told for _, told in found])

    def likely(rows):
        with torch.no_grad():
            logits = model(torch.tensor(rows)).logits[:, -1].numpy()
        return np.stack([nucleus(row, temperature, top_p) for row in logits])

    first = likely([start])[0]
    second = first @ likely([(*start, token) for token in range(tiny.VOCABULARY)])
    for column, expected in zip(drawn.T, (first, second), strict=True):
        count = np.bincount(column, minlength=tiny.VOCABULARY)
        assert not count[expected == 0].any()
        rare = size * expected < 5
        seen = np.append(count[~rare], count[rare].sum())
        wanted = size * np.append(expected[~rare], expected[rare].sum())
        some = wanted > 0
        assert some.sum() > 5
        assert chisquare(seen[some], wanted[some]).pvalue > 0.01


def test_a_number_at_an_edge_takes_a_token_that_has_probability():
    class Numbers:
        def __init__(self, *numbers):
            self.numbers = iter(numbers)

        def random(self):
            return next(self.numbers)

    edges = Numbers(0.0, 0.751, np.nextafter(1, 0))
    logits = torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0]).log()  # probabilities 0, 1/4, 0, 3/4, 0
    choose = sampling.drawing(
        sampling.warpers({"temperature": 1.0, "top_k": 0}, GenerationConfig()), [edges]
    )
    assert [choose(logits[None], [0]).item() for _ in range(3)] == [3, 1, 1]  # the likelier first


def test_an_answer_does_not_hang_on_what_is_asked_beside_it(model, monkeypatch):
    alone = [answers(model, [prompt])[0] for prompt in PROMPTS]
    assert len(set(alone)) == len(alone)
    for rows in (1, 3, 64):
        monkeypatch.setattr(decoding, "rows_at_once", lambda *_, rows=rows: rows)
        assert answers(model) == alone
        assert answers(model, PROMPTS[::-1]) == alone[::-1]


def test_equal_prompts_and_other_seeds_have_other_answers(model):
    once = answers(model)
    twice = answers(model, [*PROMPTS, *PROMPTS])
    assert twice[: len(PROMPTS)] == once
    assert all(a != b for a, b in zip(once, twice[len(PROMPTS) :], strict=True))
    assert all(a != b for a, b in zip(once, answers(model, seed=2), strict=True))


@pytest.mark.parametrize("where", ["request", "model"])
def test_one_token_to_choose_from_is_the_greedy_answer(model, where):
    greedy = answers(model, do_sample=False)
    assert answers(model) != greedy
    model.model.generation_config.update(**({"top_k": 1} if where == "model" else {}))
    asked = {"top_k": 1} if where == "request" else {}
    assert answers(model, **SAMPLED, **asked) == greedy


def test_a_temperature_samples_unless_it_is_said_that_nothing_is_sampled(model):
    """As lm_eval reads it."""
    assert answers(model, temperature=0.7) == answers(model)
    assert answers(model, do_sample=False, temperature=0.7) == answers(model, do_sample=False)


def test_what_is_not_served_is_left_to_hf(model, source, caplog):
    theirs = loaded(HFLM, source)
    wanted = {"do_sample": False, "num_beams": 3}
    assert answers(model, **wanted) == answers(theirs, **wanted)
    assert "capo-hf decodes as hf does: num_beams is asked for" in caplog.text

    # The others of the same call are served all the same.
    torch.manual_seed(1)
    mixed = [
        Instance(
            "generate_until", {}, (prompt, {"until": ["\n\n"], "max_gen_toks": 12, **asked}), 0
        )
        for prompt in PROMPTS
        for asked in (wanted, SAMPLED)
    ]
    found = model.generate_until(mixed, disable_tqdm=True)
    assert found[::2] == answers(theirs, **wanted)
    assert found[1::2] == answers(model)

    with pytest.raises(ValueError, match="strictly positive"):  # as hf says
        answers(model, do_sample=True, temperature=0.0)
    assert "do_sample is asked for without a temperature" in caplog.text

    model.model.generation_config.typical_p = 0.5
    assert not model._serves(SAMPLED)
    assert model._serves({"do_sample": False})
    assert "the model's generation settings have typical_p" in caplog.text
