"""`pytest --pyargs capo_bench.regression`: a test for each metric that the baseline gates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test a metric, known before anything is run."""
    from capo_bench.regression.baseline import read_baseline

    file = metafunc.config.getoption("--capo-baseline")
    baseline = read_baseline(Path(file)) if file else None
    names = list({**baseline.max_drops, **baseline.minimums}) if baseline else ["no-baseline"]
    metafunc.parametrize("metric", names)


def test_checkpoint(metric: str, capo_check: Callable[[str], Any]) -> None:
    """The checkpoint has not become worse than the baseline beyond the margin."""
    capo_check(metric)
