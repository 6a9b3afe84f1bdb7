"""What `edgekit inspect` finds inside a model."""

from __future__ import annotations

from edgekit.core.artifact import Format
from edgekit.core.noun import Noun
from edgekit.core.recipe import LayerPrecision
from edgekit.core.signature import Signature


class QuantizedTensors(Noun):
    """How many weight and activation tensors have each dtype, and how many of them per channel."""

    dtypes: dict[str, int]
    per_channel: int = 0


class Inspection(Noun):
    """The inside of one model file. `macs` are multiply-accumulates of one row where known."""

    format: Format
    writer: str
    signature: Signature
    ops: dict[str, int]
    size_bytes: int
    size_compressed_bytes: int | None = None
    parameters: int | None = None
    macs: int | None = None
    tensors: QuantizedTensors | None = None
    notes: tuple[str, ...] = ()
    layers: tuple[LayerPrecision, ...] = ()
