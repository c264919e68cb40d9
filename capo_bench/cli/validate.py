"""`capo-bench validate`: the tasks, tried out."""

from __future__ import annotations

from typing import Annotated

import typer

from capo_bench.cli.options import Metadata, read_metadata
from capo_bench.errors import CapoBenchError


def validate(
    names: Annotated[
        list[str] | None, typer.Argument(help="Tasks; default: all of this package.")
    ] = None,
    metadata: Metadata = "{}",
) -> None:
    """Check the tasks for real: load each, render its documents, score a canned answer."""
    extra = read_metadata(metadata)
    from capo_bench.harness.dry_run import task_names, validate_task

    chosen = names or task_names()
    failed = 0
    for name in chosen:
        problem = validate_task(name, extra)
        failed += problem is not None
        print(
            f"{'ok    ' if problem is None else 'FAILED'} {name}"
            + (f": {problem}" if problem else "")
        )
    if failed:
        raise CapoBenchError(f"{failed} of {len(chosen)} tasks failed")
