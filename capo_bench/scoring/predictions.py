"""Files of predictions: our own JSON lines, and the samples that lm-eval logs.

They come from anywhere, so nothing in them is taken but what fits a schema, and they choose nothing
that is loaded: samples may name a corpus of ours, but neither a file nor an encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from capo_bench.corpus.load import SPECS, Splits
from capo_bench.corpus.model import Corpus, SplitName, readable
from capo_bench.errors import CapoBenchError, listed
from capo_bench.files import naming, read_json_lines, validated, write_json_lines
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.prompts.responses import as_read, render_target

PREDICTIONS_BYTES = 64 * 2**20
SAMPLES_BYTES = 1024 * 2**20  # they repeat every prompt
RESPONSE_CHARACTERS = 100_000
"""The longest raw response that is read: several times what a model thinks in 4,096 tokens."""

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)
Id = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(readable)]
Text = Annotated[str, Field(max_length=RESPONSE_CHARACTERS)]


class PredictionLine(BaseModel):
    """One line of a file of predictions; no corpus text but what the response repeats."""

    model_config = _STRICT

    fingerprint: Annotated[
        str, Field(pattern="^[0-9a-f]{16}$", description="Fingerprint of the corpus answered.")
    ]
    item: Annotated[Id, Field(description="Id of the item.")]
    annotator: Annotated[Id, Field(description="Id of the target annotator.")]
    response: Annotated[Text, Field(description="The raw response; may be empty.")]
    truncated: Annotated[
        bool | None, Field(description="Whether it ended at the token limit, if that is known.")
    ] = None

    @property
    def prediction(self) -> Prediction:
        """Without the corpus."""
        return Prediction(self.item, self.annotator, self.response, self.truncated)


class SampleDocument(BaseModel):
    """What a sample repeats of its document, as the harness's tasks write it; the rest is ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    item: Id
    annotators: Annotated[list[Id], Field(min_length=1)]
    corpus: Annotated[str, Field(max_length=1000)]
    splits: Splits = "capo"
    split: SplitName = "test"
    valid_only: bool = False
    min_responses: Annotated[int, Field(ge=0)] = 0
    min_annotators: Annotated[int, Field(ge=0)] = 0

    @property
    def options(self) -> dict[str, Any]:
        """The task options that say what was answered; a corpus that is a file has no name here."""
        found = self.model_dump(exclude={"fingerprint", "item", "annotators"})
        if self.corpus not in SPECS:
            del found["corpus"]
        return found


class SampleTokens(BaseModel):
    """What a sample tells of the length of its responses; the rest is ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    max_gen_toks: Annotated[int, Field(ge=0)] | None = None
    tokens: dict[Id, list[Annotated[int, Field(ge=0)]]] = {}

    def truncated(self, annotator: str, repeat: int) -> bool | None:
        """Whether a response ended at the token limit; `None` where that is not told.

        A text is tokenised again for it, so that one whose last tokens merge may be missed.
        """
        counts = self.tokens.get(annotator, [])
        if self.max_gen_toks is None or repeat >= len(counts):
            return None
        return counts[repeat] >= self.max_gen_toks


class Sample(BaseModel):
    """One sample that lm-eval logged of a capo task; the rest of it is ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    doc: SampleDocument
    filtered_resps: list[Text | Annotated[list[Text], Field(min_length=1)]]
    resps: list[list[Text]] = []
    responses: SampleTokens = SampleTokens()

    def repeats(self) -> list[list[str]]:
        """The generations of each annotator.

        Raises:
            CapoBenchError: If there is not one entry for each annotator, they have unequally many
                generations, or lm-eval's filter dropped some.
        """
        responses = self.filtered_resps
        if self.resps and responses == [given[0] for given in self.resps if given]:
            responses = list(self.resps)  # its usual filter takes the first
        elif any(isinstance(one, str) for one in responses) and any(len(r) > 1 for r in self.resps):
            raise CapoBenchError(
                "resps holds several generations of a response, filtered_resps one that is not the "
                "first; run a task of capo-bench, which filters nothing"
            )
        several = [[one] if isinstance(one, str) else one for one in responses]
        if len(several) != len(self.doc.annotators):
            raise CapoBenchError(
                f"{len(several)} responses; expected one response for each of "
                f"{len(self.doc.annotators)} annotators"
            )
        if len({len(given) for given in several}) > 1:
            raise CapoBenchError("some annotators have more generations than others")
        return several


_line = TypeAdapter(PredictionLine)
_sample = TypeAdapter(Sample)


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

    def missing(self, corpus: Corpus, split: str) -> str | None:
        """In words which items of a split are not answered, if some are not."""
        answered = {prediction.item for prediction in self.predictions}
        asked = list(dict.fromkeys(item.id for item, _ in evaluated_cells(corpus, split)))
        missing = [item for item in asked if item not in answered]
        if not missing:
            return None
        return (
            f"answers {len(asked) - len(missing)} of the {len(asked)} items of split {split}; "
            f"without {listed(missing, 3)}"
        )


def read_predictions(path: Path) -> PredictionFile:
    """Reads either kind of file; each line tells which it is.

    Our own has one JSON object a line: `fingerprint`, `item`, `annotator`, `response`. A samples
    file is what lm-eval writes for a capo task with `--log_samples`.

    Raises:
        CapoBenchError: Naming file and line, if a line is neither, or the lines do not belong
            together.
    """
    runs: list[list[Prediction]] = []
    fingerprints: set[str] = set()
    options: dict[str, Any] | None = None
    for number, line in read_json_lines(path, SAMPLES_BYTES, finite=False):
        if not isinstance(line, dict):
            raise CapoBenchError("expected a JSON object", file=path, line=number)
        if "doc" in line:
            fingerprint, told, found = read_sample(line, file=path, line=number)
        else:
            fingerprint, told, found = _own(line, path, number)
        fingerprints.add(fingerprint)
        options = told if options is None else options
        if told != options:
            raise CapoBenchError(
                "names other task options than the lines before", file=path, line=number
            )
        runs = runs or [[] for _ in found]
        if len(found) != len(runs):
            raise CapoBenchError(
                f"{len(found)} generations of a response, but {len(runs)} before",
                file=path,
                line=number,
            )
        for run, more in zip(runs, found, strict=True):
            run.extend(more)
    if not runs:
        raise CapoBenchError("holds no predictions", file=path)
    if len(fingerprints) > 1:
        raise CapoBenchError(
            f"mixes predictions for {len(fingerprints)} corpora "
            f"({listed(sorted(fingerprints))}); score them apart",
            file=path,
        )
    return PredictionFile(tuple(map(tuple, runs)), fingerprints.pop(), options or {})


def human_predictions(corpus: Corpus, split: str) -> list[Prediction]:
    """What the annotators themselves answered, the first response of each labelled cell.

    Raises:
        CapoBenchError: If the words of one of them are no answer, whoever gives it (`as_read`).
    """
    predictions = []
    for item, annotator in evaluated_cells(corpus, split):
        first = item.cells[annotator][0]
        _, fault = as_read(corpus.task, first)
        if fault is not None:
            raise CapoBenchError(
                f"the explanation {first.explanation[:60]!r} is read as: {fault}; reword it, or "
                "leave the response out",
                file=f"corpus {corpus.name}",
                id=f"item {item.id}, annotator {annotator}",
            )
        answer = render_target(first.labels, first.explanation)
        predictions.append(Prediction(item.id, annotator, answer))
    return predictions


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
                **({} if prediction.truncated is None else {"truncated": prediction.truncated}),
            }
            for prediction in predictions
        ],
    )


def _own(
    line: dict[str, Any], file: Path, number: int
) -> tuple[str, dict[str, Any], list[list[Prediction]]]:
    found = validated(_line, line, _FORM, file=file, line=number)
    return found.fingerprint, {}, [[found.prediction]]


_FORM = "a prediction has fingerprint, item, annotator and response, and maybe truncated, no more"


def read_sample(
    value: dict[str, Any], *, file: Path | str, line: int
) -> tuple[str, dict[str, Any], list[list[Prediction]]]:
    """One sample that lm-eval logged.

    Args:
        value: The sample.
        file: Where it comes from, for messages.
        line: Its number there, from 1.

    Returns:
        The corpus's fingerprint, the task options, and the predictions of each repeat.

    Raises:
        CapoBenchError: If it is not one of a capo task.
    """
    document = value["doc"]
    if not isinstance(document, dict) or not {"fingerprint", "annotators"} <= set(document):
        raise CapoBenchError(
            "a sample of another task; expected one of a capo task", file=file, line=line
        )
    advice = "expected a sample of a capo task, as lm_eval logs it"
    sample = validated(_sample, value, advice, file=file, line=line)
    with naming(file, line=line):
        repeats = sample.repeats()
    predictions = [
        [
            Prediction(
                sample.doc.item, annotator, response, sample.responses.truncated(annotator, repeat)
            )
            for annotator, response in zip(sample.doc.annotators, responses, strict=True)
        ]
        for repeat, responses in enumerate(zip(*repeats, strict=True))
    ]
    return sample.doc.fingerprint, sample.doc.options, predictions
