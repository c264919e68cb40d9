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
        repeats: The responses of each generation, where every prompt was answered several times
            (lm-eval's `repeats`); most files have one.
        fingerprint: Fingerprint of the corpus that they answer.
        options: Where they come from an lm-eval run: the task options that its samples repeat.
    """

    repeats: tuple[tuple[Prediction, ...], ...]
    fingerprint: str
    options: dict[str, Any]

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """The responses of the first generation."""
        return self.repeats[0]

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
    answered: list[list[list[Prediction]]] = []  # by line and generation
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
            if answered and len(found) != len(answered[0]):
                raise CapoBenchError(
                    f"has {len(found)} generations of a response, the lines before {len(answered[0])}"
                )
        fingerprints.add(fingerprint)
        answered.append(found)
    if not answered:
        raise CapoBenchError("holds no predictions", file=path)
    if len(fingerprints) > 1:
        raise CapoBenchError(
            f"mixes predictions for {len(fingerprints)} corpora "
            f"({', '.join(sorted(fingerprints))}); score them apart",
            file=path,
        )
    repeats = tuple(
        tuple(prediction for found in answered for prediction in found[k])
        for k in range(len(answered[0]))
    )
    return PredictionFile(repeats, fingerprints.pop(), options)


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


def _own(line: dict[str, Any]) -> tuple[str, list[list[Prediction]]]:
    keys = ("fingerprint", "item", "annotator", "response")
    wrong = [key for key in keys if not isinstance(line.get(key), str)]
    if wrong:
        raise CapoBenchError(
            f"{wrong[0]!r} is missing or no text; a prediction has {', '.join(keys)}"
        )
    return line["fingerprint"], [[Prediction(line["item"], line["annotator"], line["response"])]]


def read_sample(line: dict[str, Any]) -> tuple[str, dict[str, Any], list[list[Prediction]]]:
    """Fingerprint, task options and, by generation, predictions of one sample that lm-eval logged.

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
    raw = line.get("resps")
    several = [
        _generations(raw[k] if isinstance(raw, list) and k < len(raw) else None, responses[k])
        for k in range(len(responses))
    ]
    if len({len(given) for given in several}) > 1:
        raise CapoBenchError("the annotators have different numbers of generations")
    return (
        document["fingerprint"],
        document,
        [
            [
                Prediction(document["item"], annotator, response)
                for annotator, response in zip(document["annotators"], generation, strict=True)
            ]
            for generation in zip(*several, strict=True)
        ],
    )


def _generations(raw: Any, filtered: Any) -> list[str]:
    """All generations of one response, of which lm-eval's default filter keeps the first."""
    given = raw if isinstance(raw, list) and raw[:1] == [filtered] else filtered
    several = given if isinstance(given, list) else [given]
    if not several or not all(isinstance(text, str) for text in several):
        raise CapoBenchError("expected text, or several texts, for each annotator's response")
    return several
