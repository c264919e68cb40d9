"""`lm_eval run` with the tasks of this package, checked before the model's weights are read."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import aiohttp
import requests
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from lm_eval._cli import HarnessCLI
from lm_eval.api.registry import model_registry
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.loggers import EvaluationTracker
from lm_eval.models import api_models
from lm_eval.tasks import TaskManager
from lm_eval.utils import setup_logging

from capo_bench.errors import CapoBenchError, listed
from capo_bench.harness.answers import sound_answers
from capo_bench.harness.base import BenchTask
from capo_bench.harness.dry_run import task_names
from capo_bench.harness.judge import JudgeTask
from capo_bench.harness.lean import LEAN
from capo_bench.harness.paths import tasks_path
from capo_bench.train.adapters import ADAPTER, read_adapter

TRANSPORT = frozenset({"num_concurrent", "max_retries", "timeout"})
"""Arguments of a model behind a server that say how it is asked, and nothing of its answers."""

_log = logging.getLogger(__name__)


def launch(arguments: Sequence[str]) -> None:
    """Runs lm_eval.

    Args:
        arguments: As for `lm_eval run`. Our tasks are found beside those of `--include_path`, a
            folder with an adapter is loaded on its base model, and models that take messages get
            `--apply_chat_template`. `--use_cache` keeps the answers of each model in a file of its
            own (`answers_of`); damaged ones are asked for again. Judges that compare log-likelihoods
            are run by `capo-hf` instead of `hf`, which would hold the logits of every token of a
            batch.

    Raises:
        CapoBenchError: On a wrong flag, an unknown task, a model that is not there, or if something
            that scoring needs cannot be had; or if a server fails for good: then it says what is
            kept of its answers.
    """
    setup_logging()
    sys.argv = ["lm_eval", "run", *arguments]
    harness = HarnessCLI()
    given = harness.parse_args()
    # Without tasks, everything else can still be read.
    config = _read(given, tasks=getattr(given, "tasks", None) or "none")
    if config.model not in model_registry.keys():  # noqa: SIM118
        close = difflib.get_close_matches(config.model, model_registry.keys(), n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else "lm_eval's help names them"
        raise CapoBenchError(f"unknown --model {config.model!r}; {hint}")
    check_hub(config.hf_hub_log_args)
    given.model_args = with_adapter(config.model, config.model_args)
    check_model(given.model_args)
    sampled = _samples(config.gen_kwargs)
    if not getattr(given, "tasks", None) and not getattr(given, "config", None):
        raise CapoBenchError(f"no task is named; choose with --tasks: {', '.join(task_names())}")
    given.include_path = _paths(config.include_path)
    if config.model.endswith("chat-completions"):
        given.apply_chat_template = getattr(given, "apply_chat_template", None) or True
    tasks = prepare(_read(given))
    if config.model == "hf" and any(type(task) is JudgeTask for task in tasks):
        given.model = LEAN
        _log.info("judges compare log-likelihoods, which --model %s holds in less memory", LEAN)
    if config.use_cache:
        given.use_cache = _sound(answers_of(config.use_cache, given.model, given.model_args))
    try:
        harness.execute(given)
    except (requests.RequestException, aiohttp.ClientError, TimeoutError) as error:
        if sampled:
            kept = "sampled answers are not kept, so that the same command begins anew"
        elif config.use_cache:
            kept = (
                f"nothing is lost: what it has answered is in {given.use_cache}_rank0.db, and the "
                "same command goes on from there"
            )
        else:
            kept = (
                "what it has answered is lost; with --use_cache FILE it is kept, and the same "
                "command goes on from there"
            )
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CapoBenchError(f"the server failed for good ({why[:160]}); {kept}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        told = " ".join(str(error).split())[:300]
        if isinstance(error, OfflineModeIsEnabled | HfHubHTTPError) and _pushes(config):
            raise CapoBenchError(
                f"the hub cannot be reached ({told}); nothing is lost: results and samples lie in "
                f"{config.output_path}"
            ) from error
        # What transformers says of a model that neither a folder nor the hub has.
        raise CapoBenchError(f"the model cannot be loaded: {told}") from error


def answers_of(file: str, model: str, arguments: dict[str, Any]) -> str:
    """Where `--use_cache` keeps the answers of one model.

    lm_eval knows an answer by its request alone, so that another model's would be taken for it.

    Args:
        file: The start of the file's name, as given.
        model: Kind of the model, such as `hf`.
        arguments: The model's arguments. Where one names a file or a folder, the answers are those
            of what lies there now, by name, size and time of change.
    """
    decisive: dict[str, Any] = {k: v for k, v in arguments.items() if k not in TRANSPORT}
    for name, value in arguments.items():
        place = Path(os.path.expanduser(str(value)))
        if isinstance(value, str) and place.exists():
            found = sorted(place.iterdir()) if place.is_dir() else [place]
            stats = [(one.name, one.stat()) for one in found if one.is_file()]
            decisive[name] = [value, [(n, stat.st_size, stat.st_mtime_ns) for n, stat in stats]]
    content = json.dumps([model, decisive], sort_keys=True, default=str)
    return f"{file}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _sound(name: str) -> str:
    """The same, once the answers that this process finds there are known to be as they were kept."""
    file = Path(f"{name}_rank{os.environ.get('LOCAL_RANK', '0')}.db")
    if dropped := sound_answers(file):
        _log.warning("%s: %d kept answers are damaged and are asked for again", file, dropped)
    return name


def check_model(arguments: dict[str, Any]) -> None:
    """Refuses a model folder that is not there.

    Raises:
        CapoBenchError: Naming it.
    """
    for key in ("pretrained", "peft"):
        value = arguments.get(key)
        local = isinstance(value, str) and value.startswith(("/", "./", "../", "~"))
        if local and not os.path.exists(os.path.expanduser(str(value))):
            raise CapoBenchError(
                f"--model_args {key}: {value} does not exist; name a model folder or a hub id"
            )


def check_hub(arguments: dict[str, Any]) -> None:
    """Refuses what lm_eval could not push to, before there is anything to push.

    Raises:
        CapoBenchError: If a token lacks, an argument is unknown, or the hub does not know the token.
    """
    token = os.environ.get("HF_TOKEN") or arguments.get("token", "")
    try:
        EvaluationTracker(**{**arguments, "token": token})
    except (ValueError, TypeError, OSError) as error:
        raise CapoBenchError(f"--hf_hub_log_args: {' '.join(str(error).split())}") from error


def with_adapter(model: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The model's arguments with a folder that holds an adapter put where the backend wants it.

    Args:
        model: Kind of the model, such as `hf`.
        arguments: The model's arguments.

    Raises:
        CapoBenchError: If the folder does not say of which model it is an adapter.
    """
    if "pretrained" not in arguments:
        return arguments
    folder = Path(str(arguments["pretrained"]))
    if not (folder / ADAPTER).is_file() or (folder / "config.json").is_file():
        return arguments
    found = read_adapter(folder / ADAPTER)
    base = found["base_model_name_or_path"]
    if not model.startswith("vllm"):
        return {**arguments, "pretrained": base, "peft": str(folder)}
    # vLLM makes room for adapters of rank 16 unless it is told.
    rank = {"max_lora_rank": found["r"]} if (found.get("r") or 0) > 16 else {}
    return {**rank, **arguments, "pretrained": base, "lora_local_path": str(folder)}


def prepare(config: EvaluatorConfig) -> list[Any]:
    """The tasks, with what their scoring needs.

    Raises:
        CapoBenchError: If a task is unknown, or something cannot be had.
    """
    tasks = config.tasks if isinstance(config.tasks, list) else config.tasks.split(",")
    named = [name for entry in tasks for name in str(entry).split(",")]
    # lm_eval's own index of tasks takes seconds.
    manager = TaskManager(
        include_path=config.include_path, include_defaults=False, metadata=config.metadata
    )
    chosen: list[Any] = manager.match_tasks(named)
    unknown = [name for name in named if not manager.match_tasks([name])]
    if ours := [name for name in unknown if name.startswith("capo") and not Path(name).exists()]:
        raise CapoBenchError(_nearest(ours, manager.all_tasks))
    if unknown:
        try:
            manager = config.process_tasks(config.metadata)
        except ValueError as error:
            known = TaskManager(include_path=config.include_path).all_tasks
            told = _nearest([name for name in unknown if name not in known], known)
            raise CapoBenchError(told or str(error)) from error
        chosen = config.tasks
    loaded = list(manager.load(chosen)["tasks"].values())
    for task in loaded:
        if isinstance(task, BenchTask) and not config.predict_only:
            task.prepare()
    return loaded


def _pushes(config: EvaluatorConfig) -> bool:
    return any(config.hf_hub_log_args.get(f"push_{what}_to_hub") for what in ("results", "samples"))


def _samples(generation: dict[str, Any] | None) -> bool:
    """Whether the run samples.

    Raises:
        CapoBenchError: If a temperature is given without sampling, which servers would do anyway.
    """
    sampled = bool((generation or {}).get("do_sample"))
    if not sampled and (generation or {}).get("temperature"):
        raise CapoBenchError(
            "--gen_kwargs temperature=... samples only with do_sample=True; add it, or leave the "
            "temperature out"
        )
    return sampled


def _read(given: Namespace, **changed: Any) -> EvaluatorConfig:
    copied = Namespace(**{**vars(deepcopy(given)), **changed})
    try:
        return EvaluatorConfig.from_cli(copied)
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise CapoBenchError(" ".join(str(error).split())) from error


def _paths(theirs: Any) -> list[str]:
    others = theirs if isinstance(theirs, list) else [theirs] if theirs else []
    return [str(tasks_path()), *map(str, others)]


def _nearest(unknown: Sequence[str], known: Sequence[str]) -> str:
    hints = []
    for name in unknown:
        close = difflib.get_close_matches(name, task_names(), n=1, cutoff=0.6)
        close = close or difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        hints.append(
            f"unknown task {name!r}; "
            + (f"did you mean {close[0]!r}?" if close else f"there are {listed(task_names())}")
        )
    return "; ".join(hints)


def _patience(**exponential: Any) -> Callable[[Any], float]:
    """How long lm_eval waits before it asks a server again: as long as `Retry-After` says, at least.

    Args:
        exponential: As for tenacity's `wait_exponential`.
    """
    from tenacity import wait_exponential

    usual = wait_exponential(**exponential)

    def wait(state: Any) -> float:
        error = state.outcome.exception()
        headers = getattr(getattr(error, "response", error), "headers", None) or {}
        told = str(headers.get("Retry-After", ""))
        return max(float(usual(state)), float(told) if told.isdecimal() else 0.0)

    return wait


api_models.wait_exponential = _patience
