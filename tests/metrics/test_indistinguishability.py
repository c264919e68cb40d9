"""Indistinguishability against refits by scikit-learn, its two ends, and what must not matter."""

import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import roc_auc_score

from capo_bench.corpus.model import Annotator
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.metrics import indistinguishability
from capo_bench.metrics.cells import Prediction, evaluated_cells, join
from capo_bench.metrics.indistinguishability import (
    Discriminator,
    discriminate,
    fit_discriminator,
)
from capo_bench.prompts.responses import render_target
from capo_bench.stats.resampling import Undefined

WORLD = synthesize("mini-nli", items=120).corpus


@pytest.fixture(scope="module")
def discriminator():
    return fit_discriminator(WORLD, "test")


def cells_of(write, corpus=WORLD):
    """Responses with the annotators' own labels and what `write` makes of item and annotator."""
    return join(
        corpus,
        "test",
        [
            Prediction(item.id, a, render_target(item.cells[a][0].labels, write(item, a)))
            for item, a in evaluated_cells(corpus, "test")
        ],
    )


def own(item, annotator):
    return item.cells[annotator][0].explanation


def neighbours(item, annotator):
    ids = [a for a in WORLD.annotator_ids if item.cells.get(a)]
    return own(item, ids[(ids.index(annotator) + 1) % len(ids)])


def test_every_fit_without_a_group_and_without_two_is_scikit_learns():
    rng = np.random.default_rng(0)
    n, groups = 24, 6
    points = rng.normal(size=(2 * n, 3)) + np.repeat([[0.5], [0.0]], n, axis=0)
    kernel = points @ points.T + 0.1
    group = np.arange(n) % groups
    annotator = np.arange(n) // 12
    passes, without = indistinguishability._held_out(kernel, group, annotator)
    truth = np.repeat([1.0, -1.0], n)
    both = np.tile(group, 2)

    def predicted(left):
        scores = np.full(2 * n, np.nan)
        for out in range(groups):
            train = np.flatnonzero((both != out) & (both != left))
            asked = np.flatnonzero((both == out) & (both != left))
            if not len(asked):
                continue
            fit = KernelRidge(alpha=indistinguishability._RIDGE, kernel="precomputed")
            fit.fit(kernel[np.ix_(train, train)], truth[train])
            scores[asked] = fit.predict(kernel[np.ix_(asked, train)])
        return scores

    def share(scores, one, kept):
        rows = np.flatnonzero((annotator == one) & kept)
        asked = np.concatenate([rows, n + rows])
        auc = roc_auc_score(truth[asked] > 0, scores[asked])
        return min(1, (1 - auc) / auc)

    everything = np.ones(n, dtype=np.bool_)
    for one in (0, 1):
        mean = passes[annotator == one].mean()
        assert min(1, mean / (2 - mean)) == pytest.approx(share(predicted(-1), one, everything))
        for left in range(groups):
            assert without[left, one] == pytest.approx(share(predicted(left), one, group != left))


def test_the_annotators_own_words_cannot_be_told(discriminator):
    found = discriminate(cells_of(own), discriminator)
    assert found.shares == pytest.approx(np.ones(4))
    assert found.influence(np.ones(4)) == pytest.approx(0)


@pytest.mark.parametrize(
    "retype",
    [
        str.upper,
        lambda text: re.sub(r"[^\w\s]", "", text).lower(),
        lambda text: re.sub(r"[^\w\s]", " ", text),
        lambda text: f"{text.rstrip('.')}!!",
        lambda text: text.replace("'", "’"),
    ],
)
def test_nor_can_they_in_other_typing(discriminator, retype):
    found = discriminate(cells_of(lambda i, a: retype(own(i, a))), discriminator)
    assert found.shares.mean() > 0.97


@pytest.mark.parametrize(
    "write",
    [
        lambda i, a: f"{own(i, a)} This is my honest opinion.",
        lambda i, a: "I would say so.",
        lambda i, a: "",
        lambda i, a: " ".join(sorted(own(i, a).split())),
    ],
    ids=["a stock ending", "one answer", "nothing", "sorted words"],
)
def test_what_people_do_not_do_is_told(discriminator, write):
    assert discriminate(cells_of(write), discriminator).shares.mean() < 0.2


def test_a_copy_of_an_earlier_response_is_told(discriminator):
    train = {
        a: [r.explanation for _, r in WORLD.responses("train", a)] for a in WORLD.annotator_ids
    }
    copies = cells_of(lambda i, a: train[a][hash(i.id) % len(train[a])])
    assert discriminate(copies, discriminator).shares.mean() < 0.2


def test_own_texts_that_argue_for_another_label_are_told():
    # Four texts of an annotator's, each of which goes with one label. Dealt out otherwise they are
    # the same set: what is told is that they do not go with the annotator's labels.
    texts = {
        "entailment": ("it follows at once", "the context says so"),
        "neutral": ("nobody can know this", "it may or may not be"),
        "contradiction": ("both cannot hold", "the context denies it"),
    }
    turned = dict(zip(texts, [*list(texts)[1:], *list(texts)[:1]], strict=True))

    def said(item, annotator, of=lambda label: label):
        label = item.cells[annotator][0].labels[0]
        return texts[of(label)][len(item.id) % 2]

    items = [
        replace(
            item,
            cells={
                a: tuple(replace(r, explanation=said(item, a)) for r in own[:1])
                for a, own in item.cells.items()
            },
        )
        for item in WORLD.items
    ]
    corpus = replace(WORLD, items=tuple(items))
    fitted = fit_discriminator(corpus, "test")
    as_they_do = discriminate(cells_of(said, corpus), fitted)
    otherwise = discriminate(cells_of(lambda i, a: said(i, a, turned.get), corpus), fitted)
    assert as_they_do.shares == pytest.approx(np.ones(4))
    assert otherwise.shares.max() < 0.2


def test_how_much_of_a_text_stands_in_others_by_hand():
    others = indistinguishability._holders([("a b c d".split(), "A"), ("x b c".split(), "B")])
    # Of b, c, d, e B has two, and of the pairs b c; what A alone has does not count; no 5-gram.
    runs = indistinguishability._runs("b c d e".split())
    told = list(indistinguishability._novelty(runs, "A", others))
    assert told == pytest.approx([1 / 2, 1 / 3, 0, 0, 1 / 2, 0])
    told = list(indistinguishability._novelty(runs, "B", others))
    assert told == pytest.approx([3 / 4, 2 / 3, 1 / 2, 0, 1 / 2, 1 / 2])


def test_what_the_others_answered_to_the_item_is_known_but_not_the_targets_own(discriminator):
    item, a = next(
        (item, a) for item, a in evaluated_cells(WORLD, "test") if len(own(item, a).split()) > 5
    )
    pool = [replace(one, cells={**one.cells, a: ()}) for one in discriminator.pool]
    without = Discriminator(
        discriminator.histories, discriminator.competitors, pool, discriminator.lexicon
    )
    mine, theirs = own(item, a), neighbours(item, a)
    assert discriminator.shape(theirs, item, a)[-6:] == (1,) * 6
    assert discriminator.shape(mine, item, a) == without.shape(mine, item, a)
    assert discriminator.shape(mine, item, a)[-6:] != (1,) * 6


def test_the_share_lies_between_for_a_mixture(discriminator):
    ids = [item.id for item in WORLD.split("test")]
    half = cells_of(lambda i, a: own(i, a) if ids.index(i.id) % 2 else neighbours(i, a))
    other = discriminate(cells_of(neighbours), discriminator).shares.mean()
    assert other + 0.1 < discriminate(half, discriminator).shares.mean() < 0.9


def test_the_target_alone_is_left_out_of_their_history():
    # An explanation that stands in the evaluated split alone is no history of anybody.
    found = fit_discriminator(WORLD, "test").histories
    item = WORLD.split("test")[0]
    held = {i for grams in found.plain.values() for n in grams for ids in n.values() for i in ids}
    assert item.id not in held
    assert {WORLD.split("train")[0].id, WORLD.split("validation")[0].id} <= held


def test_a_classifier_of_many_is_shared_in_pools(discriminator, monkeypatch):
    whole = discriminate(cells_of(neighbours), discriminator)
    monkeypatch.setattr(indistinguishability, "_POOL", 2 * 30)
    parts = discriminate(cells_of(neighbours), discriminator)
    assert len(whole._pools) == 1 < len(parts._pools)
    assert parts.counted.all()
    assert parts.shares == pytest.approx(whole.shares, abs=0.25)


def test_what_an_item_changes_does_not_hang_on_how_many_classifiers_there_are(
    discriminator, monkeypatch
):
    ids = [item.id for item in WORLD.split("test")]
    half = cells_of(lambda i, a: own(i, a) if ids.index(i.id) % 2 else neighbours(i, a))
    whole = discriminate(half, discriminator)
    monkeypatch.setattr(indistinguishability, "_POOL", 30)  # each annotator has two of them
    parts = discriminate(half, discriminator)
    assert len(parts._pools) == 8
    one, other = (np.std(found.influence(np.ones(4))) for found in (whole, parts))
    assert 1 / 2 < other / one < 2  # it was 8 times as much


def test_of_an_annotator_of_a_crowd_so_many_are_compared(discriminator, monkeypatch):
    """The crowd is the same people with a hundred more, who answered nothing."""
    monkeypatch.setattr(indistinguishability, "MAX_HELD", 7)
    assert discriminate(cells_of(own), discriminator).counted.all()
    idle = tuple(Annotator(f"idle{n}") for n in range(97))
    crowd = replace(WORLD, annotators=(*WORLD.annotators, *idle))
    cells = cells_of(own, crowd)
    counted = discriminate(cells, fit_discriminator(crowd, "test")).counted
    assert np.bincount(cells.annotator[counted]).tolist() == [7, 7, 7, 7]


def test_few_responses_leave_it_undefined(discriminator):
    few = replace(WORLD, items=(*WORLD.split("train"), *WORLD.split("test")[:3]))
    found = discriminate(cells_of(own, few), discriminator)
    assert isinstance(found, Undefined)
    assert "5 evaluated explanations" in found.reason
