"""Corpora by name or by file, wherever their data lies.

| spec | corpus | splits `capo` |
|---|---|---|
| `nli` | VariErr-NLI | 300/100/100, grouped by context |
| `paraphrase` | LeWiDi-2025 Par, train and dev pooled | 300/50/100, grouped by question |
| `lewidi-nli`, `lewidi-paraphrase` | LeWiDi-2025 | LeWiDi's own (dev is `validation`) |
| `mini-nli`, `mini-paraphrase` | bundled, synthetic | as generated |
| `FILE.jsonl` | a file in the project's own format | the file's, else 60/20/20 % |

The data of the first four are not in the package. They are looked for at an explicit path, else in
the folder that the environment variable `CAPO_BENCH_DATA` names, else in the local cache
(`$XDG_CACHE_HOME/capo-bench`, by default `~/.cache/capo-bench`), else, for `nli`, on the Hugging
Face hub, whose copy is then kept in the local cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NoReturn

from capo_bench.corpus.model import Corpus, SplitName
from capo_bench.corpus.readers import jsonl, lewidi, varierr
from capo_bench.corpus.splits import with_shares, with_splits
from capo_bench.errors import CapoBenchError
from capo_bench.files import cache_folder, write_json_lines

DATA_VARIABLE = "CAPO_BENCH_DATA"
Splits = Literal["capo", "native"]


@dataclass(frozen=True)
class _Source:
    """Where the data of a spec lie and how they are read.

    `file` is looked for in `folders` below a data folder and given to `read`; `sizes` are the
    benchmark's splits, unless the data bring their own.
    """

    file: str
    origin: str
    folders: tuple[str, ...]
    read: Callable[[Path], Corpus]
    sizes: Mapping[SplitName, int] | None = None


def _pooled_par(file: Path) -> Corpus:
    corpus = lewidi.read_lewidi_par(file.parent)
    items = tuple(item for item in corpus.items if item.split != "test")
    return replace(corpus, name="paraphrase", items=items)


_ORIGIN = "the LeWiDi-2025 site, le-wi-di.github.io"
_LEWIDI = ("", "lewidi2025", "LeWiDi_3-2025")
_SOURCES = {
    "nli": _Source(
        "varierr.json",
        "github.com/mainlp/VariErr-NLI",
        ("", "varierr", "VariErr-NLI"),
        varierr.read_varierr,
        {"train": 300, "validation": 100, "test": 100},
    ),
    "paraphrase": _Source(
        "Paraphrase_train.json",
        _ORIGIN,
        _LEWIDI,
        _pooled_par,
        {"train": 300, "validation": 50, "test": 100},
    ),
    "lewidi-nli": _Source(
        "VariErrNLI_train.json",
        _ORIGIN,
        _LEWIDI,
        lambda file: lewidi.read_lewidi_nli(file.parent),
    ),
    "lewidi-paraphrase": _Source(
        "Paraphrase_train.json",
        _ORIGIN,
        _LEWIDI,
        lambda file: lewidi.read_lewidi_par(file.parent),
    ),
}
_SHARES: Mapping[SplitName, float] = {"train": 0.6, "validation": 0.2, "test": 0.2}

SPECS = (*_SOURCES, "mini-nli", "mini-paraphrase")


def load(
    spec: str,
    *,
    splits: Splits = "capo",
    path: str | Path | None = None,
    valid_only: bool = False,
    min_responses: int = 0,
) -> Corpus:
    """Loads a corpus. Within a process each is read once, even if its file changes meanwhile.

    Args:
        spec: One of `SPECS`, or the path of a `.jsonl` file in the project's own format.
        splits: `capo`: the benchmark's, as the table above has them. `native`: those that the data
            come with, and no others.
        path: For a spec whose data are not in the package: the data file, or a folder with it.
        valid_only: Keep only responses that their own author confirmed (VariErr-NLI).
        min_responses: Keep only annotators with at least so many labelled responses. The splits are
            those of the whole corpus.

    Raises:
        CapoBenchError: On an unknown spec, data that cannot be found or read, `native` for data
            without splits, `valid_only` for data without judgments, or a `min_responses` that
            nobody reaches.
    """
    if splits not in ("capo", "native"):
        raise CapoBenchError(f"unknown splits {splits!r}; expected capo or native")
    if spec not in SPECS and not spec.endswith(".jsonl"):
        raise CapoBenchError(
            f"unknown corpus {spec!r}; expected one of {', '.join(SPECS)}, or a .jsonl file"
        )
    if path is not None and spec not in _SOURCES:
        raise CapoBenchError(f"corpus {spec} takes no data path, but {path} is given; leave it out")
    if spec in _SOURCES:
        file: Path | None = _find(spec, Path(path) if path is not None else None).resolve()
    else:
        file = Path(spec).resolve() if spec not in SPECS else None
    return _load(spec, splits, file, valid_only, min_responses)


@lru_cache(maxsize=16)
def _load(
    spec: str, splits: Splits, file: Path | None, valid_only: bool, min_responses: int
) -> Corpus:
    corpus = _read(spec, file)
    sizes = _SOURCES[spec].sizes if spec in _SOURCES else None
    if splits == "native":
        if not _has_splits(corpus):
            raise CapoBenchError(
                f"corpus {spec} has no splits of its own; use the splits capo, or lewidi-nli"
            )
    elif sizes is not None:
        corpus = with_splits(corpus, sizes)
    else:
        corpus = in_splits(corpus)
    if valid_only:
        corpus = corpus.valid_only()
    return corpus.at_least(min_responses) if min_responses else corpus


def in_splits(corpus: Corpus) -> Corpus:
    """The corpus as it is if its items have splits, else in splits of 60/20/20 %.

    Raises:
        CapoBenchError: If only some of its items have a split.
    """
    return corpus if _has_splits(corpus) else with_shares(corpus, _SHARES)


def _has_splits(corpus: Corpus) -> bool:
    without = [item.id for item in corpus.items if item.split is None]
    if 0 < len(without) < len(corpus.items):
        raise CapoBenchError(
            f"corpus {corpus.name}: {len(without)} of {len(corpus.items)} items have no split, the "
            f"first is item {without[0]}; give every item one, or none to any for splits of ours"
        )
    return not without


def _read(spec: str, file: Path | None) -> Corpus:
    if file is not None:
        return _SOURCES[spec].read(file) if spec in _SOURCES else jsonl.read(file)
    from capo_bench.corpus.synthetic.world import synthesize

    return synthesize(spec).corpus


def _find(spec: str, path: Path | None) -> Path:
    """The data file of a spec: at the path, else by the variable, in the cache, from the hub."""
    if path is not None:
        if path.is_file() and (spec == "nli" or path.name == _SOURCES[spec].file):
            return path
        return _found_in(path, spec) or _missing(spec, f"nothing at {path}")
    tried = ["no path given"]
    named = os.environ.get(DATA_VARIABLE)
    if named and not Path(named).is_dir():
        raise CapoBenchError(
            f"{DATA_VARIABLE} names {named}, which is no folder; set it to your data or unset it"
        )
    for what, folder in ((DATA_VARIABLE, named), ("local cache", cache_folder())):
        found = _found_in(Path(folder), spec) if folder else None
        if found:
            return found
        tried.append(f"{what}: not in {folder}" if folder else f"{what} is not set")
    if spec != "nli":
        return _missing(spec, "; ".join([*tried, "hub: not published there"]))
    try:
        rows = varierr.read_hub()
    except OSError as error:
        return _missing(spec, "; ".join([*tried, f"hub: {_short(error)}"]))
    kept = cache_folder() / _SOURCES[spec].file
    write_json_lines(kept, rows)
    return kept


def _found_in(folder: Path, spec: str) -> Path | None:
    source = _SOURCES[spec]
    places = [folder / below / source.file for below in source.folders]
    return next((place for place in places if place.is_file()), None)


def _missing(spec: str, why: str) -> NoReturn:
    source = _SOURCES[spec]
    raise CapoBenchError(
        f"the data of {spec} ({source.file}) were not found: {why}. Get them from {source.origin} "
        f"and pass their folder as path, or set {DATA_VARIABLE}, or put them into {cache_folder()}"
    )


def _short(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error).split("\n")[0]
