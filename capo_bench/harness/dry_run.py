"""A dry run of task definitions: what lm-eval's own `validate` leaves out.

lm-eval skips a task file that it cannot read, and checks names only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from capo_bench.errors import CapoBenchError
from capo_bench.harness.base import RESPONSES
from capo_bench.harness.judge import BIAS, JudgeTask
from capo_bench.harness.paths import tasks_path

_DOCUMENTS = 2


def task_names(folder: Path | None = None) -> list[str]:
    """Names of all tasks (not groups) that the YAML files of a folder define.

    Raises:
        CapoBenchError: Naming a file that cannot be read.
    """
    names = []
    for path in sorted((folder or tasks_path()).glob("**/*.yaml")):
        try:
            config = load_yaml(path)
        except Exception as error:
            raise CapoBenchError(f"{path} cannot be loaded: {error}") from error
        if "group" not in config:
            names.append(config["task"])
    return names


def validate_task(name: str, metadata: dict[str, Any]) -> str | None:
    """Loads a task, renders two documents and scores a canned answer to them.

    Args:
        name: Name of the task.
        metadata: As lm-eval's `--metadata`.

    Returns:
        What is wrong, in one line, or `None`.
    """
    manager = TaskManager(include_path=str(tasks_path()), include_defaults=False, metadata=metadata)
    if name not in manager.task_index:
        return f"there is no such task under {tasks_path()}"
    try:
        task = manager.load([name])["tasks"][name]
    except CapoBenchError as error:
        return str(error)
    return _rehearse(task)


def _rehearse(task: Any) -> str | None:
    task.build_all_requests(limit=_DOCUMENTS)
    documents = [task.eval_docs[index] for index in range(min(_DOCUMENTS, len(task.eval_docs)))]
    prompts = [request.args[0] for request in task.instances]
    if isinstance(task, JudgeTask):
        found = _aggregated(task, documents, task.perfect_results)
        if found[BIAS] > 1e-9 or not found[RESPONSES]:
            return f"a perfect judge has a position bias of {found[BIAS]}"
        return None
    if len(set(prompts)) != sum(len(document["annotators"]) for document in documents):
        return "the prompts of different annotators or items are not distinct"
    found = _aggregated(task, documents, task.doc_to_target)
    if found[RESPONSES] != len(prompts) or found["label_accuracy"] != 1.0:
        return f"the annotators' own answers score {found['label_accuracy']} in label accuracy"
    return None


def _aggregated(
    task: Any, documents: list[Any], results: Callable[[Any], list[Any]]
) -> dict[str, Any]:
    collected: dict[str, list[Any]] = {}
    for document in documents:
        for metric, value in task.process_results(document, results(document)).items():
            collected.setdefault(metric, []).append(value)
    aggregation = task.aggregation()
    return {metric: aggregation[metric](found) for metric, found in collected.items()}
