"""A board: which corpus its submissions answer, and who stands where.

Nothing of a submission is believed but its predictions: every score is recomputed from them with the
current metrics, and so are the references, control rows and humans, which stand between the systems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml  # type: ignore[import-untyped]
from joblib import Parallel, delayed
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from capo_bench.corpus.load import Splits
from capo_bench.corpus.model import Corpus
from capo_bench.display import skeleton
from capo_bench.errors import CapoBenchError, noting_faults
from capo_bench.files import read_yaml, validated, write_text
from capo_bench.leaderboard import verify
from capo_bench.leaderboard.findings import Finding as Verdict
from capo_bench.leaderboard.submission import (
    CARD,
    ID,
    Card,
    Line,
    Submission,
    Text,
    read_submission,
    submissions_in,
)
from capo_bench.leaderboard.verify import check_card, check_cells, check_claims, check_responses
from capo_bench.metrics.cells import Prediction
from capo_bench.metrics.registry import HEADLINE, Metric, metric_named, metrics_of
from capo_bench.report.build import Finding, judge
from capo_bench.scoring.cache import Measurements, key, measured, remembered
from capo_bench.scoring.controls import CEILINGS, HUMAN, control_predictions
from capo_bench.scoring.options import Options, beside
from capo_bench.scoring.red_team import representatives
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.ranking import standings
from capo_bench.stats.resampling import Estimate, Undefined

BOARD, SUBMISSIONS = "board.yaml", "submissions"

Kind = Literal["system", "control", "human"]
Track = Callable[[Sequence[Any]], Iterable[Any]]


class BoardSpec(BaseModel):
    """What `leaderboards/<board>/board.yaml` says; only those who keep the board write it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: Annotated[Line, Field(description="Name of the board, as tables show it.")]
    about: Annotated[Text | None, Field(description="What is asked for, in a sentence.")] = None
    story: Annotated[Text | None, Field(description="What its rows say, for the page.")] = None
    corpus: Annotated[
        str,
        Field(description="A corpus's name, or a .jsonl file relative to the board's folder."),
    ]
    splits: Annotated[Splits, Field(description="Our splits or the corpus's own.")] = "capo"
    split: Annotated[str, Field(description="The split that submissions answer.")] = "test"
    valid_only: Annotated[bool, Field(description="Self-validated responses only.")] = False
    min_responses: Annotated[
        int, Field(ge=0, description="Only annotators with at least so many labelled responses.")
    ] = 0
    min_annotators: Annotated[
        int, Field(ge=0, description="Only items that at least so many of them labelled.")
    ] = 0
    bertscore: Annotated[Line, Field(description="BERTScore's encoder, as `score` takes it.")]
    verified: Annotated[
        list[Annotated[str, Field(pattern=ID)]],
        Field(description="Ids of submissions that the board's keepers ran again."),
    ] = []
    contrasts: Annotated[
        list[Annotated[list[Annotated[str, Field(pattern=ID)]], Field(min_length=2, max_length=2)]],
        Field(description="Pairs of submissions that contrasts.md sets apart."),
    ] = []

    def options(self, folder: Path) -> Options:
        """What the board's runs are scored with.

        Args:
            folder: The board's folder.
        """
        return Options(
            beside(folder, self.corpus),
            splits=self.splits,
            split=self.split,
            valid_only=self.valid_only,
            min_responses=self.min_responses,
            min_annotators=self.min_annotators,
            bertscore=self.bertscore,
        )


_spec: TypeAdapter[BoardSpec] = TypeAdapter(BoardSpec)


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        id: The submission's id, or the name of the control row; `human` for the humans.
        kind: Whether it is a system, or a reference: a control row or the humans.
        card: What the system says of itself; `None` for a reference.
        verified: Whether the board's keepers ran it again.
        measurements: Its scores; contenders of the headline, and of all metrics where the board
            contrasts the system.
        rank: Rank among systems; ties share one. `None` for a reference.
        last: The last rank that is compatible with the tests; see `ranking.Standing`.
        lead: Headline minus that of the next system above, or `None` where there is none.
        finding: Where a system stands between the best control and the humans.
        warnings: What verification found, short of what keeps a submission off the board.
    """

    id: str
    kind: Kind
    card: Card | None
    verified: bool
    measurements: Measurements
    rank: int | None = None
    last: int | None = None
    lead: Estimate | Undefined | None = None
    finding: Finding | None = None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As tables show it."""
        return self.id if self.card is None else self.card.system

    @property
    def headline(self) -> Estimate | Undefined:
        """The headline's estimate."""
        return self.measurements.scores.estimates[HEADLINE]

    def minus(self, other: Entry) -> Estimate | Undefined:
        """The headline less that of another row, paired by item."""
        return self.measurements.minus(other.measurements, HEADLINE)


@dataclass(frozen=True)
class Board:
    """A board, recomputed.

    Attributes:
        id: Name of its folder.
        folder: The folder.
        spec: Its `board.yaml`.
        corpus: The corpus that was answered.
        metrics: What was computed, in the order of tables.
        signature: What the numbers depend on beside the predictions.
        entries: Systems and references, by headline, the best first.
        refused: Submissions that are not ranked: id and reason, by id.
        failed: Those of them that nothing is known to be wrong with: the program failed on them.
    """

    id: str
    folder: Path
    spec: BoardSpec
    corpus: Corpus
    metrics: tuple[Metric, ...]
    signature: Mapping[str, Any]
    entries: tuple[Entry, ...]
    refused: tuple[tuple[str, str], ...]
    failed: frozenset[str] = frozenset()

    @property
    def systems(self) -> tuple[Entry, ...]:
        """The entries that are ranked."""
        return tuple(entry for entry in self.entries if entry.kind == "system")

    @property
    def human(self) -> Entry:
        """The ceiling."""
        return next(entry for entry in self.entries if entry.id == HUMAN)

    def best_control(self, metric: Metric) -> Entry | None:
        """The control row that comes out best at a metric; the floor."""
        found = [
            (entry, value.value)
            for entry in self.entries
            if entry.kind == "control"
            and isinstance(value := entry.measurements.scores.estimates[metric.name], Estimate)
        ]
        sign = 1 if metric.higher_is_better else -1
        best = max(found, key=lambda pair: sign * pair[1], default=None)
        return best and best[0]


def find_boards(folder: Path) -> list[Path]:
    """The folders of boards in a folder of leaderboards, sorted by name.

    Raises:
        CapoBenchError: If there are none.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{BOARD}"))
    if not found:
        raise CapoBenchError(f"{folder} holds no boards; expected folders with a {BOARD} in them")
    return found


def read_board(folder: Path) -> BoardSpec:
    """Reads the `board.yaml` of a board's folder.

    Raises:
        CapoBenchError: If it is missing, no plain YAML, or not in the schema.
    """
    file = folder / BOARD
    value, _ = read_yaml(file)
    return validated(_spec, value, "its schema: capo-bench leaderboard schema", file=file)


def init(folder: Path, said: Mapping[str, Any]) -> Path:
    """Makes the folder of a new board, whose name is its id, with its `board.yaml`.

    Args:
        folder: The folder, such as `leaderboards/mini-nli`.
        said: The fields of `BoardSpec` that have no default, and others that are not as by default.

    Returns:
        The file.

    Raises:
        CapoBenchError: If the folder's name is no id, a field does not fit, or the corpus cannot be
            had.
    """
    file = folder / BOARD
    spec = validated(_spec, said, "its schema: capo-bench leaderboard schema", file=file)
    if not re.fullmatch(ID, folder.absolute().name):
        raise CapoBenchError("is no id; use up to 80 of a-z, 0-9, '.', '_' and '-'", file=folder)
    answered = spec.options(folder)
    if not answered.load().split(answered.split):
        raise CapoBenchError(f"the corpus {spec.corpus!r} has no items in split {spec.split!r}")
    fields = spec.model_dump(exclude_defaults=True)
    write_text(file, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))
    return file


def build(folder: Path, track: Track = iter, jobs: int = 1) -> Board:
    """Recomputes a board from its submissions; only what was never measured takes time.

    Args:
        folder: The board's folder.
        track: Wraps what is about to be looked at, to show progress.
        jobs: How many processes read, check and score, as joblib's `n_jobs`; inside
            `joblib.parallel_config` its backend, such as Dask's or Ray's, spreads them over machines
            that see the folder.

    Raises:
        CapoBenchError: If the board's corpus or encoder cannot be had, or the board names a verified
            submission that is not there. A faulty submission is refused instead, with its reason,
            and so is one that the program fails on.
    """
    spec = read_board(folder)
    scorer = spec.options(folder).scorer()
    below = folder / SUBMISSIONS
    folders = submissions_in(below) if below.is_dir() else []
    unknown = set(spec.verified) - {one.name for one in folders}
    if unknown:
        raise CapoBenchError(
            f"{folder / BOARD}: verified names {min(unknown)!r}, but there is no such submission"
        )
    references = {
        **control_predictions(scorer.corpus, spec.split),
        **representatives(scorer),
    }
    contrasted = {one for pair in spec.contrasts for one in pair}
    tasks = [delayed(_reference)(scorer, name, row) for name, row in references.items()]
    tasks += [
        delayed(_outcome)(scorer, folder.name, one, one.name in contrasted) for one in folders
    ]
    entries: list[Entry] = []
    accepted: list[_Outcome] = []
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}
    if (below / CARD).exists():
        refused[CARD] = f"lies in {SUBMISSIONS} itself; move it into a folder of its own"
    found = Parallel(n_jobs=jobs, return_as="generator")(tasks)
    for _, one in zip(track(tasks), found, strict=True):
        if isinstance(one, Entry):
            entries.append(one)
        elif one.failed:
            failed[one.id] = one.failed[0]
        elif one.refused or one.forged:
            refused[one.id] = (one.refused or one.forged)[0]
        else:
            accepted.append(one)
    seen: dict[str, str] = {}  # by skeleton of a system's name, which verified ones have first
    for one in sorted(accepted, key=lambda one: one.id not in spec.verified):
        assert one.card
        assert one.measurements
        like = seen.setdefault(skeleton(one.card.system), one.id)
        if like != one.id:
            problem = f"system looks like that of {like}; give it a name of its own"
            refused[one.id] = f"{CARD}: {problem}"
            continue
        verified, warnings = one.id in spec.verified, tuple(one.warnings)
        entries.append(
            Entry(one.id, "system", one.card, verified, one.measurements, warnings=warnings)
        )
    board = Board(
        id=folder.name,
        folder=folder,
        spec=spec,
        corpus=scorer.corpus,
        metrics=metrics_of(scorer.corpus),
        signature=scorer.signature,
        entries=tuple(sorted(entries, key=_order)),
        refused=tuple(sorted({**refused, **failed}.items())),
        failed=frozenset(failed),
    )
    return replace(board, entries=_ranked(board))


@dataclass
class _Outcome:
    """All that a board keeps of a folder of `submissions`; its responses are let go.

    Attributes:
        id: The folder's name.
        card: The card, if the submission could be read.
        measurements: Its scores, if nothing kept it from being scored.
        refused: What keeps it off the board, of what can be said without scoring it.
        forged: What keeps it off the board of what it claims.
        failed: What went wrong through no fault of its own that is known.
        warnings: What else was found.
    """

    id: str
    card: Card | None = None
    measurements: Measurements | None = None
    refused: list[str] = field(default_factory=list)
    forged: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _reference(scorer: Scorer, name: str, row: Sequence[Prediction]) -> Entry:
    kind: Kind = "human" if name in CEILINGS else "control"
    (found,) = measured(scorer, (row,))
    return Entry(name, kind, None, False, found.of([HEADLINE]))


def _outcome(scorer: Scorer, board: str, folder: Path, contrasted: bool) -> _Outcome:
    """Reads, checks and scores one submission; whatever goes wrong is said of it alone."""
    outcome = _Outcome(folder.name)
    with noting_faults(outcome.failed.append):
        try:
            submission = read_submission(folder)
        except CapoBenchError as error:
            line = f", line {error.line}" if error.line else ""
            place = f"{Path(error.file or folder).name}{line}"
            outcome.refused.append(f"{place}: {error.message}")
            return outcome
        outcome.card = submission.card
        card = check_card(submission, scorer, board)
        outcome.refused, outcome.warnings = _sorted([*card, *check_cells(submission, scorer)])
        if outcome.refused:
            return outcome
        (found,) = measured(scorer, submission.predictions)
        outcome.measurements = found if contrasted else found.of([HEADLINE])
        if submission.card.method != "prompted":
            outcome.measurements = outcome.measurements.of_training()
        outcome.forged, more = _sorted(check_claims(submission, found.values, scorer))
        outcome.warnings += more
        if not outcome.forged:
            outcome.warnings += _on_responses(submission, scorer)
    return outcome


def _sorted(findings: Iterable[Verdict]) -> tuple[list[str], list[str]]:
    """Errors and warnings, without the path to the submission, which differs between machines."""
    errors: list[str] = []
    warnings: list[str] = []
    for found in findings:
        if found.severity != "note":
            texts = errors if found.severity == "error" else warnings
            texts.append(f"{found.file.name}: {found.message}")
    return errors, warnings


def _on_responses(submission: Submission, scorer: Scorer) -> list[str]:
    """Warnings that only reading the responses gives; kept, because that takes its time."""
    declared = "-declared" if submission.card.test_items_seen else ""
    files = "".join(f"-{run.file}" for run in submission.card.runs)
    code = Path(verify.__file__).read_text(encoding="utf-8")
    kept = f"{key(scorer, submission.predictions)}{declared}{files}{code}"
    name = sha256(kept.encode()).hexdigest()
    return remembered(
        f"{name[:16]}-responses", lambda: _sorted(check_responses(submission, scorer))[1]
    )


def _order(entry: Entry) -> tuple[float, int, str]:
    """By headline; of equals the systems before the impostors."""
    value = entry.measurements.contenders[HEADLINE].found.value
    kind = ("human", "system", "control").index(entry.kind)
    return (-value if isfinite(value) else float("inf"), kind, entry.id)


def _ranked(board: Board) -> tuple[Entry, ...]:
    """The entries in their order, systems with rank, lead and finding."""
    systems = board.systems
    ranks = standings([system.measurements.contenders[HEADLINE] for system in systems])
    control = board.best_control(metric_named(HEADLINE))
    above: Entry | None = None
    ranked: dict[str, Entry] = {}
    for system, standing in zip(systems, ranks, strict=True):
        ranked[system.id] = replace(
            system,
            rank=standing.rank,
            last=standing.last,
            lead=system.minus(above) if above else None,
            finding=judge(_between(system, control, board.human)),
        )
        above = system
    return tuple(ranked[one.id] if one.kind == "system" else one for one in board.entries)


def _between(
    system: Entry, control: Entry | None, human: Entry
) -> tuple[str, Estimate, Estimate] | Undefined:
    if control is None:
        return Undefined("no control row has a faithful rate")
    floor, ceiling = system.minus(control), system.minus(human)
    for lead in (floor, ceiling):
        if isinstance(lead, Undefined):
            return lead
        if not isfinite(lead.low):
            return Undefined("there is no interval; it takes two items or more")
    assert isinstance(floor, Estimate)
    assert isinstance(ceiling, Estimate)
    return control.id, floor, ceiling
