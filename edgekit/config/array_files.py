"""`.npy` and `.npz` files read a block of rows at a time, compressed or not, never unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edgekit.config.table import Cut, Selection, Series
from edgekit.core.arrays import Array

_WHOLE_BYTES = 256 * 2**20
"""An array in column order has to be read whole to take a row out of it: up to this size it is."""

Opener = Callable[[], AbstractContextManager[IO[bytes]]]
Header = tuple[tuple[int, ...], bool, np.dtype[np.generic]]


def npy_series(path: Path) -> Series:
    """One array file. Raises ValueError or EOFError where it is no array or is cut short."""
    return _series(lambda: path.open("rb"), size=path.stat().st_size, name=path.name)


def npz_series(path: Path) -> dict[str, Series]:
    """The arrays of an `.npz`, by name; nothing but headers is read yet."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    foreign = [member.filename for member in members if not member.filename.endswith(".npy")]
    if foreign:
        raise ValueError(f"{foreign[0]!r} inside it is no .npy array")
    return {
        member.filename.removesuffix(".npy"): _series(
            _member_opener(path, member.filename), size=member.file_size, name=member.filename
        )
        for member in members
    }


def _member_opener(path: Path, name: str) -> Opener:
    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            yield member

    return opened


def _series(opener: Opener, *, size: int, name: str) -> Series:
    with opener() as stream:
        shape, by_columns, dtype = _header(stream, name)
        wanted = stream.tell() + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size < wanted:
        raise EOFError(f"{name} is cut short: {size:,} bytes of {wanted:,}")
    if not shape:
        return Series(count=0, shape=(), dtype=dtype, blocks=lambda _: iter(()))
    if 0 in shape[1:]:
        raise ValueError(f"{name} has shape {shape}: there is nothing in a row")
    by_columns = by_columns and bool(np.prod(shape[1:]) > 1)
    if by_columns and wanted > _WHOLE_BYTES:
        raise ValueError(
            f"{name} is stored by columns (Fortran order), which cannot be read row by row; "
            "save it with numpy.ascontiguousarray"
        )
    read = _read_columns if by_columns else _read_rows

    def blocks(selection: Selection) -> Iterator[Array]:
        with opener() as stream:
            yield from read(stream, _header(stream, name), selection)

    return Series(count=shape[0], shape=shape[1:], dtype=dtype, blocks=blocks)


def _header(stream: IO[bytes], name: str) -> Header:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header: Header = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"{name} has the unknown version {version} of the .npy format")
    if header[2].hasobject:
        raise ValueError(f"{name} holds Python objects, which are not unpickled")
    return header


def _read_rows(stream: IO[bytes], header: Header, selection: Selection) -> Iterator[Array]:
    shape, _, dtype = header
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    at = 0
    for cut in selection:
        buffer = np.empty(len(cut) * row_bytes, np.uint8)
        filled = 0
        for run in _runs(cut):
            stream.seek((int(run[0]) - at) * row_bytes, 1)
            end = filled + len(run) * row_bytes
            _fill(stream, buffer[filled:end])
            at, filled = int(run[-1]) + 1, end
        yield buffer.view(dtype).reshape(len(cut), *shape[1:])


def _read_columns(stream: IO[bytes], header: Header, selection: Selection) -> Iterator[Array]:
    shape, _, dtype = header
    buffer = np.empty(int(np.prod(shape)) * dtype.itemsize, np.uint8)
    _fill(stream, buffer)
    array = buffer.view(dtype).reshape(shape[::-1]).T
    for cut in selection:
        yield np.ascontiguousarray(array[cut])


def _runs(cut: Cut) -> list[Cut]:
    """The cut as pieces without gaps, each of which is one read."""
    return np.split(cut, np.flatnonzero(np.diff(cut) != 1) + 1)


def _fill(stream: IO[bytes], buffer: NDArray[np.uint8]) -> None:
    view = memoryview(buffer)  # type: ignore[arg-type]  # arrays are buffers, their stubs say it from 3.12 on
    while view:
        got = stream.readinto(view)  # type: ignore[attr-defined]  # files and zip members have it
        if not got:
            raise EOFError("the file ends in the middle of a row")
        view = view[got:]
