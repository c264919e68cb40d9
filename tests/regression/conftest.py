import random
from dataclasses import replace

import pytest

from capo_bench.metrics.cells import Prediction
from capo_bench.regression.sides import Side
from capo_bench.scoring.options import Options
from capo_bench.scoring.predictions import human_predictions


@pytest.fixture(scope="session")
def scorer():
    return Options("mini-nli").scorer()


@pytest.fixture(scope="session")
def human(scorer):
    return tuple(human_predictions(scorer.corpus, "test"))


@pytest.fixture(scope="session")
def untagged(scorer, human):
    """Every annotator is answered for as the first one of the item: the tag is ignored."""
    first = {}
    for prediction in human:
        first.setdefault(prediction.item, prediction.response)
    return tuple(replace(p, response=first[p.item]) for p in human)


@pytest.fixture(scope="session")
def broken(human):
    """A few responses became unreadable."""
    rng = random.Random(0)
    spoilt = set(rng.sample(range(len(human)), 3))
    return tuple(
        Prediction(p.item, p.annotator, "?") if i in spoilt else p for i, p in enumerate(human)
    )


@pytest.fixture
def side(scorer):
    def make(*runs, name="a run", **facts):
        known = {"fingerprint": scorer.corpus.fingerprint, "split": "test", **facts}
        return Side(name, tuple(tuple(run) for run in runs), known)

    return make
