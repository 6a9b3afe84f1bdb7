"""Cross-layer equalization (Nagel et al. 2019, arXiv 1906.04721, section 4.1), on numbers alone.

Where a layer's output goes to one other layer through ops that let a positive factor pass, channel i
of the first can be divided by s_i and the weights that read it multiplied by s_i. With
s_i = sqrt(r1_i / r2_i), r being the largest |weight| of the channel on each side, both sides range
alike. Here s_i is rounded to a power of two: such factors are exact in float32, so the function does
not change at all, short of underflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError

Weights = NDArray[np.float32]

_MOST_SWEEPS = 20


@dataclass(frozen=True, slots=True)
class Side:
    """The weights of a layer and the axis along which its channels lie."""

    weights: Weights
    axis: int

    def ranges(self) -> Weights:
        """The largest |weight| of each channel."""
        others = tuple(i for i in range(self.weights.ndim) if i != self.axis)
        return np.asarray(np.abs(self.weights).max(axis=others))

    def scale(self, factors: Weights) -> None:
        """Multiply each channel by its factor, in place."""
        shape = [1] * self.weights.ndim
        shape[self.axis] = -1
        np.multiply(self.weights, factors.reshape(shape), out=self.weights)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A layer with its bias, if it has one, and the one layer that reads it; arrays are writable."""

    first: Side
    bias: tuple[Weights, ...]
    second: Side


def equalize_or_refuse(pairs: Sequence[Neighbours]) -> str:
    """Equalize, and say how much was changed; raises UnsupportedError where nothing was."""
    count = equalize(pairs)
    if not count:
        raise UnsupportedError(
            f"equalization changed nothing: {len(pairs)} pairs of neighbouring layers, and their "
            "channels range alike",
            fix="leave that pass out",
        )
    return f"equalized {count} channels between {len(pairs)} pairs of layers"


def equalize(pairs: Sequence[Neighbours]) -> int:
    """Change the weights of all pairs in place until nothing moves; how many channels were changed."""
    touched: set[tuple[int, int]] = set()
    for _ in range(_MOST_SWEEPS):
        moved = False
        for at, pair in enumerate(pairs):
            factors = _factors(pair.first.ranges(), pair.second.ranges())
            changed = np.flatnonzero(factors != 1)
            touched |= {(at, int(channel)) for channel in changed}
            if len(changed):
                moved = True
                pair.first.scale(np.reciprocal(factors))
                pair.second.scale(factors)
                for bias in pair.bias:
                    np.divide(bias, factors, out=bias)
        if not moved:
            break
    return len(touched)


def _factors(first: Weights, second: Weights) -> Weights:
    """s_i as powers of two; 1 where a side of the channel is all zero."""
    is_used = (first > 0) & (second > 0)
    ratio = np.where(is_used, first, 1) / np.where(is_used, second, 1)
    return np.asarray(np.exp2(np.round(np.log2(ratio) / 2)), np.float32)
