"""The red team: what it may know, what it makes, and that the score is not fooled."""

import os
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from capo_bench.corpus.load import load
from capo_bench.corpus.model import Item, Response
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.cells import Prediction, join
from capo_bench.prompts.responses import render_target
from capo_bench.report.tables import red_team_table
from capo_bench.scoring.attacker import Author, Material
from capo_bench.scoring.choosing import chosen_as_sets, log_probability_of_target, searched
from capo_bench.scoring.controls import control_predictions
from capo_bench.scoring.forgeries import GENERATORS, written
from capo_bench.scoring.guessing import guess_labels
from capo_bench.scoring.red_team import (
    CANDIDATES,
    SETS,
    attacks_in_all,
    best_of_each,
    fooled,
    red_team,
)
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import estimate

CORPUS = synthesize("mini-nli", items=100).corpus
MATERIAL = Material(CORPUS, "test")


@pytest.fixture(scope="module")
def attacks():
    return list(red_team(CORPUS))


def test_every_generator_answers_every_cell_with_every_kind_of_label(attacks):
    asked = [(p.item, p.annotator) for p in control_predictions(CORPUS)["human"]]
    for attack in attacks:
        assert [(p.item, p.annotator) for p in attack.predictions] == asked
    assert len(attacks) == attacks_in_all() == 21 * 3 + 6
    assert len({attack.name for attack in attacks}) == len(attacks)


def test_nothing_of_the_targets_test_responses_is_read(attacks):
    target = "Ann2"

    def forged(cell):
        return tuple(Response("contradiction", "Zzz " + r.explanation[::-1]) for r in cell)

    items = tuple(
        replace(i, cells={**i.cells, target: forged(i.cells[target])})
        if i.split == "test" and i.cells.get(target)
        else i
        for i in CORPUS.items
    )
    for before, after in zip(attacks, red_team(replace(CORPUS, items=items)), strict=True):
        for one, other in zip(before.predictions, after.predictions, strict=True):
            if one.annotator == target:
                assert one == other, before.name


def test_train_only_attacks_read_nobodys_test_responses(attacks):
    items = tuple(
        replace(i, cells={a: (Response("neutral", "Zzz."),) for a in i.cells if i.cells[a]})
        if i.split == "test"
        else i
        for i in CORPUS.items
    )
    for before, after in zip(attacks, red_team(replace(CORPUS, items=items)), strict=True):
        assert (before.predictions == after.predictions) == before.train_only, before.name


def test_a_chain_goes_over_pairs_of_words_that_the_annotator_wrote():
    material = Material(CORPUS, "test")
    item, annotator = material.cells[0]
    author = Author(annotator, material.predicted_label(item, annotator))
    pairs = {
        pair
        for at in material.fitting(author)
        for tokens in [material.masked[annotator][at]]
        for pair in zip(["<", *tokens], [*tokens, ">"], strict=True)
    }
    walked = GENERATORS["bigram-chain"][1](
        material, replace(item, text={"context": "#"}), author, Random(1)
    )
    walked = ["#" if word == "it" and ("#", "it") not in pairs else word for word in walked]
    # The item has no content word, so that slots are filled with `it`.
    known = {word for pair in pairs for word in pair} | {"it"}
    assert set(walked) <= known


@pytest.mark.parametrize("generator", GENERATORS)
def test_every_generator_answers_what_the_attacker_rehearses_on(generator):
    """A generator that did not could not be searched: the command would end in the middle."""
    rehearsed = written(MATERIAL, generator, MATERIAL.rehearsal, MATERIAL.predicted_label, 0)
    assert len(rehearsed) == len(MATERIAL.rehearsal) > 0
    assert len(set(rehearsed)) > 1


def test_the_search_finds_what_the_classifiers_take_for_the_target():
    material = Material(CORPUS, "test")
    guess = material.predicted_label
    chosen = searched(material, "spliced-halves", guess, 4, 0)
    drawn = [written(material, "spliced-halves", material.cells, guess, n) for n in range(4)]
    # Each is one of the candidates that four seeds draw.
    assert all(text in texts for text, *texts in zip(chosen, *drawn, strict=True))
    named = [
        log_probability_of_target(material, texts, material.cells).mean()
        for texts in (chosen, drawn[0])
    ]
    assert named[0] > named[1]


def test_who_writes_for_a_label_reads_what_argues_for_it():
    own = MATERIAL.history["Ann1"]
    fitting = MATERIAL.fitting(Author("Ann1", "neutral"))
    assert fitting == [at for at, (_, r) in enumerate(own) if "neutral" in r.labels]
    assert 5 <= len(fitting) < len(own)
    # Nobody gives this label: anything will do.
    assert MATERIAL.fitting(Author("Ann1", "?")) == list(range(len(own)))


def test_labels_are_guessed_by_what_the_items_own_label_did_not_tell():
    """Equal texts tell the label; each item's own word tells it only to a fit that has seen it."""
    rng = Random(0)

    def item(at, same):
        premise = f"word{at} stands here"
        return Item(f"i{at}", {"context": premise, "statement": premise if same else "nothing"}, {})

    told = [(item(at, at % 2 == 0), "A") for at in range(60)]
    known = [(i, a, "yes" if at % 2 == 0 else "no") for at, (i, a) in enumerate(told)]
    asked = [(item(at, at % 3 == 0), "A") for at in range(100, 130)]
    found = guess_labels(known, asked, MATERIAL.lexicon)
    assert all(found[i.id, a] == label for i, a, label in known)
    assert [found[i.id, a] for i, a in asked] == [
        "yes" if n % 3 == 0 else "no" for n in range(100, 130)
    ]
    chance = [(i, a, rng.choice(["yes", "no"])) for i, a in told]
    found = guess_labels(chance, asked, MATERIAL.lexicon)
    assert (
        20 <= sum(found[i.id, a] == label for i, a, label in chance) <= 45
    )  # of 60; a fit that had seen them would have all


def test_a_set_is_nearer_to_earlier_answers_than_what_was_drawn_first():
    guess = MATERIAL.predicted_label
    chosen = chosen_as_sets(MATERIAL, guess, 21, 0)
    generators = [name for name, (family, _) in GENERATORS.items() if family != "peers"]
    drawn = [written(MATERIAL, name, MATERIAL.cells, guess, 0) for name in generators]
    assert all(text in texts for text, *texts in zip(chosen, *drawn, strict=True))
    scorer = Scorer(CORPUS, "test", "minilm")

    def passes(texts):
        rows = [
            Prediction(i.id, a, render_target([guess(i, a)], text))
            for (i, a), text in zip(MATERIAL.cells, texts, strict=True)
        ]
        return estimate(scorer.axes(join(CORPUS, "test", rows))["indistinguishability"]).value

    assert passes(chosen) > max(map(passes, drawn))


def test_the_table_names_attack_and_labels_in_a_terminal_of_eighty_columns(attacks):
    longest = max(GENERATORS, key=len)
    some = [one for one in attacks if one.generator == longest][:1]
    found = fooled(Scorer(CORPUS, "test", "minilm"), [*some, replace(some[0], searched=True)])
    written = Console(width=80, file=StringIO(), markup=False)
    written.print(red_team_table(Scorer(CORPUS, "test", "minilm"), list(found)))
    lines = [line.split() for line in written.file.getvalue().splitlines()]
    named = [line for line in lines if line[:2] == [longest, some[0].labels]]
    assert len(named) == 2
    assert ["knows", "the", "earlier", "splits"] in lines
    assert sum(line[:1] == ["searched"] for line in lines) == 1


def test_the_train_split_is_no_target():
    with pytest.raises(CapoBenchError, match="the red team knows the train split"):
        next(red_team(CORPUS, "train"))


def check(corpus, attacks):
    """Bars of the headline, in the words of its documentation."""
    scorer = Scorer(corpus, "test", "minilm")
    for one in best_of_each(list(fooled(scorer, attacks))):
        bar = 0.06 if one.attack.train_only and one.attack.family != "sets" else 0.15
        assert one.rate <= bar, one.attack.name


def test_no_attack_fools_the_score_on_a_bundled_corpus(attacks):
    check(CORPUS, (one for one in attacks if one.labels == "majority"))


@pytest.mark.parametrize("spec", ["nli", "paraphrase"])
def test_no_attack_fools_the_score_on_the_real_corpora(spec):
    folder = Path(
        os.environ.get("CAPO_BENCH_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
    )
    if not (folder / "varierr" / "varierr.json").is_file():
        pytest.skip("the real corpora are not on this machine; CAPO_BENCH_DATA may name them")
    corpus = load(spec, path=folder / ("varierr" if spec == "nli" else "lewidi2025"))
    # All of them, searched, by `capo-bench controls --red-team`.
    some = ("swapped-words", "fourgram-chain", "peer-spliced")
    check(corpus, (one for one in red_team(corpus, "test", some) if one.labels != "usual"))
    if spec == "paraphrase":  # where a set reaches most
        check(corpus, islice(red_team(corpus, "test", [SETS], candidates=CANDIDATES), 1))
