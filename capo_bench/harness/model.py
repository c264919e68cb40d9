"""`--model capo-hf`: lm_eval's `hf`, without what it computes twice and holds for nothing.

The prompts for an item's annotators begin with the same text, which is read once, and answers are
decoded without waiting for one another, see `decoding`. Log-likelihoods take the logits of the
scored tokens alone, where `hf` holds those of every token of the batch twice. On a CPU, float32
products are oneDNN's where a trial says that they are faster. Greedy answers are those of `hf`, and
sampled ones are drawn from the same distribution, see `sampling`.
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
from torch import Tensor

from capo_bench.display import tracked
from capo_bench.errors import CapoBenchError
from capo_bench.harness import decoding, sampling
from capo_bench.harness.base import TOKEN_LIMITS
from capo_bench.train import attention, kernel
from capo_bench.train.packing import Layout, Packed, Path, pack

_log = logging.getLogger(__name__)

# What a model's generation settings may name without moving an answer, but for how it is sampled.
_HARMLESS = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "use_cache"),
    *("do_sample", "max_length", "max_new_tokens"),
    *("_from_model_config", "output_attentions", "output_hidden_states"),
    *("typical_p", *sampling.SETTINGS),
}
_SERVED = {"until", "do_sample", *sampling.SETTINGS, *TOKEN_LIMITS}  # what a request may name
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
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(index)
        served, left = [], []
        for group in groups.values():
            if self._serves(requests[group[0]].args[1]):
                served.append(group)
            else:
                left += group
        answers = [""] * len(requests)
        if left:
            theirs = super().generate_until([requests[index] for index in left], disable_tqdm)
            for index, answer in zip(left, theirs, strict=True):
                answers[index] = answer
        if not served:
            return answers
        size = self.batch_size if self.batch_size != "auto" else self._detect_batch_size()
        told = (pair for group in served for pair in self._decoded(requests, group, size))
        total = len(requests) - len(left)
        silent = disable_tqdm or self.rank != 0
        for index, answer in tracked(told, "answers", total, silent=silent):
            answers[index] = answer
            self.cache_hook.add_partial("generate_until", requests[index].args, answer)
        return answers

    def _serves(self, asked: dict[str, Any]) -> bool:
        """Whether requests of these settings are decoded here; the log says why they are not."""
        if not self._decodes:
            return False
        kwargs = normalize_gen_kwargs(asked, self.max_gen_toks)
        typical = getattr(self.model.generation_config, "typical_p", None)
        reason = None
        if others := set(asked) - _SERVED:
            reason = f"{', '.join(sorted(others))} is asked for"
        elif kwargs["do_sample"] is True and not kwargs.get("temperature"):
            reason = "do_sample is asked for without a temperature"
        elif kwargs["do_sample"] is True and typical is not None and typical < 1:
            reason = "the model's generation settings have typical_p"
        elif not isinstance(kwargs["do_sample"], bool):
            reason = f"do_sample is {kwargs['do_sample']!r}"
        if reason is not None:
            _log.warning("capo-hf decodes as hf does: %s", reason)
        return reason is None

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
        self, requests: Sequence[Instance], indices: Sequence[int], size: int
    ) -> Iterator[tuple[int, str]]:
        """Answers to requests of the same settings."""
        kwargs = normalize_gen_kwargs(requests[indices[0]].args[1], self.max_gen_toks)
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        stops = handle_stop_sequences(kwargs.get("until"), eos=eos)
        limit = kwargs["max_gen_toks"]
        room = self.max_length - limit
        if room <= 0:
            raise CapoBenchError(
                f"max_gen_toks {limit} leaves no room for a prompt in the {self.max_length} tokens "
                "that the model takes; lower it with --gen_kwargs, or raise max_length in "
                "--model_args"
            )
        texts: dict[int, str] = {index: requests[index].args[0] for index in indices}
        prompts: dict[int, tuple[int, ...]] = {}
        for index, text in texts.items():
            ids, _ = self.tok_batch_encode(
                [text], left_truncate_len=room, truncation=self.truncation
            )
            prompts[index] = tuple(ids[0].tolist())
        # Similar lengths together, and prompts that begin alike one after the other.
        order = sorted(indices, key=lambda index: (-len(prompts[index]), texts[index]))
        settings = self.model.generation_config
        ends = settings.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())

        def over(told: list[int]) -> bool:
            return told[-1] in ends or settled(self.tok_decode(told), stops)

        choose: decoding.Choose = decoding.most_likely
        if kwargs["do_sample"]:
            draws = dict(zip(indices, sampling.generators(list(texts.values())), strict=True))
            warped = sampling.warpers(kwargs, settings)
            choose = sampling.drawing(warped, [draws[index] for index in order])
        rows = decoding.rows_at_once(self.model, size, len(prompts[order[0]]) + limit)
        ordered = [prompts[index] for index in order]
        for place, told in decoding.decode(
            self.model, ordered, rows=rows, limit=limit, over=over, choose=choose
        ):
            text = postprocess_generated_text(self.tok_decode(told), stops, None)
            yield order[place], text

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **generation_kwargs: Any
    ) -> Tensor:
        mask = generation_kwargs["attention_mask"]
        cache = None
        beams = generation_kwargs.get("num_beams", self.model.generation_config.num_beams)
        one_row_each = self.backend == "causal" and (beams or 1) == 1
        if one_row_each and len(context) > 1 and self.mixed_precision_dtype is None:
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
        for batch in tracked(batches, "log-likelihoods", silent=silent):
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
