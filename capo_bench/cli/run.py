"""`capo-bench run`: lm_eval with the tasks of this package."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from capo_bench.errors import CapoBenchError

HELP = """\
Usage: capo-bench run --model MODEL --tasks TASK[,TASK ...] [every other option of lm_eval run]

Run lm_eval with the tasks of this package; every flag is lm_eval's own.

  --tasks TASKS         capo_nli, capo_paraphrase, capo_mini_nli, capo_mini_paraphrase, each also
                        with _tag, _icl or _profile; capo_judge_*; capo, capo_mini: groups of them
  --model KIND          as lm_eval's, such as hf or vllm
  --model_args ARGS     such as pretrained=MODEL,dtype=bfloat16
  --metadata JSON       task options, such as '{"corpus": "my.jsonl", "split": "validation"}'
  --output_path DIR     results, and with --log_samples what `score` and `report` read
  --limit N             the first items only, to try a setup
  --include_path DIR    other task definitions than those of this package
  --help                this text
  --help_all            all options of lm_eval run
"""

app = typer.Typer(add_completion=False)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def run(context: typer.Context) -> None:
    """Run lm_eval with the tasks of this package; every flag is lm_eval's own."""
    arguments = list(context.args)
    if not arguments or {"--help", "-h"} & set(arguments):
        print(HELP, end="")
        return
    if {"--help_all", "--help-all"} & set(arguments):
        arguments = ["--help"]
    else:
        arguments += _included(arguments)
        _check_model(arguments)

    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm_eval", "run", *arguments]
    cli_evaluate()


def _included(arguments: list[str]) -> list[str]:
    from capo_bench.harness.paths import tasks_path

    if any(argument.split("=")[0] == "--include_path" for argument in arguments):
        return []
    return ["--include_path", str(tasks_path())]


def _check_model(arguments: list[str]) -> None:
    """Refuses a model folder that is not there before lm_eval spends a minute on its tasks."""
    for argument in arguments:
        for part in argument.replace("--model_args=", "").split(","):
            key, _, value = part.partition("=")
            local = value.startswith(("/", "./", "../", "~"))
            if key in {"pretrained", "peft"} and local and not Path(value).expanduser().exists():
                raise CapoBenchError(
                    f"--model_args {key}: {value} does not exist; name a model folder or a hub id"
                )
