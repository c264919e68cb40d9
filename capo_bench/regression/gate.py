"""Runs a checkpoint on the baseline's task through lm-eval, and compares.

This module imports lm-eval and torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from math import isnan, nan
from pathlib import Path
from typing import Any, Literal

import lm_eval
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

from capo_bench import __version__
from capo_bench.errors import CapoBenchError
from capo_bench.harness import lean  # noqa: F401
from capo_bench.harness.paths import tasks_path
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.metrics.registry import INVALID, metrics_of, needs_encoder
from capo_bench.prompts.responses import complaints
from capo_bench.regression.baseline import Baseline, BaselineRun
from capo_bench.regression.compare import (
    apart,
    at_floor,
    cells_of,
    check_gated,
    compare,
    default_max_drops,
)
from capo_bench.regression.outputs import limit_said
from capo_bench.regression.result import Limit, Result
from capo_bench.regression.sides import Side, mismatches, run_facts
from capo_bench.regression.subset import stratified
from capo_bench.scoring.options import ANSWERED, Options, read_options
from capo_bench.scoring.predictions import read_sample
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.comparing import runs_mean
from capo_bench.stats.resampling import ItemSums
from capo_bench.train.adapters import ADAPTER, read_adapter

Mode = Literal["quick", "full"]
QUICK_ITEMS = 40
FIRST_SEED = 1234  # lm-eval's own
_BROKEN = 0.5  # of the responses are unreadable: nothing that is gated means much then


@dataclass(frozen=True)
class Checkpoint:
    """What is run, and how it is loaded; nothing of it may change a response but the weights.

    Attributes:
        path: A model folder, an adapter's folder, or a hub id.
        model: Kind of model, as lm-eval names it.
        arguments: Arguments of the model beside the path.
        batch_size: As lm-eval's.
        device: As lm-eval's; its default means the CPU where there is no GPU.
    """

    path: str
    model: str = "hf"
    arguments: Mapping[str, Any] | None = None
    batch_size: str = "1"
    device: str = "cuda:0"

    def model_arguments(self) -> dict[str, Any]:
        """Arguments for lm-eval; an adapter's folder names its base model.

        Raises:
            CapoBenchError: If a local path is no model's folder.
        """
        folder = Path(self.path).expanduser()
        given = dict(self.arguments or {})
        if self.path.startswith((".", "/", "~")) and not folder.is_dir():
            raise CapoBenchError(
                f"the checkpoint {self.path} is no folder; name a model's or an adapter's folder, "
                "or a hub id"
            )
        if not folder.is_dir():
            return {"pretrained": self.path, **given}
        if (folder / ADAPTER).is_file():
            base = read_adapter(folder / ADAPTER)["base_model_name_or_path"]
            return {"pretrained": base, "peft": str(folder), **given}
        if not (folder / "config.json").is_file() and "gguf_file" not in given:
            raise CapoBenchError(
                f"the checkpoint {self.path} holds neither config.json nor adapter_config.json; "
                "name the folder of a saved model"
            )
        return {"pretrained": str(folder), **given}


@dataclass(frozen=True)
class Setup:
    """How a baseline's responses are asked for; the same for every candidate.

    Attributes:
        task: The lm-eval task.
        metadata: Task options beside the task's own.
        gen_kwargs: Generation settings beside the task's own.
        apply_chat_template: Whether prompts are wrapped in the model's chat template.
        runs: How many runs, with seeds from `FIRST_SEED` on.
    """

    task: str
    metadata: Mapping[str, Any]
    gen_kwargs: Mapping[str, Any]
    apply_chat_template: bool = False
    runs: int = 1


@dataclass(frozen=True)
class _Task:
    """A task, loaded, before any model is."""

    setup: Setup
    manager: TaskManager
    options: Options
    facts: Mapping[str, str]
    metadata: Mapping[str, Any]


def gate(
    checkpoint: Checkpoint,
    baseline: Baseline,
    name: str,
    *,
    mode: Mode = "full",
    items: int = QUICK_ITEMS,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[Result, Side | None]:
    """Runs a checkpoint and compares it with a baseline.

    What makes the two incomparable is found before the model is loaded.

    Args:
        checkpoint: The checkpoint.
        baseline: The baseline.
        name: What to call the baseline.
        mode: `quick`: a stratified subset of the split; `full`: all items of the baseline.
        items: Size of the subset.
        metadata: Task options of this machine, such as `data`, over the baseline's.

    Returns:
        The result, and the candidate's runs; none if nothing was run.

    Raises:
        CapoBenchError: If the checkpoint or the task cannot be had.
    """
    setup = Setup(
        task=baseline.task,
        metadata={**baseline.metadata, **(metadata or {})},
        gen_kwargs=baseline.gen_kwargs,
        apply_chat_template=baseline.apply_chat_template,
        runs=len(baseline.runs),
    )
    arguments = checkpoint.model_arguments()
    task = _load(setup, arguments)
    differing = mismatches(baseline.facts, task.facts)
    if differing:
        return Result(name, checkpoint.path, mismatches=tuple(differing)), None
    scorer = task.options.scorer()
    check_gated(baseline.max_drops, baseline.minimums, scorer)
    cells = evaluated_cells(scorer.corpus, task.options.split)
    asked = list({item.id: item for item, _ in cells}.values())
    indices = stratified(scorer.corpus.task, asked, items) if mode == "quick" else None
    chosen = None if indices is None else {asked[i].id for i in indices}
    base = baseline.side(name, chosen)
    expected = {(i.id, annotator) for i, annotator in cells if chosen is None or i.id in chosen}
    if (answered := cells_of(base.runs[0])) != expected:
        found = (apart("items", answered, expected),)
        return Result(name, checkpoint.path, mismatches=found), None
    candidate = _answers(checkpoint, arguments, task, indices)
    result = compare(base, candidate, scorer, baseline.max_drops, baseline.minimums)
    return result, candidate


def make_baseline(
    checkpoint: Checkpoint,
    setup: Setup,
    max_drops: Mapping[str, float] | None = None,
    minimums: Mapping[str, float] | None = None,
) -> Baseline:
    """Runs a checkpoint on all items and takes its responses for the baseline.

    Args:
        checkpoint: The checkpoint.
        setup: How it is asked.
        max_drops: The gated metrics; default: as in `compare`, less those that the checkpoint has
            at their floor, where nothing can be lost.
        minimums: As in `compare`.

    Raises:
        CapoBenchError: If the checkpoint or the task cannot be had, a metric makes no sense, or the
            checkpoint is not worth guarding: half of its responses are unreadable, all that is gated
            is at its floor, or it is worse than a minimum itself.
    """
    if setup.runs > 1 and not setup.gen_kwargs.get("do_sample"):
        raise CapoBenchError(
            f"{setup.runs} runs without sampling are the same run; add "
            "--gen-kwargs do_sample=true,temperature=..."
        )
    arguments = checkpoint.model_arguments()
    task = _load(setup, arguments)
    scorer = task.options.scorer()
    minimums = minimums or {}
    check_gated(max_drops or {}, minimums, scorer)
    side = _answers(checkpoint, arguments, task, None)
    gated = _worth_guarding(checkpoint, scorer, side, max_drops, minimums)
    return Baseline(
        model=checkpoint.path,
        task=setup.task,
        metadata={key: value for key, value in setup.metadata.items() if key != "data"},
        options={key: value for key, value in side.options.items() if key != "data"},
        facts=dict(side.facts),
        gen_kwargs=dict(setup.gen_kwargs),
        apply_chat_template=setup.apply_chat_template,
        versions={
            "capo_bench": __version__,
            **{name: version(name) for name in ("lm_eval", "transformers", "torch")},
        },
        max_drops=gated,
        minimums=dict(minimums),
        runs=[
            BaselineRun(seed=FIRST_SEED + index, responses=_by_item(run))
            for index, run in enumerate(side.runs)
        ],
    )


def _worth_guarding(
    checkpoint: Checkpoint,
    scorer: Scorer,
    side: Side,
    max_drops: Mapping[str, float] | None,
    minimums: Mapping[str, float],
) -> dict[str, float]:
    """The gated metrics of a baseline that is one."""
    cells = [join(scorer.corpus, scorer.split, run) for run in side.runs]
    encoded = needs_encoder([*(max_drops or {}), *minimums])
    measured = [scorer.measure(one, encoded=encoded) for one in cells]
    metrics = {metric.name: metric for metric in metrics_of(scorer.corpus)}

    def value(name: str) -> float:
        found = [one for run in measured if isinstance(one := run[name], ItemSums)]
        return runs_mean(found).value() if len(found) == len(measured) else nan

    if (invalid := value(INVALID)) >= _BROKEN:
        reasons = complaints(scorer.corpus.task, [p.response for run in side.runs for p in run])
        raise CapoBenchError(
            f"{checkpoint.path} is no baseline: {invalid:.2f} of its responses cannot be read "
            f"({reasons[0]}); see to its prompts first (--apply-chat-template, a fitting task)"
        )
    gated = dict(max_drops) if max_drops else default_max_drops(scorer, cells[0])
    floored = {
        name
        for name, drop in gated.items()
        if isnan(value(name)) or at_floor(metrics[name], value(name), drop, scorer.corpus)
    }
    if all(name in floored or metrics[name].axis == "guard" for name in gated):
        raise CapoBenchError(
            f"{checkpoint.path} is no baseline: it has nothing to lose ("
            f"{', '.join(f'{name} {value(name):.3f}' for name in sorted(floored))}, within the "
            "margin of the floor); gate a checkpoint that does what it should"
        )
    for name, worst in minimums.items():
        if not (limit := Limit(metrics[name], worst, value(name))).kept:
            raise CapoBenchError(f"{checkpoint.path} is no baseline: {limit_said(limit)}")
    return gated if max_drops else {n: d for n, d in gated.items() if n not in floored}


def _load(setup: Setup, arguments: Mapping[str, Any]) -> _Task:
    metadata = {**arguments, **setup.metadata}
    manager = TaskManager(include_path=str(tasks_path()), include_defaults=False, metadata=metadata)
    if setup.task not in manager.task_index:
        raise CapoBenchError(
            f"there is no task {setup.task!r} under {tasks_path()}; `capo-bench tasks` prints where "
            "they are listed"
        )
    loaded = manager.load([setup.task])["tasks"]
    if len(loaded) != 1:
        raise CapoBenchError(f"{setup.task} is a group; gate one task at a time")
    ((name, task),) = loaded.items()  # a corpus of one's own goes by its own name
    known = task.config.metadata
    facts = run_facts(
        {
            "configs": {name: {"metadata": known}},
            "versions": {name: known["version"]},
            "chat_template": setup.apply_chat_template,
        },
        name,
    )
    return _Task(setup, manager, read_options(known), facts, metadata)


def _answers(
    checkpoint: Checkpoint, arguments: Mapping[str, Any], task: _Task, indices: list[int] | None
) -> Side:
    setup = task.setup
    try:
        model = get_model(checkpoint.model).create_from_arg_obj(
            dict(arguments),
            {"batch_size": checkpoint.batch_size, "device": checkpoint.device},
        )
    except (OSError, ValueError) as error:
        raise CapoBenchError(
            f"the checkpoint {checkpoint.path} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    name = task.facts["task"]
    runs = []
    for index in range(setup.runs):
        found = lm_eval.simple_evaluate(
            model=model,
            tasks=[setup.task],
            task_manager=task.manager,
            samples=None if indices is None else {name: indices},
            gen_kwargs=dict(setup.gen_kwargs) or None,
            apply_chat_template=setup.apply_chat_template,
            bootstrap_iters=0,
            random_seed=FIRST_SEED + index,
            numpy_random_seed=FIRST_SEED + index,
            torch_random_seed=FIRST_SEED + index,
        )
        runs += _repeats(name, found["samples"][name])
    options = {key: getattr(task.options, key) for key in ANSWERED}
    sent = found["configs"][name]["metadata"]
    facts = {**task.facts, **({"form": sent["form"]} if "form" in sent else {})}
    return Side(checkpoint.path, tuple(runs), facts, options)


def _repeats(task: str, samples: list[dict[str, Any]]) -> list[tuple[Prediction, ...]]:
    """The predictions of each repeat; there is one unless the task asks for more."""
    read = [
        read_sample(sample, file=f"samples of {task}", line=number)[2]
        for number, sample in enumerate(samples, start=1)
    ]
    return [tuple(one for run in runs for one in run) for runs in zip(*read, strict=True)]


def _by_item(run: tuple[Prediction, ...]) -> dict[str, dict[str, str]]:
    responses: dict[str, dict[str, str]] = {}
    for prediction in run:
        responses.setdefault(prediction.item, {})[prediction.annotator] = prediction.response
    return responses
