"""What the headline makes of people's own answers, mixed with others and typed otherwise.

    python tests/benchmarks/mixtures.py --corpus nli

A share of the cells, drawn at random, is answered with the annotator's own response, the rest by a
control row; retyped and with a stock ending, all are the annotator's own words.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

from red_team import axes_shown

from capo_bench.metrics.cells import Prediction
from capo_bench.scoring.controls import HUMAN, control_predictions
from capo_bench.scoring.options import Options
from capo_bench.scoring.scorer import Scorer

SHARES = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
OTHERS = ("other-annotator", "wrong-item", "majority-template", "empty")
TYPED: dict[str, Callable[[str], str]] = {
    "in capitals, without punctuation": lambda text: re.sub(r"[^\w\s]", " ", text).upper(),
    "in lower case, apostrophes left out": lambda text: re.sub(r"[^\w\s]", "", text).lower(),
    "with a capital and an exclamation mark": lambda text: f"{text[:1].upper()}{text[1:]}!",
    "with one stock ending": lambda text: f"{text} This is my honest opinion.",
}


def rows(own: Sequence[Prediction], controls: dict[str, Sequence[Prediction]]) -> Iterator[tuple]:
    for other in OTHERS:
        drawn = [Random(f"{other}/{p.item}/{p.annotator}").random() for p in own]
        for share in SHARES:
            mixed = [
                mine if at < share else theirs
                for at, mine, theirs in zip(drawn, own, controls[other], strict=True)
            ]
            yield f"{share:.0%} people, the rest {other}", mixed
    for how, typed in TYPED.items():
        yield f"people, {how}", [replace(p, response=_explained(p.response, typed)) for p in own]


def _explained(response: str, typed: Callable[[str], str]) -> str:
    head, cue, explanation = response.partition("\nExplanation: ")
    return f"{head}{cue}{typed(explanation)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="mini-nli")
    parser.add_argument("--data")
    given = parser.parse_args()
    scorer: Scorer = Options(given.corpus, given.data).scorer()
    controls = control_predictions(scorer.corpus)
    print("| answers | faithful rate | label skill | P(target) | indistinguishable |")
    print("|---|--:|--:|--:|--:|")
    for name, predictions in rows(controls[HUMAN], controls):
        print(f"| {name} | {axes_shown(scorer, predictions)} |", flush=True)


if __name__ == "__main__":
    main()
