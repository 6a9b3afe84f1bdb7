"""Kernel machines: libsvm's pairs of classes, and kernel ridge."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import torch

from edgekit.backends.sklearn_modules.linear import outside_or_inside
from edgekit.backends.sklearn_modules.part import (
    Answers,
    Build,
    Builder,
    Part,
    Tensor,
    refuse,
    squared_distances,
    two_sided,
)

Kernel = Callable[[Tensor, Tensor], Tensor]


def kernel(estimator: Any, *, gamma: float) -> Kernel:
    """`(N, features), (M, features)` -> `(N, M)`; raises UnsupportedError for callables."""
    offset, degree = float(estimator.coef0), float(getattr(estimator, "degree", 3))
    kernels: dict[str, Kernel] = {
        "linear": lambda x, points: x @ points.T,
        "rbf": lambda x, points: torch.exp(-gamma * squared_distances(x, points)),
        "poly": lambda x, points: _power(gamma * (x @ points.T) + offset, degree),
        "polynomial": lambda x, points: _power(gamma * (x @ points.T) + offset, degree),
        "sigmoid": lambda x, points: torch.tanh(gamma * (x @ points.T) + offset),
        "laplacian": lambda x, points: torch.exp(
            -gamma * torch.abs(x.unsqueeze(1) - points.unsqueeze(0)).sum(dim=2)
        ),
    }
    if not isinstance(estimator.kernel, str) or estimator.kernel not in kernels:
        raise refuse(estimator, f"the kernel {estimator.kernel!r} has no torch module")
    return kernels[estimator.kernel]


def _power(base: Tensor, degree: float) -> Tensor:
    """Whole powers by multiplication: pow of a negative number differs between runtimes."""
    if degree != int(degree) or degree < 1:
        return torch.pow(base, degree)
    result = base
    for _ in range(int(degree) - 1):
        result = result * base
    return result


def classifier(estimator: Any, _: Build) -> Part:
    """SVC, NuSVC: one decision per pair of classes; the most votes win, first class first."""
    if estimator.probability is True:
        raise refuse(
            estimator,
            "probability=True iterates over each row until it converges, which has no fixed graph",
            fix="convert to onnx, or fit with probability=False inside CalibratedClassifierCV",
        )
    count = len(estimator.classes_)
    pairs = list(combinations(range(count), 2))
    weights, offsets = _pair_weights(estimator, pairs)
    similar = kernel(estimator, gamma=estimator._gamma)  # noqa: SLF001
    by_class = estimator.decision_function_shape == "ovr"

    def compute(held: Any, x: Tensor) -> Answers:
        each = similar(x, held.vectors) @ held.weights + held.offsets
        if count == 2:
            return two_sided(-each.squeeze(1))
        first = (each > 0).to(torch.float32)
        votes = first @ held.wins + (1 - first) @ held.losses
        confidence = each @ (held.wins - held.losses)
        graded = votes + confidence / (3 * (torch.abs(confidence) + 1))
        best = graded if estimator.break_ties and by_class else votes
        return {
            "predict": torch.argmax(best, dim=1),
            "decision_function": graded if by_class else each,
        }

    wins = np.zeros((len(pairs), count))
    losses = np.zeros((len(pairs), count))
    for at, (first, second) in enumerate(pairs):
        wins[at, first] = losses[at, second] = 1
    return Part(
        compute,
        vectors=estimator.support_vectors_,
        weights=weights,
        offsets=offsets,
        wins=wins,
        losses=losses,
    )


def _pair_weights(estimator: Any, pairs: list[tuple[int, int]]) -> tuple[Any, Any]:
    """The `sv_coef` of libsvm as one column per pair: positive values vote for the first class."""
    dual, counts = np.asarray(estimator._dual_coef_), estimator._n_support  # noqa: SLF001
    ends = np.cumsum([0, *counts])
    weights = np.zeros((dual.shape[1], len(pairs)))
    for at, (first, second) in enumerate(pairs):
        of_first = slice(ends[first], ends[first + 1])
        of_second = slice(ends[second], ends[second + 1])
        weights[of_first, at] = dual[second - 1, of_first]
        weights[of_second, at] = dual[first, of_second]
    return weights, np.asarray(estimator._intercept_)


def regressor(estimator: Any, _: Build) -> Part:
    """SVR, NuSVR."""
    similar = kernel(estimator, gamma=estimator._gamma)  # noqa: SLF001
    return Part(
        lambda held, x: {
            "predict": (similar(x, held.vectors) @ held.weights).squeeze(1) + held.offset
        },
        vectors=estimator.support_vectors_,
        weights=np.reshape(estimator.dual_coef_, (-1, 1)),
        offset=estimator.intercept_,
    )


def one_class(estimator: Any, _: Build) -> Part:
    """OneClassSVM."""
    similar = kernel(estimator, gamma=estimator._gamma)  # noqa: SLF001

    def compute(held: Any, x: Tensor) -> Answers:
        decision = (similar(x, held.vectors) @ held.weights).squeeze(1) + held.offset
        return outside_or_inside(decision)

    return Part(
        compute,
        vectors=estimator.support_vectors_,
        weights=np.reshape(estimator.dual_coef_, (-1, 1)),
        offset=estimator.intercept_,
    )


def kernel_ridge(estimator: Any, _: Build) -> Part:
    """KernelRidge: dual weights on every row it was fitted on."""
    gamma = 1.0 / estimator.X_fit_.shape[1] if estimator.gamma is None else estimator.gamma
    similar = kernel(estimator, gamma=float(gamma))
    flat = np.ndim(estimator.dual_coef_) == 1

    def compute(held: Any, x: Tensor) -> Answers:
        value = similar(x, held.rows) @ held.weights
        return {"predict": value.squeeze(1) if flat else value}

    weights = estimator.dual_coef_.reshape(len(estimator.X_fit_), -1)
    return Part(compute, rows=estimator.X_fit_, weights=weights)


BUILDERS: dict[str, Builder] = {
    "KernelRidge": kernel_ridge,
    "NuSVC": classifier,
    "NuSVR": regressor,
    "OneClassSVM": one_class,
    "SVC": classifier,
    "SVR": regressor,
}
