"""The registry says everything about a metric once, and whoever shows one reads it there."""

import ast
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

import capo_bench
from capo_bench.corpus.load import load
from capo_bench.corpus.model import LabelSpace
from capo_bench.leaderboard import board as board_module
from capo_bench.leaderboard import board_tables
from capo_bench.metrics import registry
from capo_bench.metrics.cells import join
from capo_bench.metrics.guards import excesses
from capo_bench.metrics.instruments import Instruments, Reading
from capo_bench.metrics.registry import (
    METRICS,
    Metric,
    bounds,
    group_curve,
    measure,
    metrics_of,
)
from capo_bench.report import build as report_module
from capo_bench.report import page
from capo_bench.report.tables import scores_table
from capo_bench.scoring.per_response import per_response
from capo_bench.scoring.predictions import human_predictions
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Undefined, item_means
from tests.leaderboard.boards import board_folder, few_controls, rows, submit
from tests.metrics.build import SCALE, answer, corpus

NOMINAL = replace(SCALE, labels=LabelSpace("nominal", ("a", "b")))
PACKAGE = Path(capo_bench.__file__).parent

# Who names a metric, and why no attribute of the registry would say it.
NAMED = {
    "harness/dry_run.py": {"label_accuracy"},  # what the annotators' own answers are to score
    "evaluate_modules/explanation_consistency/explanation_consistency.py": {
        "explanation_consistency"  # the module is that metric
    },
    "scoring/per_response.py": {"rouge_l"},  # of one response, beside others that are no metrics
}


WORDS = ("attribution", "bertscore", "contrast", "lewidi")
"""Parts of metrics' names that are found nowhere else."""


def parsed():
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if not where.startswith("metrics/"):
            yield where, ast.parse(path.read_text())


def strings(node):
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)} - {None, ...}


def part_of_a_name(text):
    """Whether it is a piece of metrics' names, cut where they have a `_`."""
    if not isinstance(text, str) or not text.strip("_"):
        return False
    inside = any(f"_{text.strip('_')}_" in f"_{metric.name}_" for metric in METRICS)
    return inside and ("_" in text or text in WORDS)


def test_no_module_but_the_metrics_themselves_names_one_in_a_string():
    # An axis may be called as the metric that stands for it.
    names = {metric.name for metric in METRICS} - {metric.axis for metric in METRICS}
    found = {where: names & strings(tree) for where, tree in parsed()}
    assert {where: named for where, named in found.items() if named} == NAMED


def test_no_module_takes_the_name_of_a_metric_apart():
    apart = {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition"}
    apart |= {"split", "rsplit", "find", "rfind", "index", "match", "search", "fullmatch"}
    for where, tree in parsed():
        for node in ast.walk(tree):
            searched = set()
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in apart:
                    assert "metric" not in ast.unparse(node.func.value), (where, node.lineno)
                    searched = set().union(*map(strings, node.args))
            elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
                searched = strings(node.left)
            assert not any(map(part_of_a_name, searched)), (where, node.lineno)


def test_the_scan_knows_a_part_of_a_name():
    assert all(map(part_of_a_name, ("attribution_", "_at_", "_rate", "bertscore", "label_")))
    assert not any(map(part_of_a_name, ("label", "at", "_", "", None, "predictions_")))


def test_names_and_titles_are_one_each():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert len({metric.title for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize(
    ("space", "only"),
    [
        (LabelSpace("nominal", ("a", "b")), set()),
        (
            LabelSpace("multilabel", ("a", "b")),
            {"label_accuracy_strict"},
        ),
        (
            LabelSpace("ordinal", ("0", "1", "2", "5")),
            {"label_within_1", "label_mae", "label_qwk", "label_anad"},
        ),
        (
            LabelSpace("interval", range=(0, 1), step=0.25),
            {"label_within_1", "label_mae", "label_qwk", "label_anad"},
        ),
    ],
)
def test_the_kind_of_labels_chooses_the_metrics(space, only):
    found = corpus([{"A": [(space.labels[0], "x")]}], replace(SCALE, labels=space))
    some = {metric.name for metric in METRICS if not metric.defined(NOMINAL)}
    assert {metric.name for metric in metrics_of(found)} & some == only


def test_bounds_follow_from_the_labels_where_they_have_to():
    scale = corpus([{"A": [("0", "x")]}], SCALE)
    assert bounds("label_mae", scale) == (0, 4)
    assert bounds("lewidi_soft", corpus([{"A": [("neutral", "x")]}])) == (0, 2)
    assert bounds("label_kappa", scale) == bounds("contrast_rouge_l", scale) == (-1, 1)
    assert bounds("explanation_consistency", scale) == (-inf, inf)
    assert bounds("attribution_at_3", scale) == (0, 1)


def test_a_curve_is_one_metric_over_the_group_size():
    assert [(m.name, m.group) for m in group_curve("raw attribution")] == [
        ("attribution_raw_at_1", 1),
        ("attribution_raw_at_3", 3),
        ("attribution_raw_at_10", 10),
    ]


def test_who_has_labels_alone_has_no_other_metrics_and_a_headline_that_may_be_negative():
    task = replace(SCALE, explanations="none")
    alone = corpus([{"A": [("0", "")]}], task)
    assert bounds("faithful_rate", alone) == (-1, 1)


def shouting(reading):
    cells = reading.cells
    loud = [text.isupper() for text in cells.explanations]
    return {"loud_rate": item_means(loud, cells.item, len(cells.items))}


@pytest.fixture
def added(monkeypatch):
    """A metric of a file of its own, entered into the registry."""
    entry = Metric(
        "loud_rate",
        "loud",
        "written in capitals",
        "guard",
        shouting,
        higher_is_better=False,
        share=True,
        shown=("controls", "board", "contrasts", "study"),
    )
    monkeypatch.setattr(registry, "METRICS", (*METRICS, entry))
    return entry


def test_a_metric_that_is_added_is_scored_and_shown(added, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(board_module, "control_predictions", few_controls)
    monkeypatch.setattr(board_module, "representatives", lambda _: {})
    monkeypatch.setattr(report_module, "control_predictions", few_controls)
    folder = board_folder(tmp_path)
    answers = rows()["human"]
    half = len(answers) // 2
    shouted = [replace(one, response=one.response.upper()) for one in answers[:half]]
    submit(folder, "loud", (*shouted, *answers[half:]))
    board = board_module.build(folder)
    scorer = board.spec.options(folder).scorer()

    scores = board.systems[0].measurements.scores
    value = scores.estimates["loud_rate"].value
    assert value == half / len(answers)
    assert scores.as_json()["metrics"]["loud_rate"]["value"] == value
    assert "loud_rate" in list(scores_table(scores, board.metrics, "").columns[1].cells)
    assert "| loud |" in board_tables.markdown(board)
    data = next(e for e in board_tables.as_json(board)["entries"] if e["id"] == "loud")
    assert data["metrics"]["loud_rate"]["value"] == round(value, 4)
    report = report_module.build(scorer, [*shouted, *answers[half:]], "loud")
    assert "| loud_rate |" in page.markdown(report)


def test_cells_without_a_human_explanation_are_left_out_of_what_needs_one():
    """Half of the people's explanations are missing: what is left is scored as if they never were."""
    whole = load("mini-nli")
    task = replace(whole.task, explanations="optional")
    silent = {"Ann1", "Ann2"}
    half = replace(
        whole,
        task=task,
        items=tuple(
            replace(
                item,
                cells={
                    a: tuple(replace(r, explanation="") if a in silent else r for r in own)
                    for a, own in item.cells.items()
                },
            )
            if item.split == "test"
            else item
            for item in whole.items
        ),
    )
    cells = join(half, "test", human_predictions(half, "test"))
    instruments = Instruments(half, "test", "minilm")
    found = measure(Reading(cells, instruments), encoded=False)
    assert found["invalid_rate"].value() == 0
    assert found["label_accuracy"].value() == 1
    spoken = [one for one in human_predictions(whole, "test") if one.annotator not in silent]
    assert len(cells.explained) == len(spoken)
    assert [cells.explained.corpus.annotator_ids[a] for a in cells.explained.annotator] == [
        one.annotator for one in spoken
    ]
    everyone = Reading(join(whole, "test", human_predictions(whole, "test")), instruments)
    kept = np.isin(everyone.cells.annotator, np.unique(cells.explained.annotator))
    relevant, _ = excesses(everyone.cells, instruments.guards)
    assert found["item_relevance"].value() == pytest.approx(relevant[kept].mean())
    scorer = Scorer(half, "test", "minilm")
    assert not set(scorer.excess_by_annotator(cells)["irrelevance_excess"]) & silent
    assert not scorer.verdicts(cells).guarded[~cells.is_explained].any()
    single = [row["relevant"] for row in per_response(scorer, human_predictions(half, "test"))]
    assert single.count(None) == len(cells) - len(spoken)
    told = [relevant for relevant in single if relevant is not None]
    assert found["item_relevance"].value() == pytest.approx(np.mean(told))
    assert Scorer(half, "test", "minilm").signature["explained"] == (
        f"{len(spoken)} of {len(cells)} responses"
    )


def test_where_nobody_explained_anything_the_metrics_of_explanations_say_so():
    task = replace(SCALE, explanations="optional")
    cells = answer(
        corpus([{"A": [("0", "")], "B": [("1", "")]}], task), [{"A": (["0"], ""), "B": (["1"], "")}]
    )
    found = measure(Reading(cells, Instruments(cells.corpus, "test", "minilm")))
    untold = {name for name, one in found.items() if isinstance(one, Undefined)}
    assert untold >= {metric.name for metric in metrics_of(cells.corpus) if metric.explanations}
    assert found["rouge_l"].reason == "no evaluated cell has a human explanation"
    assert found["invalid_rate"].value() == 0


def test_too_few_items_define_no_voice_and_no_agreement_beyond_chance():
    scorer = Scorer(load("mini-nli"), "test", "minilm")
    human = human_predictions(scorer.corpus, "test")
    shown = list(dict.fromkeys(p.item for p in human))
    found = scorer.score([p for p in human if p.item in shown[:4]]).estimates
    few = {name for name, one in found.items() if isinstance(one, Undefined)}
    assert {metric.name for metric in METRICS if metric.minimum == 5} & found.keys() <= few
    assert found["explanation_consistency"].reason == (
        "it takes 5 evaluated items, and there are 4"
    )
    assert found["label_accuracy"].value == 1  # a share of what there is
    enough = scorer.score([p for p in human if p.item in shown[:5]]).estimates
    assert enough["label_skill"].value > 0.9
    assert enough["attribution_probability"].value > 1 / 4


def test_axes_need_more_than_an_item():
    named = {metric.name for metric in METRICS if metric.minimum > 1}
    axes = {"headline", "identity", "indistinguishability"}
    assert {metric.name for metric in METRICS if metric.axis in axes} <= named
    assert {"label_skill", "label_kappa"} <= named
