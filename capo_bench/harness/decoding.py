"""Decoding of many prompts: shared beginnings once, and no row that has nothing to say.

The prompts of a batch are merged into a trie, one forward pass fills the cache of every distinct
token, and each prompt continues from its own copy. A row that is over leaves at once, and the next
prompts take its place, so that every step computes as many answers as it may; keys and values lie in
buffers that are written in place. `hf` holds a batch until its last row is over and copies the
cache for every token.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

from capo_bench.train.logprobs import attention_mask
from capo_bench.train.packing import Path, Tokens, common_prefix, pack

_REFILL = 4  # new prompts wait until this part of the rows is free, so that they share their pass
_CPU_ROWS = 128  # products of a CPU reach over twice the rate with them that they have with 16
_CPU_CACHE = 2**31  # bytes that so many rows may take
_PREFILL_TOKENS = 4096  # of a pass over prompts, if it holds several
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the logits' spread
_HALF = 0.1


Choose = Callable[[Tensor, Sequence[int]], Tensor]
"""The next token of each row, [B], from its logits, [B, V], and the index of its prompt."""


@dataclass
class _Places:
    """Where the rows' next keys and values go, [B], and how many columns are in use."""

    next: Tensor
    used: int


class _Rows(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values, [B, H, L, D]; each row has a length of its own."""

    def __init__(self, places: _Places, rows: int, length: int) -> None:
        super().__init__()
        self.places, self.rows, self.length = places, rows, length

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Makes the buffers for keys and values like [., H, ., D]."""
        self.keys, self.values = (
            like.new_zeros(self.rows, like.shape[1], self.length, like.shape[3])
            for like in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Adds a token to each of the first rows."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        count, used = len(keys), self.places.used
        rows = torch.arange(count, device=keys.device)
        self.keys[rows, :, self.places.next] = keys[:, :, 0]
        self.values[rows, :, self.places.next] = values[:, :, 0]
        return self.keys[:count, :, :used], self.values[:count, :, :used]

    def move(self, source: int, target: int, length: int) -> None:
        """Copies a row over another one."""
        for buffer in (self.keys, self.values):
            buffer[target, :, :length] = buffer[source, :, :length]

    def get_seq_length(self) -> int:
        """Tokens of the longest row before this one."""
        return self.places.used - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that a query may see, and the first of them."""
        return self.places.used, 0

    def get_max_length(self) -> int:
        """No limit that a model should heed."""
        return -1

    get_max_cache_shape = get_max_length  # its name before transformers 5.24


def most_likely(logits: Tensor, indices: Sequence[int]) -> Tensor:
    """Greedy decoding's choice."""
    return logits.argmax(dim=-1)


@torch.no_grad()
def decode(
    model: Any,
    prompts: Sequence[Tokens],
    *,
    rows: int,
    limit: int,
    over: Callable[[list[int]], bool],
    choose: Choose = most_likely,
) -> Iterator[tuple[int, list[int]]]:
    """The next tokens of each prompt.

    Args:
        model: A causal language model of transformers for which `cannot_decode` has no reason.
        prompts: Token ids; neighbours should begin alike and be of similar lengths.
        rows: Most answers that are computed at once.
        limit: Most tokens of an answer.
        over: Whether an answer is complete.
        choose: How a next token is chosen; asked once for each token of each answer.

    Yields:
        A prompt's index and its answer, in the order in which they are complete.
    """
    device = next(model.parameters()).device
    length = max(map(len, prompts)) + limit
    places = _Places(torch.zeros(0, dtype=torch.long, device=device), 0)
    count = model.config.get_text_config().num_hidden_layers
    layers = [_Rows(places, rows, length) for _ in range(count)]
    cache = Cache(layers=layers)
    running: list[tuple[int, list[int]]] = []  # prompts with their answers so far, a row each
    waiting = 0
    while running or waiting < len(prompts):
        free = rows - len(running)
        if waiting < len(prompts) and (not running or free >= max(1, rows // _REFILL)):
            fresh = _fitting(prompts, waiting, free)
            new = [prompts[index] for index in fresh]
            _read(model, new, layers, len(running))
            running += [(index, []) for index in fresh]
            waiting = fresh.stop
        taken = torch.tensor([len(prompts[i]) + len(told) - 1 for i, told in running])
        tokens = torch.tensor([told[-1] if told else prompts[i][-1] for i, told in running])
        places.next, places.used = taken.to(device), int(taken.max()) + 1
        logits = _step(model, tokens.to(device), cache, places)
        chosen = choose(logits, [index for index, _ in running]).tolist()
        for row in reversed(range(len(running))):
            index, told = running[row]
            told.append(chosen[row])
            if len(told) == limit or over(told):
                yield index, told
                last = running.pop()
                if row < len(running):
                    running[row] = last
                    for layer in layers:
                        layer.move(len(running), row, int(taken.max()) + 1)


def cannot_decode(model: Any) -> str | None:
    """Why `decode` does not serve a model, or `None`: a few tokens are computed both ways."""
    if not shares(model):
        return "its layers have windows or states"
    words = model.config.get_text_config().vocab_size
    prompts = [
        tuple(token % words for token in row) for row in ((5, 6, 7, 8), (5, 6, 9, 3, 4), (4,))
    ]
    seen: list[Tensor] = []
    handle = model.register_forward_hook(
        lambda module, inputs, output: seen.append(output.logits[:, -1].double())
    )
    try:
        told = dict(decode(model, prompts, rows=3, limit=2, over=lambda answer: False))
        ours = torch.cat(seen[-2:])
        once = [(*prompt, *told[index][:1]) for index, prompt in enumerate(prompts)]
        with torch.no_grad():
            for row in (*prompts, *once):
                model(input_ids=torch.tensor([row], device=ours.device), use_cache=False)
        theirs = torch.cat(seen[-6:])
    # Whatever a model raises when it is given a cache of another kind is the reason to be named.
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
    finally:
        handle.remove()
    worst = float((ours - theirs).abs().max() / theirs.std())
    tolerance = _TOLERANCE.get(next(model.parameters()).dtype, _HALF)
    return None if worst <= tolerance else f"logits are off by {worst:.2g} of their spread"


def rows_at_once(model: Any, size: int, length: int) -> int:
    """Rows to decode at once: the batch size, on a CPU more if their cache is small.

    Args:
        model: The model.
        size: The batch size asked for.
        length: Most tokens of a prompt and its answer.
    """
    weights = next(model.parameters())
    if weights.device.type != "cpu":
        return size
    text = model.config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    row = 2 * text.num_hidden_layers * heads * width * weights.itemsize * length
    return max(size, min(_CPU_ROWS, _CPU_CACHE // int(row)))


def shares(model: Any) -> bool:
    """Whether a cache of a trie serves the model: windows and states have caches of their own."""
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ())
    window = getattr(text, "sliding_window", None)
    return not (kinds - {"full_attention"} or (window and not kinds))


@torch.no_grad()
def prefilled(model: Any, context: Tensor, mask: Tensor) -> DynamicCache | None:
    """The cache of all but the last token of each prompt, every distinct token computed once.

    Args:
        model: A causal language model of transformers.
        context: [B, L] token ids, padded on the left.
        mask: [B, L], 1 where a token is no padding.

    Returns:
        Keys and values of [B, H, L - 1, D] a layer, or `None` if a prompt is too short to share or
        the model cannot share, see `shares`.
    """
    rows = [row[seen.bool()].tolist() for row, seen in zip(context, mask, strict=True)]
    if not shares(model) or min(map(len, rows)) < 2:
        return None
    filled, places = _trie_cache(model, rows)
    length = context.shape[1] - 1
    # Padding takes any node: the mask hides it.
    index = torch.zeros(len(rows), length, dtype=torch.long)
    for row, nodes in enumerate(places):
        index[row, length - len(nodes) :] = torch.tensor(nodes)
    index = index.to(context.device)
    cache = DynamicCache(config=model.config)
    for number, layer in enumerate(filled.layers):
        # [1, H, T, D] to [B, H, L - 1, D].
        branched = (x[0][:, index].transpose(0, 1).contiguous() for x in (layer.keys, layer.values))
        cache.update(*branched, number)
    return cache


def _trie_cache(model: Any, rows: Sequence[Sequence[int]]) -> tuple[DynamicCache, list[list[int]]]:
    """The cache of a trie of prompts without their last tokens, and each prompt's nodes in it."""
    paths = [Path(tuple(row[:-1]), (row[-1],)) for row in rows]
    packed = pack([paths], "trie").to(next(model.parameters()).device)
    filled = DynamicCache(config=model.config)
    model(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        attention_mask=None if packed.causal else attention_mask(model.config, packed),
        use_cache=True,
        logits_to_keep=1,
        **_given(model, filled),
        **({} if packed.causal else {"segments": packed.segments}),
    )
    # A prompt's nodes are those whose subtree holds its last one, whose next token is scored.
    last = packed.keep[0].nonzero()[packed.edge_row[packed.part_edge]]
    nodes = torch.arange(packed.input_ids.shape[1], device=last.device)
    seen = (nodes <= last) & (last < packed.subtree_end[0])
    places = [row.nonzero().flatten().tolist() for row in seen]
    return filled, places


def _read(
    model: Any,
    prompts: Sequence[Tokens],
    layers: Sequence[_Rows],
    first: int,
) -> None:
    """Reads prompts, but for their last tokens, into the rows from `first` on."""
    longer = [row for row, prompt in enumerate(prompts) if len(prompt) > 1]
    if not longer:
        return
    filled, places = _trie_cache(model, [prompts[row] for row in longer])
    for layer, read in zip(layers, filled.layers, strict=True):
        if not layer.is_initialized:
            layer.lazy_initialization(read.keys, read.values)
        for row, nodes in zip(longer, places, strict=True):
            layer.keys[first + row, :, : len(nodes)] = read.keys[0][:, nodes]
            layer.values[first + row, :, : len(nodes)] = read.values[0][:, nodes]


def _step(model: Any, tokens: Tensor, cache: Cache, places: _Places) -> Tensor:
    """Logits after one more token of each row, [B, V]."""
    columns = torch.arange(places.used, device=tokens.device)
    hidden = columns > places.next[:, None]
    dtype = next(model.parameters()).dtype
    mask = torch.zeros(hidden.shape, dtype=dtype, device=tokens.device)
    mask = mask.masked_fill(hidden, torch.finfo(dtype).min)[:, None, None]
    answer: Tensor = model(
        input_ids=tokens[:, None],
        position_ids=places.next[:, None],
        attention_mask=mask,
        use_cache=True,
        **_given(model, cache),
    ).logits
    return answer[:, -1]


def _given(model: Any, cache: Cache) -> dict[str, Cache]:
    """A cache under the name that the model has for it: transformers 5.24 renamed it."""
    return {"cache" if takes(model, "cache") else "past_key_values": cache}


def takes(model: Any, parameter: str) -> bool:
    """Whether a model's forward pass, or that of the model below its adapter, has a parameter."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return parameter in inspect.signature(base.forward).parameters


def _fitting(prompts: Sequence[Tokens], first: int, most: int) -> range:
    """The next prompts to read: at most so many, and within the budget of a pass."""
    stop, tokens = first + 1, len(prompts[first])
    while stop < min(len(prompts), first + most):
        tokens += len(prompts[stop]) - common_prefix(prompts[stop - 1], prompts[stop])
        if tokens > _PREFILL_TOKENS:
            break
        stop += 1
    return range(first, stop)
