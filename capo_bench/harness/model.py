"""`--model capo-hf`: lm_eval's `hf`, without what it computes twice and holds for nothing.

The prompts for an item's annotators begin with the same text, which is read once, and greedy answers
are decoded without waiting for one another, see `decoding`. Log-likelihoods take the logits of the
scored tokens alone, where `hf` holds those of every token of the batch twice. On a CPU, float32
products are oneDNN's where a trial says that they are faster. The answers are those of `hf`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from rich.progress import track
from torch import Tensor

from capo_bench.display import console
from capo_bench.harness import decoding
from capo_bench.harness.base import TOKEN_LIMITS
from capo_bench.train import attention, kernel
from capo_bench.train.packing import Layout, Packed, Path, pack

_log = logging.getLogger(__name__)

# What a model's generation settings may name without moving a greedy answer.
_HARMLESS = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "use_cache"),
    *("do_sample", "temperature", "top_p", "top_k", "min_p", "typical_p", "max_length"),
    *("max_new_tokens", "_from_model_config", "output_attentions", "output_hidden_states"),
}
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

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The answers to prompts, as `hf` gives them."""
        asked = [request.args for request in requests]
        if not asked or not all(self._greedily(kwargs) for _, kwargs in asked):
            found: list[str] = super().generate_until(requests, disable_tqdm)
            return found
        groups: dict[str, list[int]] = {}
        for index, (_, kwargs) in enumerate(asked):
            groups.setdefault(json.dumps(kwargs, sort_keys=True), []).append(index)
        size = self.batch_size if self.batch_size != "auto" else self._detect_batch_size()
        answers = [""] * len(asked)
        silent = disable_tqdm or self.rank != 0
        told = (pair for group in groups.values() for pair in self._decoded(asked, group, size))
        for index, answer in track(
            told, "answers", total=len(asked), disable=silent, console=console(stderr=True)
        ):
            answers[index] = answer
            self.cache_hook.add_partial("generate_until", asked[index], answer)
        return answers

    def _greedily(self, kwargs: Any) -> bool:
        """Whether a request is one that `decoding.greedy` serves."""
        known = {"until", "do_sample", "temperature", *TOKEN_LIMITS}
        return (
            self._decodes
            and not kwargs.get("do_sample")
            and not kwargs.get("temperature")
            and set(kwargs) <= known
        )

    @cached_property
    def _decodes(self) -> bool:
        if self.backend != "causal" or self.mixed_precision_dtype is not None:
            return False
        changed = set(self.model.generation_config.to_diff_dict()) - _HARMLESS
        reason: str | None
        if self.think_end_token is not None:
            reason = "thoughts are cut off"
        elif self.model.config._attn_implementation not in (attention.NAME, "sdpa", "eager"):
            reason = f"{self.model.config._attn_implementation} attention takes no mask"
        elif changed:
            reason = f"its generation settings have {', '.join(sorted(changed))}"
        else:
            reason = decoding.cannot_decode(self.model)
        if reason is not None:
            _log.warning("capo-hf decodes as hf does: %s", reason)
        return reason is None

    def _decoded(
        self, asked: Sequence[tuple[str, Any]], indices: list[int], size: int
    ) -> Iterator[tuple[int, str]]:
        """Answers to requests of the same settings."""
        kwargs = normalize_gen_kwargs(asked[indices[0]][1], self.max_gen_toks)
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        stops = handle_stop_sequences(kwargs.get("until"), eos=eos)
        limit = kwargs["max_gen_toks"]
        room = self.max_length - limit
        prompts: dict[int, tuple[int, ...]] = {}
        for index in indices:
            ids, _ = self.tok_batch_encode(
                [asked[index][0]], left_truncate_len=room, truncation=self.truncation
            )
            prompts[index] = tuple(ids[0].tolist())
        # Similar lengths together, and prompts that begin alike one after the other.
        order = sorted(indices, key=lambda index: (-len(prompts[index]), asked[index][0]))
        ends = self.model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())

        def over(told: list[int]) -> bool:
            return told[-1] in ends or settled(self.tok_decode(told), stops)

        rows = decoding.rows_at_once(self.model, size, len(prompts[order[0]]) + limit)
        ordered = [prompts[index] for index in order]
        for place, told in decoding.greedy(self.model, ordered, rows=rows, limit=limit, over=over):
            text = postprocess_generated_text(self.tok_decode(told), stops, None)
            yield order[place], text

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **generation_kwargs: Any
    ) -> Tensor:
        mask = generation_kwargs["attention_mask"]
        cache = None
        if self.backend == "causal" and len(context) > 1 and self.mixed_precision_dtype is None:
            cache = decoding.prefilled(self.model, context, mask)
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
        lean = self.backend == "causal" and decoding.takes(self.model, "logits_to_keep")
        if not requests or not lean:
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


def settled(text: str, stops: Sequence[str]) -> bool:
    """Whether an answer holds a stop sequence and what comes will not move the cut before it."""
    cut = len(postprocess_generated_text(text, list(stops), None))
    return cut < len(text) and not any(
        stop.startswith(text[start:])
        for stop in stops
        for start in range(max(0, len(text) - len(stop) + 1), cut)
    )


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
