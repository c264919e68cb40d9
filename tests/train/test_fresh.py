from dataclasses import replace

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from capo_bench.corpus.readers import jsonl
from capo_bench.errors import CapoBenchError
from capo_bench.train.command import main, run
from capo_bench.train.fresh import write_new
from capo_bench.train.options import NewOptions

from .corpora import crossed


def small(corpus, folder, **options):
    sizes = {"hidden_size": 16, "layers": 2, "heads": 2, "vocabulary": 300, **options}
    return write_new(corpus, NewOptions(corpus="", output="", **sizes), folder)


def test_weights_are_as_many_as_the_sizes_say(tmp_path):
    count = small(crossed(10, 3), tmp_path)
    words = len(AutoTokenizer.from_pretrained(tmp_path))
    # Attention's four, the gate's three with 42 = 16 * 8 // 3 units, two norms; one norm at the end.
    layer = 4 * 16 * 16 + 3 * 16 * 42 + 2 * 16
    assert count == words * 16 + 2 * layer + 16
    assert AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters() == count


def test_the_tokenizer_learns_from_the_training_split_alone_and_loses_nothing(tmp_path):
    made = crossed(10, 3)
    # A word that stands in every test item, often enough to become a token of its own.
    items = tuple(
        replace(item, text=dict.fromkeys(item.text, "zyzzyva " * 9), split="test")
        if place > 4
        else replace(item, split="train")
        for place, item in enumerate(made.items)
    )
    small(replace(made, items=items), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert not [word for word in tokenizer.get_vocab() if "zy" in word]
    text = "zyzzyva \u2013 na\u00efve?"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_another_seed_gives_other_weights_and_the_same_one_the_same(tmp_path):
    names = [tmp_path / name for name in ("one", "same", "other")]
    for folder, seed in zip(names, (0, 0, 1), strict=True):
        small(crossed(10, 3), folder, seed=seed)
    one, same, other = ((folder / "model.safetensors").read_bytes() for folder in names)
    assert one == same != other


def test_sizes_that_do_not_go_together_and_folders_that_hold_something_are_refused(tmp_path):
    with pytest.raises(CapoBenchError, match="expected a multiple of twice the heads"):
        small(crossed(10, 3), tmp_path / "new", heads=3)
    small(crossed(10, 3), tmp_path / "new")
    with pytest.raises(CapoBenchError, match="new holds something; choose another folder"):
        small(crossed(10, 3), tmp_path / "new")


def test_the_command_makes_what_sft_starts_from(tmp_path, capsys):
    file, model = tmp_path / "toy.jsonl", tmp_path / "model"
    made = crossed(10, 3)
    jsonl.write(
        replace(made, items=tuple(replace(item, split="train") for item in made.items)), file
    )
    new = ["new", "--corpus", file, "--output", model, "--hidden_size", 16, "--heads", 2]
    assert main([str(part) for part in [*new, "--layers", 1]]) == 0
    assert "random weights; train them with capo-bench train sft" in capsys.readouterr().out
    sft = ["sft", "--model", model, "--corpus", file, "--output", tmp_path / "sft"]
    run(
        [str(part) for part in [*sft, "--use_cpu", True, "--max_steps", 1, "--eval_strategy", "no"]]
    )
    assert (tmp_path / "sft" / "model.safetensors").is_file()
