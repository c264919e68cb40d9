"""Files of predictions: strict, and choosing nothing that is loaded."""

import json

import pytest

from capo_bench.corpus.load import load
from capo_bench.errors import CapoBenchError
from capo_bench.scoring.predictions import RESPONSE_CHARACTERS, human_predictions, read_predictions

CORPUS = load("mini-nli")
OWN = {"fingerprint": CORPUS.fingerprint, "item": "i", "annotator": "A", "response": "r"}
DOC = {
    "corpus": "mini-nli",
    "splits": "capo",
    "split": "test",
    "valid_only": False,
    "min_responses": 0,
    "name": "mini-nli",
    "fingerprint": CORPUS.fingerprint,
    "item": "i",
    "text": {"context": "c"},
    "annotators": ["A", "B"],
}
SAMPLE = {"doc_id": 0, "doc": DOC, "resps": [["a"], ["b"]], "filtered_resps": ["a", "b"]}


def written(folder, *lines):
    file = folder / "p.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def responses(found):
    return [[(one.annotator, one.response) for one in run] for run in found.repeats]


def test_a_sample_tells_what_was_answered(tmp_path):
    found = read_predictions(written(tmp_path, SAMPLE))
    assert responses(found) == [[("A", "a"), ("B", "b")]]
    assert found.options == {
        "corpus": "mini-nli",
        "splits": "capo",
        "split": "test",
        "valid_only": False,
        "min_responses": 0,
        "min_annotators": 0,
    }


def test_a_sample_tells_what_ended_at_the_token_limit(tmp_path):
    told = {"max_gen_toks": 9, "tokens": {"A": [9], "B": [8]}, "count": 2}
    found = read_predictions(written(tmp_path, {**SAMPLE, "responses": told}))
    assert [one.truncated for one in found.predictions] == [True, False]
    for unknown in ({"tokens": {"A": [9]}}, {"max_gen_toks": 9}, {}):
        found = read_predictions(written(tmp_path, {**SAMPLE, "responses": unknown}))
        assert [one.truncated for one in found.predictions] == [None, None]


@pytest.mark.parametrize("corpus", ["/etc/passwd.jsonl", "attacker/model", "../c.jsonl", ""])
def test_a_file_chooses_neither_a_corpus_file_nor_an_encoder(tmp_path, corpus, call):
    more = {"bertscore": "attacker/model:3", "tokenizer": "x/y", "data": "/", "setting": "icl"}
    found = read_predictions(written(tmp_path, {**SAMPLE, "doc": {**DOC, **more}}))
    assert not set(found.options) & set(more)
    file = written(tmp_path, {**SAMPLE, "doc": {**DOC, "corpus": corpus}})
    assert "corpus" not in read_predictions(file).options
    status, _, err = call("score", file)
    assert status == 2
    assert "does not tell its corpus; name it" in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({**OWN, "response": ["r"]}, "response: Input should be a valid string"),
        ({**OWN, "response": None}, "response: Input should be a valid string"),
        ({**OWN, "item": 3}, "item: Input should be a valid string"),
        ({**OWN, "item": ""}, "item: String should have at least 1"),
        ({**OWN, "annotator": True}, "annotator: Input should be"),
        ({**OWN, "fingerprint": "x"}, "fingerprint: String should match"),
        ({**OWN, "more": "x"}, "more: Extra inputs are not permitted"),
        ({k: v for k, v in OWN.items() if k != "item"}, "item: Field required"),
        ({**OWN, "response": "x" * (RESPONSE_CHARACTERS + 1)}, "response: String should have at"),
        ({**SAMPLE, "doc": {**DOC, "fingerprint": []}}, "doc.fingerprint: Input should be"),
        ({**SAMPLE, "doc": {**DOC, "item": []}}, "doc.item: Input should be"),
        ({**SAMPLE, "doc": {**DOC, "annotators": "AB"}}, "doc.annotators: Input should be"),
        ({**SAMPLE, "doc": {**DOC, "annotators": [1, 2]}}, "doc.annotators.0: Input should be"),
        ({**SAMPLE, "doc": {**DOC, "splits": "x"}}, "doc.splits: Input should be 'capo' or"),
        ({**SAMPLE, "doc": {**DOC, "split": ["test"]}}, "doc.split: Input should be"),
        ({**SAMPLE, "doc": {**DOC, "valid_only": "no"}}, "doc.valid_only: Input should be"),
        ({**SAMPLE, "doc": {**DOC, "min_responses": -1}}, "doc.min_responses: Input should be"),
        ({**SAMPLE, "doc": []}, "a sample of another task"),
        ({**SAMPLE, "doc": {"question": "?"}}, "a sample of another task"),
        (
            {**SAMPLE, "resps": [], "filtered_resps": ["a"]},
            "1 responses; expected one response for",
        ),
        ({**SAMPLE, "filtered_resps": "ab"}, "filtered_resps: Input should be a valid list"),
        ({**SAMPLE, "filtered_resps": [1, 2]}, "filtered_resps.0"),
        ([1], "line 2: an array|line 2: expected a JSON object"),
        ("text", "expected a JSON object"),
    ],
)
def test_a_faulty_line_is_refused_by_number_and_field(tmp_path, line, said):
    sound = SAMPLE if isinstance(line, dict) and "doc" in line else OWN
    file = written(tmp_path, sound, line)
    with pytest.raises(CapoBenchError) as caught:
        read_predictions(file)
    text = str(caught.value)
    assert text.startswith(f"{file}, line 2: ")
    assert any(part in text for part in said.split("|"))
    assert "\n" not in text
    assert len(text) < 600


def test_lines_of_one_file_answer_one_question(tmp_path):
    other = {**SAMPLE, "doc": {**DOC, "split": "validation"}}
    with pytest.raises(CapoBenchError, match="line 2: names other task options"):
        read_predictions(written(tmp_path, SAMPLE, other))
    with pytest.raises(CapoBenchError, match="mixes predictions for 2 corpora"):
        read_predictions(written(tmp_path, OWN, {**OWN, "fingerprint": "0" * 16}))


def test_several_generations_are_runs_of_their_own(tmp_path):
    lists = {**SAMPLE, "resps": [], "filtered_resps": [["a", "aa"], ["b", "bb"]]}
    first = {**SAMPLE, "resps": [["a", "aa"], ["b", "bb"]], "filtered_resps": ["a", "b"]}
    for sample in (lists, first):
        found = read_predictions(written(tmp_path, sample))
        assert responses(found) == [[("A", "a"), ("B", "b")], [("A", "aa"), ("B", "bb")]]
    for faulty, said in (
        ({**first, "filtered_resps": ["x", "y"]}, "resps holds several generations"),
        ({**lists, "filtered_resps": [["a"], ["b", "bb"]]}, "more generations than others"),
        ({**lists, "filtered_resps": [[], []]}, "filtered_resps"),
    ):
        with pytest.raises(CapoBenchError, match=said):
            read_predictions(written(tmp_path, faulty))
    with pytest.raises(CapoBenchError, match="line 2: 1 generations of a response, but 2 before"):
        read_predictions(written(tmp_path, lists, SAMPLE))


def test_score_says_which_documents_are_missing_and_scores_every_repeat(tmp_path, call):
    by_item = {}
    for one in human_predictions(CORPUS, "test"):
        by_item.setdefault(one.item, []).append(one)
    (left_out, _), *rest = by_item.items()
    lines = [
        {
            "doc": {**DOC, "item": item, "annotators": [one.annotator for one in given]},
            "filtered_resps": [[one.response, ""] for one in given],
        }
        for item, given in rest[:4]
    ]
    status, out, err = call("score", written(tmp_path, *lines), "--json")
    assert status == 0
    assert f"answers 4 of the {len(by_item)} items of split test; without {left_out}" in err
    (found,) = json.loads(out)
    assert found["metrics"]["label_accuracy"]["value"] == 0.5  # all right, all blank
    assert found["metrics"]["invalid_rate"]["value"] == 0.5


def test_an_explanation_beyond_all_measure_is_invalid_and_costs_nothing(tmp_path):
    from capo_bench.prompts.responses import EXPLANATION_CHARACTERS, parse

    label = CORPUS.task.labels.labels[0]
    fits = "x " * (EXPLANATION_CHARACTERS // 2 - 1) + "y"
    assert parse(CORPUS.task, f"Label: {label}\nExplanation: {fits}").error is None
    long = parse(CORPUS.task, f"Label: {label}\nExplanation: {fits} and more")
    assert (long.labels, long.explanation) == ((label,), "")
    assert long.error == f"an explanation of more than {EXPLANATION_CHARACTERS:,} characters"
