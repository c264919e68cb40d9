"""Exports: against numbers worked out by hand, the organisers' own files, and the schemas."""

import importlib.util
import json
from ast import literal_eval
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

from capo_bench.corpus.load import load
from capo_bench.leaderboard.exchange import SCHEMA_VERSION, every_eval_ever, write_lewidi
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.metrics.registry import metrics_of
from capo_bench.prompts.responses import render_target
from capo_bench.scoring.cache import Measurements
from capo_bench.scoring.options import Options
from capo_bench.scoring.predictions import human_predictions
from capo_bench.scoring.scorer import Scorer, Scores
from capo_bench.stats.ranking import Contender
from capo_bench.stats.resampling import Estimate, Resampled, Undefined
from tests.corpus import build
from tests.leaderboard.build import CARD, written

RUN = CARD["runs"][0]


def lines(file):
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    return {item: literal_eval(value) for item, value in rows}


def test_lewidi_nli_by_hand(tmp_path):
    explained = ["It says so.", "It need not."]
    record = build.nli_record("Ann2,Ann1", {"Ann1": "neutral", "Ann2": "entailment"}, explained)
    other = build.nli_record(
        "Ann1,Ann2", {"Ann1": "neutral", "Ann2": "neutral"}, explained, statement="It was shut."
    )
    build.write_lewidi(
        tmp_path / "data", "VariErrNLI", train={"1": record}, dev={"9": other, "8": record}
    )
    corpus = load("lewidi-nli", path=tmp_path / "data")
    nine, eight = corpus.split("validation")
    said = {
        (nine.id, "Ann1"): "entailment, neutral",
        (nine.id, "Ann2"): "contradiction",
        (eight.id, "Ann1"): "neutral",
        (eight.id, "Ann2"): "who knows",  # no label
    }
    predictions = [Prediction(*cell, f"Label: {s}\nExplanation: x") for cell, s in said.items()]
    submission = written(tmp_path / "s", (predictions[::-1],), corpus.fingerprint)
    files, unread = write_lewidi(submission, Scorer(corpus, "validation", "minilm"), tmp_path)
    assert [file.name for file in files] == ["VariErrNLI_dev_pe.tsv", "VariErrNLI_dev_soft.tsv"]
    assert unread == 1
    # Contradiction, entailment, neutral; item 8 names its annotators as Ann2, Ann1.
    assert files[0].read_text() == ("9\t[[0, 1], [1, 0], [1, 0]]\n8\t[[0, 0], [0, 0], [0, 1]]\n")
    assert files[1].read_text() == (
        "9\t[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]\n8\t[[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]\n"
    )


def test_lewidi_par_by_hand_and_several_runs(tmp_path):
    record = build.par_record("Ann1,Ann2", {"Ann1": "-5", "Ann2": "3"}, ["Not at all.", "Nearly."])
    build.write_lewidi(tmp_path / "data", "Paraphrase", train={"1": record}, dev={"4": record})
    corpus = load("lewidi-paraphrase", path=tmp_path / "data")
    (item,) = corpus.split("validation")
    one = [
        Prediction(item.id, a, f"Label: {n}\nExplanation: x")
        for a, n in (("Ann1", 5), ("Ann2", -1))
    ]
    two = [Prediction(item.id, a, "") for a in ("Ann1", "Ann2")]
    runs = [{**RUN, "seed": 3}, {"seed": 4, "file": "4.jsonl"}]
    submission = written(tmp_path / "s", (one, two), corpus.fingerprint, runs=runs)
    files, unread = write_lewidi(submission, Scorer(corpus, "validation", "minilm"), tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        "3/Paraphrase_dev_pe.tsv",
        "3/Paraphrase_dev_soft.tsv",
        "4/Paraphrase_dev_pe.tsv",
        "4/Paraphrase_dev_soft.tsv",
    ]
    assert unread == 2
    assert files[0].read_text() == "4\t[5, -1]\n"
    assert files[1].read_text() == f"4\t{[0.0] * 4 + [0.5] + [0.0] * 5 + [0.5]}\n"
    assert files[2].read_text() == "4\t[0, 0]\n"


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("lewidi-nli", "VariErrNLI"),
        ("lewidi-paraphrase", "Paraphrase"),
        ("lewidi-csc", "CSC"),
        ("lewidi-mp", "MP"),
    ],
)
def test_lewidi_files_of_the_humans_are_the_organisers_labels(
    real_data: Path, tmp_path: Path, spec: str, name: str
) -> None:
    corpus = load(spec, path=real_data)
    predictions = [
        Prediction(item.id, a, render_target([r.label for r in item.cells[a]], "x"))
        for item, a in evaluated_cells(corpus, "validation")
    ]
    submission = written(tmp_path / "s", (predictions,), corpus.fingerprint)
    files, unread = write_lewidi(submission, Scorer(corpus, "validation", "minilm"), tmp_path)
    assert unread == 0
    perspectives, soft = map(lines, files)
    theirs = json.loads((real_data / "lewidi2025" / f"{name}_dev.json").read_text())
    assert list(perspectives) == list(soft) == list(theirs)
    for item, record in theirs.items():
        if spec == "lewidi-nli":
            by_label = {label: list(bins.values()) for label, bins in record["soft_label"].items()}
            ours = [share for bins in soft[item] for share in bins]
            rounded = [share for bins in by_label.values() for share in bins]
            assert ours == pytest.approx(rounded, abs=5e-4)
            assert list(by_label) == ["contradiction", "entailment", "neutral"]
            given = [labels.split(",") for labels in record["annotations"].values()]
            assert perspectives[item] == [[int(x in own) for own in given] for x in by_label]
        else:
            assert soft[item] == pytest.approx(list(record["soft_label"].values()), abs=5e-4)
            assert perspectives[item] == [int(label) for label in record["annotations"].values()]


def _text_values(**more):
    return {"type": "object", "additionalProperties": {"type": "string"}, **more}


# What version 0.3.0 of the schema demands of the parts that we write, in our own words.
RECORD = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        "schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info",
        "eval_library", "evaluation_results",
    ],
    "properties": {
        "schema_version": {"const": "0.3.0"},
        "evaluation_id": {"type": "string"},
        "retrieved_timestamp": {"type": "string", "pattern": "^[0-9]+$"},
        "source_metadata": {
            "type": "object",
            "required": ["source_type", "source_organization_name", "evaluator_relationship"],
            "properties": {
                "source_type": {"enum": ["documentation", "evaluation_run"]},
                "evaluator_relationship": {
                    "enum": ["first_party", "third_party", "collaborative", "other"]
                },
                "additional_details": _text_values(),
            },
        },
        "eval_library": {
            "type": "object",
            "required": ["name", "version"],
            "properties": {"additional_details": _text_values()},
        },
        "model_info": {
            "type": "object",
            "required": ["name", "id", "additional_details"],
            "properties": {
                "additional_details": _text_values(
                    required=["deployment_type", "model_availability"]
                )
            },
        },
        "evaluation_results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [
                    "evaluation_name", "source_data", "metric_config", "score_details",
                ],
                "properties": {
                    "source_data": {
                        "type": "object",
                        "required": ["dataset_name", "source_type"],
                        "properties": {
                            "source_type": {"const": "other"},
                            "additional_details": _text_values(),
                        },
                    },
                    "metric_config": {
                        "type": "object",
                        "required": ["lower_is_better", "score_type", "min_score", "max_score"],
                        "properties": {
                            "lower_is_better": {"type": "boolean"},
                            "score_type": {"const": "continuous"},
                            "min_score": {"anyOf": [{"type": "number"}, {"const": "-Infinity"}]},
                            "max_score": {"anyOf": [{"type": "number"}, {"const": "Infinity"}]},
                        },
                    },
                    "score_details": {
                        "type": "object",
                        "required": ["score"],
                        "properties": {
                            "score": {"type": "number"},
                            "details": _text_values(),
                        },
                    },
                    "generation_config": {
                        "type": "object",
                        "properties": {
                            "generation_args": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {
                                    "temperature": {"type": "number"},
                                    "top_p": {"type": "number"},
                                    "top_k": {"type": "number"},
                                    "max_tokens": {"type": "integer", "minimum": 1},
                                    "execution_command": {"type": "string"},
                                },
                            },
                            "additional_details": _text_values(),
                        },
                    },
                },
            },
        },
    },
}  # fmt: skip


def official_schema():
    """The schema itself, where the package every-eval-ever is installed (Python 3.12 or later)."""
    found = importlib.util.find_spec("every_eval_ever")
    if found is None or found.origin is None:
        return []
    file = Path(found.origin).parent / "schemas" / "eval.schema.json"
    schema = json.loads(file.read_text())
    return [schema] if schema["version"] == SCHEMA_VERSION else []


@pytest.fixture
def scorer(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Options("mini-nli").scorer()


def test_every_eval_ever(scorer, tmp_path):
    human = human_predictions(scorer.corpus, "test")
    submission = written(
        tmp_path / "s",
        (human, human),
        scorer.corpus.fingerprint,
        runs=[{"seed": 1, "file": "1.jsonl"}, {"seed": 2, "file": "2.jsonl"}],
        command="capo-bench run\n  --tasks capo_mini_nli",
        system="<script>alert(1)</script>",
        parameters=135,
        decoding={
            "temperature": 0.7,
            "top_p": True,
            "max_gen_toks": 48,
            "until": ["\n"],
            "x": None,
        },
    )
    names = [metric.name for metric in metrics_of(scorer.corpus)]
    estimates = {name: Estimate(0.5, 0.1, 0.3, 0.7) for name in names}
    estimates |= {"rouge_l": Undefined("why"), "label_kappa": Estimate(0.5, *[float("nan")] * 3)}
    scores = Scores(estimates, 24, 91, scorer.signature)
    nothing = np.empty(0)
    contender = Contender(Resampled(0.5, nothing, nothing), (0.25, 0.75))
    values = dict.fromkeys(names, contender.runs)
    measured = Measurements(scores, values, dict.fromkeys(names, contender))
    record = every_eval_ever(submission, scorer, measured, 1.7e9)
    for schema in (RECORD, *official_schema()):
        jsonschema.validate(json.loads(json.dumps(record, allow_nan=False)), schema)
    assert record["evaluation_id"] == "capo-bench-mini-nli/org/model/1700000000"
    assert record["model_info"]["name"] == "<script>alert(1)</script>"
    assert record["model_info"]["additional_details"]["parameters"] == "135"
    by_name = {one["evaluation_result_id"]: one for one in record["evaluation_results"]}
    assert set(by_name) == set(names) - {"rouge_l"}
    accuracy = by_name["label_accuracy"]
    assert accuracy["score_details"]["score"] == 0.5
    assert accuracy["score_details"]["details"] == {"seeds": "1, 2", "by_seed": "0.2500, 0.7500"}
    assert accuracy["score_details"]["uncertainty"]["standard_error"]["value"] == 0.1
    interval = accuracy["score_details"]["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"], interval["confidence_level"]) == (0.3, 0.7, 0.95)
    assert by_name["label_kappa"]["score_details"]["uncertainty"] == {"num_samples": 24}
    assert accuracy["metric_config"]["lower_is_better"] is False
    assert by_name["invalid_rate"]["metric_config"]["lower_is_better"] is True
    assert by_name["attribution_at_3"]["metric_config"]["metric_parameters"] == {"k": 3}
    generation = accuracy["generation_config"]
    assert generation["generation_args"] == {
        "temperature": 0.7,
        "max_tokens": 48,
        "execution_command": "capo-bench run\n  --tasks capo_mini_nli",
    }
    assert generation["additional_details"]["until"] == '["\\n"]'
    assert generation["additional_details"]["top_p"] == "true"


def test_exports_from_the_command_line(call, scorer, tmp_path):
    board = tmp_path / "mini-nli"
    board.mkdir()
    (board / "board.yaml").write_text(
        yaml.safe_dump({"title": "Mini", "corpus": "mini-nli", "bertscore": "minilm"})
    )
    human = human_predictions(scorer.corpus, "test")
    card = {"versions": {"metrics": "1", "task": "1.0"}, "runs": [{**RUN, "claimed": {}}]}
    fingerprint = scorer.corpus.fingerprint
    sound = written(board / "submissions" / "s", (human,), fingerprint, **card)
    written(board / "submissions" / "t", (human[1:],), fingerprint, **card)
    out_file = tmp_path / "record.json"
    status, out, _ = call(
        "leaderboard", "export", "every-eval-ever", sound.folder, "--output", out_file
    )
    assert status == 0
    assert out.startswith(f"{out_file}: ")
    record = json.loads(out_file.read_text())
    jsonschema.validate(record, RECORD)
    for one in record["evaluation_results"]:
        low, high = (float(one["metric_config"][f"{end}_score"]) for end in ("min", "max"))
        assert low - 1e-6 <= one["score_details"]["score"] <= high + 1e-6
    where = ("--output", tmp_path, "--force")
    status, _, err = call("leaderboard", "export", "lewidi", sound.folder, *where)
    assert status == 2
    assert "LeWiDi takes answers to its own items" in err
    for kind in ("lewidi", "every-eval-ever"):
        status, _, err = call(*("leaderboard", "export", kind, board / "submissions" / "t", *where))
        assert status == 2
        assert "1 of 91 cells are missing" in err
    status, out, _ = call("verify", board)
    assert status == 1
    assert "submissions/s: accepted" in out
    assert "submissions/t: refused" in out
    assert out.endswith("2 submissions: 1 accepted, 1 refused\n")
