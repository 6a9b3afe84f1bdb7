"""Fit data to a model's signature: names, dtypes, shapes, calls; or make data up, and say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgekit.config.fitting import cast, cast_note, check_shape, matched
from edgekit.config.samples import Data
from edgekit.core.arrays import Array, Arrays, write_npz
from edgekit.core.noun import Noun
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError, UnsupportedError

SYNTHETIC_ROWS = 8
FREE_ROWS_PER_CALL = 16
_FREE_AXIS = 16
_FREE_IMAGE_AXIS = 64


class Feed(Noun):
    """Arrays on disk, keyed by the source's input names, and how to cut them into calls.

    `count` rows are real; more may follow to fill the last call of a model with a fixed batch.
    """

    path: str
    count: int
    calls: tuple[int, ...]
    stacked: bool
    notes: tuple[str, ...] = ()


def bind(data: Data, signature: Signature) -> tuple[Arrays, tuple[str, ...]]:
    """The arrays of `data` under the names of `signature.inputs`, in its dtypes, and notes.

    A model with one input also takes the name `x`. Raises ConfigError with both shapes where they
    do not fit, and where a value would change by more than rounding to the model's dtype.
    """
    notes = list(data.notes)
    arrays: Arrays = {}
    origin = str(data.origin)
    names = matched(data.inputs, signature, origin)
    for spec in signature.inputs:
        array = data.inputs[names[spec.name]]
        check_shape(array.shape, spec, origin, shape_fix=data.shape_fix)
        arrays[spec.name], exact = cast(array, spec, origin)
        if array.dtype != arrays[spec.name].dtype:
            notes.append(cast_note(spec, array.dtype, exact=exact))
    return arrays, tuple(notes)


def specs_of(data: Data) -> tuple[TensorSpec, ...]:
    """Input specs read off data, for models that do not tell: first axis free, float64 as float32."""
    return tuple(
        TensorSpec(
            name=name,
            dtype="float32" if array.dtype == np.float64 else str(array.dtype),
            shape=(None, *array.shape[1:]),
        )
        for name, array in data.inputs.items()
    )


def synthetic(
    signature: Signature, *, seed: int | Sequence[int], rows: int = SYNTHETIC_ROWS, size: int = 0
) -> Arrays:
    """Made-up inputs: floats N(0, 1), integers 0 or 1 (safe as token ids), booleans at random.

    A first axis that is free or 1 counts `rows` samples; any other free axis gets `size`, or 64
    where two of them stand side by side (an image), or 16.
    """
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for spec in signature.inputs:
        if spec.shape is None:
            raise ConfigError(
                f"input {spec.name!r} has an unknown rank", fix="give --input NAME:SHAPE:DTYPE"
            )
        shape = [
            n if n is not None else size or _free_size(spec.shape, i)
            for i, n in enumerate(spec.shape)
        ]
        if spec.shape and spec.shape[0] in (None, 1):
            shape[0] = rows
        kind = np.dtype(spec.dtype).kind
        if kind == "f":
            arrays[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
        elif kind in "iub":
            arrays[spec.name] = rng.integers(0, 2, shape).astype(spec.dtype)
        else:
            raise ConfigError(
                f"inputs of dtype {spec.dtype} cannot be made up",
                fix="give real samples: --eval-data",
            )
    return arrays


def _free_size(shape: tuple[int | None, ...], axis: int) -> int:
    neighbours = shape[max(axis - 1, 1) : axis + 2]
    return _FREE_IMAGE_AXIS if sum(n is None for n in neighbours) > 1 else _FREE_AXIS


def write_feed(arrays: Arrays, signature: Signature, path: Path) -> Feed:
    """Write `arrays` for a model with `signature` (names: each spec's origin) and plan the calls.

    A free first axis is exercised with one row first and then 16 at a time; a fixed one is filled
    up by repeating the last row; a model without a batch axis is called once per row.
    """
    count = len(next(iter(arrays.values())))
    stacked = _is_stacked(arrays, signature)
    shape = signature.inputs[0].shape
    batch = None if stacked or not shape else shape[0]
    if stacked:
        calls: tuple[int, ...] = (count,)
    elif batch is None:
        whole, rest = divmod(count - 1, FREE_ROWS_PER_CALL)
        calls = (1, *[FREE_ROWS_PER_CALL] * whole, *([rest] if rest else []))
    else:
        calls = (batch,) * -(-count // batch)
    rows = sum(calls)
    write_npz(path, {name: _filled(a, rows) for name, a in arrays.items()})
    return Feed(path=str(path), count=count, calls=calls, stacked=stacked)


def _is_stacked(arrays: Arrays, signature: Signature) -> bool:
    """Whether the model has no batch axis: samples have one axis more than its inputs."""
    kinds = {
        spec.shape is not None and arrays[spec.origin].ndim == len(spec.shape) + 1
        for spec in signature.inputs
    }
    if len(kinds) > 1:
        raise UnsupportedError(
            "some inputs have a batch axis, some none",
            fix="give every input of the model the batch as its first axis",
        )
    return kinds.pop()


def write_examples(arrays: Arrays, signature: Signature, path: Path) -> None:
    """Write one call's arrays for a tracer, keyed by the signature's own names.

    Two rows along a free first axis: a size of 1 would be taken for a constant.
    """
    examples: Arrays = {}
    for spec in signature.inputs:
        array = arrays[spec.origin]
        if spec.shape is not None and array.ndim == len(spec.shape) + 1:
            examples[spec.name] = array[0]
        else:
            rows = (spec.shape[0] if spec.shape else None) or 2
            examples[spec.name] = _filled(array[:rows], rows)
    write_npz(path, examples)


def rows_of(outputs: Mapping[str, Array], feed: Feed) -> Arrays:
    """Outputs without the rows that only filled up the last call."""
    total = sum(feed.calls)
    return {
        name: array[: feed.count] if array.ndim and array.shape[0] == total else array
        for name, array in outputs.items()
    }


def _filled(array: Array, rows: int) -> Array:
    if array.shape[0] >= rows:
        return array[:rows]
    return np.concatenate([array, np.repeat(array[-1:], rows - array.shape[0], axis=0)])
