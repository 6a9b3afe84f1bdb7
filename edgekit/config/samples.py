"""Evaluation data from disk: arrays by name, labels apart, nothing unpickled."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from edgekit.core.arrays import Array, Arrays, read_npz
from edgekit.errors import ConfigError

LABEL = "y"


class Data:
    """Inputs by name and labels by output name (`""` where the file just says `y`)."""

    def __init__(self, arrays: Arrays, origin: Path) -> None:
        self.origin = origin
        self.labels = {
            name.removeprefix(LABEL).removeprefix("_"): array
            for name, array in arrays.items()
            if name == LABEL or name.startswith(f"{LABEL}_")
        }
        self.inputs = {
            name: array
            for name, array in arrays.items()
            if name != LABEL and not name.startswith(f"{LABEL}_")
        }
        self.count = self._count(arrays)

    def _count(self, arrays: Arrays) -> int:
        if not self.inputs:
            raise ConfigError(
                f"{self.origin} holds no inputs (arrays: {', '.join(arrays) or 'none'})",
                fix="name one array per model input, or `x` where there is one; `y` holds labels",
            )
        counts = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise ConfigError(
                f"{self.origin}: arrays must have the same number of rows, 1 or more; found {counts}",
                fix="the first axis of every array counts the samples",
            )
        return next(iter(counts.values()))


def read_data(path: Path) -> Data:
    """Read an `.npz`, a folder of `.npy`, or a `.csv` with a header.

    Folder: `NAME.npy` is a whole array; the files of a subfolder `NAME/` are single samples, stacked
    in name order. CSV: the column `y` holds labels, all others are the features of input `x`, float32.
    """
    if path.is_dir():
        return Data(_read_folder(path), path)
    if not path.is_file():
        raise ConfigError(f"no such data file: {path}", fix="check the path after --eval-data")
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.suffix not in readers:
        raise ConfigError(
            f"{path}: data of this kind cannot be read", fix="give .npz, .csv or a folder of .npy"
        )
    try:
        return Data(readers[path.suffix](path), path)
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", fix="arrays must not be pickled"
        ) from error


def _read_npz(path: Path) -> Arrays:
    return read_npz(path)


def _read_folder(path: Path) -> Arrays:
    try:
        arrays = {
            file.stem: np.load(file, allow_pickle=False) for file in sorted(path.glob("*.npy"))
        }
        for folder in sorted(child for child in path.iterdir() if child.is_dir()):
            files = sorted(folder.glob("*.npy"))
            if files:
                arrays[folder.name] = np.stack([np.load(f, allow_pickle=False) for f in files])
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", fix="one shape and dtype per input"
        ) from error
    return arrays


def _read_csv(path: Path) -> Arrays:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [row for row in csv.reader(file) if row]
    if all(_is_number(cell) for cell in header):
        raise ConfigError(
            f"{path} has no header line", fix="name the columns; the label column is `y`"
        )
    features = [i for i, name in enumerate(header) if name != LABEL]
    arrays: Arrays = {"x": np.array([[float(row[i]) for i in features] for row in rows], "f4")}
    if LABEL in header:
        cells = [row[header.index(LABEL)] for row in rows]
        numeric = all(_is_number(cell) for cell in cells)
        arrays[LABEL] = _labels([float(c) for c in cells]) if numeric else np.array(cells)
    return arrays


def _labels(values: list[float]) -> Array:
    numbers = np.array(values)
    whole = numbers.astype(np.int64)
    return whole if np.array_equal(whole, numbers) else numbers


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
