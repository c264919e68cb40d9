import urllib.error
import urllib.request
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Any

import datasets
import pytest

from capo_bench.caches import cache_folder
from capo_bench.corpus.load import load
from capo_bench.corpus.readers import jsonl, varierr
from capo_bench.errors import CapoBenchError

from .build import corpus_of, nli_record, pair, par_record, varierr_row, write_lewidi, write_lines


def nli_rows(n: int, word: str = "ferry") -> list[dict[str, Any]]:
    return [
        varierr_row(f"{k}a", context=f"The {word} left pier {k}.", neutral=[pair(0, f"Pier {k}?")])
        for k in range(n)
    ]


def explanations(corpus: Any) -> set[str]:
    return {r.explanation for item in corpus.items for cell in item.cells.values() for r in cell}


def test_nli_splits_exactly(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "any_name.json", nli_rows(500))
    corpus = load("nli", path=path)
    assert [len(corpus.split(s)) for s in ("train", "validation", "test")] == [300, 100, 100]
    assert load("nli", path=str(path)) is corpus
    with pytest.raises(CapoBenchError, match="no splits of its own"):
        load("nli", path=path, splits="native")
    with pytest.raises(CapoBenchError, match="has no validity judgments"):
        load("nli", path=path, valid_only=True)


def test_nli_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "varierr.json", nli_rows(3))
    with pytest.raises(CapoBenchError, match=r"has 3 items, but the splits .* ask for 500"):
        load("nli", path=path)


def test_paraphrase_pools_train_and_dev(tmp_path: Path) -> None:
    def records(numbers: range) -> dict[str, Any]:
        record = par_record("Ann1", {"Ann1": "3"}, ["Pears both."])
        text = {f"Question{q}": "Question {q} of pair {k}?" for q in (1, 2)}
        return {
            str(k): {**record, "text": {n: t.format(q=n, k=k) for n, t in text.items()}}
            for k in numbers
        }

    hidden = {"900": par_record("Ann1", {}, [])}
    write_lewidi(
        tmp_path / "lewidi2025",
        "Paraphrase",
        train=records(range(400)),
        dev=records(range(400, 450)),
        test=hidden,
    )
    pooled = load("paraphrase", path=tmp_path)
    assert [len(pooled.split(s)) for s in ("train", "validation", "test")] == [300, 50, 100]
    native = load("lewidi-paraphrase", path=tmp_path)
    assert [len(native.split(s)) for s in ("train", "validation", "test")] == [400, 50, 1]
    assert pooled.name != native.name


def test_where_data_are_looked_for(
    no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def data(word: str) -> dict[str, Any]:
        return {"12": nli_record("Ann1", {"Ann1": "neutral"}, [word])}

    write_lewidi(no_data, "VariErrNLI", train=data("cache"))
    assert explanations(load("lewidi-nli")) == {"cache"}
    write_lewidi(tmp_path / "env" / "lewidi2025", "VariErrNLI", train=data("variable"))
    monkeypatch.setenv("CAPO_BENCH_DATA", str(tmp_path / "env"))
    assert explanations(load("lewidi-nli")) == {"variable"}
    named = write_lewidi(tmp_path / "named", "VariErrNLI", train=data("path"))
    assert explanations(load("lewidi-nli", path=named)) == {"path"}
    assert explanations(load("lewidi-nli", path=named / "VariErrNLI_train.json")) == {"path"}


def test_explicit_path_never_falls_back(no_data: Path, tmp_path: Path) -> None:
    write_lewidi(
        no_data, "VariErrNLI", train={"12": nli_record("Ann1", {"Ann1": "neutral"}, ["x"])}
    )
    with pytest.raises(CapoBenchError, match=r"VariErrNLI_train\.json.*nothing at .*elsewhere"):
        load("lewidi-nli", path=tmp_path / "elsewhere")


def test_variable_must_name_a_folder(no_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPO_BENCH_DATA", "/no/such/folder")
    with pytest.raises(CapoBenchError, match=r"CAPO_BENCH_DATA names /no/such/folder"):
        load("lewidi-nli")


def test_nothing_found_says_all_four(no_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    for spec, hub in (("nli", "hub: Name or service not known"), ("paraphrase", "hub: not pub")):
        with pytest.raises(CapoBenchError) as error:
            load(spec)
        message = str(error.value)
        for part in ("no path given", "CAPO_BENCH_DATA is not set", str(no_data), hub):
            assert part in message
        assert "\n" not in message


def test_offline_mode_of_the_hub(no_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("offline mode is enabled")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(CapoBenchError, match="hub: offline mode is enabled"):
        load("nli")


def test_hub_copy_is_checked_and_kept(
    no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    rows = nli_rows(500, "tram")
    asked: list[tuple[Any, ...]] = []

    def hub(name: str, *, revision: str, split: str) -> datasets.Dataset:
        asked.append((name, revision, split))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    with pytest.raises(CapoBenchError, match="is not the VariErr-NLI of this benchmark"):
        load("nli")
    assert not list(no_data.rglob("*.json"))

    local = varierr.read_varierr(write_lines(tmp_path / "v.json", rows))
    monkeypatch.setattr(varierr, "CONTENT_SHA256", varierr.content_sha256(local))
    corpus = load("nli")
    assert asked == [("mainlp/varierr", varierr.HUB_REVISION, "train")] * 2
    assert [replace(item, split=None) for item in corpus.items] == list(local.items)
    assert load("nli") is corpus
    assert len(asked) == 2, "the kept copy serves the second time"
    assert cache_folder() == no_data


def test_hub_that_answers_with_an_error_is_asked(
    no_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused knock is not a missing network: what `datasets` says of it counts."""

    def refuses(*_: object, **__: object) -> None:
        raise urllib.error.HTTPError("https://hub", 403, "Forbidden", Message(), None)

    def gone(*_: object, **__: object) -> None:
        raise datasets.exceptions.DatasetNotFoundError("the dataset is gone\nTraceback")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "urlopen", refuses)
    monkeypatch.setattr(datasets, "load_dataset", gone)
    with pytest.raises(CapoBenchError, match=r"hub: the dataset is gone\. Get them"):
        load("nli")


def test_own_file_without_splits(tmp_path: Path) -> None:
    path = tmp_path / "letters.jsonl"
    jsonl.write(corpus_of([f"Dear {n}," for n in range(10)]), path)
    corpus = load(str(path))
    assert [len(corpus.split(s)) for s in ("train", "validation", "test")] == [6, 2, 2]
    with pytest.raises(CapoBenchError, match="no splits of its own"):
        load(str(path), splits="native")


def test_own_file_keeps_its_splits(tmp_path: Path) -> None:
    plain = corpus_of(["Dear A,", "Dear B,"])
    given = replace(plain, items=tuple(replace(item, split="test") for item in plain.items))
    jsonl.write(given, tmp_path / "letters.jsonl")
    for splits in ("capo", "native"):
        assert load(str(tmp_path / "letters.jsonl"), splits=splits) == given


@pytest.mark.parametrize("spec", ["mini-nli", "mini-paraphrase"])
def test_mini_corpora(spec: str) -> None:
    corpus = load(spec)
    assert corpus.synthetic
    assert all(item.split for item in corpus.items)
    assert load(spec, splits="native") == corpus
    with pytest.raises(CapoBenchError, match=f"corpus {spec} takes no data path"):
        load(spec, path="somewhere")


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to("b.jsonl")
    (tmp_path / "b.jsonl").symlink_to("a.jsonl")
    with pytest.raises(CapoBenchError, match=r"a\.jsonl: .*(loop|a link)"):
        load(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"spec": "snli"}, r"unknown corpus 'snli'; expected one of nli, .*\.jsonl"),
        ({"spec": "nli", "splits": "own"}, "unknown splits 'own'; expected capo or native"),
        ({"spec": "absent.jsonl"}, r"absent\.jsonl: cannot be read"),
        (
            {"spec": "a\0.jsonl"},
            r"a.x00\.jsonl: cannot be read: embedded null byte; check the path",
        ),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(CapoBenchError, match=expected):
        load(**arguments)
