import math
from dataclasses import replace

import pytest
import torch

from capo_bench.errors import CapoBenchError
from capo_bench.prompts.prompter import Prompter
from capo_bench.train import attention, memory
from capo_bench.train.batches import compose, passes
from capo_bench.train.capo_config import CapoConfig
from capo_bench.train.capo_trainer import CapoTrainer
from capo_bench.train.dataset import Encoder, Group, Options, build
from capo_bench.train.layouts import choose
from capo_bench.train.models import with_lora
from capo_bench.train.packing import Path
from capo_bench.train.packing import build as build_trie
from capo_bench.train.sft_config import SftConfig
from capo_bench.train.sft_trainer import SftTrainer

from . import tiny
from .corpora import crossed

LAYOUTS = ("trie", "target", "plain")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("tiny"))


def load(source):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)


def groups_of(items=3, annotators=3, rejected="all", **kwargs):
    options = Options(rejected=rejected, **{"max_trie_tokens": 2048, **kwargs})
    toy = crossed(items, annotators)
    encoder = Encoder(tiny.tokenizer())
    return build(toy, "train", Prompter(toy, "tag"), encoder, options).groups


def config(cls, output, **kwargs):
    kwargs = {"eval_strategy": "no", "save_strategy": "no", "use_cpu": True, **kwargs}
    return cls(output_dir=str(output), disable_tqdm=True, **kwargs)


def capo(source, tmp_path, groups, model=None, **kwargs):
    args = config(CapoConfig, tmp_path, **kwargs)
    return CapoTrainer(model or load(source), args, groups, groups, cache=tmp_path / "cache")


def moved(model, seed=1):
    """The model far enough from where it was for a loss that is not the one at the start."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))


def loss_and_gradient(trainer, groups):
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, {"batch": trainer.collate(groups)})
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize(("loss", "start"), [("sigmoid", math.log(2)), ("softmax", math.log(3))])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_at_the_start(source, tmp_path, layout, loss, start):
    trainer = capo(source, tmp_path, groups_of(), layout=layout, loss=loss)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(start, abs=1e-6)


def test_forms_give_the_same_loss_and_gradient(source, tmp_path):
    results = []
    for layout in LAYOUTS:
        trainer = capo(source, tmp_path, groups_of(), layout=layout)
        moved(trainer.model)
        results.append(loss_and_gradient(trainer, trainer.train_dataset[0]))
    assert abs(results[0][0] - math.log(2)) > 0.01
    for loss, gradient in results[1:]:
        assert loss == pytest.approx(results[0][0], abs=1e-6)
        torch.testing.assert_close(gradient, results[0][1], rtol=1e-3, atol=1e-6)


def test_loss_is_that_of_trl(source, tmp_path):
    """TRL's DPOTrainer on the same pairs, weights and reference."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    groups = groups_of()
    trainer = capo(source, tmp_path, groups, beta=0.3)
    moved(trainer.model)
    ours, gradient = loss_and_gradient(
        trainer, [g for batch in trainer.train_dataset for g in batch]
    )
    tokenizer = tiny.tokenizer()
    pairs = [
        {
            "prompt": tokenizer.decode(group.paths[comparison.chosen].context[1:]),
            "chosen": tokenizer.decode(group.paths[comparison.chosen].response[:-1]),
            "rejected": tokenizer.decode(group.paths[rejected].response[:-1]),
        }
        for group in groups
        for comparison in group.comparisons
        for rejected in comparison.rejected
    ]
    assert len(pairs) == 3 * 3 * 2
    policy = load(source)
    moved(policy)
    trl = DPOTrainer(
        policy,
        load(source),
        args=DPOConfig(
            output_dir=str(tmp_path / "trl"), beta=0.3, use_cpu=True, bf16=False,
            gradient_checkpointing=False, disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
    )  # fmt: skip
    batch = trl.data_collator(list(trl.train_dataset))
    policy.zero_grad()
    theirs = trl.compute_loss(policy, batch)
    theirs.backward()
    assert abs(ours - math.log(2)) > 0.01
    assert ours == pytest.approx(theirs.item(), abs=1e-5)
    expected = torch.cat([p.grad.flatten() for p in policy.parameters()])
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


def test_without_a_reference(source, tmp_path):
    """The margin is of the policy's own log-probabilities."""
    groups = groups_of(items=1, annotators=2)
    trainer = capo(source, tmp_path, groups, reference_free=True, beta=0.3)
    assert not (tmp_path / "cache").exists()
    with torch.no_grad():
        values = trainer.logprobs(trainer.model, trainer.collate(groups)).tolist()
    expected = [
        math.log1p(math.exp(-0.3 * (values[c.chosen] - values[c.rejected[0]])))
        for c in groups[0].comparisons
    ]
    loss, _ = loss_and_gradient(trainer, trainer.train_dataset[0])
    assert loss == pytest.approx(sum(expected) / 2, abs=1e-5)


def test_a_step_holds_whole_items_however_they_are_divided():
    """Items i and k are in three parts; two items a step, as if they were in one."""
    parts = [
        Group(item, (Path((at,) * size, (2,)),), ())
        for at, (item, size) in enumerate(
            [("i", 4), ("i", 4), ("i", 4), ("j", 6), ("k", 5), ("k", 5), ("k", 5), ("l", 3)]
        )
    ]
    whole = [parts[at] for at in (0, 3, 4, 7)]
    found = compose(parts, "trie", 2, seed=0)
    assert sorted(map(sorted, found)) in (
        [[0, 1, 2, 7], [3, 4, 5, 6]],  # by size: 3 and 4, 5 and 6
        [[3, 4, 5, 6], [0, 1, 2, 7]],
    )
    items = [list(dict.fromkeys(parts[at].item for at in batch)) for batch in found]
    assert items == [
        [whole[at].item for at in batch] for batch in compose(whole, "trie", 2, seed=0)
    ]


def test_passes_keep_to_the_budget():
    """Rows of 3, 5, 5 and 9 tokens, by hand: a pass is as wide as its longest row."""
    groups = [
        Group(f"i{at}", (Path((1,) * size, (2,)),), ()) for at, size in enumerate((5, 9, 3, 5))
    ]  # a response's last token is no input
    assert sorted(i for batch in compose(groups, "trie", 3, seed=0) for i in batch) == [0, 1, 2, 3]
    assert [len(batch) for batch in compose(groups, "trie", 3, seed=0)] == [3, 1]

    def sizes(budget):
        parts = passes(groups, "trie", budget)
        return [[len(group.paths[0].context) for group in part] for part in parts]

    assert sizes(36) == [[3, 5, 5, 9]]
    assert sizes(35) == [[3, 5, 5], [9]]
    assert sizes(14) == [[3, 5], [5], [9]]
    assert sizes(1) == [[3], [5], [5], [9]]


def test_a_batch_in_several_passes_gives_the_same_step(source, tmp_path):
    groups = groups_of(items=3, annotators=4)
    weights = []
    for budget in (10_000, 2):
        trainer = capo(
            source, tmp_path / str(budget), groups, max_steps=1, learning_rate=0.1, optim="sgd",
            warmup_steps=0, logging_steps=1, max_batch_tokens=budget,
        )  # fmt: skip
        trainer.pass_tokens = budget
        assert len(trainer._collate([groups])["passes"]) == (3 if budget == 2 else 1)
        trainer.train()
        weights.append(torch.cat([p.flatten() for p in trainer.model.parameters()]))
        assert trainer.state.log_history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)


def test_a_divided_comparison_is_the_whole_one(source, tmp_path):
    """A budget that tears rejected responses apart changes neither loss nor gradient."""
    groups = groups_of(items=1, annotators=6)
    largest = max(len(build_trie(group.paths).tokens) for group in groups)
    parts = groups_of(items=1, annotators=6, max_trie_tokens=largest // 5)
    assert min(c.share for group in parts for c in group.comparisons) < 1
    results = []
    for given in (groups, parts):
        trainer = capo(source, tmp_path, given)
        moved(trainer.model)
        prepared = [group for batch in trainer.train_dataset for group in batch]
        results.append((*loss_and_gradient(trainer, prepared), trainer.evaluate()))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-3, atol=1e-6)
    for name, value in results[0][2].items():
        if name.removeprefix("eval_").split("/")[0] in ("loss", "nll", "rewards"):
            assert results[1][2][name] == pytest.approx(value, abs=1e-5), name


def test_memory_is_of_the_optimizer_and_of_a_second_model(source, tmp_path):
    """In float32: gradients, AdamW's two moments, and the reference where it is a copy."""
    weights = 4 * sum(p.numel() for p in load(source).parameters())
    held = {
        "adamw": capo(source, tmp_path / "1", groups_of()),
        "sgd": capo(source, tmp_path / "2", groups_of(), optim="sgd"),
        "copy": capo(source, tmp_path / "3", groups_of(), precompute=False),
        "free": capo(source, tmp_path / "4", groups_of(), precompute=False, reference_free=True),
    }
    copies = {name: trainer.memory.state / weights for name, trainer in held.items()}
    assert copies == {"adamw": 3, "sgd": 1, "copy": 4, "free": 3}
    sharded = memory.estimate(
        load(source), load(source).config, checkpointing=False, logits_whole=True, shards=4
    )
    assert sharded.state == 3 * weights // 4


def test_too_little_memory_is_refused_with_figures(source, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_free", lambda device: 10_000)
    with pytest.raises(CapoBenchError, match=r"needs about 0\.\d GB .*, 0\.0 GB are free; lower"):
        capo(source, tmp_path, groups_of())


def test_order_of_annotators_and_items_in_a_batch_change_nothing(source, tmp_path):
    groups = groups_of(items=2)
    trainer = capo(source, tmp_path, groups)
    groups = trainer.prepared(groups)
    moved(trainer.model)
    turned = [replace(g, comparisons=g.comparisons[::-1]) for g in reversed(groups)]
    loss, gradient = loss_and_gradient(trainer, groups)
    loss_turned, gradient_turned = loss_and_gradient(trainer, turned)
    assert loss == pytest.approx(loss_turned, abs=1e-6)
    torch.testing.assert_close(gradient, gradient_turned, rtol=1e-3, atol=1e-6)
    one, _ = loss_and_gradient(trainer, groups[:1])
    other, _ = loss_and_gradient(trainer, groups[1:])
    assert loss == pytest.approx((one + other) / 2, abs=1e-6)


def test_sft_loss_is_that_of_transformers(source, tmp_path):
    groups = groups_of(rejected=None)
    trainer = SftTrainer(load(source), config(SftConfig, tmp_path), groups)
    loss, gradient = loss_and_gradient(trainer, groups)
    model = load(source)
    paths = [group.paths[comparison.chosen] for group in groups for comparison in group.comparisons]
    tokens = sum(len(path.response) for path in paths)
    expected = 0.0
    for path in paths:
        ids = torch.tensor([path.context + path.response])
        labels = torch.tensor([(-100,) * len(path.context) + path.response])
        part = model(input_ids=ids, labels=labels).loss * len(path.response) / tokens
        part.backward()
        expected += part.item()
    assert loss == pytest.approx(expected, abs=1e-5)
    wanted = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-6)


def test_accumulated_steps_are_one_large_batch(source, tmp_path):
    """Groups of unequal sizes: a mean of means would differ."""
    groups = [*groups_of(items=1), *groups_of(items=2, annotators=5)[1:]]
    weights = []
    for size, steps in ((2, 1), (1, 2)):
        trainer = capo(
            source, tmp_path / str(size), groups, per_device_train_batch_size=size, max_steps=1,
            gradient_accumulation_steps=steps, learning_rate=0.1, optim="sgd", warmup_steps=0,
        )  # fmt: skip
        trainer.train()
        weights.append(torch.cat([p.flatten() for p in trainer.model.parameters()]))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)


def test_recomputed_activations_change_nothing(source, tmp_path):
    plain = capo(source, tmp_path, groups_of())
    frugal = capo(source, tmp_path, groups_of())
    frugal.model.activation_checkpointing_enable()
    results = []
    for trainer in (plain, frugal):
        moved(trainer.model)
        trainer.model.train()
        results.append(loss_and_gradient(trainer, trainer.train_dataset[0]))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("precompute", [True, False])
def test_mixed_precision_starts_at_log_2(source, tmp_path, precompute):
    """The reference is computed in the precision of the training: the margins are what beta makes
    of rounding to 8 bits if it is not, on weights that are not near 0."""
    model = load(source)
    moved(model)
    trainer = capo(
        source, tmp_path, groups_of(), model, precompute=precompute,
        bf16=True, beta=1.0, learning_rate=1e-9, max_steps=1, logging_steps=1,
    )  # fmt: skip
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert logged["rewards/margins"] == pytest.approx(0, abs=1e-4)


def test_capo_learns_and_reports(source, tmp_path):
    trainer = capo(
        source, tmp_path, groups_of(items=4), max_steps=90, learning_rate=3e-3, logging_steps=90
    )
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert {
        "rewards/accuracies",
        "rewards/margins",
        "rewards/chosen",
        "rewards/rejected",
        "nll",
        "loss",
    } <= set(logged)
    measured = trainer.evaluate()
    assert measured["eval_loss"] < 0.5
    assert measured["eval_rewards/accuracies"] > 0.9
    assert all(measured[f"eval_rewards/margins/A{a}"] > 0 for a in range(3))


def test_reference_is_computed_once(source, tmp_path, monkeypatch):
    capo(source, tmp_path, groups_of())
    files = sorted((tmp_path / "cache").iterdir())
    monkeypatch.setattr(CapoTrainer, "logprobs", None)
    again = capo(source, tmp_path, groups_of())
    assert sorted((tmp_path / "cache").iterdir()) == files
    assert len(again.train_dataset[0][0].reference) == 9
    changed = load(source)
    moved(changed)
    with pytest.raises(TypeError):  # another model: it would be computed
        capo(source, tmp_path, groups_of(), model=changed)


@pytest.mark.parametrize("adapter", [False, True])
def test_a_reference_in_every_step_is_the_one_computed_before(source, tmp_path, adapter):
    results = []
    for precompute in (True, False):
        model = load(source)
        if adapter:
            torch.manual_seed(0)
            model = with_lora(model, rank=4, alpha=8, targets=["all-linear"])
        trainer = capo(source, tmp_path, groups_of(), model=model, precompute=precompute)
        if not precompute:
            assert (trainer._reference is trainer.model) == adapter
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        results.append(trainer.evaluate())
    assert abs(results[0]["eval_loss"] - math.log(2)) > 0.001
    for name in ("eval_loss", "eval_rewards/margins", "eval_nll"):
        assert results[0][name] == pytest.approx(results[1][name], abs=1e-5)


@pytest.mark.parametrize(("accumulated", "batches"), [(1, 2), (2, 4)])
def test_a_short_run_needs_no_reference_of_items_it_does_not_reach(
    source, tmp_path, accumulated, batches
):
    groups = groups_of(items=6)
    short = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": accumulated}
    whole = capo(source, tmp_path / "whole", groups, **short)
    args = config(CapoConfig, tmp_path, max_steps=2, logging_steps=1, learning_rate=1e-3, **short)
    trainer = CapoTrainer(load(source), args, groups, cache=tmp_path / "cache")
    known = [batch[0] for batch in trainer.train_dataset if batch[0].reference is not None]
    assert len(known) == batches
    wanted = {batch[0].item: batch[0].reference for batch in whole.train_dataset}
    for group in known:
        assert group.reference == pytest.approx(wanted[group.item], abs=1e-5)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert len(losses) == 2
    # What a run must not reach would stop it.
    args.max_steps = 6
    with pytest.raises(CapoBenchError, match="the loss is nan"):
        trainer.train()


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_trie_is_chosen(architecture):
    model = tiny.model(architecture, torch.float32)
    stock = model.config._attn_implementation
    assert choose(model, model.config, [tiny.group(1)], "auto") == "trie"
    assert model.config._attn_implementation == (attention.NAME if stock == "sdpa" else stock)


def test_a_model_that_ignores_the_mask_is_named(caplog):
    """A window that nobody declared: what a silent failure looks like."""
    model = tiny.model("mistral", torch.float32)

    def forget(module, args, kwargs):
        if kwargs.get("attention_mask") is not None:
            kwargs["attention_mask"] = torch.ones_like(kwargs["attention_mask"]).tril()
        return args, kwargs

    model.register_forward_pre_hook(forget, with_kwargs=True)
    assert choose(model, model.config, [tiny.group(1)], "auto") == "plain"
    assert (
        "mistral does not compute packed rows exactly (sdpa_by_subtree attention: off by"
        in caplog.text
    )
    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(CapoBenchError, match="use --layout plain"):
        choose(model, model.config, [tiny.group(1)], "trie")


def test_half_precision_weights_come_back_unchanged():
    model = tiny.model("llama", torch.bfloat16)
    before = [p.clone() for p in model.parameters()]
    assert choose(model, model.config, [tiny.group(1)], "auto") == "trie"
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)
        assert new.dtype == torch.bfloat16


def test_nan_stops(source, tmp_path):
    trainer = capo(source, tmp_path, groups_of(), save_strategy="steps", save_steps=1, max_steps=3)
    trainer.train()
    good = sorted(p.name for p in tmp_path.glob("checkpoint-*"))
    with torch.no_grad():
        trainer.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(
        CapoBenchError, match=r"the loss is nan at step 1; last good .*checkpoint-3"
    ):
        trainer.train()
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == good


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"beta": 0}, "beta must be above 0, got 0"),
        ({"beta": float("nan")}, "beta must be above 0"),
        ({"anchor": -1}, "anchor must not be negative"),
        ({"max_batch_tokens": 0}, "max_batch_tokens must be at least 2"),
        ({"label_smoothing_factor": 0.1}, "do not apply"),
    ],
)
def test_bad_settings(tmp_path, kwargs, message):
    with pytest.raises(CapoBenchError, match=message):
        config(CapoConfig, tmp_path, **kwargs)
