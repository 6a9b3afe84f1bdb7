"""onnxruntime: `python ort.py FLOAT.onnx CALIBRATION.npz OUT.onnx [no-arguments]`.

As its documentation says: pre-process, then static QDQ with uint8 activations and int8 weights per
channel; or `quantize_static` with no arguments at all.
"""

import sys
import tempfile

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Rows(CalibrationDataReader):
    """One row after the other, for the model's only input."""

    def __init__(self, path: str, name: str) -> None:
        self._rows = iter({name: row[None]} for row in np.load(path)["x"].astype(np.float32))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rows, None)


def main() -> None:
    source, calibration, output, *plain = sys.argv[1:]
    name = onnx.load(source).graph.input[0].name
    if plain:
        quantize_static(source, output, Rows(calibration, name))
        return
    with tempfile.TemporaryDirectory() as folder:
        quant_pre_process(source, f"{folder}/prepared.onnx")
        quantize_static(
            f"{folder}/prepared.onnx",
            output,
            Rows(calibration, name),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


if __name__ == "__main__":
    main()
