from pathlib import Path
from typing import Any

import pytest

from capo_bench.corpus.load import load
from capo_bench.corpus.model import Corpus, Response
from capo_bench.corpus.readers.lewidi import personas, read_lewidi
from capo_bench.errors import CapoBenchError

from .build import nli_record, par_record, write_lewidi

PLAIN = nli_record("Ann1", {"Ann1": "neutral"}, ["Who knows."])


def read_nli(folder: Path) -> Corpus:
    return read_lewidi(folder, "lewidi-nli")


def read_par(folder: Path) -> Corpus:
    return read_lewidi(folder, "lewidi-paraphrase")


def test_explanations_follow_the_annotators_string(tmp_path: Path) -> None:
    record = nli_record(
        "Ann2,Ann1,Ann2",
        {"Ann1": "neutral", "Ann2": "entailment,contradiction"},
        [" Five is before six.", "Shops close.", "It may be shut by six. "],
    )
    corpus = read_nli(write_lewidi(tmp_path, "VariErrNLI", train={"12": record}))
    assert corpus.items[0].cells == {
        "Ann1": (Response("neutral", "Shops close."),),
        "Ann2": (
            Response("entailment", "Five is before six."),
            Response("contradiction", "It may be shut by six."),
        ),
    }


def test_ids_that_collide(tmp_path: Path) -> None:
    other = nli_record(
        "Ann2", {"Ann2": "entailment"}, ["Yes."], statement="The baker was up at six."
    )
    folder = write_lewidi(tmp_path, "VariErrNLI", train={"12": PLAIN}, dev={"12": other})
    train, dev = read_nli(folder).items
    assert train.source_id == dev.source_id == "12"
    assert train.id != dev.id
    assert train.id.startswith("12-")
    assert dev.id.startswith("12-")
    assert (train.split, dev.split) == ("train", "validation")
    # the id depends on the texts alone, not on the file or the answers
    swapped = write_lewidi(tmp_path / "b", "VariErrNLI", train={"12": other}, dev={"12": PLAIN})
    assert {i.id for i in read_nli(swapped).items} == {train.id, dev.id}


def test_metadata_with_trailing_commas(tmp_path: Path) -> None:
    corpus = read_nli(write_lewidi(tmp_path, "VariErrNLI", train={"12": PLAIN}))
    assert [(a.id, dict(a.meta)) for a in corpus.annotators] == [
        ("Ann1", {"Age": "30", "Nationality": "here, there,"}),
        ("Ann2", {"Age": "40"}),
    ]


def test_paraphrase_fields_and_labels(tmp_path: Path) -> None:
    record = par_record("Ann1,Ann2", {"Ann1": "-5", "Ann2": "5"}, ["Pruning, ripening.", " pears"])
    corpus = read_par(write_lewidi(tmp_path, "Paraphrase", train={"3": record}))
    assert corpus.items[0].text == {
        "question1": "How do I prune a pear tree?",
        "question2": "When are pears ripe?",
    }
    assert corpus.items[0].cells == {
        "Ann1": (Response("-5", "Pruning, ripening."),),
        "Ann2": (Response("5", "pears"),),
    }


@pytest.mark.parametrize("hidden", [{}, "", None, {"Ann1": "", "Ann2": None}])
def test_unlabelled_test_file(tmp_path: Path, hidden: Any) -> None:
    record = nli_record("Ann1,Ann1,Ann2", hidden, ["one", "two", "three"], statement="It rained.")
    folder = write_lewidi(tmp_path, "VariErrNLI", train={"12": PLAIN}, test_clear={"13": record})
    item = read_nli(folder).split("test")[0]
    assert item.cells == {"Ann1": (), "Ann2": ()}


def test_an_item_in_two_files_is_named_with_both(tmp_path: Path) -> None:
    folder = write_lewidi(tmp_path, "VariErrNLI", train={"12": PLAIN}, dev={"12": PLAIN})
    with pytest.raises(
        CapoBenchError, match=r"VariErrNLI_dev\.json, item 12: the same item .* train file"
    ):
        read_nli(folder)


def test_labelled_test_file_comes_first(tmp_path: Path) -> None:
    hidden = nli_record("Ann1", {}, [], statement="It rained.")
    shown = nli_record("Ann1", {"Ann1": "neutral"}, ["No weather."], statement="It rained.")
    folder = write_lewidi(
        tmp_path, "VariErrNLI", train={"12": PLAIN}, test_clear={"13": hidden}, test={"13": shown}
    )
    (item,) = read_nli(folder).split("test")
    assert item.cells == {"Ann1": (Response("neutral", "No weather."),)}


def test_no_test_file_no_test_split(tmp_path: Path) -> None:
    corpus = read_nli(write_lewidi(tmp_path, "VariErrNLI", train={"12": PLAIN}))
    with pytest.raises(CapoBenchError, match="has no items in split 'test'; it has train"):
        corpus.split("test")


TWO = {"Ann1": "neutral", "Ann2": "entailment"}


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (
            {"12": nli_record("Ann1,Ann2", TWO, ["one"])},
            ["VariErrNLI_train.json, item 12", "1 explanations for 2 entries"],
        ),
        (
            {"12": nli_record("Ann1,Ann1,Ann2", TWO, ["one", "two", "three"])},
            ["VariErrNLI_train.json, item 12", "Ann1 has 1 labels but stands 2 times"],
        ),
        (
            {"12": nli_record("Ann1", TWO, ["one"])},
            ["VariErrNLI_train.json, item 12", "Ann2 has 1 labels but stands 0 times"],
        ),
        (
            {"12": nli_record("Ann1,Ann2", {"Ann1": "neutral"}, ["one", "two"])},
            ["VariErrNLI_train.json, item 12", "Ann2 has 0 labels but stands 1 times"],
        ),
        (
            {"12": nli_record("Ann1", {"Ann1": "maybe"}, ["one"])},
            [
                "VariErrNLI_train.json, item 12-",
                "annotator Ann1",
                "unknown label 'maybe'",
                "entailment",
            ],
        ),
        (
            {"12": nli_record("Ann9", {"Ann9": "neutral"}, ["one"])},
            [
                "VariErrNLI_train.json, item 12: annotator 'Ann9' is not in",
                "VariErrNLI_annotators_meta.json, which has Ann1, Ann2",
            ],
        ),
        (
            {"12": {"annotators": "Ann1"}},
            ["VariErrNLI_train.json, item 12", "text", "Field required"],
        ),
        (
            {"12": nli_record("Ann1", {"Ann1": "neutral"}, ["one"], title="A day")},
            [
                "VariErrNLI_train.json, item 12: text has context, statement, title",
                "expected context, statement",
            ],
        ),
        ('{"12": {},\n "13": {,}}', ["VariErrNLI_train.json", "not valid JSON", "line 2"]),
        ('{"12": {}, "12": {}}', ["VariErrNLI_train.json", "'12' occurs twice"]),
        ("[]", ["VariErrNLI_train.json", "valid dictionary"]),
        ({}, ["lewidi-nli is empty"]),
    ],
)
def test_bad_nli(tmp_path: Path, train: Any, expected: list[str]) -> None:
    with pytest.raises(CapoBenchError) as error:
        read_nli(write_lewidi(tmp_path, "VariErrNLI", train=train))
    message = str(error.value)
    assert message.startswith(str(tmp_path))
    assert "\n" not in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize("label", ["6", "+5", "0.5", "five", "-3,2"])
def test_bad_paraphrase_label(tmp_path: Path, label: str) -> None:
    names = ",".join(["Ann1"] * len(label.split(",")))
    record = par_record(names, {"Ann1": label}, ["one"] * len(label.split(",")))
    folder = write_lewidi(tmp_path, "Paraphrase", train={"3": record})
    with pytest.raises(CapoBenchError, match=r"_train\.json, item 3-\w+, annotator Ann1: .*label"):
        read_par(folder)


@pytest.mark.parametrize("name", ["train", "dev", "annotators_meta"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    folder = write_lewidi(tmp_path, "VariErrNLI", train={"12": PLAIN})
    (folder / f"VariErrNLI_{name}.json").unlink()
    with pytest.raises(CapoBenchError, match=f"VariErrNLI_{name}.json: cannot be read"):
        read_nli(folder)


@pytest.mark.parametrize("emptied", [{}, None, "", {"Ann1": ""}])
@pytest.mark.parametrize("part", ["train", "dev"])
def test_labels_may_be_hidden_in_a_test_file_alone(tmp_path: Path, emptied: Any, part: str) -> None:
    record = nli_record("Ann1", emptied, ["Who knows."], statement="It rained.")
    folder = write_lewidi(tmp_path, "VariErrNLI", **{"train": {"12": PLAIN}, part: {"13": record}})
    with pytest.raises(CapoBenchError, match=rf"VariErrNLI_{part}.json, item 13: no labels in"):
        read_nli(folder)


def test_text_keys_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    record = nli_record("Ann1", {"Ann1": "neutral"}, ["So."], STATEMENT="Another one.")
    folder = write_lewidi(tmp_path, "VariErrNLI", train={"12": record})
    with pytest.raises(CapoBenchError, match="item 12: text has keys that differ only in case"):
        read_nli(folder)


def test_a_blank_explanation_is_refused(tmp_path: Path) -> None:
    record = nli_record("Ann1", {"Ann1": "neutral"}, ["  "])
    with pytest.raises(CapoBenchError, match="item 12: Ann1's explanation is empty"):
        read_nli(write_lewidi(tmp_path, "VariErrNLI", train={"12": record}))


def crowd_record(labels: dict[str, str], **text: str) -> dict[str, Any]:
    return {
        "text": text,
        "annotators": ",".join(labels),
        "annotations": labels,
        "lang": "es",
        "other_info": {"source": "reddit", "level": 1.0, "language_variety": "mx"},
    }


def test_labels_alone_by_a_crowd_that_the_metadata_does_not_know_whole(tmp_path: Path) -> None:
    record = crowd_record({"Ann10": "6", "Ann2": "1"}, context="Rain again.", response="Lovely.")
    folder = write_lewidi(tmp_path, "CSC", dev={"7": record})
    (folder / "CSC_train.json").unlink()
    corpus = read_lewidi(folder, "lewidi-csc")
    assert corpus.annotator_ids == ("Ann1", "Ann2", "Ann10")
    assert corpus.items[0].split == "validation"
    assert corpus.items[0].cells == {"Ann10": (Response("6"),), "Ann2": (Response("1"),)}
    assert corpus.task.explanations == "none"
    assert corpus.everyone


def test_irony_labels_have_names_and_items_their_language(tmp_path: Path) -> None:
    record = crowd_record({"Ann1": "1", "Ann2": "0"}, post="Llueve.", reply="Qué bien.")
    folder = write_lewidi(tmp_path, "MP", train={"7": record})
    (folder / "MP_dev.json").unlink()
    (folder / "MP_annotators_meta.json").write_text(
        '{"1": {"Age": 19.0, "Gender": "DATA_EXPIRED"}, "2": {"Age": NaN, "Nationality": "Peru"}}',
        encoding="utf-8",
    )
    corpus = read_lewidi(folder, "lewidi-mp")
    (item,) = corpus.items
    assert item.cells == {"Ann1": (Response("ironic"),), "Ann2": (Response("not ironic"),)}
    assert item.language == "es"
    assert item.meta == {"source": "reddit", "level": 1.0, "language_variety": "mx"}
    assert [annotator.meta for annotator in corpus.annotators] == [
        {"Age": "19"},
        {"Nationality": "Peru"},
    ]


@pytest.mark.parametrize(
    ("age", "read"),
    [
        ("123456789", "123456789"),
        ("1234567.891", "1234567.891"),
        ("12345678901234567890", "12345678901234567890"),
        ("1e-7", "0.0000001"),
        ("-0.0", "0"),
        ("1e400", "infinite, or too large"),
        ("true", "valid string"),
    ],
)
def test_numbers_of_a_person_are_read_as_they_stand(tmp_path: Path, age: str, read: str) -> None:
    folder = write_lewidi(tmp_path, "MP", train={})
    file = folder / "MP_annotators_meta.json"
    file.write_text(f'{{"1": {{"Age": {age}}}}}')
    if read[-1].isdigit():
        assert personas(folder, "lewidi-mp") == {"Ann1": {"Age": read}}
    else:
        with pytest.raises(CapoBenchError, match=rf"MP_annotators_meta\.json: .*{read}"):
            personas(folder, "lewidi-mp")


def test_an_annotators_number_is_bounded(tmp_path: Path) -> None:
    record = crowd_record({f"Ann{'9' * 5000}": "6"}, context="Rain again.", response="Lovely.")
    folder = write_lewidi(tmp_path, "CSC", train={"7": record})
    with pytest.raises(CapoBenchError, match="item 7: annotator 'Ann999"):
        read_lewidi(folder, "lewidi-csc")


def test_a_crowds_annotators_and_labels_must_agree(tmp_path: Path) -> None:
    record = crowd_record({"Ann1": "6"}, context="Rain again.", response="Lovely.")
    folder = write_lewidi(tmp_path, "CSC", dev={"7": {**record, "annotators": "Ann1,Ann2"}})
    with pytest.raises(
        CapoBenchError, match=r"CSC_dev\.json, item 7: Ann2 has 0 labels but stands 1"
    ):
        read_lewidi(folder, "lewidi-csc")


@pytest.mark.parametrize("hidden", [{}, "", None, {"Ann1": "", "Ann2": ""}])
@pytest.mark.parametrize(
    ("prefix", "name", "text"),
    [
        ("CSC", "lewidi-csc", {"context": "Rain again.", "response": "Lovely."}),
        ("MP", "lewidi-mp", {"post": "Llueve.", "reply": "Qué bien."}),
    ],
)
def test_a_crowds_train_dev_and_hidden_test_files(
    tmp_path: Path, prefix: str, name: str, text: dict[str, str], hidden: Any
) -> None:
    field = next(iter(text))
    train, dev, test = (
        crowd_record({"Ann1": "1", "Ann2": "1"}, **{**text, field: f"{text[field]} {part}"})
        for part in ("a", "b", "c")
    )
    secret = {**test, "annotations": hidden}
    folder = write_lewidi(
        tmp_path, prefix, train={"1": train}, dev={"2": dev}, test_clear={"3": secret}
    )
    corpus = read_lewidi(folder, name)
    assert [(item.source_id, item.split) for item in corpus.items] == [
        ("1", "train"),
        ("2", "validation"),
        ("3", "test"),
    ]
    assert corpus.items[2].cells == {"Ann1": (), "Ann2": ()}
    # our own splits are made of what has labels
    pooled = load(prefix.lower(), path=folder)
    assert sorted(str(item.source_id) for item in pooled.items) == ["1", "2"]
