"""The ladder's results as a board: a submission for each system, and the contrasts of the paper."""

from __future__ import annotations

import platform
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from capo_bench.errors import CapoBenchError
from capo_bench.experiments.ladder import ABLATIONS, PROMPTED, Ladder, Rung
from capo_bench.files import write_text
from capo_bench.leaderboard.board import BOARD, SUBMISSIONS, read_board
from capo_bench.leaderboard.submit import submit
from capo_bench.scoring.options import Options

SYSTEMS: Mapping[str, str] = {
    "zero-shot": "Zero-shot",
    "icl": "In-context examples",
    "profile": "Profile",
    "sft": "SFT",
    "capo": "CAPO",
    "capo-no-sft": "CAPO without SFT",
    "capo-softmax": "CAPO, softmax loss",
    "capo-beta-0.5": "CAPO, beta 0.5",
    "capo-same-label": "CAPO, same label rejected",
    "capo-other-label": "CAPO, other labels rejected",
    "capo-no-anchor": "CAPO without anchor",
}
"""How tables call the systems of a ladder."""


def publish(ladder: Ladder, board: Path, given: Mapping[str, Any], command: str) -> list[Path]:
    """Makes a submission of every system whose rungs all stand; those of earlier calls are made anew.

    Args:
        ladder: The ladder.
        board: The board's folder. Where it has no `board.yaml` yet, one is written.
        given: What cards say, beside what the ladder and its results know: `submitted_by`,
            `licence`, `hardware`, `url`, `notes`.
        command: The command that made the results, for the cards.

    Returns:
        The folders of the submissions.

    Raises:
        CapoBenchError: If the board is another corpus's, or a card would lack something.
    """
    model = Path(ladder.model).name.removesuffix(".gguf")
    prefix = re.sub(r"[^a-z0-9.]+", "-", model.lower()).strip("-.")
    found: dict[str, Path] = {}
    systems = dict.fromkeys(rung.system for rung in ladder.rungs)
    unfinished = {step.rung.name for step in ladder.steps() if not step.done}
    for system in systems:
        rungs = [rung for rung in ladder.rungs if rung.system == system]
        if any(rung.name in unfinished for rung in rungs):
            continue
        folder = board / SUBMISSIONS / f"{prefix}-{system}"
        shutil.rmtree(folder, ignore_errors=True)
        results = [ladder.results(rung) for rung in rungs]
        card = {**_card(ladder, rungs[0], model, command), "board": board.name, **given}
        submit([path for path in results if path is not None], folder, card)
        found[system] = folder
    if not found:
        raise CapoBenchError(f"{ladder.output} holds no finished system yet")
    _write_board(ladder, board, found)
    return list(found.values())


def _card(ladder: Ladder, rung: Rung, model: str, command: str) -> dict[str, Any]:
    trained = bool(rung.train)
    return {
        "system": f"{SYSTEMS[rung.system]}, {model}",
        "model": f"{model} + {SYSTEMS[rung.system]}" if trained else model,
        **({"base_model": model} if trained else {}),
        "method": rung.method,
        "training_data": f"train split of {ladder.corpus}" if trained else "none",
        "test_items_seen": False,
        "uses_test_explanations": False,
        "hardware": f"{platform.machine()}, {platform.system()}",
        "command": command,
        "notes": shlex.join(f"{key}={value}" for key, value in rung.train.items()) or "not trained",
    }


def _write_board(ladder: Ladder, board: Path, found: Mapping[str, Path]) -> None:
    """Writes `board.yaml` unless it is there; it contrasts the systems that stand."""
    file = board / BOARD
    if file.is_file():
        corpus = read_board(board).corpus
        if corpus != ladder.corpus:
            raise CapoBenchError(
                f"{file} is the board of {corpus}, but the ladder climbed {ladder.corpus}; "
                "choose another --board"
            )
        return
    pairs = [("sft", prompted) for prompted in PROMPTED] + [("capo", "sft")]
    pairs += [(ablation, "capo") for ablation in ABLATIONS]
    spec = {
        "title": f"{ladder.corpus}, annotator faithfulness",
        "corpus": ladder.corpus,
        "bertscore": Options(ladder.corpus).scorer().encoder,
        "contrasts": [
            [found[one].name, found[other].name]
            for one, other in pairs
            if one in found and other in found
        ],
    }
    write_text(file, yaml.safe_dump(spec, sort_keys=False))
