"""The published corpora as they are; skipped where they are not at hand."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from sklearn.metrics import cohen_kappa_score

from capo_bench.corpus.describe import describe
from capo_bench.corpus.load import load
from capo_bench.corpus.readers import jsonl, varierr
from capo_bench.corpus.readers.lewidi import read_lewidi
from capo_bench.corpus.splits import groups

# Whoever changes one of these makes every published score incomparable.
FINGERPRINTS = {
    "nli": "03090daf9722d123",
    "paraphrase": "72fa564fbe413ea8",
    "lewidi-nli": "d96091208aaff07f",
    "lewidi-paraphrase": "dd2679713cb22aaa",
}


@pytest.mark.parametrize("spec", FINGERPRINTS)
def test_fingerprint_and_round_trip(real_data: Path, tmp_path: Path, spec: str) -> None:
    corpus = load(spec, path=real_data)
    assert corpus.fingerprint == FINGERPRINTS[spec]
    jsonl.write(corpus, tmp_path / "copy.jsonl")
    assert jsonl.read(tmp_path / "copy.jsonl") == corpus


def test_varierr_cells(real_data: Path) -> None:
    corpus = load("nli", path=real_data)
    d = describe(corpus)
    assert (d.items, d.cells, d.multi_label, d.idk, d.missing) == (500, 1856, 77, 136, 9)
    assert (d.responses, d.judgments) == (1933, 7574)
    assert (d.shared_items, d.shared_groups, d.crossing_groups) == (39, 19, 0)
    both = [(item.id, a) for item in corpus.items for a in item.idk if item.cells[a]]
    assert both == [("54327n", "Ann3")]
    assert [len(corpus.split(s)) for s in ("train", "validation", "test")] == [300, 100, 100]


def test_varierr_agreement(real_data: Path) -> None:
    d = describe(load("nli", path=real_data))
    kappas = [pair.kappa for pair in d.pairs]
    assert (round(min(kappas), 2), round(max(kappas), 2)) == (0.31, 0.44)
    assert round(d.alpha, 2) == 0.35


def test_varierr_validated_pairs(real_data: Path) -> None:
    corpus = load("nli", path=real_data, valid_only=True)
    assert describe(corpus).responses == 1712


def test_hub_rows_are_the_file(real_data: Path, tmp_path: Path) -> None:
    """What `datasets` makes of the file is what the hub serves: no field may change its type."""
    file = str(real_data / "varierr" / "varierr.json")
    loaded = datasets.load_dataset("json", data_files=file, split="train", cache_dir=str(tmp_path))
    corpus = varierr.from_rows(enumerate(map(dict, loaded), start=1), "hub")
    assert varierr.content_sha256(corpus) == varierr.CONTENT_SHA256


def test_lewidi_ids_and_varierr(real_data: Path) -> None:
    corpus = load("nli", path=real_data)
    assert len({re.sub("[a-z]$", "", item.id) for item in corpus.items}) == 480
    lewidi = load("lewidi-nli", path=real_data)
    assert Counter(item.split for item in lewidi.items) == {"train": 388, "validation": 50}
    ids = {split: {i.source_id for i in lewidi.split(split)} for split in ("train", "validation")}
    assert len(ids["train"] & ids["validation"]) == 4
    by_text = {tuple(item.text.values()): item for item in corpus.items}
    assert len(by_text.keys() - {tuple(item.text.values()) for item in lewidi.items}) == 62
    # the same persons gave the same answers, so annotator 0 is Ann1 and repeats are aligned
    for item in lewidi.items:
        source = by_text[tuple(item.text.values())]
        for annotator in corpus.annotator_ids:
            theirs = {(r.label, r.explanation) for r in item.cells.get(annotator, ())}
            ours = {(r.label, r.explanation) for r in source.cells.get(annotator, ())}
            assert theirs == ours


def test_paraphrase(real_data: Path) -> None:
    corpus = load("paraphrase", path=real_data)
    assert [len(corpus.split(s)) for s in ("train", "validation", "test")] == [300, 50, 100]
    assert all(len({i.split for i in group}) == 1 for group in groups(corpus))
    assert all(
        r.explanation == r.explanation.strip()
        for item in corpus.items
        for cell in item.cells.values()
        for r in cell
    )


def test_paraphrase_agreement(real_data: Path) -> None:
    corpus = load("paraphrase", path=real_data)
    d = describe(corpus)
    assert round(d.alpha, 2) == 0.47
    for pair in d.pairs:
        a, b = ([int(i.cells[name][0].label) for i in corpus.items] for name in pair.annotators)
        expected = cohen_kappa_score(a, b, labels=range(-5, 6), weights="quadratic")
        assert pair.kappa == pytest.approx(expected)
    kappas = [pair.kappa for pair in d.pairs]
    assert (round(min(kappas), 3), round(max(kappas), 3)) == (0.215, 0.781)


def test_paraphrase_train_figures(real_data: Path) -> None:
    """The figures that are known of LeWiDi's 400 training items."""
    whole = load("lewidi-paraphrase", path=real_data)
    d = describe(replace(whole, items=whole.split("train")))
    assert [round(a.repeated * 400) for a in d.annotators] == [18, 271, 2, 215]
    third = d.annotators[2]
    assert round(sum(int(label) * n for label, n in third.labels.items()) / 400, 1) == 3.2


def test_annotators_metadata(real_data: Path) -> None:
    corpus = read_lewidi(real_data / "lewidi2025", "lewidi-nli")
    assert [annotator.id for annotator in corpus.annotators] == ["Ann1", "Ann2", "Ann3", "Ann4"]
    assert all(
        set(annotator.meta) == {"Gender", "Age", "Nationality", "Education"}
        for annotator in corpus.annotators
    )
