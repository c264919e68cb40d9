"""An experiment's results as a board: a submission for each system, and the paper's contrasts."""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from capo_bench.errors import CapoBenchError
from capo_bench.experiments.designs import (
    ABLATIONS,
    EQUAL_COMPUTE,
    PROMPTED,
    SYSTEMS,
    sampled,
)
from capo_bench.experiments.runs import Experiment, Run, is_file
from capo_bench.files import read_yaml, write_text, writing_all
from capo_bench.leaderboard.board import BOARD, SUBMISSIONS, read_board
from capo_bench.leaderboard.submit import checked, submit
from capo_bench.scoring.options import Options

GIVEN = ("submitted_by", "licence", "hardware", "url", "notes")
"""Keys of a card that whoever runs an experiment may give; it and its results know the others."""


def check(experiment: Experiment, board: Path, given: Mapping[str, Any]) -> None:
    """Refuses before hours of training what `publish` would refuse after them.

    Raises:
        CapoBenchError: If the board is another corpus's, or a card would hold what it must not.
    """
    _spec(experiment, board)
    if unknown := [key for key in given if key not in GIVEN]:
        raise CapoBenchError(
            f"{', '.join(unknown)} cannot be given for a ladder's cards; they take "
            f"{', '.join(GIVEN)}, the rest is known"
        )
    for run in experiment.runs:
        card = {**_card(experiment, run, "the model", "the command"), "board": board.name, **given}
        results = {"format": 1, "setting": run.setting, "prompt_hash": "-"}
        of_run = {"seed": run.seed, "file": "predictions.jsonl", "claimed": {}}
        checked({**results, "decoding": {}, "versions": {}, "runs": [of_run], **card})


def publish(
    experiment: Experiment, board: Path, given: Mapping[str, Any], command: str
) -> list[Path]:
    """Makes a submission of every system, of the seeds that stand; earlier ones are made anew.

    Args:
        experiment: What was run.
        board: The board's folder. Where it has no `board.yaml` yet, one is written; to one that is
            there the contrasts of systems that it did not have are added (comments in it are lost).
        given: What cards say beside what the experiment and its results know: keys of `GIVEN`.
        command: The command that made the results, for the cards.

    Returns:
        The folders of the submissions.

    Raises:
        CapoBenchError: If the board is another corpus's, or a card would lack something.
    """
    model = Path(experiment.model).name.removesuffix(".gguf")
    prefix = re.sub(r"[^a-z0-9.]+", "-", model.lower()).strip("-.")
    spec = _spec(experiment, board)
    found: dict[str, Path] = {}
    systems = dict.fromkeys(run.system for run in experiment.runs)
    below = {system: Path(SUBMISSIONS, f"{prefix}-{system}") for system in systems}
    # An earlier call may have made a file of more seeds.
    with writing_all(board, whole=below.values()) as staged:
        for system in systems:
            runs = [
                run
                for run in experiment.runs
                if run.system == system and all(stage.done() for stage in experiment.stages(run))
            ]
            if not runs:
                continue
            folder = staged / below[system]
            results = [experiment.results(run) for run in runs]
            card = {**_card(experiment, runs[0], model, command), "board": board.name, **given}
            submit([path for path in results if path is not None], folder, card)
            found[system] = folder
        if not found:
            raise CapoBenchError(f"{experiment.output} holds no finished system yet")
        new = {system for system in found if not (board / below[system]).exists()}
        known = spec.get("contrasts", [])
        pairs = (
            [found[one].name, found[other].name]
            for one, other in _contrasts()
            if {one, other} <= found.keys() and {one, other} & new
        )
        more = [pair for pair in pairs if pair not in known]
        if more or not (board / BOARD).exists():
            spec["contrasts"] = [*known, *more]
            write_text(staged / BOARD, yaml.safe_dump(spec, sort_keys=False, allow_unicode=True))
        corpus = Path(experiment.corpus)
        if is_file(experiment.corpus) and not (board / corpus.name).exists():
            write_text(staged / corpus.name, corpus.read_text(encoding="utf-8"))
    return [board / below[system] for system in found]


def _card(experiment: Experiment, run: Run, model: str, command: str) -> dict[str, Any]:
    trained = run.method != "prompted"
    options = shlex.join(f"{key}={value}" for key, value in run.train.items())
    return {
        "system": f"{SYSTEMS[run.system]}, {model}",
        "model": f"{model} + {SYSTEMS[run.system]}" if trained else model,
        **({"base_model": model} if trained else {}),
        "method": run.method,
        "training_data": _trained_on(experiment, run) if trained else "none",
        "test_items_seen": False,
        "uses_test_explanations": False,
        "hardware": f"{platform.machine()}, {platform.system()}",
        "command": command,
        "notes": options or (f"the checkpoint of {run.start}" if trained else "not trained"),
    }


def _trained_on(experiment: Experiment, run: Run) -> str:
    start = next((r for r in experiment.runs if r.system == run.start), None)
    if not run.train and start:
        return _trained_on(experiment, start)
    items = f"{run.train['train_items']} items of the " if "train_items" in run.train else ""
    return f"{items}train split of {Path(run.corpus or experiment.corpus).stem}"


def _spec(experiment: Experiment, board: Path) -> dict[str, Any]:
    """What `board.yaml` says, or is to say of a new board, beside its contrasts.

    Raises:
        CapoBenchError: If it is the board of another corpus.
    """
    file, name = board / BOARD, Path(experiment.corpus).name
    if not file.is_file():
        return {
            "title": f"{Path(name).stem}, annotator faithfulness",
            "corpus": name,
            **experiment.kept,
            "bertscore": Options(experiment.corpus).scorer().encoder,
        }
    corpus = read_board(board).corpus
    if corpus != name:
        raise CapoBenchError(
            f"{file} is the board of {corpus}, but this experiment ran on {experiment.corpus}; "
            "choose another --board"
        )
    spec, _ = read_yaml(file)
    return dict(spec)


def _contrasts() -> list[tuple[str, str]]:
    """The systems of a ladder that are set against each other, those by sampling among them."""
    main = [("capo", "sft"), ("capo", EQUAL_COMPUTE)]
    ablated = [(ablation, "capo") for ablation in ABLATIONS]
    return [
        *(("sft", prompted) for prompted in PROMPTED),
        *main,
        *((sampled(one), one) for one in ("sft", "capo")),
        *_sampled(main),
        *ablated,
        *_sampled(ablated),
    ]


def _sampled(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same contrasts between the answers by sampling."""
    return [(sampled(one), sampled(other)) for one, other in pairs]
