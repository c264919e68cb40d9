"""The command line. It only calls: everything it does can be done from Python.

A command's module is imported when the command is named, and no module imports torch, lm_eval or
transformers before the command needs them, so that help and small commands answer at once.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from capo_bench import __version__
from capo_bench.errors import DEBUG_VARIABLE, exit_status

COMMANDS = {
    "run": "run:app",
    "score": "score:score",
    "report": "report:report",
    "compare": "regression:compare",
    "gate": "regression:gate",
    "controls": "controls:controls",
    "power": "power:power",
    "data": "data:app",
    "analyse": "analyse:analyse",
    "validate-humans": "validate_humans:app",
    "train": "train:app",
    "ladder": "ladder:ladder",
    "study": "study:app",
    "submit": "leaderboard:submit",
    "verify": "leaderboard:verify",
    "leaderboard": "leaderboard:app",
    "tasks": "tasks:tasks",
    "validate": "validate:validate",
}
"""Each command in the order of the help: module of this package, and the function or app in it."""


class Lazy(TyperGroup):
    """A group that imports the module of a command when the command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; `None` if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"capo_bench.cli.{module}"), name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False)
            alone.command()(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


def _hyphenated(token: str) -> str:
    """One spelling for two: `--batch_size`, as lm_eval and transformers write it, and ours."""
    return token.replace("_", "-")


app = typer.Typer(
    cls=Lazy, pretty_exceptions_enable=False, context_settings={"token_normalize_func": _hyphenated}
)


def _version(asked: bool) -> None:
    if asked:
        print(f"capo-bench {__version__}")
        raise typer.Exit


@app.callback(no_args_is_help=True)
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")
    ] = False,
) -> None:
    """Annotator faithfulness of language models: the open benchmark of CAPO."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


def main() -> None:
    """Entry point of `capo-bench`; what goes wrong is one line on stderr and its exit status."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(exit_status(lambda: app(prog_name="capo-bench")))
