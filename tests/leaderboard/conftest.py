import pytest

from capo_bench.leaderboard import board as board_module
from tests.leaderboard.boards import few_controls


@pytest.fixture(scope="session")
def scores(tmp_path_factory):
    """A cache of scores that the modules share: their boards have rows in common."""
    return tmp_path_factory.mktemp("scores")


@pytest.fixture(scope="module")
def cache(scores):
    """That cache, and boards with few control rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(board_module, "control_predictions", few_controls)
        patch.setattr(board_module, "representatives", lambda _: {})
        patch.setenv("XDG_CACHE_HOME", str(scores))
        yield
