"""Cross-annotator preference optimization."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from capo_bench.train.batches import Batch
from capo_bench.train.capo_config import CapoConfig
from capo_bench.train.dataset import Group
from capo_bench.train.loss import Outcome, preference
from capo_bench.train.packed_trainer import PackedTrainer
from capo_bench.train.reference import model_fingerprint, with_reference


class CapoTrainer(PackedTrainer):
    """Prefers an annotator's own response over the others', relative to the starting model.

    The reference model is the model as it is given. Its log-probabilities are computed before
    training, with the same packing, and kept in a folder by what they depend on.

    Args:
        model: The starting model, as a rule after supervised fine-tuning.
        args: The settings.
        train_dataset: Groups to train on.
        eval_dataset: Groups to evaluate on, if any.
        cache: Folder of the reference log-probabilities.
        **kwargs: Passed on.
    """

    method = "capo"

    def __init__(
        self,
        model: nn.Module,
        args: CapoConfig,
        train_dataset: Sequence[Group],
        eval_dataset: Sequence[Group] | None = None,
        *,
        cache: Path,
        **kwargs: Any,
    ) -> None:
        self._cache = cache
        self._reference: nn.Module | None = None
        super().__init__(model, args, train_dataset, eval_dataset, **kwargs)
        names = ("beta", "loss", "anchor", "length_normalized", "reference_free")
        self.run["objective"] = ", ".join(f"{name} {getattr(args, name)}" for name in names)

    def prepared(self, groups: Sequence[Group]) -> Sequence[Group]:
        """The groups with the log-probabilities of the model as it is now, the reference."""
        if self.args.reference_free:
            return [replace(group, reference=(0.0,) * len(group.paths)) for group in groups]
        dtype = next(self.model.parameters()).dtype
        precision = f"{dtype}, autocast {self.accelerator.mixed_precision}"
        fingerprint = f"{model_fingerprint(self.model)} {precision}"
        self.run["reference"] = fingerprint
        if not self.args.precompute:
            # Only now is the model where it is trained, and computes as it will.
            self._reference = self._reference or _reference(self.model)
            return groups
        self.model.eval()

        def score(some: Sequence[Group]) -> Tensor:
            # Accelerate makes the trained model compute so, but only once it is prepared.
            with torch.no_grad(), self.accelerator.autocast():
                return self.logprobs(self.model, self.collate(some).to(self.args.device))

        return with_reference(
            groups,
            score,
            fingerprint,
            self._cache,
            process=(self.args.process_index, self.args.world_size),
            wait=self.accelerator.wait_for_everyone,
        )

    def held(self) -> int:
        """The copy of the model, where the reference is one."""
        if self.args.precompute or self.args.reference_free or _adapts(self.model):
            return 0
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    def referenced(self, batch: Batch) -> Batch:
        """The batch with the reference's log-probabilities, where they were not computed before."""
        if self._reference is None:
            return batch
        adapted = self._reference is self.model
        off: Any = self.model.disable_adapter() if adapted else nullcontext()
        with torch.no_grad(), off, self.accelerator.autocast():
            return replace(batch, reference=self.logprobs(self._reference, batch))

    def outcome(self, logprobs: Tensor, batch: Batch) -> Outcome:
        """The CAPO loss of each comparison."""
        return preference(
            logprobs,
            batch.reference,
            batch.lengths,
            batch.comparisons,
            beta=self.args.beta,
            loss=self.args.loss,
            anchor=self.args.anchor,
            length_normalized=self.args.length_normalized,
        )

    def size(self, batch: Batch) -> Tensor:
        """One a comparison, less for a part of one."""
        return batch.share


def _reference(model: nn.Module) -> nn.Module:
    """A model that stays as `model` is: itself, if new adapters can be switched off, or a copy."""
    return model if _adapts(model) else deepcopy(model).requires_grad_(False).eval()


def _adapts(model: nn.Module) -> bool:
    """Whether the model is one with new adapters, without which it is what it started as."""
    fresh = [
        not parameter.any() for name, parameter in model.named_parameters() if "lora_B" in name
    ]
    return bool(fresh) and all(fresh)
