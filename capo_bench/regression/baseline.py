"""The baseline: what a checkpoint answered when it was good, in a file that is committed.

It holds responses and how they were asked for, no corpus text, and is never written but on demand.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from capo_bench.display import visible
from capo_bench.files import read_json, validated, write_text
from capo_bench.metrics.cells import Prediction
from capo_bench.regression.sides import FACTS, Side
from capo_bench.scoring.options import ANSWERED
from capo_bench.scoring.predictions import Id

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)
Drop = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BaselineRun(BaseModel):
    """One run of the baseline."""

    model_config = _STRICT

    seed: Annotated[int, Field(ge=0, lt=2**32, description="Seed of the sampling.")]
    responses: Annotated[
        dict[Id, Annotated[dict[Id, str], Field(min_length=1)]],
        Field(min_length=1, description="Raw responses by item and annotator."),
    ]

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """The responses as predictions."""
        return tuple(
            Prediction(item, annotator, response)
            for item, answers in self.responses.items()
            for annotator, response in answers.items()
        )


class Baseline(BaseModel):
    """A baseline file."""

    model_config = _STRICT

    format: Literal["capo-bench-baseline/1"] = "capo-bench-baseline/1"
    model: Annotated[str, Field(description="The checkpoint that answered, as it was named.")]
    task: Annotated[str, Field(description="The lm-eval task.")]
    metadata: Annotated[
        dict[str, Any], Field(description="Task options that differ from the task's own.")
    ]
    options: Annotated[
        dict[str, Any], Field(description="Corpus, splits, split and validity filter.")
    ]
    facts: Annotated[
        dict[str, str],
        Field(description="What a candidate's run must share: fingerprint, prompt hash, versions."),
    ]
    gen_kwargs: Annotated[
        dict[str, Any], Field(description="Generation settings beside the task's own.")
    ]
    apply_chat_template: Annotated[
        bool, Field(description="Whether prompts are wrapped in the model's chat template.")
    ]
    versions: Annotated[dict[str, str], Field(description="Package versions, for the reader.")]
    max_drops: Annotated[
        dict[str, Drop],
        Field(min_length=1, description="Gated metrics with their largest tolerated drop; edit."),
    ]
    minimums: Annotated[
        dict[str, float],
        Field(description="Metrics with the worst value that is tolerated, whatever the base has."),
    ] = {}
    runs: Annotated[list[BaselineRun], Field(min_length=1, description="One per seed.")]

    @model_validator(mode="after")
    def _runs_agree(self) -> Self:
        cells = [{(p.item, p.annotator) for p in run.predictions} for run in self.runs]
        if any(found != cells[0] for found in cells):
            raise ValueError("the runs do not answer the same items and annotators")
        if len({run.seed for run in self.runs}) < len(self.runs):
            raise ValueError("two runs have the same seed")
        for what, given, known in (
            ("facts", self.facts, FACTS),
            ("options", self.options, ANSWERED),
        ):
            if unknown := [key for key in given if key not in known]:
                raise ValueError(f"{what} have the unknown key {visible(unknown[0][:80])!r}")
        if "fingerprint" not in self.facts:
            raise ValueError("facts lack the corpus's fingerprint")
        return self

    def side(self, name: str, items: Collection[str] | None = None) -> Side:
        """The runs as one side of a comparison.

        Args:
            name: What to call it.
            items: Keep these items only.
        """
        return Side(
            name=name,
            runs=tuple(
                tuple(p for p in run.predictions if items is None or p.item in items)
                for run in self.runs
            ),
            facts=self.facts,
            options=self.options,
        )


_baseline = TypeAdapter(Baseline)


def read_baseline(path: Path) -> Baseline:
    """Reads a baseline file.

    Raises:
        CapoBenchError: If it is missing or does not follow the schema.
    """
    advice = "`capo-bench gate --update-baseline` writes one"
    return validated(_baseline, read_json(path), advice, file=path)


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Writes a baseline file, an item a line, so that a version control system shows what changed."""
    data = baseline.model_dump(mode="json")
    runs = data.pop("runs")
    head = json.dumps(data, ensure_ascii=False, indent=1)[:-2]
    parts = []
    for run in runs:
        lines = ",\n".join(
            f"   {json.dumps(item, ensure_ascii=False)}: {json.dumps(answers, ensure_ascii=False)}"
            for item, answers in run["responses"].items()
        )
        parts.append(f'  {{"seed": {run["seed"]}, "responses": {{\n{lines}\n  }}}}')
    write_text(path, head + ',\n "runs": [\n' + ",\n".join(parts) + "\n ]\n}\n")
