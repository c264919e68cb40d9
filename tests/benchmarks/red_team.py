"""Some generators of the red team alone, plain and searched: what `controls --red-team` says of all.

    python tests/benchmarks/red_team.py --corpus nli peer-spliced mixture

The whole takes 20 minutes a corpus on one core; a generator some 40 seconds.
"""

import argparse
from collections.abc import Sequence

from capo_bench.metrics.cells import Prediction, join
from capo_bench.scoring.forgeries import GENERATORS
from capo_bench.scoring.options import Options
from capo_bench.scoring.red_team import CANDIDATES, SETS, red_team
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
    parser.add_argument("generators", nargs="+", choices=[*GENERATORS, SETS])
    parser.add_argument("--corpus", default="mini-nli")
    given = parser.parse_args()
    scorer: Scorer = Options(given.corpus).scorer()
    print("| attack | labels | faithful rate | label skill | P(target) | indistinguishable |")
    print("|---|---|--:|--:|--:|--:|")
    for one in red_team(scorer.corpus, scorer.split, given.generators, candidates=CANDIDATES):
        if one.labels != "usual":
            name = one.generator + (", searched" if one.searched else "")
            print(f"| {name} | {one.labels} | {axes_shown(scorer, one.predictions)} |", flush=True)


if __name__ == "__main__":
    main()
