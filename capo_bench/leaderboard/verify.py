"""Verification: what a linter can say of a submission, and what recomputing its scores shows.

An error keeps a submission off the board, a warning stands beside its row, a note is for the reader.

| rule | severity | finds |
|---|---|---|
| `schema` | error | a folder, card or predictions beyond `capo_bench.leaderboard.submission` |
| `files` | error | files that the card does not list |
| `board` | error | a card that names another board |
| `versions` | error | another version of the tasks (other prompts), or metrics newer than these |
| `versions` | warning | claimed scores of older metrics, which are not compared |
| `prompts` | warning | prompts that are not those of the setting that the card names |
| `fingerprint` | error | predictions for another corpus, other splits or another validity filter |
| `runs` | error | a run that answers everything as another one does |
| `completeness` | error | cells of the split that a run misses, has twice, or should not have |
| `completeness` | note | answers beyond what is asked for, which are left out |
| `claims` | error | a claimed score farther than `CLAIM_TOLERANCE` from the recomputed one |
| `claims` | warning, note | a claimed score that is no metric here, or one by another encoder |
| `guards` | warning | an annotator's responses beyond `GUARD_LIMIT` of what people do themselves |
| `leakage` | warning | declared use of test items, or test explanations repeated word for word |
| `program` | error | a fault of this program, which nothing is known of; not of the submission |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from capo_bench.errors import CapoBenchError, noting_faults
from capo_bench.leaderboard.findings import Finding, Severity, Verified
from capo_bench.leaderboard.submission import (
    CARD,
    Card,
    Submission,
    read_submission,
)
from capo_bench.metrics.cells import Cells, answers_of, evaluated_cells, join, labelled_cells
from capo_bench.metrics.registry import INVALID, METRICS
from capo_bench.metrics.tokens import normalise
from capo_bench.prompts.prompter import Form, Prompter, prompt_hash
from capo_bench.scoring.cache import measured
from capo_bench.scoring.scorer import METRICS_VERSION, Scorer
from capo_bench.stats.resampling import Undefined

TASK_VERSION = "1.0"
"""Version of all tasks, as `tasks/README.md` has it; another one has other prompts."""

CLAIM_TOLERANCE = 0.005
"""Claims may be rounded to two decimals; another machine may turn a response in some hundreds."""

GUARD_LIMIT = 0.2
"""People stay below .17 in the test splits of VariErr-NLI, Par and the mini corpora."""

PROGRAM = "program"
"""The rule of findings that are no fault of the submission."""

_REPEATED_WORDS, _REPEATED_SHARE = 5, 0.05


def verify(folder: Path, scorer: Scorer, board: str | None = None) -> Verified:
    """Checks one submission.

    Args:
        folder: Its folder.
        scorer: The scorer of the board's corpus, split and encoder; one for many submissions.
        board: The board's id; `None` leaves out the rule `board`.

    Raises:
        CapoBenchError: If the scorer cannot work, such as without the board's encoder; never because
            of what the submission holds.
    """
    faults: list[str] = []
    with noting_faults(faults.append):
        return _verify(folder, scorer, board)
    return Verified(folder, tuple(Finding("error", PROGRAM, folder, None, why) for why in faults))


def _verify(folder: Path, scorer: Scorer, board: str | None) -> Verified:
    try:
        submission = read_submission(folder)
    except CapoBenchError as error:
        fault = Finding("error", "schema", Path(error.file or folder), error.line, error.message)
        return Verified(folder, (fault,))
    findings = [*check_card(submission, scorer, board), *check_cells(submission, scorer)]
    wrong = {finding.rule for finding in findings if finding.severity == "error"}
    if wrong.isdisjoint(("fingerprint", "completeness")):
        card = submission.card
        if _same_metrics(card) and any(run.claimed for run in card.runs):
            (found,) = measured(scorer, submission.predictions)
            findings += check_claims(submission, found.values, scorer)
        findings += check_responses(submission, scorer)
    return Verified(folder, tuple(findings))


def check_card(submission: Submission, scorer: Scorer, board: str | None) -> Iterator[Finding]:
    """What can be said without reading a response."""
    card, file = submission.card, submission.folder / CARD
    known = {CARD, *(run.file for run in card.runs)}
    for entry in sorted(submission.folder.iterdir()):
        if entry.name not in known:
            message = "the card does not list this file; add a run for it or remove it"
            yield Finding("error", "files", entry, None, message)
    if board is not None and card.board != board:
        message = f"the card says board {card.board}, but this is {board}"
        yield Finding("error", "board", file, None, message)
    yield from _versions(card, file)
    own = _prompts(card, scorer)
    if own is not None and own != card.prompt_hash:
        message = (
            f"prompt_hash {card.prompt_hash} is not that of the setting {card.setting} on this "
            f"corpus ({own}): the system was asked with other prompts; say in notes which"
        )
        yield Finding("warning", "prompts", file, None, message)
    if card.test_items_seen:
        message = "test_items_seen: the system saw test items in training"
        yield Finding("warning", "leakage", file, None, message)
    if card.uses_test_explanations:
        message = "uses_test_explanations: not comparable with systems that do not read them"
        yield Finding("warning", "leakage", file, None, message)


def check_cells(submission: Submission, scorer: Scorer) -> Iterator[Finding]:
    """Whether every run answers every cell of the board's split once, and no two runs are one."""
    corpus, files = scorer.corpus, [submission.folder / r.file for r in submission.card.runs]
    if submission.fingerprint != corpus.fingerprint:
        message = (
            f"answers the corpus with fingerprint {submission.fingerprint}, but the board's "
            f"{corpus.name} has {corpus.fingerprint}; run the task with the board's corpus, splits "
            "and validity filter"
        )
        yield Finding("error", "fingerprint", files[0], 1, message)
        return
    expected = {(item.id, annotator) for item, annotator in evaluated_cells(corpus, scorer.split)}
    labelled = labelled_cells(corpus, scorer.split)
    every = f"of {len(expected)} cells"
    first: dict[frozenset[tuple[str, str, str]], Path] = {}
    for file, predictions in zip(files, submission.predictions, strict=True):
        if (other := first.setdefault(answers_of(predictions), file)) != file:
            message = (
                f"answers everything as {other.name} does; another seed that changes nothing is no "
                "other run, keep one of them"
            )
            yield Finding("error", "runs", file, None, message)
        found = Counter((line.item, line.annotator) for line in predictions)
        checks: tuple[tuple[Severity, str, Collection[tuple[str, str]], str], ...] = (
            (
                "error",
                f"{every} are missing",
                expected - found.keys(),
                "run the task without --limit; an empty response counts as one",
            ),
            (
                "error",
                f"answered cells are no labelled cells of split {scorer.split}",
                found.keys() - labelled,
                "remove them",
            ),
            (
                "error",
                f"{every} are answered more than once",
                {cell for cell, times in found.items() if times > 1},
                "keep one response for each",
            ),
            (
                "note",
                "answers are to items or for annotators that nobody is asked about",
                labelled & found.keys() - expected,
                "they are left out",
            ),
        )
        for severity, what, cells, advice in checks:
            if cells:
                named = ", ".join(f"{item!r} of {a!r}" for item, a in _short(sorted(cells)))
                message = f"{len(cells)} {what}, such as {named}; {advice}"
                yield Finding(severity, "completeness", file, None, message)


def check_claims(
    submission: Submission, found: Mapping[str, Sequence[float]], scorer: Scorer
) -> Iterator[Finding]:
    """Whether the claimed scores are those that come out.

    Args:
        submission: A complete submission.
        found: By metric the value of each run, `nan` where undefined; see `measured.Measurements`.
        scorer: The scorer that they come from.
    """
    file, versions = submission.folder / CARD, submission.card.versions
    if not _same_metrics(submission.card):
        return
    encoder = scorer.signature["bertscore"]
    of_encoder = {m.name for m in METRICS if m.encoded} & {
        name for run in submission.card.runs for name in run.claimed
    }
    skipped = of_encoder if versions.get("bertscore") != encoder else set()
    if skipped:
        message = (
            f"claimed {', '.join(sorted(skipped))} were not compared: versions.bertscore is "
            f"{versions.get('bertscore')!r}, the board's encoder {encoder!r}"
        )
        yield Finding("note", "claims", file, None, message)
    for index, run in enumerate(submission.card.runs):
        for name, claimed in run.claimed.items():
            if name not in found:
                message = (
                    f"seed {run.seed} claims {name}, which is no metric of this board; remove it"
                )
                yield Finding("warning", "claims", file, None, message)
            elif name in skipped:
                continue
            elif not abs(found[name][index] - claimed) <= CLAIM_TOLERANCE:  # nan is never close
                message = (
                    f"seed {run.seed} claims {name} {claimed:.4f}, recomputed "
                    f"{found[name][index]:.4f} (tolerance {CLAIM_TOLERANCE}); claim what "
                    "capo-bench score prints, or nothing"
                )
                yield Finding("error", "claims", file, None, message)


def check_responses(submission: Submission, scorer: Scorer) -> Iterator[Finding]:
    """What guards find, and test explanations that were handed in as answers.

    Args:
        submission: A complete submission.
        scorer: The scorer of the board.
    """
    for run, predictions in zip(submission.card.runs, submission.predictions, strict=True):
        file = submission.folder / run.file
        cells = join(scorer.corpus, scorer.split, predictions)
        yield from _guards(file, cells, scorer)
        repeated = _repeated(cells)
        if repeated > max(2, _REPEATED_SHARE * len(cells)):
            declared = "declared" if submission.card.test_items_seen else "not declared"
            message = (
                f"{repeated} of {len(cells)} explanations are, word for word, what the annotator "
                f"wrote for that very test item and never in training ({declared})"
            )
            yield Finding("warning", "leakage", file, None, message)


def _same_metrics(card: Card) -> bool:
    return card.versions.get("metrics") == str(METRICS_VERSION)


def _versions(card: Card, file: Path) -> Iterator[Finding]:
    task, metrics = card.versions.get("task"), card.versions.get("metrics")
    if task != TASK_VERSION:
        message = (
            f"versions.task is {task!r}, but the board's tasks have {TASK_VERSION!r}: other prompts; "
            "run the task of this version"
        )
        yield Finding("error", "versions", file, None, message)
    if metrics is None or not re.fullmatch("0|[1-9][0-9]{0,8}", metrics):
        message = f"versions.metrics is {metrics!r}, expected a whole number as results name it"
        yield Finding("error", "versions", file, None, message)
    elif int(metrics) > METRICS_VERSION:
        message = (
            f"versions.metrics is {metrics}, newer than {METRICS_VERSION} here; update capo-bench"
        )
        yield Finding("error", "versions", file, None, message)
    elif int(metrics) < METRICS_VERSION and any(run.claimed for run in card.runs):
        message = (
            f"claimed scores are of metrics version {metrics}, scores are recomputed with "
            f"{METRICS_VERSION}; the claimed ones were not compared"
        )
        yield Finding("warning", "versions", file, None, message)


def _prompts(card: Card, scorer: Scorer) -> str | None:
    """The hash of the prompts of the card's setting; none where it depends on more than that."""
    if card.setting not in ("tag", "zero-shot", "profile", "persona"):
        return None
    form: Form = "chat" if card.decoding.get("form") == "chat" else "cue"
    prompter = Prompter(scorer.corpus, card.setting, form=form)  # type: ignore[arg-type]
    return prompt_hash(
        prompter(item, annotator)
        for item, annotator in evaluated_cells(scorer.corpus, scorer.split)
    )


def _guards(file: Path, cells: Cells, scorer: Scorer) -> Iterator[Finding]:
    excess = scorer.excess_by_annotator(cells)
    invalid = Counter(
        cells.corpus.annotator_ids[annotator]
        for annotator, parsed in zip(cells.annotator, cells.parsed, strict=True)
        if parsed.error is not None
    )
    asked = Counter(cells.corpus.annotator_ids[annotator] for annotator in cells.annotator)
    rates = {
        INVALID: {annotator: invalid[annotator] / n for annotator, n in asked.items()},
        **({} if isinstance(excess, Undefined) else excess),
    }
    for guard, by_annotator in rates.items():
        beyond = {a: rate for a, rate in by_annotator.items() if rate > GUARD_LIMIT}
        if beyond:
            named = ", ".join(f"{a} {rate:.2f}" for a, rate in beyond.items())
            message = f"{guard} above {GUARD_LIMIT}: {named}"
            yield Finding("warning", "guards", file, None, message)


def _repeated(cells: Cells) -> int:
    """How many explanations are the target's own for the item, and not a phrase of theirs."""
    corpus = cells.corpus
    usual = {
        annotator: {normalise(r.explanation) for _, r in corpus.responses("train", annotator)}
        for annotator in corpus.annotator_ids
    }
    count = 0
    for annotator, references, said in zip(
        cells.annotator, cells.references, cells.explanations, strict=True
    ):
        text = normalise(said)
        count += (
            len(text.split()) >= _REPEATED_WORDS
            and any(text == normalise(own.explanation) for own in references)
            and text not in usual[corpus.annotator_ids[annotator]]
        )
    return count


def _short(cells: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(item[:60], annotator[:60]) for item, annotator in cells[:3]]
