"""`capo-bench score`: predictions of any origin, scored offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from capo_bench.cli.options import Asked, Force, Json, asking, may_write, read


@asking()
def score(
    files: Annotated[
        list[Path], typer.Argument(help="Samples that lm_eval logged, or files of predictions.")
    ],
    asked: Asked,
    as_json: Json = False,
    responses: Annotated[
        Path | None,
        typer.Option(
            help="Also write what the metrics say of each response, one JSON object a line."
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Score predictions offline; the numbers are those of the run that made them."""
    from capo_bench.display import console, json_text
    from capo_bench.files import write_json_lines
    from capo_bench.metrics.registry import metrics_of
    from capo_bench.report.tables import scores_table
    from capo_bench.scoring.cache import score_repeats
    from capo_bench.scoring.per_response import per_response

    if responses:
        may_write(responses, force)
    results, rows = [], []
    for path in files:
        found, scorer = read(path, asked)
        scores, spread = score_repeats(scorer, found.repeats)
        results.append({"file": str(path), **scores.as_json(), **spread})
        if responses:
            rows += [
                {"file": str(path), "generation": number, **row}
                for number, run in enumerate(found.repeats)
                for row in per_response(scorer, run)
            ]
        if not as_json:
            several = f", mean of {len(found.repeats)} generations" if spread else ""
            title = f"{path.name}{several}"
            console().print(scores_table(scores, metrics_of(scorer.corpus), title))
            for name, deviation in spread.get("spread", {}).items():
                print(f"{name}: standard deviation {deviation:.4f} over the generations")
    if responses:
        write_json_lines(responses, rows)
    if as_json:
        print(json_text(results))
