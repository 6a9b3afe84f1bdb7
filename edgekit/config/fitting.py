"""The rules by which an array of data fits an input of a model: its name, its shape, its dtype."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import numpy as np

from edgekit.config.table import ShapeFix
from edgekit.core.arrays import Array
from edgekit.core.signature import Shape, Signature, TensorSpec, show_shape
from edgekit.errors import ConfigError

ONLY_INPUT = "x"


def matched(names: Collection[str], signature: Signature, origin: str) -> dict[str, str]:
    """The array of each input: its own name, or `x` where there is one input.

    Raises ConfigError where an input has no array or an array no input.
    """
    single = len(signature.inputs) == 1
    found: dict[str, str] = {}
    for spec in signature.inputs:
        if spec.name not in names and not (single and ONLY_INPUT in names):
            raise ConfigError(
                f"{origin} has no array for input {spec.name!r} (arrays: {_listed(names)})",
                fix=f"name the arrays: {_listed([s.name for s in signature.inputs])}",
            )
        found[spec.name] = spec.name if spec.name in names else ONLY_INPUT
    unused = set(names) - set(found.values()) - ({ONLY_INPUT} if single else set())
    if unused:
        raise ConfigError(
            f"{origin} has arrays the model does not take: {_listed(sorted(unused))}",
            fix=f"the model's inputs are: {_listed([s.name for s in signature.inputs])}",
        )
    return found


def check_shape(
    shape: tuple[int, ...], spec: TensorSpec, origin: str, *, shape_fix: ShapeFix | None = None
) -> None:
    """Raise ConfigError unless rows of `shape`, with or without the model's batch axis, fit `spec`.

    `shape_fix` says how to mend data that was made from files; arrays are mended by their user.
    """
    if spec.shape is None or _fits(shape, spec.shape):
        return
    if len(shape) == len(spec.shape) + 1 and _fits(shape[1:], spec.shape):
        return
    raise ConfigError(
        f"{origin}: input {spec.name!r} has shape {shape}, the model takes {show_shape(spec.shape)}",
        fix=(shape_fix or _array_fix)(shape, spec.shape),
    )


def cast(array: Array, spec: TensorSpec, origin: str) -> tuple[Array, bool]:
    """The array in the dtype of `spec`, and whether every value is the same as before.

    Floats may be rounded; integers that would change are refused with ConfigError.
    """
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array, True
    if array.dtype.kind not in "fiub" or wanted.kind not in "fiub":
        raise ConfigError(
            f"{origin}: input {spec.name!r} is {array.dtype}, the model takes {wanted}",
            fix="give numbers",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(wanted)
        back = result.astype(array.dtype)
    exact = np.array_equal(back, array, equal_nan=array.dtype.kind == "f")
    if wanted.kind != "f" and not exact:
        raise ConfigError(
            f"{origin}: input {spec.name!r} is {array.dtype} and its values do not fit {wanted}",
            fix=f"give the array as {wanted}",
        )
    return result, exact


def cast_note(spec: TensorSpec, dtype: np.dtype[np.generic], *, exact: bool) -> str:
    """What to say of samples whose dtype was not the model's."""
    return (
        f"input {spec.name}: {dtype} samples were {'taken' if exact else 'rounded'} as {spec.dtype}"
    )


def _fits(shape: tuple[int, ...], wanted: Shape) -> bool:
    """Whether `shape` is one the model takes; the first axis counts samples, whatever the batch."""
    return len(shape) == len(wanted) and all(
        n == w or w is None or i == 0 for i, (n, w) in enumerate(zip(shape, wanted, strict=True))
    )


def _array_fix(shape: tuple[int, ...], wanted: Shape) -> str:
    for order in itertools.permutations(range(1, len(shape))):
        moved = (shape[0], *(shape[i] for i in order))
        if len(shape) == 4 and moved[1:] != shape[1:] and _fits(moved, wanted):
            axes = ", ".join(map(str, (0, *order)))
            return f"the axes may be in another layout: transpose the array by ({axes})"
    return "give arrays of the model's shape, already preprocessed"


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)
