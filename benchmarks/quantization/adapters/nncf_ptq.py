"""NNCF: `python nncf_ptq.py FLOAT.onnx CALIBRATION.npz OUT.onnx`; `nncf.quantize` as it comes."""

import sys

import nncf
import numpy as np
import onnx


def main() -> None:
    source, calibration, output = sys.argv[1:]
    model = onnx.load(source)
    name = model.graph.input[0].name
    rows = np.load(calibration)["x"].astype(np.float32)
    data = nncf.Dataset([row[None] for row in rows], lambda row: {name: row})
    onnx.save(nncf.quantize(model, data), output)


if __name__ == "__main__":
    main()
