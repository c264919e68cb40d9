"""The analysis of a corpus, on explanations whose differences are known."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from typer.testing import CliRunner

from capo_bench.analysis.figures import attribution_figure, distances_figure, draw, style_figure
from capo_bench.analysis.stability import Analysis, _shuffle, analyse, divergence, tables
from capo_bench.cli.app import app
from capo_bench.corpus.model import Annotator, Corpus, Item, LabelSpace, Response, TaskSpec
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.attribution import attributed, fit_attributor
from capo_bench.metrics.cells import join
from capo_bench.scoring.predictions import human_predictions
from capo_bench.stats.resampling import Estimate, ItemSums, Undefined, item_means, jackknife

FULL_STOP = {"Ada": "It is said.", "Bo": "perhaps not"}


def build(writers: dict[str, str], train: int = 16, test: int = 6) -> Corpus:
    """Each annotator writes the same text on every item."""
    task = TaskSpec("toy", "Is it so?", {"text": "Text"}, LabelSpace("nominal", ("yes", "no")), ())
    items = tuple(
        Item(
            f"i{number}",
            {"text": f"Here stands number {number}."},
            {name: (Response("yes", text),) for name, text in writers.items()},
            split="train" if number < train else "test",
        )
        for number in range(train + test)
    )
    return Corpus("toy", task, tuple(map(Annotator, writers)), items)


@pytest.fixture(scope="module")
def mini() -> Analysis:
    return analyse(synthesize("mini-nli").corpus)


@pytest.mark.parametrize(
    ("counts", "bits"),
    [
        ([[4, 0], [0, 7]], 1.0),
        ([[4, 2], [2, 1]], 0.0),
        # H(1/2) - H(1/4) = 1 - 0.811278
        ([[3, 1], [1, 3]], 0.188722),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.log2(3)),
        ([[4, 0], [0, 0], [0, 7]], 1.0),
    ],
)
def test_divergence(counts, bits):
    assert divergence(np.array(counts, dtype=float)) == pytest.approx(bits, abs=1e-6)


def test_shuffling_changes_writers_within_items_only():
    items = np.array([0, 1, 0, 1, 2, 0])
    writers = np.array([0, 0, 1, 2, 3, 2])
    seen = set()
    for seed in range(20):
        shuffled = _shuffle(items, writers, seed)
        seen.add(tuple(shuffled))
        assert Counter(zip(items, shuffled, strict=True)) == Counter(
            zip(items, writers, strict=True)
        )
    assert len(seen) > 5


def test_a_habit_of_one_alone_has_one_bit_and_a_deviation_of_one():
    found = analyse(build(FULL_STOP))
    habit = next(feature for feature in found.features if feature.name == "final full stop")
    assert habit.divergence.value == pytest.approx(1.0)
    # Of equally many texts half end so: mean 1/2, standard deviation 1/2.
    assert habit.deviations == {"Ada": pytest.approx(1.0), "Bo": pytest.approx(-1.0)}
    # Dealt out at random, 16 coins each: the expected divergence is about 1 / (2 n ln 2).
    assert 0.0 < habit.chance < 0.15
    assert habit.chance < habit.divergence.low
    assert [f.divergence.value for f in found.features] == sorted(
        (f.divergence.value for f in found.features), reverse=True
    )


def test_the_jackknife_is_students_for_a_mean():
    values = np.random.default_rng(5).normal(size=40)
    found = jackknife(item_means(values, np.arange(40), 40))
    low, high = scipy.stats.t.interval(0.95, 39, values.mean(), scipy.stats.sem(values))
    assert found == Estimate(
        pytest.approx(values.mean()),
        pytest.approx(scipy.stats.sem(values)),
        pytest.approx(low),
        pytest.approx(high),
    )


def test_the_jackknife_error_of_a_divergence_is_its_spread_over_fresh_data():
    # Two annotators, four bins, 60 items.
    random = np.random.default_rng(0)
    true = np.array([[0.4, 0.3, 0.2, 0.1], [0.2, 0.2, 0.2, 0.4]])

    def draw_items():
        bins = [random.choice(4, size=60, p=row) for row in true]
        one_hot = np.eye(4)[np.stack(bins, axis=1)].reshape(60, 8)
        return ItemSums(one_hot, lambda sums: divergence(sums.reshape(*sums.shape[:-1], 2, 4)))

    found = [jackknife(draw_items()) for _ in range(300)]
    spread = np.std([estimated.value for estimated in found])
    assert np.mean([estimated.stderr for estimated in found]) == pytest.approx(spread, rel=0.15)


def test_distances_are_zero_to_the_same_and_large_to_another():
    found = analyse(build(FULL_STOP))
    (own, other), (back, self_) = found.distances
    assert (own, self_) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9))
    shares = [f.divergence.value for f in found.features]
    # Every habit either is alike (0) or has no common bin (1): the mean is the share of the latter.
    assert set(np.round(shares, 9)) <= {0.0, 1.0}
    assert other == pytest.approx(np.mean(shares))
    assert back == pytest.approx(other)


def test_the_curve_says_where_it_ends_and_why():
    found = analyse(build(FULL_STOP))
    assert found.chance == 0.5
    shares = {(p.variant, p.k): p.share for p in found.curve}
    assert shares["normalised", 1].value == 1.0
    assert shares["style only", 3].value == 1.0
    assert isinstance(shares["normalised", 5], Undefined)
    assert "Not defined from k = 5" in str(tables(found)[0].caption)


def test_the_curve_is_the_attribution_of_the_human_explanations(mini):
    corpus = synthesize("mini-nli").corpus
    cells = join(corpus, "test", human_predictions(corpus, "test"))
    for variant, options in {
        "raw": {"normalised": False},
        "style only": {"normalised": True, "words": False},
    }.items():
        fitted = fit_attributor(corpus, **options)
        scores = fitted.log_probabilities(cells.explanations, cells.inputs)
        share = next(p.share for p in mini.curve if (p.variant, p.k) == (variant, 1))
        assert share.value == pytest.approx(attributed(cells, scores, fitted.annotators).mean())


def test_the_weights_name_what_an_annotator_says():
    found = analyse(build(FULL_STOP))
    by = {a: {w.name: w.weight for w in found.weights if w.annotator == a} for a in ("Ada", "Bo")}
    assert by["Ada"]["it"] > 0 > by["Ada"]["perhaps"]
    assert by["Bo"] == {name: pytest.approx(-weight) for name, weight in by["Ada"].items()}
    assert {w.kind for w in found.weights} <= {"words", "style feature", "function word"}


def test_annotators_who_are_alike_differ_by_chance_only():
    found = analyse(synthesize("mini-nli", distinctness=0.0).corpus)
    gaps = [f.divergence.value - f.chance for f in found.features if f.chance > 0]
    assert len(gaps) > 15
    assert abs(np.mean(gaps)) < 0.01
    own = np.diag(found.distances).mean()
    other = np.array(found.distances)[~np.eye(4, dtype=bool)].mean()
    assert own == pytest.approx(other, rel=0.1)
    share = next(p.share for p in found.curve if (p.variant, p.k) == ("normalised", 1))
    assert share.low < 0.25 < share.high


@pytest.mark.parametrize(
    ("corpus", "split", "message"),
    [
        (build({"Ada": "It is."}), "test", "1 annotators have explanations both in train and"),
        (build(FULL_STOP | {"Bo": ""}), "test", "1 annotators have explanations"),
        (build(FULL_STOP), "train", "has seen the train split"),
        (build(FULL_STOP), "validation", "no items in split 'validation'"),
    ],
)
def test_bad_input_is_named(corpus, split, message):
    with pytest.raises(CapoBenchError, match=message):
        analyse(corpus, split)


def test_too_few_explanations_leave_distances_and_an_explained_gap():
    found = analyse(build(FULL_STOP, train=10))
    assert all(isinstance(point.share, Undefined) for point in found.curve)
    assert found.weights == ()
    assert found.as_json()["chance"] is None
    assert len(found.features) > 10
    assert "fewer than two annotators have 15" in str(tables(found)[0].caption)
    assert "fewer than two" in attribution_figure(found).axes[0].texts[0].get_text()


def test_figures_show_the_numbers(mini):
    axes = attribution_figure(mini).axes[0]
    assert "mini-nli (synthetic)" in axes.get_title("left") + axes.get_title()
    drawn = [list(line.get_ydata()) for line in axes.lines]
    raw = [
        p.share.value for p in mini.curve if p.variant == "raw" and isinstance(p.share, Estimate)
    ]
    assert raw in drawn
    shown = [text.get_text() for text in distances_figure(mini).axes[0].texts]
    assert shown == [f"{value:.2f}" for row in mini.distances for value in row]
    bars = style_figure(mini).axes[0]
    widths = [patch.get_width() for patch in bars.patches]
    assert widths == [feature.divergence.value for feature in mini.features[:15]]
    assert bars.get_yticklabels()[0].get_text() == mini.features[0].name


def test_figures_have_the_same_bytes_each_time(mini, tmp_path):
    once, again = tmp_path / "a", tmp_path / "b"
    once.mkdir()
    again.mkdir()
    names = draw(mini, once)
    assert draw(mini, again) == names
    assert sorted(names) == [
        "attribution.png", "attribution.svg", "distances.png", "distances.svg", "style.png",
        "style.svg",
    ]  # fmt: skip
    assert [(once / n).read_bytes() for n in names] == [(again / n).read_bytes() for n in names]


def test_names_in_figures_are_no_mathematics(mini, tmp_path, recwarn):
    evil = "a$\\frac{$\x1b"
    draw(replace(mini, corpus=evil * 3, annotators=(evil, *mini.annotators[1:])), tmp_path)
    assert not [found for found in recwarn if "Glyph" in str(found.message)]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, call):
    (tmp_path / "file").write_text("")
    status, _, err = call("analyse", "mini-nli", "--output", tmp_path / "file", "--force")
    assert (status, err.count("\n")) == (2, 1)
    assert "file: cannot be written" in err


def test_the_command_prints_and_writes_the_same(tmp_path):
    result = CliRunner().invoke(
        app, ["analyse", "mini-nli", "--json", "--output", str(tmp_path)], catch_exceptions=False
    )
    assert json.loads(result.stdout)["corpus"] == "mini-nli"
    assert json.loads(result.stdout) == json.loads((tmp_path / "analysis.json").read_text())
    assert (tmp_path / "style.svg").is_file()
