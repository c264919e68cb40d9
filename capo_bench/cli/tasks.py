"""`capo-bench tasks`: where the task definitions lie."""

from __future__ import annotations

from capo_bench.harness.paths import tasks_path


def tasks() -> None:
    """Print the folder of task definitions, for lm_eval's --include_path."""
    print(tasks_path())
