"""A corpus's language chooses its function words; what has no list is not read, and that is said."""

from dataclasses import replace

import pytest

from capo_bench.corpus.model import Annotator, Corpus, Item, Response
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.corpus.tasks import NLI
from capo_bench.metrics.cells import join
from capo_bench.metrics.lexicon import language_remarks, lexicon, lexicon_of
from capo_bench.metrics.style import features, mask_content, style_feature_names, style_features
from capo_bench.scoring.predictions import human_predictions
from capo_bench.scoring.scorer import Scorer

ENGLISH, GERMAN, UNKNOWN = lexicon("en"), lexicon("de"), lexicon("und")
ONE = ("label_accuracy", "indistinguishability")
INPUTS = {"context": "Die alte Fähre verließ den Hafen.", "statement": "Die Fähre war die erste."}
TEXT = "Die Fähre verließ den Hafen, aber der Bus war die erste."


def test_german_function_words_are_german():
    assert {"der", "die", "das", "und", "aber", "nicht"} <= GERMAN.function
    assert "the" not in GERMAN.function
    assert "fähre" not in GERMAN.function
    assert len(ENGLISH.function_words) == 183
    assert {"der", "und"}.isdisjoint(ENGLISH.function)


def test_function_words_are_words_of_the_tokeniser_as_they_are_and_normalised():
    assert "d.h" not in GERMAN.function
    assert {"aujourd'hui", "aujourdhui"} <= lexicon("fr").function
    assert "的" in lexicon("zh").function


@pytest.mark.parametrize(
    ("known", "masked"),
    [
        # Stop words hold a few frequent content words, such as `erste`.
        (GERMAN, "Die # # den #, aber der Bus war die erste."),
        (ENGLISH, "# # # # #, aber der Bus # # #."),
        (UNKNOWN, "# # # # #, aber der Bus # # #."),
    ],
)
def test_masking_keeps_the_function_words_of_the_language(known, masked):
    assert mask_content(TEXT, list(INPUTS.values()), known) == masked


def test_features_that_take_a_list_are_left_out_where_there_is_none():
    fields = list(INPUTS)
    english, german, unknown = (
        style_feature_names(fields, known) for known in (ENGLISH, GERMAN, UNKNOWN)
    )
    kinds = {"hedges", "negations", "first person", "connectives", "words for the task"}
    assert set(english) - set(german) == kinds
    copied = {f"content words copied from {field}" for field in fields}
    assert set(german) - set(unknown) == {"function words", *copied}
    for known, names in ((ENGLISH, english), (GERMAN, german), (UNKNOWN, unknown)):
        row = style_features(TEXT, INPUTS, known)
        assert len(row) == len(names)
        assert features([TEXT], [INPUTS], known).shape == (1, len(names) + len(known.function))
    # die, den, aber, der, war, die, erste of eleven words
    shares = dict(zip(german, style_features(TEXT, INPUTS, GERMAN), strict=True))
    assert shares["function words"] == pytest.approx(7 / 11)


def spoken(language: str, *of_items: str | None) -> Corpus:
    text = dict.fromkeys(NLI.fields, "Text")
    said = {"Ann": (Response("neutral", "So ist es nicht gesagt worden, sondern anders. " * 30),)}
    items = tuple(
        Item(f"i{n}", text, said, split="train", language=own) for n, own in enumerate(of_items)
    )
    return Corpus("spoken", NLI, (Annotator("Ann"),), items, language=language)


@pytest.mark.parametrize(
    ("corpus", "languages"),
    [
        (spoken("", None), ("en",)),
        (spoken("de-AT", None), ("de",)),
        (spoken("DE_de", "fr", None), ("de", "fr")),
        (spoken("de", "fr"), ("fr",)),
        (spoken("", "hi", None), ("en", "hi")),
        (spoken("und", None), ("und",)),
    ],
)
def test_an_items_language_goes_before_the_corpuss(corpus, languages):
    assert corpus.languages == languages
    assert lexicon_of(corpus) is lexicon(*languages)


def test_several_languages_have_the_function_words_of_all():
    both = lexicon("de", "tlh", "en")
    assert both.function == GERMAN.function | ENGLISH.function
    assert both.unlisted == ("tlh",)
    assert not both.kinds


def test_what_is_not_read_is_said():
    assert language_remarks(replace(spoken("en", None))) == []
    (german,) = language_remarks(spoken("de", None))
    assert german == (
        "hedges, negations, first person, connectives, words for the task are read in English alone"
    )
    (unknown,) = language_remarks(spoken("und", None))
    assert unknown.startswith("function words of und are not known: no rate of theirs is read")
    (untold,) = language_remarks(spoken("", None))
    # Of so, ist, es, nicht, gesagt, worden, sondern, anders only `so` is in the English list.
    assert untold == (
        "no language is said and English taken for granted, but 12% of the words of the "
        "explanations are English function words; say the language"
    )


def test_commands_say_what_is_not_read(tmp_path, call):
    file = tmp_path / "spoken.jsonl"
    jsonl.write(spoken("de", None), file)
    status, out, _ = call("data", "validate", file)
    assert status == 0
    assert "note: hedges, negations" in out
    status, out, _ = call("data", "describe", file)
    assert "note: hedges, negations" in out


@pytest.mark.parametrize("language", ["", "en", "de", "und"])
def test_people_are_one_to_themselves_in_any_language(language):
    corpus = replace(synthesize("mini-nli").corpus, language=language)
    scorer = Scorer(corpus, "test", "minilm")
    human = join(corpus, "test", human_predictions(corpus, "test"))
    found = scorer.measure(human, encoded=False)
    assert {name: found[name].value() for name in ONE} == pytest.approx(dict.fromkeys(ONE, 1))
    if language in ("", "en"):
        assert "not read" not in scorer.signature
    else:
        assert scorer.signature["function words"] == language
        assert "read in English alone" in scorer.signature["not read"]
