"""`capo-bench power`: how small a difference a corpus can tell."""

from __future__ import annotations

from typing import Annotated

import typer

from capo_bench.cli.options import Asked, Json, asking
from capo_bench.errors import CapoBenchError


@asking()
def power(
    asked: Asked,
    items: Annotated[
        str, typer.Option(help="Numbers of items to tell it for, with commas.")
    ] = "25,50,100,200",
    people: Annotated[
        float, typer.Option(help="Part of the cells that the imitators have right.", min=0, max=1)
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """The difference between two systems that so many items tell with power .8, by metric.

    It is estimated with imitators that answer as the annotator in a part of the cells and as another
    annotator of the item in the rest.
    """
    from capo_bench.analysis.power import power as power_of
    from capo_bench.analysis.power import power_table
    from capo_bench.display import console, json_text

    try:
        sizes = [int(number) for number in items.split(",")]
    except ValueError as error:
        raise CapoBenchError(f"--items {items}: expected numbers, such as 25,50,100") from error
    if min(sizes) < 2:
        raise CapoBenchError(f"--items {items}: it takes two items to tell a difference")
    scorer = asked.options().scorer()
    found = power_of(scorer, people=people, encoded=asked.bertscore is not None)
    if as_json:
        rows = {
            one.metric.name: {
                "value": one.value,
                "told": {str(size): one.told(size) for size in sizes},
                "margin": {str(size): one.margin(size) for size in sizes},
            }
            for one in found
        }
        print(json_text({**scorer.signature, "people": people, "metrics": rows}))
        return
    console().print(power_table(found, scorer, sizes, people))
