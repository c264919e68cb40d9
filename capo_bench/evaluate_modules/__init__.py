"""The main metrics as modules of Hugging Face `evaluate`, loaded from this folder without a network.

Each module is a folder with a script and a card. The scripts only name a metric of the package and
describe it; `frame` has what they share.
"""

from __future__ import annotations

from pathlib import Path

from capo_bench.errors import CapoBenchError


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
