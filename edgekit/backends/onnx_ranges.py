"""Ranges of activations of an ONNX graph, sample by sample: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from edgekit.backends.activation_ranges import RangeCollector
from edgekit.backends.calibration_rows import calibration_rows
from edgekit.core.jobs import OptimizeJob
from edgekit.core.recipe import Quantize
from edgekit.errors import ConfigError


def onnx_ranges(
    job: OptimizeJob, model: Any, names: Iterable[str], *, settings: Quantize, bits: int
) -> dict[str, tuple[float, float]]:
    """(min, max) of the float tensors among `names` over the calibration samples of `job`."""
    if job.calibration is None or not job.calibration.count:
        raise ConfigError(
            f"{settings.precision} needs samples to measure ranges on",
            fix="give --calibration-data",
        )
    wanted = set(names)
    session, seen = _session(model, wanted)
    collector = RangeCollector(settings.ranges, settings.percentile, bits=bits)
    for sample in calibration_rows(job.calibration, job.artifact.signature):
        values = {**sample, **dict(zip(seen, session.run(seen, sample), strict=True))}
        for name in sorted(wanted & values.keys()):
            if values[name].dtype.kind == "f" and values[name].size:
                collector.add(name, values[name])
    return collector.ranges()


def tensors_data(ranges: dict[str, tuple[float, float]]) -> Any:
    """Ranges as onnxruntime's quantizer takes them."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData

    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    return TensorsData(CalibrationMethod.MinMax, data)


def _session(model: Any, names: set[str]) -> tuple[Any, list[str]]:
    """A session with plain kernels that also gives those of `names` that nodes make; and which."""
    seeing = onnx.ModelProto()
    seeing.CopyFrom(model)
    seen = sorted(names & {name for node in model.graph.node for name in node.output})
    shown = {value.name for value in model.graph.output}
    # A value without a type: onnxruntime infers it.
    seeing.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in seen if name not in shown
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        seeing.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session, seen
