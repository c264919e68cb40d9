"""The losses as arithmetic on response log-probabilities: no model, no tokens.

CAPO (arXiv 2605.28802) is DPO (Rafailov et al., arXiv 2305.18290) over annotators: for an item x
and a target annotator a, the response that a gave is preferred over the responses that others gave
to x, all under the prompt for (x, a). A *comparison* is one chosen response against rejected ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Loss = Literal["sigmoid", "softmax"]


@dataclass(frozen=True)
class Comparisons:
    """Which log-probability competes with which.

    Attributes:
        chosen: [C], for each comparison the index of the chosen response's log-probability.
        rejected: [C, M], indices of the rejected ones, padded with -1; at least one a comparison.
        weight: [C], weight of each comparison's loss.
    """

    chosen: Tensor
    rejected: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Outcome:
    """What a comparison came to. All tensors are [C], the unweighted value of each comparison.

    Attributes:
        loss: The loss in nats, anchor included.
        accuracy: Share of the rejected responses whose reward is below the chosen one's.
        margin: Reward of the chosen response minus the mean reward of the rejected ones.
        chosen: Reward of the chosen response.
        rejected: Mean reward of the rejected responses.
        nll: Negative log-likelihood of the chosen response, nats a token.
    """

    loss: Tensor
    accuracy: Tensor
    margin: Tensor
    chosen: Tensor
    rejected: Tensor
    nll: Tensor


def preference(
    logprobs: Tensor,
    reference: Tensor,
    lengths: Tensor,
    comparisons: Comparisons,
    *,
    beta: float,
    loss: Loss = "sigmoid",
    anchor: float = 0.0,
    length_normalized: bool = False,
) -> Outcome:
    """The loss of every comparison.

    With the reward r(y) = beta (log pi(y|x,a) - log pi_ref(y|x,a)), y+ the chosen response and R the
    rejected ones:

    * `sigmoid`: mean over y in R of -log sigmoid(r(y+) - r(y)), the pairwise DPO loss (equation 7);
    * `softmax`: -log(exp r(y+) / sum over y in {y+} and R of exp r(y)), its listwise form: the
      Plackett-Luce model of DPO's appendix A.3 with the first rank observed.

    Args:
        logprobs: [N], log pi of each response in nats.
        reference: [N], log pi_ref; zeros give the reference-free form.
        lengths: [N], tokens of each response.
        comparisons: Who competes with whom, as indices into the above.
        beta: Strength of the preference, above 0.
        loss: `sigmoid` or `softmax`.
        anchor: Weight of an added negative log-likelihood a token of the chosen response.
        length_normalized: Divide both log-probabilities by the response's length.
    """
    gain = logprobs - reference
    reward = beta * (gain / lengths if length_normalized else gain)
    present = comparisons.rejected >= 0
    others = reward[comparisons.rejected.clamp(min=0)]
    chosen = reward[comparisons.chosen]
    margins = chosen[:, None] - others
    count = present.sum(1)
    if loss == "sigmoid":
        value = (-functional.logsigmoid(margins) * present).sum(1) / count
    else:
        against = (-margins).masked_fill(~present, -torch.inf)
        value = torch.logsumexp(
            torch.cat([torch.zeros_like(chosen)[:, None], against], dim=1), dim=1
        )
    nll = -logprobs[comparisons.chosen] / lengths[comparisons.chosen]
    return Outcome(
        loss=value + anchor * nll if anchor else value,
        accuracy=((margins > 0) & present).sum(1) / count,
        margin=(margins * present).sum(1) / count,
        chosen=chosen,
        rejected=(others * present).sum(1) / count,
        nll=nll,
    )
