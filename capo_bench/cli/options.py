"""The options that several commands take, each declared once, and what they come to.

Every option may be written with hyphens or underscores: `app` says so to the whole command line.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from capo_bench.display import say
from capo_bench.errors import CapoBenchError
from capo_bench.files import parse_json

if TYPE_CHECKING:
    from capo_bench.corpus.model import Corpus
    from capo_bench.metrics.cells import Prediction
    from capo_bench.scoring.options import Options
    from capo_bench.scoring.predictions import PredictionFile
    from capo_bench.scoring.scorer import Scorer

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Metadata = Annotated[
    str, typer.Option(help="As lm_eval's: task options as JSON, such as the data folder.")
]
Preset = Annotated[
    Literal["smoke", "scratch", "cpu", "cpu-bf16", "gpu"],
    typer.Option(help="How large the runs are."),
]
Model = Annotated[str, typer.Option(help="Folder, hub name or .gguf file of the base model.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Named = Annotated[str, typer.Argument(help="nli, paraphrase, mini-nli, ..., or a .jsonl file.")]


def may_write(path: Path, force: bool) -> None:
    """Asks before anything is overwritten, or refuses to where nobody can be asked.

    Args:
        path: What a command is about to write: a file, or a folder that is to hold files.
        force: Whether the user said so beforehand.

    Raises:
        CapoBenchError: If the file is there, or the folder holds anything, and may not be
            overwritten.
    """
    there = any(path.iterdir()) if path.is_dir() else path.exists()
    if not there or force:
        return
    if not (sys.stdin.isatty() and typer.confirm(f"{path} is there already; overwrite it?")):
        raise CapoBenchError("is there already; choose another name, or add --force", file=path)


@dataclass(frozen=True)
class Asked:
    """Which corpus is meant, and what of it, as far as flags say; `None` where they do not."""

    corpus: Annotated[
        str | None, typer.Option(help="Corpus name or file; samples of lm_eval know their own.")
    ] = None
    data: Annotated[
        Path | None,
        typer.Option("--data", "--path", help="Where the corpus's files lie, if not in the cache."),
    ] = None
    splits: Annotated[
        Literal["capo", "native"] | None,
        typer.Option(help="The benchmark's splits (capo), or those that the data come with."),
    ] = None
    split: Annotated[
        str | None, typer.Option(help="The split that is answered; test, if nothing else is said.")
    ] = None
    valid_only: Annotated[
        bool | None, typer.Option(help="Only responses that their own author confirmed.")
    ] = None
    min_responses: Annotated[
        int | None, typer.Option(min=0, help="Only annotators with at least so many responses.")
    ] = None
    min_annotators: Annotated[
        int | None, typer.Option(min=0, help="Only items that at least so many of them labelled.")
    ] = None
    bertscore: Annotated[str | None, typer.Option(help="BERTScore's encoder.")] = None

    def load(self, corpus: str) -> Corpus:
        """The corpus of a name, as the other flags want it."""
        return self._options({"corpus": corpus}).load()

    def options(
        self, known: Mapping[str, Any] | None = None, source: Path | None = None
    ) -> Options:
        """What is asked for: flags go before what is known already.

        Args:
            known: Options that the predictions themselves tell.
            source: Where the predictions come from.

        Raises:
            CapoBenchError: If neither tells the corpus.
        """
        if self.corpus is None and not (known or {}).get("corpus"):
            what = "no corpus is named" if source is None else "does not tell its corpus"
            raise CapoBenchError(f"{what}; name it, such as --corpus nli", file=source)
        return self._options(known or {})

    def _options(self, known: Mapping[str, Any]) -> Options:
        from capo_bench.scoring.options import read_options

        said = {name: value for name, value in vars(self).items() if value is not None}
        if self.data is not None:
            said["data"] = str(self.data)
        return read_options({**known, **said})


def asking(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the flags of `Asked`, all or those named, in place of its argument `asked`."""
    hints = get_type_hints(Asked, include_extras=True)
    flags = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[field.name]
        )
        for field in fields(Asked)
        if not names or field.name in names
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def asked(**given: Any) -> None:
            said = {flag.name: given.pop(flag.name) for flag in flags}
            command(**given, asked=Asked(**said))

        own = inspect.signature(command, eval_str=True)
        others = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in own.parameters.values()
            if parameter.name != "asked"
        ]
        signature = own.replace(parameters=[*others, *flags])
        asked.__signature__ = signature  # type: ignore[attr-defined]
        asked.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return asked

    return decorate


def answered(path: Path, asked: Asked) -> tuple[tuple[Prediction, ...], Scorer]:
    """A file's predictions, and the scorer of the corpus that they answer.

    Of several generations of each response, the first.

    Raises:
        CapoBenchError: If the file cannot be read, or answers another corpus than the flags name.
    """
    found, scorer = read(path, asked)
    return found.predictions, scorer


def read(path: Path, asked: Asked) -> tuple[PredictionFile, Scorer]:
    """A file of predictions, and the scorer of the corpus that they answer; says what is unreadable.

    Raises:
        CapoBenchError: If the file cannot be read, or answers another corpus than the flags name.
    """
    from capo_bench.prompts.responses import complaints, truncation
    from capo_bench.scoring.predictions import read_predictions

    found = read_predictions(path)
    scorer = asked.options(found.options, path).scorer()
    found.check(path, scorer.corpus)
    generated = [prediction for run in found.repeats for prediction in run]
    told = complaints(scorer.corpus.task, (one.response for one in generated))
    for line in [*told, *truncation([one.truncated for one in generated])]:
        say(f"{path}: {line}", file=sys.stderr)
    missing = found.missing(scorer.corpus, scorer.split)
    if missing:
        say(f"{path}: {missing}", file=sys.stderr)
    return found, scorer


def read_metadata(text: str) -> dict[str, Any]:
    """The value of `--metadata`.

    Raises:
        CapoBenchError: If it is no JSON object.
    """
    try:
        found = parse_json(text)
    except ValueError as error:
        raise CapoBenchError(f"--metadata is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise CapoBenchError(f"--metadata must be a JSON object, got {text[:60]}")
    return found
