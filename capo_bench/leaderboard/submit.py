"""From lm-eval's output to a submission: what the results know goes into the card, the rest is asked.

A run with `--log_samples --output_path` leaves `results_DATE.json` beside one
`samples_TASK_DATE.jsonl` for each task. Several such runs that differ in nothing but their seed make
one submission, at once or one after the other.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Required

import yaml  # type: ignore[import-untyped]
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from capo_bench.display import visible
from capo_bench.errors import CapoBenchError
from capo_bench.files import naming, read_json, read_yaml, validated
from capo_bench.leaderboard.submission import (
    CARD,
    Card,
    Submission,
    read_submission,
    write_submission,
)
from capo_bench.scoring.predictions import PredictionFile, read_predictions

_log = logging.getLogger(__name__)

_Results = TypedDict(
    "_Results",
    {
        "config": Required[dict[str, Any]],
        "configs": Required[dict[str, dict[str, Any]]],
        "results": Required[dict[str, dict[str, Any]]],
        "n-samples": dict[str, dict[str, Any]],
        "higher_is_better": dict[str, dict[str, Any]],
        "versions": dict[str, Any],
    },
    total=False,
)
"""The parts of lm-eval's results that are read here; there are others."""
_Results.__pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[attr-defined]
_results: TypeAdapter[Any] = TypeAdapter(_Results)

_MADE = ("setting", "prompt_hash", "decoding", "versions")
"""Keys of a card that say how the responses were made."""

_SCORED_BY = ("capo_bench", "metrics", "bertscore")
"""Versions in a card that say how its scores were made, and nothing of the responses."""

_ANEW = "run with --seed anew, for a trained model with the seed of its training"

_MEASURED = ("format", *_MADE, "runs")
"""Keys of a card that only the results may fill."""


@dataclass(frozen=True)
class LoggedRun:
    """One run of one task, as lm-eval wrote it.

    Attributes:
        file: The results file.
        task: Name of the task.
        seed: What torch, and with it sampling, was seeded with.
        known: Keys of a card that the results fill.
        claimed: The metrics that lm-eval reported, by name.
        answered: The logged responses.
        complaints: Why responses are invalid, if many are.
    """

    file: Path
    task: str
    seed: int
    known: dict[str, Any]
    claimed: dict[str, float]
    answered: PredictionFile
    complaints: tuple[str, ...] = ()


def submit(
    results: Sequence[Path],
    output: Path,
    given: Mapping[str, Any],
    task: str | None = None,
    *,
    replace: bool = False,
) -> Submission:
    """Makes a submission's folder.

    Args:
        results: For each run lm-eval's output folder, or a results file in it.
        output: The folder to make; its name is the submission's id.
        given: What the results cannot know: keys of `Card`.
        task: Name of the task, if the results have several.
        replace: As for `write_submission`.

    Raises:
        CapoBenchError: If a run is not a whole, scored run of a capo task, runs differ in more than
            the seed, or keys of the card are missing (all are named) or wrong.
    """
    runs = _read_runs(results, given, task)
    first = runs[0]
    # submissions/ lies in the board's folder.
    parent = output.absolute().parent
    board = {"board": parent.parent.name} if parent.name == "submissions" else {}
    listed = [_listed(run) for run in runs]
    card = checked({"format": 1, **board, **first.known, **given, "runs": listed})
    predictions = [run.answered.predictions for run in runs]
    return write_submission(output, card, predictions, first.answered.fingerprint, replace=replace)


def add(
    results: Sequence[Path], folder: Path, given: Mapping[str, Any], task: str | None = None
) -> Submission:
    """Adds runs to a submission that stands, as if they had been submitted together.

    Where the metrics are others by now the card names the new ones, and the scores that were claimed
    of earlier runs go.

    Args:
        results: As for `submit`.
        folder: The submission's folder.
        given: Keys of `Card` that are told anew, such as `notes`; the others stay.
        task: As for `submit`.

    Raises:
        CapoBenchError: If there is no submission, or its runs and these differ in more than the
            seed; and as `submit` does.
    """
    if not (folder / CARD).is_file():
        raise CapoBenchError("holds no submission to add to; leave --add out", file=folder)
    standing = read_submission(folder)
    runs = _read_runs(results, given, task)
    first, content = runs[0], standing.card.model_dump(mode="json", exclude_none=True)
    made, now = _how_made(content), _how_made(first.known)
    pairs = {what: (made[what], now[what]) for what in made}
    pairs["the corpus"] = standing.fingerprint, first.answered.fingerprint
    _check_same(folder, first.file, pairs)
    if content["versions"] != first.known["versions"]:
        # What was claimed is of other metrics than the card now names.
        content["versions"] = first.known["versions"]
        content["runs"] = [{**run, "claimed": {}} for run in content["runs"]]
    seeds = {run.seed for run in standing.card.runs}
    for run in runs:
        if run.seed in seeds:
            raise CapoBenchError(
                f"{run.file}: {folder} has a run with the seed {run.seed}; {_ANEW}"
            )
    together = [*zip(content["runs"], standing.predictions, strict=True)]
    together += [(_listed(run), run.answered.predictions) for run in runs]
    together.sort(key=lambda run: int(run[0]["seed"]))
    card = checked({**content, **given, "runs": [listed for listed, _ in together]})
    predictions = [answered for _, answered in together]
    return write_submission(folder, card, predictions, standing.fingerprint, replace=True)


def _how_made(card: Mapping[str, Any]) -> dict[str, Any]:
    """What of a card, or of what results know of it, says how the responses were made."""
    versions = {k: v for k, v in card["versions"].items() if k not in _SCORED_BY}
    return {**{key: card.get(key) for key in _MADE}, "versions": versions}


def _read_runs(
    results: Sequence[Path], given: Mapping[str, Any], task: str | None
) -> Sequence[LoggedRun]:
    """The runs, which differ in the seed alone; what is wrong with their responses is told."""
    runs = [read_run(path, task) for path in results]
    for run in runs:
        for line in run.complaints:
            _log.warning("%s: %s", run.file, line)
    _check_alike(runs, given)
    measured = [key for key in given if key in _MEASURED]
    if measured:
        raise CapoBenchError(
            f"{', '.join(measured)} come from the results alone; leave them out of --card and --set"
        )
    return runs


def _listed(run: LoggedRun) -> dict[str, Any]:
    """A run, as a card lists it."""
    return {"seed": run.seed, "file": f"predictions-{run.seed}.jsonl", "claimed": run.claimed}


def read_run(path: Path, task: str | None = None) -> LoggedRun:
    """Reads one run.

    Args:
        path: lm-eval's output folder, with one results file in or below it, or that file.
        task: Name of the task, if there are several.

    Raises:
        CapoBenchError: If there is no such run, or it is of another kind, limited or not logged.
    """
    file = _results_file(path)
    results = validated(
        _results, read_json(file, finite=False), "expected results of lm-eval", file=file
    )
    task = _task(file, list(results["configs"]), task)
    config = results["configs"][task]
    metadata = config.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("signature"), dict):
        raise CapoBenchError(
            f"{file}: task {task} does not answer as the annotators (a judge's task?); submit a run "
            "of capo_nli, capo_paraphrase or one of their variants"
        )
    counts = results.get("n-samples", {}).get(task, {})
    if counts.get("effective") != counts.get("original"):
        raise CapoBenchError(
            f"{file}: the run was limited to {counts.get('effective')} of {counts.get('original')} "
            "items; a board takes whole splits, run the task without --limit"
        )
    samples = file.parent / f"samples_{task}_{file.stem.removeprefix('results_')}.jsonl"
    if samples.parent != file.parent or not samples.is_file():
        raise CapoBenchError(f"{samples} is missing; run lm-eval with --log_samples")
    seed = results["config"].get("torch_seed")
    if not isinstance(seed, int):
        raise CapoBenchError(f"{file} names no torch_seed; run lm-eval with --seed")
    reported = results["results"].get(task, {})
    answered = _once(read_predictions(samples), samples)
    with naming(file):
        known = _known(results, config, metadata, results.get("versions", {}).get(task))
        signature, options = metadata["signature"], answered.options
        for what, told, asked in (
            ("the corpus with fingerprint", signature.get("fingerprint"), answered.fingerprint),
            ("the split", signature.get("split"), options.get("split")),
        ):
            if told != asked:
                raise CapoBenchError(
                    f"is of {what} {told}, but {samples.name} answers {asked}; keep what one run "
                    "wrote together"
                )
    return LoggedRun(
        file=file,
        task=task,
        seed=seed,
        known=known,
        claimed={
            name: reported[f"{name},none"]
            for name in results.get("higher_is_better", {}).get(task, {})
            if isinstance(reported.get(f"{name},none"), int | float)
        },
        answered=answered,
        complaints=_texts(metadata.get("complaints")),
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(visible, value)) if isinstance(value, list) else ()


def read_given(card: Path | None, settings: Sequence[str]) -> dict[str, Any]:
    """What the submitter says beside the results.

    Args:
        card: A YAML file with keys of a card.
        settings: `key=value` each; they go before the file's.

    Raises:
        CapoBenchError: If the file is not plain YAML, a setting has no `=`, or a key is set twice.
    """
    given = read_yaml(card)[0] if card else {}
    if not isinstance(given, dict):
        raise CapoBenchError(f"{card}: expected a line `key: value` for each key of the card")
    said: set[str] = set()
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise CapoBenchError(f"--set {setting}: expected key=value")
        if key.strip() in said:
            raise CapoBenchError(f"--set {key.strip()} is given twice; keep one")
        said.add(key.strip())
        given[key.strip()] = _typed(key.strip(), value.strip())
    return given


def _typed(key: str, value: str) -> Any:
    """The value of a flag: text, but for the keys of a card that are numbers or yes and no."""
    field = Card.model_fields.get(key)
    if field is None or "str" in str(field.annotation):
        return value
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        return value


def _once(answered: PredictionFile, file: Path) -> PredictionFile:
    if len(answered.repeats) > 1:
        raise CapoBenchError(
            f"holds {len(answered.repeats)} generations of each response; a submission's run has "
            "one: run the task without repeats, once for each seed",
            file=file,
        )
    return answered


def _results_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise CapoBenchError(f"{path} does not exist; name lm-eval's --output_path")
    found = sorted(path.rglob("results_*.json"))
    if not found:
        raise CapoBenchError(f"{path} holds no results_*.json of lm-eval, nor does a folder in it")
    if len(found) > 1:
        raise CapoBenchError(
            f"{path} holds {len(found)} runs; name their files one by one: "
            + ", ".join(str(file.relative_to(path)) for file in found)
        )
    return found[0]


def _task(file: Path, tasks: list[str], wanted: str | None) -> str:
    names = ", ".join(tasks)
    if wanted is not None and wanted not in tasks:
        raise CapoBenchError(f"{file} has no task {wanted}; it has {names}")
    if wanted is None and len(tasks) != 1:
        raise CapoBenchError(f"{file} has the tasks {names}; choose one with --task")
    return wanted if wanted is not None else tasks[0]


def _known(
    results: dict[str, Any], config: dict[str, Any], metadata: dict[str, Any], task_version: object
) -> dict[str, Any]:
    arguments = results["config"].get("model_args")
    arguments = arguments if isinstance(arguments, dict) else {}
    named = {
        key: value
        for key, value in (
            ("model", arguments.get("peft") or results.get("model_name")),
            ("base_model", arguments.get("pretrained") if arguments.get("peft") else None),
        )
        # A folder on the submitter's machine names nothing to others; a hub id has one slash at most.
        if value
        and str(value)[0] not in "/.~"
        and str(value).count("/") < 2
        and not os.path.exists(str(value))
    }
    weights = results["config"].get("model_num_parameters")
    signature = metadata["signature"]
    torch = re.search(r"PyTorch version: (\S+)", str(results.get("pretty_env_info")))
    versions = {
        "capo_bench": signature.get("capo_bench"),
        "metrics": signature.get("metrics"),
        "task": task_version,
        "bertscore": signature.get("bertscore"),
        "lm_eval": results.get("lm_eval_version"),
        "transformers": results.get("transformers_version"),
        "torch": torch and torch[1],
    }
    generation = config.get("generation_kwargs") or {}
    if not isinstance(generation, dict):
        raise CapoBenchError("generation_kwargs are no object; expected results of lm-eval")
    decoding = {
        **generation,
        "dtype": results["config"].get("model_dtype"),
        "chat_template": results.get("chat_template") is not None,
        "system_instruction": results.get("system_instruction"),
        "form": metadata.get("form"),
    }
    if metadata.get("setting") == "icl":
        decoding |= {key: metadata.get(key) for key in ("k", "example_tokens", "tokenizer")}
    return {
        **named,
        **({"parameters": weights} if isinstance(weights, int) and weights > 0 else {}),
        "setting": metadata.get("setting"),
        "prompt_hash": metadata.get("prompt_hash"),
        "decoding": {key: value for key, value in decoding.items() if value is not None},
        "versions": {key: str(value) for key, value in versions.items() if value is not None},
    }


def _check_alike(runs: Sequence[LoggedRun], given: Mapping[str, Any]) -> None:
    first = runs[0]
    for index, run in enumerate(runs[1:], start=1):
        pairs = {
            "the task": (first.task, run.task),
            "the corpus": (first.answered.fingerprint, run.answered.fingerprint),
            **{
                key: (first.known.get(key), run.known.get(key))
                for key in first.known | run.known
                if key not in given  # each seed's checkpoint may have a name of its own
            },
        }
        _check_same(first.file, run.file, pairs)
        if any(run.seed == earlier.seed for earlier in runs[:index]):
            raise CapoBenchError(f"{run.file}: another run has the seed {run.seed} too; {_ANEW}")


def _check_same(first: Path, second: Path, pairs: Mapping[str, tuple[object, object]]) -> None:
    """Refuses two runs that differ in something; `pairs` has what each of them has, by name."""
    for what, (one, other) in pairs.items():
        if one != other:
            raise CapoBenchError(
                f"{first} and {second} differ in {what} ({one} and {other}); runs of one submission "
                "differ in the seed alone, submit these apart"
            )


def checked(content: Mapping[str, Any]) -> Card:
    """A card of all that it must hold.

    Raises:
        CapoBenchError: Naming all that is missing and all that is wrong.
    """
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        missing = [str(fault["loc"][0]) for fault in faults if fault["type"] == "missing"]
        wrong = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in faults
            if fault["type"] != "missing"
        ]
        if missing:
            asked = "; ".join(f"{key} ({Card.model_fields[key].description})" for key in missing)
            wrong.append(
                f"the results do not say: {asked} - give each with --set key=value or in the YAML "
                "of --card"
            )
        raise CapoBenchError(f"the card is not complete: {'; '.join(wrong)}") from error
