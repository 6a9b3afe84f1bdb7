"""Write models that plain int8 ruins: `python -m tests.parity.ruined DIGITS_CNN FOLDER`.

`outlier.keras` is digits_cnn with one channel between two convolutions 300 times larger than the
rest, and the weights that read it 300 times smaller: the same function, to rounding.
`per_tensor.keras` has the filters of one convolution on scales from 1 to 1,000, undone by the next.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np


def main(source: Path, folder: Path) -> None:
    """Both models from the trained one."""
    outlier = np.ones(48, np.float32)
    outlier[3] = 300
    write(source, outlier, folder / "outlier.keras")
    write(source, np.geomspace(1, 1000, 48, dtype=np.float32), folder / "per_tensor.keras")


def write(source: Path, scales: np.ndarray, target: Path) -> None:
    model = keras.models.load_model(source)
    first, second = (model.get_layer(name) for name in ("conv2d_1", "conv2d_2"))
    kernel, bias = first.get_weights()
    first.set_weights([kernel * scales, bias * scales])
    kernel, bias = second.get_weights()
    second.set_weights([kernel / scales[None, None, :, None], bias])
    model.save(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
