"""Data from disk: arrays by name, labels apart, nothing unpickled, any file read block by block."""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgekit.config.array_files import npy_series, npz_series
from edgekit.config.folders import Kind, Listing, listed
from edgekit.config.images import image_series
from edgekit.config.images import shape_fix as image_fix
from edgekit.config.sounds import shape_fix as sound_fix
from edgekit.config.sounds import sound_series
from edgekit.config.table import (
    LABEL,
    Selection,
    Series,
    ShapeFix,
    Table,
    in_memory,
    is_label,
    joined,
    whole,
)
from edgekit.config.tables import csv_table, parquet_table
from edgekit.core.arrays import Array, Arrays
from edgekit.core.recipe import Preprocess
from edgekit.errors import ConfigError

_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers of the standard library, NumPy and pyarrow raise on a bad file."""


class Data:
    """Inputs by name and labels by output name (`""` where the file just says `y`), in memory."""

    def __init__(
        self,
        arrays: Arrays,
        origin: Path,
        *,
        notes: tuple[str, ...] = (),
        shape_fix: ShapeFix | None = None,
    ) -> None:
        count = joined(
            {name: in_memory(np.atleast_1d(a)) for name, a in arrays.items()}, str(origin)
        )
        self.origin = origin
        self.notes = notes
        self.shape_fix = shape_fix
        self.count = count.count
        self.inputs = {name: array for name, array in arrays.items() if not is_label(name)}
        self.labels = {
            name.removeprefix(LABEL).removeprefix("_"): array
            for name, array in arrays.items()
            if is_label(name)
        }


def read_data(path: Path, preprocess: Preprocess | None = None) -> Data:
    """Read a whole data file or folder; `open_table` says which there are."""
    table = open_table(path, preprocess)
    return Data(whole(table), path, notes=table.notes, shape_fix=table.shape_fix)


def open_table(path: Path, preprocess: Preprocess | None = None) -> Table:
    """Open `.npz`, `.npy`, `.csv`, `.parquet`, or a folder of `.npy`, of images or of `.wav`.

    Folder of `.npy`: `NAME.npy` is a whole array; the files of a subfolder `NAME/` are single
    samples in name order. Images and sounds: input `x`, made as `preprocess` says; class subfolders
    are labels 0, 1, ... in sorted order. CSV and parquet: the column `y` holds labels, all other
    numbers are the features of input `x`. Raises ConfigError, now or while it is read.
    """
    if not path.exists():
        raise ConfigError(f"no such data file or folder: {path}", fix="check the path")
    with _readable(path):
        table = _open(path, preprocess or Preprocess())

    def blocks(selection: Selection) -> Iterator[Arrays]:
        with _readable(path):
            yield from table.blocks(selection)

    return dataclasses.replace(table, blocks=blocks)


def _open(path: Path, preprocess: Preprocess) -> Table:
    origin = str(path)
    if path.is_dir():
        return _open_folder(listed(path), preprocess)
    match path.suffix.lower():
        case ".npz":
            return joined(npz_series(path), origin)
        case ".npy":
            return joined({"x": npy_series(path)}, origin)
        case ".csv":
            return csv_table(path)
        case ".parquet":
            return parquet_table(path)
    raise ConfigError(
        f"{path}: data of this kind cannot be read",
        fix="give .npz, .npy, .csv, .parquet, or a folder of .npy, of images or of .wav",
    )


def _open_folder(listing: Listing, preprocess: Preprocess) -> Table:
    origin = str(listing.folder)
    if listing.kind is Kind.ARRAYS:
        table = joined(_folder_series(listing), origin)
        return dataclasses.replace(table, notes=listing.notes)
    read, fix = (
        (image_series, image_fix) if listing.kind is Kind.IMAGES else (sound_series, sound_fix)
    )
    series = {"x": read(listing.folder, listing.files, preprocess)}
    if listing.labels is not None:
        series[LABEL] = in_memory(listing.labels)
    return dataclasses.replace(
        joined(series, origin),
        files=listing.files,
        classes=listing.classes,
        notes=listing.notes,
        shape_fix=lambda shape, wanted: fix(shape, wanted, preprocess),
    )


def _folder_series(listing: Listing) -> dict[str, Series]:
    whole_arrays = [name for name in listing.files if "/" not in name]
    series = {Path(name).stem: npy_series(listing.folder / name) for name in whole_arrays}
    samples: dict[str, list[str]] = {}
    for name in listing.files:
        folder, slash, _ = name.partition("/")
        if slash:
            samples.setdefault(folder, []).append(name)
    return series | {name: _stacked(listing.folder, files) for name, files in samples.items()}


def _stacked(folder: Path, files: Sequence[str]) -> Series:
    """Single samples, one to a file, as one array."""

    def load(name: str) -> Array:
        try:
            return np.asarray(np.load(folder / name, allow_pickle=False))
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{name}: {error}") from error

    first = load(files[0])

    def blocks(selection: Selection) -> Iterator[Array]:
        for cut in selection:
            block = np.empty((len(cut), *first.shape), first.dtype)
            for at, row in enumerate(cut):
                sample = load(files[row])
                if (sample.shape, sample.dtype) != (first.shape, first.dtype):
                    raise ConfigError(
                        f"{folder / files[row]} is {sample.dtype} {sample.shape}, "
                        f"{files[0]} is {first.dtype} {first.shape}",
                        fix="one shape and dtype for all samples of an input",
                    )
                block[at] = sample
            yield block

    return Series(count=len(files), shape=first.shape, dtype=first.dtype, blocks=blocks)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise ConfigError(
            f"{path} cannot be read: {error}",
            fix="arrays must be whole and not pickled; is it the kind of file its name says?",
        ) from error
