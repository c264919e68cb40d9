"""`capo-bench train`: SFT and CAPO; its help is made without transformers, which takes seconds."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, fields

import typer

app = typer.Typer(add_completion=False)

METHODS = {
    "sft": "supervised fine-tuning: the model learns to answer as the annotators do",
    "capo": "cross-annotator preference optimization, from an SFT start: it tells them apart",
}
NEW = "a small model of random weights, for a synthetic world that it can learn whole"


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def train(context: typer.Context) -> None:
    """Train a model: `train sft` or `train capo`, with every option of TrainingArguments.

    `train new` makes a small one of random weights.
    """
    arguments = list(context.args)
    method, rest = (arguments or ["--help"])[0], arguments[1:]
    if method in ("--help", "-h"):
        print(overview())
    elif method in (*METHODS, "new") and {"--help", "-h"} & set(rest):
        print(options_of(method))
    else:
        from capo_bench.train.command import run

        full = ("--help_all", "--help-all")
        run([method, *("--help" if argument in full else argument for argument in rest)])


def overview() -> str:
    """What `train --help` says."""
    methods = "\n".join(f"  {name:6}{about}" for name, about in METHODS.items())
    return (
        "Usage: capo-bench train sft|capo --model MODEL --corpus CORPUS --output DIR [options]\n"
        "       capo-bench train new --corpus CORPUS --output DIR [options]\n\n"
        f"{methods}\n  {'new':6}{NEW}\n\n"
        "`capo-bench train sft --help` lists the options of a method."
    )


def options_of(method: str) -> str:
    """What `train sft --help`, `train capo --help` and `train new --help` say."""
    from capo_bench.train.options import (
        CapoOptions,
        NewOptions,
        PackedOptions,
        RunConfig,
        SftOptions,
    )

    if method == "new":
        usage = "Usage: capo-bench train new --corpus CORPUS --output DIR [options]"
        return f"{usage}\n\n{NEW[0].upper()}{NEW[1:]}.\n\n{_described(NewOptions)}"
    sections = {
        "Model and data": RunConfig,
        "Packing, and transformers' options with another default": PackedOptions,
        f"{method.upper()} alone": SftOptions if method == "sft" else CapoOptions,
    }
    parts = [
        f"Usage: capo-bench train {method} --model MODEL --corpus CORPUS --output DIR [options]",
        f"{METHODS[method][0].upper()}{METHODS[method][1:]}.",
        *(f"{title}:\n{_described(kind)}" for title, kind in sections.items()),
        "Every option of transformers.TrainingArguments is taken as well, such as --bf16 and\n"
        "--resume_from_checkpoint; --help_all lists them.",
    ]
    return "\n\n".join(parts)


def _described(kind: type) -> str:
    rows: list[str] = []
    for field in fields(kind):
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        value = " ".join(map(str, default)) if isinstance(default, Sequence) else default
        if isinstance(default, str):
            value = default
        said = "required" if default is MISSING else f"default: {value}"
        silent = default is None or default == []
        text = field.metadata["help"] + ("" if silent else f" [{said}]")
        start = f"  --{field.name:20} "
        rows.append(textwrap.fill(start + text, 96, subsequent_indent=" " * len(start)))
    return "\n".join(rows)
