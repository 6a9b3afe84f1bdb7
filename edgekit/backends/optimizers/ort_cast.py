"""Store an ONNX file's weights, and compute, in float16; inputs and outputs stay float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from edgekit.backends.layer_choice import chosen
from edgekit.backends.onnx_layers import Wires, layers_of, weights_of
from edgekit.backends.onnx_passes import (
    check_float_io,
    check_mix,
    finished,
    opened,
    quantize_settings,
)
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import OptimizeJob
from edgekit.core.recipe import Precision
from edgekit.errors import MalformedError

_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = 1e-7


def optimize(job: OptimizeJob) -> Artifact:
    """Cast all but the layers that are to stay float32, or whose weights float16 cannot hold."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    settings = quantize_settings(job)
    check_float_io(settings)
    model = opened(job)
    wanted = chosen(settings, [layer.name for layer in layers_of(model)])
    check_mix(wanted, (Precision.FP16,))
    floats = {name for name, precision in wanted.items() if precision is Precision.FP32}
    large = _too_large(model) - floats
    result = convert_float_to_float16(
        model,
        min_positive_val=_SMALLEST,
        max_finite_val=_LARGEST,
        keep_io_types=True,
        op_block_list=DEFAULT_OP_BLOCK_LIST,
        node_block_list=sorted(floats | large),
    )
    notes = [f"{name} stays float32: its weights exceed {_LARGEST:g}" for name in sorted(large)]
    return finished(
        job, result, tool="onnxruntime.transformers.float16", can="every layer", notes=notes
    )


def _too_large(model: Any) -> set[str]:
    """Layers with a weight that would be infinite; raises MalformedError for one that is not a number."""
    found = set()
    wires = Wires(model.graph)
    for node in model.graph.node:
        for tensor in weights_of(node, wires):
            if tensor.data_type != TensorProto.FLOAT:
                continue
            array = numpy_helper.to_array(tensor)
            if not np.isfinite(array).all():
                raise MalformedError(f"the weight {tensor.name!r} of {node.name} is not finite")
            if np.abs(array).max(initial=0) > _LARGEST:
                found.add(node.name)
    return found
