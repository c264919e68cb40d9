import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Two threads on tiny matrices wait for each other more than they work."""
    torch.set_num_threads(1)
