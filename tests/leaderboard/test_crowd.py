"""The board of a crowd: what is asked for is bounded, and answering it is enough."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
import yaml

import capo_bench.corpus.evaluable as evaluable_module
import capo_bench.metrics.cells as cells_module
from capo_bench.corpus.evaluable import CROWD, is_crowd
from capo_bench.corpus.load import load
from capo_bench.corpus.model import Annotator, Corpus
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.leaderboard.board import build
from capo_bench.leaderboard.verify import verify
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.options import Options
from capo_bench.scoring.scorer import METRICS_VERSION
from tests.leaderboard.build import written

MOST = 40


def crowd() -> Corpus:
    """Three busy annotators, and a fourth persona's answers dealt to as many as make a crowd."""
    made = synthesize("places", items=100, annotators=4).corpus
    *busy, last = made.annotator_ids
    few = [f"w{n}" for n in range(CROWD)]
    items = tuple(
        replace(
            item,
            cells={**{one: item.cells[one] for one in busy}, few[n]: item.cells[last]},
            idk=(),
            split="train" if n < 60 else "test",
        )
        # Each of the many answers one item, and some of them one more.
        for n, item in enumerate(made.items)
    )
    again = tuple(
        replace(item, cells={**item.cells, few[n - 60]: item.cells[few[n]]})
        for n, item in enumerate(items)
        if n >= 60
    )
    people = tuple(map(Annotator, [*busy, *few]))
    return replace(made, name="crowd", annotators=people, items=items[:60] + again)


@pytest.fixture(scope="module")
def bounds():
    """As for thousands of people, so that a hundred show what is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluable_module, "MAX_ASKED", MOST)
        patch.setattr(cells_module, "MAX_COMPARED", MOST // 2)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache, bounds):
    root = tmp_path_factory.mktemp("boards") / "crowd"
    root.mkdir()
    jsonl.write(crowd(), root / "crowd.jsonl")
    spec = {"title": "A crowd", "corpus": "crowd.jsonl", "bertscore": "minilm"}
    (root / "board.yaml").write_text(yaml.safe_dump(spec))
    return root


@pytest.fixture(scope="module")
def scorer(folder):
    return Options(str(folder / "crowd.jsonl"), bertscore="minilm").scorer()


@pytest.fixture(scope="module")
def asked(scorer):
    """Another annotator's answer to each cell that is asked for."""
    rng = Random(0)
    return [answer(item, who, rng) for item, who in evaluated_cells(scorer.corpus, "test")]


def answer(item, who, rng):
    others = [given for one, given in item.cells.items() if given and one != who]
    said = rng.choice(others or [item.cells[who]])[0]
    return Prediction(item.id, who, render_target(said.labels, said.explanation))


def submit(folder, scorer, name, row):
    card = {
        "board": "crowd",
        "system": name,
        "runs": [{"seed": 1, "file": "predictions.jsonl"}],
        "versions": {"capo_bench": "0.1.0", "metrics": str(METRICS_VERSION), "task": "1.0"},
    }
    return written(folder / "submissions" / name, (row,), scorer.corpus.fingerprint, **card).folder


def completeness(folder, scorer):
    found = verify(folder, scorer, "crowd").findings
    return [(one.severity, one.message) for one in found if one.rule == "completeness"]


def test_a_crowd_is_asked_for_whole_items_and_answering_them_makes_a_row(folder, scorer, asked):
    corpus = load(str(folder / "crowd.jsonl"))
    assert is_crowd(corpus)
    trained = {who for item in corpus.split("train") for who, said in item.cells.items() if said}
    whole = [
        (item.id, who)
        for item in corpus.split("test")
        for who, said in item.cells.items()
        if said and who in trained
    ]
    by_item = Counter(one.item for one in asked)
    assert MOST - 4 < len(asked) <= MOST < len(whole)
    assert by_item == {one: n for one, n in Counter(i for i, _ in whole).items() if one in by_item}

    beyond = [
        answer(item, who, Random(1))
        for item in corpus.split("test")
        for who, said in item.cells.items()
        if said and (item.id not in by_item or who not in trained)
    ]
    enough = submit(folder, scorer, "enough", asked)
    more = submit(folder, scorer, "more", asked + beyond)
    gap = submit(folder, scorer, "gap", asked[1:])
    strange = submit(folder, scorer, "strange", [*asked, replace(asked[0], item="nowhere")])
    assert completeness(enough, scorer) == []
    ((severity, said),) = completeness(more, scorer)
    assert severity == "note"
    assert said.startswith(
        f"{len(beyond)} answers are to items or for annotators that nobody is asked about, such as "
    )
    assert said.endswith("; they are left out")
    ((severity, said),) = completeness(gap, scorer)
    assert severity == "error"
    assert said.startswith(f"1 of {len(asked)} cells are missing, such as '{asked[0].item}' of ")
    ((severity, said),) = completeness(strange, scorer)
    assert severity == "error"
    assert said.startswith(
        "1 answered cells are no labelled cells of split test, such as 'nowhere'"
    )

    board = build(folder)
    rows = {one.id: one.measurements.scores for one in board.systems}
    assert rows.keys() == {"enough", "more"}
    assert [one for one, _ in board.refused] == ["gap", "strange"]
    assert rows["enough"].estimates == rows["more"].estimates
    assert rows["enough"].n_responses == len(asked)
    assert board.human.measurements.scores.n_responses == len(asked)
    assert board.human.headline.value > rows["enough"].estimates["faithful_rate"].value
