"""A second run of quantized artifacts, on plain kernels, where the fast ones may be wrong."""

from __future__ import annotations

from edgekit.config import feeds
from edgekit.config.feeds import Feed
from edgekit.core.arrays import Arrays, read_npz
from edgekit.core.artifact import Artifact, Format
from edgekit.core.recipe import Precision
from edgekit.core.request import Proof
from edgekit.errors import StepError
from edgekit.parity.kernels import Doubt, doubt_of
from edgekit.pipeline.cell import Cell

_FORMATS = frozenset({Format.ONNX, Format.TFLITE})
_PRECISIONS = frozenset({Precision.DYNAMIC, Precision.INT8, Precision.W8A16})


def doubts(
    cell: Cell,
    artifact: Artifact,
    feed: Feed,
    *,
    sides: tuple[Arrays, Arrays],
    precision: Precision,
    num_threads: int,
) -> Doubt:
    """What a run on plain kernels says of the run on fast ones, where 8-bit products are added up.

    `sides` are the outputs expected and those of the fast kernels.
    """
    if artifact.format not in _FORMATS or precision not in _PRECISIONS:
        return Doubt()
    bare = Proof(num_runs=0, num_threads=num_threads)
    try:
        run = cell.run(artifact, feed, bare, own=True, reference=True)
    except StepError as error:
        cell.draft.notes.append(f"whether fast kernels saturate could not be looked at: {error}")
        return Doubt()
    return doubt_of(*sides, feeds.rows_of(read_npz(run.outputs), feed))
