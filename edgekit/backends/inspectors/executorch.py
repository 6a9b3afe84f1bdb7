"""The inside of a `.pte`."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path

from edgekit.backends.pte_files import read_program, signature_of
from edgekit.core.artifact import Format
from edgekit.core.inspection import Inspection, QuantizedTensors
from edgekit.core.jobs import InspectJob


def inspect(job: InspectJob) -> Inspection:
    """Kernels the program calls, nodes inside its delegates (`xnnpack::Conv2d`), weights, sizes."""
    path = Path(job.artifact.path)
    program = read_program(path)
    ops = Counter(program.kernels)
    for delegate in program.delegates:
        prefix = delegate.backend.removesuffix("Backend").lower()
        ops.update({f"{prefix}::{kind}": count for kind, count in delegate.nodes.items()})
        if not delegate.nodes:
            ops[delegate.backend] += 1
    data = path.read_bytes()
    signature, notes = signature_of(program)
    return Inspection(
        format=Format.EXECUTORCH,
        writer=job.artifact.writer,
        signature=signature,
        ops=dict(ops.most_common()),
        size_bytes=len(data),
        size_compressed_bytes=len(zlib.compress(data, 9)),
        parameters=program.weights,
        tensors=QuantizedTensors(
            dtypes=dict(program.dtypes.most_common()),
            per_channel=sum(n for dtype, n in program.dtypes.items() if dtype == "qcint8"),
        ),
        notes=notes,
    )
