"""More of the strange mutants of `tests/test_mutants.py`, with a seed of their own.

python -m tests.benchmarks.mutants SEED [600]
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests import test_mutants as tests


def main() -> None:
    """Prints how many of each format are refused or read, and stops at the first that is neither."""
    seed, tests.STRANGE = sys.argv[1], int([*sys.argv, "600"][2])
    tests.mutants = tests.texts = lambda _: []
    tests.xml_mutants = list
    tests.random = SimpleNamespace(Random=lambda form: random.Random(f"{seed}/{form}"))
    answer, read, slowest = tests.answer, 0, 0.0

    def timed(*given: Any) -> Any:
        nonlocal read, slowest
        start = time.process_time()
        found = answer(*given)
        slowest = max(slowest, time.process_time() - start)
        read += not isinstance(found, str)
        return found

    tests.answer = timed
    for form in tests.FORMATS:
        read -= 1  # the sound file
        with tempfile.TemporaryDirectory() as folder:
            tests.test_a_mutant_is_refused_in_one_line_or_nothing_of_it_is_lost(
                form, Path(folder), None
            )
    every = sum(tests.COUNTS.values())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{every} mutants: {every - read} refused, {read} read with nothing lost")
    print(f"slowest {slowest:.2f} s of processor time, {memory} MB")


if __name__ == "__main__":
    main()
