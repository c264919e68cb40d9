import sys

import pytest

from capo_bench import cli


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
