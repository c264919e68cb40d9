"""Files of predictions: our own JSON lines, and the samples that lm-eval logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capo_bench.corpus.model import Corpus
from capo_bench.errors import CapoBenchError
from capo_bench.files import naming, read_json_lines, write_json_lines
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.prompts.responses import render_target


@dataclass(frozen=True)
class PredictionFile:
    """What a file of predictions holds.

    Attributes:
        predictions: The responses.
        fingerprint: Fingerprint of the corpus that they answer.
        options: Where they come from an lm-eval run: the task options that its samples repeat.
    """

    predictions: tuple[Prediction, ...]
    fingerprint: str
    options: dict[str, Any]

    def check(self, path: Path, corpus: Corpus) -> None:
        """Refuses a corpus that is not the one that was answered.

        Raises:
            CapoBenchError: Naming both fingerprints.
        """
        if self.fingerprint != corpus.fingerprint:
            raise CapoBenchError(
                f"answers the corpus with fingerprint {self.fingerprint}, but {corpus.name} "
                f"here has {corpus.fingerprint}; choose the corpus, splits and validity filter that "
                "the run used",
                file=path,
            )


def read_predictions(path: Path) -> PredictionFile:
    """Reads either kind of file; the first line tells which it is.

    Our own has one JSON object a line: `fingerprint`, `item`, `annotator`, `response`. A samples
    file is what lm-eval writes for a capo task with `--log_samples`.

    Raises:
        CapoBenchError: Naming file and line, if a line is neither, or the lines do not belong
            together.
    """
    predictions: list[Prediction] = []
    fingerprints: set[str] = set()
    options: dict[str, Any] = {}
    for number, line in read_json_lines(path):
        with naming(path, line=number):
            if not isinstance(line, dict):
                raise CapoBenchError("expected a JSON object")
            if "doc" in line:
                fingerprint, options, found = read_sample(line)
            else:
                fingerprint, found = _own(line)
        fingerprints.add(fingerprint)
        predictions.extend(found)
    if not predictions:
        raise CapoBenchError("holds no predictions", file=path)
    if len(fingerprints) > 1:
        raise CapoBenchError(
            f"mixes predictions for {len(fingerprints)} corpora "
            f"({', '.join(sorted(fingerprints))}); score them apart",
            file=path,
        )
    return PredictionFile(tuple(predictions), fingerprints.pop(), options)


def human_predictions(corpus: Corpus, split: str) -> list[Prediction]:
    """What the annotators themselves answered, the first response of each labelled cell."""
    return [
        Prediction(item.id, annotator, render_target(first.labels, first.explanation))
        for item, annotator in evaluated_cells(corpus, split)
        for first in item.cells[annotator][:1]
    ]


def write_predictions(path: Path, corpus: Corpus, predictions: Sequence[Prediction]) -> None:
    """Writes our own kind of file; no corpus text goes into it but the responses."""
    write_fingerprinted(path, corpus.fingerprint, predictions)


def write_fingerprinted(path: Path, fingerprint: str, predictions: Sequence[Prediction]) -> None:
    """The same where the corpus itself is not at hand."""
    write_json_lines(
        path,
        [
            {
                "fingerprint": fingerprint,
                "item": prediction.item,
                "annotator": prediction.annotator,
                "response": prediction.response,
            }
            for prediction in predictions
        ],
    )


def _own(line: dict[str, Any]) -> tuple[str, list[Prediction]]:
    keys = ("fingerprint", "item", "annotator", "response")
    wrong = [key for key in keys if not isinstance(line.get(key), str)]
    if wrong:
        raise CapoBenchError(
            f"{wrong[0]!r} is missing or no text; a prediction has {', '.join(keys)}"
        )
    return line["fingerprint"], [Prediction(line["item"], line["annotator"], line["response"])]


def read_sample(line: dict[str, Any]) -> tuple[str, dict[str, Any], list[Prediction]]:
    """Fingerprint, task options and predictions of one sample that lm-eval logged.

    Raises:
        CapoBenchError: If it is not one of a capo task; the caller knows of which file.
    """
    document, responses = line["doc"], line.get("filtered_resps")
    keys = ("fingerprint", "item", "annotators")
    if not isinstance(document, dict) or any(key not in document for key in keys):
        raise CapoBenchError("a sample of another task; expected one of a capo task")
    if not isinstance(responses, list) or len(responses) != len(document["annotators"]):
        raise CapoBenchError(
            f"expected one response for each of {len(document['annotators'])} annotators"
        )
    predictions = [
        Prediction(document["item"], annotator, response)
        for annotator, response in zip(document["annotators"], responses, strict=True)
    ]
    return document["fingerprint"], document, predictions
