"""Studies: what they train on, what they ask for, and tables that come from predictions alone."""

import json
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from capo_bench.corpus.load import load
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.errors import CapoBenchError
from capo_bench.experiments import study as folders
from capo_bench.experiments.designs import (
    DESIGNS,
    SIZES,
    Design,
    Row,
    annotators_shuffled,
    asking_only,
    grown,
    labels_shuffled,
    unequal_shares,
    without,
)
from capo_bench.experiments.runs import PRESETS, Experiment, Run
from capo_bench.experiments.stages import run_all
from capo_bench.scoring.controls import control_predictions
from capo_bench.scoring.options import Options
from capo_bench.scoring.predictions import write_predictions
from tests.test_experiments import SMOKE, dummy


def designed(study, tmp_path, corpus="mini-nli"):
    return DESIGNS[study](corpus, SMOKE, SIZES["smoke"], tmp_path / "study", tmp_path / "runs")


@pytest.mark.parametrize("study", DESIGNS)
def test_no_study_asks_for_the_test_split(study, tmp_path):
    rows = designed(study, tmp_path).rows
    assert rows
    for row in rows:
        assert row.split == row.run.metadata["split"] != "test"


@pytest.mark.parametrize("study", DESIGNS)
def test_every_start_comes_before_what_starts_there(study, tmp_path):
    known = set()
    for run in designed(study, tmp_path).runs:
        assert run.start is None or (run.start, run.seed) in known
        known.add((run.system, run.seed))


def test_histories_differ_in_their_items_alone(tmp_path):
    trained = [run.train for run in designed("history", tmp_path).runs if run.train]
    assert [options["train_items"] for options in trained] == [4, 4, 8, 8]
    without_items = [
        {key: value for key, value in options.items() if key != "train_items"}
        for options in trained
    ]
    assert without_items[0] == without_items[2]
    assert without_items[1] == without_items[3]


def test_overfitting_evaluates_the_ladders_checkpoints(tmp_path):
    design = designed("overfitting", tmp_path)
    stages = Experiment("base", "mini-nli", tmp_path / "runs", SMOKE, design.runs).stages()
    commands = {stage.folder.name: " ".join(stage.command) for stage in stages}
    for system in ("sft", "capo"):
        for split in ("train", "validation"):
            command = commands[f"overfitting-{system}-{split}-0"]
            assert f"pretrained={tmp_path}/runs/{system}-0/model" in command
            assert f'"split": "{split}"' in command


def test_controls_are_trained_on_spoilt_data_and_asked_and_judged_by_the_true_ones(tmp_path):
    design = designed("control", tmp_path)
    assert list(design.private) == ["annotators-shuffled.jsonl", "labels-shuffled.jsonl"]
    assert list(design.corpora) == ["distinctness-0.jsonl"]
    rows = {row.name: row for row in design.rows}
    for what in ("annotators", "labels"):
        row = rows[f"SFT, {what} shuffled"]
        assert row.run.corpus == str(tmp_path / "runs" / f"{what}-shuffled.jsonl")
        assert row.corpus == row.run.metadata["corpus"] == "mini-nli"
        assert row.run.train == design.before[0].train  # as long as the one that may learn
    alike = rows["SFT, distinctness 0"]
    assert (alike.corpus, alike.x) == ("distinctness-0.jsonl", 0)
    assert alike.run.corpus == str(tmp_path / "study" / "distinctness-0.jsonl")


def test_controls_and_crowds_of_a_world_are_trained_on_more_of_it_than_they_are_judged_by(tmp_path):
    world = synthesize("places", items=50).corpus
    jsonl.write(world, tmp_path / "places.jsonl")
    size = replace(
        SIZES["smoke"], world=40, distinctness=(0.0,), crowd_items=50, annotators=(2, 12)
    )
    arguments = (str(tmp_path / "places.jsonl"), SMOKE, size, tmp_path / "study", tmp_path / "runs")
    busy_ones = []
    for study in ("control", "crowd"):
        design = DESIGNS[study](*arguments)
        for row in design.rows:
            if row.run.train:
                trained = design.private[Path(row.run.corpus).name]
                judged = design.corpora[row.corpus]
                assert len(trained.split("train")) == 48  # of 75 items, the least that has 40
                for split in ("validation", "test"):
                    assert trained.split(split) == judged.split(split)
                assert Path(str(row.run.metadata["corpus"])).name == row.corpus
                assert "do_sample=true" in str(row.run.evaluate["gen_kwargs"])
                if row.annotators:  # those with few, or many, of the responses in training
                    counts = {a: len(trained.responses("train", a)) for a in trained.annotator_ids}
                    busy = "at least 30" in row.name
                    assert set(row.annotators) == {
                        a for a, n in counts.items() if (n >= 30 if busy else n <= 15)
                    }
                    busy_ones.append(busy)
    assert True in busy_ones
    alike = DESIGNS["control"](*arguments).private["distinctness-0.jsonl"]
    assert alike == grown(
        synthesize("places", 0, items=50).corpus, 40, partial(synthesize, "places", 0)
    )


def test_a_small_dose_is_gone_through_until_there_are_enough_updates(tmp_path):
    size = replace(SIZES["scratch"], dose=(100, 3200))
    world = synthesize("places", items=50).corpus
    jsonl.write(world, tmp_path / "places.jsonl")
    arguments = (tmp_path / "study", tmp_path / "runs")
    rows = DESIGNS["dose"](
        str(tmp_path / "places.jsonl"), PRESETS["scratch"], size, *arguments
    ).rows
    epochs = {row.name: row.run.train.get("num_train_epochs") for row in rows}
    # 1,600 updates of 4 items; 3,200 items four times are 3,200 updates.
    assert epochs["SFT, 100 items"] == 64
    assert epochs["SFT, 3200 items"] == 4


def test_a_dose_is_trained_on_more_of_the_world_and_asked_as_the_others(tmp_path):
    world = synthesize("places", items=50).corpus
    jsonl.write(world, tmp_path / "places.jsonl")
    size = replace(SIZES["smoke"], dose=(8, 40))
    design = DESIGNS["dose"](
        str(tmp_path / "places.jsonl"), SMOKE, size, tmp_path / "study", tmp_path / "runs"
    )
    larger = design.private["dose.jsonl"]
    counts = {split: len(larger.split(split)) for split in ("train", "validation", "test")}
    assert counts == {"train": 48, "validation": 6, "test": 12}  # of 75 items; of 50, as given
    assert larger.split("validation") == world.split("validation")
    assert larger.split("train")[:32] == world.split("train")
    assert [(row.name, row.x, row.run.train["train_items"]) for row in design.rows] == [
        ("SFT, 8 items", 8, 8),
        ("CAPO, 8 items", 8, 8),
        ("SFT, compute of CAPO, 8 items", 8, 8),
        ("SFT, 40 items", 40, 40),
        ("CAPO, 40 items", 40, 40),
        ("SFT, compute of CAPO, 40 items", 40, 40),
    ]
    for row in design.rows:
        assert row.run.corpus == str(tmp_path / "runs" / "dose.jsonl")
        assert row.run.metadata["corpus"] == str(tmp_path / "places.jsonl")
        assert "do_sample=true" in str(row.run.evaluate["gen_kwargs"])


def test_no_corpus_but_the_world_grows():
    with pytest.raises(CapoBenchError, match="has 64 training items, 65 are wanted"):
        grown(load("mini-nli"), 65)


def test_nothing_of_a_held_out_annotator_reaches_training(tmp_path):
    design = designed("held-out", tmp_path)
    ((file, rest),) = design.private.items()
    whole = load("mini-nli")
    held = whole.annotator_ids[-1]
    assert rest.annotator_ids == whole.annotator_ids[:-1]
    own = {r.explanation for item in whole.items for r in item.cells.get(held, ())}
    others = {
        r.explanation
        for item in whole.items
        for a, rs in item.cells.items()
        if a != held
        for r in rs
    }
    left = {r.explanation for item in rest.items for rs in item.cells.values() for r in rs}
    assert left == others
    assert own - others
    for run in design.runs:
        assert run.setting == "profile"
        assert run.metadata["corpus"] == "mini-nli"  # it is asked for all annotators
        if run.train:
            assert run.corpus == str(tmp_path / "runs" / file)


def test_judgments_of_a_held_out_annotator_go_too(real_data, monkeypatch):
    monkeypatch.setenv("CAPO_BENCH_DATA", str(real_data))
    whole = load("nli")
    rest = without(whole, "Ann2")

    def judges(corpus):
        return {
            judgment.annotator
            for item in corpus.items
            for responses in item.cells.values()
            for response in responses
            for judgment in response.judgments
        }

    assert judges(whole) == {"Ann1", "Ann2", "Ann3", "Ann4"}
    assert judges(rest) == {"Ann1", "Ann3", "Ann4"}
    assert all("Ann2" not in item.cells and "Ann2" not in item.idk for item in rest.items)


def test_asking_only_some_leaves_training_alone():
    whole = load("mini-nli")
    some = asking_only(whole, "validation", ("Ann1",))
    assert some.split("train") == whole.split("train")
    assert all(set(item.cells) <= {"Ann1"} for item in some.split("validation"))
    assert asking_only(whole, "validation", ()) is whole


def test_a_crowds_shares_fall_and_give_eight_responses_an_item(tmp_path):
    shares = np.array(unequal_shares(50))
    assert shares.sum() == pytest.approx(8)
    assert shares[1] / shares[0] == pytest.approx(2**-0.7)
    assert shares[49] / shares[0] == pytest.approx(50**-0.7)
    (four, six) = designed("crowd", tmp_path).corpora.values()
    assert all(len(item.cells) == 4 for item in four.items)
    assert len(six.annotator_ids) == 6


def test_shuffles_touch_training_alone_and_lose_nothing():
    whole = synthesize("places", items=50).corpus
    for shuffle in (annotators_shuffled, labels_shuffled):
        made = shuffle(whole)
        for split in ("validation", "test"):
            assert made.split(split) == whole.split(split)
    texts, labels = {}, {}
    for name, corpus in (
        ("whole", whole),
        ("annotators", annotators_shuffled(whole)),
        ("labels", labels_shuffled(whole)),
    ):
        cells = [(i, a, rs[:1]) for i in corpus.split("train") for a, rs in i.cells.items()]
        texts[name] = {(i.id, a): r.explanation for i, a, rs in cells for r in rs}
        labels[name] = {(i.id, a): r.label for i, a, rs in cells for r in rs}
    by_item = {
        name: Counter((item, text) for (item, _), text in found.items())
        for name, found in texts.items()
    }
    assert by_item["annotators"] == by_item["whole"]
    moved = sum(texts["annotators"].get(cell) != text for cell, text in texts["whole"].items())
    assert 0.6 < moved / len(texts["whole"]) < 0.9  # a quarter stays by chance
    assert texts["labels"] == texts["whole"]
    for one in whole.annotator_ids:
        before, after = (
            Counter(label for (_, a), label in labels[name].items() if a == one)
            for name in ("whole", "labels")
        )
        assert before == after
    assert labels["labels"] != labels["whole"]


@pytest.fixture
def study(tmp_path):
    """A study of two control rows, one of them for one annotator alone."""
    corpus = load("mini-nli")
    rows = control_predictions(corpus, "validation")
    listed = []
    for name, annotators in (("wrong-item", []), ("spliced-train", ["Ann2"])):
        write_predictions(tmp_path / "predictions" / f"{name}.jsonl", corpus, rows[name])
        listed.append(
            {
                "name": f"{name} <b>",
                "predictions": f"{name}.jsonl",
                "corpus": "mini-nli",
                "split": "validation",
                "annotators": annotators,
                "curve": "SFT",
                "x": 10.0,
                "seconds": {"train": 12.6},
            }
        )
    spec = {
        "title": "A study",
        "about": "Two rows.",
        "model": "none",
        "hardware": "here",
        "bertscore": "minilm",
        "x": "items",
        "rows": listed,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path


def test_a_dial_of_zero_is_drawn_where_no_logarithm_could_be(study, monkeypatch):
    spec = yaml.safe_load((study / "study.yaml").read_text())
    spec["rows"][1]["x"] = 0.0
    (study / "study.yaml").write_text(yaml.safe_dump(spec))
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    folders.build(study)
    panel = drawn[0].axes[0]
    assert list(panel.get_xticks()) == [0, 10]
    assert list(panel.lines[0].get_xdata()) == [0, 10]


def test_no_curve_is_left_out_of_a_figure(study, monkeypatch):
    spec = yaml.safe_load((study / "study.yaml").read_text())
    (one, _), drawn = spec["rows"], []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    for count in (5, 6):
        spec["rows"] = [{**deepcopy(one), "curve": f"curve {line}"} for line in range(count)]
        (study / "study.yaml").write_text(yaml.safe_dump(spec))
        if count == 5:
            folders.build(study)
        else:
            with pytest.raises(CapoBenchError, match=r"6 curves, of which a figure tells 5 apart"):
                folders.build(study)
    (figure,) = drawn
    assert len({line.get_color() for line in figure.axes[0].lines}) == 5 + 1  # and the references


def test_tables_come_from_predictions_alone(study):
    made = folders.build(study)
    assert [file.name for file in made] == ["table.json", "table.md", "curves.svg"]
    rows = {row["name"]: row for row in json.loads(made[0].read_text())["rows"]}
    assert len(rows) == 2 + 2 * len(folders.REFERENCES)
    scorer = Options("mini-nli", split="validation", bertscore="minilm").scorer()
    predictions = control_predictions(load("mini-nli"), "validation")["wrong-item"]
    exact = scorer.score(predictions).estimates
    for metric in ("label_accuracy", "attribution_at_1", "faithful_rate"):
        found = rows["wrong-item <b>"]["metrics"][metric]
        assert found["value"] == round(exact[metric].value, 4)
        assert found["low"] == round(exact[metric].low, 4)
    human, own = rows["human"], rows["human (Ann2)"]
    assert human["responses"] > own["responses"] == own["items"]
    assert human["metrics"]["label_accuracy"]["value"] == 1
    assert human["signature"] == scorer.signature
    text = made[1].read_text()
    assert f"fingerprint {scorer.corpus.fingerprint}" in text
    assert "| wrong-item &lt;b&gt; |" in text
    assert "| 13 |" in text
    first = [file.read_bytes() for file in made]
    assert [file.read_bytes() for file in folders.build(study)] == first


def test_predictions_for_another_corpus_are_refused(study):
    file = study / "predictions" / "wrong-item.jsonl"
    file.write_text(file.read_text().replace(load("mini-nli").fingerprint, "0" * 16))
    with pytest.raises(CapoBenchError, match=r"wrong-item\.jsonl: answers the corpus with fing"):
        folders.build(study)


def test_annotators_of_a_study_are_the_corpus_s(study):
    spec = yaml.safe_load((study / "study.yaml").read_text())
    spec["rows"][0]["annotators"] = ["ann2"]
    (study / "study.yaml").write_text(yaml.safe_dump(spec))
    fault = r"study\.yaml, row wrong-item <b>: annotator 'ann2' is not among .* mend the id"
    with pytest.raises(CapoBenchError, match=fault):
        folders.build(study)


@pytest.mark.parametrize(
    "changed",
    [
        {"predictions": "../wrong-item.jsonl"},
        {"split": "dev"},
        {"x": float("nan")},
        {"seconds": {"train": float("inf")}},
        {"seconds": {"train": -1.0}},
        {"seconds": {"rest": 1.0}},
        {"curve": "a\u202eb"},
        {"curve": "a" * 301},
    ],
)
def test_a_study_is_read_strictly(study, changed):
    spec = yaml.safe_load((study / "study.yaml").read_text())
    spec["rows"][0] |= changed
    (study / "study.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(CapoBenchError, match=rf"study\.yaml: rows\.0\.{next(iter(changed))}"):
        folders.read(study)


@pytest.mark.usefixtures("own_tasks")
def test_responses_of_a_limited_run_become_a_study(tmp_path):
    run = Run("alone", "prompted", "tag", evaluate={"limit": 2}, metadata={"split": "validation"})
    later = Row("Not run", replace(run, system="later"), "mini-nli")
    design = Design("One row", "Nothing differs.", (Row("Dummy", run, "mini-nli"), later))
    alone = Experiment("org/base", "mini-nli", tmp_path / "runs", SMOKE, design.runs)
    with pytest.raises(CapoBenchError, match="runs holds no results of this study"):
        folders.write(design, alone, tmp_path / "study", "here", "minilm")
    stages = alone.stages(run)
    assert [stage.name for stage, _ in run_all(stages, dummy)] == ["evaluate alone"]
    folders.write(design, alone, tmp_path / "study", "here", "minilm")
    (row,) = folders.read(tmp_path / "study").rows
    assert row.seconds["evaluate"] >= 0
    assert "--limit 2" in row.commands["evaluate"]
    assert "--output_path RUNS/alone/results" in row.commands["evaluate"]
    assert str(tmp_path) not in row.commands["evaluate"]
    assert len((tmp_path / "study/predictions/alone.jsonl").read_text().splitlines()) == 8


@pytest.mark.parametrize(
    ("output", "shown"),
    [("a", "pretrained=RUNS/capo-0,b=RUNS/a"), (".", "pretrained=a/capo-0,b=a/a")],
)
def test_only_whole_paths_of_a_command_are_named(output, shown):
    command = ("/bin/python", "-m", "capo_bench", "--model_args", "pretrained=a/capo-0,b=a/a")
    experiment = Experiment("org/base", "mini-nli", Path(output), SMOKE, ())
    plain = folders._portable(command, experiment, Path("o"))
    assert plain == f"python -m capo_bench --model_args {shown}"
