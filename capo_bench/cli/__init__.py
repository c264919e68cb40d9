"""The command line: one module a command, each loaded when it is called."""

from capo_bench.cli.app import main

__all__ = ["main"]
