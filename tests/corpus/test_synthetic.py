"""The synthetic corpora: what they look like, and that the truth about them is true."""

import math
from collections import Counter
from itertools import pairwise, product
from random import Random
from statistics import NormalDist

import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from capo_bench.cli.app import app
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.splits import groups
from capo_bench.corpus.synthetic.material import load, readings, render
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.errors import CapoBenchError
from capo_bench.prompts.responses import parse, render_target

WORLDS = pytest.mark.parametrize("world", ["mini-nli", "mini-paraphrase"])
CORPORA = pytest.mark.parametrize("mini", ["mini-nli", "mini-paraphrase"])


def responses(corpus):
    return [response for item in corpus.items for cell in item.cells.values() for response in cell]


# --- the corpora ---------------------------------------------------------------------------------


def test_the_bundled_corpora_are_pinned():
    # A change here means that results on the bundled corpora are no longer comparable.
    assert synthesize("mini-nli").corpus.fingerprint == "b26fee2a002aaa6f"
    assert synthesize("mini-paraphrase").corpus.fingerprint == "1a584512b0e37019"


@CORPORA
def test_what_the_corpus_says_about_itself(mini):
    corpus = synthesize(mini).corpus
    assert corpus.synthetic
    assert corpus.license == "Apache-2.0"
    assert corpus.annotator_ids == ("Ann1", "Ann2", "Ann3", "Ann4")
    assert all(a.meta["origin"] == "synthetic" and a.meta["persona"] for a in corpus.annotators)
    assert corpus.items[0].id == f"{corpus.name}-0001"
    assert [len(corpus.split(name)) for name in ("train", "validation", "test")] == [64, 12, 24]


@CORPORA
def test_the_same_arguments_give_the_same_corpus(mini):
    assert synthesize(mini, 0.5, 3, 40).corpus == synthesize(mini, 0.5, 3, 40).corpus
    assert (
        synthesize(mini, 0.5, 3, 40).corpus.items[0].text
        != synthesize(mini, 0.5, 4, 40).corpus.items[0].text
    )


@CORPORA
def test_a_smaller_corpus_is_the_beginning_of_a_larger_one(mini):
    small, large = (
        synthesize(mini, items=40).corpus,
        synthesize(mini, items=60, annotators=6).corpus,
    )
    for few, many in zip(small.items, large.items, strict=False):
        assert few.text == many.text
        assert few.cells == {a: many.cells[a] for a in small.annotator_ids}


@CORPORA
def test_a_thousand_items_without_duplicates(mini):
    corpus = synthesize(mini, items=1000).corpus
    assert len({tuple(item.text.values()) for item in corpus.items}) == 1000
    assert [len(corpus.split(name)) for name in ("train", "validation", "test")] == [640, 120, 240]


def test_contexts_occur_more_than_once_and_stay_in_one_split():
    corpus = synthesize("mini-nli").corpus
    shared = [group for group in groups(corpus) if len(group) > 1]
    assert len(shared) >= 3
    assert all(len({item.split for item in group}) == 1 for group in shared)


@CORPORA
def test_explanations_survive_rendering_and_parsing(mini):
    corpus = synthesize(mini, items=300).corpus
    for response in responses(corpus):
        assert response.explanation
        assert response.explanation == " ".join(response.explanation.split())
        parsed = parse(corpus.task, render_target([response.label], response.explanation))
        assert parsed.error is None
        assert (parsed.labels, parsed.explanation) == ((response.label,), response.explanation)


def test_some_cells_have_two_labels_and_some_have_none():
    corpus = synthesize("mini-nli", items=1000).corpus
    cells = [cell for item in corpus.items for cell in item.cells.values()]
    assert 0.03 < sum(len(cell) == 2 for cell in cells) / len(cells) < 0.05
    undecided = sum(len(item.idk) for item in corpus.items)
    empty = sum(not cell for cell in cells)
    assert 0.01 < undecided / len(cells) < 0.03
    assert 0.003 < (empty - undecided) / len(cells) < 0.02
    assert all(not item.cells[annotator] for item in corpus.items for annotator in item.idk)
    assert all(cell[0].label != cell[1].label for cell in cells if len(cell) == 2)


@pytest.mark.parametrize(
    ("mini", "weights", "low", "high"),
    [("mini-nli", None, 0.3, 0.6), ("mini-paraphrase", "quadratic", 0.3, 0.85)],
)
def test_annotators_agree_about_as_much_as_people_do(mini, weights, low, high):
    items = synthesize(mini, items=1000).corpus.items
    for one, other in (("Ann1", "Ann2"), ("Ann1", "Ann3"), ("Ann2", "Ann3"), ("Ann3", "Ann4")):
        cells = [(item.cells[one], item.cells[other]) for item in items]
        labels = [[pair[i][0].label for pair in cells if all(pair)] for i in (0, 1)]
        if weights:
            labels = [[int(label) for label in column] for column in labels]
        assert low < cohen_kappa_score(*labels, weights=weights) < high


def test_coverage_thins_out_an_annotator_and_leaves_the_others_alone():
    full = synthesize("mini-nli", items=400, annotators=5).corpus
    thin = synthesize("mini-nli", items=400, annotators=5, coverage=[1, 1, 0.3, 1, 0.05]).corpus
    answered = Counter(annotator for item in thin.items for annotator in item.cells)
    assert answered["Ann1"] == answered["Ann2"] == answered["Ann4"] == 400
    assert 90 < answered["Ann3"] < 150
    assert 5 < answered["Ann5"] < 40
    for before, after in zip(full.items, thin.items, strict=True):
        assert after.cells == {annotator: before.cells[annotator] for annotator in after.cells}


def test_a_crowd_of_fifty_with_habits_of_their_own():
    world = synthesize("mini-nli", items=30, annotators=50)
    assert world.corpus.annotator_ids[49] == "Ann50"
    assert len({persona.habits["style"] for persona in world.personas}) == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distinctness": 1.5}, "distinctness is 1.5"),
        ({"items": 4}, "4 items, expected 5 or more"),
        ({"annotators": 0}, "0 annotators"),
        ({"annotators": 3, "coverage": [1.0, 1.0]}, "3 annotators and 2 coverages"),
        ({"coverage": 0.0}, "coverage is 0.0"),
        ({"items": 10**6}, "ask for fewer"),
    ],
)
@CORPORA
def test_arguments_out_of_range(mini, arguments, message):
    with pytest.raises(CapoBenchError, match=message):
        synthesize(mini, **arguments)


def test_places_scale_to_thousands_of_distinct_items_and_every_25_share_out_the_splits():
    corpus = synthesize("places", items=3000).corpus
    assert len({tuple(item.text.values()) for item in corpus.items}) == 3000
    for start in range(0, 3000, 25):
        splits = Counter(item.split for item in corpus.items[start : start + 25])
        assert splits == {"train": 16, "validation": 3, "test": 6}
    assert corpus.items[:50] == synthesize("places", items=50).corpus.items
    # No group of items with a shared context crosses splits.
    assert all(len({item.split for item in group}) == 1 for group in groups(corpus))


def test_a_place_and_an_aspect_meet_in_one_split_only_but_each_alone_in_all():
    tables = load("places").tables
    spans = {v["span"]: a for a, aspect in enumerate(tables["aspect"]) for v in aspect["value"]}
    met = {"train": set(), "validation": set(), "test": set()}
    for item in synthesize("places", items=3000).corpus.items:
        context = item.text["context"]
        (place,) = (name for name, full in tables["place"].items() if full in context)
        told = {aspect for span, aspect in spans.items() if span in context}
        claimed = {
            a
            for a, aspect in enumerate(tables["aspect"])
            for claim in aspect["claim"]
            if claim["text"].format(it=place).lower() == item.text["statement"][:-1].lower()
        }
        assert len(claimed) == 1
        assert len(told) == 2
        met[item.split] |= {(place, aspect) for aspect in told | claimed}
    assert len(set.union(*met.values())) == sum(len(pairs) for pairs in met.values()) == 24 * 25
    for pairs in met.values():
        assert len({place for place, _ in pairs}) == 24
        assert len({aspect for _, aspect in pairs}) == 25


def test_neither_the_statement_nor_the_context_of_a_place_gives_the_label_away():
    # "The hotel is dirty" is entailed by one context, contradicted by another, open in a third.
    seen = {}
    for scene in synthesize("places", items=3000).scenes:
        favourite = max(scene.log_odds, key=scene.log_odds.__getitem__)
        claim = scene.words["key"]
        seen.setdefault(claim, set()).add(favourite)
    aspects = load("places").tables["aspect"]
    for aspect in aspects:
        assert len(seen[aspect["claim"][0]["key"]]) == 3


def test_a_claim_alone_tells_much_of_the_label_and_the_context_the_rest():
    # The figures at the head of places.toml.
    world = synthesize("places", 1.0, 1, 1500)
    claim = {scene.id: scene.words["key"] for scene in world.scenes}
    labels, usual = {}, Counter()
    for item in world.corpus.split("train"):
        for annotator, cell in item.cells.items():
            labels.setdefault((claim[item.id], annotator), Counter()).update(r.label for r in cell)
            usual.update(r.label for r in cell)
    cells = [
        (labels[claim[item.id], annotator], {response.label for response in cell})
        for item in world.corpus.split("test")
        for annotator, cell in item.cells.items()
        if cell
    ]
    by_claim = sum(guess.most_common(1)[0][0] in own for guess, own in cells) / len(cells)
    by_most_frequent = sum(usual.most_common(1)[0][0] in own for _, own in cells) / len(cells)
    imitator = sum(map(world.label_agreement, world.corpus.annotator_ids)) / 4
    assert by_claim == pytest.approx(0.76, abs=0.006)
    assert imitator == pytest.approx(0.90, abs=0.006)
    assert by_most_frequent == pytest.approx(0.50, abs=0.005)


def test_a_place_by_hand():
    scene = synthesize("places", items=25).scenes[0]
    assert scene.text["context"] == (
        "Please note before you visit the theatre in the old granary that there is a large "
        "garden around it and that one has to climb ninety steps up to it."
    )
    assert scene.text["statement"] == "The theatre employs a gardener."
    assert scene.words["fact"] == "there is a large garden around the theatre"
    assert scene.log_odds == {"neutral": 4.5, "entailment": 0.0}


@pytest.mark.parametrize("items", [24, 60_001])
def test_places_for_all_splits_and_no_more_than_there_are(items):
    with pytest.raises(CapoBenchError, match=f"{items} items, expected 25 to 60000"):
        synthesize("places", items=items)


def test_the_command_writes_what_the_function_makes(tmp_path):
    file = tmp_path / "world.jsonl"
    arguments = ["--items", "50", "--annotators", "6", "--distinctness", "0.5", "--seed", "3"]
    done = CliRunner().invoke(app, ["data", "synthesize", *arguments, str(file)])
    assert done.exit_code == 0, done.output
    assert "50 items (32 train, 6 validation, 12 test), 6 annotators" in done.stdout
    assert jsonl.read(file) == synthesize("places", 0.5, 3, 50, annotators=6).corpus


# --- the material --------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["mini_nli", "mini_paraphrase"])
def test_habits_name_only_options_that_exist(stem):
    material = load(stem)
    for table in material.tables["persona"]:
        for choice, weights in table["habits"].items():
            assert set(weights) <= set(material.language.choices[choice])
    for kind in set(material.language.class_of.values()):
        assert tuple(material.language.patterns[kind]) == material.language.choices["style"]
        assert ["none", *material.language.codas[kind]] == list(material.language.choices["coda"])


def test_every_slot_occurs_in_the_context_and_in_each_question_pair():
    for frame in load("mini_nli").tables["frame"]:
        assert all(f"{{{slot}" in frame["context"] for slot in frame["slots"])
    for frame in load("mini_paraphrase").tables["frame"]:
        for pair in frame["pair"]:
            assert all(f"{{{slot}" in pair["q1"] + pair["q2"] for slot in frame["slots"])


def test_quotations_are_verbatim():
    scenes = [*synthesize("mini-nli", items=1000).scenes, *synthesize("places", items=1000).scenes]
    for scene in scenes:
        assert scene.words["span"] in scene.text["context"]
        assert scene.words["key"] in scene.words["statement"]
    for scene in synthesize("mini-paraphrase", items=1000).scenes:
        assert scene.words["u"] in scene.text["question1"]
        assert scene.words["v"] in scene.text["question2"]


@CORPORA
def test_nothing_of_the_patterns_is_left_in_the_text(mini):
    corpus = synthesize(mini, items=500).corpus
    texts = [text for item in corpus.items for text in item.text.values()]
    texts += [response.explanation for response in responses(corpus)]
    assert not [text for text in texts if set(text) & set("{}«»[]") or "  " in text]


# --- the truth -----------------------------------------------------------------------------------


@WORLDS
def test_label_probabilities_follow_the_dial(world):
    alike, half, distinct = (synthesize(world, d, items=20) for d in (0.0, 0.5, 1.0))
    for scene in alike.scenes:
        shared, mixed, own = (w.label_probabilities(scene.id) for w in (alike, half, distinct))
        assert shared["Ann1"] == shared["Ann2"] == shared["Ann3"] == shared["Ann4"]
        assert own["Ann1"] != own["Ann2"]
        for annotator, labels in mixed.items():
            assert sum(labels.values()) == pytest.approx(1)
            for label, probability in labels.items():
                mean = sum(own[a][label] for a in own) / 4
                assert shared[annotator][label] == pytest.approx(mean)
                assert probability == pytest.approx((mean + own[annotator][label]) / 2)


def test_nli_label_probabilities_by_hand():
    world = synthesize("mini-nli", items=20)
    scene = next(scene for scene in world.scenes if scene.log_odds.get("entailment") == 2.2)
    # Ann1: entailment 2.2 - 1.3 = 0.9, neutral 0 + 0.5; the odds are exp(0.4).
    expected = {"entailment": 0.598688, "neutral": 0.401312, "contradiction": 0}
    assert world.label_probabilities(scene.id)["Ann1"] == pytest.approx(expected, abs=1e-6)


def test_paraphrase_label_probabilities_are_a_normal_density_on_the_scale():
    world = synthesize("mini-paraphrase", items=20)
    scene = world.scenes[0]
    density = NormalDist(2.4 + 0.6 * scene.meaning, 1.5).pdf  # Ann3
    total = sum(density(label) for label in range(-5, 6))
    for label, probability in world.label_probabilities(scene.id)["Ann3"].items():
        assert probability == pytest.approx(density(int(label)) / total)


@pytest.mark.parametrize("world", ["mini-nli", "mini-paraphrase", "places"])
def test_likelihood_is_the_sum_over_all_choices_that_render_to_the_text(world):
    mini = synthesize(world, 0.7, items=25)
    scene = mini.scenes[3]
    language = mini.language
    rng = Random(5)
    drawn = [mini.sample(scene.id, "Ann2", rng) for _ in range(30)]
    label = drawn[0].label
    texts = {response.explanation for response in drawn if response.label == label}
    totals = dict.fromkeys(texts, 0.0)
    tuples = Counter()
    # Ann2's habits, mixed with the mean of all four by hand.
    habits = {
        choice: {
            option: 0.7 * mini.personas[1].habits[choice][i]
            + 0.3 * sum(persona.habits[choice][i] for persona in mini.personas) / 4
            for i, option in enumerate(options)
        }
        for choice, options in language.choices.items()
    }
    for values in product(*language.choices.values()):
        chosen = dict(zip(language.choices, values, strict=True))
        text = render(language, language.class_of[label], scene, chosen)
        if text in totals:
            totals[text] += math.prod(habits[choice][chosen[choice]] for choice in chosen)
            tuples[text] += 1
    assert max(tuples.values()) > 1  # several tuples do render to one text
    prior = mini.label_probabilities(scene.id)["Ann2"][label]
    for text, total in totals.items():
        found = mini.log_likelihood(scene.id, label, text)["Ann2"]
        assert found == pytest.approx(math.log(prior * total))
        assert tuples[text] == len(list(readings(language, language.class_of[label], scene, text)))


@WORLDS
def test_likelihood_agrees_with_the_frequencies_of_draws(world):
    mini = synthesize(world, items=10)
    item, n = mini.scenes[1].id, 20_000
    rng = Random(1)
    drawn = Counter(mini.sample(item, "Ann2", rng) for _ in range(n))
    for response, count in drawn.most_common(25):
        p = math.exp(mini.log_likelihood(item, response.label, response.explanation)["Ann2"])
        assert count / n == pytest.approx(p, abs=4.5 * math.sqrt(p * (1 - p) / n))
    by_label = Counter()
    for response, count in drawn.items():
        by_label[response.label] += count
    for label, p in mini.label_probabilities(item)["Ann2"].items():
        assert by_label[label] / n == pytest.approx(p, abs=4.5 * math.sqrt(p * (1 - p) / n))


@WORLDS
def test_likelihood_of_the_explanation_alone_sums_over_the_labels(world):
    mini = synthesize(world, items=10)
    said = mini.corpus.items[0].cells["Ann3"][0].explanation
    item = mini.scenes[0].id
    alone = mini.log_likelihood(item, None, said)
    for annotator in alone:
        total = sum(
            math.exp(mini.log_likelihood(item, label, said)[annotator])
            for label in mini.task.labels.labels
        )
        assert math.exp(alone[annotator]) == pytest.approx(total)


@WORLDS
def test_every_response_of_the_corpus_is_possible_for_every_annotator(world):
    # Nobody can be told apart by one token alone.
    mini = synthesize(world, items=30)
    for item in mini.corpus.items:
        for cell in item.cells.values():
            for response in cell:
                values = mini.log_likelihood(item.id, response.label, response.explanation)
                assert all(value > -math.inf for value in values.values())


@WORLDS
def test_what_nobody_would_say_has_no_probability(world):
    mini = synthesize(world, items=10)
    values = mini.log_likelihood(mini.scenes[0].id, None, "Colourless green ideas sleep.")
    assert set(values.values()) == {-math.inf}


@WORLDS
def test_bayes_attribution_rises_from_chance_with_the_dial(world):
    curve = [synthesize(world, d).bayes_attribution(draws=60) for d in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert curve[0] == pytest.approx(0.25)
    assert all(later - earlier > 0.05 for earlier, later in pairwise(curve))
    assert 0.91 < curve[-1] < 0.98
    assert synthesize(world, 0.5).bayes_attribution(5, draws=25) > curve[2] + 0.1


def test_bayes_attribution_in_a_crowd_of_like_people_is_chance():
    world = synthesize("mini-nli", 0, items=30, annotators=20)
    assert world.bayes_attribution(3, draws=2, split="train") == pytest.approx(0.05)


@WORLDS
def test_bayes_attribution_is_the_accuracy_of_the_most_likely_annotator(world):
    mini = synthesize(world, 0.6)
    rng = Random(9)
    items = mini.corpus.split("test")
    hits = []
    for annotator in mini.corpus.annotator_ids * 200:
        item = items[int(rng.random() * len(items))]
        said = mini.sample(item.id, annotator, rng)
        likelihood = mini.log_likelihood(item.id, said.label, said.explanation)
        hits.append(max(likelihood, key=likelihood.__getitem__) == annotator)
    found = sum(hits) / len(hits)
    noise = 4 * math.sqrt(found * (1 - found) * (1 / 800 + 1 / 400))
    assert mini.bayes_attribution(seen="response", draws=100) == pytest.approx(found, abs=noise)


@WORLDS
def test_label_agreement_is_that_of_fresh_draws(world):
    mini = synthesize(world)
    rng = Random(2)
    for annotator in mini.corpus.annotator_ids:
        cells = [
            (item.id, {response.label for response in item.cells[annotator]})
            for item in mini.corpus.split("test")
            if item.cells[annotator]
        ]
        hits = [mini.sample(i, annotator, rng).label in labels for i, labels in cells * 40]
        truth = mini.label_agreement(annotator)
        noise = 4 * math.sqrt(truth * (1 - truth) / len(hits))
        assert sum(hits) / len(hits) == pytest.approx(truth, abs=noise)


def test_label_agreement_is_not_defined_without_answers():
    world = synthesize("mini-nli", items=10, annotators=2, coverage=[1.0, 1e-9])
    with pytest.raises(CapoBenchError, match="Ann2 of mini-nli answered no item"):
        world.label_agreement("Ann2")
