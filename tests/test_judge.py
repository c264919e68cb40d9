"""The judge task, with judges whose verdicts are known."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from capo_bench.corpus.model import Annotator, Corpus, Item, LabelSpace, Response, TaskSpec
from capo_bench.corpus.readers import jsonl
from capo_bench.errors import CapoBenchError
from capo_bench.harness.judge import over_rotations, position_bias, read_letter
from capo_bench.harness.paths import tasks_path
from capo_bench.metrics.cells import Prediction
from capo_bench.prompts.responses import parse
from capo_bench.scoring.predictions import human_predictions, write_predictions

NAMES = ("Ada", "Bo", "Cy")
TASK = "capo_judge_mini_nli"


def build(names: tuple[str, ...] = NAMES, splits: str = "ttttttvteeeeeee") -> Corpus:
    """Explanations that name their writer and item; Bo did not answer the last test item."""
    spelled = {"t": "train", "v": "validation", "e": "test"}
    items = tuple(
        Item(
            id=f"i{number}",
            text={"text": f"Text {number}."},
            cells={
                name: (Response("yes" if name == "Ada" else "no", f"{name} says {number}."),)
                for name in names
                if (name, number) != ("Bo", len(splits) - 1)
            },
            split=spelled[letter],
        )
        for number, letter in enumerate(splits)
    )
    task = TaskSpec("toy", "Is it so?", {"text": "Text"}, LabelSpace("nominal", ("yes", "no")), ())
    return Corpus("toy", task, tuple(map(Annotator, names)), items)


class Judge(LM):
    """Gives the log-likelihood that `says` computes from prompt and letter."""

    def __init__(self, says):
        super().__init__()
        self.says = says

    def loglikelihood(self, requests, disable_tqdm=False):
        return [
            (self.says(prompt, letter.strip()), False) for prompt, letter in self.args(requests)
        ]

    @staticmethod
    def args(requests):
        return [request.args for request in requests]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError

    def generate_until(self, requests, disable_tqdm=False):
        raise NotImplementedError


def sections(prompt: str) -> dict[str, str]:
    """The annotators' histories by letter, and under `?` the responses asked about."""
    shown, asked = prompt.split("One of these annotators")
    parts = shown.split("\n\nAnnotator ")[1:]
    return {part[0]: part for part in parts} | {"?": asked}


def knows(prompt: str, letter: str) -> float:
    """A judge who finds the first name of the responses in the right history."""
    found = sections(prompt)
    named = [name for name in NAMES if f"{name} says" in found["?"]]
    return 0.0 if named and f"{named[0]} says" in found[letter] else -3.0


def judged(folder: Path, corpus: Corpus, says, **metadata):
    path = folder / "toy.jsonl"
    jsonl.write(corpus, path)
    manager = TaskManager(
        include_path=str(tasks_path()),
        include_defaults=False,
        metadata={"corpus": str(path), **metadata},
    )
    found = simple_evaluate(model=Judge(says), tasks=[TASK], task_manager=manager, log_samples=True)
    results = {key.split(",")[0]: value for key, value in found["results"][TASK].items()}
    return results, found["samples"][TASK], found["configs"][TASK]["metadata"]


def test_means_over_rotations_follow_the_annotator():
    # Rotation 1 shows the second annotator first.
    assert over_rotations(np.array([[1.0, 2.0], [3.0, 5.0]])).tolist() == [3.0, 2.5]
    one_hot = np.zeros((3, 3))
    one_hot[0, 2] = one_hot[1, 1] = one_hot[2, 0] = 3.0  # annotator 2 in each rotation
    assert over_rotations(one_hot).tolist() == [0.0, 0.0, 3.0]


def test_position_bias_is_the_largest_distance_from_a_fair_share():
    assert position_bias(np.array([[2.0, 1, 1, 0], [4, 0, 0, 0], [1, 1, 1, 1]])).tolist() == [
        0.25,
        0.75,
        0.0,
    ]


def test_each_annotator_stands_once_in_each_place(tmp_path):
    _, samples, metadata = judged(tmp_path, build(), knows)
    first = samples[0]
    prompts = list(dict.fromkeys(prompt for prompt, _ in first["arguments"]))
    assert len(first["arguments"]) == 27  # questions x rotations x letters
    assert len(prompts) == 9
    assert {letter for _, letter in first["arguments"]} == {" A", " B", " C"}
    places = Counter(
        (letter, name)
        for prompt in prompts[:3]
        for letter, text in sections(prompt).items()
        for name in NAMES
        if letter != "?" and f"{name} says" in text
    )
    assert places == {(letter, name): 1 for letter in "ABC" for name in NAMES}
    assert metadata["examples_per_annotator"] == 7


def test_histories_come_from_the_train_split_alone(tmp_path):
    _, samples, _ = judged(tmp_path, build(), knows)
    shown = sections(samples[0]["arguments"][0][0])
    said = {part for letter in "ABC" for part in shown[letter].split() if part[0].isdigit()}
    assert said == {f"{number}." for number in (0, 1, 2, 3, 4, 5, 7)}


def test_a_judge_who_knows_attributes_all_and_has_no_position_bias(tmp_path):
    results, samples, metadata = judged(tmp_path, build(), knows)
    assert results["judge_attribution_human"] == 1.0
    assert results["position_bias"] == pytest.approx(0.0)
    assert results["responses"] == 7 * 3 - 1
    assert "judge_attribution" not in results
    assert len(metadata["prompt_hash"]) == 16
    assert samples[0]["responses"]["verdicts"][1]["attributed"] is True


def test_a_judge_who_always_says_a_attributes_nothing(tmp_path):
    results, _, _ = judged(tmp_path, build(), lambda _, letter: -0.1 if letter == "A" else -2.0)
    assert results["judge_attribution_human"] == 0.0
    assert results["position_bias"] == pytest.approx(2 / 3)


def test_predictions_are_judged_beside_the_humans_of_the_same_items(tmp_path):
    corpus = build()
    human = human_predictions(corpus, "test")
    # Ada and Bo answer in Ada's words, Cy as himself; the first five test items only.
    said = {(p.item, p.annotator): p.response for p in human}
    answered = [
        Prediction(p.item, p.annotator, said[p.item, "Cy" if p.annotator == "Cy" else "Ada"])
        for p in human
        if p.item in {f"i{number}" for number in range(8, 13)}
    ]
    file = tmp_path / "predictions.jsonl"
    write_predictions(file, corpus, answered)
    results, samples, _ = judged(tmp_path, corpus, knows, predictions=str(file))
    assert results["judge_attribution"] == pytest.approx(2 / 3)
    assert results["judge_attribution_human"] == 1.0
    assert results["responses"] == 30
    assert len(samples) == 5


def test_the_standard_error_is_clustered_on_the_item(tmp_path):
    # The judge is right about all annotators of odd items and of none of the even ones.
    def moody(prompt, letter):
        number = int(sections(prompt)["?"].split(" says ")[1].split(".")[0])
        return knows(prompt, letter) if number % 2 else 0.0

    corpus = build(splits="t" * 8 + "e" * 40)
    results, _, _ = judged(tmp_path, corpus, moody)
    rates = [
        (0.0 if item % 2 == 0 else size, size)
        for item, size in ((n, 2 if n == 47 else 3) for n in range(8, 48))
    ]
    hits, sizes = (np.array(column, dtype=float) for column in zip(*rates, strict=True))
    share = hits.sum() / sizes.sum()
    linearised = np.sqrt(((hits - share * sizes) ** 2).sum()) / sizes.sum()
    assert results["judge_attribution_human"] == pytest.approx(share)
    assert results["judge_attribution_human_stderr"] == pytest.approx(linearised, rel=0.1)


def test_an_empty_response_is_not_attributed_whatever_the_judge_says(tmp_path):
    corpus = build()
    file = tmp_path / "predictions.jsonl"
    human = human_predictions(corpus, "test")
    write_predictions(file, corpus, [Prediction(p.item, p.annotator, "Label: yes") for p in human])
    favours_ada = judged(
        tmp_path,
        corpus,
        lambda prompt, letter: 0.0 if "Ada says" in sections(prompt)[letter] else -1.0,
        predictions=str(file),
    )[0]
    assert favours_ada["judge_attribution"] == 0.0
    assert favours_ada["judge_attribution_human"] == pytest.approx(7 / 20)


def test_a_group_shows_the_responses_to_a_block_of_items(tmp_path):
    results, samples, _ = judged(tmp_path, build(), knows, group_size=3)
    assert [sample["doc"]["items"] for sample in samples] == [
        ["i8", "i9", "i10"],
        ["i11", "i12", "i13"],
    ]
    bo = samples[1]["doc"]["questions"][1]
    assert [parse(build().task, text).explanation for text in bo["responses"]] == [
        "Bo says 11.",
        "Bo says 12.",
        "Bo says 13.",
    ]
    assert results["judge_attribution_human"] == 1.0
    assert results["responses"] == 6


def without_training_explanations(corpus: Corpus) -> Corpus:
    items = tuple(
        Item(
            item.id,
            item.text,
            {
                name: tuple(Response(r.label, "" if name == "Bo" else r.explanation) for r in cell)
                for name, cell in item.cells.items()
            },
            split=item.split,
        )
        for item in corpus.items
    )
    task = replace(corpus.task, explanations="optional")
    return Corpus(corpus.name, task, corpus.annotators, items)


@pytest.mark.parametrize(
    ("corpus", "metadata", "message"),
    [
        (build(("Ada",)), {}, "has 1 annotators; a judge chooses between 2 to 26"),
        (build(tuple(f"n{i}" for i in range(27))), {}, "has 27 annotators"),
        (without_training_explanations(build()), {}, "annotator Bo .* no training explanations"),
        (build(), {"group_size": 8}, "group_size=8: a question can cover 1 to 7 items"),
        (build(), {"example_tokens": 3}, "example_tokens=3 leave no example"),
        (build(), {"group_sizes": 2}, "did you mean 'group_size'"),
    ],
)
def test_bad_input_is_named(tmp_path, corpus, metadata, message):
    with pytest.raises(CapoBenchError, match=message):
        judged(tmp_path, corpus, knows, **metadata)


def test_predictions_for_another_corpus_are_refused(tmp_path):
    file = tmp_path / "predictions.jsonl"
    other = build(splits="ttttttttteeeee")
    write_predictions(file, other, human_predictions(other, "test"))
    with pytest.raises(CapoBenchError, match=other.fingerprint):
        judged(tmp_path, build(), knows, predictions=str(file))


def test_a_judge_that_returns_nothing_is_an_error(tmp_path):
    with pytest.raises(CapoBenchError, match="item i8: the judge gave no finite log-likelihood"):
        judged(tmp_path, build(), lambda *_: float("nan"))


def test_the_same_questions_have_the_same_hash(tmp_path):
    hashes = [
        judged(tmp_path, build(), knows, **given)[2]["prompt_hash"]
        for given in ({}, {}, {"group_size": 2}, {"k": 2})
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" b.", "B"),
        ("**B**", "B"),
        ("(C)", "C"),
        ("Annotator C", "C"),
        ("It was annotator B, as the style shows.", "B"),
        ("The answer is A.", "A"),
        ("Answer: **C**", "C"),
        ("<think>Annotator A? Annotator B?</think>\n\nB<|im_end|>", "B"),
        ("A close look at the style suggests B.", None),  # an article, and a letter unannounced
        ("Annotator A or annotator B", None),
        ("D", None),
        ("", None),
        ("<think>Annotator B", None),
    ],
)
def test_a_written_verdict_names_one_letter_or_nobody(text, letter):
    assert read_letter(text, "ABC") == letter


class Writer(LM):
    """Writes what `says` makes of a prompt."""

    def __init__(self, says):
        super().__init__()
        self.says = says

    def generate_until(self, requests, disable_tqdm=False):
        return [self.says(request.args[0]) for request in requests]

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError


def written(tmp_path, says):
    file = tmp_path / "toy.jsonl"
    jsonl.write(build(), file)
    manager = TaskManager(
        include_path=str(tasks_path()),
        include_defaults=False,
        metadata={"corpus": str(file)},
    )
    name = f"{TASK}_generate"
    results = simple_evaluate(Writer(says), tasks=[name], task_manager=manager)
    found = {k.removesuffix(",none"): v for k, v in results["results"][name].items()}
    return found, results["samples"][name]


def test_a_judge_who_writes_the_right_letter_attributes_all(tmp_path):
    def right(prompt):
        assert prompt.endswith("Answer with one letter (A, B, C) and nothing else.\nAnnotator")
        parts = sections(prompt)
        name = next(name for name in NAMES if f"{name} says" in parts["?"])
        return f" {next(letter for letter in 'ABC' if f'{name} says' in parts[letter])}"

    found, samples = written(tmp_path, right)
    assert (found["judge_attribution_human"], found["unreadable_rate"]) == (1, 0)
    assert found["position_bias"] == pytest.approx(0)
    assert samples[0]["responses"]["verdicts"][0]["votes"] == {"Ada": 1.0, "Bo": 0.0, "Cy": 0.0}


def test_a_judge_who_always_writes_a_has_all_the_bias_and_one_who_says_nothing_none(tmp_path):
    found, _ = written(tmp_path, lambda _: " A")
    assert found["judge_attribution_human"] == 0
    assert found["position_bias"] == pytest.approx(2 / 3)
    found, _ = written(tmp_path, lambda _: " I cannot tell.")
    assert (found["unreadable_rate"], found["judge_attribution_human"]) == (1, 0)
    assert found["position_bias"] == "N/A"
