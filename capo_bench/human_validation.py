"""Human validation: do people see the annotator in the model's responses, and do metrics agree?

`export` makes a blinded sheet: in each row a rater sees earlier responses of one annotator, an item
and two responses to it, says which of the two is that annotator's, and whether each explanation is
sound. In half of the rows one response is the model's for that annotator, in the other half it is
the annotator's own: how often people recognise the latter is the most that a model can reach. The
other response is always another annotator's. `evaluate` puts the filled sheets beside the key.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, StrictInt, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from capo_bench.corpus.agreement import kappa
from capo_bench.corpus.model import Corpus
from capo_bench.corpus.readers.tables import read_delimited
from capo_bench.display import neutral
from capo_bench.errors import CapoBenchError
from capo_bench.files import read_json, validated, write_all
from capo_bench.metrics.attribution import fit_attributor
from capo_bench.metrics.cells import Cells
from capo_bench.prompts.prompter import earlier_responses, render_input
from capo_bench.prompts.responses import render_target
from capo_bench.render.estimates import estimate_json
from capo_bench.stats.resampling import Estimate, Undefined, estimate, item_means

SHEET, KEY, TASKS, INTERFACE = "sheet.csv", "key.json", "label-studio.json", "label-studio.xml"
SHOWN = ("row", "history", "item", "response_1", "response_2")
ANSWERS: Mapping[str, tuple[str, str]] = {
    "which": ("1", "2"),
    "sound_1": ("yes", "no"),
    "sound_2": ("yes", "no"),
}

_INTERFACE = """<View>
  <Header value="Earlier responses of one annotator"/>
  <Text name="history" value="$history"/>
  <Header value="Item"/>
  <Text name="item" value="$item"/>
  <Header value="Response 1"/>
  <Text name="response_1" value="$response_1"/>
  <Header value="Response 2"/>
  <Text name="response_2" value="$response_2"/>
  <Header value="Which of the two is by the annotator above?"/>
  <Choices name="which" toName="item" required="true">
    <Choice value="1"/><Choice value="2"/>
  </Choices>
  <Header value="Does the explanation of response 1 make sense for its label?"/>
  <Choices name="sound_1" toName="response_1" required="true">
    <Choice value="yes"/><Choice value="no"/>
  </Choices>
  <Header value="Does the explanation of response 2 make sense for its label?"/>
  <Choices name="sound_2" toName="response_2" required="true">
    <Choice value="yes"/><Choice value="no"/>
  </Choices>
</View>
"""

_strict = ConfigDict(extra="forbid")


@checked(frozen=True, config=_strict)
class KeyRow:
    """What the raters of a row must not know.

    Attributes:
        row: Its id in the sheet.
        item: Id of the item.
        annotator: Whose history is shown.
        other: Who wrote the other response.
        writer: Who wrote the annotator's response: the `model`, or the annotator (`human`).
        place: Which response it is.
        classifier: Which response the attribution classifier takes for the annotator's; `None` if the
            corpus has none or it cannot tell.
    """

    row: str
    item: str
    annotator: str
    other: str
    writer: Literal["model", "human"]
    place: Literal[1, 2]
    classifier: Literal[1, 2] | None


@checked(frozen=True, config=_strict)
class Key:
    """The key to a sheet.

    Attributes:
        format: Version of this format.
        corpus: Name of the corpus.
        fingerprint: Its fingerprint.
        seed: What the rows were drawn with.
        rows: In the order of the sheet.
    """

    format: Literal["capo-bench-key/1"]
    corpus: str
    fingerprint: str
    seed: StrictInt
    rows: tuple[KeyRow, ...]


@dataclass(frozen=True)
class Agreement:
    """What the raters found.

    Attributes:
        corpus: Name of the corpus.
        fingerprint: Its fingerprint.
        raters: For each rater the number of rows that they rated.
        rows: Rows of the sheet.
        shares: Each with an interval over items:
            `model recognised`: the model's response is taken for the annotator's (guessing: .5);
            `annotator recognised`: the annotator's own is;
            `classifier agrees`: the attribution classifier chose as the rater did;
            `model sound`, `annotator sound`, `other sound`: the explanation makes sense for
            its label.
        kappas: For every two raters Cohen's kappa of `which` and of `sound` (both explanations) over
            the rows that both rated; `nan` where undefined.
    """

    corpus: str
    fingerprint: str
    raters: dict[str, int]
    rows: int
    shares: dict[str, Estimate | Undefined]
    kappas: dict[tuple[str, str], dict[str, float]]

    def as_json(self) -> dict[str, Any]:
        """Plain data; an undefined share has the key `undefined` with the reason."""
        return {
            **asdict(self),
            "shares": {name: estimate_json(found) for name, found in self.shares.items()},
            "kappas": [
                {"raters": pair, **{k: v if np.isfinite(v) else None for k, v in values.items()}}
                for pair, values in self.kappas.items()
            ],
        }


def make_sheet(
    cells: Cells, *, rows: int, history: int, seed: int
) -> tuple[list[dict[str, str]], Key]:
    """Draws the rows of a sheet.

    Args:
        cells: The predictions to validate beside the corpus.
        rows: How many rows at most; each is another cell.
        history: How many earlier responses each row shows.
        seed: Another seed draws other rows, partners and places.

    Returns:
        The rows as a rater sees them, with the columns `SHOWN`, and the key.

    Raises:
        CapoBenchError: If an annotator has no training explanations, or no cell has another
            annotator's response to compare with.
    """
    corpus, random = cells.corpus, Random(seed)
    order = list(range(len(cells)))
    random.shuffle(order)
    choose = _classifier(corpus)
    sheet: list[dict[str, str]] = []
    key: list[KeyRow] = []
    for cell in order:
        item, annotator = cells.items[cells.item[cell]], corpus.annotator_ids[cells.annotator[cell]]
        writer: Literal["model", "human"] = "human" if len(key) % 2 else "model"
        reference, parsed = cells.references[cell][0], cells.parsed[cell]
        if writer == "human":
            target = _said(reference.labels, reference.explanation)
        else:
            target = _said(parsed.labels, parsed.explanation)
        others = [
            (other, said)
            for other, responses in item.cells.items()
            for said in [_said(r.labels, r.explanation) for r in responses[:1]]
            if other != annotator and said != target
        ]
        if not others:
            continue
        other, decoy = random.choice(others)
        pair = [target, decoy]
        place: Literal[1, 2] = 1 if random.random() < 0.5 else 2
        if place == 2:
            pair.reverse()
        # Starts with a letter, so that no spreadsheet takes it for a number.
        digest = sha256(f"{seed}/{corpus.fingerprint}/{item.id}/{annotator}".encode()).hexdigest()
        name = f"r{digest[:10]}"
        shown = (
            name,
            "\n\n".join(earlier_responses(corpus, annotator)[:history]),
            render_input(corpus.task, item.text),
            *(rendered for rendered, _ in pair),
        )
        sheet.append({column: neutral(text) for column, text in zip(SHOWN, shown, strict=True)})
        classifier = choose(annotator, [explanation for _, explanation in pair], item.text)
        key.append(KeyRow(name, item.id, annotator, other, writer, place, classifier))
        if len(key) == rows:
            break
    if not key:
        raise CapoBenchError(
            "no response can be compared with another annotator's response to the same item"
        )
    mixed = list(range(len(key)))  # so far the writers take turns
    random.shuffle(mixed)
    rows_of_key = tuple(key[row] for row in mixed)
    return [sheet[row] for row in mixed], Key(
        "capo-bench-key/1", corpus.name, corpus.fingerprint, seed, rows_of_key
    )


def export(folder: Path, sheet: Sequence[Mapping[str, str]], key: Key) -> list[Path]:
    """Writes the sheet as CSV and for Label Studio (tasks and labelling interface), and the key.

    Returns:
        The files; the key is the last.

    Raises:
        CapoBenchError: If the folder cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, [*SHOWN, *ANSWERS], restval="", quoting=csv.QUOTE_ALL, lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(sheet)
    files = {
        # With a byte order mark, without which spreadsheets misread everything but ASCII.
        SHEET: "\ufeff" + text.getvalue(),
        TASKS: json.dumps([{"data": row} for row in sheet], ensure_ascii=False, indent=2) + "\n",
        INTERFACE: _INTERFACE,
        KEY: json.dumps(asdict(key), ensure_ascii=False, indent=2) + "\n",
    }
    written = {folder / name: content for name, content in files.items()}
    write_all(folder, written)
    return list(written)


def evaluate(key_file: Path, sheets: Sequence[Path]) -> Agreement:
    """Puts filled sheets beside their key.

    Args:
        key_file: The key.
        sheets: A CSV of each rater, named after the rater. Only `row`, `which`, `sound_1` and
            `sound_2` are read. A row without any answer was not rated.

    Raises:
        CapoBenchError: Naming file and row, if a sheet lacks a column, has a row that is not in the
            key or twice, or an answer that is missing or not one of the choices.
    """
    advice = "it is the file key.json that `capo-bench validate-humans export` wrote"
    key: Key = validated(TypeAdapter(Key), read_json(key_file), advice, file=key_file)
    rows = {row.row: row for row in key.rows}
    if len(rows) < len(key.rows) or not all(name.strip() for name in rows):
        raise CapoBenchError(f"two rows have one id, or one has none; {advice}", file=key_file)
    ratings: dict[str, dict[str, dict[str, str]]] = {}
    for path in sheets:
        if path.stem in ratings:
            raise CapoBenchError(f"{path}: another sheet is called {path.stem} too; rename one")
        ratings[path.stem] = _read_sheet(path, rows)
    return Agreement(
        corpus=key.corpus,
        fingerprint=key.fingerprint,
        raters={rater: len(rated) for rater, rated in ratings.items()},
        rows=len(rows),
        shares=_shares(
            [(rows[name], given) for r in ratings.values() for name, given in r.items()]
        ),
        kappas={(a, b): _kappas(ratings[a], ratings[b]) for a, b in combinations(ratings, 2)},
    )


def _shares(rated: Sequence[tuple[KeyRow, Mapping[str, str]]]) -> dict[str, Estimate | Undefined]:
    index = {item: position for position, item in enumerate({row.item: None for row, _ in rated})}
    items = np.array([index[row.item] for row, _ in rated], dtype=np.int64)
    model = np.array([row.writer == "model" for row, _ in rated])
    chosen = np.array([int(given["which"]) for _, given in rated])
    place = np.array([row.place for row, _ in rated])
    classifier = np.array([row.classifier or 0 for row, _ in rated])
    sound = np.array([[given[f"sound_{at}"] == "yes" for at in (1, 2)] for _, given in rated])
    own, other = sound[np.arange(len(rated)), place - 1], sound[np.arange(len(rated)), 2 - place]

    def share(hits: NDArray[np.bool_], counted: NDArray[np.bool_]) -> Estimate | Undefined:
        if not counted.any():
            return Undefined("no such row was rated")
        found = item_means(hits[counted], items[counted], len(index))
        return estimate(replace(found, bounds=(0, 1)))

    return {
        "model recognised": share(chosen == place, model),
        "annotator recognised": share(chosen == place, ~model),
        "classifier agrees": share(chosen == classifier, classifier > 0),
        "model sound": share(own, model),
        "annotator sound": share(own, ~model),
        "other sound": share(other, np.ones_like(model)),
    }


def _said(labels: Collection[str], explanation: str) -> tuple[str, str]:
    """A response as a rater sees it, and its explanation."""
    return render_target(labels, explanation), explanation


def _classifier(
    corpus: Corpus,
) -> Callable[[str, list[str], Mapping[str, str]], Literal[1, 2] | None]:
    attributor = fit_attributor(corpus, normalised=True)

    def choose(annotator: str, pair: list[str], text: Mapping[str, str]) -> Literal[1, 2] | None:
        index = corpus.annotator_ids.index(annotator)
        if isinstance(attributor, Undefined) or index not in attributor.annotators:
            return None
        column = int(np.flatnonzero(attributor.annotators == index)[0])
        first, second = attributor.log_probabilities(pair, [text, text])[:, column]
        return None if first == second else 1 if first > second else 2

    return choose


_TICKED = {"true": "yes", "false": "no"}


def _read_sheet(path: Path, rows: Mapping[str, KeyRow]) -> dict[str, dict[str, str]]:
    table = read_delimited(path)
    missing = [name for name in ("row", *ANSWERS) if name not in table.columns]
    if missing:
        raise CapoBenchError(
            f"{path}: there is no column {missing[0]!r}; save the filled sheet as CSV with its "
            "headings"
        )
    found: dict[str, dict[str, str]] = {}
    for line in table.rows:
        name = str(line["row"] or "").strip()
        if name not in rows:
            raise CapoBenchError(f"{path}: row {name!r} is not in the key; is it another sheet's?")
        if name in found:
            raise CapoBenchError(f"{path}: row {name} occurs twice; give one file for each rater")
        # Some spreadsheets make a yes of a box to tick into TRUE.
        said = {column: str(line[column] or "").casefold() for column in ANSWERS}
        given = {column: _TICKED.get(answer, answer) for column, answer in said.items()}
        if not any(given.values()):
            continue
        for column, choices in ANSWERS.items():
            if given[column] not in choices:
                raise CapoBenchError(
                    f"{path}: row {name}: {column} is {given[column]!r}; "
                    f"answer {' or '.join(choices)}, or leave the whole row empty"
                )
        found[name] = given
    if not found:
        raise CapoBenchError(f"{path}: no row is filled in")
    return found


def _kappas(
    first: Mapping[str, Mapping[str, str]], second: Mapping[str, Mapping[str, str]]
) -> dict[str, float]:
    confusion = {"which": np.zeros((2, 2)), "sound": np.zeros((2, 2))}
    for row in first.keys() & second.keys():
        for column, choices in ANSWERS.items():
            cell = tuple(choices.index(given[row][column]) for given in (first, second))
            confusion[column.split("_")[0]][cell] += 1
    return {question: float(kappa(counts)) for question, counts in confusion.items()}
