import math

import pytest
import torch

from capo_bench.train.loss import Comparisons, preference


def _comparisons(own, rejected):
    return Comparisons(torch.tensor(own), torch.tensor(rejected), torch.ones(len(own)))


LOGPROBS = torch.tensor([-3.0, -5.0, -4.0], dtype=torch.float64)
REFERENCE = torch.tensor([-4.0, -4.0, -4.0], dtype=torch.float64)  # gains 1, -1, 0
LENGTHS = torch.tensor([2, 4, 5])


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_sigmoid_by_hand():
    outcome = preference(LOGPROBS, REFERENCE, LENGTHS, _comparisons([0], [[1, 2]]), beta=0.5)
    # Margins 0.5 (1 + 1) = 1 and 0.5 (1 - 0) = 0.5.
    expected = -(math.log(_sigmoid(1)) + math.log(_sigmoid(0.5))) / 2
    assert outcome.loss.item() == pytest.approx(expected)
    assert outcome.margin.item() == pytest.approx(0.75)
    assert outcome.chosen.item() == pytest.approx(0.5)
    assert outcome.rejected.item() == pytest.approx(-0.25)
    assert outcome.accuracy.item() == 1
    assert outcome.nll.item() == pytest.approx(1.5)


def test_softmax_by_hand():
    outcome = preference(
        LOGPROBS, REFERENCE, LENGTHS, _comparisons([2], [[0, 1]]), beta=1, loss="softmax"
    )
    expected = -math.log(1 / (1 + math.exp(1) + math.exp(-1)))
    assert outcome.loss.item() == pytest.approx(expected)
    assert outcome.accuracy.item() == 0.5


def test_softmax_against_one_is_sigmoid():
    comparisons = _comparisons([0, 1], [[1], [2]])
    losses = [
        preference(LOGPROBS, REFERENCE, LENGTHS, comparisons, beta=0.7, loss=loss).loss
        for loss in ("sigmoid", "softmax")
    ]
    torch.testing.assert_close(*losses)


def test_padding_counts_for_nothing():
    for loss in ("sigmoid", "softmax"):
        padded = preference(
            LOGPROBS, REFERENCE, LENGTHS, _comparisons([0], [[1, -1, -1]]), beta=0.3, loss=loss
        )
        bare = preference(
            LOGPROBS, REFERENCE, LENGTHS, _comparisons([0], [[1]]), beta=0.3, loss=loss
        )
        for name in ("loss", "accuracy", "margin"):
            assert getattr(padded, name).item() == pytest.approx(getattr(bare, name).item())


def test_anchor_and_length():
    comparisons = _comparisons([0], [[1]])
    outcome = preference(
        LOGPROBS, REFERENCE, LENGTHS, comparisons, beta=1, anchor=0.2, length_normalized=True
    )
    # Gains a token: 1/2 and -1/4.
    assert outcome.loss.item() == pytest.approx(-math.log(_sigmoid(0.75)) + 0.2 * 1.5)


def test_start_is_log_2_and_log_of_the_responses():
    comparisons = _comparisons([0, 2], [[1, 2, -1], [0, 1, 3]])
    start = torch.tensor([-3.0, -5.0, -4.0, -9.0])
    lengths = torch.tensor([3, 4, 5, 6])
    sigmoid = preference(start, start, lengths, comparisons, beta=0.1)
    softmax = preference(start, start, lengths, comparisons, beta=0.1, loss="softmax")
    torch.testing.assert_close(sigmoid.loss, torch.tensor([math.log(2)] * 2))
    torch.testing.assert_close(softmax.loss, torch.tensor([math.log(3), math.log(4)]))


def test_gradient_on_the_leaves():
    """dL/dS(a,j) = beta/|P| sigmoid(-m(a,j)), and minus their sum for the chosen response."""
    logprobs = LOGPROBS.clone().requires_grad_()
    outcome = preference(logprobs, REFERENCE, LENGTHS, _comparisons([0], [[1, 2]]), beta=0.5)
    outcome.loss.sum().backward()
    first, second = (0.5 / 2 * _sigmoid(-m) for m in (1, 0.5))
    assert logprobs.grad.tolist() == pytest.approx([-first - second, first, second])
