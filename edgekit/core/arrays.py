"""Named arrays on disk: `.npz` files, any name, never pickled."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Arrays = dict[str, Array]


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays under any names; `numpy.savez` takes names as keywords and trips over `file`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def read_npz(path: Path | str) -> Arrays:
    """Read all arrays; raises ValueError where one would have to be unpickled."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
