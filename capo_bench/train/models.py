"""Loading what is trained: a base model, an adapter, or a GGUF file; never remote code."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from capo_bench.caches import cache_folder, kept_folder
from capo_bench.errors import CapoBenchError
from capo_bench.files import opened
from capo_bench.train.adapters import ADAPTER, read_adapter

MODEL_BYTES = 2**50
"""More than any model file has."""


def load_model(name: str, *, dtype: str, attention: str | None) -> tuple[Any, Any]:
    """A causal language model and its tokenizer.

    Args:
        name: A folder, a name on the hub, a folder with a PEFT adapter (which is trained on), or a
            `.gguf` file (converted once, into the local cache).
        dtype: `float32`, `bfloat16` or `float16`.
        attention: Attention implementation of transformers; its default if `None`.

    Raises:
        CapoBenchError: If model or tokenizer cannot be loaded.
    """
    adapter = Path(name) / ADAPTER
    source = str(_converted(Path(name))) if name.endswith(".gguf") else name
    base = read_adapter(adapter)["base_model_name_or_path"] if adapter.is_file() else source
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, ImportError) as error:
        raise CapoBenchError(
            f"the model {base} cannot be loaded: {_first_line(error)}; give a folder with "
            "config.json and safetensors, a .gguf file or a name on the hub"
        ) from error
    if adapter.is_file():
        model = _with_adapter(model, name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CapoBenchError(
            f"no tokenizer can be loaded from {source}: {_first_line(error)}; save one beside the "
            "model"
        ) from error
    return model, tokenizer


def with_lora(model: Any, *, rank: int, alpha: int, targets: list[str]) -> Any:
    """The model with a LoRA adapter (Hu et al., arXiv 2106.09685), which alone is trained.

    Args:
        model: A model of transformers, which gets a new adapter, or one of PEFT, whose own is trained
            on.
        rank: Rank of the adapter's matrices.
        alpha: The adapter's output is scaled by alpha / rank.
        targets: Names of the layers; `all-linear` for all but the head.

    Raises:
        CapoBenchError: If PEFT is not installed, a layer is unknown, or the model's own adapter has
            another rank.
    """
    peft = _peft()
    if isinstance(model, peft.PeftModel):
        own = model.peft_config["default"].r
        if own != rank:
            raise CapoBenchError(
                f"the adapter that is trained on has rank {own}, not {rank}; leave --lora_rank out"
            )
        return model
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=targets[0] if len(targets) == 1 else targets,
        task_type="CAUSAL_LM",
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise CapoBenchError(f"LoRA cannot be applied: {_first_line(error)}") from error


def join_tied_gradients(model: Any) -> None:
    """Adds the gradient of tied embeddings into the head's instead of making one as large.

    The engine adds a sparse gradient to a dense one in a copy, which would be the peak of a step
    with many words. The embeddings therefore read the weights through an alias, whose gradient is
    added to the head's in place: the head's comes first in a backward pass. Gradients of the alias
    are not seen by DDP: for one process only.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = getattr(embedding, "weight", None) is getattr(head, "weight", None)
    if not tied or not issubclass(type(embedding), nn.Embedding):
        return
    embedding.sparse = True
    look_up = embedding.forward

    def add(alias: Any) -> None:
        embedding.weight.grad.add_(alias.grad)

    def forward(ids: Tensor) -> Any:
        weight = embedding.weight
        if not (torch.is_grad_enabled() and weight.requires_grad):
            return look_up(ids)
        alias = weight.detach().requires_grad_()
        alias.register_post_accumulate_grad_hook(add)
        embedding._parameters["weight"] = alias
        try:
            return look_up(ids)
        finally:
            embedding._parameters["weight"] = weight

    embedding.forward = forward


def longest(model: Any) -> int | None:
    """The most positions that a model has, if it says so."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _with_adapter(model: Any, name: str) -> Any:
    try:
        return _peft().PeftModel.from_pretrained(model, name, is_trainable=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CapoBenchError(
            f"the adapter {name} cannot be loaded: {_first_line(error)}"
        ) from error


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise CapoBenchError("LoRA needs peft: pip install 'capo-bench[train]'") from error
    return peft


def _converted(gguf: Path) -> Path:
    """A safetensors folder made of a GGUF file, in the local cache, by the file's contents."""
    if not gguf.is_file():
        raise CapoBenchError(f"the model {gguf} does not exist; check the path")
    with opened(gguf.resolve(), limit=MODEL_BYTES) as stream:
        blake2b = partial(hashlib.blake2b, digest_size=8)
        # A type of the standard library's stubs, which a BinaryIO happens not to be.
        digest = hashlib.file_digest(stream, blake2b).hexdigest()  # type: ignore[arg-type]
    folder = cache_folder() / "models" / f"{gguf.stem}-{digest}"
    return kept_folder(folder, digest, lambda made: _convert(gguf, made))


def _convert(gguf: Path, folder: Path) -> None:
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CapoBenchError(f"cannot be converted: {_first_line(error)}", file=gguf) from error
    # The weights are plain floats now, but the model still refuses to be saved as a quantised one.
    model.is_quantized = False
    model.hf_quantizer = None
    for flag in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, flag):
            delattr(model.config, flag)
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # a full disk is an error of its own there
        raise OSError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
