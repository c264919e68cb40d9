"""The metrics as `evaluate` modules: the numbers of the package, without a network."""

import socket
from dataclasses import replace
from pathlib import Path

import evaluate
import pytest

import capo_bench
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.cells import Prediction, join
from capo_bench.metrics.consistency import explanation_consistency, fit_style_bins
from capo_bench.metrics.labels import label_agreement
from capo_bench.scoring.predictions import human_predictions
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import estimate

NAMES = ("annotator_attribution", "explanation_consistency", "label_agreement")


@pytest.fixture(scope="module")
def answers() -> list[Prediction]:
    """Each annotator's item is answered in the words of who comes next."""
    corpus = synthesize("mini-nli").corpus
    human = {(p.item, p.annotator): p.response for p in human_predictions(corpus, "test")}
    swapped = []
    for item, annotator in human:
        names = [name for name in corpus.annotator_ids if (item, name) in human]
        # The last one keeps their own response, so that the metrics differ from 0 and 1.
        at = min(names.index(annotator) + 1, len(names) - 1)
        swapped.append(Prediction(item, annotator, human[item, names[at]]))
    return swapped


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def compute(name: str, answers: list[Prediction], **given):
    module = evaluate.load(capo_bench.evaluate_path(name))
    return module.compute(
        predictions=[p.response for p in answers],
        items=[p.item for p in answers],
        annotators=[p.annotator for p in answers],
        **{"corpus": "mini-nli", **given},
    )


def test_attribution_is_the_scorers(answers):
    found = compute("annotator_attribution", answers)
    measured = Scorer(synthesize("mini-nli").corpus, "test", "minilm").measure(
        join(synthesize("mini-nli").corpus, "test", answers)
    )
    for name in ("attribution_at_1", "attribution_at_3"):
        expected = estimate(measured[name])
        assert (found[name], found[f"{name}_low"]) == (expected.value, expected.low)
    assert 0.1 < found["attribution_at_1"] < 0.6
    raw = compute("annotator_attribution", answers, normalised=False, k=[1])
    assert raw["attribution_at_1"] == estimate(measured["attribution_raw_at_1"]).value
    assert set(raw) == {f"attribution_at_1{part}" for part in ("", "_stderr", "_low", "_high")}


def test_attribution_leaves_out_whoever_explained_nothing(answers, tmp_path):
    made = synthesize("mini-nli").corpus
    silent = tuple(
        replace(
            item,
            cells={
                **item.cells,
                "Ann1": tuple(replace(one, explanation="") for one in item.cells.get("Ann1", ())),
            },
        )
        if item.split == "test"
        else item
        for item in made.items
    )
    corpus = replace(made, items=silent, task=replace(made.task, explanations="optional"))
    jsonl.write(corpus, tmp_path / "half.jsonl")
    found = compute("annotator_attribution", answers, corpus=str(tmp_path / "half.jsonl"), k=[1])
    cells = join(corpus, "test", answers)
    assert len(cells.explained) < len(cells)
    measured = Scorer(corpus, "test", "minilm").measure(cells, encoded=False)
    assert found["attribution_at_1"] == estimate(measured["attribution_at_1"]).value


def test_consistency_and_labels_are_the_packages(answers):
    cells = join(synthesize("mini-nli").corpus, "test", answers)
    expected = estimate(
        explanation_consistency(cells, fit_style_bins(synthesize("mini-nli").corpus))
    )
    found = compute("explanation_consistency", answers)
    assert found["explanation_consistency"] == expected.value
    assert found["explanation_consistency_high"] == expected.high
    labels = compute("label_agreement", answers)
    for name, measured in label_agreement(cells).items():
        assert labels[name] == pytest.approx(estimate(measured).value)


def test_what_is_undefined_says_why(answers):
    found = compute("annotator_attribution", answers, k=[50])
    assert found["attribution_at_50"] is None
    assert "no attributable annotator has" in found["attribution_at_50_undefined"]


def test_bad_input_is_named(answers):
    with pytest.raises(CapoBenchError, match="there are annotator_attribution, explanation"):
        capo_bench.evaluate_path("accuracy")
    with pytest.raises(CapoBenchError, match="cells lack a prediction"):
        compute("label_agreement", answers[:-1])


@pytest.mark.parametrize("name", NAMES)
def test_each_module_has_a_card(name):
    folder = Path(capo_bench.evaluate_path(name))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f'evaluate_path("{name}")' in card
    assert evaluate.load(str(folder)).inputs_description
