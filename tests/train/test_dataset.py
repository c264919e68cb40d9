import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import trl
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace
from transformers import PreTrainedTokenizerFast

from capo_bench.corpus.load import load
from capo_bench.errors import CapoBenchError
from capo_bench.harness.paths import tasks_path
from capo_bench.prompts.prompter import Prompter
from capo_bench.prompts.responses import render_target
from capo_bench.train.dataset import Encoder, Options, balanced
from capo_bench.train.dataset import build as build_from
from capo_bench.train.packing import build as build_trie
from capo_bench.train.reference import groups_fingerprint

from . import tiny
from .corpora import corpus, crossed

ALL = Options(rejected="all")


def build(toy, split, encoder, options, **kwargs):
    return build_from(toy, split, Prompter(toy, "tag"), encoder, options, **kwargs)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return Encoder(tokenizer)


def _texts(tokenizer, group):
    """Comparisons as (annotator, chosen text, rejected texts)."""

    def text(path):
        return tokenizer.decode(group.paths[path].response, skip_special_tokens=True)

    return [
        (c.annotator, text(c.chosen), sorted(text(path) for path in c.rejected))
        for c in group.comparisons
    ]


def test_a_response_without_a_rejected_one_is_kept_whatever_the_budget(encoder):
    toy = corpus({"i": {"A": [("yes", "one")], "B": [("no", "two")]}})
    groups = build(toy, "train", encoder, Options(rejected=None, max_trie_tokens=1)).groups
    own = [(one.annotator, one.rejected) for group in groups for one in group.comparisons]
    assert own == [("A", ()), ("B", ())]


def test_comparisons_by_hand(tokenizer, encoder):
    """A has two pairs, B repeats one of them, C says something else; D did not answer."""
    toy = corpus(
        {
            "i": {
                "A": [("yes", "one"), ("no", "two")],
                "B": [("yes", "one")],
                "C": [("no", "three")],
            },
            "j": {"D": [("no", "four")], "A": [("yes", "five")]},
        }
    )
    one, two, three = (
        render_target([label], words)
        for label, words in (("yes", "one"), ("no", "two"), ("no", "three"))
    )
    group = build(toy, "train", encoder, ALL).groups[0]
    assert _texts(tokenizer, group) == [
        ("A", one, [three]),
        ("A", two, [three]),
        ("B", one, sorted([two, three])),
        ("C", three, sorted([one, two])),
    ]
    for comparison in group.comparisons:
        prompt = Prompter(toy, "tag")(toy.items[0], comparison.annotator)
        assert group.paths[comparison.chosen].context == encoder.context(prompt)
    same = build(toy, "train", encoder, Options(rejected="same-label")).groups
    assert _texts(tokenizer, same[0]) == [
        ("A", two, [three]),
        ("C", three, [two]),
    ]
    assert len(same) == 1  # nothing in j has the same label
    other = build(toy, "train", encoder, Options(rejected="other-label")).groups
    assert _texts(tokenizer, other[0])[0] == ("A", one, [three])
    sft = build(toy, "train", encoder, Options(rejected=None)).groups
    assert _texts(tokenizer, sft[0]) == [
        ("A", one, []),
        ("A", two, []),
        ("B", one, []),
        ("C", three, []),
    ]


def test_identical_responses_are_no_pair(encoder):
    toy = corpus({"i": {"A": [("yes", "same")], "B": [("yes", "same")]}})
    with pytest.raises(CapoBenchError, match="2 own responses left out"):
        build(toy, "train", encoder, ALL)


def test_two_pairs_of_a_cell_share_its_weight(encoder):
    toy = corpus({"i": {"A": [("yes", "one"), ("no", "two")], "B": [("no", "three")]}})
    weights = [c.weight for c in build(toy, "train", encoder, ALL).groups[0].comparisons]
    assert weights == pytest.approx([0.75, 0.75, 1.5])


def test_balance_by_hand():
    cells = [("i", "A"), ("i", "B"), ("j", "A")]
    assert balanced(cells, "none") == [1, 1, 1]
    assert balanced(cells, "items") == pytest.approx([0.75, 0.75, 1.5])
    assert balanced(cells, "annotators") == pytest.approx([0.75, 1.5, 0.75])
    full = [("i", "A"), ("i", "B"), ("j", "A"), ("j", "B"), ("k", "A"), ("k", "B")]
    assert balanced(full, "both") == pytest.approx([1] * 6)


def test_balance_leaves_no_cell_out_where_margins_cannot_be_equal():
    """B has one cell, A ten, of which one is of B's item: equal margins would take it away."""
    cells = [("0", "A"), ("0", "B"), *((str(item), "A") for item in range(1, 10))]
    weights = balanced(cells, "both")
    assert min(weights) == pytest.approx(0.1)
    assert max(weights) <= 10
    assert weights[1] > 5 * weights[2]  # as far as it goes, B weighs what A does


def test_balance_of_both_margins():
    cells = [("i", "A"), ("i", "B"), ("i", "C"), ("j", "A"), ("j", "B"), ("k", "A"), ("k", "C")]
    weights = balanced(cells, "both")
    for axis in (0, 1):
        totals = {}
        for cell, weight in zip(cells, weights, strict=True):
            totals[cell[axis]] = totals.get(cell[axis], 0) + weight
        assert list(totals.values()) == pytest.approx([7 / 3] * 3, rel=1e-6)


def test_targets(encoder):
    toy = crossed(3, 4)
    groups = build(toy, "train", encoder, ALL, targets=["A1"]).groups
    assert {c.annotator for g in groups for c in g.comparisons} == {"A1"}
    assert [len(g.paths) for g in groups] == [4, 4, 4]


@pytest.mark.parametrize("setting", ["zero-shot", "profile"])
def test_prompts_are_those_of_the_setting(encoder, setting):
    toy = crossed(2, 2)
    prompter = Prompter(toy, setting)
    groups = build_from(toy, "train", prompter, encoder, ALL).groups
    assert [path.context for group in groups for path in group.paths] == [
        encoder.context(prompter(item, annotator))
        for item in toy.items
        for annotator in ("A0", "A0", "A1", "A1")
    ]


def test_fewer_items_are_among_more(encoder):
    toy = crossed(8, 2)
    chosen = [
        [g.item for g in build(toy, "train", encoder, replace(ALL, items=count)).groups]
        for count in range(1, 9)
    ]
    assert [len(items) for items in chosen] == list(range(1, 9))
    for fewer, more in itertools.pairwise(chosen):
        assert set(fewer) < set(more)
        assert more == sorted(more)  # in the order of the corpus
    # sha256 of "i5" begins with 0016, the lowest of the eight.
    assert chosen[0] == ["i5"]
    for count in (0, 9):
        with pytest.raises(CapoBenchError, match=f"{count} items .* are wanted; it has 8"):
            build(toy, "train", encoder, replace(ALL, items=count))


def pairs(groups):
    """(annotator, chosen text, rejected text) of every pair."""
    return sorted(
        (c.annotator, group.paths[c.chosen].response, group.paths[other].response)
        for group in groups
        for c in group.comparisons
        for other in c.rejected
    )


@pytest.mark.parametrize("budget", [500, 250])
def test_budget_divides_an_item_without_loss(encoder, budget):
    toy = crossed(1, 12)
    whole = build(toy, "train", encoder, replace(ALL, max_trie_tokens=100_000)).groups
    assert len(whole) == 1
    assert len(whole[0].paths) == 144
    options = replace(ALL, max_trie_tokens=budget)
    groups = build(toy, "train", encoder, options).groups
    assert pairs(groups) == pairs(whole)
    assert sum(c.share for g in groups for c in g.comparisons) == pytest.approx(12)
    for group in groups:
        assert len(build_trie(group.paths).tokens) <= budget
        assert all(comparison.rejected for comparison in group.comparisons)
    assert groups == build(toy, "train", encoder, options).groups


def test_a_listwise_comparison_is_sampled_instead(encoder):
    toy = crossed(1, 12)
    options = replace(ALL, max_trie_tokens=250, divisible=False)
    groups = build(toy, "train", encoder, options).groups
    assert sorted(c.annotator for g in groups for c in g.comparisons) == sorted(toy.annotator_ids)
    assert {c.share for g in groups for c in g.comparisons} == {1.0}
    for group in groups:
        assert len(build_trie(group.paths).tokens) <= 250
        assert all(comparison.rejected for comparison in group.comparisons)


def test_few_rejected_responses_a_target(encoder):
    toy = crossed(3, 5)
    all_of = pairs(build(toy, "train", encoder, ALL).groups)
    options = replace(ALL, rejected_per_target=2)
    some = build(toy, "train", encoder, options).groups
    assert {len(c.rejected) for g in some for c in g.comparisons} == {2}
    assert len(set(pairs(some)) & set(all_of)) == 3 * 5 * 2
    assert some == build(toy, "train", encoder, options).groups


def test_long_responses_are_cut_and_counted(encoder):
    toy = corpus({"i": {"A": [("yes", "x" * 300)], "B": [("no", "short")]}})
    built = build(toy, "train", encoder, replace(ALL, max_length=120))
    assert max(len(p.context) + len(p.response) for p in built.groups[0].paths) == 120
    assert built.notes == ("1 responses cut to max_length",)


@pytest.mark.parametrize(
    ("toy", "options", "targets", "message"),
    [
        (crossed(1, 2), replace(ALL, max_length=30), None, "item i0 .* its prompt has 38 tokens"),
        (crossed(1, 2), ALL, ["Z"], "no annotator 'Z'; it has A0, A1"),
        (
            corpus({"i": {"A": [("yes", "a")], "B": [("no", "b")]}, "j": {"C": []}}),
            ALL,
            ["C"],
            "annotator C .* has nothing to train on",
        ),
        (corpus({"i": {"A": [("yes", "")], "B": [("no", "")]}}), ALL, None, "no explanations"),
    ],
)
def test_bad_input(encoder, toy, options, targets, message):
    with pytest.raises(CapoBenchError, match=message):
        build(toy, "train", encoder, options, targets=targets)


def test_overlong_items_are_dropped_on_request(encoder):
    toy = corpus({"i": {"A": [("yes", "a")], "B": [("no", "b")]}})
    long = replace(toy.items[0], id="long", text={"text": "x" * 500})
    toy = replace(toy, items=(*toy.items, long))
    built = build(toy, "train", encoder, replace(ALL, max_length=100, drop_overlong=True))
    assert [group.item for group in built.groups] == ["i"]
    assert built.notes == ("1 items dropped because their prompt leaves no room for a response",)


CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}<assistant>"


@pytest.mark.parametrize("chat", [False, True])
def test_token_ids_are_those_of_lm_eval(tmp_path, chat):
    """lm-eval's own model class encodes the prompt; its template code wraps it."""
    from lm_eval.models.huggingface import HFLM

    tiny.folder(tmp_path)
    harness = HFLM(pretrained=str(tmp_path), device="cpu", batch_size=1)
    harness.tokenizer.chat_template = CHAT
    toy = crossed(1, 2)
    prompt = Prompter(toy, "tag")(toy.items[0], "A0")
    text = prompt
    if chat:
        text = harness.apply_chat_template([{"role": "user", "content": prompt}])
        assert text == f"<user>{prompt}</><assistant>"
    ids, _ = harness.tok_batch_encode([text])
    ours = Encoder(harness.tokenizer, chat=chat)
    assert ours.text(prompt) == text
    assert list(ours.context(prompt)) == ids[0].tolist()
    # The template may write the begin token itself; it is not added again.
    harness.tokenizer.chat_template = "<bos>" + CHAT
    text = harness.apply_chat_template([{"role": "user", "content": prompt}])
    ids, _ = harness.tok_batch_encode([text])
    assert list(Encoder(harness.tokenizer, chat=True).context(prompt)) == ids[0].tolist()


THINKING = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if enable_thinking is false %}<think></think>"
    "{% endif %}{% endif %}"
)


@pytest.mark.parametrize(
    ("arguments", "opening"),
    [
        ({}, "<assistant><think></think>Label:"),
        ({"enable_thinking": False}, "<assistant><think></think>Label:"),
        # Who thinks begins its own message.
        ({"enable_thinking": True}, "<assistant>"),
    ],
)
def test_a_context_is_that_of_the_evaluation_under_a_template_for_thoughts(
    tmp_path, arguments, opening
):
    from lm_eval.models.huggingface import HFLM

    tiny.folder(tmp_path)
    harness = HFLM(
        pretrained=str(tmp_path),
        device="cpu",
        chat_template_args=dict(arguments),
        think_end_token="</think>",
    )
    harness.tokenizer.chat_template = THINKING
    (sent,) = sent_contexts("mini-nli", harness, arguments)
    assert sent.endswith(opening)
    ours = Encoder(harness.tokenizer, chat=True, arguments=arguments)
    toy = load("mini-nli")
    prompt = Prompter(toy, "tag", form=ours.form)(toy.split("test")[0], "Ann1")
    ours.check(prompt)
    asked = harness.tok_batch_encode([sent])[0][0].tolist()
    trained = [*ours.context(prompt), *ours.response("Label: neutral")]
    assert trained[: len(asked)] == asked


def templates_that_think():
    """Those that TRL ships for models that think."""
    folder = Path(trl.__file__).parent / "chat_templates"
    kinds = ("qwen3*", "glm4moe", "gptoss", "deepseek*", "nemotron*")
    return [file for kind in kinds for file in sorted(folder.glob(f"{kind}.jinja"))]


@pytest.mark.parametrize("file", templates_that_think(), ids=lambda file: file.stem)
def test_under_every_template_for_thoughts_the_trained_ids_are_those_asked_for(file):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = file.read_text()
    for arguments in ({}, {"enable_thinking": False}, {"enable_thinking": True}):
        Encoder(tokenizer, chat=True, arguments=arguments).check("Annotator 1:\n")


def sent_contexts(corpus, harness, arguments):
    """What goes out for the first annotator of the first test item."""
    from lm_eval.tasks import TaskManager

    name = f"capo_{corpus.replace('-', '_')}_tag"
    manager = TaskManager(
        include_path=str(tasks_path()), include_defaults=False, metadata=dict(arguments)
    )
    task = manager.load([name])["tasks"][name]
    task.build_all_requests(
        limit=1, apply_chat_template=True, chat_template=harness.apply_chat_template
    )
    return [task.instances[0].args[0]]


def test_a_tokenizer_that_cuts_the_response_otherwise_is_refused():
    """With a template that ends in a letter, its last letter and the cue's first are one token."""
    vocabulary = {"<eos>": 0, "x": 1, "L": 2, "xL": 3, "a": 4, "b": 5, "e": 6, "l": 7, ":": 8}
    core = Tokenizer(BPE(vocab={**vocabulary, " ": 9, "?": 10, "\n": 11}, merges=[("x", "L")]))
    merging = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    merging.chat_template = "{% for m in messages %}{{ m.content }}x{% endfor %}"
    with pytest.raises(CapoBenchError, match="cuts a response otherwise"):
        Encoder(merging, chat=True).check("a")


def test_segments_and_the_joint_text_have_the_same_ids(tokenizer, encoder):
    prompt, response = "Text: a.\n\nAnnotator 1:\n", "Label: yes\nExplanation: so."
    joint = tokenizer(prompt + response).input_ids
    assert [*encoder.context(prompt), *encoder.response(response)] == [*joint, 2]


def test_sentencepiece_blank_is_not_put_before_a_response():
    """A tokenizer that marks every beginning of a text with a blank, as Llama 2's does."""
    vocabulary = {"<eos>": 0, "▁": 1, "\n": 2, "L": 3, "a": 4}
    core = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = Metaspace(prepend_scheme="always")
    marking = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    assert marking("La", add_special_tokens=False).input_ids == [1, 3, 4]
    assert Encoder(marking).response("La") == (3, 4, 0)


def test_no_end_token_and_no_template():
    bare = tiny.tokenizer()
    with pytest.raises(CapoBenchError, match="no chat template"):
        Encoder(bare, chat=True)
    bare.eos_token = None
    with pytest.raises(CapoBenchError, match="no end token"):
        Encoder(bare)


def test_the_fingerprint_is_that_of_the_groups_text(encoder):
    groups = build(crossed(3, 4), "train", encoder, ALL).groups
    for some in (groups, groups[:1], ()):
        whole = hashlib.blake2b(repr(list(some)).encode(), digest_size=8).hexdigest()
        assert groups_fingerprint(some) == whole
