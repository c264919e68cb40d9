"""From a corpus to groups of token sequences: what is trained on, against what, how heavily."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from jinja2 import TemplateError

from capo_bench.corpus.model import Corpus, Item, Response
from capo_bench.errors import CapoBenchError, listed
from capo_bench.prompts.contexts import context, template_of, thinks
from capo_bench.prompts.prompter import Form
from capo_bench.prompts.responses import CUE, render_target
from capo_bench.train.packing import Path, Tokens, common_prefix

Prompt = Callable[[Item, str], str]
"""The prompt for an item and an annotator: a `capo_bench.prompts.prompter.Prompter`."""

Rejected = Literal["all", "same-label", "other-label"]
Balance = Literal["both", "items", "annotators", "none"]


class Encoder:
    """Token ids of prompts and responses, the same as lm-eval's `hf` model makes of them.

    Args:
        tokenizer: A tokenizer of transformers.
        chat: Wrap prompts in the tokenizer's chat template (lm-eval's `--apply_chat_template`).
        arguments: For the template (lm-eval's `chat_template_args`).

    Attributes:
        form: How the evaluation will ask a model that is trained so, see `Prompter`.

    Raises:
        CapoBenchError: If there is no end token, or no chat template where one is asked for.
    """

    def __init__(
        self, tokenizer: Any, *, chat: bool = False, arguments: Mapping[str, Any] | None = None
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise CapoBenchError(
                "the tokenizer has no end token, so that a response would never end; set `eos_token`"
            )
        if chat and not tokenizer.chat_template:
            raise CapoBenchError(
                "the tokenizer has no chat template; train without --apply_chat_template"
            )
        arguments = arguments or {}
        self._tokenizer = tokenizer
        self._known: dict[int, int] = {}  # one object an id: less than half of the memory
        self._template = template_of(tokenizer, arguments) if chat else None
        self.form: Form = "chat" if chat and thinks(arguments) else "cue"
        # What stands before a response decides how its first token is cut.
        try:
            self._before = self.text("?") if chat else "\n"
        except (ValueError, TemplateError) as error:
            raise CapoBenchError(
                f"the chat template cannot begin an answer ({str(error).splitlines()[0]}); train "
                "without --apply_chat_template"
            ) from error
        self._before_ids: list[int] = tokenizer(self._before, add_special_tokens=False).input_ids

    def text(self, prompt: str) -> str:
        """The text that a model reads before its response, without the start of the response."""
        return self._evaluated(prompt).removesuffix(self._cue or "")

    def context(self, prompt: str) -> Tokens:
        """The ids of a prompt, with the special tokens that the tokenizer adds unless it has them."""
        return self._ids(self.text(prompt))

    def response(self, text: str) -> Tokens:
        """The ids of a response and the end token.

        Tokenizers that put a blank before every text (sentencepiece) must not do so here, hence it
        is encoded after what stands before it.
        """
        ids = self._tokenizer(self._before + text, add_special_tokens=False).input_ids
        size = len(self._before_ids)
        if ids[:size] != self._before_ids:
            ids, size = self._tokenizer(text, add_special_tokens=False).input_ids, 0
        return self._tokens([*ids[size:], self._tokenizer.eos_token_id])

    def check(self, prompt: str) -> None:
        """Compares what is trained on with what an evaluation will ask.

        Raises:
            CapoBenchError: If their token ids differ.
        """
        asked = self._ids(self._evaluated(prompt))
        trained = (*self.context(prompt), *self.response(f"{CUE} a"))
        if trained[: len(asked)] != asked:
            shared = common_prefix(asked, trained)
            raise CapoBenchError(
                "this tokenizer cuts a response otherwise where it is trained than where it is asked "
                f"for, after {self._tokenizer.decode(asked[:shared])[-40:]!r}; train "
                f"{'without' if self._template else 'with'} --apply_chat_template"
            )

    @property
    def _cue(self) -> str | None:
        return CUE if self.form == "cue" else None

    def _evaluated(self, prompt: str) -> str:
        return str(context(prompt, self._cue, self._template))

    def _ids(self, text: str) -> Tokens:
        bos = self._tokenizer.bos_token
        kwargs = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
        return self._tokens(self._tokenizer(text, **kwargs).input_ids)

    def _tokens(self, ids: Sequence[int]) -> Tokens:
        return tuple(map(self._known.setdefault, ids, ids))


@dataclass(frozen=True)
class Comparison:
    """A chosen response, by index into the group's paths, against the rejected ones.

    Attributes:
        annotator: The target annotator.
        chosen: The path of the annotator's own response.
        rejected: The paths of the rejected responses; none in supervised fine-tuning.
        weight: Weight of its loss; 1 on average over a training set.
        share: What part of a comparison this is: 1, or less where its rejected responses are
            divided over several groups.
    """

    annotator: str
    chosen: int
    rejected: tuple[int, ...]
    weight: float
    share: float = 1.0


@dataclass(frozen=True)
class Group:
    """Sequences of one item that are computed together.

    Attributes:
        item: The item's id.
        paths: The sequences.
        comparisons: Which of them compete.
        reference: Log pi_ref of each path's response in nats, once it is known.
    """

    item: str
    paths: tuple[Path, ...]
    comparisons: tuple[Comparison, ...]
    reference: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Options:
    """What becomes of a corpus.

    Attributes:
        rejected: Which of the others' responses are rejected: all, only those with a label of the
            own response's (style alone), or only those with another one. `None`: no comparison, for
            supervised fine-tuning.
        balance: Which margins of the weights are made equal: items', annotators', both or none.
        max_length: Longest sequence, in tokens; longer responses are cut.
        max_trie_tokens: Budget of one group, in tokens after merging. An item that needs more is
            divided into groups that begin alike: by target annotators, and where one is too large
            by rejected responses.
        divisible: Whether a comparison may be divided, as a mean over its pairs may. Otherwise
            rejected responses are sampled where they do not fit.
        rejected_per_target: Take this many of the responses that could be rejected in a
            comparison, sampled once; `None`: all.
        drop_overlong: Drop items whose prompt leaves no room for a response, instead of refusing.
        seed: Of the samples.
        items: Use this many items only, chosen by a hash of their ids, so that fewer are among
            more; `None`: all.
    """

    rejected: Rejected | None
    balance: Balance = "both"
    max_length: int = 1024
    max_trie_tokens: int = 1024
    divisible: bool = True
    rejected_per_target: int | None = None
    drop_overlong: bool = False
    seed: int = 0
    items: int | None = None


@dataclass(frozen=True)
class Dataset:
    """Groups, and in words what was left out of them, with counts."""

    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def build(
    corpus: Corpus,
    split: str,
    prompt: Prompt,
    encoder: Encoder,
    options: Options,
    *,
    targets: Collection[str] | None = None,
    required: bool = True,
) -> Dataset:
    """The groups of one split.

    Equal responses of several annotators are one response that is the own one of all of them, so
    that identical responses never form a pair. An annotator's other responses to the same item are
    not rejected either.

    Args:
        corpus: The corpus.
        split: The split.
        prompt: Makes prompts.
        encoder: Makes token ids.
        options: See `Options`.
        targets: The target annotators; all by default.
        required: Whether there must be something to train on, and of each target.

    Raises:
        CapoBenchError: If there is not what is required, an item is too long, or there are fewer
            items than wanted.
    """
    for target in targets or ():
        if target not in corpus.annotator_ids:
            raise CapoBenchError(
                f"corpus {corpus.name} has no annotator {target!r}; "
                f"it has {listed(corpus.annotator_ids, 12)}"
            )
    drafts, notes = _drafts(corpus, split, prompt, encoder, options, targets)
    present = {annotator for draft in drafts for annotator in draft.own}
    said = tuple(f"{count} {what}" for what, count in notes.items())
    if not drafts and not required:
        return Dataset((), said)
    for target in targets or ():
        if required and target not in present:
            raise CapoBenchError(
                f"annotator {target} of corpus {corpus.name} has nothing to train on in split "
                f"{split!r}; choose another target"
            )
    if not drafts:
        raise CapoBenchError(
            f"corpus {corpus.name}, split {split!r}: there is nothing to train on "
            f"({', '.join(said) or 'no responses'})"
        )
    cells = [(draft.item.id, annotator) for draft in drafts for annotator in draft.own]
    weights = dict(zip(cells, balanced(cells, options.balance), strict=True))
    groups = [
        group
        for draft in drafts
        for group in _groups(draft, {a: weights[draft.item.id, a] for a in draft.own}, options)
    ]
    comparisons = [c for g in groups for c in g.comparisons]
    scale = sum(c.share for c in comparisons) / sum(c.weight for c in comparisons)
    groups = [
        replace(g, comparisons=tuple(replace(c, weight=c.weight * scale) for c in g.comparisons))
        for g in groups
    ]
    return Dataset(tuple(groups), said)


_MOST = 10.0  # times what a cell weighs on average


def balanced(cells: Sequence[tuple[str, str]], balance: Balance) -> list[float]:
    """Weights of (item, annotator) cells, 1 on average.

    `both` is iterative proportional fitting (Deming and Stephan 1940) of the table's margins to
    equal ones, the annotators' last: on a table that allows it all items weigh the same, and so do
    all annotators. Where annotators share few items hardly any table does, and what is fitted would
    leave half of the cells out; so no cell counts more than ten times as much as the mean, or less
    than a tenth.
    """
    weights = [1.0] * len(cells)
    axes = {"items": [0], "annotators": [1], "both": [0, 1] * 50, "none": []}[balance]
    for axis in axes:
        totals: dict[str, float] = {}
        for cell, weight in zip(cells, weights, strict=True):
            totals[cell[axis]] = totals.get(cell[axis], 0.0) + weight
        share = len(cells) / len(totals)
        weights = [w * share / totals[cell[axis]] for cell, w in zip(cells, weights, strict=True)]
        if balance == "both":
            weights = [min(max(weight, 1 / _MOST), _MOST) for weight in weights]
    return weights


@dataclass(frozen=True)
class _Draft:
    """An item before it is divided: distinct responses, and the comparisons as indices into them."""

    item: Item
    contexts: dict[str, Tokens]
    responses: tuple[Tokens, ...]
    own: dict[str, dict[int, list[int]]]  # annotator -> own response -> rejected responses


def _drafts(
    corpus: Corpus,
    split: str,
    prompt: Prompt,
    encoder: Encoder,
    options: Options,
    targets: Collection[str] | None,
) -> tuple[list[_Draft], Counter[str]]:
    notes: Counter[str] = Counter()
    drafts: list[_Draft] = []
    explained = False
    needed = corpus.task.explanations == "required"
    for item in _chosen(corpus, split, options.items):
        cells = _explained(item, notes) if needed else _labelled(item)
        explained = explained or bool(cells)
        contexts = {
            annotator: encoder.context(prompt(item, annotator))
            for annotator in cells
            if targets is None or annotator in targets
        }
        longest = max(map(len, contexts.values()), default=0)
        if longest >= options.max_length:
            if not options.drop_overlong:
                raise CapoBenchError(
                    f"item {item.id} of corpus {corpus.name}: its prompt has {longest} tokens, which "
                    f"leaves no room for a response within max_length {options.max_length}; raise "
                    "--max_length or drop such items with --drop_overlong true"
                )
            notes["items dropped because their prompt leaves no room for a response"] += 1
            continue
        draft = _draft(item, cells, contexts, encoder.response, options, notes)
        if draft.own:
            drafts.append(draft)
    if not explained:
        raise CapoBenchError(
            f"corpus {corpus.name} has no {'explanations' if needed else 'labels'} in split "
            f"{split!r}; training needs them"
        )
    return drafts, notes


def _chosen(corpus: Corpus, split: str, count: int | None) -> Sequence[Item]:
    items = corpus.split(split)
    if count is None:
        return items
    if not 0 < count <= len(items):
        raise CapoBenchError(
            f"{count} items of corpus {corpus.name}, split {split!r}, are wanted; it has {len(items)}"
        )
    ranked = sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())
    chosen = {item.id for item in ranked[:count]}
    return [item for item in items if item.id in chosen]


def _labelled(item: Item) -> dict[str, list[Response]]:
    return {annotator: list(given) for annotator, given in item.cells.items() if given}


def _explained(item: Item, notes: Counter[str]) -> dict[str, list[Response]]:
    cells: dict[str, list[Response]] = {}
    for annotator, responses in item.cells.items():
        with_text = [response for response in responses if response.explanation.strip()]
        if len(with_text) < len(responses):
            notes["responses left out because they have no explanation"] += len(responses) - len(
                with_text
            )
        if with_text:
            cells[annotator] = with_text
    return cells


def _draft(
    item: Item,
    cells: dict[str, list[Response]],
    contexts: dict[str, Tokens],
    encode: Callable[[str], Tokens],
    options: Options,
    notes: Counter[str],
) -> _Draft:
    # Distinct texts with their label and authors.
    authors: dict[str, set[str]] = {}
    labels: dict[str, frozenset[str]] = {}
    for annotator, responses in cells.items():
        for response in responses:
            text = render_target(response.labels, response.explanation)
            authors.setdefault(text, set()).add(annotator)
            labels[text] = frozenset(response.labels)
    texts = list(authors)
    own: dict[str, dict[int, list[int]]] = {}
    for annotator in contexts:
        comparisons: dict[int, list[int]] = {}
        for index, text in enumerate(texts):
            if annotator not in authors[text]:
                continue
            comparisons[index] = [
                other
                for other, rejected in enumerate(texts)
                if annotator not in authors[rejected]
                and options.rejected is not None
                and (
                    options.rejected == "all"
                    or (labels[rejected] == labels[text]) == (options.rejected == "same-label")
                )
            ]
        if options.rejected is not None:
            kept = {index: others for index, others in comparisons.items() if others}
            notes["own responses left out because nothing is rejected for them"] += len(
                comparisons
            ) - len(kept)
            comparisons = kept
        if options.rejected_per_target is not None:
            rng = random.Random(f"{options.seed} {item.id} {annotator}")
            comparisons = {
                index: sorted(rng.sample(others, min(options.rejected_per_target, len(others))))
                for index, others in comparisons.items()
            }
        if comparisons:
            own[annotator] = comparisons
    room = options.max_length - max(map(len, contexts.values()), default=0)
    encoded = [encode(text) for text in texts]
    cut = sum(len(ids) > room for ids in encoded)
    notes["responses cut to max_length"] += cut
    for what in [what for what, count in notes.items() if not count]:
        del notes[what]
    return _Draft(item, contexts, tuple(ids[:room] for ids in encoded), own)


# A part of an annotator's comparisons: chosen response -> rejected ones, as indices.
_Part = dict[int, list[int]]


def _groups(draft: _Draft, weights: dict[str, float], options: Options) -> list[Group]:
    rng = random.Random(f"{options.seed} {draft.item.id}")
    annotators = list(draft.own)
    first = draft.contexts[annotators[0]]
    shared = min(common_prefix(first, draft.contexts[annotator]) for annotator in annotators)
    budget = options.max_trie_tokens - shared
    divided: list[tuple[int, list[tuple[str, _Part]]]] = []
    for annotator in annotators:
        turn = len(draft.contexts[annotator]) - shared
        for part in _parts(draft, annotator, budget - turn, options, rng):
            size = turn + sum(len(draft.responses[index]) for index in _responses(part))
            # The first group with room takes the part, unless it has one of the annotator's.
            for place, (used, members) in enumerate(divided):
                if used + size <= budget and annotator not in dict(members):
                    divided[place] = (used + size, [*members, (annotator, part)])
                    break
            else:
                divided.append((size, [(annotator, part)]))
    return [_group(draft, members, weights, options.divisible) for _, members in divided]


def _responses(part: _Part) -> set[int]:
    return {index for chosen, others in part.items() for index in (chosen, *others)}


def _parts(
    draft: _Draft, annotator: str, budget: int, options: Options, rng: random.Random
) -> list[_Part]:
    """The annotator's comparisons in parts within a budget of response tokens.

    The chosen responses are in every part, each with one rejected response at least, whatever the
    budget.
    """
    comparisons = draft.own[annotator]
    length = [len(ids) for ids in draft.responses]
    room = budget - sum(length[chosen] for chosen in comparisons)
    others = sorted({other for rejected in comparisons.values() for other in rejected})
    if not others or sum(length[other] for other in others) <= room:
        return [comparisons]
    rng.shuffle(others)
    if not options.divisible:
        needed = [next(o for o in others if o in rejected) for rejected in comparisons.values()]
        used = set(needed)
        for other in others:
            if sum(length[o] for o in used) + length[other] <= room:
                used.add(other)
        return [_within(comparisons, used)]
    parts: list[set[int]] = []
    for other in others:
        if not parts or sum(length[o] for o in parts[-1]) + length[other] > room:
            parts.append(set())
        parts[-1].add(other)
    return [_within(comparisons, part) for part in parts]


def _within(comparisons: _Part, used: set[int]) -> _Part:
    found = {
        chosen: [other for other in rejected if other in used]
        for chosen, rejected in comparisons.items()
    }
    return {chosen: rejected for chosen, rejected in found.items() if rejected}


def _group(
    draft: _Draft,
    members: Sequence[tuple[str, _Part]],
    weights: dict[str, float],
    divisible: bool,
) -> Group:
    paths: list[Path] = []
    comparisons: list[Comparison] = []
    for annotator, part in members:
        place: dict[int, int] = {}
        for index in sorted(_responses(part)):
            place[index] = len(paths)
            paths.append(Path(draft.contexts[annotator], draft.responses[index]))
        whole = draft.own[annotator]
        for chosen, others in part.items():
            share = len(others) / len(whole[chosen]) if others and divisible else 1.0
            comparisons.append(
                Comparison(
                    annotator=annotator,
                    chosen=place[chosen],
                    rejected=tuple(place[other] for other in others),
                    weight=share * weights[annotator] / len(whole),
                    share=share,
                )
            )
    return Group(draft.item.id, tuple(paths), tuple(comparisons))
