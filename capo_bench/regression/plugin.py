"""A pytest plugin, and with `test_checkpoint` a suite of its own.

    pytest --pyargs capo_bench.regression --capo-checkpoint PATH --capo-baseline FILE

It is loaded by every pytest run of an environment that has capo-bench, so it imports nothing of the
package until a fixture is used, and all of its names begin with `capo`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from capo_bench.regression.result import Judged, Result


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the gate."""
    group = parser.getgroup("capo-bench", "regression gate of capo-bench")
    group.addoption("--capo-checkpoint", help="The checkpoint: a folder or a hub id.")
    group.addoption("--capo-baseline", help="The baseline file.")
    group.addoption(
        "--capo-mode", choices=["quick", "full"], default="full", help="Some items, or all."
    )
    group.addoption(
        "--capo-items", type=int, default=40, help="Items of the quick mode (default: 40)."
    )
    group.addoption(
        "--capo-inconclusive",
        choices=["fail", "xfail", "skip"],
        default="fail",
        help="What a metric is that the items cannot tell (default: fail).",
    )
    group.addoption("--capo-metadata", default="{}", help="Task options of this machine, as JSON.")
    group.addoption("--capo-model", default="hf", help="Kind of model, as lm_eval's.")
    group.addoption("--capo-model-args", default="", help="As lm_eval's, beside the path.")
    group.addoption("--capo-batch-size", default="1", help="As lm_eval's.")
    group.addoption("--capo-device", default="cuda:0", help="As lm_eval's; the CPU without a GPU.")


@pytest.fixture(scope="session")
def capo_comparison(request: pytest.FixtureRequest) -> Result:
    """The checkpoint compared with the baseline; run once a session.

    Skips where no checkpoint and baseline are named. Override `capo_checkpoint` or `capo_baseline`
    to choose them in a `conftest.py`.
    """
    checkpoint = request.getfixturevalue("capo_checkpoint")
    baseline = request.getfixturevalue("capo_baseline")
    if not checkpoint or not baseline:
        pytest.skip("needs --capo-checkpoint and --capo-baseline")
    from lm_eval.utils import simple_parse_args_string

    from capo_bench.regression.baseline import read_baseline
    from capo_bench.regression.gate import Checkpoint, gate

    option = request.config.getoption
    found = Checkpoint(
        str(checkpoint),
        option("--capo-model"),
        arguments=simple_parse_args_string(option("--capo-model-args")),
        batch_size=option("--capo-batch-size"),
        device=option("--capo-device"),
    )
    result, _ = gate(
        found,
        read_baseline(Path(baseline)),
        str(baseline),
        mode=option("--capo-mode"),
        items=option("--capo-items"),
        metadata=json.loads(option("--capo-metadata")),
    )
    return result


@pytest.fixture(scope="session")
def capo_checkpoint(request: pytest.FixtureRequest) -> Any:
    """The checkpoint: what `--capo-checkpoint` names."""
    return request.config.getoption("--capo-checkpoint")


@pytest.fixture(scope="session")
def capo_baseline(request: pytest.FixtureRequest) -> Any:
    """The baseline file: what `--capo-baseline` names."""
    return request.config.getoption("--capo-baseline")


@pytest.fixture
def capo_check(request: pytest.FixtureRequest, capo_comparison: Result) -> Any:
    """A function that passes, fails, xfails or skips the test by a metric's verdict."""

    def check(metric: str) -> Judged | None:
        from capo_bench.regression.outputs import explain, limit_said

        if capo_comparison.mismatches:
            pytest.fail(f"incomparable: {'; '.join(map(str, capo_comparison.mismatches))}", False)
        limit = next((one for one in capo_comparison.limits if one.metric.name == metric), None)
        if limit and not limit.kept:
            pytest.fail(limit_said(limit), False)
        judged = next((j for j in capo_comparison.metrics if j.metric.name == metric), None)
        if judged is None and limit:
            return None
        if judged is None:
            gated = ", ".join(j.metric.name for j in capo_comparison.metrics)
            pytest.fail(f"{metric} is not gated by the baseline; it gates {gated}", False)
        said = explain(judged, capo_comparison.n_items)
        if judged.verdict == "regressed":
            pytest.fail(said, False)
        if judged.verdict == "inconclusive":
            chosen = request.config.getoption("--capo-inconclusive")
            if chosen == "xfail":
                pytest.xfail(said)
            if chosen == "skip":
                pytest.skip(said)
            pytest.fail(said, False)
        return judged

    return check
