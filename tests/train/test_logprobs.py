import pytest
import torch

from capo_bench.train import kernel
from capo_bench.train.logprobs import response_logprobs, scores_in_chunks
from capo_bench.train.packing import pack

from . import tiny

ROW = 4 * tiny.VOCABULARY  # bytes of a row of logits


def outcome(model, most):
    groups = [tiny.group(1), tiny.group(2)]
    model.zero_grad()
    values = response_logprobs(model, model.config, pack(groups, "trie"), most)
    (values * torch.linspace(-1, 1, len(values))).sum().backward()
    return values.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 10_000])
@pytest.mark.parametrize("bias", [False, True])
def test_a_head_in_chunks_gives_the_same_scores_and_gradients(rows, bias, fast):
    model = tiny.model(dtype=torch.float32)
    if bias:
        model.lm_head.bias = torch.nn.Parameter(torch.randn(tiny.VOCABULARY))
    wanted = outcome(model, None)
    if fast:
        model.lm_head.__class__ = kernel.OneDnnLinear
    ours = outcome(model, rows * ROW)
    torch.testing.assert_close(ours[0], wanted[0], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(ours[1], wanted[1], rtol=1e-3, atol=1e-4)
    assert "forward" not in vars(model.lm_head)


def test_logits_are_never_whole(monkeypatch):
    sizes = []
    multiply = torch.mm

    def watched(x, weight, out):
        assert out.shape == (len(x), tiny.VOCABULARY)
        sizes.append(len(x))
        return multiply(x, weight, out=out)

    monkeypatch.setattr(torch, "mm", watched)
    model = tiny.model(dtype=torch.float32)
    packed = pack([tiny.group(1)], "trie")
    response_logprobs(model, model.config, packed, 5 * ROW)
    assert max(sizes) == 5
    assert sum(sizes) == int(packed.keep.sum())


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_models_that_change_their_logits_are_left_alone(architecture):
    model = tiny.model(architecture)
    assert scores_in_chunks(model) == (architecture != "gemma2")
