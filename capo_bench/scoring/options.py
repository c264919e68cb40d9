"""What an evaluation can be asked for, with defaults; read from a task's metadata or from flags."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints, overload

from pydantic import Field, TypeAdapter, ValidationError

from capo_bench.corpus.load import Splits, load
from capo_bench.corpus.model import Corpus
from capo_bench.errors import CapoBenchError
from capo_bench.metrics.bertscore import default_encoder
from capo_bench.prompts.prompter import Setting
from capo_bench.scoring.scorer import Scorer

Natural = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Options:
    """The keys that a task's `metadata`, and with it `--metadata`, may set.

    Attributes:
        corpus: A name that `capo_bench.corpus.load.load` knows, or a corpus file.
        data: Where the corpus's files lie; else the environment, the cache and the hub are tried.
        splits: Our splits or the corpus's own.
        split: The split to answer.
        valid_only: Keep self-validated responses only.
        setting: How the prompt introduces the annotator.
        form: `cue`: the model goes on from `Label:`; `chat`: it answers in a message of its own,
            after a thought if it likes; `auto`: `cue` unless the model takes messages or thinks.
        k: For `icl`, the most examples.
        example_tokens: For `icl`, the most tokens that the examples may take.
        tokenizer: For `icl`, what counts the tokens; default: the evaluated model's, where the
            harness tells which that is, else an upper bound.
        bertscore: BERTScore's encoder; default: the environment's, else `minilm` for the mini
            corpora and `roberta-large` for all others.
        min_responses: Keep only annotators with at least so many labelled responses.
        min_annotators: Keep only items that at least so many of them labelled.
    """

    corpus: str
    data: str | None = None
    splits: Splits = "capo"
    split: str = "test"
    valid_only: bool = False
    setting: Setting = "zero-shot"
    form: Literal["auto", "cue", "chat"] = "auto"
    k: Natural = 10
    example_tokens: Natural = 2048
    tokenizer: str | None = None
    bertscore: str | None = None
    min_responses: Natural = 0
    min_annotators: Natural = 0

    def load(self) -> Corpus:
        """The corpus that is meant."""
        return load(
            self.corpus,
            splits=self.splits,
            path=self.data,
            valid_only=self.valid_only,
            min_responses=self.min_responses,
            min_annotators=self.min_annotators,
        )

    def scorer(self) -> Scorer:
        """A scorer for the split and encoder that are meant; one for all who ask for the same."""
        encoder = self.bertscore or default_encoder(self.corpus)
        answered = replace(Options(self.corpus), **{key: getattr(self, key) for key in ANSWERED})
        return _scorer(answered, encoder)

    def as_json(self) -> dict[str, Any]:
        """Plain data, for results."""
        return asdict(self)


READING = ("data", "splits", "valid_only", "min_responses", "min_annotators")
"""The options that say how a corpus is read."""

ANSWERED = ("corpus", *READING, "split")
"""The options that say what is answered, and not how."""


def beside(folder: Path, corpus: str) -> str:
    """The corpus that a YAML file in a folder names: by name, or a `.jsonl` file that lies there."""
    return str(folder / corpus) if corpus.endswith(".jsonl") else corpus


@lru_cache(maxsize=4)
def _scorer(answered: Options, encoder: str) -> Scorer:
    return Scorer(answered.load(), answered.split, encoder)


Kind = TypeVar("Kind", bound=Options)


@overload
def read_options(given: Mapping[str, Any]) -> Options: ...


@overload
def read_options(given: Mapping[str, Any], kind: type[Kind]) -> Kind: ...


def read_options(given: Mapping[str, Any], kind: type[Options] = Options) -> Options:
    """Picks the options out of a task's metadata.

    The harness adds the model's arguments to the metadata, so unknown keys are normal; one that
    nearly is an option is a slip.

    Args:
        given: The metadata, or flags.
        kind: Which options there are.

    Raises:
        CapoBenchError: On such a slip, a value of another type, or if no corpus is named.
    """
    known = [field.name for field in fields(kind)]
    for key in given:
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
        # A model's `tokenizer_mode` is no slip for `tokenizer`.
        if key not in known and close and not key.startswith(f"{close[0]}_"):
            raise CapoBenchError(f"unknown metadata key {key!r}; did you mean {close[0]!r}?")
    if not given.get("corpus"):
        raise CapoBenchError('no corpus is named; set one with --metadata \'{"corpus": "nli"}\'')
    found = {key: given[key] for key in known if given.get(key) is not None}
    hints = get_type_hints(kind, include_extras=True)
    for key, value in found.items():
        try:
            TypeAdapter(hints[key]).validate_python(value, strict=True)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise CapoBenchError(f"metadata key {key}: {problem} (got {value!r:.60})") from error
    return kind(**found)
