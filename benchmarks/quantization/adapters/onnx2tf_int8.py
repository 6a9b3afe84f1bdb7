"""onnx2tf: `python onnx2tf_int8.py FLOAT.onnx CALIBRATION.npz OUT.tflite`; int8, float I/O.

It turns channels-first inputs to channels-last (then it writes OUT.layout, which says so); an input
that is channels-last already is kept by its own option. It writes over its input: it gets a copy.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx2tf


def main() -> None:
    source, calibration, output = sys.argv[1:]
    name = onnx.load(source).graph.input[0].name
    rows = np.load(calibration)["x"].astype(np.float32)
    kept = rows.shape[-1] in (1, 3) and rows.shape[1] not in (1, 3)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(source, f"{folder}/model.onnx")
        shape = (1, 1, 1, rows.shape[-1 if kept else 1])
        np.save(f"{folder}/rows.npy", rows if kept else rows.transpose(0, 2, 3, 1))
        ones, zeros = np.ones(shape, np.float32).tolist(), np.zeros(shape, np.float32).tolist()
        onnx2tf.convert(
            input_onnx_file_path=f"{folder}/model.onnx",
            output_folder_path=f"{folder}/out",
            output_integer_quantized_tflite=True,
            custom_input_op_name_np_data_path=[[name, f"{folder}/rows.npy", zeros, ones]],
            keep_shape_absolutely_input_names=[name] if kept else None,
            non_verbose=True,
        )
        shutil.copyfile(f"{folder}/out/model_integer_quant.tflite", output)
    if not kept:
        Path(output).with_suffix(".layout").write_text("channels-last")


if __name__ == "__main__":
    main()
