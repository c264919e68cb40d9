"""Words are words in every script, however they were typed."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from capo_bench.metrics.lexicon import lexicon
from capo_bench.metrics.style import mask_content
from capo_bench.metrics.text import rouge_l
from capo_bench.metrics.tokens import WORD, normalise, plain_words, word_pattern, words

SENTENCES = {
    "Latin with accents": ("Die Fähre fährt öfter, naïve façade!", 6),
    "Greek": ("Το πλοίο έφυγε νωρίς, όχι αργά.", 6),
    "Cyrillic": ("Паром ушёл рано, а не поздно.", 6),
    "Arabic": ("غادرت العبّارة الميناء مبكّرًا.", 4),
    "Hebrew": ("המעבורת עזבה את הנמל מוקדם.", 5),
    "Hindi": ("नौका ने बंदरगाह जल्दी छोड़ा।", 5),
    "Tamil": ("படகு துறைமுகத்தை விட்டு சென்றது.", 4),
    "Chinese": ("渡船早就离开了。", 7),
    "Japanese": ("フェリーは早く出た。", 9),
    "Thai": ("เรือออกแล้ว", 9),
    "Korean": ("배가 일찍 떠났다.", 3),
    "emoji": ("👍🏽 ❤️ 🇩🇪 👩‍🚀", 4),
}


@pytest.mark.parametrize("script", SENTENCES)
def test_words_are_counted(script):
    text, count = SENTENCES[script]
    assert len(words(text)) == count
    assert len(normalise(text).split()) == count


def test_marks_belong_to_their_letters_and_apostrophes_to_their_words():
    assert words("हिन्दी में") == ["हिन्दी", "में"]
    assert words("It’s 3.5 café_au lait, isn't it?") == [
        *("it's", "3", "5", "café", "au", "lait", "isn't", "it")
    ]
    assert normalise("It’s “so-so”, isn't it?") == "its so so isnt it"
    assert plain_words("Isn't it") == ["isn", "t", "it"]


ALPHABETS = [
    "abcxyzäöüßéñçø",
    "αβγδέήίόύώς",
    "абвгдёй",
    "ابتثجحخدّةً",
    "אבגדהוּ",
    "कखगघिीुूेैा्ं",
    "你好世界天地",
    "あいうがぎぐカキグー",
    "กขคเแิี้",
    "가나다라",
    "😀👍❤🚢",
]
TEXTS = st.one_of(
    *(
        st.lists(st.text(alphabet, min_size=1, max_size=6), min_size=1, max_size=6).map(" ".join)
        for alphabet in ALPHABETS
    )
)


@settings(max_examples=150)
@given(TEXTS)
def test_a_text_is_like_itself_composed_or_not(text):
    apart = unicodedata.normalize("NFD", text)
    together = unicodedata.normalize("NFC", text)
    assert words(apart) == words(together)
    assert normalise(apart) == normalise(together)
    if words(text):
        assert rouge_l([apart], [[together]]) == [1.0]
    for known in (lexicon("en"), lexicon("und")):
        left = words(mask_content(normalise(apart), [together], known))
        assert set(left) <= known.function


@settings(max_examples=100)
@given(TEXTS)
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


ASCII = st.text(st.characters(max_codepoint=127), max_size=80)


@settings(max_examples=200)
@given(ASCII)
def test_of_ascii_the_words_are_those_of_rouge_score(text):
    assert plain_words(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


@settings(max_examples=200)
@given(ASCII)
def test_of_ascii_the_words_are_those_of_all_scripts(text):
    assert word_pattern(text) is not WORD
    assert word_pattern(text).findall(text) == WORD.findall(text)
    assert normalise(text) == normalise(f"{text}\N{HORIZONTAL ELLIPSIS}")  # which is no ASCII
