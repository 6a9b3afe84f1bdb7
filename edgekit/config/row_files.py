"""`.npy` files written row by row, without knowing beforehand how many there will be."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType

import numpy as np

from edgekit.core.arrays import Array


class RowFile:
    """A raw `.npy` of rows of one shape and dtype. A context manager: the header is right after it.

    NumPy pads its headers so that the first axis can grow in place (`GROWTH_AXIS_MAX_DIGITS`).
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        self.path = path
        self.shape = shape
        self.dtype = dtype
        self.count = 0
        self.sha256 = hashlib.sha256()

    def __enter__(self) -> RowFile:
        self._file = self.path.open("wb")
        self._write_header()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def append(self, rows: Array) -> None:
        """Write rows at the end. Raises ValueError where they are of another shape or dtype."""
        if rows.shape[1:] != self.shape or rows.dtype != self.dtype:
            raise ValueError(f"{rows.dtype} {rows.shape[1:]} after {self.dtype} {self.shape}")
        data = np.ascontiguousarray(rows).tobytes()
        self._file.write(data)
        self.sha256.update(data)
        self.count += len(rows)

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.count, *self.shape),
            },
        )
