"""`--model capo-hf`: lm_eval's `hf`, with what the prompts of a batch share computed once.

The prompts for an item's annotators begin with the same text. They are merged into a trie, as in
training, one forward pass fills the cache of keys and values of every distinct token, and each
prompt continues from its own copy. On a CPU, float32 products are oneDNN's where a trial says that
they are faster. The answers are those of `hf`.
"""

from __future__ import annotations

from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import DynamicCache

from capo_bench.train import attention, kernel
from capo_bench.train.logprobs import attention_mask
from capo_bench.train.packing import Packed, Path, Trie, build, pack

_TYPICAL_ROWS = 256  # tokens of a forward pass over prompts, for the trial


class SharedPrefixLM(HFLM):  # type: ignore[misc]
    """A causal language model of transformers whose prompts share their beginnings' computation.

    Args:
        *args: As `hf`'s.
        **kwargs: As `hf`'s.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kernel.use_faster_products(self.model, _TYPICAL_ROWS)
        on_cpu = next(self.model.parameters()).device.type == "cpu"
        if on_cpu and self.model.config._attn_implementation == "sdpa":
            self.model.set_attn_implementation(attention.NAME)

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **generation_kwargs: Any
    ) -> Tensor:
        mask = generation_kwargs["attention_mask"]
        cache = None
        if self.backend == "causal" and len(context) > 1 and self.mixed_precision_dtype is None:
            cache = prefilled(self.model, context, mask)
        if cache is not None:
            generation_kwargs["past_key_values"] = cache
        result: Tensor = super()._model_generate(context, max_length, stop, **generation_kwargs)
        return result


@torch.no_grad()
def prefilled(model: Any, context: Tensor, mask: Tensor) -> DynamicCache | None:
    """The cache of all but the last token of each prompt, every distinct token computed once.

    Args:
        model: A causal language model of transformers.
        context: [B, L] token ids, padded on the left.
        mask: [B, L], 1 where a token is no padding.

    Returns:
        Keys and values of [B, H, L - 1, D] a layer, or `None` if a prompt is too short to share or
        the model has layers that a trie cannot serve (windows and states have caches of their own).
    """
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    if kinds - {"full_attention"} or (window and not kinds):
        return None
    rows = [row[seen.bool()].tolist() for row, seen in zip(context, mask, strict=True)]
    if min(map(len, rows)) < 2:
        return None
    paths = [Path(tuple(row[:-1]), (row[-1],)) for row in rows]
    packed = pack([paths], "trie").to(context.device)
    keys_and_values = _forward(model, packed)
    trie = build(paths)
    length = context.shape[1] - 1
    # Padding takes any node: the mask hides it.
    index = torch.zeros(len(rows), length, dtype=torch.long)
    for row in range(len(rows)):
        nodes = _nodes(trie, row)
        index[row, length - len(nodes) :] = torch.tensor(nodes)
    index = index.to(context.device)
    cache = DynamicCache(config=model.config)
    for layer, (keys, values) in enumerate(keys_and_values):
        # [1, H, T, D] to [B, H, L - 1, D].
        branched = (x[0][:, index].transpose(0, 1).contiguous() for x in (keys, values))
        cache.update(*branched, layer)
    return cache


def _forward(model: Any, packed: Packed) -> list[tuple[Tensor, Tensor]]:
    filled = DynamicCache(config=model.config)
    model(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        attention_mask=None if packed.causal else attention_mask(model.config, packed),
        past_key_values=filled,
        use_cache=True,
        logits_to_keep=1,
        **({} if packed.causal else {"segments": packed.segments}),
    )
    return [(layer.keys, layer.values) for layer in filled.layers]


def _nodes(trie: Trie, path: int) -> list[int]:
    """The nodes of a path in order: those whose subtree holds its last."""
    last = trie.edges[trie.scored[path][0]][0]
    return [node for node in range(last + 1) if trie.ends[node] > last]
