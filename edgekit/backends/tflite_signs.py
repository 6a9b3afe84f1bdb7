"""TFLite files quantized to uint8, rewritten in int8: the same numbers, 128 less."""

from __future__ import annotations

from typing import Any

import numpy as np

_HALF = 128


def signed(data: bytes) -> bytes:
    """The bytes of a `.tflite` file with int8 for each quantized uint8 tensor.

    Every real number stays what it is: stored values and zero points fall by 128. The kernels for
    int8 are the ones that runtimes still have; those for uint8 know no scale per channel.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    quantized = [tensor for tensor in tensors if _is_quantized(tensor, schema.TensorType.UINT8)]
    for tensor in quantized:
        tensor.type = schema.TensorType.INT8
        tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint) - _HALF
    for index in {tensor.buffer for tensor in quantized}:
        stored = model.buffers[index].data
        if stored is not None and len(stored):
            model.buffers[index].data = np.asarray(stored, np.uint8) ^ np.uint8(_HALF)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _is_quantized(tensor: Any, dtype: int) -> bool:
    found = tensor.quantization
    return tensor.type == dtype and found is not None and found.scale is not None
