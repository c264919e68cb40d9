"""Caches cannot lie: whatever is damaged in them is found and made again."""

import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import datasets
import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, CachingLM

from capo_bench.caches import SEAL, keep, kept, kept_folder
from capo_bench.corpus.load import _find, load
from capo_bench.corpus.readers import varierr
from capo_bench.harness.answers import sound_answers
from capo_bench.scoring import cache
from capo_bench.scoring.cache import Measurements
from capo_bench.scoring.scorer import Scorer, Scores
from capo_bench.stats.ranking import Contender
from capo_bench.stats.resampling import Estimate, Resampled
from capo_bench.train.dataset import Group
from capo_bench.train.reference import with_reference
from tests.corpus.test_load import nli_rows

FLIPS = 30


def flipped(whole, times=FLIPS, seed=0):
    """Copies of some bytes with one bit turned, the first and the last bit among them."""
    places = [0, 8 * len(whole) - 1]
    places += random.Random(seed).sample(range(8 * len(whole)), min(times, 8 * len(whole)))
    for place in places[:times]:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        yield bytes(damaged)


def damaged(whole):
    """Every kind of damage to a file: turned bits, cuts, nothing at all, another file's content."""
    return [*flipped(whole), whole[:-1], whole[: len(whole) // 2], b"", whole + b"\n", whole * 2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "capo-bench"


def test_what_is_kept_under_a_key_is_read_under_that_key_alone(tmp_path):
    keep(tmp_path / "a", "one", b"content\nwith a line break")
    assert kept(tmp_path / "a", "one") == b"content\nwith a line break"
    assert kept(tmp_path / "a", "two") is None
    assert kept(tmp_path / "b", "one") is None
    whole = (tmp_path / "a").read_bytes()
    for bits in damaged(whole):
        (tmp_path / "a").write_bytes(bits)
        assert kept(tmp_path / "a", "one") is None


def test_damaged_scores_count_as_never_measured(folder):
    found = Resampled(0.5, draws=np.arange(8.0), without=np.arange(3.0))
    scores = Scores({"label_accuracy": Estimate(0.5, 0.1, 0.3, 0.7)}, 3, 9, {"metrics": 1})
    contenders = {"label_accuracy": Contender(found, (0.5,))}
    cache._keep("name", Measurements(scores, {"label_accuracy": (0.5,)}, contenders))
    file = cache._file("name")
    whole = file.read_bytes()
    assert kept(file, "name") is not None
    for bits in damaged(whole):
        file.write_bytes(bits)
        assert kept(file, "name") is None


def test_damaged_texts_are_made_again(folder):
    assert cache.remembered("a", lambda: ["said"]) == ["said"]
    file = folder / "scores" / "a.json"
    whole = file.read_bytes()
    for bits in damaged(whole):
        file.write_bytes(bits)
        assert cache.remembered("a", lambda: ["said again"]) == ["said again"]
    assert cache.remembered("a", lambda: ["not made"]) == ["said again"]


def test_damaged_log_probabilities_are_computed_again(tmp_path):
    groups = [Group(item=f"i{n}", paths=(((1, 2), (3, n)),), comparisons=()) for n in range(3)]
    passes = []

    def score(some):
        passes.append(len(some))
        return torch.tensor([-1.5 - int(group.item[1:]) for group in some])

    first = with_reference(groups, score, "model", tmp_path / "reference")
    assert [group.reference for group in first] == [(-1.5,), (-2.5,), (-3.5,)]
    (file,) = (tmp_path / "reference").iterdir()
    whole = file.read_bytes()
    passes.clear()
    for bits in damaged(whole):
        file.write_bytes(bits)
        assert with_reference(groups, score, "model", tmp_path / "reference") == first
        assert file.read_bytes() == whole
    assert sum(passes) == 3 * len(damaged(whole))


def test_a_damaged_model_is_converted_again(tmp_path):
    made = []

    def convert(folder):
        made.append(folder)
        (folder / "config.json").write_text('{"a": 1}')
        (folder / "below").mkdir()
        (folder / "below" / "weights").write_bytes(bytes(range(256)))

    model = kept_folder(tmp_path / "models" / "m", "key", convert)
    whole = {file: file.read_bytes() for file in model.rglob("*") if file.is_file()}
    assert len(whole) == 3
    kept_folder(model, "key", convert)
    assert len(made) == 1
    found = 0
    for file, content in whole.items():
        for bits in flipped(content):
            file.write_bytes(bits)
            kept_folder(model, "key", convert)
            found += 1
    (model / "config.json").unlink()
    kept_folder(model, "key", convert)
    (model / "more.py").write_text("")
    kept_folder(model, "key", convert)
    shutil.rmtree(model / "below")
    kept_folder(model, "key", convert)
    kept_folder(model, "other key", convert)
    assert len(made) == 1 + found + 4
    (model / SEAL).write_text('{"key": "other key", "files": 1}')
    kept_folder(model, "other key", convert)
    assert len(made) == 1 + found + 5
    assert {file: file.read_bytes() for file in whole if file.name != SEAL} == {
        file: content for file, content in whole.items() if file.name != SEAL
    }


def test_two_processes_that_convert_at_once_make_one_whole_model(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from capo_bench.caches import kept_folder\n"
        "def convert(folder):\n"
        "    print('converts', flush=True)\n"
        "    for n in range(20):\n"
        "        (folder / str(n)).write_bytes(b'x' * n); time.sleep(.01)\n"
        "while time.time() < float(sys.argv[2]): pass\n"
        "kept_folder(pathlib.Path(sys.argv[1]), 'key', convert)\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "m"), str(time.time() + 1.5)]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(said) == ["", "converts\n"]
    assert sorted(file.name for file in (tmp_path / "m").iterdir()) == sorted(
        [SEAL, *map(str, range(20))]
    )


def test_a_damaged_download_is_fetched_again(folder, monkeypatch, tmp_path):
    rows, asked = nli_rows(5, "tram"), []
    monkeypatch.delenv("CAPO_BENCH_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    expected = varierr.content_sha256(varierr.from_rows(enumerate(rows), "here"))
    monkeypatch.setattr(varierr, "CONTENT_SHA256", expected)

    def hub(*_, **__):
        asked.append(1)
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    file = _find("nli", None)
    assert file.is_relative_to(folder)
    whole = file.read_bytes()
    for bits in flipped(whole):
        file.write_bytes(bits)
        assert _find("nli", None).read_bytes() == whole
    assert len(asked) == 1 + FLIPS


def test_all_that_a_process_scores_shares_a_scorer():
    pickled = pickle.dumps(Scorer(load("mini-nli"), "test", "minilm"))
    assert pickle.loads(pickled) is pickle.loads(pickled)


class Says(LM):
    """A model that answers a prompt with the prompt, and remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def generate_until(self, requests, disable_tqdm=False):
        said = [request.args[0] for request in requests]
        for request in requests:
            self.asked.append(request.args[0])
            self.cache_hook.add_partial("generate_until", request.args, request.args[0])
        return said

    loglikelihood = loglikelihood_rolling = None


def answered(file):
    """What lm_eval gets of a model through its file of answers, and what the model was asked."""
    model = Says()
    cached = CachingLM(model, str(file))
    prompts = [f"{number} {'said before ' * (number * 9)}" for number in range(12)]
    found = cached.generate_until(
        [Instance("generate_until", {}, (prompt, {"until": []}), 0) for prompt in prompts]
    )
    cached.dbdict.close()
    return found == prompts, len(model.asked)


@pytest.mark.parametrize("key", ["NULL", "x'ff'", "CAST(x'ff' AS TEXT)"])
def test_answers_whose_keys_are_no_text_are_nobodys(tmp_path, key):
    file = tmp_path / "answers_rank0.db"
    with closing(sqlite3.connect(file)) as base:
        for table in ("unnamed", "capo_bench_copy"):
            base.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY, value BLOB)")
            base.execute(f"INSERT INTO {table} VALUES ({key}, x'00')")
        base.commit()
    sound_answers(file)
    assert answered(file) == (True, 12)
    assert sound_answers(file) == 0


def test_damaged_answers_of_a_model_are_asked_for_again(tmp_path):
    file = tmp_path / "answers_rank0.db"
    assert sound_answers(file) == 0
    assert answered(file) == (True, 12)
    assert sound_answers(file) == 0
    assert answered(file) == (True, 0)
    whole = file.read_bytes()
    dropped = 0
    for bits in damaged(whole):
        file.write_bytes(bits)
        dropped += sound_answers(file)
        assert answered(file)[0]
        assert sound_answers(file) == 0
    assert dropped > 5


def test_answers_that_were_kept_without_a_copy_are_asked_for_again(tmp_path):
    file = tmp_path / "answers_rank0.db"
    assert answered(file) == (True, 12)
    assert sound_answers(file) == 12
    assert answered(file) == (True, 12)
    assert sound_answers(file) == 0
