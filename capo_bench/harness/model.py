"""`--model capo-hf`: lm_eval's `hf`, without what it computes twice and holds for nothing.

The prompts for an item's annotators begin with the same text. They are merged into a trie, as in
training, one forward pass fills the cache of keys and values of every distinct token, and each
prompt continues from its own copy. Log-likelihoods take the logits of the scored tokens alone,
where `hf` holds those of every token of the batch twice. On a CPU, float32 products are oneDNN's
where a trial says that they are faster. The answers are those of `hf`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from rich.progress import track
from torch import Tensor
from transformers import DynamicCache

from capo_bench.display import console
from capo_bench.train import attention, kernel
from capo_bench.train.logprobs import attention_mask
from capo_bench.train.packing import Layout, Packed, Path, Trie, build, pack

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

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        if not requests or self.backend != "causal" or not _keeps_logits(self.model):
            found: list[tuple[float, bool]] = super()._loglikelihood_tokens(
                requests, disable_tqdm, override_bs
            )
            return found
        paths = [_scored_path(context, wanted, self.max_length) for _, context, wanted in requests]
        # Continuations of one token after the same context, such as the letters of a question, are
        # scored by one row; longer ones would need a mask that not every model takes.
        layout: Layout = "target" if all(len(path.response) == 1 for path in paths) else "plain"
        groups: dict[object, list[int]] = {}
        for index in sorted(range(len(paths)), key=lambda i: -len(paths[i].context)):
            key = paths[index].context if layout == "target" else index
            groups.setdefault(key, []).append(index)
        rows = list(groups.values())
        size = self.batch_size if self.batch_size != "auto" else override_bs
        size = size or self._detect_batch_size(requests, rows[0][0])
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(paths)
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        silent = disable_tqdm or self.rank != 0
        for batch in track(
            batches, "log-likelihoods", disable=silent, console=console(stderr=True)
        ):
            packed = pack([[paths[index] for index in row] for row in batch], layout)
            with torch.autocast(
                device_type=self.device.type,
                dtype=self.mixed_precision_dtype,
                enabled=self.mixed_precision_dtype is not None,
            ):
                scores = scored(self.model, packed.to(self.device))
            indices = [index for row in batch for index in row]
            for index, answer in zip(indices, scores, strict=True):
                answers[index] = answer
                if requests[index][0] is not None:  # windows of a longer text have no name
                    self.cache_hook.add_partial("loglikelihood", requests[index][0], answer)
        return answers


@torch.no_grad()
def scored(model: Any, packed: Packed) -> list[tuple[float, bool]]:
    """Log-likelihood in nats of each path's response, and whether greedy decoding would give it.

    Args:
        model: A causal language model of transformers that knows `logits_to_keep`.
        packed: Rows of one path each, or of one-token responses to one context.
    """
    logits = model(
        input_ids=packed.input_ids, logits_to_keep=packed.keep, use_cache=False
    ).logits.float()  # [K, V], K the scored positions
    normalizer = torch.logsumexp(logits, dim=-1)
    values = logits[packed.edge_row, packed.edge_token] - normalizer[packed.edge_row]
    missed = (logits.argmax(dim=-1)[packed.edge_row] != packed.edge_token).to(values.dtype)
    totals = torch.zeros(2, packed.size, dtype=values.dtype, device=values.device)
    parts = torch.stack((values, missed))[:, packed.part_edge]
    total, misses = totals.index_add(1, packed.part_path, parts).tolist()
    return [(value, wrong == 0) for value, wrong in zip(total, misses, strict=True)]


def _scored_path(context: list[int], continuation: list[int], most: int) -> Path:
    """A context, cut from the left to what the model reads, and what is scored after it."""
    kept = context[-(most + 1 - len(continuation)) :]
    return Path(tuple(kept), tuple(continuation))


def _keeps_logits(model: Any) -> bool:
    """Whether a model can be told of which positions logits are wanted."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


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
