"""The same numbers however many threads the linear algebra takes."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from capo_bench.corpus.synthetic.world import synthesize
from capo_bench.metrics.cells import join
from capo_bench.scoring.controls import control_predictions
from capo_bench.scoring.scorer import Scorer
from capo_bench.stats.resampling import Undefined, estimate

CORPUS = synthesize("mini-nli", items=100).corpus


def numbers(threads: int) -> dict[str, tuple[float, ...]]:
    """Headline and axes of a row that is neither at the floor nor perfect, all fits anew."""
    with threadpool_limits(threads):
        assert {pool["num_threads"] for pool in threadpool_info()} == {threads}
        row = control_predictions(CORPUS)["other-annotator"]
        measured = Scorer(CORPUS).axes(join(CORPUS, "test", row))
        found = {n: estimate(m) for n, m in measured.items() if not isinstance(m, Undefined)}
    return {name: (one.value, one.stderr, one.low, one.high) for name, one in found.items()}


def test_one_thread_and_two_give_the_same_numbers():
    one, two = numbers(1), numbers(2)
    assert len(one) == 4
    for name, found in one.items():
        # Tables print three decimals; what hangs on an optimiser differs in the eighth.
        np.testing.assert_allclose(found, two[name], atol=1e-7, err_msg=name)
