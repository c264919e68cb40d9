"""Reads an answer out of what chat models write around it, and never guesses.

The second stage of `capo_bench.prompts.responses.parse`. An answer is accepted only if the text
states exactly one label (for multi-label tasks: one set of them) and an explanation can be found:

* after a key such as `Label:`, `**Answer** -`, `My label is`, `## Label`, in any order with
  `Explanation:`, `Reason:` and the like, on one line or several, in lists, tables, tags or JSON;
* or a sentence says so: `Therefore, I would choose neutral.`;
* or the text begins with the label, followed by the explanation.

Without a key, the explanation is the paragraph that the label stands in or next to, unless that is a
greeting or repeats the item.

A label is read only as a whole: `not entailment`, `entailment or neutral`, `2.5` and `3-4` are no
labels, and where a text states different labels in different places, takes one back (`Actually, it
is contradiction`, `That is wrong`) or only shows one (`The format would be`, `Others would say`),
none of them is taken.
"""

from __future__ import annotations

import ast
import html
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import regex

from capo_bench.corpus.model import TaskSpec
from capo_bench.display import blank


class Answer(NamedTuple):
    """What a text answers.

    Attributes:
        labels: In the order of the label space; empty if none could be read.
        explanation: `""` if none could be read.
        error: Why it is no valid answer, or `None`.
    """

    labels: tuple[str, ...]
    explanation: str
    error: str | None = None


def answered(task: TaskSpec, labels: tuple[str, ...], explanation: str) -> Answer:
    """A label that was read, with its explanation as far as the task has them."""
    if task.explanations == "none":
        return Answer(labels, "")
    explanation = "" if blank(explanation) else explanation
    lacking = task.explanations == "required" and not explanation
    return Answer(labels, explanation, NO_EXPLANATION if lacking else None)


NO_LABEL = "no label is stated"
UNKNOWN = "unknown label"
SEVERAL = "more than one label"
CONFLICT = "different labels in different places"
DISOWNED = "a label that the text does not stand by"
NO_EXPLANATION = "no explanation"
UNFINISHED = "the thought never ends"
NOTHING = "nothing but a thought"

_THOUGHT = r"think|thinking|thoughts?|seed:think|scratchpad|reflection|inner_monologue"
_THOUGHT_START = re.compile(
    rf"<(?:{_THOUGHT})>|\[THINK\]|<\|(?:begin_of_thought|START_THINKING)\|>|◁think▷|<unused94>"
    r"|<\|channel\|>(?:analysis|commentary)",
    re.IGNORECASE,
)
_THOUGHT_END = re.compile(
    rf"</(?:{_THOUGHT})>|\[/THINK\]|<\|(?:end_of_thought|END_THINKING)\|>|◁/think▷|<unused95>"
    r"|assistantfinal"
    r"|<\|channel\|>final<\|message\|>|<channel\|>",
    re.IGNORECASE,
)
# Where the tokenizers of well-known models begin and end a turn or a text.
_TURN_START = re.compile(
    r"(?:\s|<s>|<bos>|<\|begin_of_text\|>|<\|im_start\|>|<start_of_turn>|<\|start_header_id\|>"
    r"|<\|end_header_id\|>|<\|assistant\|>|<\|start\|>|<\|message\|>|<｜Assistant｜>|<\|turn>|\[/INST\]"
    r"|<\|start_of_role\|>|<\|end_of_role\|>|<\|CHATBOT_TOKEN\|>|<\|START_OF_TURN_TOKEN\|>"
    r"|<\|START_(?:RESPONSE|TEXT)\|>"
    r"|(?:assistant|model)(?:\s*\n|:)|(?<=[|>])(?:assistant|model))*"
)
# The user's turn, repeated before the answer.
_ECHO = re.compile(
    r"\s*+(?:(?:<s>|<bos>)\s*+)?(?:\[INST\].*?(?=\[/INST\])|<\|im_start\|>user\n.*?<\|im_end\|>"
    r"|<start_of_turn>user\n.*?<end_of_turn>)",
    re.DOTALL,
)
_TURN_END = re.compile(
    r"</s>|<eos>|<eot>|<EOD>|<pad>|<unk>|\[EOS\]|\[PAD\]|\[/?INST\]|<end_of_turn>|<start_of_turn>"
    r"|<turn\|>|<[|｜](?:im_end|im_start|endoftext|end_of_text|eot_id|eom_id|end|return|endofturn"
    r"|end▁of▁sentence|END_OF_TURN_TOKEN|START_OF_TURN_TOKEN|END_RESPONSE|END_TEXT"
    r"|end_of_role|start_of_role|eos|pad|user"
    r"|User|assistant|Assistant|system|observation|start_header_id|finetune_right_pad_id"
    r"|endofprompt|fim_pad|call|start)[|｜]>"
)
_UNKNOWN_MARK = re.compile(
    r"(?:<[|｜][^<>\s]{1,60}[|｜]>|</?[a-zA-Z]+(?:_[a-zA-Z]+)+>|\[/[A-Z_]{2,}\])$"
)

_MARKUP = re.compile(
    r"</?(?:b|strong|i|em|p|code|pre|span|div|ul|ol|li|h[1-6])\s*/?>|<!\[CDATA\[|\]\]>"
    r"|^[ \t]*\+(?:[-=]+\+)+[ \t]*$\n?",
    re.IGNORECASE | re.MULTILINE,
)
_LATEX = re.compile(r"\\(?:text(?:bf|it|rm|tt)?|math(?:bf|it|rm)|emph)\{([^{}\n]*)\}")
_MATHS = re.compile(r"^([ \t]*)\$([^$\n]*[a-z]{3}[^$\n]*)\$[ \t]*$", re.MULTILINE)
_ENTITY = re.compile(r"&(?:#\d{1,5}|quot|apos|amp|lt|gt|nbsp);")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*$\n?|(?:```|~~~)[ \t]*$", re.MULTILINE)
_ZERO_WIDTH = str.maketrans(dict.fromkeys("\ufeff\u200b\u200c\u200d\u2060"))

_WHOSE = (
    r"(?:the|my|your|its|final|predicted|chosen|selected|proposed|correct|best|overall|assigned"
    r"|given|classification|annotation"
    r"|annotator(?:['’]s)?|annotator[ \t]+\S{1,40}?['’]s|brief|short)[ \t_]+"
)
_FOR = (
    r"(?:[ \t]+(?:for|of|behind)[ \t]+[^:\n]{1,40}?|[ \t]+chosen|[ \t]+(?:that[ \t]+)?"
    r"(?:i|annotator[ \t]+\S{1,40}?)(?:[ \t]+would)?[ \t]+(?:give|choose|pick|assign)s?)?"
)
# As models write them that answer in the language of the item.
_LABEL_ABROAD = (
    r"标签|答案|標籤|ラベル|라벨|antwort|étiquette|réponse|etiqueta|respuesta|etichetta|resposta"
)
_WHY_ABROAD = (
    r"解释|理由|说明|原因|解釋|説明|설명|erklärung|begründung|explication|explicación|razón"
    r"|justificación|spiegazione|explicação"
)
_LABEL_NAME = (
    rf"(?:{_WHOSE})*(?:label\(s\)|labels?|answers?|judge?ment|verdict|rating|score|classification"
    rf"|decision|prediction|category|choice|{_LABEL_ABROAD}){_FOR}"
)
# What models call an answer, and texts of items, too: a key only where a label is all that follows.
_WEAK_NAME = (
    rf"(?:{_WHOSE})*(?:output|response|result|relation(?:ship)?|annotator[ \t]+\S{{1,40}}?"
    r"(?:[ \t]+(?:answers|says|responds|chooses|would[ \t]+(?:answer|say|choose)))?)"
)
_WHY_NAME = (
    rf"(?:{_WHOSE})*(?:explanations?|explain|reasons?|reasoning|rationale|justification|why|because"
    rf"|{_WHY_ABROAD}){_FOR}"
)
# Possessive quantifiers (*+, ?+): what decorates a key is taken as a whole, so that long runs of it
# cost no more than their length. Signs of denial are no decoration.
_DECORATION = r"(?:_|[^\w\n❌✖✗✘🚫⛔👎❎¬≠~?!'’<])*+"
_NUMBER = r"(?:\(?(?:\d{1,2}|[a-zA-Z])[.)\ufe0f\u20e3]+[ \t]*|[①-⑳❶-❿])?+"
_SO = (
    r"(?:(?:so|thus|therefore|hence|finally|overall|well|ok(?:ay)?|however|but|still|that[ \t]+said"
    r"|in[ \t]+(?:conclusion|summary|short)),?[ \t]+)?+"
)
_BULLETS = rf"{_DECORATION}{_NUMBER}{_DECORATION}{_SO}"
_GLOSS = (
    r"[*_`\"'” \t]*+(?:\([^()\n]*\)|（[^（）\n]*）|/[ \t]*[^\x00-\x7f][^:：/\n]{0,20})?+"
    r"[*_`\"'” \t]*+"
)
_STATES = (
    r"(?:[\])】]?[*_`]*(?:[:：=|\t][*_`]*|->|→|[–—]|-(?=\s)"
    r"|(?:is|would[ \t]+be)(?:[ \t]*:|\b(?!\s+not\b)))"
    r"|\t|\](?=\s)|】)"
)
_KEY = re.compile(
    rf"^{_BULLETS}(?:(?P<label>{_LABEL_NAME})|(?P<why>{_WHY_NAME}))"
    rf"(?:{_GLOSS}{_STATES}|{_DECORATION}$)[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_WEAK_KEY = re.compile(
    rf"^{_BULLETS}{_WEAK_NAME}{_GLOSS}{_STATES}[ \t]*(?P<value>[^\n]+)$",
    re.IGNORECASE | re.MULTILINE,
)
_BOX = re.compile(r"^[ \t$\\\[(]*(?P<value>\\boxed\{[^\n]*?\})[ \t$\\\]).]*$", re.MULTILINE)
_PAIR = re.compile(r"\s*1[.)][ \t]+(?P<label>[^\n]+)\n\s*2[.)][ \t]+(?P<why>[^\n]+)\s*")
# JSON that does not parse, calls and assignments: `"label": "neutral", "explanation": ...`.
_QUOTED_KEY = re.compile(
    rf"(?:^|[,{{(]|(?<=[\"”'])[ \t])\s*[\"“']?(?P<name>{_LABEL_NAME}|{_WHY_NAME})[\"”']?"
    r"\s*[:：=]\s*(?=[\"“'])",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"/\*[^*]*\*/|(?<=[,{\s])//[^\n\"]*$", re.MULTILINE)
_ROW = re.compile(
    rf"^\W*(?:{_LABEL_NAME})[\"']?[,;\t][ \t]*[\"']?(?:{_WHY_NAME})\W*\n"
    r"(?P<label>[^\n,;\t]+)[,;\t][ \t]*(?P<why>[^\n]+)(?=\s*\Z|\n\s*\n)",
    re.IGNORECASE | re.MULTILINE,
)
_WRITTEN_BREAK = re.compile(r"\\n(?=[\W_]*(?:label|explanation|reason))", re.IGNORECASE)
_QUOTED_LINE = re.compile(r"^[ \t]*[\"'“](\w+[ \t]*[:：].*)[\"'”][ \t]*$", re.MULTILINE)
# A sentence that says which label: `Therefore, as annotator Ann1, I would label this as neutral`.
_CLAIM = re.compile(
    rf"(?:^|(?<=[.!?][ \n]))[*_]*{_SO}(?:as[ \t]+annotator[ \t]+\S{{1,40}}?,?[ \t]+)?"
    rf"(?:(?:{_LABEL_NAME}|(?:the|this)[ \t]+(?:statement|hypothesis|reply|item|pair|one))"
    r"[ \t]+(?:is|(?:would|should|must|will)[ \t]+be):?"
    r"|(?:i|(?:this|the)[ \t]+annotator|annotator[ \t]+\S{1,40}?)"
    r"(?:[ \t]+(?:would|will)|['’](?:d|ll))?(?:[ \t]+(?:(?:most[ \t]+)?likely|probably))?[ \t]+"
    r"(?:say|choose|pick|select|answer|label|rate|classify|mark|annotate|give|assign|go)s?"
    r"(?:[ \t]+(?:with|for|this|it|that|these|them|both|the|is|as|an?|to[ \t]+be|item|statement"
    r"|pair|example|sentence|questions?|label|answer|rating|score|of)\b)*+)"
    r"[ \t]+(?P<value>[^\n]*?)(?=[.!](?:\s|$)|\n|$)",
    re.IGNORECASE | re.MULTILINE,
)
_VALUE = 400  # characters after a key in which its label stands
# What stands before the first word of a line, and of a sentence; the latter is bounded, for a line
# may have thousands of sentences' ends.
_BEFORE_LINE = r"^(?:_|[^\w\n])*+"
_BEFORE_SENTENCE = r"(?:_|[^\w\n]){0,200}+"
# Where an answer is taken back: `Actually, it is contradiction.`
_SECOND_THOUGHT = re.compile(
    rf"(?:{_BEFORE_LINE}|(?<=[.!?…)\"”]\s){_BEFORE_SENTENCE})"
    r"(?:actually|wait|hold on|no,|correct(?:ion|ed)|edit|update|oops|sorry|scratch that|i mean"
    r"|hm+|(?:or )?rather|revis(?:ed|ion)|alternatively"
    r"|(?:up)?on (?:second thoughts?|(?:further )?reflection|reconsideration)"
    r"|(?:but )?i(?:['’]d| would)? (?:take that back|changed? my|stand corrected|must correct"
    r"|correct my|withdraw|reconsider))\b(?P<rest>[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_SAID_AGAIN = re.compile(
    r"^(?:[*_>#•$ \t]|=+>|->|→|-[ \t])*+(?:(?:\w+[ \t]+){0,3}(?:final|updated?|revised|corrected"
    r"|changed[ \t]+to|new|answer|label|rating|score|result|verdict|conclusion|decision|choice"
    r"|prediction)"
    r"[*_]*[ \t]*[:：=])?(?P<value>[^\n]{1,80})$",
    re.IGNORECASE | re.MULTILINE,
)
_DENIED = re.compile(
    r"(?:\b(?:not|no|nor|neither|never)|n['’]t)\s+(?:an?\s+|the\s+)?[\w-]+", re.IGNORECASE
)
_CHATTER = re.compile(
    r"[\W_]*(?:(?:sure|of course|certainly|absolutely|great|ok(?:ay)?|hello|hi|hey|thanks?"
    r"|thank you)[,.!\s]|happy to|i(?:['’]m| am) (?:happy|glad|sorry|ready|an? )"
    r"|i(?:['’]ll| will) |let me |let['’]s "
    r"|here(?:['’]s| is| are| you) |below |the following |as an ai|as requested|please |feel free"
    r"|i? ?hope (?:this|that) |if you (?:need|have|want|would|['’]d)|do you |would you "
    r"|is there anything)",
    re.IGNORECASE,
)
_INNER_LABEL = re.compile(r"(?<!\w)Label[*_]*+[ \t]*+[:：][*_]*[ \t]*")
_INNER_WHY = re.compile(
    r"\b(?:Explanation|explanation|Reason|Reasoning|Rationale|Justification)"
    r"[*_]*+[ \t]*+(?:[:：=][*_]*|[–—]|-(?=\s))[ \t]*"
)
_TAG_NAME = rf"{_LABEL_NAME}|{_WHY_NAME}"
_BARE_TAG = re.compile(r"</?\w{1,20}>")
_TAGS = re.compile(
    rf"<(?P<name>{_TAG_NAME})>[ \t\n]*"
    rf"(?P<value>[^<]*+(?:<(?!/?(?:{_TAG_NAME})>)[^<]*+)*+)</(?P=name)>",
    re.IGNORECASE,
)
_ATTRIBUTES = re.compile(r"<(?P<tag>\w{1,40})(?P<pairs>(?:\s+[\w-]{1,40}=\"[^\"<>]*\")+)\s*/?>")
_ATTRIBUTE = re.compile(r"([\w-]+)=\"([^\"]*)\"")
_WRAPPERS = re.compile(
    rf"</?(?:{_TAG_NAME}|response|output|result|final|solution|annotation)>", re.IGNORECASE
)
_TRAILER = re.compile(
    r"\n(?=[ \t]*(?:-{3,}|\*{3,}|={3,})[ \t]*(?:\n|$)"
    r"|[\W_]{0,200}+(?:\d[.)\ufe0f\u20e3]+[\W_]{0,200}+)?"
    r"(?:(?:final|my|the)[ \t]+)?(?:label|confidence|certainty)\b[^\n:=]{0,20}[:：=])",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"[\[<{]+[^\[\]<>{}]{0,40}\b(?:explanation|reason|sentences?|here)\b[^\[\]<>{}]{0,40}[\]>}]+[.]?",
    re.IGNORECASE,
)
_OTHER_KEY = re.compile(r"[*_#\s]*[A-Z][\w' ]{0,30}[*_]*[:：]|.*[:：]\s*$")
_ANNOTATOR = re.compile(rf"{_BEFORE_LINE}Annotator[ \t]+(\S+?)[*_]*[:：]", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n\s*\n")
_LEAD_IN = re.compile(
    r"(?:(?:well|so|ok(?:ay)?|sure|thus|therefore|hence),?\s+)?"
    r"(?:(?:i(?:\s+would|['’]d|\s+will|['’]ll)?\s+(?:say|choose|pick|select|answer|think|believe"
    r"|go\s+with|label\s+(?:this|it)(?:\s+as)?|rate\s+(?:this|it)(?:\s+as|\s+an?)?)(?:\s+that)?)\s+)?"
    r"(?:(?:it|this|that|the\s+label|the\s+answer|my\s+label|my\s+answer)"
    r"(?:['’]s|\s+is|\s+would\s+be)\s+)?",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(
    r"(?P<why>,?\s+(?=(?:because|since)\b)|,?\s+(?=as\s+(?:it|the|there|this|no|nothing|neither)\b))"
    r"|\s+(?:[–—-]+|=)\s+|[–—]|\s*(?:→|->|=>)\s*|[.:;,|][*_\"'”’]*\s+|\s*\|\s*|\s*\n\s*",
    re.IGNORECASE,
)
_HEDGE = re.compile(r"[\s(*_]*(?:or|but|and|not|maybe|perhaps|possibly|to|/|-?\d)(?:\b|\s)", re.I)
_DENIAL = re.compile(
    r"[\s(*_]*(?:not?|nope|false|wrong|incorrect|unlikely|rejected|excluded"
    r"|ruled out|discarded|doubtful)\s*(?:$|[.,;\n])",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"\b(?:wrong|incorrect|never|rejected|not (?:my|the|an?) (?:answer|label|choice)"
    r"|would (?:say|choose|answer))\b",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(r"(?:^|\n)\W*(?:for |an )?example\W*$", re.IGNORECASE)
# What begins a sentence of the text's own: `But that`, `No, it`. Of many such words the last few are
# enough, each comma being a start, too; to read all at each of them would take quadratic time.
_SENTENCE_START = (
    r"(?:^|(?<=[.!?…)\"”:,;]\s))[*_> \t]*(?:(?:and|but|yet|so|no|oh|well|wait|actually|however|sorry"
    r"|though|although|still|on second thoughts?|of course|please|or|hm+),?\s+){0,8}"
)
_IS = r"(?:['’]s|\s+(?:is|was|are|were|seems|(?:would|could|might|may|must|can)(?:\s+\w+ly)?\s+be))"
_WRONG = (
    r"(?:\s+\w+ly|\s+(?:just|also|quite|all|the|an?|far|much|too))*\s+"
    r"(?:wrong|incorrect|false|mistaken|invalid|a mistake|an error|example|placeholder|low|high)\b"
    r"(?!\s+to\s+(?:say|assume|call|conclude|infer|label)\b)"
)
_NOT = (
    r"(?:(?:\s+(?:is|was|would|can|could|does|do|should)(?:\s+not|n['’]t)|\s+cannot|['’]s\s+not)\b)"
)
_OWN = (
    r"(?:(?:the|this|that|my)\s+(?:label|rating|score|verdict|judge?ment)|my\s+(?:answer|response)"
    r"|(?:the|this|that)\s+(?:answer|response)\s+above|the above(?:\s+\w+)?)(?:\s+above)?"
)
_RIGHT = (
    r"(?:\s+be)?(?:\s+(?:really|quite))?"
    r"\s+(?:right|correct|true|valid|my\b|an answer|what i\b|the\b)"
)
# A text that takes its answer back, wherever it says so: `I take that back`, `My label is wrong`.
_TAKEN_BACK = re.compile(
    rf"{_SENTENCE_START}(?:scratch (?:that|this)|never\s?mind\b|just (?:kidding|joking)\b"
    r"|(?:i(?: would|['’]d)? )?(?:take|took) (?:that|this|it) back"
    r"|i(?:['’]d| would| must| have to)? (?:retract|withdraw|revoke|was wrong\W*(?:$|\n))"
    r"|(?:ignore|disregard|forget|discard) (?:the above|this|that|it\b|everything|what|my"
    rf"|the (?:label|answer|previous|response))|{_OWN}(?:{_IS}{_WRONG}|{_NOT}{_RIGHT}))",
    re.IGNORECASE | re.MULTILINE,
)
# The same said of `this` or `it`: after the explanation only, which may speak of the item so.
_FOUND_WRONG = re.compile(
    rf"{_SENTENCE_START}(?:(?:this|that|it|which|the answer|the response)"
    rf"(?:{_IS}{_WRONG}|{_NOT}{_RIGHT})|or not\b|not (?:really|at all)\b|i doubt (?:it|that|so)\b)",
    re.IGNORECASE | re.MULTILINE,
)
# What goes on after a label has the label for its subject: `<label>neutral</label> is wrong`.
_SPOKEN_OF = re.compile(
    r"[\s*_\"'”’)–—-]*(?:\?|(?:is|was|would|could|might|may|can|should|does|do|will)"
    r"(?:n['’]t\b|\s+not\b|\b(?!(?:\s+be)?(?:\s+\w+ly)?\s+(?:correct|right|(?:the|my"
    r"|what)\b(?![^.\n]*(?:\bnot\b|n['’]t\b|never"
    r"|wrong|incorrect)))))|cannot\b|can['’]t\b|won['’]t\b|fails\b)"
)
_WRONG_REST = re.compile(
    r"[\s(*_–—-]*(?:(?:that|this|it)(?:['’]s|\s+is)\s+(?:wrong|incorrect|not (?:right|correct|true))"
    r"|(?:that|this|it)\s+(?:would|can(?:not|['’]t)|could(?:n['’]t| not))\s+be\s+(?:wrong"
    r"|incorrect|right"
    r"|correct)|wrong|i doubt (?:it|that|so))\s*(?:$|[.!])",
    re.IGNORECASE,
)
_OR = re.compile(
    rf"(?:{_BEFORE_LINE}|(?<=[.!?]\s){_BEFORE_SENTENCE})or\b(?P<rest>[^.\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_VAGUE = re.compile(
    r"\W*(?:(?:or |at (?:the )?)(?:more|less|least|most|so|higher|lower|above|below"
    r"|very (?:least|most))"
    r"|give or take[^.]*|plus or minus[^.]*|approx(?:imately)?|roughly|about|minimum|maximum"
    r"|percent)\W*",
    re.IGNORECASE,
)
_CANNOT = (
    r"\bi(?:['’]m|\s+am)?(?:\s+(?:really|just|simply|honestly|also|still))?\s+(?:can(?:not"
    r"|['’]t|\s+not)"
    r"|could(?:n['’]t|\s+not)|won['’]t|will\s+not|(?:am\s+)?(?:unable|not\s+able)\s+to|refuse\s+to"
    r"|decline\s+to|(?:would|['’]d)\s+rather\s+not)"
)
_OBJECT = (
    r"(?:\s+(?:this|that|it|here|you|the\s+question|an?\s+(?:label|answer)|a\s+request"
    r"|(?:for|as|with)\s+(?:this|that|the|it|annotator)?\s*\S*))?"
)
# Who says so gives no answer; an explanation may say `I can't tell`.
_DECLINES = re.compile(
    rf"{_CANNOT}\s+(?:answer|comply|help|assist|respond|provide|give|label|rate|annotate)"
    rf"{_OBJECT}\s*(?:[.!]|$)",
    re.IGNORECASE | re.MULTILINE,
)
_DECLINES_AFTER = re.compile(
    rf"{_CANNOT}(?:\s+(?:decide|say|tell|choose|judge|do|know){_OBJECT})?\s*(?:[.!]|$)"
    r"|\bi\s+(?:refuse|decline)\b",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWERS = r"(?:answer|response|label|reply|output|explanation|rating|annotation)"
# What brings in an answer that is not the text's own: a form, a case, somebody else's, a wrong one.
_NOT_OWN = re.compile(
    r"\b(?:an|for) example\b|\bexample (?:of|answer|response|output|format)\b|\be\.\s?g\."
    r"|for instance"
    r"|\btemplate\b|\b(?:sample|dummy|placeholder|mock)\b|\bsomething like\b|\blooks? like\b"
    r"|\bhypothetical|^\W*(?!in\b|using\b|following\b)(?:\w+\s+){0,2}format\b(?:\s+(?:would|should|is"
    r"|was|to)\b.*)?\W*$"
    r"|^\W*(?:suppos(?:e|ing)|imagine|in case|had)\b|^\W*if\s+(?!i\s+(?:were|was|am|understand|had to"
    r"|must|have|recall)|you|we\b|possible)|\bif i (?:could|knew)\b|^\W*(?:would|could|should"
    r"|might|is)"
    r" (?:the|it|that|this|my)\b"
    r"|\b(?:others?|another|most|some|many|few|every(?:one|body)|some(?:one|body)|any(?:one"
    r"|body)|people)"
    r"\b[^.]{0,40}\b(?:say|answer|choose|write|pick|label|respond|give)s?\b\W*$"
    r"|\b(?:wrong|incorrect|bad|false|invalid)\b"
    r"|(?:\b(?:never|not|cannot|refuse to)|n['’]t)\s+(?:\w+\s+){0,2}(?:answer|say|choose"
    r"|write|pick|label"
    r"|give|be)\b"
    rf"|\b(?:earlier|previous|prior|former|original|old|initial)\s+{_ANSWERS}(?:\s+(?:was|is"
    rf"|read))?\W*$"
    r"|\b(?:says?|asks?|asked|tells?|told|wants?|requires?"
    r"|supposed)\b[^.]{0,20}\bto\s+(?:answer|write|say"
    r"|use|reply|respond)\b",
    re.IGNORECASE,
)
_LEAD_CLAUSE = re.compile(
    r"(?<=[.!?])\s+(?!then\b)|\b(?:but|however|still|yet|nevertheless|anyway|here(?:['’]s| is"
    r"| are))\b",
    re.IGNORECASE,
)
# No sign of a number: `--3`.
_BULLET = re.compile(r"^[ \t*•]*(?:-[ \t]*)?(?=[^\d\s+−–-])", re.MULTILINE)
_EDGES = " \t\n*_`\"'“”‘’„«»‹›$|#"
_SYMBOLS = regex.compile(r"(?V1)^[\p{So}\ufe0f--❌✖✗✘🚫⛔👎❎]+|[\p{So}\ufe0f--❌✖✗✘🚫⛔👎❎]+$")
_PAIRS = {"(": ")", "[": "]", "<": ">", "{": "}"}
_HEAD = 400  # characters: within them a label is named
_MARK = 80  # characters: the longest mark of a turn
_LAYERS = 8  # of quotes, emphasis and brackets around a label
_SENTENCE = 4  # words
_OBJECTS = 20  # braces that may begin an object of JSON
_ABROAD = re.compile(r"\s*/\s*(?P<word>(?=[^\x00-\x7f])[^\W\d_]{1,20})$")
_WORDS = "zero one two three four five six seven eight nine ten".split()
_SIGNED = re.compile(
    r"(?P<sign>[+＋]|[-−–—‐‑﹣－]\s*|(?:minus|negative)\s+)?"
    rf"(?P<number>\d+(?:\.\d+)?|{'|'.join(_WORDS)}|[①-⑩])"
)


def strip_thoughts(text: str) -> str | None:
    """The text after the last thought; `None` if the last one never ends."""
    ends = [match.end() for match in _THOUGHT_END.finditer(text)]
    text = text[ends[-1] :] if ends else text
    begin = _THOUGHT_START.search(text)
    if begin is None:
        return text
    # An answer that stood before a second, cut thought is still one.
    return text[: begin.start()] if text[: begin.start()].strip() else None


def strip_marks(text: str) -> tuple[str, str | None]:
    """The text without the marks of its turn, and a mark at its end that no known model has."""
    echo = _ECHO.match(text)
    text = text if echo is None else text[echo.end() :]
    start = _TURN_START.match(text)
    if start is not None and start.group().strip():
        text = text[start.end() :]
    end = _TURN_END.search(text)
    if end is not None:
        text = text[: end.start()]
    text = text.rstrip()
    unknown = _UNKNOWN_MARK.search(text, max(0, len(text) - _MARK))
    return (text, None) if unknown is None else (text[: unknown.start()], unknown.group())


def strip_markup(text: str) -> str:
    """The text without fences, plain formatting of HTML and LaTeX, and invisible characters."""
    text = _ENTITY.sub(lambda m: html.unescape(m.group()), text.translate(_ZERO_WIDTH))
    text = text.replace("\r\n", "\n").replace("\N{NO-BREAK SPACE}", " ")
    text = _MARKUP.sub("", re.sub(r"<br\s*/?>", "\n", text, flags=re.IGNORECASE))
    return _MATHS.sub(r"\1\2", _LATEX.sub(r"\1", _FENCE.sub("", text)))


def first_answer(task: TaskSpec, text: str) -> str:
    """The text up to where it goes on with another item or annotator."""
    first = next((m for m in _KEY.finditer(text) if m["label"]), None)
    start = first.end() if first is not None else len(text) - len(text.lstrip())
    title = re.escape(next(iter(task.fields.values())))
    end = re.compile(rf"\n[*_# \t]*+(?:{title}[*_]*:|Annotator \S+?:)").search(text, start)
    return text if end is None else text[: end.start()]


def lists_annotators(text: str) -> bool:
    """Whether a text answers for several annotators, of whom none is said to be the one asked for.

    A text that begins with the answer and goes on with another annotator does not.
    """
    heads = list(_ANNOTATOR.finditer(text))
    first = next((m for m in _KEY.finditer(text) if m["label"]), None)
    before = text[: first.start()] if first is not None else text
    return len({m[1] for m in heads}) > 1 and _ANNOTATOR.search(before) is not None


def find_answer(task: TaskSpec, text: str) -> Answer:
    """The answer that a text states.

    Args:
        task: The task.
        text: Without thoughts, marks and markup.
    """
    found, rest = _json_answer(task, text)
    if found is None:
        return _keyed(task, _with_keys(task, _tabled(_tagged(text))))
    if found.labels and states_other(task, rest, found.labels):
        return Answer((), "", CONFLICT)
    return found


def states_other(task: TaskSpec, text: str, labels: tuple[str, ...]) -> bool:
    """Whether a text states a label that is not the one that was read."""
    keys = [m for m in _KEY.finditer(text) if m["label"]]
    for key in (*keys, *_INNER_LABEL.finditer(text)):
        value = text[key.end() : key.end() + _VALUE].lstrip(" \t\n").split("\n", maxsplit=1)[0]
        found = _leading(task, value)
        if found is not None and found[0] != labels:
            return True
        if found is None and _named(task, value.split(".")[0]) - set(labels):
            return True
    return False


def takes_back(task: TaskSpec, text: str, labels: tuple[str, ...]) -> bool:
    """Whether a second thought after an answer names a label that is not the one that was read."""
    first = next((m for m in _KEY.finditer(text) if m["label"]), None)
    after = text if first is None else text[first.end() :]
    if any(
        _named(task, _DENIED.sub("", thought["rest"])) - set(labels)
        for thought in _SECOND_THOUGHT.finditer(after)
    ):
        return True
    lines = [line["value"] for line in _SAID_AGAIN.finditer(_BARE_TAG.sub("", after))]
    again = [read_labels(task, line) for line in lines[1:]]  # the first is the answer itself
    claims = [_leading(task, claim["value"]) for claim in _CLAIM.finditer(after)]
    again += [claim[0] for claim in claims if claim is not None]
    return any(isinstance(one, tuple) and not set(one) <= set(labels) for one in again)


def disowns(task: TaskSpec, text: str, found: Answer) -> bool:
    """Whether a text that gives an answer does not stand by it.

    It refuses, brings the answer in as a form, a case or somebody else's, or says after it that it
    is wrong.

    Args:
        task: The task.
        text: Without thoughts, marks and markup.
        found: The answer that was read.
    """
    lead, after, beyond = _around(task, text, found)
    if _brings_in(task, lead) or _TAKEN_BACK.search(after) or _DECLINES.search(after):
        return True
    if _FOUND_WRONG.search(beyond) or _DECLINES_AFTER.search(beyond):
        return True
    if any(_named(task, other["rest"]) - set(found.labels) for other in _OR.finditer(beyond)):
        return True
    if any(re.search(_denies(name), beyond, re.IGNORECASE | re.MULTILINE) for name in found.labels):
        return True
    lines = [line for line in after.split("\n") if line.strip()]
    opening = _leading(task, _split_why(lines[0])[0].strip()) if lines else None
    rests = [*([opening[1]] if opening else []), *lines[1:2]] if opening else lines[:1]
    return any(_SPOKEN_OF.match(rest) or _WRONG_REST.match(rest) for rest in rests)


def _denies(label: str) -> str:
    """A pattern of sentences that say of a label that it is not the one."""
    name = re.escape(label)
    return (
        rf"{_SENTENCE_START}(?:(?:it|this|that)(?:['’]s\s+not|{_NOT})(?:\s+be)?(?:\s+an?)?\s+{name}\b"
        rf"|it{_IS} wrong to \w+ (?:(?:this|it|that) )?(?:as |is )?(?:an? )?{name}\b"
        rf"|[\"'“‘*]*{name}[\"'”’*]*(?:{_IS}{_WRONG}|{_NOT}{_RIGHT}))"
    )


def _around(task: TaskSpec, text: str, found: Answer) -> tuple[str, str, str]:
    """What a text says before its answer, after its label's key and after its explanation."""
    if _json_answer(task, text)[0] is not None:
        after = text[text.rfind("}") + 1 :]
        return text[: text.find("{")], after, after
    text = _with_keys(task, _tabled(_tagged(text)))
    keys = list(_KEY.finditer(text))
    label = next((key for key in keys if key["label"]), None) or _INNER_LABEL.search(text)
    keys = keys if label is None or label in keys else sorted((label, *keys), key=re.Match.start)
    lead = text[: keys[0].start()] if keys else ""
    after = text[0 if label is None else label.end() :].lstrip()
    last = text[keys[-1].end() if keys else 0 :].lstrip()
    first, *others = _BLANK_LINE.split(last)
    # Without a key of its own, the explanation may be the paragraph after the label's.
    explained = tidy(first).endswith(found.explanation[-_MARK:])
    return lead, after, "\n\n".join(others if explained else others[1:])


def _brings_in(task: TaskSpec, lead: str) -> bool:
    """Whether what stands before an answer refuses one, or says that it is not the text's own."""
    lines = [line for line in lead.split("\n") if line.strip(" \t*_#>`-")]
    titles = tuple(f"{title}:" for title in task.fields.values())
    if not lines or lines[-1].strip(" *_#>").startswith(titles):
        return False
    clause = _LEAD_CLAUSE.split(lines[-1].strip())[-1].strip()
    if clause.endswith((".", "!", "?")) and not re.search(r"e\.\s?g\.$", clause):
        return _DECLINES.search(clause) is not None
    return _NOT_OWN.search(clause) is not None


@dataclass(frozen=True)
class KnownTask:
    """A task that is known by its digest, to remember what was read with it."""

    digest: str
    task: TaskSpec = field(compare=False)

    @classmethod
    def of(cls, task: TaskSpec) -> KnownTask:
        """A task as it is known."""
        return cls(task.digest, task)


def read_labels(task: TaskSpec, text: str) -> tuple[str, ...] | str:
    """The labels that a short text consists of, in the label space's order, or why there are none."""
    return UNKNOWN if len(text) > _HEAD else _read_labels(KnownTask.of(task), text)


@lru_cache(maxsize=2**12)  # responses share the few ways in which labels are written
def _read_labels(known: KnownTask, text: str) -> tuple[str, ...] | str:
    task = known.task
    text = _ABROAD.sub(r" (\g<word>)", text.replace("（", " (").replace("）", ")"))
    if not _numeric(task):
        text = re.sub(r"^[\s*_`]*\(?[a-zA-Z1-9][.)][ \t]+", "", text)  # which of the options it is
    one = _label(task, text)
    if one is not None:
        return (one,)
    for candidate in _undressed(text):
        bare = _LEAD_IN.sub("", candidate, count=1).strip()
        without_gloss = _without_gloss(task, bare)
        for part in (bare, without_gloss):
            one = None if part is None else _label(task, part)
            if one is not None:
                return (one,)
        parts = re.split(r"\s*(?:[,;&\n]|\s\+\s|\band\b)\s*", bare)
        found = [_label(task, part) for part in parts if part.strip(_EDGES)]
        labels = [label for label in found if label is not None]
        if found and len(labels) == len(found):
            if len(set(labels)) > 1 and task.labels.kind != "multilabel":
                return SEVERAL
            return tuple(label for label in task.labels.labels if label in labels)
    return SEVERAL if len(_named(task, text)) > 1 else UNKNOWN


def tidy(text: str, before: str = "*") -> str:
    """An explanation on one line, up to a blank one, without edge whitespace.

    Args:
        text: The explanation and what follows it.
        before: What stands before it: emphasis that ends with the explanation begins there.
    """
    paragraph = _TRAILER.split(_BLANK_LINE.split(text.lstrip(), maxsplit=1)[0], maxsplit=1)[0]
    one_line = " ".join(line.strip() for line in paragraph.split("\n")).strip()
    if len(re.findall(r"\*+", before)) % 2:
        for mark in ("**", "*"):
            one_line = one_line.removesuffix(mark) if one_line.count(mark) == 1 else one_line
    # The form's placeholder, copied.
    return "" if one_line in {"...", "…"} or _PLACEHOLDER.fullmatch(one_line) else one_line


def _undressed(text: str) -> Iterator[str]:
    """A text and what remains of it as quotes, emphasis, brackets and full stops come off."""
    for _ in range(_LAYERS):
        previous = text
        yield text
        text = _SYMBOLS.sub("", text.strip(_EDGES))
        text = re.sub(r"^\\(?:boxed|text|mathrm|textbf)\{(.*)\}$", r"\1", text)
        if text[:1] in _PAIRS and text[-1:] == _PAIRS[text[0]]:
            text = text[1:-1]
        elif text[-1:] in _PAIRS.values() and not set(text) & set(_PAIRS):
            text = text[:-1]  # of a bracket that began before the key
        text = text.rstrip(".,;:!").strip(_EDGES)
        if text == previous:
            return


def _label(task: TaskSpec, text: str) -> str | None:
    for candidate in _undressed(text):
        found = task.labels.recognise(candidate)
        if found is None and _numeric(task):
            found = task.labels.recognise(_number(candidate, task.labels.labels[-1]))
        if found is not None:
            return found
    return None


def _numeric(task: TaskSpec) -> bool:
    return task.labels.ordered and re.fullmatch(r"-?[\d.]+", task.labels.labels[0]) is not None


def _number(text: str, highest: str) -> str:
    """A number as digits: `+3`, `3/5`, `3 out of 5`, `–3`, `minus three`."""
    text = re.sub(rf"\s*(?:/|out\s+of)\s*\+?{re.escape(highest)}$", "", text.casefold().strip())
    text = re.sub(r"\s+points?$", "", text).removesuffix("\u20e3").removesuffix("\ufe0f")
    match = _SIGNED.fullmatch(text)
    if match is None:
        return ""
    number = match["number"]
    digits = (
        str(_WORDS.index(number)) if number in _WORDS else unicodedata.normalize("NFKC", number)
    )
    return digits if (match["sign"] or "+") in "+＋" else f"-{digits}"


def _without_gloss(task: TaskSpec, text: str) -> str | None:
    """`neutral` of `neutral (it could be either)`, unless the gloss may mean another label."""
    match = re.fullmatch(
        r"(.+?)(?:\s*\(([^()]*)\)|\s+((?:out of|on an?|on the) [^()]*))", text, flags=re.DOTALL
    )
    if match is None:
        return None
    said, gloss = match[1], match[2] if match[3] is None else match[3]
    own = _label(task, said)
    if own is None:
        # As the instruction has it: `true (entailment)`.
        named = _label(task, gloss)
        return gloss if named is not None and _instructed(task, said, named) else None
    ends = {task.labels.labels[0], task.labels.labels[-1]}
    on_scale = (
        re.match(r"\s*(?:out of|on an?|on the|scale)\b", gloss, flags=re.IGNORECASE)
        and set() < set(re.findall(r"-?\d+", gloss)) <= ends
    )
    if on_scale or _label(task, gloss) == own:
        return said
    suffix = text[len(said)] == "(" and re.fullmatch(r"\w{1,4}", gloss)  # neutral(ish)
    denied = _REFUSES.search(gloss) or (_DENIAL.match(gloss) and not _instructed(task, gloss, own))
    another = _named(task, gloss) - {own}
    counts = rf"\d|\b(?:{'|'.join(_WORDS)})\b"
    unclear = match[3] is not None or (
        _numeric(task) and (re.search(counts, gloss.casefold()) or _VAGUE.fullmatch(gloss))
    )
    return None if suffix or denied or another or unclear else said


def _instructed(task: TaskSpec, word: str, label: str) -> bool:
    """Whether the task's instruction explains a label by a word: `false (contradiction)`."""
    said = rf"\b{re.escape(word)} \({re.escape(label)}\)"
    return re.search(said, task.instruction, re.IGNORECASE) is not None


def _named(task: TaskSpec, text: str) -> set[str]:
    """The labels whose words occur in a text, whatever is said of them."""
    if _numeric(task):
        numbers = re.findall(r"(?<![\w.])[-−–]?\d+(?:\.\d+)?(?!\.?\d|\w)", text)
        found = {task.labels.recognise(re.sub("[−–]", "-", number)) for number in numbers}
        return {label for label in found if label is not None}
    return {
        task.labels.aliases.get(name, name)
        for name in (*task.labels.labels, *task.labels.aliases)
        if re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", text.casefold())
    }


def _leading(task: TaskSpec, text: str) -> tuple[tuple[str, ...], str, bool] | None:
    """The labels that a text begins with, what follows them, and whether that gives the reason."""
    found = read_labels(task, text)
    if isinstance(found, tuple):
        gloss = re.search(r"\(([^()]+)\)[\W_]*$", text)
        # A few words say more of the label; a sentence is a reason.
        is_reason = gloss is not None and len(gloss[1].split()) >= _SENTENCE
        return found, gloss[1] if gloss is not None and is_reason else "", False
    for separator in _SEPARATOR.finditer(text, 0, _HEAD):
        found = read_labels(task, text[: separator.start()])
        if isinstance(found, tuple):
            rest = text[separator.end() :]
            gives_reason = separator["why"] is not None
            if (
                _HEDGE.match(rest)
                or _DENIAL.match(rest)
                or (_numeric(task) and _VAGUE.fullmatch(rest))
                or (not gives_reason and _named(task, rest) - set(found))
            ):
                return None
            return found, rest, gives_reason
    return None


def _keyed(task: TaskSpec, text: str) -> Answer:
    keys = list(_KEY.finditer(text))
    if not any(key["label"] for key in keys):
        inner = _INNER_LABEL.search(text)
        if inner is not None and _introduces(text[: inner.start()]):
            told = _keyed(task, text[inner.start() :])
            before = _explains(task, text[: inner.start()])
            return answered(task, told.labels, before) if told.error == NO_EXPLANATION else told
        return _claimed(task, text) or _unkeyed(task, text)
    if _EXAMPLE.search(text[: keys[0].start()]):
        return Answer((), "", NO_LABEL)
    ends = [key.start() for key in keys[1:]] + [len(text)]
    opening = _leading(task, text[: keys[0].start()].strip().split("\n", maxsplit=1)[0])
    stated: list[tuple[tuple[str, ...], str]] = [opening[:2]] if opening else []
    error = None
    before, after = "", ""
    for key, end in zip(keys, ends, strict=True):
        value = text[key.end() : end]
        if key["why"]:
            if stated or error:
                after = after or tidy(value)
            else:
                before = before or tidy(value)
            continue
        nested = _INNER_LABEL.match(value.lstrip(" \t\n*_"))
        value = value.lstrip(" \t\n*_")[nested.end() :] if nested else value
        if not value.strip():
            continue
        value, inline = _split_why(value)
        after = after or tidy(inline)
        found = _value(task, value)
        if isinstance(found, str):
            error = error or found
        else:
            stated.append(found)
    explanation = undecorated(after or before)
    if error is not None or not stated:
        return Answer((), explanation, error or NO_LABEL)
    labels, _ = stated[0]
    if any(own != labels for own, _ in stated) or states_other(task, text, labels):
        return Answer((), "", CONFLICT)
    rest = next((rest for _, rest in stated if rest.strip()), "")
    explanation = (
        explanation or _explains(task, rest, most=None) or _explains(task, text[: keys[0].start()])
    )
    return answered(task, labels, explanation)


def _explains(task: TaskSpec, text: str, most: int | None = 1) -> str:
    """The explanation that a text without keys gives, `""` if there is none.

    Args:
        task: The task.
        text: What stands before or after a label.
        most: The most paragraphs there may be, but for chatter; `None`: the first counts.
    """
    titles = tuple(f"{title}:" for title in task.fields.values())
    paragraphs = [
        part.strip()
        for part in _BLANK_LINE.split(text)
        if part.strip()
        and not part.rstrip(" \n*_").endswith((":", "："))
        and not _CHATTER.match(part)
    ]
    if not paragraphs or (most is not None and len(paragraphs) > most):
        return ""
    lines = [line.strip(" *_#>") for line in paragraphs[0].split("\n")]
    found = undecorated(tidy(paragraphs[0]))
    repeats_item = any(line.startswith(titles) for line in lines)
    return "" if repeats_item or _OTHER_KEY.match(found) or _is_label(task, found) else found


def _claimed(task: TaskSpec, text: str) -> Answer | None:
    """An answer whose label a sentence states; `None` if none does."""
    stated: list[tuple[re.Match[str], tuple[str, ...], str]] = []
    for claim in _CLAIM.finditer(text):
        found = _leading(task, claim["value"])
        if found is not None:
            stated.append((claim, found[0], found[1]))
        elif _named(task, claim["value"]):
            return Answer((), "", SEVERAL)
    if not stated:
        return None
    claim, labels, reason = stated[0]
    after = text[claim.end() :].lstrip(".!")
    why = next((key for key in _KEY.finditer(text) if key["why"]), None)
    aside = after if why is None else after[: max(0, why.start() - claim.end())]
    if any(own != labels for _, own, _ in stated) or _named(task, aside) - set(labels):
        return Answer((), "", CONFLICT)
    if why is not None:
        return answered(task, labels, undecorated(tidy(text[why.end() :])))
    if reason:
        return answered(task, labels, undecorated(tidy(reason)))
    # The rest of the paragraph, or the one before or after it.
    around = (_explains(task, text[: claim.start()]), _explains(task, after, most=None))
    joined = not _BLANK_LINE.search(text[: claim.start()] + after)
    found_there = [part for part in around if part]
    explanation = " ".join(found_there) if joined or len(found_there) == 1 else ""
    return answered(task, labels, explanation)


def _introduces(text: str) -> bool:
    """Whether an inner `Label:` may follow a text: it ends a sentence and denies nothing."""
    denied = re.search(
        r"\b(?:not|never|neither|nor|wrong|incorrect|instead)\b|n['’]t\b", text, re.I
    )
    denied = denied or _EXAMPLE.search(text)
    return denied is None and text.rstrip(" *_")[-1:] in {".", ":", "!", "\n", ",", ""}


def _split_why(value: str) -> tuple[str, str]:
    match = _INNER_WHY.search(value)
    if match is None:
        return value, ""
    return value[: match.start()].rstrip(" \t\n.,;|(*_/–—-"), value[match.end() :]


def _value(task: TaskSpec, value: str) -> tuple[tuple[str, ...], str] | str:
    """The labels of what stands after a key, and the text that follows them."""
    lines = [line for line in value.strip().split("\n") if line.strip()]
    found = _leading(task, lines[0].strip()) if lines else None
    if found is None:
        # One label a line, as in a list, or a set over several lines.
        whole = read_labels(task, _BULLET.sub("", value.strip()))
        return whole if isinstance(whole, str) else (whole, "")
    labels, rest, _ = found
    listed = list(labels)
    for place, line in enumerate(lines[1:], start=1):
        more = read_labels(task, _BULLET.sub("", line))
        if rest or isinstance(more, str):
            return _in_order(task, listed), "\n".join((rest, *lines[place:])).strip()
        if task.labels.kind != "multilabel" and tuple(more) != labels:
            return SEVERAL
        listed += more
    return _in_order(task, listed), rest


def _in_order(task: TaskSpec, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(label for label in task.labels.labels if label in labels)


def _unkeyed(task: TaskSpec, text: str) -> Answer:
    """An answer that begins with its label: on a line of its own, or before a stop or a reason."""
    head, _, tail = text.strip().partition("\n")
    head, inline = _split_why(head)
    key = _KEY.search(tail)
    keyed, between = "", ""
    if inline:
        keyed = tidy(f"{inline}\n{tail}")
    elif key is not None and key["why"]:
        keyed, between = tidy(tail[key.end() :]), tail[: key.start()]
    found = _leading(task, re.sub(r"^[#>\s]+", "", head))
    # An enumeration's number is no label.
    numbered = _numeric(task) and re.match(r"[+-]?\d+[.)]\s", head.strip())
    if found is None or (numbered and found[1]):
        several = read_labels(task, head)
        return Answer((), undecorated(keyed), several if several == SEVERAL else NO_LABEL)
    labels, rest, gives_reason = found
    if states_other(task, text, labels) or _named(task, between) - set(labels):
        return Answer((), "", CONFLICT)
    if keyed:
        return answered(task, labels, undecorated(keyed))
    explanation = tidy(f"{rest}\n{tail}" if rest else tail)
    if _OTHER_KEY.match(explanation):
        return answered(task, labels, "")
    if not gives_reason and _named(task, explanation) - set(labels):
        return Answer((), "", CONFLICT)
    return answered(task, labels, undecorated(explanation))


def unmarked(text: str) -> str:
    """An explanation without list marks, a table's edge and emphasis around the whole of it."""
    text = re.sub(r"^[•·▪●◦]\s*|^[*-]\s+|^[>|][+-]?\s+|\s*\|$", "", text.strip())
    for mark in ("**", "__", "*", "_", "`"):
        inner = text[len(mark) : -len(mark)]
        if inner and text == mark + inner + mark and mark not in inner:
            text = inner.strip()
    return text


def undecorated(text: str) -> str:
    """An explanation without marks, quotes and brackets around the whole of it."""
    text = unmarked(_SYMBOLS.sub("", text.strip()).strip())
    if not re.search(r"[\[{]", text):  # the end of an object or a list that began before
        text = re.sub(r"[\s,]*[\]}】]+$", "", text)
    quoted = re.fullmatch(r"([\"“'][^\n]*[\"”'])[\s,;)}\]]+", text)
    text = text if quoted is None else quoted[1]
    for first, last in ('""', "''", "“”", "‘’", "«»"):
        edges = text[:1] + text[-1:]
        if edges == first + last and text[1:-1].count(first) + text[1:-1].count(last) == 0:
            text = text[1:-1].strip()
    return text[1:-1].strip() if re.fullmatch(r"\([^()]*\)", text) else text


def _tagged(text: str) -> str:
    """Elements, such as `<label>neutral</label>` and `<answer label="neutral">`, as keyed lines."""

    def keyed(match: re.Match[str]) -> str:
        own = re.fullmatch(_TAG_NAME, match["tag"], re.IGNORECASE)
        if re.search(r"\"(?:false|no|0|wrong|rejected)\"", match["pairs"], re.IGNORECASE):
            return match.group()
        pairs = [
            (match["tag"] if own and name == "value" else name, value)
            for name, value in _ATTRIBUTE.findall(match["pairs"])
        ]
        lines = [f"{n}: {v}" for n, v in pairs if re.fullmatch(_TAG_NAME, n, re.IGNORECASE)]
        plain = f"<{match['tag']}>" if own else match.group()
        return "\n" + "\n".join(lines) + "\n" if lines else plain

    text, attributed = _ATTRIBUTES.subn(keyed, text)
    made, count = _TAGS.subn(lambda m: f"\n{m['name']}: {m['value'].strip()}\n\n", text)
    wrapped = re.fullmatch(r"<(\w+)>.*</\1>", text.strip(), re.DOTALL)
    return _WRAPPERS.sub("\n", made) if count or attributed or wrapped else text


def _with_keys(task: TaskSpec, text: str) -> str:
    """A text with `Label:` where it names a label in a way of its own, and nothing else is meant."""

    def keyed(match: re.Match[str]) -> str:
        return f"Label: {match['value']}" if _is_label(task, match["value"]) else match.group()

    text = _QUOTED_LINE.sub(r"\1", _WRITTEN_BREAK.sub("\n", text))
    if _QUOTED_KEY.search(text):
        text = _QUOTED_KEY.sub(r"\n\g<name>: ", _COMMENT.sub("", text))
    pair = _PAIR.fullmatch(text) or _ROW.fullmatch(text.strip())
    if pair is not None and _is_label(task, pair["label"]) and not _is_label(task, pair["why"]):
        return f"Label: {pair['label']}\nExplanation: {undecorated(pair['why'])}"
    return _BOX.sub(keyed, _WEAK_KEY.sub(keyed, text))


def _is_label(task: TaskSpec, text: str) -> bool:
    return isinstance(read_labels(task, text), tuple)


def _tabled(text: str) -> str:
    """A table with a column of labels and one of explanations as lines with keys."""
    lines = text.split("\n")
    rows = [[cell.strip(" *_`") for cell in line.strip().strip("|").split("|")] for line in lines]
    for place, (head, rule) in enumerate(pairwise(rows)):
        if len(head) > 1 and all(re.fullmatch(r":?-+:?", cell) for cell in rule):
            body = rows[place + 2 :]
            keys = [
                "Label"
                if re.fullmatch(_LABEL_NAME, cell, re.IGNORECASE)
                else "Explanation"
                if re.fullmatch(_WHY_NAME, cell, re.IGNORECASE)
                else None
                for cell in head
            ]
            if "Label" not in keys:
                return text
            made = [
                f"{key}: {cell}"
                for row in body
                if len(row) == len(head)
                for key, cell in zip(keys, row, strict=True)
                if key
            ]
            return "\n".join([*lines[:place], *made])
    return text


def _json_answer(task: TaskSpec, text: str) -> tuple[Answer | None, str]:
    """The answer of the JSON objects in a text, and the text without them."""
    objects: list[dict[str, Any]] = []
    rest, place = "", 0
    for _ in range(_OBJECTS):
        start = text.find("{", place)
        if start < 0:
            break
        value, end = _decoded(text, start)
        rest += text[place:start]
        if isinstance(value, dict):
            objects += _answers_in(value)
        else:
            rest += text[start:end]
        place = end
    rest += text[place:]
    if not objects:
        return None, text
    found = {_from_object(task, answer) for answer in objects}
    if len(found) == 1:
        return found.pop(), rest
    return Answer((), "", CONFLICT), rest


class _AsWritten(ast.NodeTransformer):
    """Leaves numbers as they are written: `0x3` is no way to write a label."""

    def __init__(self, source: str) -> None:
        self.source = source

    def _text(self, node: ast.expr) -> ast.Constant:
        return ast.Constant(ast.get_source_segment(self.source, node))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.Constant:
        return self._text(node)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return self._text(node) if type(node.value) in (int, float, complex) else node


def _decoded(text: str, start: int) -> tuple[Any, int]:
    """The object that begins at a brace, as JSON or as Python writes it, and where it ends."""
    try:
        value, end = json.JSONDecoder(strict=False, parse_float=str).raw_decode(text, start)
        return value, end
    except (ValueError, RecursionError):
        pass
    close = text.find("}", start)
    if close < 0:
        return None, start + 1
    try:
        source = text[start : close + 1]
        return ast.literal_eval(_AsWritten(source).visit(ast.parse(source, mode="eval"))), close + 1
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None, start + 1


def _answers_in(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = _decoded(value, value.index("{"))[0]  # arguments of a call are JSON in JSON
    if isinstance(value, list):
        return [answer for entry in value for answer in _answers_in(entry)]
    if not isinstance(value, dict):
        return []
    plain = {key: _unwrapped(entry) for key, entry in value.items()}
    if any(_is_name(_LABEL_NAME, key) and _is_plain(entry) for key, entry in plain.items()):
        return [plain]
    return [answer for entry in value.values() for answer in _answers_in(entry)]


def _unwrapped(value: Any) -> Any:
    """`neutral` of `{"value": "neutral"}`."""
    single = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
    return single if isinstance(single, str | int | float) else value


def _is_plain(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return not any(isinstance(part, dict | list) for part in parts)


def _is_name(names: str, key: Any) -> bool:
    return re.fullmatch(names, str(key).replace("_", " ").strip(), re.IGNORECASE) is not None


def _from_object(task: TaskSpec, answer: dict[str, Any]) -> Answer:
    stated = [
        ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in answer.items()
        if _is_name(_LABEL_NAME, key) and _is_plain(value)
    ]
    why = [
        " ".join(map(str, value)) if isinstance(value, list) else value
        for key, value in answer.items()
        if _is_name(_WHY_NAME, key) and isinstance(value, str | list) and _is_plain(value)
    ]
    explanation = tidy(why[0]) if why else ""
    values = {read_labels(task, value) for value in stated}
    others = {
        read_labels(task, str(value))
        for key, value in answer.items()
        if re.search(rf"[ _](?:{_LABEL_NAME})$", str(key), re.IGNORECASE)
    }
    if len(values) > 1 or any(isinstance(other, tuple) for other in others - values):
        return Answer((), explanation, CONFLICT)
    labels = values.pop()
    if isinstance(labels, str):
        return Answer((), explanation, labels)
    return answered(task, labels, explanation)
