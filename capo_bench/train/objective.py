"""The objectives as arithmetic on response log-probabilities: no model, no tokens.

CAPO (arXiv 2605.28802) is DPO (Rafailov et al., arXiv 2305.18290) over annotators: for an item x
and a target annotator a, the response that a gave is preferred over the responses that others gave
to x, all under the prompt for (x, a). A *contest* is one own response against its rejected ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Loss = Literal["sigmoid", "softmax"]


@dataclass(frozen=True)
class Contests:
    """Which log-probability competes with which.

    Attributes:
        own: [C], for each contest the index of the own response's log-probability.
        rejected: [C, M], indices of the rejected ones, padded with -1; at least one a contest.
        weight: [C], weight of each contest's loss.
    """

    own: Tensor
    rejected: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Outcome:
    """What a contest came to. All tensors are [C], the unweighted value of each contest.

    Attributes:
        loss: The loss in nats, anchor included.
        accuracy: Share of the rejected responses whose reward is below the own one's.
        margin: Own reward minus the mean reward of the rejected responses.
        reward: Reward of the own response.
        nll: Negative log-likelihood of the own response, nats a token.
    """

    loss: Tensor
    accuracy: Tensor
    margin: Tensor
    reward: Tensor
    nll: Tensor


def preference(
    logprobs: Tensor,
    reference: Tensor,
    lengths: Tensor,
    contests: Contests,
    *,
    beta: float,
    loss: Loss = "sigmoid",
    anchor: float = 0.0,
    length_normalized: bool = False,
) -> Outcome:
    """The loss of every contest.

    With the reward r(y) = beta (log pi(y|x,a) - log pi_ref(y|x,a)), y+ the own response and R the
    rejected ones:

    * `sigmoid`: mean over y in R of -log sigmoid(r(y+) - r(y)), the pairwise DPO loss (equation 7);
    * `softmax`: -log(exp r(y+) / sum over y in {y+} and R of exp r(y)), its listwise form: the
      Plackett-Luce model of DPO's appendix A.3 with the first rank observed.

    Args:
        logprobs: [N], log pi of each response in nats.
        reference: [N], log pi_ref; zeros give the reference-free form.
        lengths: [N], tokens of each response.
        contests: Who competes with whom, as indices into the above.
        beta: Strength of the preference, above 0.
        loss: `sigmoid` or `softmax`.
        anchor: Weight of an added negative log-likelihood a token of the own response.
        length_normalized: Divide both log-probabilities by the response's length.
    """
    gain = logprobs - reference
    reward = beta * (gain / lengths if length_normalized else gain)
    present = contests.rejected >= 0
    own = reward[contests.own]
    margins = own[:, None] - reward[contests.rejected.clamp(min=0)]
    count = present.sum(1)
    if loss == "sigmoid":
        value = (-functional.logsigmoid(margins) * present).sum(1) / count
    else:
        others = (-margins).masked_fill(~present, -torch.inf)
        value = torch.logsumexp(torch.cat([torch.zeros_like(own)[:, None], others], dim=1), dim=1)
    nll = -logprobs[contests.own] / lengths[contests.own]
    return Outcome(
        loss=value + anchor * nll if anchor else value,
        accuracy=((margins > 0) & present).sum(1) / count,
        margin=(margins * present).sum(1) / count,
        reward=own,
        nll=nll,
    )
