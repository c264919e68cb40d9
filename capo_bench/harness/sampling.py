"""Tokens drawn as transformers' `generate` draws them, from random numbers that belong to the answer.

`hf` draws all rows of a batch from one generator, so that an answer hangs on the batch size, on
`--limit` and on what is asked beside it. Here it hangs on the seed, the prompt and how often that was
asked before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from capo_bench.harness.decoding import Choose

SETTINGS = frozenset({"temperature", "top_p", "top_k", "min_p"})
"""What a request may say of how it is sampled."""

_DEFAULTS = {"top_k": 50}  # of `generate`, where neither the request nor the model says otherwise


def warpers(asked: Mapping[str, Any], defaults: GenerationConfig) -> LogitsProcessorList:
    """What `generate` does to logits before it draws from their softmax, in its order.

    Args:
        asked: The request's settings.
        defaults: The model's.

    Raises:
        ValueError: If a setting is out of its range, in transformers' words.
    """

    def setting(name: str) -> Any:
        if name in asked:
            return asked[name]
        given = getattr(defaults, name)
        return _DEFAULTS.get(name) if given is None else given

    found = LogitsProcessorList()
    temperature, top_k, top_p, min_p = map(setting, ("temperature", "top_k", "top_p", "min_p"))
    if temperature is not None and temperature != 1.0:
        found.append(TemperatureLogitsWarper(temperature))
    if top_k is not None and top_k != 0:
        found.append(TopKLogitsWarper(top_k))
    if top_p is not None and top_p < 1.0:
        found.append(TopPLogitsWarper(top_p))
    if min_p is not None:
        found.append(MinPLogitsWarper(min_p))
    return found


def generators(prompts: Sequence[str]) -> list[Random]:
    """A generator of random numbers for the answer to each prompt.

    It is seeded by torch's seed, the prompt and how often that is among the prompts before it.
    """
    before: Counter[str] = Counter()
    found = []
    for prompt in prompts:
        found.append(Random(f"{torch.initial_seed()} {before[prompt]} {prompt}"))
        before[prompt] += 1
    return found


def drawing(warped: LogitsProcessorList, draws: Sequence[Random]) -> Choose:
    """How to draw a next token, by one random number each.

    Args:
        warped: What is done to the logits before; none of it looks at the tokens so far.
        draws: The generator of each prompt's answer.
    """

    def choose(logits: Tensor, indices: Sequence[int]) -> Tensor:
        unseen = torch.empty(len(logits), 0, dtype=torch.long, device=logits.device)
        scores = warped(unseen, logits.float())
        # Few tokens are left where `top_k` or `top_p` speaks; summing all words up is dear.
        left = int((scores > -torch.inf).sum(dim=-1).max())
        scores, tokens = scores.topk(left)
        below = torch.softmax(scores, dim=-1).cumsum(dim=-1, dtype=torch.float64)
        numbers = [[draws[index].random()] for index in indices]
        # The last sum becomes exactly 1, which no number reaches; what has no probability adds
        # nothing, so that no number falls on it.
        drawn = torch.tensor(numbers, dtype=torch.float64, device=below.device)
        place = torch.searchsorted(below / below[:, -1:], drawn, right=True)
        chosen: Tensor = tokens.gather(-1, place)[:, 0]
        return chosen

    return choose
