"""`capo-bench compare` and `capo-bench gate`; the exit status is the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from capo_bench.cli.options import Asked, Force, Metadata, asking, may_write, read_metadata
from capo_bench.display import say
from capo_bench.errors import CapoBenchError

if TYPE_CHECKING:
    from capo_bench.regression.result import Result

Format = Literal["text", "json", "junit", "github"]
_Format = Annotated[Format, typer.Option("--format", help="Form of the result.")]
_MaxDrop = Annotated[
    list[str] | None,
    typer.Option(
        "--max-drop",
        metavar="METRIC=VALUE",
        help="A gated metric and the largest drop (rise, where low is good) that is tolerated; "
        "repeat for several. Named ones replace the default metrics.",
    ),
]
_Minimum = Annotated[
    list[str] | None,
    typer.Option(
        "--min",
        metavar="METRIC=VALUE",
        help="The worst value that a metric may have, whatever the baseline has (the largest, where "
        "low is good); repeat for several.",
    ),
]
_Output = Annotated[
    Path | None, typer.Option(help="Write the result here; the terminal then gets the text.")
]
_EXIT = "Exit status: 0 pass, 1 regressed, 2 bad input, 3 inconclusive, 4 incomparable."


@asking()
def compare(
    base: Annotated[
        Path,
        typer.Argument(
            help="Predictions, samples of lm_eval, a folder that lm_eval wrote, or a submission."
        ),
    ],
    candidate: Annotated[Path, typer.Argument(help="Of one of these kinds, too.")],
    asked: Asked,
    more_base: Annotated[
        list[Path] | None, typer.Option("--base", help="A further run (seed) of the baseline.")
    ] = None,
    more_candidate: Annotated[
        list[Path] | None, typer.Option("--candidate", help="A further run of the candidate.")
    ] = None,
    max_drop: _MaxDrop = None,
    minimum: _Minimum = None,
    form: _Format = "text",
    output: _Output = None,
    force: Force = False,
) -> None:
    """Has a run become worse than another, beyond what is tolerated?"""
    from capo_bench.regression.compare import compare as compare_sides
    from capo_bench.regression.sides import read_side

    if output:
        may_write(output, force)
    sides = read_side([base, *(more_base or [])]), read_side([candidate, *(more_candidate or [])])
    scorer = asked.options({**sides[1].options, **sides[0].options}, base).scorer()
    result = compare_sides(
        *sides, scorer, _values("--max-drop", max_drop), _values("--min", minimum)
    )
    _show(result, form, output)


def gate(
    checkpoint: Annotated[str, typer.Argument(help="A model's or adapter's folder, or a hub id.")],
    baseline: Annotated[Path, typer.Option(help="The baseline file.")],
    mode: Annotated[
        Literal["quick", "full"],
        typer.Option(help="quick: a stratified subset of the items; full: all of them."),
    ] = "full",
    items: Annotated[int, typer.Option(min=2, help="Size of the subset.")] = 40,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the baseline instead of comparing.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="For a new baseline: the task.")] = None,
    gen_kwargs: Annotated[
        str | None, typer.Option(help="For a new baseline: as lm_eval's, such as max_gen_toks=64.")
    ] = None,
    apply_chat_template: Annotated[
        bool | None, typer.Option(help="For a new baseline: use the model's chat template.")
    ] = None,
    runs: Annotated[
        int | None, typer.Option(min=1, help="For a new baseline: runs of a sampled model.")
    ] = None,
    max_drop: _MaxDrop = None,
    minimum: _Minimum = None,
    metadata: Metadata = "{}",
    model: Annotated[str, typer.Option(help="Kind of model, as lm_eval's.")] = "hf",
    model_args: Annotated[
        str, typer.Option(help="As lm_eval's, beside the path; such as dtype=bfloat16.")
    ] = "",
    batch_size: Annotated[str, typer.Option(help="As lm_eval's.")] = "1",
    device: Annotated[str, typer.Option(help="As lm_eval's; the CPU without a GPU.")] = "cuda:0",
    form: _Format = "text",
    output: _Output = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Folder for the candidate's predictions.")
    ] = None,
    force: Force = False,
) -> None:
    """Run a checkpoint on the baseline's task and compare."""
    from lm_eval.utils import simple_parse_args_string

    from capo_bench.files import writing_all
    from capo_bench.regression.baseline import read_baseline, write_baseline
    from capo_bench.regression.compare import MAX_DROPS
    from capo_bench.regression.gate import Checkpoint, Setup, make_baseline
    from capo_bench.regression.gate import gate as run_gate
    from capo_bench.scoring.predictions import write_fingerprinted

    for place in filter(None, (output, predictions)):
        may_write(place, force)
    extra = read_metadata(metadata)
    found = Checkpoint(checkpoint, model, simple_parse_args_string(model_args), batch_size, device)
    if update_baseline:
        old = read_baseline(baseline) if baseline.exists() else None
        if task is None and old is None:
            raise CapoBenchError(f"{baseline} does not exist; a new one needs --task")
        if mode == "quick":
            raise CapoBenchError("a baseline holds all items; leave --mode quick out")
        setup = Setup(
            task=task or (old.task if old else ""),
            metadata={**(old.metadata if old else {}), **extra},
            gen_kwargs=simple_parse_args_string(gen_kwargs)
            if gen_kwargs is not None
            else (old.gen_kwargs if old else {}),
            apply_chat_template=bool(
                apply_chat_template
                if apply_chat_template is not None
                else old and old.apply_chat_template
            ),
            runs=runs or (len(old.runs) if old else 1),
        )
        drops = _values("--max-drop", max_drop) or (old.max_drops if old else None)
        worst = _values("--min", minimum) or (old.minimums if old else None)
        made = make_baseline(found, setup, drops, worst)
        write_baseline(baseline, made)
        gated = ", ".join(f"{name} {drop:g}" for name, drop in made.max_drops.items())
        say(f"{baseline}: {len(made.runs[0].responses)} items, {made.task}; margins: {gated}")
        left = [name for name in MAX_DROPS if name not in made.max_drops] if not drops else []
        if left:
            print(
                f"not gated, because this checkpoint has nothing of it to lose: {', '.join(left)}"
            )
        return
    fixed = {
        "--task": task, "--gen-kwargs": gen_kwargs, "--runs": runs, "--max-drop": max_drop,
        "--apply-chat-template": apply_chat_template, "--min": minimum,
    }  # fmt: skip
    named = [flag for flag, value in fixed.items() if value is not None]
    if named:
        raise CapoBenchError(
            f"{named[0]} is the baseline's to say; change it there with --update-baseline"
        )
    result, side = run_gate(
        found, read_baseline(baseline), str(baseline), mode=mode, items=items, metadata=extra
    )
    if predictions and side:
        with writing_all(predictions) as staged:
            for index, run in enumerate(side.runs):
                file = staged / f"predictions-{index}.jsonl"
                write_fingerprinted(file, side.facts["fingerprint"], run)
    _show(result, form, output)


compare.__doc__ = f"{compare.__doc__}\n\n{_EXIT}"
gate.__doc__ = f"{gate.__doc__}\n\n{_EXIT}"


def _values(flag: str, given: list[str] | None) -> dict[str, float] | None:
    values = {}
    for entry in given or []:
        name, _, value = entry.partition("=")
        try:
            values[name] = float(value)
        except ValueError as error:
            raise CapoBenchError(
                f"{flag} {entry}: expected METRIC=VALUE, such as faithful_rate=0.05"
            ) from error
    return values or None


def _show(result: Result, form: Format, output: Path | None) -> None:
    from capo_bench.display import console
    from capo_bench.files import write_text
    from capo_bench.regression.outputs import FORMATS, renderable
    from capo_bench.regression.result import EXIT_CODES

    if output:
        write_text(output, FORMATS[form](result))
    if output or form == "text":
        console().print(renderable(result))
    else:
        print(FORMATS[form](result), end="")
    raise typer.Exit(EXIT_CODES[result.verdict])
