"""Reference log-probabilities: computed once, kept on disk by what they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from capo_bench.caches import keep, kept
from capo_bench.display import tracked
from capo_bench.errors import CapoBenchError
from capo_bench.train.dataset import Group

_CHUNK = 64  # groups a file; an interrupted pass resumes at the last whole file


def model_fingerprint(model: nn.Module) -> str:
    """16 hex digits that change with any weight of the model."""
    digest = hashlib.blake2b(digest_size=8)
    for name, parameter in sorted(model.state_dict().items()):
        digest.update(name.encode())
        flat = parameter.detach().contiguous().flatten().cpu()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def groups_fingerprint(groups: Sequence[Group]) -> str:
    """16 hex digits that change with any token, comparison or weight: data, prompt and tokenizer.

    Of the text that `repr(list(groups))` is, which would be many times as large as the groups.
    """
    digest = hashlib.blake2b(b"[", digest_size=8)
    for place, group in enumerate(groups):
        digest.update(f"{', ' if place else ''}{group!r}".encode())
    digest.update(b"]")
    return digest.hexdigest()


def with_reference(
    groups: Sequence[Group],
    score: Callable[[Sequence[Group]], Tensor],
    model: str,
    folder: Path,
    *,
    process: tuple[int, int] = (0, 1),
    wait: Callable[[], None] = lambda: None,
) -> list[Group]:
    """The groups with log pi_ref of every path.

    Args:
        groups: The groups.
        score: Log-probabilities of the paths of some groups under the reference model, in order.
        model: Fingerprint of the reference model and the precision it computes in.
        folder: Where results are kept; it is shared by runs.
        process: Index of this process and their number; each computes its share.
        wait: Waits for the other processes.

    Returns:
        The same groups, in order.

    Raises:
        CapoBenchError: If the folder cannot be written, or does not hold what another process made.
    """
    chunks = [groups[start : start + _CHUNK] for start in range(0, len(groups), _CHUNK)]
    keys = [_key(model, chunk) for chunk in chunks]
    files = [folder / f"{key}.safetensors" for key in keys]
    rank, world = process
    own = list(zip(files, keys, chunks, strict=True))[rank::world]
    missing = [(file, key, chunk) for file, key, chunk in own if kept(file, key) is None]
    left = [(file, key, chunk, group) for file, key, chunk in missing for group in chunk]
    parts: list[Tensor] = []
    for file, key, chunk, group in tracked(left, "reference log-probabilities", silent=rank > 0):
        parts.append(score([group]).cpu())
        if len(parts) == len(chunk):
            keep(file, key, save({"logprobs": torch.cat(parts)}))
            parts = []
    wait()
    found: list[Group] = []
    for file, key, chunk in zip(files, keys, chunks, strict=True):
        values = iter(_load(file, key).tolist())
        for group in chunk:
            found.append(replace(group, reference=tuple(islice(values, len(group.paths)))))
    return found


def _key(model: str, groups: Sequence[Group]) -> str:
    text = f"{model} {[group.paths for group in groups]}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _load(file: Path, key: str) -> Tensor:
    content = kept(file, key)
    if content is None:
        raise CapoBenchError(
            "is not there or was damaged; keep the cache where all processes see it", file=file
        )
    return load(content)["logprobs"]
