"""What an adapter's folder says of itself; needs no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NotRequired

from pydantic import Field, StrictInt, StrictStr, TypeAdapter
from typing_extensions import TypedDict

from capo_bench.files import read_json, validated

ADAPTER = "adapter_config.json"


class AdapterConfig(TypedDict):
    """The parts of PEFT's `adapter_config.json` that are read here; there are others."""

    base_model_name_or_path: Annotated[StrictStr, Field(min_length=1)]
    r: NotRequired[Annotated[StrictInt, Field(ge=1)] | None]


_config = TypeAdapter(AdapterConfig)


def read_adapter(file: Path) -> AdapterConfig:
    """Reads an `adapter_config.json`.

    Raises:
        CapoBenchError: If it is no such file or names no base model.
    """
    # In the hub's cache files are links.
    advice = "write there the name or the folder of the model that it adapts"
    return validated(_config, read_json(file.resolve()), advice, file=file)
