"""`capo-bench run`: lm_eval with the tasks of this package."""

from __future__ import annotations

import typer

HELP = """\
Usage: capo-bench run --model MODEL --tasks TASK[,TASK ...] [every other option of lm_eval run]

Run lm_eval with the tasks of this package; every flag is lm_eval's own.

  --tasks TASKS         capo_nli, capo_paraphrase, capo_mini_nli, capo_mini_paraphrase, each also
                        with _tag, _icl or _profile; capo_judge_*; capo, capo_mini: groups of them
  --model KIND          as lm_eval's, such as hf, vllm or local-chat-completions
  --model_args ARGS     such as pretrained=MODEL,dtype=bfloat16; MODEL may be an adapter's folder
  --metadata JSON       task options, such as '{"corpus": "my.jsonl", "split": "validation"}'
  --output_path DIR     results, and with --log_samples what `score` and `report` read
  --limit N             the first items only, to try a setup
  --include_path DIR    more task definitions, beside those of this package
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
    from capo_bench.harness.launch import launch

    launch(["--help"] if {"--help_all", "--help-all"} & set(arguments) else arguments)
