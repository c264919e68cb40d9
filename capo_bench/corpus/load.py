"""Corpora by name or by file, wherever their data lies.

| spec | corpus | splits `capo` |
|---|---|---|
| `nli` | VariErr-NLI | 300/100/100, grouped by context |
| `paraphrase` | LeWiDi-2025 Par, train and dev pooled | 300/50/100, grouped by question |
| `csc`, `mp` | LeWiDi-2025 CSC and MP, train and dev pooled | 60/20/20 %, grouped by context, post |
| `convincing` | UKPConvArg1 | 60/20/20 %, grouped by debate |
| `lewidi-nli`, `-paraphrase`, `-csc`, `-mp` | LeWiDi-2025 | LeWiDi's own (dev is `validation`) |
| `mini-nli`, `mini-paraphrase` | bundled, synthetic | as generated |
| `FILE.jsonl` | a file in the project's own format | the file's, else 60/20/20 % |

The data of all but the last three are not in the package. They are looked for at an explicit path,
else in the folder that the environment variable `CAPO_BENCH_DATA` names, else in the local cache
(`$XDG_CACHE_HOME/capo-bench`, by default `~/.cache/capo-bench`), else, for `nli`, on the Hugging
Face hub, whose copy is then kept in the local cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NoReturn

from capo_bench.caches import cache_folder, kept_folder
from capo_bench.corpus.model import SPLITS, Corpus
from capo_bench.corpus.readers import jsonl, lewidi, ukpconvarg, varierr
from capo_bench.corpus.splits import with_shares, with_splits
from capo_bench.errors import CapoBenchError
from capo_bench.files import uncollected, write_json_lines

DATA_VARIABLE = "CAPO_BENCH_DATA"
Splits = Literal["capo", "native"]


@dataclass(frozen=True)
class _Source:
    """Where the data of a spec lie and how they are read.

    The first of `files` that is in one of `folders` below a data folder is given to `read`, a name
    that ends in a slash as a folder; `split` makes the benchmark's splits, unless the data's own are
    meant.
    """

    files: tuple[str, ...]
    origin: str
    folders: tuple[str, ...]
    read: Callable[[Path], Corpus]
    split: Callable[[Corpus], Corpus] | None = None


def _lewidi(name: str, pooled: str | None = None) -> Callable[[Path], Corpus]:
    """Reads a LeWiDi corpus, or its labelled part under another name."""

    def read(file: Path) -> Corpus:
        corpus = lewidi.read_lewidi(file.parent, name)
        if pooled is None:
            return corpus
        items = tuple(item for item in corpus.items if item.split != "test")
        return replace(corpus, name=pooled, items=items, everyone=False)

    return read


def _varierr(file: Path) -> Corpus:
    """VariErr-NLI; its annotators are LeWiDi's, whose metadata is used where it lies near."""
    corpus = varierr.read_varierr(file)
    for folder in (file.parent, *(file.parent.parent / name for name in _LEWIDI)):
        if (folder / "VariErrNLI_annotators_meta.json").is_file():
            return replace(corpus, personas=lewidi.personas(folder, "lewidi-nli"))
    return corpus


def _sized(**sizes: int) -> Callable[[Corpus], Corpus]:
    return lambda corpus: with_splits(corpus, {name: sizes[name] for name in SPLITS})


def _shared(corpus: Corpus) -> Corpus:
    return with_shares(corpus, {"train": 0.6, "validation": 0.2, "test": 0.2})


_ORIGIN = "the LeWiDi-2025 site, le-wi-di.github.io"
_LEWIDI = ("", "lewidi2025", "LeWiDi_3-2025")
_SOURCES = {
    "nli": _Source(
        ("varierr.json",),
        "github.com/mainlp/VariErr-NLI",
        ("", "varierr", "VariErr-NLI"),
        _varierr,
        _sized(train=300, validation=100, test=100),
    ),
    "paraphrase": _Source(
        ("Paraphrase_train.json",),
        _ORIGIN,
        _LEWIDI,
        _lewidi("lewidi-paraphrase", pooled="paraphrase"),
        _sized(train=300, validation=50, test=100),
    ),
    "csc": _Source(
        ("CSC_train.json", "CSC_dev.json"),
        _ORIGIN,
        _LEWIDI,
        _lewidi("lewidi-csc", pooled="csc"),
        _shared,
    ),
    "mp": _Source(
        ("MP_train.json", "MP_dev.json"),
        _ORIGIN,
        _LEWIDI,
        _lewidi("lewidi-mp", pooled="mp"),
        _shared,
    ),
    "convincing": _Source(
        ("UKPConvArg1-full-XML/",),
        "github.com/UKPLab/acl2016-convincing-arguments",
        ("", "ukpconvarg1", "data"),
        ukpconvarg.read_ukpconvarg,
        _shared,
    ),
    **{
        name: _Source(
            (f"{dataset.prefix}_train.json", f"{dataset.prefix}_dev.json")[: 1 + dataset.crowd],
            _ORIGIN,
            _LEWIDI,
            _lewidi(name),
        )
        for name, dataset in lewidi.DATASETS.items()
    },
}

SPECS = (*_SOURCES, "mini-nli", "mini-paraphrase")


def load(
    spec: str,
    *,
    splits: Splits = "capo",
    path: str | Path | None = None,
    valid_only: bool = False,
    min_responses: int = 0,
    min_annotators: int = 0,
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
        min_annotators: Keep only items that at least so many of those annotators labelled.

    Raises:
        CapoBenchError: On an unknown spec, data that cannot be found or read, `native` for data
            without splits, `valid_only` for data without judgments, or a `min_responses` or
            `min_annotators` that nothing reaches.
    """
    if splits not in ("capo", "native"):
        raise CapoBenchError(f"unknown splits {splits!r}; expected capo or native")
    if spec not in SPECS and not spec.endswith(".jsonl"):
        raise CapoBenchError(
            f"unknown corpus {spec!r}; expected one of {', '.join(SPECS)}, or a .jsonl file"
        )
    if path is not None and spec not in _SOURCES:
        raise CapoBenchError(f"corpus {spec} takes no data path, but {path} is given; leave it out")
    try:
        if spec in _SOURCES:
            file: Path | None = _find(spec, Path(path) if path is not None else None).resolve()
        else:
            file = Path(spec).resolve() if spec not in SPECS else None
    except (RuntimeError, ValueError) as error:  # links in a circle, a null character
        raise CapoBenchError(
            f"cannot be read: {error}; check the path", file=path or spec
        ) from error
    return _load(spec, splits, file, valid_only, min_responses, min_annotators)


@lru_cache(maxsize=16)
@uncollected()
def _load(
    spec: str,
    splits: Splits,
    file: Path | None,
    valid_only: bool,
    min_responses: int,
    min_annotators: int,
) -> Corpus:
    corpus = _read(spec, file)
    split = (_SOURCES[spec].split if spec in _SOURCES else None) or in_splits
    if splits == "native":
        if not _has_splits(corpus):
            raise CapoBenchError(
                f"corpus {spec} has no splits of its own; use the splits capo, or lewidi-nli"
            )
    else:
        corpus = split(corpus)
    if valid_only:
        corpus = corpus.valid_only()
    if min_responses:
        corpus = corpus.at_least(min_responses)
    return corpus.shared_by(min_annotators) if min_annotators else corpus


def in_splits(corpus: Corpus) -> Corpus:
    """The corpus as it is if its items have splits, else in splits of 60/20/20 %.

    Raises:
        CapoBenchError: If only some of its items have a split.
    """
    return corpus if _has_splits(corpus) else _shared(corpus)


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
        name = f"{path.name}/" if path.is_dir() else path.name
        if name in _SOURCES[spec].files or (spec == "nli" and path.is_file()):
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

    def download(folder: Path) -> None:
        try:
            rows = varierr.read_hub()
        except OSError as error:
            _missing(spec, "; ".join([*tried, f"hub: {_short(error)}"]))
        write_json_lines(folder / _SOURCES[spec].files[0], rows)

    kept = cache_folder() / "downloads" / "varierr"
    return kept_folder(kept, varierr.CONTENT_SHA256, download) / _SOURCES[spec].files[0]


def _found_in(folder: Path, spec: str) -> Path | None:
    source = _SOURCES[spec]
    for below in source.folders:
        for name in source.files:
            place = folder / below / name
            if place.is_dir() if name.endswith("/") else place.is_file():
                return place
    return None


def _missing(spec: str, why: str) -> NoReturn:
    source = _SOURCES[spec]
    raise CapoBenchError(
        f"the data of {spec} ({' or '.join(source.files)}) were not found: {why}. Get them from "
        f"{source.origin} and name their folder with --data (in Python: path), or set "
        f"{DATA_VARIABLE}, or put them into {cache_folder()}"
    )


def _short(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error).split("\n")[0]
