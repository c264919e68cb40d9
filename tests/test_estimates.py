"""Estimates as data and as cells of tables."""

import math

import pytest

from capo_bench.render.estimates import estimate_cell, estimate_json
from capo_bench.stats.resampling import Estimate, Undefined

NAN = math.nan


@pytest.mark.parametrize(
    ("found", "style", "cell"),
    [
        (Estimate(0.1234, 0.01, 0.104, 0.146), {}, "0.123 [0.10, 0.15]"),
        (Estimate(-0.02, 0.01, -0.04, 0.0), {"signed": True}, "−0.020 [−0.04, 0.00]"),
        (Estimate(0.5, 0.1, 0.3, 0.7), {"signed": True, "bold": True}, "**+0.500** [0.30, 0.70]"),
        (Estimate(1.0, NAN, NAN, NAN), {}, "1.000 [–]"),
        (Undefined("nobody answered"), {}, "–"),
    ],
)
def test_cells(found, style, cell):
    assert estimate_cell(found, **style) == cell


def test_data_are_exact_unless_decimals_are_asked_for():
    found = Estimate(-0.00001, 0.123456, -math.inf, NAN)
    assert estimate_json(found)["stderr"] == 0.123456
    assert estimate_json(found, 4) == {"value": 0.0, "stderr": 0.1235, "low": None, "high": None}
    assert math.copysign(1, estimate_json(found, 4)["value"]) == 1  # no minus zero
    assert estimate_json(Undefined("why"), 4) == {"undefined": "why"}
