"""`.csv` and `.parquet`: one row a sample, the column `y` its label, the other numbers features."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.config.table import LABEL, Selection, Series, Table, in_memory, joined, picked
from edgekit.core.arrays import Array, Arrays
from edgekit.errors import ConfigError, UnavailableError

_LINES = 256
_BUFFER_BYTES = 1 << 16
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def csv_table(path: Path) -> Table:
    """Features of input `x` as float32; labels are whole numbers, numbers or text, as they look.

    The file is read twice: once to count its rows and see what the labels are, then line by line.
    """
    names, rows, labels = _survey(path)
    features = [i for i, name in enumerate(names) if name != LABEL]
    at_label = names.index(LABEL) if LABEL in names else None

    def blocks(selection: Selection) -> Iterator[Arrays]:
        return picked(_csv_chunks(path, names, features, at_label, labels), selection)

    series = {"x": _plain(rows, (len(features),), np.dtype(np.float32))} if features else {}
    if at_label is not None:
        series[LABEL] = _plain(rows, (), labels)
    return joined(series, str(path), blocks=blocks)


def parquet_table(path: Path) -> Table:
    """Columns of numbers are the features of `x` in order; a column of lists is an input by its name.

    Raises UnavailableError where pyarrow is not installed.
    """
    parquet = _pyarrow_parquet()
    with _parquet_file(parquet, path) as file:
        rows = file.metadata.num_rows
        first = next(file.iter_batches(batch_size=1, use_threads=False), None)
    if first is None:
        return joined({"x": _plain(0, (), np.dtype(np.float32))}, str(path))
    sample = _arrays(first, path, 0)
    series = {name: _plain(rows, array.shape[1:], array.dtype) for name, array in sample.items()}

    def blocks(selection: Selection) -> Iterator[Arrays]:
        return picked(_parquet_chunks(parquet, path, selection.rows), selection)

    return joined(series, str(path), blocks=blocks)


def _plain(count: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Series:
    """A series that is only read together with the others of its table."""
    return dataclasses.replace(in_memory(np.empty(0)), count=count, shape=shape, dtype=dtype)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells; a byte order mark, as spreadsheets write it, is not part of a name."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error


def _survey(path: Path) -> tuple[list[str], int, np.dtype[Any]]:
    lines = _lines(path)
    _, names = next(lines, (0, []))
    _check_header(names, path)
    at = names.index(LABEL) if LABEL in names else None
    rows, numeric, integral, width = 0, True, True, 1
    for number, cells in lines:
        rows += 1
        if len(cells) != len(names):
            raise ConfigError(
                f"{path}, line {number}: {len(cells)} cells, the header has {len(names)}",
                fix="every line needs one cell for each column",
            )
        if at is not None:
            numeric = numeric and _is_number(cells[at])
            integral = integral and numeric and float(cells[at]).is_integer()
            width = max(width, len(cells[at]))
    if not numeric:
        return names, rows, np.dtype(f"U{width}")
    return names, rows, np.dtype(np.int64 if integral else np.float64)


def _check_header(names: list[str], path: Path) -> None:
    if not names:
        raise ConfigError(f"{path} is empty", fix="give a header line and one line a sample")
    if len(names) == 1:
        for separator, word in _SEPARATORS.items():
            if separator in names[0]:
                raise ConfigError(
                    f"{path} is separated by {word}, not by commas", fix="save it with commas"
                )
    if all(_is_number(cell) for cell in names):
        raise ConfigError(
            f"{path} has no header line", fix="name the columns; the label column is `y`"
        )
    if "" in names:
        raise ConfigError(
            f"{path}: column {names.index('')} has no name; is it an index that is no feature?",
            fix="save without the index (pandas: index=False), or name the column",
        )


def _csv_chunks(
    path: Path,
    names: list[str],
    features: list[int],
    at_label: int | None,
    labels: np.dtype[Any],
) -> Iterator[Arrays]:
    lines = _lines(path)
    next(lines)
    while rows := [line for _, line in zip(range(_LINES), lines, strict=False)]:
        chunk: Arrays = {"x": _numbers(rows, names, features, path)}
        if at_label is not None:
            cells = [cells[at_label] for _, cells in rows]
            numbers = cells if labels.kind == "U" else [float(cell) for cell in cells]
            chunk[LABEL] = np.array(numbers).astype(labels)
        yield chunk


def _numbers(
    rows: list[tuple[int, list[str]]], names: list[str], features: list[int], path: Path
) -> Array:
    try:
        return np.array([[float(cells[i]) for i in features] for _, cells in rows], np.float32)
    except ValueError:
        line, column, cell = next(
            (line, names[i], cells[i])
            for line, cells in rows
            for i in features
            if not _is_number(cells[i])
        )
        raise ConfigError(
            f"{path}, line {line}: {column} is {cell!r}, which is no number",
            fix="features are numbers: encode text, fill or drop what is missing",
        ) from None


def _parquet_chunks(parquet: Any, path: Path, rows: int) -> Iterator[Arrays]:  # noqa: ANN401
    start = 0
    with _parquet_file(parquet, path) as file:
        for batch in file.iter_batches(batch_size=rows, use_threads=False):
            yield _arrays(batch, path, start)
            start += batch.num_rows


def _parquet_file(parquet: Any, path: Path) -> Any:  # noqa: ANN401
    """With small buffers, or whole columns of a row group are held at once instead of a page each."""
    return parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)


def _arrays(batch: Any, path: Path, start: int) -> Arrays:  # noqa: ANN401
    """The arrays of one batch of rows, of which the first is row `start` of the file."""
    features: list[Array] = []
    arrays: Arrays = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name.startswith("__index_level_"):
            raise ConfigError(
                f"{path}: {name} is an index of pandas, no feature",
                fix="save without the index: to_parquet(..., index=False)",
            )
        array = _column(column, f"{path}: column {name!r}", start)
        if name == LABEL or array.ndim > 1:
            arrays[name] = array
        elif array.dtype.kind in "fiub":
            features.append(array)
        else:
            raise ConfigError(
                f"{path}: column {name!r} holds {column.type}, not numbers",
                fix="encode it as numbers or drop it; the label column is `y`",
            )
    if features:
        kind = np.result_type(*(array.dtype for array in features))
        arrays["x"] = np.stack([array.astype(kind) for array in features], axis=1)
    return arrays


def _column(column: Any, where: str, start: int) -> Array:  # noqa: ANN401
    """One column as an array; lists, also of lists, become further axes."""
    if column.null_count:
        row = start + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise ConfigError(f"{where}: row {row} is missing", fix="fill or drop missing values")
    if not str(column.type).startswith(("list", "large_list", "fixed_size_list")):
        values = column.to_numpy(zero_copy_only=False)
        return np.array(values.tolist()) if values.dtype == object else np.array(values)
    inner = _column(column.flatten(), where, start)
    lengths = {len(value) for value in column}
    if len(lengths) != 1:
        raise ConfigError(
            f"{where}: lists of different lengths: {sorted(lengths)[:3]}",
            fix="every sample needs the same shape",
        )
    return inner.reshape(len(column), lengths.pop(), *inner.shape[1:])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _pyarrow_parquet() -> Any:  # noqa: ANN401
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UnavailableError(
            "reading .parquet takes pyarrow, which is not installed here",
            fix="pip install 'edgekit[data]'",
        ) from error
    return parquet
