import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    """The folder of the real corpora; the test is skipped where there is none."""
    folder = Path(
        os.environ.get("CAPO_BENCH_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
    )
    if not (folder / "varierr" / "varierr.json").is_file():
        pytest.skip("the real corpora are not on this machine; CAPO_BENCH_DATA may name them")
    return folder
