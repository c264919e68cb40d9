"""Control rows: what they answer, what they may know, and that the headline orders them."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite
from pathlib import Path

import pytest
from typer.testing import CliRunner

from capo_bench.cli.app import app
from capo_bench.corpus.load import load
from capo_bench.corpus.model import Annotator, Corpus, Item, LabelSpace, Response
from capo_bench.corpus.synthetic.world import synthesize, world_of
from capo_bench.corpus.tasks import NLI, PARAPHRASE
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.attribution import attributed, fit_attributor
from capo_bench.metrics.cells import Prediction, join
from capo_bench.metrics.faithful import faithful_rate
from capo_bench.metrics.indistinguishability import discriminate, fit_discriminator
from capo_bench.metrics.lexicon import lexicon
from capo_bench.prompts.responses import parse
from capo_bench.report.build import build
from capo_bench.report.tables import controls_tables
from capo_bench.scoring import controls
from capo_bench.scoring.controls import LABEL_ROWS, control_predictions, score_controls
from capo_bench.scoring.predictions import read_predictions
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.comparing import difference
from capo_bench.stats.resampling import ItemSums, Undefined, estimate


def item(name: str, split: str, **cells: str | list[str]) -> Item:
    """An item whose cells are given as `label: explanation`, once or several times."""
    return Item(
        id=name,
        text={"context": f"A {name} came in.", "statement": f"The {name} sat down."},
        cells={
            annotator: tuple(
                Response(*text.split(": ")) for text in ([said] if isinstance(said, str) else said)
            )
            for annotator, said in cells.items()
        },
        split=split,
    )


ANN, BOB, CEM = "neutral: it may be so at last", "entailment: as I see it", "neutral: nobody knows"
HAND = Corpus(
    name="hand",
    task=NLI,
    annotators=(Annotator("Ann"), Annotator("Bob"), Annotator("Cem")),
    items=(
        item("duke", "train", Ann="neutral: it may be so", Bob=BOB, Cem=CEM),
        item("monk", "train", Ann="neutral: but it may be that the monk left", Bob=BOB, Cem=CEM),
        item("nurse", "train", Ann="entailment: plainly", Bob=BOB, Cem=CEM),
        item(
            "duke fool",
            "test",
            Ann="contradiction: not the fool",
            Bob=["entailment: as I see it, yes", "neutral: or not, as I see it"],
            Cem="neutral: who knows",
        ),
        item("monk king", "test", Ann="entailment: kings sit"),
    ),
)


def said(corpus: Corpus, row: str, name: str, annotator: str) -> str:
    found = [
        p.response
        for p in control_predictions(corpus)[row]
        if (p.item, p.annotator) == (name, annotator)
    ]
    assert len(found) == 1
    return found[0].removeprefix("Label: ").replace("\nExplanation", "")


@pytest.mark.parametrize(
    ("row", "name", "annotator", "expected"),
    [
        ("human", "duke fool", "Ann", "contradiction: not the fool"),
        ("human", "duke fool", "Bob", "entailment, neutral: as I see it, yes"),
        (
            "other-annotator",
            "duke fool",
            "Bob",
            {"contradiction: not the fool", "neutral: who knows"},
        ),
        # Nobody else answered: a training response of Bob's or Cem's.
        ("other-annotator", "monk king", "Ann", {BOB, CEM}),
        ("swapped", "duke fool", "Ann", "entailment: as I see it, yes"),
        ("swapped", "duke fool", "Bob", "neutral: who knows"),
        ("swapped", "duke fool", "Cem", "contradiction: not the fool"),
        ("swapped", "monk king", "Ann", {BOB, CEM}),
        # The others said entailment, neutral, neutral.
        (
            "others-majority",
            "duke fool",
            "Ann",
            {"neutral: or not, as I see it", "neutral: who knows"},
        ),
        # Nobody else: Ann's own most frequent training label.
        ("others-majority", "monk king", "Ann", {"neutral: as I see it", "neutral: nobody knows"}),
        ("wrong-item", "duke fool", "Ann", "entailment: kings sit"),
        ("wrong-item", "monk king", "Ann", "contradiction: not the fool"),
        ("wrong-item", "duke fool", "Cem", CEM),  # Cem answered one test item only
        ("empty", "duke fool", "Ann", ""),
        # Too few to attribute: the longest explanation stands for the most typical.
        ("constant", "duke fool", "Ann", "neutral: but it may be that the monk left"),
        (
            "majority-template",
            "duke fool",
            "Ann",
            'neutral: This is the answer because the context is "A duke fool came in." and the '
            'statement is "The duke fool sat down.".',
        ),
        (
            "random-train",
            "duke fool",
            "Bob",
            {"neutral: as I see it", "contradiction: as I see it"},
        ),
        ("nearest-train", "duke fool", "Ann", "neutral: it may be so"),
        ("nearest-train", "monk king", "Ann", "neutral: but it may be that the monk left"),
        # "it may be" is in two of three of Ann's explanations and in nobody else's.
        ("favourite-phrase", "monk king", "Ann", {f"{BOB} it may be", f"{CEM} it may be"}),
        (
            "best-train-appended",
            "monk king",
            "Ann",
            {f"{one} but it may be that the monk left" for one in (BOB, CEM)},
        ),
        # The first content word of the item takes the place of the one that was shared.
        ("refilled-train", "monk king", "Ann", "neutral: but it may be that the monk left"),
    ],
)
def test_rows_by_hand(row, name, annotator, expected):
    expected = {expected} if isinstance(expected, str) else expected
    assert said(HAND, row, name, annotator) in expected


def test_refilling():
    source, target = HAND.by_id["monk"], HAND.by_id["duke fool"]
    # Shared with the source: monk, came. The target's words in turn: duke, fool.
    assert (
        controls._refill("The monk came, a real monk!", source, target, lexicon("en"))
        == "The duke fool a real duke"
    )


def test_the_others_median_on_a_scale():
    cells = {"Ann": "5", "Bob": "-5", "Cem": "1", "Dan": "4"}
    answers = {a: (Response(label, "so it is"),) for a, label in cells.items()}
    text = {"question1": "What?", "question2": "Why?"}
    corpus = Corpus(
        "scale",
        PARAPHRASE,
        tuple(Annotator(a) for a in cells),
        (Item("1", text, answers, split="train"), Item("2", text, answers, split="test")),
    )
    assert said(corpus, "others-majority", "2", "Ann") == "1: so it is"
    assert said(corpus, "others-majority", "2", "Bob") == "4: so it is"


def test_every_row_answers_every_cell_in_order():
    corpus = synthesize("mini-nli", items=40).corpus
    asked = [
        (item.id, a)
        for item in corpus.split("test")
        for a in corpus.annotator_ids
        if item.cells.get(a)
    ]
    for row in control_predictions(corpus).values():
        assert [(p.item, p.annotator) for p in row] == asked


def test_deterministic_and_seeded():
    corpus = synthesize("mini-nli", items=60).corpus
    once, again, other = (control_predictions(corpus, seed=seed) for seed in (0, 0, 1))
    assert once == again
    random = {"other-annotator", "wrong-item", "random-train", "spliced-train", "stuffed"}
    assert all(once[row] != other[row] for row in random)
    fixed = {"human", "swapped", "empty", "constant", "majority-template", "nearest-train"}
    assert all(once[row] == other[row] for row in fixed)


def test_a_worlds_annotators_are_asked_again_and_nobody_elses():
    world = synthesize("places", items=50)
    rows = control_predictions(world.corpus)
    human, again = rows["human"], rows["asked-again"]
    for one in again:
        said = parse(world.corpus.task, one.response)
        likely = world.log_likelihood(one.item, said.labels[0], said.explanation)
        assert isfinite(likely[one.annotator])
    assert sum(one != other for one, other in zip(human, again, strict=True)) > len(human) / 2
    assert "asked-again" not in control_predictions(synthesize("places", 0.5, items=50).corpus)
    few = replace(world.corpus, items=world.corpus.items[:24])  # fewer than a world may have
    assert world_of(few) is None


@pytest.mark.parametrize("target", ["Ann1", "Ann3"])
def test_no_impostor_reads_the_targets_test_responses(target):
    corpus = synthesize("mini-nli", items=60).corpus

    def forged(cell: tuple[Response, ...]) -> tuple[Response, ...]:
        turned = {
            "entailment": "neutral",
            "neutral": "contradiction",
            "contradiction": "entailment",
        }
        return tuple(Response(turned[r.label], "Zzz " + r.explanation[::-1]) for r in cell)

    items = tuple(
        replace(i, cells={**i.cells, target: forged(i.cells[target])}) if i.split == "test" else i
        for i in corpus.items
    )
    before = control_predictions(corpus)
    after = control_predictions(replace(corpus, items=items))
    # The forged corpus is no world any more, so that nobody can be asked again.
    assert set(before) - set(after) == {"asked-again"}
    changed = {
        row
        for row in after
        for one, other in zip(before[row], after[row], strict=True)
        if one.annotator == target and one != other
    }
    # By definition: the ceiling, and the target's own responses to other items.
    assert changed == {"human", "wrong-item"}


@pytest.mark.parametrize(
    ("corpus", "split", "message"),
    [
        (HAND, "train", "control rows know the train split"),
        (HAND, "validation", "no items in split 'validation'"),
        (
            replace(HAND, items=(*HAND.items[:3], item("fox", "test", Ann=[]))),
            "test",
            "split test of corpus hand has no labelled cells",
        ),
        (
            replace(
                HAND,
                annotators=(Annotator("Ann"),),
                items=(item("a", "train", Ann=ANN), item("b", "test", Ann=ANN)),
            ),
            "test",
            "has one annotator; controls need two or more",
        ),
        (
            replace(HAND, items=(item("a", "train", Ann=ANN), item("b", "test", Ann=ANN))),
            "test",
            "nobody but Ann has training responses",
        ),
    ],
)
def test_bad_input(corpus, split, message):
    with pytest.raises(CapoBenchError, match=message):
        control_predictions(corpus, split)


# --- what the headline makes of them ---------------------------------------------------------------


ATTACKS = (
    "swapped wrong-item empty constant majority-template random-train nearest-train favourite-phrase "
    "best-train-appended refilled-train"
).split()


def headline(corpus: Corpus, rows: Mapping[str, Sequence[Prediction]]) -> dict[str, ItemSums]:
    """The faithful rate of every row, without the metrics that it does not need."""
    attributor = fit_attributor(corpus, normalised=True)
    discriminator = fit_discriminator(corpus, "test")
    assert not isinstance(attributor, Undefined)
    found = {}
    for name, row in rows.items():
        cells = join(corpus, "test", row)
        scores = attributor.log_probabilities(cells.explanations, cells.inputs)
        named = attributed(cells, scores, attributor.annotators)
        found[name] = faithful_rate(cells, named, discriminate(cells, discriminator))
    return found


def check_order(corpus: Corpus) -> None:
    found = headline(corpus, control_predictions(corpus))
    human, again = found.pop("human"), found.pop("asked-again", None)
    for name, row in found.items():
        assert estimate(difference(human, row)).low > 0.3, name
        # So does a made-up annotator, asked once more.
        assert again is None or difference(again, row).value() > 0, name
    for name in ATTACKS:
        # They know the others' labels of the test items, which no honest system does.
        assert difference(found[name], found["other-annotator"]).value() < 0.15, name


@pytest.mark.parametrize("mini", ["mini-nli", "mini-paraphrase"])
def test_the_headline_orders_the_rows_of_the_bundled_corpora(mini):
    check_order(synthesize(mini).corpus)


@pytest.mark.parametrize("spec", ["nli", "paraphrase"])
def test_the_headline_orders_the_rows_of_the_real_corpora(spec):
    folder = Path(
        os.environ.get("CAPO_BENCH_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
    )
    if not (folder / "varierr" / "varierr.json").is_file():
        pytest.skip("the real corpora are not on this machine; CAPO_BENCH_DATA may name them")
    below = "varierr" if spec == "nli" else "lewidi2025"
    check_order(load(spec, path=folder / below))


def test_the_more_a_submission_is_the_human_the_higher_the_headline():
    corpus = synthesize("mini-nli", items=200).corpus
    rows = control_predictions(corpus)
    mixed = {
        str(share): [
            own if index % 10 < share else other
            for index, (own, other) in enumerate(
                zip(rows["human"], rows["other-annotator"], strict=True)
            )
        ]
        for share in (0, 2, 5, 8, 10)
    }
    rates = [metric.value() for metric in headline(corpus, mixed).values()]
    assert all(low + 0.02 < high for low, high in pairwise(rates)), rates


# --- scored, printed, written ----------------------------------------------------------------------


@pytest.fixture
def two_rows(monkeypatch):
    """Only two rows, so that little is encoded."""

    def few(*arguments):
        found = control_predictions(*arguments)
        return {name: found[name] for name in ("human", "empty")}

    monkeypatch.setattr(controls, "control_predictions", few)


def test_rows_are_held_against_the_human_row(two_rows):
    corpus = synthesize("mini-paraphrase", items=60).corpus
    rows = list(
        score_controls(Scorer(corpus, "test", "minilm"), controls.control_predictions(corpus))
    )
    human, empty = rows
    assert human.below_human.value == 0
    assert empty.below_human.value == human.scores.estimates["faithful_rate"].value
    assert empty.scores.estimates["faithful_rate"].value == 0
    assert human.scores.estimates["label_accuracy"].value == 1
    tables = controls_tables(rows)
    assert [table.row_count for table in tables] == [2, 2]
    assert list(tables[0].columns[0].cells) == ["human", "empty"]


def test_the_command_prints_json_and_writes_predictions(two_rows, tmp_path):
    arguments = ["controls", "--corpus", "mini-nli", "--json", "--output", str(tmp_path / "rows")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found) == ["human", "empty"]
    assert found["human"]["metrics"]["label_accuracy_strict"]["value"] == 1
    assert found["empty"]["below_human"]["low"] > 0.3
    written = read_predictions(tmp_path / "rows" / "human.jsonl")
    assert written.fingerprint == found["human"]["signature"]["fingerprint"]
    assert written.predictions == control_predictions(synthesize("mini-nli").corpus)["human"]


def test_what_was_scored_before_is_not_scored_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    corpus = synthesize("mini-nli").corpus
    rows = control_predictions(corpus)
    two = {name: rows[name] for name in ("human", "swapped")}
    first = list(score_controls(Scorer(corpus, "test", "minilm"), two))
    monkeypatch.setattr(Scorer, "measure", None)  # a second scoring would call it
    assert list(score_controls(Scorer(corpus, "test", "minilm"), two)) == first
    report = build(Scorer(corpus, "test", "minilm"), rows["swapped"], "swapped", only(two))
    assert [row.scores for row in report.references] == [row.scores for row in first]


def only(rows):
    """Keeps a report to the given control rows."""
    return lambda controls: [(name, row) for name, row in controls if name in rows]


# --- labels alone, and annotators whom training does not show -------------------------------------


def crowd(explanations, everyone=False):
    """Six items, each labelled by Ida and two others; Eva is in the test split alone."""
    said = "" if explanations == "none" else "Because it is so."
    task = replace(
        NLI, name="own", labels=LabelSpace("nominal", ("a", "b")), explanations=explanations
    )
    others = ["Ola", "Per", "Ola", "Per", "Ola", "Eva"]
    items = tuple(
        Item(
            f"i{n}",
            {"context": f"Tea {n} is hot.", "statement": f"Cup {n} is warm."},
            {
                "Ida": (Response("ab"[n % 2], said),),
                other: (Response("ba"[n // 3], said),),
            },
            split="test" if n > 3 else "train",
        )
        for n, other in enumerate(others)
    )
    annotators = tuple(map(Annotator, ("Ida", "Ola", "Per", "Eva")))
    return Corpus("own", task, annotators, items, everyone=everyone)


def test_labels_alone_have_the_rows_that_differ_in_labels():
    corpus = crowd("none")
    rows = control_predictions(corpus)
    assert tuple(rows) == LABEL_ROWS
    assert [p.annotator for p in rows["human"]] == ["Ida", "Ola", "Ida"]
    assert {p.response for p in rows["human"]} == {"Label: a", "Label: b"}
    scores = Scorer(corpus, "test", "minilm").score(rows["human"])
    assert "it takes 5 evaluated items" in scores.estimates["faithful_rate"].reason
    assert scores.estimates["label_accuracy"].value == 1
    assert scores.estimates["invalid_rate"].value == 0
    assert scores.estimates["rouge_l"] == Undefined("the corpus has labels alone, no explanations")
    assert "lewidi_soft" not in scores.estimates


def test_whom_training_does_not_show_is_left_out_and_named_beside_the_numbers():
    corpus = crowd("required")
    assert {p.annotator for p in control_predictions(corpus)["human"]} == {"Ida", "Ola"}
    signature = Scorer(corpus, "test", "minilm").signature
    assert signature["evaluated"] == "over 2 of 3 annotators, 3 of 4 responses"


def test_where_everyone_is_evaluated_impostors_pose_as_somebody_whom_training_shows():
    rows = control_predictions(crowd("required", everyone=True))
    (eva,) = [p for p in rows["random-train"] if p.annotator == "Eva"]
    assert eva.response.endswith("Explanation: Because it is so.")
