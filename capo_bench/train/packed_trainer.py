"""What SFT and CAPO share: a `transformers.Trainer` over packed groups."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader, SequentialSampler
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainerState
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from capo_bench.errors import CapoBenchError
from capo_bench.files import STAGED, write_text, writing_all
from capo_bench.train.batches import Batch, Order, collate, compose, passes, tokens
from capo_bench.train.card import CARD_FILE
from capo_bench.train.checkpoints import RUN_FILE, check_same_run, check_state, last_whole
from capo_bench.train.dataset import Group
from capo_bench.train.defaults import learning_rate
from capo_bench.train.kernel import row_multiple
from capo_bench.train.layouts import choose
from capo_bench.train.logprobs import response_logprobs, scores_in_chunks
from capo_bench.train.loss import Outcome
from capo_bench.train.memory import MOST_LOGITS, estimate
from capo_bench.train.models import join_tied_gradients
from capo_bench.train.packed_config import PackedConfig
from capo_bench.train.packing import Layout
from capo_bench.train.reference import groups_fingerprint

_ADAM = ("adamw_torch", "adamw_torch_fused")  # of which is known what they keep

# Names in the log, TRL's where it has one, and the attributes of an outcome.
_METRICS = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "rewards/chosen": "chosen",
    "rewards/rejected": "rejected",
    "nll": "nll",
}


class PackedTrainer(Trainer):  # type: ignore[misc]
    """Trains on groups; a row of the data set is a batch of them, composed to a token budget.

    Args:
        model: A causal language model, or a PEFT model of one.
        args: The settings.
        train_dataset: Groups to train on.
        eval_dataset: Groups to evaluate on, if any.
        processing_class: The tokenizer, which is saved with the model.
        **kwargs: Passed on to `transformers.Trainer`.

    Raises:
        CapoBenchError: If the layout asked for is not exact with this model, the process would
            spread a batch over several devices by `nn.DataParallel`, or DeepSpeed shards the model
            when it is loaded.
    """

    # The loss is divided by the number of comparisons (or tokens) of the whole step, below.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: nn.Module,
        args: PackedConfig,
        train_dataset: Sequence[Group],
        eval_dataset: Sequence[Group] | None = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        if args.n_gpu > 1:
            raise CapoBenchError(
                f"one process sees {args.n_gpu} GPUs; start one process a GPU with "
                "`accelerate launch`, or set CUDA_VISIBLE_DEVICES"
            )
        if is_deepspeed_zero3_enabled():
            raise CapoBenchError(
                "DeepSpeed ZeRO-3 shards the model before it can be checked and the reference "
                "computed; use ZeRO-2 or FSDP"
            )
        disable_dropout(model)
        if args.learning_rate is None:
            size = sum(parameter.numel() for parameter in model.parameters())
            adapter = hasattr(model, "peft_config")
            args.learning_rate = learning_rate(self.method, size, adapter=adapter)
        super().__init__(
            model=model,
            args=args,
            data_collator=self._collate,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_metrics=self._summary,
            **kwargs,
        )
        self.model.to(args.device)  # FSDP and DeepSpeed would place it only later
        both = [*train_dataset, *(eval_dataset or ())]
        self.layout: Layout = choose(
            self.model, self.model.config, [group.paths for group in both], args.layout
        )
        self._multiple = row_multiple(self.model, bf16=args.bf16)
        self._plan_memory(both)
        if args.world_size == 1:
            join_tied_gradients(self.model)
        self._annotators = sorted({c.annotator for group in both for c in group.comparisons})
        self.run = {"method": self.method, "data": groups_fingerprint(train_dataset)}
        batches = self._compose(train_dataset, args.per_device_train_batch_size)
        self._order = Order(len(batches), args.seed if args.data_seed is None else args.data_seed)
        self.add_callback(_Epochs(self._order))
        self.train_dataset = self._prepare(train_dataset, batches, self._visited())
        self.eval_dataset = None
        if eval_dataset:
            batches = self._compose(eval_dataset, args.per_device_eval_batch_size)
            self.eval_dataset = self._prepare(eval_dataset, batches, range(len(batches)))
        self._sums = torch.zeros(len(_METRICS) + 1, dtype=torch.float64)

    # What a method is.

    method = ""

    def outcome(self, logprobs: Tensor, batch: Batch) -> Outcome:
        """The loss and the metrics of every comparison of a batch."""
        raise NotImplementedError

    def size(self, batch: Batch) -> Tensor:
        """[C] what each comparison adds to the number that the loss of a step is divided by."""
        raise NotImplementedError

    metrics: tuple[str, ...] = tuple(_METRICS)

    def prepared(self, groups: Sequence[Group]) -> Sequence[Group]:
        """What a method adds to the groups before training; nothing by default."""
        return groups

    def held(self) -> int:
        """Bytes that a method keeps in memory beside the model and its optimizer."""
        return 0

    def referenced(self, batch: Batch) -> Batch:
        """The batch with what a method needs of another model; as it is by default."""
        return batch

    # Data.

    def _compose(self, groups: Sequence[Group], most: int) -> list[list[int]]:
        return compose(groups, self.layout, most, self.args.seed)

    def _plan_memory(self, groups: Sequence[Group]) -> None:
        """Decides how much a forward pass holds.

        Raises:
            CapoBenchError: If training does not fit into the memory that is free.
        """
        chunked = scores_in_chunks(self.model)
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        self._most_logits = MOST_LOGITS if chunked else None
        self.memory = estimate(
            self.model,
            self.model.config,
            checkpointing=self.args.activation_checkpointing,
            logits_whole=not chunked,
            # Of other optimizers little is known but that they keep less.
            moments=2 if self.args.optim in _ADAM else 0,
            shards=self.args.world_size if sharded else 1,
            held=self.held(),
        )
        largest = max(tokens(group, self.layout) for group in groups)
        self.memory.check(largest)
        self.pass_tokens = max(largest, self.args.max_batch_tokens or self.memory.pass_tokens())

    def _visited(self) -> Sequence[int]:
        """The batches that the run will train on: all, unless it ends within the first epoch."""
        order = list(self._order)
        if self.args.max_steps <= 0:
            return order
        step = self.args.gradient_accumulation_steps * self.args.world_size
        return order[: self.args.max_steps * step]

    def _prepare(
        self, groups: Sequence[Group], batches: list[list[int]], visited: Sequence[int]
    ) -> list[list[Group]]:
        """The batches; those that will be visited are prepared."""
        needed = sorted({index for place in visited for index in batches[place]})
        ready = list(groups)
        for index, group in zip(needed, self.prepared([groups[i] for i in needed]), strict=True):
            ready[index] = group
        return [[ready[index] for index in batch] for batch in batches]

    def _collate(self, rows: Sequence[Sequence[Group]]) -> dict[str, Any]:
        (groups,) = rows
        # Engines that shard the weights gather them in every forward pass: all processes must have
        # equally many.
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        parts = passes(groups, self.layout, math.inf if sharded else self.pass_tokens)
        batches = [self.collate(part) for part in parts]
        ids = torch.cat([batch.packed.input_ids.flatten() for batch in batches])
        return {"input_ids": ids, "passes": batches}

    def collate(self, groups: Sequence[Group]) -> Batch:
        """Packs groups."""
        return collate(groups, self.layout, self._annotators, self._multiple)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One composed batch a step, in an order fixed by the seed and the epoch."""
        return self._loader(self.train_dataset, self._order)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """One composed batch a step, in order."""
        dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        return self._loader(dataset, SequentialSampler(dataset))

    def _loader(self, dataset: Any, sampler: Any) -> DataLoader[Any]:
        loader = DataLoader(
            dataset,
            batch_size=1,
            sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=False,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    # Loss.

    def logprobs(self, model: nn.Module, batch: Batch) -> Tensor:
        """[N] log-probabilities of the paths of a batch."""
        return response_logprobs(model, self.model.config, batch.packed, self._most_logits)

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Forward and backward of a batch, a pass after the other; returns its loss."""
        *first, last = inputs["passes"]
        total = torch.zeros((), device=self.args.device)
        if num_items_in_batch is None:
            num_items_in_batch = self._get_num_items_in_batch([inputs], self.args.device)
        for batch in first:
            with self.accelerator.no_sync(model):
                total += super().training_step(model, {"batch": batch}, num_items_in_batch)
        total += super().training_step(model, {"batch": last}, num_items_in_batch)
        return total

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """The weighted loss of one pass, divided by what the whole step holds.

        Raises:
            CapoBenchError: If the loss is not finite.
        """
        batch = self.referenced(inputs["batch"].to(self.args.device))
        outcome = self.outcome(self.logprobs(model, batch), batch)
        loss = (outcome.loss * batch.comparisons.weight).sum()
        if not torch.isfinite(loss):
            last = last_whole(Path(self.args.output_dir))
            raise CapoBenchError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}; last good "
                f"checkpoint: {last or 'none'}; lower --learning_rate or set --max_grad_norm"
            )
        if num_items_in_batch is None:
            num_items_in_batch = self.size(batch).sum()
        loss = loss / num_items_in_batch.to(loss.device)
        if self.args.average_tokens_across_devices:
            # The items of all processes are counted, and their gradients are averaged.
            loss = loss * self.accelerator.num_processes
        self._count(outcome, batch.share)
        return (loss, outcome) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        sizes = [self.size(batch).sum() for sample in batch_samples for batch in sample["passes"]]
        count = torch.stack(sizes).sum().to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count

    # Metrics.

    def _count(self, outcome: Outcome, share: Tensor) -> None:
        values = [getattr(outcome, name).detach() for name in _METRICS.values()]
        values.append(torch.ones_like(share))
        self._sums += (torch.stack(values).double() @ share.double()).to(self._sums.device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means since the last log to the training loss."""
        if "loss" in logs:
            sums = self._sums.to(self.args.device, torch.float32)[None]
            *means, count = self.accelerator.gather(sums).sum(0).tolist()
            for name, value in zip(_METRICS, means, strict=True):
                if name in self.metrics and name != "loss":
                    logs[name] = value / count
            self._sums.zero_()
        super().log(logs, start_time)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, Tensor, Tensor]:
        """Metrics of the comparisons, shares and sizes, [1, C, .], and annotators, [1, C]."""
        values, annotators = [], []
        for given in inputs["passes"]:
            batch = self.referenced(given.to(self.args.device))
            with torch.no_grad():
                outcome = self.outcome(self.logprobs(model, batch), batch)
            columns = [getattr(outcome, name) for name in _METRICS.values()]
            columns += [batch.share, self.size(batch)]
            values.append(torch.stack([column.float() for column in columns], dim=1))
            annotators.append(batch.annotator)
        return None, torch.cat(values)[None], torch.cat(annotators)[None]

    def _summary(self, evaluated: EvalPrediction) -> dict[str, float]:
        present = evaluated.label_ids >= 0  # -100 is transformers' padding
        values, annotator = evaluated.predictions[present], evaluated.label_ids[present]
        share = values[:, -2]
        found = {
            name: float(np.average(values[:, place], weights=share))
            for place, name in enumerate(_METRICS)
            if name in self.metrics
        }
        found["loss"] = float((values[:, 0] * share).sum() / values[:, -1].sum())
        by_annotator = "rewards/margins" if "rewards/margins" in self.metrics else "nll"
        column = list(_METRICS).index(by_annotator)
        for index, name in enumerate(self._annotators):
            if (annotator == index).any():
                own = annotator == index
                mean = np.average(values[own, column], weights=share[own])
                found[f"{by_annotator}/{name}"] = float(mean)
        return found

    # Checkpoints.

    def train(self, resume_from_checkpoint: Any = None, **kwargs: Any) -> Any:
        """Trains; `True` resumes from the last whole checkpoint of the output folder.

        Raises:
            CapoBenchError: If there is none, or it is of another run.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_whole(Path(self.args.output_dir))
            if resume_from_checkpoint is None:
                raise CapoBenchError(
                    f"{self.args.output_dir} holds no whole checkpoint to resume from; start "
                    "without --resume_from_checkpoint"
                )
        if resume_from_checkpoint:
            check_same_run(Path(resume_from_checkpoint), self.run)
            check_state(Path(resume_from_checkpoint))
            resume_from_checkpoint = str(resume_from_checkpoint)
        return super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            # A pickle that nothing reads back.
            (folder / "training_args.bin").unlink(missing_ok=True)
            self._name_run(folder)

    def _name_run(self, folder: Path) -> None:
        write_text(folder / RUN_FILE, json.dumps(self.run, indent=1) + "\n")

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Saves a checkpoint, or leaves no trace of it.

        Raises:
            CapoBenchError: If weights are not finite or the checkpoint cannot be written.
        """
        folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not torch.isfinite(parameter).all():
                raise CapoBenchError(
                    f"{name} is not finite at step {self.state.global_step}; not saved; last good "
                    f"checkpoint: {last_whole(folder.parent) or 'none'}; lower --learning_rate"
                )
        with self._written_whole(folder):
            if self.args.should_save:
                # One that was written before is whole no more.
                (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
                self._name_run(folder)
            super()._save_checkpoint(model, trial)

    def save_all(self, card: Callable[[], str]) -> None:
        """Saves the result, the trainer's state and a card in the output folder: all, or nothing.

        Args:
            card: Makes the card's text, in the process that saves, when all else is there.

        Raises:
            CapoBenchError: If it cannot be written.
        """
        output = Path(self.args.output_dir)
        saves = self.args.should_save
        with (
            self._written_whole(output),
            writing_all(output) if saves else nullcontext(output / STAGED) as staged,
        ):
            self.save_model(str(staged))
            if saves:
                self.state.save_to_json(str(staged / TRAINER_STATE_NAME))
                write_text(staged / CARD_FILE, card())

    @contextmanager
    def _written_whole(self, folder: Path) -> Iterator[None]:
        try:
            yield
        # torch reports a full disk as a RuntimeError, safetensors as an error of its own.
        except (OSError, RuntimeError, SafetensorError) as error:
            if self.args.should_save and folder.name.startswith(PREFIX_CHECKPOINT_DIR):
                shutil.rmtree(folder, ignore_errors=True)
            last = last_whole(Path(self.args.output_dir))
            raise CapoBenchError(
                f"{folder} cannot be written ({str(error).splitlines()[0]}); last good checkpoint: "
                f"{last or 'none'}; free space and resume with --resume_from_checkpoint true"
            ) from error


class _Epochs(TrainerCallback):  # type: ignore[misc]
    """Tells the order its epoch: accelerate does not where several processes resume within one."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self._order.set_epoch(int(state.epoch or 0))


def disable_dropout(model: nn.Module) -> None:
    """Switches dropout off: tokens shared in a trie would share one mask, unlike separate rows."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "attn_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
