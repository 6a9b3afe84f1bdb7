"""Is it the model, or this machine? Fast kernels against plain ones, on the same samples."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgekit.core.arrays import Array
from edgekit.core.noun import Noun
from edgekit.parity.metrics import sqnr_db

_GAP_DB = 3.0
CURE = (
    "quantize for this CPU with weights of 7 bits (reduce_range) or signed activations (S8S8), or "
    "choose a target whose CPU has VNNI or is Arm"
)


class Doubt(Noun):
    """SQNR of the worst output on plain kernels, and a word where the fast ones are far from it."""

    reference_sqnr_db: float | None = None
    message: str = ""


def doubt_of(
    expected: Mapping[str, Array], fast: Mapping[str, Array], plain: Mapping[str, Array]
) -> Doubt:
    """Whether the artifact is nearer to its source on plain kernels, by over 3 dB.

    x86 without VNNI adds pairs of 8-bit products in 16 bits, which overflow; the same model is right
    on a CPU with VNNI and on Arm.
    """
    found = {
        name: (_sqnr(array, fast.get(name)), _sqnr(array, plain.get(name)))
        for name, array in expected.items()
        if array.dtype.kind == "f"
    }
    if not found:
        return Doubt()
    lowest = min(after for _, after in found.values())
    name, (before, after) = max(found.items(), key=lambda item: _gap(*item[1]))
    message = ""
    if _gap(before, after) > _GAP_DB:
        message = (
            f"the fast kernels of this machine saturate: output {name} has sqnr {before:.1f} dB with "
            f"them and {after:.1f} dB with plain ones"
        )
    return Doubt(reference_sqnr_db=lowest if math.isfinite(lowest) else None, message=message)


def _gap(before: float, after: float) -> float:
    return after - before if math.isfinite(before) else 0.0


def _sqnr(wanted: Array, got: Array | None) -> float:
    """The SQNR of one output; infinite without noise, and where it cannot be compared."""
    if got is None or got.shape != wanted.shape:
        return math.inf
    found = sqnr_db(wanted.astype("f8"), got.astype("f8"))
    return math.inf if found is None or math.isnan(found) else found
