"""Checkpoints that can be trusted: whole, finite, and of the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from capo_bench.errors import CapoBenchError

RUN_FILE = "capo_bench.json"


def last_whole(output: Path) -> Path | None:
    """The newest checkpoint that was written to its end.

    transformers writes the trainer's state last, so that a checkpoint without it was cut short.
    """
    numbered = []
    for folder in output.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        number = folder.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        if number.isdigit() and _is_whole(folder):
            numbered.append((int(number), folder))
    return max(numbered)[1] if numbered else None


def _is_whole(folder: Path) -> bool:
    try:
        state = json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "global_step" in state


def check_same_run(checkpoint: Path, run: dict[str, Any]) -> None:
    """Refuses to resume from a checkpoint of other data or another method.

    Raises:
        CapoBenchError: If it is of another run, or is no checkpoint of this trainer.
    """
    file = checkpoint / RUN_FILE
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CapoBenchError(
            f"{checkpoint} is no checkpoint of this trainer: {file.name} cannot be read"
        ) from error
    for name, value in run.items():
        if before.get(name) != value:
            raise CapoBenchError(
                f"{checkpoint} was trained with {name} {before.get(name)}, this run has {value}; "
                "resume with the same data and settings, or choose another --output_dir"
            )
