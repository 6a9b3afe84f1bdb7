"""The data of all sample models: scikit-learn's bundled handwritten digits, split by a fixed seed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 7
TEST_ROWS = 540


class Split:
    """Images `(N, 8, 8)` float32 in 0..1 and labels `(N,)` int64, for training and for evaluation."""

    def __init__(self) -> None:
        digits = load_digits()
        images = (digits.images / 16.0).astype(np.float32)
        labels = digits.target.astype(np.int64)
        parts = train_test_split(
            images, labels, test_size=TEST_ROWS, random_state=SEED, stratify=labels
        )
        self.train_x, self.test_x, self.train_y, self.test_y = parts


def build_into(
    folder: Path,
    write: Callable[[Path, Split], Callable[[NDArray[np.float32]], NDArray[np.float32]]],
) -> None:
    """Call `write(folder, split)`, which trains and saves; keep evaluation and calibration data.

    `write` answers with the function that shapes images `(N, 8, 8)` for the model's input.
    """
    folder.mkdir(parents=True, exist_ok=True)
    split = Split()
    shaped = write(folder, split)
    np.savez(folder / "eval.npz", x=shaped(split.test_x), y=split.test_y)
    np.savez(folder / "calibration.npz", x=shaped(split.train_x[:200]), y=split.train_y[:200])
    print(f"built {folder}")


def folder_from_arguments(script: str) -> Path:
    """The folder named on the command line, else `built/` beside the script."""
    return Path(sys.argv[1]) if len(sys.argv) > 1 else Path(script).resolve().parent / "built"
