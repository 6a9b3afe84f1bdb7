"""Is it the model, or this machine? Quantized artifacts are run on plain kernels as well."""

from __future__ import annotations

import math

from edgekit.config import feeds
from edgekit.config.feeds import Feed
from edgekit.core.arrays import Arrays, read_npz
from edgekit.core.artifact import Artifact, Format
from edgekit.core.noun import Noun
from edgekit.core.recipe import Precision
from edgekit.core.request import Proof
from edgekit.errors import StepError
from edgekit.parity.metrics import sqnr_db
from edgekit.pipeline.cell import Cell

_FORMATS = frozenset({Format.ONNX, Format.TFLITE})
_PRECISIONS = frozenset({Precision.DYNAMIC, Precision.INT8, Precision.W8A16})
_GAP_DB = 3.0
FIX = (
    "quantize for this CPU with weights of 7 bits (reduce_range) or signed activations (S8S8), or "
    "choose a target whose CPU has VNNI or is Arm"
)


class Doubt(Noun):
    """SQNR of the worst output on plain kernels, and a word where the fast ones are far from it."""

    reference_sqnr_db: float | None = None
    message: str = ""


def doubts(
    cell: Cell,
    artifact: Artifact,
    feed: Feed,
    *,
    sides: tuple[Arrays, Arrays],
    precision: Precision,
    num_threads: int,
) -> Doubt:
    """Compare the fast kernels of this machine with plain ones, where 8-bit products may saturate.

    x86 without VNNI adds pairs of 8-bit products in 16 bits, which overflow; the same model is right
    on a CPU with VNNI and on Arm.
    """
    if artifact.format not in _FORMATS or precision not in _PRECISIONS:
        return Doubt()
    expected, fast = sides
    bare = Proof(num_runs=0, num_threads=num_threads)
    try:
        run = cell.run(artifact, feed, bare, own=True, reference=True)
    except StepError as error:
        cell.draft.notes.append(f"whether fast kernels saturate could not be looked at: {error}")
        return Doubt()
    plain = feeds.rows_of(read_npz(run.outputs), feed)
    gaps = {
        name: (_sqnr(expected, fast, name), _sqnr(expected, plain, name))
        for name, array in expected.items()
        if array.dtype.kind == "f"
    }
    if not gaps:
        return Doubt()
    lowest = min(after for _, after in gaps.values())
    name, (before, after) = max(gaps.items(), key=lambda item: _gap(item[1]))
    message = ""
    if _gap((before, after)) > _GAP_DB:
        message = (
            f"the fast kernels of this machine saturate: output {name} has sqnr {before:.1f} dB with "
            f"them and {after:.1f} dB with plain ones"
        )
    return Doubt(reference_sqnr_db=lowest if math.isfinite(lowest) else None, message=message)


def _gap(pair: tuple[float, float]) -> float:
    before, after = pair
    return after - before if math.isfinite(before) else 0.0


def _sqnr(expected: Arrays, actual: Arrays, name: str) -> float:
    """The SQNR of one output; infinite without noise, and where it cannot be compared."""
    wanted, got = expected[name], actual.get(name)
    if got is None or got.shape != wanted.shape:
        return math.inf
    found = sqnr_db(wanted.astype("f8"), got.astype("f8"))
    return math.inf if found is None or math.isnan(found) else found
