"""A submission: a folder with a card and, for each run, a file of predictions.

It comes from strangers. Reading it bounds every size, stays inside the folder, follows no link, and
takes nothing on trust but plain data that fit the schema; what the data claim is for
`capo_bench.leaderboard.verify` to check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml  # type: ignore[import-untyped]
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from capo_bench.display import look_alikes, visible
from capo_bench.errors import CapoBenchError
from capo_bench.files import read_json_lines, read_yaml, write_text, writing, writing_all
from capo_bench.metrics.cells import Prediction
from capo_bench.scoring.predictions import (
    PREDICTIONS_BYTES,
    PredictionLine,
    write_fingerprinted,
)

CARD = "card.yaml"

ID = r"^[a-z0-9][a-z0-9._-]{0,79}$"
# Neither control characters nor those that turn the direction of a text: a name must not be able to
# move a terminal's cursor or to read otherwise than it is written.
_UNSEEN = r"\u007f-\u009f\u2028-\u202e\u2066-\u2069"
_LINE = rf"^[^\u0000-\u001f{_UNSEEN}]*$"
_TEXT = rf"^[^\u0000-\u0008\u000b-\u001f{_UNSEEN}]*$"


def _nothing_hidden(text: str) -> str:
    shown = visible(text, lines=True)
    if shown != text:
        raise ValueError(
            f"holds characters that cannot be seen, or commands of runners: {shown[:60]}"
        )
    return text


_Seen = AfterValidator(_nothing_hidden)
Line = Annotated[str, Field(min_length=1, max_length=300, pattern=_LINE), _Seen]
Text = Annotated[str, Field(min_length=1, max_length=4000, pattern=_TEXT), _Seen]
Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]  # what JSON readers hold exactly
Finite = Annotated[float, Field(allow_inf_nan=False)]
Metric = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,79}$")]


def _told_apart(settings: dict[str, Any]) -> dict[str, Any]:
    if alike := look_alikes(settings):
        raise ValueError(f"{alike[1]!r} looks like {alike[0]!r}; keep one")
    return settings


_ToldApart = AfterValidator(_told_apart)
Setting = Text | Whole | Finite | bool | Annotated[list[Text], Field(max_length=64)] | None

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class Run(BaseModel):
    """One run of the system: one seed, one file of predictions."""

    model_config = _STRICT

    seed: Annotated[int, Field(ge=0, lt=2**32, description="Seed that the run was made with.")]
    file: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}\.jsonl$",
            description="File of predictions in the submission's folder; a name, not a path.",
        ),
    ]
    claimed: Annotated[
        dict[Metric, Finite],
        Field(
            default_factory=dict,
            max_length=200,
            description="Metric name to the value that the submitter found; may be empty. Tables "
            "never show it: it is compared with the recomputed value.",
        ),
    ]


class Card(BaseModel):
    """What a submission says of itself. Whether it is verified is the board's to say, not its own."""

    model_config = _STRICT

    format: Annotated[Literal[1], Field(description="Version of this schema.")]
    board: Annotated[str, Field(pattern=ID, description="The board that is submitted to.")]
    system: Annotated[Line, Field(description="Name of the system, as tables show it.")]
    model: Annotated[Line, Field(description="The model: a hub id, a path or a name and version.")]
    base_model: Annotated[
        Line | None, Field(description="The model that it was trained from, if it was.")
    ] = None
    parameters: Annotated[
        int | None, Field(ge=1, le=2**53, description="Number of weights, if known.")
    ] = None
    method: Annotated[
        Literal["prompted", "sft", "capo", "other"],
        Field(description="How the model came to know the annotators."),
    ]
    setting: Annotated[Line, Field(description="Prompt setting: tag, zero-shot, icl or profile.")]
    prompt_hash: Annotated[
        Line, Field(description="Hash of all prompts; results of lm-eval runs have it.")
    ]
    training_data: Annotated[
        Text, Field(description="What the system was trained on; `none` if it was not.")
    ]
    test_items_seen: Annotated[
        bool, Field(description="Whether any test item, even unlabelled, was seen in training.")
    ]
    uses_test_explanations: Annotated[
        bool, Field(description="Whether the system reads human explanations of test items.")
    ]
    decoding: Annotated[
        dict[Line, Setting],
        Field(max_length=64, description="Generation settings, such as temperature."),
        _ToldApart,
    ]
    versions: Annotated[
        dict[Line, Line],
        Field(
            max_length=64,
            description="Versions as text. `metrics` and `task` decide whether the rows of a board "
            "are comparable; others, such as capo_bench, lm_eval, torch, are for the reader.",
        ),
        _ToldApart,
    ]
    hardware: Annotated[Line, Field(description="What it ran on.")]
    submitted_by: Annotated[Line, Field(description="Who ran it and answers for it.")]
    licence: Annotated[Line, Field(description="Licence of the predictions, such as CC-BY-4.0.")]
    command: Annotated[Text | None, Field(description="The command that made the run.")] = None
    url: Annotated[
        str | None,
        Field(
            max_length=300,
            pattern=r"""^https?://[^\s<>"'`\\\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]+$""",
            description="Where to read more.",
        ),
    ] = None
    notes: Annotated[Text | None, Field(description="Anything else a reader should know.")] = None
    runs: Annotated[
        list[Run], Field(min_length=1, max_length=32, description="The runs, one per seed.")
    ]

    @property
    def asked(self) -> str:
        """The prompt setting, and that the model answered in a message of its own if it did."""
        return f"{self.setting}, chat" if self.decoding.get("form") == "chat" else self.setting

    @model_validator(mode="after")
    def _runs_differ(self) -> Self:
        for what, values in (
            ("seed", [run.seed for run in self.runs]),
            ("file", [run.file.casefold() for run in self.runs]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"two runs have the same {what}; each needs one of its own")
        return self


@dataclass(frozen=True)
class Submission:
    """A submission as read: it fits the schema, and nothing more is known of it.

    Attributes:
        id: Name of its folder.
        folder: The folder.
        card: The card.
        predictions: Those of each run, in the order of `card.runs` and of the lines.
        fingerprint: Fingerprint of the corpus that all lines of all runs name.
    """

    id: str
    folder: Path
    card: Card
    predictions: tuple[tuple[Prediction, ...], ...]
    fingerprint: str


def find_submissions(folder: Path) -> list[Path]:
    """The folder itself if it holds a card, else the folders in it, sorted by name.

    Raises:
        CapoBenchError: If the folder is not there or there is nothing in it.
    """
    if not folder.is_dir():
        raise CapoBenchError(f"{folder} is no folder; name a submission or a folder of them")
    if (folder / CARD).is_symlink() or (folder / CARD).exists():
        return [folder]
    found = submissions_in(folder)
    if not found:
        raise CapoBenchError(f"{folder} holds neither {CARD} nor folders of submissions")
    return found


def submissions_in(folder: Path) -> list[Path]:
    """The folders in a folder of submissions, sorted by name."""
    # Links count, so that they are refused by name instead of being passed over.
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")


def read_submission(folder: Path) -> Submission:
    """Reads a submission's folder.

    Raises:
        CapoBenchError: On the first file that is missing, too large, a link or not in the schema.
    """
    name = _id(folder)
    if folder.is_symlink() or not folder.is_dir():
        raise CapoBenchError("no folder of its own (a link?); expected a folder", file=folder)
    card = read_card(folder / CARD)
    runs, fingerprint = [], ""
    for run in card.runs:
        file = folder / run.file
        predictions: list[Prediction] = []
        for number, line in _prediction_lines(file):
            fingerprint = fingerprint or line.fingerprint
            if line.fingerprint != fingerprint:
                raise CapoBenchError(
                    f"fingerprint {line.fingerprint}, but the lines before have {fingerprint}; "
                    "one submission answers one corpus",
                    file=file,
                    line=number,
                )
            predictions.append(line.prediction)
        if not predictions:
            raise CapoBenchError("holds no predictions; expected one a line", file=file)
        runs.append(tuple(predictions))
    return Submission(name, folder, card, tuple(runs), fingerprint)


def read_card(file: Path) -> Card:
    """Reads a card.

    Raises:
        CapoBenchError: Naming the first line at fault, and further faults after it.
    """
    value, node = read_yaml(file)
    try:
        return Card.model_validate(value)
    except ValidationError as error:
        faults = [_fault(found) for found in error.errors(include_url=False)]
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise CapoBenchError(
            f"{'; '.join(faults[:3])}{more}; `capo-bench leaderboard schema` prints what a card has",
            file=file,
            line=_line_of(node, error.errors()[0]["loc"]),
        ) from error


def write_submission(
    folder: Path,
    card: Card,
    predictions: Sequence[Sequence[Prediction]],
    fingerprint: str,
    *,
    replace: bool = False,
) -> Submission:
    """Writes a submission's folder and reads it back.

    Args:
        folder: A folder that is not there yet, or is empty.
        card: The card.
        predictions: Those of each of `card.runs`.
        fingerprint: Fingerprint of the corpus that they answer.
        replace: Whether a submission that is there goes, with all that is in its folder, when the
            new one is complete.

    Raises:
        CapoBenchError: If the folder is in use or cannot be written, or what was written is beyond
            the limits of `read_submission`.
    """
    _id(folder)
    used = folder.is_symlink() or (
        folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    )
    if used and not (replace and (folder / CARD).is_file() and not folder.is_symlink()):
        raise CapoBenchError(f"{folder} is in use already; choose a new folder, or remove it")
    data = card.model_dump(mode="json", exclude_none=True)
    place = writing_all(folder, whole=[Path()]) if used else writing(folder, folder=True)
    with place as partial:
        for run, lines in zip(card.runs, predictions, strict=True):
            for line in lines:
                _line(folder / run.file, None, {"fingerprint": fingerprint, **asdict(line)})
            write_fingerprinted(partial / run.file, fingerprint, lines)
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
        write_text(partial / CARD, text)
    return read_submission(folder)


def schemas() -> dict[str, Any]:
    """JSON Schemas: `card`, and `prediction`, a line of a file of predictions."""
    return {"card": Card.model_json_schema(), "prediction": PredictionLine.model_json_schema()}


def _id(folder: Path) -> str:
    name = folder.absolute().name
    if not re.fullmatch(ID, name):
        raise CapoBenchError(
            f"{name!r} is no id; use up to 80 of a-z, 0-9, '.', '_' and '-'", file=folder
        )
    return name


def _prediction_lines(file: Path) -> Iterator[tuple[int, PredictionLine]]:
    for number, value in read_json_lines(file, PREDICTIONS_BYTES):
        yield number, _line(file, number, value)


def _line(file: Path, number: int | None, value: Any) -> PredictionLine:
    try:
        return PredictionLine.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise CapoBenchError(
            f"{_fault(found)}; a line has fingerprint, item, annotator and response, and maybe "
            "truncated, no more",
            file=file,
            line=number,
        ) from error


def _fault(found: Any) -> str:
    where = ".".join(map(_part, found["loc"])) or "the whole"
    got = "" if found["type"] in ("missing", "extra_forbidden") else _shown(found["input"])
    return f"{where}: {found['msg']}{got}"


def _part(part: int | str) -> str:
    short = str(part)[:60]
    return short if short.isprintable() else repr(short)


def _shown(value: Any) -> str:
    # repr of a dictionary or of a text of 10 MB says nothing; of an int of 10,000 digits it raises.
    if isinstance(value, str):
        return f" (got {value[:60]!r})"
    plain = (
        value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**64)
    )
    return f" (got {value!r})" if plain else f" (got a {type(value).__name__})"


def _line_of(node: Any, where: Sequence[Any]) -> int:
    """The line, from 1, of the deepest node on the way to a place in the card."""
    line = 1
    for part in where:
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            entries = [(key, value) for key, value in node.value if key.value == str(part)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            entries = [(value, value) for value in node.value[part : part + 1]]
        else:
            entries = []
        if not entries:
            break
        key, node = entries[0]
        line = key.start_mark.line + 1
    return int(line)
