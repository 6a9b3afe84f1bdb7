"""Figures of a row from the outputs of its files: pure numpy, none of edgekit's own judgement."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_TEXT = re.compile(rb"[ -~]{12,}")  # names of tensors, mostly


def judged(
    sides: dict[str, list[dict[str, Any]]], truths: list[tuple[Path, Path]]
) -> dict[str, Any]:
    """The source's hits, and every side's figures over all folds together."""
    labels = np.concatenate([np.load(data)["y"] for data, _ in truths]).astype(int)
    expected = np.concatenate([np.load(outputs) for _, outputs in truths]).astype(float)
    right = expected.argmax(1) == labels
    return {
        "samples": len(labels),
        "source_correct": int(right.sum()),
        "sides": {
            name: _figures(folds, expected=expected, labels=labels) for name, folds in sides.items()
        },
    }


def _figures(folds: list[dict[str, Any]], *, expected: Array, labels: Array) -> dict[str, Any]:
    errors = [fold["error"] for fold in folds if "error" in fold]
    if errors:
        return {"error": errors[0], "made": folds}
    outputs = [np.load(fold["path"] + ".npy") for fold in folds]
    actual = np.concatenate(outputs).astype(float).reshape(expected.shape)
    return {
        "correct": int((actual.argmax(1) == labels).sum()),
        "hits": "".join("1" if hit else "0" for hit in actual.argmax(1) == labels),
        "agreeing": int((actual.argmax(1) == expected.argmax(1)).sum()),
        "sqnr_db": sqnr_db(expected, actual),
        "size_bytes": statistics.mean(fold["size_bytes"] for fold in folds),
        "wall_s": statistics.mean(fold["wall_s"] for fold in folds),
        "peak_bytes": max(fold["peak_bytes"] for fold in folds),
        "time_ratio": statistics.mean(
            fold.get("p50_ms", np.nan) / fold.get("float_p50_ms", np.nan) for fold in folds
        ),
        "made": folds,
    }


def sqnr_db(expected: Array, actual: Array) -> float:
    """10 log10 of the power of the source's outputs by that of the difference."""
    noise = float(((expected - actual) ** 2).sum())
    return 10 * float(np.log10((expected**2).sum() / noise)) if noise else float("inf")


def size_of(path: Path) -> dict[str, Any]:
    """Bytes of a file, and for ONNX of what: weights, their scales, other numbers, the graph."""
    whole = path.stat().st_size
    if path.suffix != ".onnx":
        return {"size_bytes": whole, "text_bytes": sum(map(len, _TEXT.findall(path.read_bytes())))}
    import onnx

    graph = onnx.load(path).graph
    scales = {
        name
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        for name in node.input[1:]
    }
    parts = {"weights": 0, "scales": 0, "floats": 0}
    for tensor in graph.initializer:
        size = (
            int(np.prod(tensor.dims))
            * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        )
        is_float = tensor.data_type == onnx.TensorProto.FLOAT
        kind = "scales" if tensor.name in scales else "floats" if is_float else "weights"
        parts[kind] += size
    return {
        "size_bytes": whole,
        "contents": {**parts, "graph": whole - sum(parts.values()), "nodes": len(graph.node)},
    }
