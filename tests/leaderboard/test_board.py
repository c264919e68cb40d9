"""Boards: recomputed, ranked, cached, refused, and the same bytes again."""

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from capo_bench.cli.app import app
from capo_bench.corpus.load import DATA_VARIABLE, load
from capo_bench.corpus.readers import jsonl
from capo_bench.errors import CapoBenchError
from capo_bench.experiments.study import build as build_study
from capo_bench.leaderboard import board as board_module
from capo_bench.leaderboard import board_tables, contrasts, page
from capo_bench.leaderboard.board import build, find_boards, read_board
from capo_bench.leaderboard.submission import read_card, read_submission
from capo_bench.metrics.registry import HEADLINE, metrics_of
from capo_bench.report import build as report_module
from capo_bench.scoring import cache as measured
from capo_bench.scoring.controls import control_predictions
from capo_bench.scoring.red_team import representatives
from capo_bench.scoring.scorer import METRICS_VERSION
from capo_bench.stats.resampling import Estimate
from tests.leaderboard.boards import FEW, HOSTILE, board_folder, few_controls, mixed, small, submit
from tests.leaderboard.build import written

COMMITTED = Path(__file__).parents[2] / "leaderboards"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache):
    return small(tmp_path_factory.mktemp("boards"))


@pytest.fixture(scope="module")
def board(folder):
    return build(folder)


@pytest.fixture(scope="module")
def scorer(folder):
    return read_board(folder).options(folder).scorer()


@pytest.fixture
def copied(folder, tmp_path):
    shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / folder.name


def by_id(board):
    return {(entry.kind, entry.id): entry for entry in board.entries}


def test_rows_stand_by_their_headline_and_references_have_no_rank(board):
    values = [entry.headline.value for entry in board.entries]
    assert values == sorted(values, reverse=True)
    assert [one.id for one in board.systems] == ["good", "half", "off"]
    assert len(board.entries) == 3 + len(FEW)
    assert {e.rank for e in board.entries if e.kind != "system"} == {None}
    assert [one.verified for one in board.systems] == [True, False, False]
    assert board.refused == ()


def test_scores_are_those_of_score_and_verdicts_those_of_report(board, scorer, monkeypatch):
    half = by_id(board)["system", "half"]
    run = mixed(0.75, "other-annotator", 3)
    assert half.measurements.scores == scorer.score(run)
    monkeypatch.setattr(report_module, "control_predictions", few_controls)
    report = report_module.build(scorer, run, "half")
    assert half.finding == report.finding


def test_seeds_fold_into_their_mean_and_widen_the_interval(board, scorer):
    good = by_id(board)["system", "good"]
    runs = [scorer.score(mixed(0.95, "other-annotator", seed)).estimates for seed in (1, 2)]
    name = "label_accuracy"
    values = [one[name].value for one in runs]
    folded = good.measurements.scores.estimates[name]
    assert good.measurements.values[name] == pytest.approx(values)
    assert folded.value == pytest.approx(np.mean(values))
    assert folded.stderr**2 > np.var(values, ddof=1) / 2
    low, high, sd = board_tables.spread(good, name)
    assert (low, high) == (min(values), max(values))
    assert sd == pytest.approx(np.std(values, ddof=1))


def test_systems_that_are_plainly_apart_have_ranks_of_their_own(board):
    good, half, off = board.systems
    assert (good.rank, good.last) == (1, 1)
    assert good.lead is None
    assert isinstance(half.lead, Estimate)
    assert half.lead.value == pytest.approx(half.headline.value - good.headline.value)
    assert half.lead.high < 0
    assert off.rank == 3


def test_a_second_build_scores_the_new_submission_only(board, copied, monkeypatch):
    scored, measure = [], measured._measure
    monkeypatch.setattr(
        measured, "_measure", lambda scorer, runs: scored.append(runs) or measure(scorer, runs)
    )
    build(copied)
    assert scored == []
    new = mixed(0.7, "swapped", 5)
    submit(copied, "new", new)
    build(copied)
    assert scored == [(new,)]


def test_a_board_holds_the_draws_of_what_it_ranks_and_contrasts_alone(board, copied):
    spec = copied / "board.yaml"
    spec.write_text(f"{spec.read_text()}contrasts: [[good, half]]\n")
    held = {entry.id: set(entry.measurements.contenders) for entry in build(copied).entries}
    every = {metric.name for metric in metrics_of(load("mini-nli"))}
    assert {name for name, metrics in held.items() if metrics == every} == {"good", "half"}
    assert [set(held[name]) for name in ("off", *FEW)] == [{HEADLINE}] * (1 + len(FEW))


def test_jobs_and_the_order_of_submissions_change_no_byte(board, copied, scores, tmp_path):
    """Two processes, one of which scores what nobody has yet, and folders made in another order."""
    spec = copied / "board.yaml"
    spec.write_text(f"{spec.read_text()}contrasts: [[good, half], [new, good]]\n")
    submit(copied, "new", mixed(0.6, "swapped", 21))
    submit(copied, "xalike", mixed(0.5, "swapped", 1), system="NEW")
    forged = [{"seed": 0, "file": "predictions-0.jsonl", "claimed": {"faithful_rate": 0.9}}]
    submit(copied, "forged", mixed(0.5, "swapped", 2), runs=forged)
    (copied / "submissions" / "broken").mkdir()
    other = tmp_path / "other" / copied.name
    (other / "submissions").mkdir(parents=True)
    shutil.copy(spec, other)
    for one in sorted((copied / "submissions").iterdir(), reverse=True):
        shutil.copytree(one, other / "submissions" / one.name)

    def written(folder, jobs):
        board = build(folder, jobs=jobs)
        files = board_tables.files(board) | contrasts.files(board, contrasts.contrasts(board))
        found = {file.name: text for file, text in files.items()}
        return found | {"page": page.html([board], {}), "map": page.draw(board)}

    shutil.copytree(scores, tmp_path / "cache")
    one = written(copied, 1)
    assert len(one) == 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert written(other, 2) == one


def test_what_was_kept_is_what_was_measured(scorer, cache):
    runs = [mixed(0.6, "swapped", seed) for seed in (8, 9)]
    assert measured._load(scorer, runs) is None
    found, kept = measured._measure(scorer, runs), measured._load(scorer, runs)
    assert kept.scores == found.scores
    assert list(kept.contenders) == list(found.contenders)
    for name, one in found.contenders.items():
        other = kept.contenders[name]
        np.testing.assert_array_equal(
            [one.found.value, *one.runs], [other.found.value, *other.runs]
        )
        if np.isfinite(one.found.value):  # of what is not defined the bounds say nothing
            assert one.found.bounds == other.found.bounds
        for part in ("draws", "without"):
            np.testing.assert_array_equal(getattr(one.found, part), getattr(other.found, part))
    assert measured._load(scorer, [runs[0][::-1], runs[1]]) is not None  # the order says nothing
    assert measured._load(scorer, runs[::-1]) is None


def test_faulty_submissions_are_refused_by_name_and_reason(copied, capsys):
    whole = mixed(0.5, "swapped", 1)
    submit(copied, "missing", whole[4:])
    claimed = [{"seed": 0, "file": "predictions-0.jsonl", "claimed": {"faithful_rate": 0.9}}]
    submit(copied, "forged", whole, runs=claimed)
    submit(copied, "elsewhere", whole, board="other")
    (copied / "submissions" / "broken").mkdir()
    os.mkdir(os.fsencode(copied / "submissions") + b"/no text\xff")
    done = CliRunner().invoke(app, ["leaderboard", "build", str(copied.parent)])
    assert done.exit_code == 1, done.output
    assert "mini-nli: 3 ranked, 5 refused" in done.stdout
    refused = dict(build(copied).refused)
    nameless = os.fsdecode(b"no text\xff")
    assert list(refused) == ["broken", "elsewhere", "forged", "missing", nameless]
    assert refused.pop(nameless).startswith("no text")
    assert "no text\\\\udcff" in (copied / "table.json").read_text()
    assert "cells are missing" in refused["missing"]
    assert "claims faithful_rate 0.9" in refused["forged"]
    for name in refused:
        assert f"refused '{name}'" in done.stdout
        assert f"- {name}: " in (copied / "table.md").read_text()
    assert str(copied) not in (copied / "table.md").read_text()


def test_whoever_is_refused_takes_no_name_and_a_verified_system_keeps_its_own(copied):
    spec = copied / "board.yaml"
    spec.write_text(spec.read_text().replace("verified: [good]", "verified: [half]"))
    # The name of half's system; before it in the alphabet.
    submit(copied, "aaa", mixed(0.6, "swapped", 4), system="=1+1|2")
    submit(copied, "aab", mixed(0.6, "swapped", 4)[4:], system="off")  # incomplete
    (copied / "submissions" / ".gitkeep").touch()
    (copied / "submissions" / "card.yaml").touch()
    found = build(copied)
    assert {"good", "half", "off"} == {entry.id for entry in found.systems}
    refused = dict(found.refused)
    assert "looks like that of half" in refused["aaa"]
    assert "cells are missing" in refused["aab"]
    assert "move it into a folder of its own" in refused["card.yaml"]


def test_a_board_whose_submissions_are_none_yet_stands(tmp_path, cache):
    folder = board_folder(tmp_path)
    (folder / "submissions").mkdir()
    (folder / "submissions" / ".gitkeep").touch()
    assert build(folder).systems == ()


def test_a_single_run_of_training_is_told(board):
    trained = {one.id: one.measurements.contenders[HEADLINE].trained for one in board.systems}
    assert trained == {"good": True, "half": True, "off": False}


def test_a_verified_submission_that_is_not_there_is_named(tmp_path, cache):
    folder = board_folder(tmp_path, verified="[ghost]")
    with pytest.raises(CapoBenchError, match="verified names 'ghost'"):
        build(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: x\n", "corpus, bertscore: Field required"),
        ("title: x\ncorpus: nli\nbertscore: minilm\nspeed: 1\n", "speed: Extra inputs"),
        ("title: [", "expected plain YAML"),
    ],
)
def test_a_wrong_board_is_refused(tmp_path, text, message):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "board.yaml").write_text(text)
    with pytest.raises(CapoBenchError, match=message):
        read_board(tmp_path / "b")


def test_a_folder_without_boards_is_refused(tmp_path):
    with pytest.raises(CapoBenchError, match="holds no boards"):
        find_boards(tmp_path)


def test_a_board_without_submissions_shows_the_references(tmp_path, cache):
    board = build(board_folder(tmp_path))
    assert len(board.entries) == len(FEW)
    assert "human" in board_tables.markdown(board)


# --- tables --------------------------------------------------------------------------------------


def test_csv_cells_run_in_no_spreadsheet(board):
    table = list(csv.DictReader(StringIO(board_tables.as_csv(board))))
    half = next(row for row in table if row["id"] == "half")
    assert half["system"] == "'=1+1|2"
    assert half["parameters"] == "135000000"
    assert half["lead"].startswith("-0.")  # our own numbers stay numbers
    assert half["faithful_rate"] == f"{board.systems[1].headline.value:.3f}"
    cells = [cell for row in table for cell in row.values()]
    assert not [c for c in cells if c.startswith(("=", "+", "@", "\t", "\r"))]


def test_markdown_shows_names_as_they_are(board):
    text = board_tables.markdown(board)
    assert "&lt;/script&gt;" in text
    assert "<script" not in text
    assert r"=1+1\|2" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1
    assert "(saw test items)" in text


def test_json_has_everything_with_four_decimals(board):
    data = json.loads(json.dumps(board_tables.as_json(board), allow_nan=False))
    good = next(entry for entry in data["entries"] if entry["id"] == "good")
    assert good["card"]["system"] == HOSTILE
    assert good["status"] == "verified"
    found = good["metrics"]["faithful_rate"]
    exact = board.systems[0].headline
    assert found["value"] == round(exact.value, 4)
    assert len(found["runs"]) == 2
    assert data["signature"]["metrics"] == METRICS_VERSION


def test_a_negative_number_is_no_formula():
    assert board_tables._harmless("-0.5") == "-0.5"
    assert board_tables._harmless("-cmd") == "'-cmd"


# --- bytes ---------------------------------------------------------------------------------------


def built(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for name in ("index.html", "*/table.*")
        for path in sorted(folder.glob(name))
    }


def test_the_same_input_gives_the_same_bytes_with_and_without_a_cache(
    copied, tmp_path, monkeypatch
):
    root = copied.parent
    done = CliRunner().invoke(app, ["leaderboard", "build", str(root)])
    assert done.exit_code == 0, done.output
    first = built(root)
    assert len(first) == 4
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    assert CliRunner().invoke(app, ["leaderboard", "build", str(root)]).exit_code == 0
    assert built(root) == first


def test_rows_of_the_committed_boards_are_what_their_responses_give(real_data, monkeypatch):
    """Two references and a submission of each, of one run if it can be; all by the slow test."""
    monkeypatch.setenv(DATA_VARIABLE, str(real_data))
    for folder in find_boards(COMMITTED):
        scorer = read_board(folder).options(folder).scorer()
        references = control_predictions(scorer.corpus)
        known = {name: (references[name],) for name in ("human", "other-annotator")}
        rows = (folder / "submissions").iterdir()
        row = min(rows, key=lambda one: (len(read_card(one / "card.yaml").runs), one.name))
        known[row.name] = read_submission(row).predictions
        table = json.loads((folder / "table.json").read_text())
        entries = {entry["id"]: entry["metrics"] for entry in table["entries"]}
        for name, found in zip(known, measured.measured(scorer, *known.values()), strict=True):
            assert entries[name].keys() == found.scores.estimates.keys()
            for metric, one in found.scores.estimates.items():
                value = one.value if isinstance(one, Estimate) else None
                committed = entries[name][metric].get("value")
                assert committed == pytest.approx(value, abs=1.5e-4), (name, metric)


def test_a_board_of_labels_alone_has_no_map_and_what_is_no_longer_built_goes(
    call, tmp_path, monkeypatch
):
    monkeypatch.setattr(board_module, "control_predictions", control_predictions)
    mini = load("mini-nli")
    items = tuple(
        replace(
            item,
            cells={
                who: tuple(replace(one, explanation="") for one in given)
                for who, given in item.cells.items()
            },
        )
        for item in mini.items
    )
    corpus = replace(mini, name="bare", task=replace(mini.task, explanations="none"), items=items)
    folder = board_folder(tmp_path, "bare")
    (folder / "board.yaml").write_text("title: T\ncorpus: bare.jsonl\nbertscore: minilm\n")
    jsonl.write(corpus, folder / "bare.jsonl")
    predictions = control_predictions(corpus)["human"]
    runs = [{"seed": 1, "file": "predictions-1.jsonl"}]
    versions = {"metrics": str(METRICS_VERSION), "task": "1.0"}
    card = {"board": "bare", "runs": runs, "versions": versions}
    written(folder / "submissions" / "one", (predictions,), corpus.fingerprint, **card)
    for name in ("map.svg", "contrasts.md", "contrasts.json"):
        (folder / name).write_text("of an earlier build")
    status, out, err = call("leaderboard", "build", tmp_path)
    assert (status, err) == (0, "")
    assert "bare: 1 ranked, 0 refused" in out
    made = {"board.yaml", "bare.jsonl", "submissions", "table.md", "table.csv", "table.json"}
    assert set(os.listdir(folder)) == made


@pytest.mark.slow
def test_the_committed_boards_are_what_their_submissions_give(real_data, monkeypatch):
    """Tables, contrasts, maps and the page, as committed."""
    monkeypatch.setattr(board_module, "control_predictions", control_predictions)
    monkeypatch.setattr(board_module, "representatives", representatives)
    monkeypatch.setenv(DATA_VARIABLE, str(real_data))
    boards = [build(folder) for folder in find_boards(COMMITTED)]
    for board in boards:
        data = json.dumps(board_tables.as_json(board), ensure_ascii=False, indent=1) + "\n"
        expected = {
            board.folder / "table.md": board_tables.markdown(board),
            board.folder / "table.csv": board_tables.as_csv(board),
            board.folder / "table.json": data,
            board.folder / "map.svg": page.draw(board),
        }
        if board.spec.contrasts:
            expected |= contrasts.files(board, contrasts.contrasts(board))
        for file, text in expected.items():
            check_built(file, text)
        assert board.refused == ()
    check_built(COMMITTED / "index.html", page.html(boards, {}))


@pytest.mark.slow
@pytest.mark.parametrize("study", sorted(one.name for one in (COMMITTED / "studies").iterdir()))
def test_the_committed_studies_are_what_their_predictions_give(
    study, real_data, tmp_path, monkeypatch
):
    monkeypatch.setenv(DATA_VARIABLE, str(real_data))
    copied = shutil.copytree(COMMITTED / "studies" / study, tmp_path / study)
    for file in build_study(copied):
        check_built(COMMITTED / "studies" / study / file.name, file.read_text())


def check_built(file, text):
    """The committed file is this text; of a number with decimals the last one may differ by one.

    One kind of machine gives the same bytes every time, but the encoder's matrix products round
    otherwise on another processor, and a number may lie on the border of two roundings.
    """
    number = re.compile(r"(\d+\.\d+)")
    committed = number.split(file.read_text(encoding="utf-8"))
    built = number.split(text)
    assert committed[::2] == built[::2], file
    for one, other in zip(committed[1::2], built[1::2], strict=True):
        places = len(one.partition(".")[2])
        assert places == len(other.partition(".")[2]), (file, one, other)
        assert abs(float(one) - float(other)) < 1.5 * 10**-places, (file, one, other)


def test_a_new_board_can_be_read_and_is_not_made_twice(tmp_path):
    made = tmp_path / "leaderboards" / "mini-nli"
    asked = ["leaderboard", "init", str(made), "--corpus", "mini-nli", "--title", "Mini NLI"]
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert (made / "board.yaml").read_text() == (
        "title: Mini NLI\ncorpus: mini-nli\nbertscore: minilm\n"
    )
    assert read_board(made).options(made).corpus == "mini-nli"
    assert find_boards(made.parent) == [made]
    with pytest.raises(CapoBenchError, match="is there already; choose another name, or add"):
        raise CliRunner().invoke(app, asked).exception
    assert CliRunner().invoke(app, [*asked, "--split", "validation", "--force"]).exit_code == 0
    assert "split: validation" in (made / "board.yaml").read_text()


def test_a_new_board_names_a_file_from_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["data", "convert", "mini-nli", "mine.jsonl"]).exit_code == 0
    made = Path("boards/mine")
    board_module.init(made, {"title": "Mine", "corpus": "../../mine.jsonl", "bertscore": "minilm"})
    assert read_board(made).options(made).load().fingerprint == "b26fee2a002aaa6f"


def test_all_missing_fields_of_a_board_are_named_at_once(tmp_path):
    (tmp_path / "board.yaml").write_text("split: test\n")
    with pytest.raises(CapoBenchError, match="title, corpus, bertscore: Field required"):
        read_board(tmp_path)


def test_the_schemas_of_boards_and_submissions_are_printed():
    schemas = json.loads(CliRunner().invoke(app, ["leaderboard", "schema"]).stdout)
    assert set(schemas) == {"board", "card", "prediction"}
    assert schemas["board"]["required"] == ["title", "corpus", "bertscore"]
