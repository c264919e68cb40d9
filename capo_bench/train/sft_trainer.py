"""Supervised fine-tuning on the annotators' own responses."""

from __future__ import annotations

import torch
from torch import Tensor

from capo_bench.train.batches import Batch
from capo_bench.train.loss import Outcome
from capo_bench.train.packed_trainer import PackedTrainer


class SftTrainer(PackedTrainer):
    """The loss is the negative log-likelihood of the own responses, a token, prompts left out."""

    method = "sft"
    metrics = ("loss", "nll")

    def outcome(self, logprobs: Tensor, batch: Batch) -> Outcome:
        """The negative log-likelihood of each own response, in nats; divided by tokens later."""
        chosen = logprobs[batch.comparisons.chosen]
        nothing = torch.zeros_like(chosen)
        nll = -chosen / batch.lengths[batch.comparisons.chosen]
        return Outcome(-chosen, nothing, nothing, nothing, nothing, nll)

    def size(self, batch: Batch) -> Tensor:
        """Tokens of the own responses."""
        return batch.lengths[batch.comparisons.chosen]
