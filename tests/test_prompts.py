"""Prompts, target texts and the parser."""

from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from capo_bench.corpus.model import Response
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.corpus.tasks import NLI, PARAPHRASE
from capo_bench.display import blank
from capo_bench.errors import CapoBenchError
from capo_bench.prompts.prompter import SETTINGS, Prompter, prompt_hash
from capo_bench.prompts.reading import strip_marks, strip_markup, strip_thoughts, unmarked
from capo_bench.prompts.responses import LOST, as_read, parse, render_target

line = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp"))).map(
    lambda text: " ".join(text.split())
)


@given(labels=st.lists(st.sampled_from(NLI.labels.labels), min_size=1, unique=True), words=line)
@example(["neutral"], "a starred word*")
@example(["neutral"], "**")
def test_parse_is_the_inverse_of_render_target(labels, words):
    # Marks of turns, thoughts and emphasis of the whole, and the form's placeholder, are never an
    # annotator's words.
    bare = unmarked(strip_markup(strip_marks(strip_thoughts(words) or "")[0]))
    assume(bare == words and words not in {"...", "…"} and "Label" not in words.split())
    parsed = parse(NLI, render_target(labels, words))
    assert set(parsed.labels) == set(labels)
    assert parsed.explanation == ("" if blank(words) else words)
    assert (parsed.error is None) == (not blank(words))


ODD = st.lists(
    st.sampled_from(
        "Label: Explanation: entailment neutral because \n \n\n - * ** > | ` <b> </b> <think> "
        "</think> </s> [/INST] <|im_end|> &amp; &#8203; \u200d \u00a0 \u00ad ... ( ) [ ] { } "
        "<reason> wrong. Actually, I refuse. --- ``` \\textbf{a} {'label':'neutral'} . ! 7".split(
            " "
        )
    ),
    max_size=7,
).map(" ".join)


@given(words=ODD)
def test_whoever_repeats_an_annotator_is_read_as_the_annotator_is(words):
    human = Response("entailment", words)
    read, fault = as_read(NLI, human)
    if fault is None and human.explanation:
        said = parse(NLI, render_target(["entailment"], words))
        assert (said.labels, said.error) == (("entailment",), None)
        assert said.explanation == read.explanation
        # No word is lost, and formatting alone goes.
        for word in ("because", "wrong", "Actually", "7", "amp"):
            assert (word in read.explanation) == (word in strip_markup(words))


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("- a <b>cat</b> &amp; a dog", "a cat & a dog"),
        ("**a cat**", "a cat"),
        ("two \N{ZERO WIDTH SPACE}cats", "two cats"),
        ("Label: entailment, since it is a cat", "Label: entailment, since it is a cat"),
        ("<explanation>a cat</explanation>", "<explanation>a cat</explanation>"),
    ],
)
def test_formatting_goes_from_what_annotators_wrote_as_it_goes_from_answers(words, read):
    assert as_read(NLI, Response("entailment", words)) == (Response("entailment", read), None)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("Label: neutral because of the cat", "different labels in different places"),
        ("a cat </s> or a dog", LOST),
        ("a cat </think> or a dog", "no label is stated"),
        ("I take that back.", "a label that the text does not stand by"),
        ("...", "no explanation"),
        ("a" * 5001, "an explanation of more than 5,000 characters"),
    ],
)
def test_an_annotators_words_may_be_no_answer(words, fault):
    human = Response("entailment", words)
    assert as_read(NLI, human) == (human, fault)


VALID = [
    (NLI, "Label: neutral\nExplanation: It is not said.", ("neutral",), "It is not said."),
    # The model goes on from the cue.
    (NLI, " neutral\nExplanation: It is not said.", ("neutral",), "It is not said."),
    (NLI, "\n\nLABEL: Neutral.\n\nexplanation: Why?", ("neutral",), "Why?"),
    (NLI, '**Label:** "entailment"\n**Explanation:** so', ("entailment",), "so"),
    (NLI, "Label: neutral, entailment\nExplanation: a", ("entailment", "neutral"), "a"),
    (NLI, "Label: neutral\nExplanation: a\nb \n\nAnd more.", ("neutral",), "a b"),
    (PARAPHRASE, "Label: +3\nExplanation: a", ("3",), "a"),
    (PARAPHRASE, "Label: \N{MINUS SIGN}2\nExplanation: a", ("-2",), "a"),
]


@pytest.mark.parametrize(("task", "text", "labels", "explanation"), VALID)
def test_what_parses(task, text, labels, explanation):
    parsed = parse(task, text)
    assert (parsed.labels, parsed.explanation, parsed.error) == (labels, explanation, None)


INVALID = [
    (NLI, "", "no text"),
    (NLI, "I do not know.", "no label is stated"),
    (NLI, "Label: maybe\nExplanation: a", "unknown label"),
    (NLI, "Label: neutral", "no explanation"),
    (NLI, "Label: neutral\nExplanation:  ", "no explanation"),
    (NLI, "Label: entailment or neutral\nExplanation: a", "more than one label"),
    (PARAPHRASE, "Label: 3, 4\nExplanation: a", "more than one label"),
    (PARAPHRASE, "Label: 6\nExplanation: a", "unknown label"),
    (PARAPHRASE, "Label: 2.5\nExplanation: a", "unknown label"),
]


@pytest.mark.parametrize(("task", "text", "error"), INVALID)
def test_what_does_not_parse_says_why_and_is_not_guessed(task, text, error):
    parsed = parse(task, text)
    assert parsed.error == error
    assert parsed.labels == () or error == "no explanation"


@pytest.fixture(scope="module", params=["mini-nli", "mini-paraphrase"])
def corpus(request):
    return synthesize(request.param).corpus


@pytest.mark.parametrize("setting", SETTINGS)
def test_annotators_of_one_item_share_everything_before_the_annotator(corpus, setting):
    prompter = Prompter(corpus, setting)
    item = corpus.split("test")[0]
    first, second = (prompter(item, annotator) for annotator in ("Ann1", "Ann2"))
    shared = prompter.shared(item)
    assert first.startswith(shared)
    assert second.startswith(shared)
    assert all(text in shared for text in item.text.values())
    assert "Ann1" in first[len(shared) :]
    assert first != second


def with_other_answers(corpus, splits):
    """The same corpus in which every response of these splits says something else."""
    labels = corpus.task.labels.labels

    def changed(response):
        return Response(labels[labels.index(response.label) - 1], f"XYZZY {response.label}")

    return replace(
        corpus,
        items=tuple(
            replace(item, cells={a: tuple(map(changed, r)) for a, r in item.cells.items()})
            if item.split in splits
            else item
            for item in corpus.items
        ),
    )


def all_prompts(corpus, setting):
    prompter = Prompter(corpus, setting, examples=50, example_tokens=100_000)
    return [
        prompter(item, annotator)
        for split in ("validation", "test")
        for item in corpus.split(split)
        for annotator in corpus.annotator_ids
    ]


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_label_or_explanation_of_another_split_reaches_a_prompt(corpus, setting):
    prompts = all_prompts(corpus, setting)
    assert prompts == all_prompts(with_other_answers(corpus, {"validation", "test"}), setting)
    # The check can fail: what a prompt may know, the training responses, does change it.
    if setting in {"icl", "profile"}:
        assert prompts != all_prompts(with_other_answers(corpus, {"train"}), setting)


def test_examples_are_the_annotators_own_and_as_many_as_asked(corpus):
    turn = Prompter(corpus, "icl", examples=7, example_tokens=100_000).turn("Ann3")
    own = {r.explanation for _, r in corpus.responses("train", "Ann3")}
    shown = [
        row.removeprefix("Explanation: ") for row in turn.split("\n") if "Explanation: " in row
    ]
    assert len(shown) == 7
    assert set(shown) <= own


def test_examples_stop_before_the_budget(corpus):
    def words(text):
        return len(text.split())

    few = Prompter(corpus, "icl", examples=50, example_tokens=150, count_tokens=words).turn("Ann1")
    blocks = few.split("\n\n")[1:-1]
    assert blocks
    assert sum(map(words, blocks)) <= 150
    more = Prompter(corpus, "icl", examples=50, example_tokens=400, count_tokens=words).turn("Ann1")
    assert more.startswith(few.rsplit("\n\n", 1)[0])


def test_profile_describes_labels_and_habits(corpus):
    turn = Prompter(corpus, "profile").turn("Ann2")
    history = [r for _, r in corpus.responses("train", "Ann2")]
    common = max(
        {r.label for r in history}, key=lambda label: sum(r.label == label for r in history)
    )
    share = sum(r.label == common for r in history) / len(history)
    assert f"{len(history)} earlier responses" in turn
    assert f"{common} ({100 * share:.0f}%)" in turn


def test_profile_reads_words_of_other_languages(corpus):
    """Two words in each script; Chinese without blanks is one, as everywhere here."""
    said = {
        "Ann1": "Für Übereinstimmung",
        "Ann2": "don’t naïve",
        "Ann3": "да нет",
        "Ann4": "不一样 对",
    }
    german = replace(
        corpus,
        items=tuple(
            replace(
                item,
                cells={
                    a: tuple(replace(r, explanation=said[a]) for r in given)
                    for a, given in item.cells.items()
                },
            )
            for item in corpus.items
        ),
    )
    prompter = Prompter(german, "profile")
    for annotator, text in said.items():
        turn = prompter.turn(annotator)
        assert "about 2 words" in turn
        for word in text.lower().split():
            assert word in turn.lower(), word


def test_prompt_hash_changes_with_any_prompt():
    assert prompt_hash(["a", "b"]) != prompt_hash(["ab"])
    assert prompt_hash(["a", "b"]) == prompt_hash(iter(["a", "b"]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"setting": "few-shot"}, "unknown prompt setting 'few-shot'"),
        ({"setting": "icl", "examples": 51}, "1 to 50 examples, got 51"),
        ({"setting": "icl", "examples": 0}, "1 to 50 examples, got 0"),
    ],
)
def test_wrong_settings_are_refused(corpus, kwargs, message):
    with pytest.raises(CapoBenchError, match=message):
        Prompter(corpus, **kwargs)


def test_an_annotator_without_history_or_unknown_is_named(corpus):
    silent = replace(
        corpus,
        items=tuple(
            replace(i, cells={a: r for a, r in i.cells.items() if a != "Ann4"})
            for i in corpus.items
        ),
    )
    with pytest.raises(CapoBenchError, match=r"Ann4 .* no training responses"):
        Prompter(silent, "profile").turn("Ann4")
    with pytest.raises(CapoBenchError, match="no annotator 'Ann9'"):
        Prompter(corpus).turn("Ann9")
