"""What is compared: the runs of one system, and what is known of how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capo_bench.errors import CapoBenchError
from capo_bench.files import read_json
from capo_bench.leaderboard.board import BOARD, read_board
from capo_bench.leaderboard.submission import CARD, read_submission
from capo_bench.metrics.cells import Prediction, answers_of
from capo_bench.scoring.options import ANSWERED
from capo_bench.scoring.predictions import read_predictions

FACTS = {
    "fingerprint": "corpus fingerprint",
    "split": "split",
    "task": "task",
    "task_version": "task version",
    "prompt_hash": "prompt hash",
    "chat_template": "chat template applied",
    "form": "form of the prompts",
    "metrics": "metrics version",
}
"""What must be the same on both sides, with the name that messages use."""


@dataclass(frozen=True)
class Side:
    """One system's runs over the same cells.

    Attributes:
        name: What it is called.
        runs: The predictions of each run (seed).
        facts: What is known of the keys of `FACTS`; what is not known has no key.
        options: What is known of the keys of `ANSWERED`.
    """

    name: str
    runs: tuple[tuple[Prediction, ...], ...]
    facts: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mismatch:
    """Something that differs between two sides, or two runs of one, and must not.

    Attributes:
        what: Its name.
        base: The baseline's value.
        candidate: The candidate's.
    """

    what: str
    base: str
    candidate: str

    def __str__(self) -> str:
        return f"{self.what}: {self.base} against {self.candidate}"


def mismatches(base: Mapping[str, str], candidate: Mapping[str, str]) -> list[Mismatch]:
    """The facts that both know and do not agree on."""
    return [
        Mismatch(name, base[key], candidate[key])
        for key, name in FACTS.items()
        if key in base and key in candidate and base[key] != candidate[key]
    ]


def read_side(paths: Sequence[Path]) -> Side:
    """Reads one side: each path is a run, or a folder of runs.

    A path may be a file of predictions, samples that lm-eval logged, a folder that lm-eval wrote
    (`--output_path`), or a submission's folder.

    Raises:
        CapoBenchError: If one cannot be read, or they are not different runs of one task and corpus.
    """
    parts = [part for path in paths for part in _read(path)]
    first = parts[0]
    for part in parts[1:]:
        differing = mismatches(first.facts, part.facts)
        if differing:
            raise CapoBenchError(
                f"{first.name} and {part.name} are no two runs of one system: "
                f"{'; '.join(map(str, differing))}; give the runs of one task on each side"
            )
    answered: dict[frozenset[tuple[str, str, str]], str] = {}
    for part in parts:
        for answers in map(answers_of, part.runs):
            if answers in answered:
                raise CapoBenchError(
                    f"holds the answers of {answered[answers]} once more; one run counts once",
                    file=part.name,
                )
            answered[answers] = part.name
    return Side(
        name=", ".join(dict.fromkeys(str(path) for path in paths)),
        runs=tuple(run for part in parts for run in part.runs),
        facts={key: value for part in parts for key, value in part.facts.items()},
        options={key: value for part in parts for key, value in part.options.items()},
    )


def _read(path: Path) -> list[Side]:
    if not path.is_dir():
        return [_file(path)]
    if (path / CARD).is_file():
        return [_submission(path)]
    files = sorted(path.rglob("samples_*.jsonl"))
    if not files:
        raise CapoBenchError(
            f"{path} holds neither samples of lm_eval (samples_*.jsonl, from --log_samples) nor a "
            f"submission ({CARD})"
        )
    tasks = sorted({_task_and_date(file)[0] for file in files})
    if len(tasks) > 1:
        raise CapoBenchError(
            f"{path} holds samples of {len(tasks)} tasks ({', '.join(tasks)}); "
            "name the files of one of them"
        )
    return [_file(file) for file in files]


def _file(path: Path) -> Side:
    found = read_predictions(path)
    options = {key: found.options[key] for key in ANSWERED if key in found.options}
    facts = {"fingerprint": found.fingerprint}
    if options:
        facts["split"] = str(options["split"])
        told = _results(path)
        if differing := mismatches(facts, told):
            raise CapoBenchError(
                f"the results beside it are of another run: {'; '.join(map(str, differing))}; "
                "keep what one run wrote together",
                file=path,
            )
        facts |= told
    return Side(str(path), found.repeats, facts, options)


def _submission(folder: Path) -> Side:
    found = read_submission(folder)
    card = found.card
    facts = {"fingerprint": found.fingerprint, "prompt_hash": card.prompt_hash}
    known = {"task_version": card.versions.get("task"), "metrics": card.versions.get("metrics")}
    board = folder.absolute().parent.parent
    options: dict[str, Any] = {}
    if (board / BOARD).is_file():  # it lies in a board, which says what is answered
        asked = read_board(board).options(board).as_json()
        options = {key: asked[key] for key in (*ANSWERED, "bertscore")}
        facts["split"] = asked["split"]
    return Side(
        str(folder),
        found.predictions,
        facts | {key: v for key, v in known.items() if v is not None},
        options,
    )


def _task_and_date(samples: Path) -> tuple[str, str]:
    """From the name that lm-eval gives: samples_TASK_DATE.jsonl."""
    task, _, date = samples.stem.removeprefix("samples_").rpartition("_")
    return task, date


def _results(samples: Path) -> dict[str, str]:
    """What the results that lm-eval wrote beside the samples tell of the run."""
    task, date = _task_and_date(samples)
    file = samples.with_name(f"results_{date}.json")
    if not file.is_file():
        return {}
    results = read_json(file, finite=False)
    try:
        return run_facts(results, task)
    except (KeyError, TypeError, AttributeError) as error:
        raise CapoBenchError(
            f"{file} has not the form of lm_eval's results for {task} ({error!r})"
        ) from error


def run_facts(results: Mapping[str, Any], task: str) -> dict[str, str]:
    """The keys of `FACTS` in the results of an lm-eval run of a capo task."""
    metadata = results["configs"][task]["metadata"]
    facts = {
        "fingerprint": _plain(metadata["signature"]["fingerprint"]),
        "split": _plain(metadata["split"]),
        "task": task,
        "task_version": _plain(results["versions"][task]),
        "prompt_hash": _plain(metadata["prompt_hash"]),
        "metrics": _plain(metadata["signature"]["metrics"]),
    }
    if metadata.get("form", "auto") != "auto":  # auto: not known before the model is
        facts["form"] = _plain(metadata["form"])
    if "chat_template" in results:
        facts["chat_template"] = "yes" if results["chat_template"] else "no"
    return facts


def _plain(value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise TypeError(f"{value!r} is no text")
    return str(value)
