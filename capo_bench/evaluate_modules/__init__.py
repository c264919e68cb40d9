"""The main metrics as modules of Hugging Face `evaluate`, loaded from this folder without a network.

Each module is a folder with a script and a card. The scripts only name a metric of the package and
describe it; what they share is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capo_bench.errors import CapoBenchError

if TYPE_CHECKING:
    from capo_bench.corpus.model import Corpus
    from capo_bench.metrics.cells import Cells
    from capo_bench.stats.resampling import Measured

INPUTS = """
Args:
    predictions: Responses, each `Label: ...` and, on a new line, `Explanation: ...`.
    items: For each response the id of the item it answers.
    annotators: For each response the id of the annotator it is to answer as.
    corpus: Name of a corpus (`nli`, `paraphrase`, `mini-nli`, ...) or a corpus file.
    split: The split that is answered: all of its labelled cells, or all those of some of its items.
    data: Where the corpus's files lie; else the environment, the cache and the hub are tried.
    splits: `capo` (the benchmark's) or `native`.
    valid_only: Keep self-validated responses only.
"""
"""What every module takes, for its description."""


def evaluate_path(name: str) -> str:
    """The folder of a module, for `evaluate.load(evaluate_path(name))`.

    Args:
        name: `annotator_attribution`, `explanation_consistency` or `label_agreement`.

    Raises:
        CapoBenchError: If there is no such module.
    """
    here = Path(__file__).parent
    names = sorted(path.parent.name for path in here.glob("*/README.md"))
    if name not in names:
        raise CapoBenchError(f"there is no module {name!r}; there are {', '.join(names)}")
    return str(here / name)


def cells_of(
    predictions: Sequence[str],
    items: Sequence[str],
    annotators: Sequence[str],
    *,
    corpus: str,
    split: str = "test",
    **load_options: Any,
) -> Cells:
    """The responses beside the corpus; arguments are those of `INPUTS`.

    Raises:
        CapoBenchError: As `load` and `join` do.
    """
    from capo_bench.corpus.load import load
    from capo_bench.metrics.cells import Prediction, join

    given = [Prediction(*row) for row in zip(items, annotators, predictions, strict=True)]
    # `evaluate` has its own `path`, hence `data`.
    loaded = load(corpus, path=load_options.pop("data", None), **load_options)
    return join(loaded, split, given)


def flat(measured: Mapping[str, Measured], corpus: Corpus) -> dict[str, float | str | None]:
    """Results as `evaluate` wants them: `name`, `name_stderr`, `name_low` and `name_high`.

    A metric that the corpus or the responses do not define is `None`, with `name_undefined` for why.
    """
    from capo_bench.metrics.registry import bounds
    from capo_bench.stats.resampling import Undefined, estimate

    results: dict[str, float | str | None] = {}
    for name, sums in measured.items():
        if isinstance(sums, Undefined):
            results |= {name: None, f"{name}_undefined": sums.reason}
        else:
            found = estimate(replace(sums, bounds=bounds(name, corpus)))
            results[name] = found.value
            results |= {
                f"{name}_{part}": getattr(found, part) for part in ("stderr", "low", "high")
            }
    return results
