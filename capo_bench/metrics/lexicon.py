"""What is known of a language's words: the one place that has lists of them.

Function words are known of sixty languages. English has a list of its own, closed-class words alone;
of the other languages the stop words of the Stopwords ISO collection stand for them, which hold some
frequent content words, too. Further kinds of words, such as hedges, are known of English alone, and
are not looked for elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import islice

from capo_bench.corpus.model import Corpus
from capo_bench.metrics.tokens import normalise, words

ENGLISH = "en"

_LOOKED_AT = 1000  # explanations
_ENOUGH = 200  # words
_ENGLISH_FROM = 0.15  # of English explanations, a third to a half of the words are function words

_ENGLISH_FUNCTION_WORDS = """
    a about above after again against all almost also although always am among an and another any
    anyone anything are around as at away back be because been before being below between both but by
    can cannot could did do does doing done down each either else enough even ever every everyone few
    for from further get gets had has have having he hence her here him himself his how however i if
    in instead into is it its itself just less like may maybe me might mine more most much must my
    neither never no nobody none nor not nothing now of off often on once one only or other others our
    out over own perhaps quite rather really same shall she should since so some someone something
    sometimes still such than that the their them themselves then there therefore these they thing
    things this those though through thus to together too toward under until up upon us very was we
    well were what when where whereas whether which while who whom whose why will with within without
    would yet you your"""

_HEDGES = frozenset(
    "may might maybe perhaps possible possibly probably likely unlikely seem seems appear appears "
    "could would sometimes usually generally think guess assume unclear sure certain".split()
)
_NEGATIONS = frozenset("no not never none nothing nobody nor neither cannot without".split())
_FIRST_PERSON = frozenset("i me my mine we us our ours".split())
_CONNECTIVES = frozenset(
    "because since so therefore thus hence but however although though while whereas if".split()
)
_TASK_WORDS = frozenset(
    "context statement premise hypothesis sentence sentences question questions q1 q2 first second "
    "both mentioned mention mentions says said states stated".split()
)


def _negates(word: str) -> bool:
    return word in _NEGATIONS or word.endswith("n't")


_ENGLISH_KINDS: Mapping[str, Callable[[str], bool]] = {
    "hedges": _HEDGES.__contains__,
    "negations": _negates,
    "first person": _FIRST_PERSON.__contains__,
    "connectives": _CONNECTIVES.__contains__,
    "words for the task": _TASK_WORDS.__contains__,
}


@dataclass(frozen=True, eq=False)
class Lexicon:
    """What is known of the words of a corpus's languages; make one with `lexicon`.

    Attributes:
        languages: BCP 47 primary subtags, ascending.
        unlisted: Those of them whose function words are not known.
        function_words: Of all the others together; their rates carry style and hardly any content.
        kinds: Further kinds of words whose rates are features of style, each with what tells a word
            in lower case to be one; empty unless English is the only language.
    """

    languages: tuple[str, ...]
    unlisted: tuple[str, ...]
    function_words: tuple[str, ...]
    kinds: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)

    @cached_property
    def function(self) -> frozenset[str]:
        """The function words, to look words up in."""
        return frozenset(self.function_words)

    @property
    def unread(self) -> str:
        """What the features of style leave out, for whoever reads the numbers; empty in English."""
        said = []
        if self.unlisted:
            said.append(
                f"function words of {', '.join(self.unlisted)} are not known: no rate of theirs is "
                "read, and of the words that a text shares with its item all are masked"
            )
        if not self.kinds:
            said.append(f"{', '.join(_ENGLISH_KINDS)} are read in English alone")
        return "; ".join(said)


def lexicon_of(corpus: Corpus) -> Lexicon:
    """The lexicon of a corpus's languages; the same object for the same languages."""
    return lexicon(*corpus.languages)


@lru_cache(maxsize=64)
def lexicon(*languages: str) -> Lexicon:
    """The lexicon of some languages.

    Of several languages a word is a function word if it is one in any of them.

    Args:
        languages: BCP 47 primary subtags, each once, ascending, as `Corpus.languages` has them.
    """
    listed = {language: _function_words(language) for language in languages}
    return Lexicon(
        languages=languages,
        unlisted=tuple(language for language, known in listed.items() if not known),
        function_words=tuple(sorted({word for known in listed.values() for word in known})),
        kinds=_ENGLISH_KINDS if languages == (ENGLISH,) else {},
    )


def language_remarks(corpus: Corpus) -> list[str]:
    """What whoever looks at a corpus with explanations should know of its language, if anything."""
    if corpus.task.explanations == "none":
        return []
    known = lexicon_of(corpus)
    remarks = [known.unread] if known.unread else []
    texts = (r.explanation for i in corpus.items for cell in i.cells.values() for r in cell)
    said = [word for text in islice(filter(None, texts), _LOOKED_AT) for word in words(text)]
    if not corpus.language and ENGLISH in known.languages and len(said) >= _ENOUGH:
        share = sum(word in known.function for word in said) / len(said)
        if share < _ENGLISH_FROM:
            remarks.append(
                f"no language is said and English taken for granted, but {share:.0%} of the words "
                "of the explanations are English function words; say the language"
            )
    return remarks


def _function_words(language: str) -> frozenset[str]:
    """Those that are one word by `capo_bench.metrics.tokens`, as they are and normalised."""
    if language == ENGLISH:
        return frozenset(_ENGLISH_FUNCTION_WORDS.split())
    from stopwordsiso import stopwords  # reads all its lists when it is imported

    entries = [words(entry) for entry in stopwords(language)]
    known = {entry[0] for entry in entries if len(entry) == 1}
    return frozenset(known | {normalise(word) for word in known} - {""})
