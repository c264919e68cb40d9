import itertools

import pytest
import torch

from capo_bench.train import attention
from capo_bench.train.logprobs import response_logprobs
from capo_bench.train.packing import Path, build, nodes, pack, visible

from . import tiny

LAYOUTS = ("trie", "target", "plain")


@pytest.fixture(autouse=True)
def _float64_throughout(monkeypatch):
    """transformers rounds to float32 inside (norms, eager softmax), whatever the model's type."""
    softmax, to_float, to = torch.nn.functional.softmax, torch.Tensor.float, torch.Tensor.to

    def wide_softmax(x, dim=None, dtype=None, **kwargs):
        return softmax(x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "softmax", wide_softmax)

    def wide_to(x, *args, **kwargs):
        wide = x.dtype == torch.float64 and args[:1] == (torch.float32,)
        return x if wide else to(x, *args, **kwargs)

    monkeypatch.setattr(
        torch.Tensor, "float", lambda x: x if x.dtype == torch.float64 else to_float(x)
    )
    monkeypatch.setattr(torch.Tensor, "to", wide_to)


def test_trie_by_hand():
    #   1 2 +- 3 | 5 6      contexts [1 2 3] and [1 2 4]
    #       +- 4 | 5 7 8
    paths = [Path((1, 2, 4), (5, 7, 8)), Path((1, 2, 3), (5, 6))]
    trie = build(paths)
    assert trie.tokens == [1, 2, 3, 5, 4, 5, 7]
    assert trie.positions == [0, 1, 2, 3, 2, 3, 4]
    assert trie.ends == [7, 7, 4, 4, 7, 7, 7]
    assert trie.branches == [2, 4]
    scored = [[trie.edges[edge] for edge in path] for path in trie.scored]
    assert scored == [[(4, 5), (5, 7), (6, 8)], [(2, 5), (3, 6)]]


def test_responses_of_one_context_score_a_shared_beginning_once():
    trie = build([Path((1,), (2, 3)), Path((1,), (2, 4))])
    assert trie.tokens == [1, 2]
    assert trie.edges == [(0, 2), (1, 3), (1, 4)]
    assert trie.scored == [[0, 1], [0, 2]]


@pytest.mark.parametrize("seed", range(4))
def test_nodes_are_those_of_the_trie(seed):
    paths = tiny.group(seed)
    assert nodes(paths) == len(build(paths).tokens)
    assert nodes([*paths, paths[0]]) == nodes(paths)


def test_mask_sees_exactly_the_own_path():
    paths = tiny.group(1)
    packed = pack([paths, tiny.group(2, annotators=2)], "trie")
    mask = visible(packed)[0, 0]
    trie = build(paths)
    parent: list[int] = []
    for node, depth in enumerate(trie.positions):
        parent.append(max((k for k in range(node) if trie.positions[k] == depth - 1), default=-1))
    for query in range(len(trie.tokens)):
        ancestors = {query}
        while parent[min(ancestors)] >= 0:
            ancestors.add(parent[min(ancestors)])
        assert set(mask[query].nonzero().flatten().tolist()) == ancestors


def _logprobs(model, groups, layout):
    return response_logprobs(model, model.config, pack(groups, layout))


def _by_hand(model, path):
    """One sequence, the model's own forward, log_softmax: nothing of ours."""
    ids = torch.tensor([path.context + path.response])
    logits = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    first = len(path.context) - 1
    return sum(logits[first + t, token] for t, token in enumerate(path.response))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_all_forms_agree_with_the_plain_model(architecture, dtype, tolerance):
    model = tiny.model(architecture, dtype)
    groups = [tiny.group(1), tiny.group(2, annotators=4, shared=20)]
    with torch.no_grad():
        expected = torch.stack([_by_hand(model, path) for path in itertools.chain(*groups)])
        for layout in LAYOUTS:
            assert _logprobs(model, groups, layout).sub(expected).abs().max() < tolerance
        if model.config._attn_implementation == "sdpa":
            model.set_attn_implementation(attention.NAME)
            assert _logprobs(model, groups, "trie").sub(expected).abs().max() < tolerance


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_gradients_agree(architecture):
    model = tiny.model(architecture)
    groups = [tiny.group(3), tiny.group(4, annotators=2)]
    coefficients = torch.linspace(-1, 2, sum(map(len, groups)), dtype=torch.float64)

    def gradients(layout):
        model.zero_grad()
        (coefficients * _logprobs(model, groups, layout)).sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    expected = sum(
        c * _by_hand(model, path)
        for c, path in zip(coefficients, itertools.chain(*groups), strict=True)
    )
    model.zero_grad()
    expected.backward()
    wanted = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    for layout in LAYOUTS:
        for ours, theirs in zip(gradients(layout), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(attention.NAME)
        for ours, theirs in zip(gradients("trie"), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)


def test_window_matters():
    """The Mistral and Gemma cases above would not fail for want of a window that bites."""
    model = tiny.model("mistral")
    groups = [tiny.group(1)]
    windowed = _logprobs(model, groups, "plain")
    model.config.sliding_window = None
    assert _logprobs(model, groups, "plain").sub(windowed).abs().max() > 0.1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_items_in_the_batch_change_nothing(layout):
    model = tiny.model()
    one, other = tiny.group(1), tiny.group(2, annotators=4, shared=30)
    alone = _logprobs(model, [one], layout)
    together = _logprobs(model, [other, one], layout)[len(other) :]
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-10)


def test_order_of_paths_changes_nothing():
    model = tiny.model()
    paths = tiny.group(5)
    forward = _logprobs(model, [paths], "trie")
    backward = _logprobs(model, [paths[::-1]], "trie")
    torch.testing.assert_close(forward, backward.flip(0), rtol=0, atol=1e-12)
