"""ai-edge-quantizer: `python aeq.py FLOAT.tflite CALIBRATION.npz OUT.tflite`; static int8."""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe


def main() -> None:
    source, calibration, output = sys.argv[1:]
    interpreter = Interpreter(model_path=source)
    key, signature = next(iter(interpreter.get_signature_list().items()))
    name = signature["inputs"][0]
    rows = np.load(calibration)["x"].astype(np.float32)
    tool = quantizer.Quantizer(source, recipe.static_wi8_ai8())
    ranges = tool.calibrate({key: [{name: row[None]} for row in rows]})
    tool.quantize(ranges).export_model(output, overwrite=True)


if __name__ == "__main__":
    main()
