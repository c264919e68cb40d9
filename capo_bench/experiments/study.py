"""A study's folder: `study.yaml`, predictions, and the table and figure that are built from them.

As on a board, no score is believed: `build` recomputes all of them from the predictions.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from capo_bench.corpus.model import SplitName
from capo_bench.errors import CapoBenchError, listed
from capo_bench.experiments.curves import draw
from capo_bench.experiments.designs import Design, Row, asking_only
from capo_bench.experiments.runs import Experiment
from capo_bench.files import read_yaml, validated, write_text, writing_all
from capo_bench.leaderboard.submission import Finite, Line, Text
from capo_bench.metrics.cells import Prediction
from capo_bench.metrics.registry import shown_in
from capo_bench.render.estimates import estimate_cell, estimate_json, signature_line
from capo_bench.render.html import escape_markdown
from capo_bench.scoring.cache import measured
from capo_bench.scoring.controls import AGAIN, CEILINGS, HUMAN, control_predictions
from capo_bench.scoring.options import Options, beside
from capo_bench.scoring.predictions import human_predictions, read_predictions, write_predictions
from capo_bench.scoring.scorer import Scorer, Scores

STUDY, PREDICTIONS = "study.yaml", "predictions"
REFERENCES = (HUMAN, AGAIN, "swapped", "constant", "random-train")
"""Control rows of every table; on the train split, which impostors know, the humans alone."""

Track = Callable[[Sequence["RowSpec"]], Iterable["RowSpec"]]
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class RowSpec(BaseModel):
    """One row of `study.yaml`."""

    model_config = _STRICT

    name: Annotated[Line, Field(description="As the table shows it.")]
    predictions: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._-]+\.jsonl$", description=f"A file in {PREDICTIONS}/.")
    ]
    corpus: Annotated[
        Line,
        Field(
            pattern=r"^[A-Za-z0-9._-]+$",
            description="A corpus's name, or a .jsonl file of the folder.",
        ),
    ]
    split: Annotated[SplitName, Field(description="The split that was answered.")]
    annotators: Annotated[list[Line], Field(description="Targets scored; none: all of them.")] = []
    curve: Annotated[Line | Literal[""], Field(description="Line of the figure it is on.")] = ""
    x: Annotated[Finite | None, Field(description="Its place along the figure.")] = None
    seconds: Annotated[
        dict[Literal["train", "evaluate"], Annotated[float, Field(ge=0, allow_inf_nan=False)]],
        Field(description="Wall time of `train` and `evaluate`."),
    ] = {}
    commands: Annotated[
        dict[Literal["train", "evaluate"], Text], Field(description="What was run.")
    ] = {}


class StudySpec(BaseModel):
    """What `study.yaml` says."""

    model_config = _STRICT

    title: Line
    about: Text
    model: Annotated[Line, Field(description="The base model.")]
    hardware: Annotated[Line, Field(description="What it ran on.")]
    bertscore: Annotated[Line, Field(description="BERTScore's encoder.")]
    x: Annotated[Line | Literal[""], Field(description="The figure's axis; empty: no figure.")] = ""
    rows: Annotated[list[RowSpec], Field(min_length=1)]


_spec: TypeAdapter[StudySpec] = TypeAdapter(StudySpec)


@dataclass(frozen=True)
class Scored:
    """One row of a table.

    Attributes:
        name: As the table shows it.
        scores: All metrics.
        spec: Where it comes from; `None` for a reference.
        kind: `system`, `human` or `control`.
    """

    name: str
    scores: Scores
    spec: RowSpec | None
    kind: str


def write(
    design: Design, experiment: Experiment, folder: Path, hardware: str, bertscore: str
) -> None:
    """Writes predictions and `study.yaml` of a study's rows, of those whose runs stand.

    Args:
        design: The study.
        experiment: What was run.
        folder: The study's folder.
        hardware: What it ran on.
        bertscore: The encoder that its tables are built with.

    Raises:
        CapoBenchError: If no run has results, or they answer another corpus.
    """
    found = [(row, experiment.results(row.run)) for row in design.rows]
    with writing_all(folder) as staged:
        rows = [
            _written(row, results, experiment, folder, staged, bertscore)
            for row, results in found
            if results is not None
        ]
        if not rows:
            raise CapoBenchError(
                f"{experiment.output} holds no results of this study; run it first"
            )
        spec = {
            "title": design.title,
            "about": design.about,
            "model": Path(experiment.model).name,
            "hardware": hardware,
            "bertscore": bertscore,
            "x": design.x,
            "rows": rows,
        }
        write_text(staged / STUDY, yaml.safe_dump(spec, sort_keys=False, width=100))


def _written(
    row: Row, results: Path, experiment: Experiment, folder: Path, staged: Path, bertscore: str
) -> dict[str, Any]:
    """Writes the predictions of a row; what `study.yaml` says of it."""
    samples = max(results.parent.glob("samples_*.jsonl"))  # the latest: their names end in the date
    found = read_predictions(samples)
    corpus = _options(folder, row.corpus, row.split, bertscore).load()
    found.check(samples, corpus)
    file = f"{row.run.name}.jsonl"
    write_predictions(staged / PREDICTIONS / file, corpus, found.predictions)
    stages = experiment.stages(row.run)
    return {
        "name": row.name,
        "predictions": file,
        "corpus": row.corpus,
        "split": row.split,
        "annotators": list(row.annotators),
        "curve": row.curve,
        "x": None if row.x is None else float(row.x),
        "seconds": {one.kind: taken for one in stages if (taken := one.seconds()) is not None},
        "commands": {one.kind: _portable(one.command, experiment, folder) for one in stages},
    }


def _portable(command: Sequence[str], experiment: Experiment, folder: Path) -> str:
    """A command without the interpreter and with names in the place of this machine's folders."""
    named = {
        str(folder): "FOLDER",
        str(experiment.output): "RUNS",
        str(experiment.model): Path(experiment.model).name,
    }
    # A whole path, or the beginning of one, wherever it stands in an argument: "pretrained=RUNS/...".
    places = "|".join(map(re.escape, sorted(named, key=len, reverse=True)))
    path = re.compile(rf"(?<![\w./-])(?:{places})(?![\w.-])")
    arguments = [path.sub(lambda found: named[found[0]], one) for one in command[1:]]
    return shlex.join(("python", *arguments))


def read(folder: Path) -> StudySpec:
    """Reads a `study.yaml`.

    Raises:
        CapoBenchError: If it is missing, no plain YAML, or not in the schema.
    """
    value, _ = read_yaml(folder / STUDY)
    return validated(_spec, value, "see leaderboards/studies for examples", file=folder / STUDY)


def score(folder: Path, spec: StudySpec, track: Track = iter) -> list[Scored]:
    """Scores every row, and below the rows that answer the same cells their references.

    Args:
        folder: The study's folder.
        spec: Its `study.yaml`.
        track: Wraps the rows, to show progress.

    Raises:
        CapoBenchError: If predictions are missing, damaged or answer another corpus.
    """
    systems, references = [], []
    asked = set()
    for row in track(spec.rows):
        file = folder / PREDICTIONS / row.predictions
        found = read_predictions(file)
        options = _options(folder, row.corpus, row.split, spec.bertscore)
        corpus = options.load()
        found.check(file, corpus)
        known = corpus.annotator_ids
        if stray := [one for one in row.annotators if one not in known]:
            raise CapoBenchError(
                f"annotator {stray[0]!r} is not among those of corpus {corpus.name} "
                f"({listed(known)}); mend the id",
                file=folder / STUDY,
                id=f"row {row.name}",
            )
        scorer = _scorer(options, tuple(row.annotators))
        kept = _only(found.predictions, row.annotators)
        systems.append(Scored(row.name, _scores(scorer, kept), row, "system"))
        cells = frozenset((one.item, one.annotator) for one in kept)
        where = (row.corpus, row.split, cells)
        if where in asked:
            continue
        asked.add(where)
        which = ", ".join(
            part
            for part in (
                row.corpus if len({one.corpus for one in spec.rows}) > 1 else "",
                row.split if len({one.split for one in spec.rows}) > 1 else "",
                _named(row.annotators),
            )
            if part
        )
        for name, predictions in _references(options).items():
            own = tuple(one for one in predictions if (one.item, one.annotator) in cells)
            title = f"{name} ({which})" if which else name
            kind = "human" if name in CEILINGS else "control"
            references.append(Scored(title, _scores(scorer, own), None, kind))
    return systems + references


def build(folder: Path, track: Track = iter) -> list[Path]:
    """Writes `table.md`, `table.json` and, where the study has an axis, `curves.svg`.

    Returns:
        The files.

    Raises:
        CapoBenchError: As `read`, `score` and `writing_all` do.
    """
    spec = read(folder)
    rows = score(folder, spec, track)
    data = {"title": spec.title, "rows": [_row_json(row) for row in rows]}
    with writing_all(folder) as staged:
        write_text(staged / "table.md", markdown(spec, rows))
        write_text(staged / "table.json", json.dumps(data, ensure_ascii=False, indent=1) + "\n")
        if spec.x:
            _draw(spec, rows, staged / "curves.svg")
        return [folder / file.name for file in staged.iterdir()]


def _draw(spec: StudySpec, rows: Sequence[Scored], file: Path) -> None:
    lines = [
        (row.spec.curve, row.spec.x, row.scores.estimates)
        for row in rows
        if row.spec and row.spec.x is not None
    ]
    references = [r for r in rows if not r.spec and r.name.startswith((HUMAN, "swapped"))]
    alone = {r.name: r.scores.estimates for r in references} if len(references) == 2 else {}
    draw(spec.title, spec.x, lines, alone, file)


def markdown(spec: StudySpec, rows: Sequence[Scored]) -> str:
    """The table for people."""
    metrics = shown_in("contrasts")
    titles = " | ".join(metric.title for metric in metrics)
    lines = [
        f"# {escape_markdown(spec.title)}",
        "",
        f"{escape_markdown(spec.about)} Model: {escape_markdown(spec.model)}. Ran on: "
        f"{escape_markdown(spec.hardware)}; training and evaluation in seconds of wall time. "
        "Intervals: 95 %, clustered on the item.",
        "",
        f"| row | responses | {titles} | train s | evaluate s |",
        f"|---|---|{'---|' * len(metrics)}---|---|",
    ]
    for row in rows:
        name = escape_markdown(row.name)
        cells = [estimate_cell(row.scores.estimates[metric.name]) for metric in metrics]
        seconds = row.spec.seconds if row.spec else {}
        times = [
            f"{seconds[kind]:.0f}" if kind in seconds else "" for kind in ("train", "evaluate")
        ]
        shown = name if row.kind == "system" else f"*{name}*"
        lines.append(f"| {shown} | {row.scores.n_responses} | {' | '.join([*cells, *times])} |")
    signed = dict.fromkeys(signature_line(row.scores.signature) for row in rows)
    lines += ["", "Scored:", "", *(f"- {escape_markdown(one)}" for one in signed)]
    return "\n".join(lines) + "\n"


def _row_json(row: Scored) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "signature": row.scores.signature,
        "items": row.scores.n_items,
        "responses": row.scores.n_responses,
        "metrics": {name: estimate_json(one, 4) for name, one in row.scores.estimates.items()},
    }


def _options(folder: Path, corpus: str, split: str, bertscore: str) -> Options:
    return Options(beside(folder, corpus), split=split, bertscore=bertscore)


@cache
def _scorer(options: Options, annotators: tuple[str, ...]) -> Scorer:
    scorer = options.scorer()
    if not annotators:
        return scorer
    corpus = asking_only(scorer.corpus, scorer.split, annotators)
    return Scorer(corpus, scorer.split, scorer.encoder)


@cache
def _references(options: Options) -> Mapping[str, Sequence[Prediction]]:
    corpus = options.load()
    if options.split == "train":
        return {HUMAN: human_predictions(corpus, "train")}
    found = control_predictions(corpus, options.split)
    return {name: found[name] for name in REFERENCES if name in found}


def _only(predictions: Sequence[Prediction], annotators: Sequence[str]) -> tuple[Prediction, ...]:
    return tuple(one for one in predictions if not annotators or one.annotator in annotators)


def _named(annotators: Sequence[str]) -> str:
    return f"{len(annotators)} annotators" if len(annotators) > 4 else ", ".join(annotators)


def _scores(scorer: Scorer, predictions: Sequence[Prediction]) -> Scores:
    (found,) = measured(scorer, (predictions,))
    return found.scores
