"""capo-bench: does a language model answer as one given annotator would?

The open benchmark of CAPO, cross-annotator preference optimization (arXiv 2605.28802); not to be
confused with Cost-Aware Prompt Optimization, which shares the acronym.

The names in `__all__` are the public interface, `docs/python.md` shows them in use. Each is imported
when it is first asked for, so that `import capo_bench` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capo_bench.corpus.load import load
    from capo_bench.corpus.model import Corpus
    from capo_bench.errors import CapoBenchError
    from capo_bench.evaluate_modules import evaluate_path
    from capo_bench.metrics.cells import Cells, Prediction, join
    from capo_bench.regression.compare import compare
    from capo_bench.regression.result import Result
    from capo_bench.regression.sides import Side, read_side
    from capo_bench.scoring.predictions import read_predictions, write_predictions
    from capo_bench.scoring.scorer import Scorer, Scores, Verdicts
    from capo_bench.stats.resampling import Estimate, Undefined

__version__ = "0.1.0"

__all__ = [
    "CapoBenchError",
    "Cells",
    "Corpus",
    "Estimate",
    "Prediction",
    "Result",
    "Scorer",
    "Scores",
    "Side",
    "Undefined",
    "Verdicts",
    "__version__",
    "compare",
    "evaluate_path",
    "join",
    "load",
    "read_predictions",
    "read_side",
    "write_predictions",
]

_HOMES = {
    "corpus.load": ("load",),
    "corpus.model": ("Corpus",),
    "errors": ("CapoBenchError",),
    "evaluate_modules": ("evaluate_path",),
    "metrics.cells": ("Cells", "Prediction", "join"),
    "regression.compare": ("compare",),
    "regression.result": ("Result",),
    "regression.sides": ("Side", "read_side"),
    "scoring.predictions": ("read_predictions", "write_predictions"),
    "scoring.scorer": ("Scorer", "Scores", "Verdicts"),
    "stats.resampling": ("Estimate", "Undefined"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
