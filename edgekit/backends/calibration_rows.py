"""Calibration samples for a backend: one call after another, read from disk as they are needed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.backends.calls import fitted
from edgekit.core.arrays import Arrays
from edgekit.core.calibration import Calibration
from edgekit.core.signature import Signature


def calibration_rows(
    calibration: Calibration, signature: Signature, *, limit: int | None = None
) -> Iterator[Arrays]:
    """One sample per call, keyed by the artifact's own input names, in its dtypes.

    A free or single first axis gets one row; a fixed batch gets the sample repeated; a model without
    a batch axis gets the row without its axis. Nothing but the current sample is held in memory.
    """
    files = {
        spec.name: np.load(calibration.files[spec.origin], mmap_mode="r")
        for spec in signature.inputs
    }
    for at in range(min(calibration.count, limit or calibration.count)):
        call: Arrays = {}
        for spec in signature.inputs:
            row = np.array(files[spec.name][at : at + 1])
            if spec.shape is not None and row.ndim == len(spec.shape) + 1:
                row = row[0]
            elif spec.shape and spec.shape[0] not in (None, 1):
                row = np.repeat(row, spec.shape[0], axis=0)
            call[spec.name] = np.ascontiguousarray(fitted(row, spec))
        yield call
