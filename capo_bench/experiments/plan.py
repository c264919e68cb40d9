"""What an experiment takes before anything runs: tokens, time, memory and money of every stage.

Training costs 6 floating-point operations a token and weight (Kaplan et al. 2020, arXiv 2001.08361),
4 where only an adapter has gradients; the head counts for response tokens alone, as the trainer keeps
no other positions. A trie holds an item's shared text once: P + A T + A R tokens for SFT and
P + A T + A^2 R for CAPO (shared text P, annotator's turn T, response R, annotators A). Decoding a
token reads all weights once a batch. Tokens are estimated from characters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from capo_bench.corpus.model import Corpus, Item
from capo_bench.errors import CapoBenchError
from capo_bench.experiments.runs import Preset, Run
from capo_bench.files import read_json
from capo_bench.prompts.prompter import Prompter
from capo_bench.prompts.responses import render_target

CHARACTERS = 4.0
"""A token: 3.3 to 4.8 with SmolLM2's tokenizer on the prompts and responses of our corpora."""

_FULL, _LORA = 6, 4  # operations a token and weight
_STATE = 12  # bytes a weight beside its own 4: gradient and AdamW's two moments, in float32
_ACTIVATIONS = (
    34  # bytes a token, layer and hidden unit (Korthikanti et al. 2022, arXiv 2205.05198)
)
_LOGITS = (
    10  # bytes a response token and word: float32 logits, their gradient, bfloat16 before that
)
_BATCH = 64  # where lm-eval chooses it: `auto`


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes, named as in its `config.json`."""

    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool

    @property
    def body(self) -> int:
        """Weights of the layers: attention and the gated feed-forward network."""
        attention = 2 * self.head_dim * (self.num_attention_heads + self.num_key_value_heads)
        return self.num_hidden_layers * self.hidden_size * (attention + 3 * self.intermediate_size)

    @property
    def head(self) -> int:
        """Weights of the output layer, one row a word."""
        return self.hidden_size * self.vocab_size

    @property
    def weights(self) -> int:
        """All weights, input embeddings among them."""
        return self.body + self.head * (1 if self.tie_word_embeddings else 2)


@dataclass(frozen=True)
class Device:
    """What runs the stages.

    Attributes:
        training: Operations a second in training.
        prefill: Operations a second when prompts are read.
        bandwidth: Bytes a second in decoding.
        memory: Bytes.
        price: Dollars an hour.
        start: Seconds that every stage takes beside the model's work: imports, loading, metrics.
        source: Where these numbers come from.
    """

    training: float
    prefill: float
    bandwidth: float
    memory: float
    price: float
    start: float
    source: str


@dataclass(frozen=True)
class Cost:
    """What one stage takes.

    Attributes:
        name: The stage.
        tokens: Tokens that pass through the model.
        seconds: Time.
        memory: Bytes at the peak.
    """

    name: str
    tokens: float
    seconds: float
    memory: float


def read_shape(model: str) -> Shape:
    """The shape of a model: by name from the package, or from the `config.json` of its folder.

    Raises:
        CapoBenchError: If the model is neither, or its configuration is not that of such a decoder.
    """
    known = _tables()["model"]
    name = Path(model).name.removesuffix(".gguf").removesuffix("-Instruct")
    file = Path(model) / "config.json"
    if not file.is_file() and name not in known:
        raise CapoBenchError(
            f"nothing is known of the model {model}; name one of {', '.join(known)}, or a folder "
            "with a config.json"
        )
    found = read_json(file) if file.is_file() else known[name]
    try:
        given = {key: value for key, value in found.items() if value is not None}
        heads = _count(given["num_attention_heads"])
        hidden = _count(given["hidden_size"])
        return Shape(
            num_hidden_layers=_count(given["num_hidden_layers"]),
            hidden_size=hidden,
            num_attention_heads=heads,
            num_key_value_heads=_count(given.get("num_key_value_heads", heads)),
            head_dim=_count(given.get("head_dim", hidden // heads)),
            intermediate_size=_count(given["intermediate_size"]),
            vocab_size=_count(given["vocab_size"]),
            tie_word_embeddings=bool(given.get("tie_word_embeddings", False)),
        )
    except (KeyError, AttributeError, ValueError) as error:
        raise CapoBenchError(f"no decoder that plans know: {error}", file=file) from error


def _count(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= 2**32:
        raise ValueError(f"{str(value)[:60]!r} counts nothing; expected a whole number from 1 on")
    return value


def read_device(name: str) -> Device:
    """A device by name.

    Raises:
        CapoBenchError: If it is unknown.
    """
    known = _tables()["device"]
    if name not in known:
        raise CapoBenchError(f"unknown device {name}; expected one of {', '.join(known)}")
    return Device(**known[name])


def plan(
    shape: Shape, corpus: Corpus, preset: Preset, runs: Sequence[Run], device: Device
) -> list[Cost]:
    """What every stage of some runs takes, in their order.

    Evaluation is an upper bound: every response is taken to be as long as it may be.
    """
    found = []
    for run in runs:
        if run.train:
            found.append(_training(shape, corpus, run, device))
        found.append(_evaluation(shape, corpus, preset, run, device))
    return found


def whole(costs: Sequence[Cost]) -> Cost:
    """All stages one after the other."""
    return Cost(
        "all",
        sum(one.tokens for one in costs),
        sum(one.seconds for one in costs),
        max(one.memory for one in costs),
    )


def _training(shape: Shape, corpus: Corpus, run: Run, device: Device) -> Cost:
    items = corpus.split("train")[: int(run.train.get("train_items", 0)) or None]
    prompter = Prompter(corpus, run.setting)
    sizes = [_trie(item, prompter, rejected=run.method == "capo") for item in items]
    tokens, responses = (sum(column) / len(sizes) for column in zip(*sizes, strict=True))
    batch = int(run.train["per_device_train_batch_size"])
    if "max_steps" in run.train:
        visits = int(run.train["max_steps"]) * batch
    else:
        visits = round(float(run.train.get("num_train_epochs", 3)) * len(items))
    once = shape.body * tokens + shape.head * responses  # what one operation an item's weight costs
    adapter = bool(run.train.get("lora_rank"))
    seconds = visits * (_LORA if adapter else _FULL) * once / device.training
    if run.method == "capo":  # the reference reads every item once
        seconds += min(visits, len(items)) * 2 * once / device.prefill
    together = batch * tokens
    memory = (
        (4 if adapter else 4 + _STATE) * shape.weights
        + together * shape.num_hidden_layers * shape.hidden_size * _ACTIVATIONS
        + batch * responses * shape.vocab_size * _LOGITS
    )
    return Cost(f"train {run.name}", visits * tokens, device.start + seconds, memory)


def _evaluation(shape: Shape, corpus: Corpus, preset: Preset, run: Run, device: Device) -> Cost:
    prompter = Prompter(corpus, run.setting, examples=int(preset.metadata.get("k", 10)))
    options = {**preset.evaluate, **run.evaluate}
    items = corpus.split(str(run.metadata.get("split", "test")))
    limit = options.get("limit")
    items = items if limit is None else items[: int(limit)]
    prompts = [len(prompter(item, one)) / CHARACTERS for item in items for one in item.cells]
    given = options.get("batch_size", _BATCH)
    batch = _BATCH if given == "auto" else int(given)
    new = int(str(options["gen_kwargs"]).partition("max_gen_toks=")[2].split(",")[0])
    width = 2 if preset.model_args.get("dtype") == "bfloat16" else 4
    read = 2 * (shape.body * sum(prompts) + shape.head * len(prompts)) / device.prefill
    token = max(
        width * shape.weights / device.bandwidth,
        2 * batch * (shape.body + shape.head) / device.prefill,
    )
    written = -(-len(prompts) // batch) * new * token
    cache = 2 * width * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim
    memory = width * shape.weights + batch * (max(prompts) + new) * cache
    tokens = sum(prompts) + len(prompts) * new
    return Cost(f"evaluate {run.name}", tokens, device.start + read + written, memory)


def _trie(item: Item, prompter: Prompter, *, rejected: bool) -> tuple[float, float]:
    """Tokens of an item's trie, and those of its responses."""
    prompts = [prompter(item, annotator) for annotator in item.cells]
    different = (
        at for at, column in enumerate(zip(*prompts, strict=False)) if len(set(column)) > 1
    )
    shared = next(different, min(map(len, prompts)))
    turns = sum(len(prompt) - shared for prompt in prompts)
    own = sum(
        len(render_target(response.labels, response.explanation))
        for cell in item.cells.values()
        for response in cell
    )
    responses = own * (len(prompts) if rejected else 1)
    return (shared + turns + responses) / CHARACTERS, responses / CHARACTERS


def _tables() -> Mapping[str, Mapping[str, Any]]:
    source = files("capo_bench.experiments").joinpath("plan.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))
