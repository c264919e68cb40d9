"""Contrasts of named systems on every metric of a board."""

import json
from dataclasses import replace
from math import nan

import pytest
from statsmodels.stats.multitest import multipletests

from capo_bench.errors import CapoBenchError
from capo_bench.files import parse_json, write_all
from capo_bench.leaderboard import board as board_module
from capo_bench.leaderboard.board import build
from capo_bench.leaderboard.contrasts import contrasts, files, markdown
from capo_bench.metrics.registry import shown_in
from tests.leaderboard.boards import board_folder, mixed, rows, submit


@pytest.fixture(scope="module")
def board(tmp_path_factory, cache):
    folder = board_folder(
        tmp_path_factory.mktemp("boards"), contrasts="[[good, other], [good, good]]"
    )
    good = [mixed(0.95, "other-annotator", seed) for seed in (1, 2)]
    submit(folder, "good", *good, method="capo")
    submit(folder, "other", rows()["other-annotator"], method="sft")
    return build(folder)


@pytest.fixture(scope="module")
def found(board):
    return {(one.theirs, one.metric): one for one in contrasts(board)}


def test_differences_are_those_of_the_boards_own_values(board, found):
    good, other = (
        next(e for e in board.systems if e.id == name).measurements.scores.estimates
        for name in ("good", "other")
    )
    for metric in (
        "faithful_rate",
        "label_accuracy",
        "attribution_at_1",
        "explanation_consistency",
    ):
        one = found["other", metric]
        assert one.values == pytest.approx((good[metric].value, other[metric].value), abs=1e-12)
        assert one.difference.value == pytest.approx(good[metric].value - other[metric].value)
        if other[metric].value > 0:
            assert one.relative == pytest.approx(good[metric].value / other[metric].value - 1)
        else:
            assert one.relative is None


def test_what_is_no_number_is_null_in_the_file(board, found):
    nothing = replace(found["other", "explanation_consistency"].difference, value=-0.0, low=nan)
    one = replace(found["other", "explanation_consistency"], difference=nothing)
    text = files(board, [one])[board.folder / "contrasts.json"]
    (read,) = parse_json(text)
    assert str(read["difference"]) == "0.0"
    assert read["interval"][0] is None


def test_who_is_the_annotator_is_better_at_identity_and_not_than_themself(found):
    apart = found["other", "attribution_at_1"]
    assert apart.difference.low > 0
    assert apart.p_holm < 0.001
    same = found["good", "attribution_at_1"]
    assert same.difference.value == 0
    assert same.p == same.p_holm == 1


def test_holm_is_over_all_metrics_of_all_contrasts(found):
    _, adjusted, _, _ = multipletests([one.p for one in found.values()], method="holm")
    assert [one.p_holm for one in found.values()] == pytest.approx(list(adjusted))


def test_written_for_people_and_for_machines(board, found):
    write_all(board.folder, files(board, contrasts(board)))
    first = (board.folder / "contrasts.md").read_text()
    data = json.loads((board.folder / "contrasts.json").read_text())
    assert len(data) == len(found)
    row = next(line for line in first.splitlines() if line.startswith("| good − other |"))
    assert row.count("|") == len(shown_in("contrasts")) + 2
    assert f"**{found['other', 'attribution_at_1'].difference.value:+.3f}**" in row


def test_names_are_escaped_and_undefined_metrics_named(board):
    text = markdown(board, ())
    assert text.count("not defined") == 2 * len(shown_in("contrasts"))


def test_contrast_of_nobody_is_refused(board):
    spec = board.spec.model_copy(update={"contrasts": [["good", "nobody"]]})
    other = board_module.replace(board, spec=spec)
    with pytest.raises(CapoBenchError, match=r"'nobody'.*none of the submissions"):
        contrasts(other)


def test_a_refused_submission_takes_only_its_own_contrasts_with_it(board, found):
    spec = board.spec.model_copy(update={"contrasts": [["good", "other"], ["good", "damaged"]]})
    other = board_module.replace(board, spec=spec, refused=(("damaged", "why"),))
    told = contrasts(other)
    assert {one.theirs for one in told} == {"other"}
    assert told[0].difference == found["other", told[0].metric].difference
    text = markdown(other, told)
    assert text.count("good − ") == 2
    assert text.endswith("Left out, because a submission is refused: good − damaged.\n")
