import pytest
import torch

from capo_bench.errors import CapoBenchError
from capo_bench.train import flex, layouts
from capo_bench.train.layouts import choose
from capo_bench.train.logprobs import response_logprobs
from capo_bench.train.packing import pack, visible

from . import tiny

GROUPS = [tiny.group(1), tiny.group(2, annotators=4, shared=20)]


def test_rows_laid_end_to_end_see_what_they_saw():
    packed = pack(GROUPS, "trie")
    rows, length = packed.input_ids.shape
    one = flex.joined(packed)
    assert one.input_ids.shape[1] % flex.BLOCK == 0
    mask = visible(one)[0, 0]
    expected = torch.eye(len(mask), dtype=torch.bool)
    for row in range(rows):
        place = slice(row * length, (row + 1) * length)
        expected[place, place] = visible(packed)[row, 0]
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "mistral"])
def test_flex_attention_gives_the_log_probabilities_of_plain_rows(architecture):
    """Forward only: on a CPU FlexAttention has no backward pass."""
    model = tiny.model(architecture, torch.float32)
    with torch.no_grad():
        wanted = response_logprobs(model, model.config, pack(GROUPS, "plain"))
        model.set_attn_implementation(flex.NAME)
        ours = response_logprobs(model, model.config, pack(GROUPS, "trie"))
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["flex_attention", "flash_attention_2"])
def test_attention_that_takes_no_trie_is_refused_in_one_line(kind):
    model = tiny.model(dtype=torch.float32)
    model.config._attn_implementation_internal = kind
    with pytest.raises(CapoBenchError, match=f"--attention {kind} on a cpu takes no mask"):
        choose(model, model.config, GROUPS, "auto")


def test_layers_with_a_state_are_the_reason_named(caplog):
    model = tiny.model(dtype=torch.float32)
    model.config.layer_types = ["full_attention", "linear_attention"] * 2
    assert choose(model, model.config, [tiny.group(1)], "auto") == "plain"
    assert "layers of kind linear_attention carry a state from token to token" in caplog.text


def test_gradients_are_compared_on_request(monkeypatch):
    model = tiny.model(dtype=torch.float32)
    paths = tiny.group(1)
    assert layouts._difference(model, model.config, paths, "trie", gradients=True) is None
    stock = layouts.response_logprobs

    def halved(model, config, packed):
        """The right values with half of the gradient, in packed rows."""
        values = stock(model, config, packed)
        return values if packed.causal else (values + values.detach()) / 2

    monkeypatch.setattr(layouts, "response_logprobs", halved)
    reason = layouts._difference(model, model.config, paths, "trie", gradients=True)
    assert reason.startswith("gradients off by")
