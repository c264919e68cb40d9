"""Some generators of the red team alone, plain and searched: what `controls --red-team` says of all.

    python tests/benchmarks/red_team.py --corpus nli peer-spliced mixture

The whole takes a quarter of an hour a corpus on one core; a generator half a minute.
"""

import argparse
from collections.abc import Sequence

from capo_bench.metrics.cells import Prediction, join
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.forgeries import GENERATORS, Material
from capo_bench.scoring.options import Options
from capo_bench.scoring.red_team import CANDIDATES, searched
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Undefined, estimate


def axes_shown(scorer: Scorer, predictions: Sequence[Prediction]) -> str:
    """Cells of a Markdown table: the headline and its axes, with their intervals."""
    axes = scorer.axes(join(scorer.corpus, scorer.split, predictions))
    return " | ".join(
        "not defined"
        if isinstance(found, Undefined)
        else f"{(one := estimate(found)).value:.3f} [{one.low:.3f}, {one.high:.3f}]"
        for found in axes.values()
    )


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generators", nargs="+", choices=GENERATORS)
    parser.add_argument("--corpus", default="mini-nli")
    given = parser.parse_args()
    scorer: Scorer = Options(given.corpus).scorer()
    material = Material(scorer.corpus, scorer.split)
    print("| attack | labels | faithful rate | label skill | P(target) | indistinguishable |")
    print("|---|---|--:|--:|--:|--:|")
    for name in given.generators:
        for how, texts in (
            ("", material.texts(name, material.cells, 0)),
            (", searched", searched(material, name, CANDIDATES, 0)),
        ):
            peers = GENERATORS[name][0] == "peers"
            for labels in ("majority",) if peers else ("predicted", "majority"):
                guess = getattr(material, f"{labels}_label")
                predictions = [
                    Prediction(item.id, a, render_target([guess(item, a)], text))
                    for (item, a), text in zip(material.cells, texts, strict=True)
                ]
                shown = axes_shown(scorer, predictions)
                print(f"| {name}{how} | {labels} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
