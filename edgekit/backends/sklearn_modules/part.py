"""What every torch module of an estimator is: tables and a formula, from rows to named answers.

Answers are keyed by scikit-learn's method names. `predict` of a classifier is the *index* into
`classes_`; a constant is kept as two float32 numbers where a small difference of large numbers
would lose it. Only operations that every edge format has kernels for are used: comparisons and
gathers instead of sort, searchsorted, one_hot or boolean masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from edgekit.backends.sklearn_routes import onnx_instead
from edgekit.core.arrays import Array
from edgekit.errors import UnsupportedError

Tensor = Any  # torch.Tensor; torch is Any to the type checker
Answers = dict[str, Any]
Compute = Callable[[Any, Tensor], Answers]
Build = Callable[[Any], "Part"]
Builder = Callable[[Any, Build], "Part"]


class Part(torch.nn.Module):
    """A formula over tables: `compute(part, x)` sees the arrays as attributes, parts as a list."""

    def __init__(self, compute: Compute, *, parts: Sequence[Any] = (), **arrays: Any) -> None:
        super().__init__()
        for name, array in arrays.items():
            self.register_buffer(name, tensor(array))
        self.parts = torch.nn.ModuleList(parts)
        self._compute = compute

    def forward(self, x: Tensor) -> Answers:
        """Answers for the rows of `x` `(N, n_features)`, float32."""
        return self._compute(self, x)


def tensor(array: Any) -> Tensor:
    """A fresh contiguous tensor: float32, int64 or bool; strides of 0 break ExecuTorch."""
    array = np.asarray(array)
    dtype = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}[array.dtype.kind]
    return torch.tensor(np.array(array, dtype=dtype, order="C"))


def split(array: Any) -> tuple[Array, Array]:
    """`array` as a float32 part and the float32 rest: together about 48 bits."""
    array = np.asarray(array, dtype=np.float64)
    high = array.astype(np.float32)
    return high, (array - high).astype(np.float32)


def down(array: Any) -> Array:
    """float64 thresholds rounded down to float32: `x <= t` stays the same for every float32 x."""
    array = np.asarray(array, dtype=np.float64)
    near = array.astype(np.float32)
    return np.where(near > array, np.nextafter(near, np.float32(-np.inf)), near)


def up(array: Any) -> Array:
    """float64 edges rounded up to float32: `x >= edge` stays the same for every float32 x."""
    near: Array = -down(-np.asarray(array, dtype=np.float64))  # type: ignore[misc]
    return near


def refuse(estimator: Any, why: str, *, fix: str = "") -> UnsupportedError:
    """The error that names the estimator and why it has no torch module here."""
    return UnsupportedError(
        f"{type(estimator).__name__}: {why}", fix=fix or onnx_instead(estimator)
    )


def classified(scores: Tensor, **answers: Any) -> Answers:
    """Answers whose `predict` is the first largest column of `scores` `(N, classes)`."""
    return {"predict": torch.argmax(scores, dim=1), **answers}


def two_sided(decision: Tensor, probability: Tensor | None = None) -> Answers:
    """Answers of a binary classifier from the decision `(N,)` and the second class's probability."""
    answers = {"predict": (decision > 0).to(torch.int64), "decision_function": decision}
    if probability is not None:
        answers["predict_proba"] = torch.stack([1 - probability, probability], dim=1)
    return answers


def normalized(shares: Tensor) -> Tensor:
    """Rows of `shares` divided by their sums; a row of zeros becomes equal shares."""
    total = shares.sum(dim=1, keepdim=True)
    empty = total == 0
    even = torch.full_like(shares, 1.0 / shares.shape[1])
    return torch.where(empty, even, shares / torch.where(empty, torch.ones_like(total), total))


def squared_distances(x: Tensor, points: Tensor) -> Tensor:
    """`(N, points)`; from differences, since the expanded square cancels in float32."""
    difference = x.unsqueeze(1) - points.unsqueeze(0)
    return (difference * difference).sum(dim=2)


def interpolated(x: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear: `x` `(N,)` between the knots `at` (rising, rounded `up`); flat outside."""
    count = (x.unsqueeze(1) >= at.unsqueeze(0)).to(torch.int64).sum(dim=1)
    last = at.shape[0] - 1
    low = torch.clamp(count - 1, 0, last)
    high = torch.clamp(count, 0, last)
    width = at[high] - at[low]
    safe = torch.where(width > 0, width, torch.ones_like(width))
    share = torch.clamp((x - at[low]) / safe, 0.0, 1.0)
    return values[low] + (values[high] - values[low]) * share
