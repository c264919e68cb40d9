"""Rates that follow the model, the best epoch that is kept, and runs that were too short."""

import json

import pytest

from capo_bench.train.command import run
from capo_bench.train.defaults import learning_rate, undertrained
from tests.train import tiny


@pytest.mark.parametrize(
    ("method", "parameters", "adapter", "rate"),
    [
        ("sft", 135_000_000, False, 5e-4),
        ("sft", 10_000, False, 5e-4),  # tiny models take no more
        ("sft", 1_350_000_000, False, 5e-5),
        ("sft", 70_000_000_000, False, 1e-5),
        ("sft", 4_000_000_000, True, 10 * 5e-4 * 0.135 / 4),
        ("sft", 135_000_000, True, 5e-4),
        ("capo", 135_000_000, False, 5e-5),
        ("capo", 135_000_000, True, 5e-5),
    ],
)
def test_the_rate_follows_size_adapter_and_method(method, parameters, adapter, rate):
    assert learning_rate(method, parameters, adapter=adapter) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ([{"eval_loss": 1.0}, {"eval_loss": 0.9}], "still falling at the end (1.000, then 0.900)"),
        ([{"eval_loss": 1.0}, {"eval_loss": 0.97}], None),
        ([{"eval_loss": 1.0}, {"eval_loss": 1.2}], None),
        ([{"rewards/accuracies": 0.9}, {"eval_rewards/accuracies": 0.54}], "preferred in 0.54"),
        ([{"rewards/accuracies": 0.5}, {"rewards/accuracies": 0.8}], None),
        ([], None),
    ],
)
def test_a_run_that_was_too_short_is_told(history, why):
    found = undertrained(history)
    assert found is None if why is None else why in found


def test_the_best_epoch_on_validation_is_kept_and_a_short_run_says_so(tmp_path, capsys):
    source = tiny.folder(tmp_path / "tiny")
    # So high a rate that the loss explodes after the first epoch.
    options = {"model": source, "corpus": "mini-nli", "output": tmp_path / "out", "use_cpu": True}
    options |= {"num_train_epochs": 2, "learning_rate": 0.3, "train_items": 8, "warmup_steps": 0}
    run(["sft", *(text for name, value in options.items() for text in (f"--{name}", str(value)))])
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
    assert len(losses) == 2
    assert state["best_metric"] == min(losses)
    best = state["best_global_step"]
    kept = tmp_path / "out" / "model.safetensors"
    of_best = tmp_path / "out" / f"checkpoint-{best}" / "model.safetensors"
    assert kept.read_bytes() == of_best.read_bytes()
