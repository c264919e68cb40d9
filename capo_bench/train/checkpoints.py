"""Checkpoints that can be trusted: whole, finite, and of the same run."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from capo_bench.errors import CapoBenchError
from capo_bench.files import read_json

RUN_FILE = "capo_bench.json"


def last_whole(output: Path) -> Path | None:
    """The newest checkpoint that was written to its end.

    Its first file is `RUN_FILE`, and transformers writes the trainer's state last, so that one
    without it was cut short.
    """
    numbered = []
    for folder in output.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        number = folder.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        if number.isdecimal() and _is_whole(folder):
            numbered.append((int(number), folder))
    return max(numbered)[1] if numbered else None


def _is_whole(folder: Path) -> bool:
    try:
        state = read_json(folder / TRAINER_STATE_NAME, finite=False)
    except CapoBenchError:
        return False
    # One that is being removed has lost its weights before its state, or the state before them.
    weights = any(folder.glob("*.safetensors")) or any(one.is_dir() for one in folder.iterdir())
    return isinstance(state, dict) and "global_step" in state and weights


def cut_short(output: Path) -> list[Path]:
    """The checkpoints of this trainer that a killed process has not written to their end."""
    return [
        folder
        for folder in output.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if not (folder / TRAINER_STATE_NAME).exists()
        and ((folder / RUN_FILE).exists() or all(e.suffix == ".partial" for e in folder.iterdir()))
    ]


def check_state(checkpoint: Path) -> None:
    """Refuses a checkpoint whose optimizer, scheduler or random state is missing or damaged.

    transformers goes on without those that are missing; torch's files hold a checksum of each part.

    Raises:
        CapoBenchError: Naming the file.
    """
    if any(entry.is_dir() for entry in checkpoint.iterdir()):
        return  # sharded by FSDP or DeepSpeed, which check their own
    for pattern in ("optimizer.pt", "scheduler.pt", "rng_state*.pth"):
        files = sorted(checkpoint.glob(pattern))
        if not files:
            raise CapoBenchError(f"has no {pattern}; {_EARLIER}", file=checkpoint)
        for file in files:
            try:
                with ZipFile(file) as parts:
                    damaged = parts.testzip()
            # A turned bit can also say that a part is encrypted, or end beyond the file.
            except (OSError, BadZipFile, ValueError, RuntimeError, EOFError, zlib.error) as error:
                raise CapoBenchError(f"is damaged ({error}); {_EARLIER}", file=file) from error
            if damaged is not None:
                raise CapoBenchError(f"is damaged (at {damaged}); {_EARLIER}", file=file)


_EARLIER = "delete the checkpoint and resume from the one before"


def check_same_run(checkpoint: Path, run: dict[str, Any]) -> None:
    """Refuses to resume from a checkpoint of other data or another method.

    Raises:
        CapoBenchError: If it is of another run, or is no checkpoint of this trainer.
    """
    file = checkpoint / RUN_FILE
    try:
        before = read_json(file)
    except CapoBenchError as error:
        raise CapoBenchError(
            f"is no checkpoint of this trainer: {file.name} {error.message}", file=checkpoint
        ) from error
    if not isinstance(before, dict):
        raise CapoBenchError(f"is damaged (no JSON object); {_EARLIER}", file=file)
    for name, value in run.items():
        if before.get(name) != value:
            raise CapoBenchError(
                f"{checkpoint} was trained with {name} {before.get(name)}, this run has {value}; "
                "resume with the same data and settings, or choose another --output_dir"
            )
