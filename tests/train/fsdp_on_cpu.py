"""`capo_bench.train` with FSDP over gloo, which accelerate keeps for GPUs: started by a test."""

import sys
from typing import Any

from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from capo_bench.train.command import main
from capo_bench.train.packed_trainer import PackedTrainer

start, step = PartialState.__init__, PackedTrainer.training_step


def as_gpus(self: PartialState, *args: Any, **kwargs: Any) -> None:
    start(self, *args, **kwargs)
    if self._shared_state.get("distributed_type") == DistributedType.MULTI_CPU:
        self._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def sharded(self: PackedTrainer, model: Any, *args: Any, **kwargs: Any) -> Any:
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    return step(self, model, *args, **kwargs)


PartialState.__init__ = as_gpus
PackedTrainer.training_step = sharded
sys.exit(main(sys.argv[1:]))
