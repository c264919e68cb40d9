"""Values of single responses: by hand, and as the metrics' means."""

import json
from dataclasses import replace

import pytest

from capo_bench.corpus.evaluable import MIN_EXPLANATIONS
from capo_bench.corpus.load import load
from capo_bench.metrics.cells import Prediction
from capo_bench.scoring.per_response import per_response
from capo_bench.scoring.predictions import human_predictions, write_predictions
from capo_bench.scoring.scorer import Scorer

CORPUS = load("mini-nli")
HUMAN = human_predictions(CORPUS, "test")


@pytest.fixture(scope="module")
def scorer():
    return Scorer(CORPUS, "test", "minilm")


def test_people_pass_for_themselves_in_every_response(scorer):
    rows = per_response(scorer, HUMAN)
    assert [(r["item"], r["annotator"]) for r in rows] == [(p.item, p.annotator) for p in HUMAN]
    for row in rows:
        assert row["label_agrees"] is True
        assert row["passes"] == 1  # each text beside itself: as often below as above
        assert row["rouge_l"] == 1
        assert row["error"] is None


def test_labels_alone_have_no_voice():
    """Everybody has forty labels in train, which are no explanations to be known by."""
    items = tuple(
        replace(
            item,
            cells={
                who: (replace(own[0], explanation=""),) for who, own in item.cells.items() if own
            },
        )
        for item in CORPUS.items
    )
    task = replace(CORPUS.task, explanations="none")
    silent = replace(CORPUS, name="silent", task=task, items=items)
    assert min(silent.history_sizes.values()) > MIN_EXPLANATIONS
    for row in per_response(Scorer(silent, "test", "minilm"), human_predictions(silent, "test")):
        assert (row["label_agrees"], row["error"]) == (True, None)
        assert (row["p_target"], row["attributed_to"], row["passes"]) == (None, None, None)
        assert (row["relevant"], row["copied"], row["rouge_l"]) == (None, None, None)


def test_unreadable_responses_are_nobodys_never_pass_and_say_why(scorer):
    rows = per_response(scorer, [Prediction(p.item, p.annotator, "I refuse.") for p in HUMAN])
    for row in rows:
        assert (row["label_agrees"], row["attributed_to"], row["rouge_l"]) == (False, None, 0)
        assert row["p_target"] == pytest.approx(1 / len(CORPUS.annotator_ids))  # nothing tells
        assert row["passes"] == 0
        assert (row["relevant"], row["copied"]) == (False, False)
        assert row["error"]


def test_their_means_are_the_metrics(scorer):
    ids = CORPUS.annotator_ids
    swapped = {(p.item, p.annotator): p.response for p in HUMAN}
    answers = [  # everyone answers as the next annotator who labelled the item
        Prediction(p.item, p.annotator, swapped.get((p.item, ids[at]), p.response))
        for p in HUMAN
        for at in [(ids.index(p.annotator) + 1) % len(ids)]
    ]
    rows = per_response(scorer, answers)
    found = scorer.score(answers).estimates
    for metric, values in {
        "label_accuracy": [row["label_agrees"] for row in rows],
        "attribution_probability": [row["p_target"] for row in rows],
        "attribution_at_1": [row["attributed_to"] == row["annotator"] for row in rows],
        "item_relevance": [row["relevant"] for row in rows],
        "rouge_l": [row["rouge_l"] for row in rows],
    }.items():
        assert sum(values) / len(values) == pytest.approx(found[metric].value), metric
    # Indistinguishability is of annotators: min(1, p / (2 - p)) with p the mean of `passes`.
    shares = {}
    for row in rows:
        shares.setdefault(row["annotator"], []).append(row["passes"])
    odds = {a: min(1, (m := sum(v) / len(v)) / (2 - min(m, 1))) for a, v in shares.items()}
    mean = sum(odds[row["annotator"]] for row in rows) / len(rows)
    assert mean == pytest.approx(found["indistinguishability"].value)


def test_score_writes_them_a_line_each(call, tmp_path):
    file, told = tmp_path / "human.jsonl", tmp_path / "responses.jsonl"
    write_predictions(file, CORPUS, HUMAN)
    status, _, err = call("score", file, "--corpus", "mini-nli", "--responses", told)
    assert status == 0, err
    rows = [json.loads(line) for line in told.read_text().splitlines()]
    assert len(rows) == len(HUMAN)
    assert (rows[0]["file"], rows[0]["generation"]) == (str(file), 0)
    assert (rows[0]["label_agrees"], rows[0]["passes"]) == (True, 1)
    status, _, err = call("score", file, "--corpus", "mini-nli", "--responses", told)
    assert status == 2
    assert "is there already" in err
