"""The model card: what a checkpoint was made of, so that the run can be repeated."""

from __future__ import annotations

import json
import platform
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from capo_bench import __version__
from capo_bench.display import visible
from capo_bench.prompts.prompter import Setting, task_name
from capo_bench.render.html import escape_markdown
from capo_bench.train.options import RunConfig

CARD_FILE = "README.md"
"""What training writes beside the model, together with it."""

PACKAGES = ("torch", "transformers", "accelerate", "peft", "safetensors")

_TASKS = ("nli", "paraphrase", "csc", "mp", "convincing", "mini-nli", "mini-paraphrase")
"""Corpora that lm-eval tasks are named after; the others are given to a task as an option."""

READ_BY_TASKS: Mapping[str, Mapping[str, Any]] = {"convincing": {"min_responses": 40}}
"""By corpus what its tasks read otherwise than training does, where nothing is said."""

_PROMPTS = {
    "tag": "the item and `Annotator <id>:`",
    "zero-shot": "instructions, the item and the annotator's id",
    "profile": "instructions, the item, a description of the annotator and their id",
    "persona": "instructions, the item, what the corpus knows of the annotator, and their id",
}

_TEXT = """\
---
library_name: {library}
base_model: {base}
tags: [capo-bench, {method}]
---

# {title}

Trained by capo-bench, the open benchmark of CAPO (cross-annotator preference optimization,
arXiv 2605.28802), to answer as one given annotator would. A prompt is {prompt};
the response is `Label: ...` and `Explanation: ...`. The model imitates {who};
it is made for research on human label variation, not for decisions about people.

| | |
|---|---|
{facts}

```
{command}
```

Score it on the same prompts with

```
lm_eval --model hf --model_args {arguments} --include_path "$(capo-bench tasks)" \\
    --tasks {task}{chat}
```

## Settings

```json
{settings}
```
"""


@dataclass(frozen=True)
class Card:
    """What the card tells.

    Attributes:
        method: `sft` or `capo`.
        base: The model that the run started from.
        output: Folder of the result.
        adapter: Whether the result is a PEFT adapter.
        annotators: The target annotators.
        facts: Name and value of each line of the table.
        settings: Settings that differ from transformers' defaults.
        command: The command, as it was given.
        chat: Whether prompts are wrapped in the chat template.
        template_arguments: What the template was given, such as `enable_thinking`.
        setting: The form of the prompts.
        corpus: The corpus, as it was given.
        reading: How the corpus was read, by the options of `READING`.
    """

    method: str
    base: str
    output: str
    adapter: bool
    annotators: tuple[str, ...]
    facts: Mapping[str, str]
    settings: Mapping[str, Any]
    command: str
    chat: bool
    template_arguments: Mapping[str, Any]
    setting: Setting
    corpus: str
    reading: Mapping[str, Any]


def render(card: Card) -> str:
    """The card as markdown, with the metadata that the hub reads."""
    facts = {**card.facts, "versions": ", ".join(_versions())}
    named = (
        {"pretrained": card.base, "peft": card.output}
        if card.adapter
        else {"pretrained": card.output}
    )
    plain = all(re.fullmatch(r"[\w./:@+-]+", path) for path in named.values())
    arguments = ",".join(f"{name}={path}" for name, path in named.items())
    if card.template_arguments or not plain:
        template = (
            {"chat_template_args": card.template_arguments} if card.template_arguments else {}
        )
        arguments = shlex.quote(json.dumps({**named, **template}))
    return _TEXT.format(
        library="peft" if card.adapter else "transformers",
        base=json.dumps(card.base),  # a stranger's adapter may have named it
        method=card.method,
        title=escape_markdown(f"{card.method.upper()} from {card.base}"),
        who=escape_markdown("annotator " + ", ".join(card.annotators)),
        facts="\n".join(f"| {name} | {escape_markdown(value)} |" for name, value in facts.items()),
        command=visible(card.command),
        prompt=_PROMPTS[card.setting],
        arguments=visible(arguments),
        task=_task(card),
        chat=" --apply_chat_template" if card.chat else "",
        settings=json.dumps(card.settings, indent=1, default=str, sort_keys=True),
    )


def _task(card: Card) -> str:
    """The task of lm-eval with the card's corpus and prompts, and its `--metadata` if need be."""
    named = card.corpus in _TASKS
    name = task_name(card.corpus if named else "corpus", card.setting)
    known = {**vars(RunConfig(model="", corpus="")), **READ_BY_TASKS.get(card.corpus, {})}
    metadata = {} if named else {"corpus": card.corpus}
    metadata |= {key: value for key, value in card.reading.items() if value != known[key]}
    extra = f" --metadata {shlex.quote(json.dumps(metadata))}" if metadata else ""
    return f"{name}{extra}"


def _versions() -> list[str]:
    found = [f"Python {platform.python_version()}", f"capo-bench {__version__}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # peft is optional
            continue
    return found
