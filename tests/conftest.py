import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from capo_bench import cli

# A change is judged by what it does, not by what chance draws: other examples are searched for with
# --hypothesis-profile=default.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


@pytest.fixture
def real_data() -> Path:
    """The folder of the real corpora; the test is skipped where there is none."""
    folder = Path(
        os.environ.get("CAPO_BENCH_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
    )
    if not (folder / "varierr" / "varierr.json").is_file():
        pytest.skip("the real corpora are not on this machine; CAPO_BENCH_DATA may name them")
    return folder


@pytest.fixture
def own_tasks(monkeypatch):
    """Only our tasks are found: to read all files of lm_eval's own takes seconds a run."""
    from lm_eval.tasks import TaskManager

    whole = TaskManager.__init__

    def ours(self, *args, include_defaults=True, **kwargs):
        whole(self, *args, include_defaults=False, **kwargs)

    monkeypatch.setattr(TaskManager, "__init__", ours)


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs `capo-bench ARGUMENTS` in this process; returns (status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["capo-bench", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return run
