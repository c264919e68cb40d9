"""`capo-bench score`: predictions of any origin, scored offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from capo_bench.cli.options import Asked, Json, answered, asking


@asking()
def score(
    files: Annotated[
        list[Path], typer.Argument(help="Samples that lm_eval logged, or files of predictions.")
    ],
    asked: Asked,
    as_json: Json = False,
) -> None:
    """Score predictions offline; the numbers are those of the run that made them."""
    from rich.console import Console

    from capo_bench.metrics.registry import metrics_of
    from capo_bench.report.tables import scores_table

    results = []
    for path in files:
        predictions, scorer = answered(path, asked)
        scores = scorer.score(predictions)
        results.append({"file": str(path), **scores.as_json()})
        if not as_json:
            Console().print(scores_table(scores, metrics_of(scorer.corpus), path.name))
    if as_json:
        print(json.dumps(results, indent=2))
