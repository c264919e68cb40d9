import pytest
import torch
from torch import nn

from capo_bench.train import kernel
from capo_bench.train.layouts import choose
from capo_bench.train.logprobs import response_logprobs
from capo_bench.train.models import join_tied_gradients
from capo_bench.train.packing import pack

from . import tiny


@pytest.fixture
def _wins(monkeypatch):
    monkeypatch.setattr(kernel, "speedup", lambda layers, rows: 1.2)


@pytest.mark.parametrize("bias", [True, False])
def test_products_and_gradients_are_those_of_a_linear_layer(bias):
    torch.manual_seed(0)
    layer = nn.Linear(5, 7, bias=bias)
    x = torch.randn(2, 3, 5, requires_grad=True)
    coefficients = torch.randn(2, 3, 7)

    def outcome():
        layer.zero_grad()
        x.grad = None
        y = layer(x)
        (y * coefficients).sum().backward()
        return [y.detach(), x.grad, *(p.grad for p in layer.parameters())]

    wanted = outcome()
    layer.__class__ = kernel.OneDnnLinear
    for ours, theirs in zip(outcome(), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("_wins")
def test_faster_products_are_used_where_they_win():
    model = tiny.model(dtype=torch.float32)
    assert choose(model, model.config, [tiny.group(1)], "auto") == "trie"
    assert {type(m) for m in model.modules() if isinstance(m, nn.Linear)} == {kernel.OneDnnLinear}
    assert kernel.row_multiple(model) == 32
    with kernel.stock_products(model):
        assert kernel.row_multiple(model) == 1


def test_slower_products_are_not_used(monkeypatch):
    monkeypatch.setattr(kernel, "speedup", lambda layers, rows: 1.05)
    model = tiny.model(dtype=torch.float32)
    assert not kernel.use_faster_products(model, 50)
    assert kernel.row_multiple(model) == 1


@pytest.mark.usefixtures("_wins")
def test_products_that_differ_are_not_used(monkeypatch, caplog):
    product = kernel.product
    monkeypatch.setattr(kernel, "product", lambda *args: product(*args) * 1.001)
    model = tiny.model(dtype=torch.float32)
    assert choose(model, model.config, [tiny.group(1)], "auto") == "trie"
    assert kernel.row_multiple(model) == 1
    assert "oneDNN's products are faster, but off by" in caplog.text


def test_a_trial_names_a_finite_ratio():
    layers = [nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(8, 300)]
    assert 0 < kernel.speedup(layers, 20) < 1000


def test_rows_are_padded_to_a_multiple():
    paths = tiny.group(1)
    assert pack([paths], "trie").input_ids.shape[1] % 32 != 0
    padded = pack([paths], "trie", multiple=32)
    assert padded.input_ids.shape[1] % 32 == 0
    model = tiny.model()
    ours = response_logprobs(model, model.config, padded)
    theirs = response_logprobs(model, model.config, pack([paths], "trie"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_tied_gradients_are_joined():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, tie_word_embeddings=True,
        )
    )  # fmt: skip

    def gradient():
        model.zero_grad()
        response_logprobs(model, model.config, pack([tiny.group(1)], "trie")).sum().backward()
        return model.get_input_embeddings().weight.grad

    wanted = gradient()
    join_tied_gradients(model)
    ours = gradient()
    assert ours.layout == torch.strided
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)


def test_rows_are_padded_where_onednn_multiplies_in_half_precision():
    assert kernel.row_multiple(tiny.model(dtype=torch.float32), bf16=True) == 32
    assert kernel.row_multiple(tiny.model(dtype=torch.bfloat16)) == 32


@pytest.mark.parametrize(
    ("architecture", "avx512_bw", "expected"),
    [("x86_64", False, True), ("x86_64", True, False), ("arm64", None, False)],
)
def test_bfloat16_without_instructions_is_known(monkeypatch, architecture, avx512_bw, expected):
    found = {"architecture": architecture, "avx512_bw": avx512_bw}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert not kernel.emulates_bf16(tiny.model(dtype=torch.float32))
    assert kernel.emulates_bf16(tiny.model(dtype=torch.float32), bf16=True) == expected
    assert kernel.emulates_bf16(tiny.model(dtype=torch.bfloat16)) == expected
