"""Olive: `python olive_static.py FLOAT.onnx CALIBRATION.npz OUT.onnx`; its static pass as it comes."""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from olive.data.registry import Registry
from olive.workflows import run


@Registry.register_dataset()
def rows_of(path: str, name: str, **_: object) -> list[tuple[dict[str, np.ndarray], int]]:
    """Pairs of inputs and a label that nobody reads."""
    return [({name: row}, 0) for row in np.load(path)["x"].astype(np.float32)]


@Registry.register_dataloader()
def one_by_one(dataset: list[object], **_: object) -> torch.utils.data.DataLoader:
    """Batches of one row."""
    return torch.utils.data.DataLoader(dataset, batch_size=1)


def main() -> None:
    source, calibration, output = sys.argv[1:]
    name = onnx.load(source).graph.input[0].name
    rows = {"type": "rows_of", "params": {"path": calibration, "name": name}}
    data = {
        "name": "rows",
        "load_dataset_config": rows,
        "pre_process_data_config": {"type": "skip_pre_process"},
        "post_process_data_config": {"type": "skip_post_process"},
        "dataloader_config": {"type": "one_by_one"},
    }
    with tempfile.TemporaryDirectory() as folder:
        run(
            {
                "input_model": {"type": "ONNXModel", "model_path": source},
                "data_configs": [data],
                "passes": {"int8": {"type": "OnnxStaticQuantization", "data_config": "rows"}},
                "output_dir": f"{folder}/out",
                "cache_dir": f"{folder}/cache",
            }
        )
        (made,) = Path(folder, "out").rglob("*.onnx")
        shutil.copyfile(made, output)


if __name__ == "__main__":
    main()
