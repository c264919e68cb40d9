"""Where the task definitions lie; imports neither lm_eval nor torch."""

from __future__ import annotations

from pathlib import Path


def tasks_path() -> Path:
    """The folder that lm-eval's `--include_path` needs."""
    package = Path(__file__).parent.parent
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parent / "tasks"
