"""Neighbours: distances from differences, then the k smallest."""

from __future__ import annotations

from collections.abc import Callable
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
    classified,
    refuse,
    squared_distances,
)

Distance = Callable[[Tensor, Tensor], Tensor]


def _distance(estimator: Any) -> Distance:
    """`(N, features), (M, features)` -> `(N, M)`."""
    metric = estimator.effective_metric_
    power = float((estimator.effective_metric_params_ or {}).get("p", 2))
    if metric == "minkowski":
        metric = {1.0: "manhattan", 2.0: "euclidean"}.get(power, "power")
    distances: dict[str, Distance] = {
        "euclidean": lambda x, points: torch.sqrt(squared_distances(x, points)),
        "manhattan": lambda x, points: _gaps(x, points).sum(dim=2),
        "chebyshev": lambda x, points: torch.amax(_gaps(x, points), dim=2),
        "power": lambda x, points: torch.pow(
            torch.pow(_gaps(x, points), power).sum(dim=2), 1 / power
        ),
    }
    names = {"l2": "euclidean", "l1": "manhattan", "cityblock": "manhattan"}
    metric = names.get(metric, metric)
    if metric not in distances or "w" in (estimator.effective_metric_params_ or {}):
        raise refuse(estimator, f"the metric {metric!r} has no torch module")
    return distances[metric]


def _gaps(x: Tensor, points: Tensor) -> Tensor:
    return torch.abs(x.unsqueeze(1) - points.unsqueeze(0))


def _weights(estimator: Any) -> Callable[[Tensor], Tensor]:
    """Weights of neighbours by their distances: equal, or 1/d where an exact hit counts alone."""
    if estimator.weights in ("uniform", None):
        return torch.ones_like
    if estimator.weights != "distance":
        raise refuse(estimator, "a function as weights has no torch module")

    def inverse(near: Tensor) -> Tensor:
        hit = near == 0
        any_hit = hit.to(torch.float32).sum(dim=1, keepdim=True) > 0
        shares = 1.0 / torch.where(hit, torch.ones_like(near), near)
        return torch.where(any_hit, hit.to(torch.float32), shares)

    return inverse


def _rows(estimator: Any) -> Any:
    """The rows an estimator was fitted on."""
    rows = estimator._fit_X  # noqa: SLF001
    if not isinstance(rows, np.ndarray):
        raise refuse(estimator, "it was fitted on a sparse matrix", fix="fit it on a dense array")
    return rows


def neighbor_classifier(estimator: Any, _: Build) -> Part:
    """KNeighborsClassifier."""
    if estimator.outputs_2d_:
        raise refuse(estimator, "several targets have no torch module")
    distance, weigh, count = _distance(estimator), _weights(estimator), estimator.n_neighbors

    def compute(held: Any, x: Tensor) -> Answers:
        near, at = torch.topk(distance(x, held.rows), count, dim=1, largest=False)
        votes = held.shares[at.reshape(-1)].reshape(-1, count, held.shares.shape[1])
        weights = weigh(near).unsqueeze(2)
        total = (votes * weights).sum(dim=1)
        return classified(total, predict_proba=total / weights.sum(dim=1))

    shares = np.eye(len(estimator.classes_))[estimator._y]  # noqa: SLF001
    return Part(compute, rows=_rows(estimator), shares=shares)


def neighbor_regressor(estimator: Any, _: Build) -> Part:
    """KNeighborsRegressor."""
    distance, weigh, count = _distance(estimator), _weights(estimator), estimator.n_neighbors
    flat = np.ndim(estimator._y) == 1  # noqa: SLF001

    def compute(held: Any, x: Tensor) -> Answers:
        near, at = torch.topk(distance(x, held.rows), count, dim=1, largest=False)
        values = held.values[at.reshape(-1)].reshape(-1, count, held.values.shape[1])
        weights = weigh(near).unsqueeze(2)
        mean = (values * weights).sum(dim=1) / weights.sum(dim=1)
        return {"predict": mean.squeeze(1) if flat else mean}

    values = np.asarray(estimator._y, dtype=np.float64).reshape(len(estimator._y), -1)  # noqa: SLF001
    return Part(compute, rows=_rows(estimator), values=values)


def radius_classifier(estimator: Any, _: Build) -> Part:
    """RadiusNeighborsClassifier: every row within the radius votes."""
    if estimator.outputs_2d_:
        raise refuse(estimator, "several targets have no torch module")
    part = _within_radius(estimator, np.eye(len(estimator.classes_))[estimator._y])  # noqa: SLF001
    return Part(
        lambda held, x: classified(
            held.parts[0](x)["predict"], predict_proba=held.parts[0](x)["predict"]
        ),
        parts=[part],
    )


def radius_regressor(estimator: Any, _: Build) -> Part:
    """RadiusNeighborsRegressor."""
    flat = np.ndim(estimator._y) == 1  # noqa: SLF001
    values = np.asarray(estimator._y, dtype=np.float64).reshape(len(estimator._y), -1)  # noqa: SLF001
    part = _within_radius(estimator, values)
    return Part(
        lambda held, x: {
            "predict": held.parts[0](x)["predict"].squeeze(1)
            if flat
            else held.parts[0](x)["predict"]
        },
        parts=[part],
    )


def _within_radius(estimator: Any, values: Any) -> Part:
    if estimator.weights not in ("uniform", None):
        raise refuse(estimator, "weights other than uniform have no torch module")
    distance, radius = _distance(estimator), float(estimator.radius)

    def compute(held: Any, x: Tensor) -> Answers:
        inside = (distance(x, held.rows) <= radius).to(torch.float32)
        return {"predict": (inside @ held.values) / inside.sum(dim=1, keepdim=True)}

    return Part(compute, rows=_rows(estimator), values=values)


def propagation(estimator: Any, _: Build) -> Part:
    """LabelPropagation and LabelSpreading: the labels of all rows, weighted by an RBF kernel."""
    if estimator.kernel != "rbf":
        raise refuse(estimator, f"the kernel {estimator.kernel!r} has no torch module")
    gamma = float(estimator.gamma)

    def compute(held: Any, x: Tensor) -> Answers:
        weights = torch.softmax(-gamma * squared_distances(x, held.rows), dim=1)
        shares = weights @ held.shares
        shares = shares / shares.sum(dim=1, keepdim=True)
        return classified(shares, predict_proba=shares)

    return Part(compute, rows=estimator.X_, shares=estimator.label_distributions_)


def local_outlier_factor(estimator: Any, _: Build) -> Part:
    """LocalOutlierFactor with novelty=True: density against that of the neighbours."""
    distance, count = _distance(estimator), estimator.n_neighbors_
    near = np.sort(estimator._distances_fit_X_, axis=1)
    if np.isclose(near[:, -1], near[:, -2], rtol=1e-6, atol=0).any() or (near[:, -1] == 0).any():
        raise refuse(
            estimator,
            "some of its rows have neighbours at equal distances, and which of them counts is chance",
            fix="fit it on continuous values, without repeated rows",
        )

    def compute(held: Any, x: Tensor) -> Answers:
        near, at = torch.topk(distance(x, held.rows), count, dim=1, largest=False)
        reach = torch.maximum(near, held.reach[at])
        density = 1.0 / (reach.mean(dim=1) + 1e-10)
        ratio = (held.density[at] / density.unsqueeze(1)).mean(dim=1)
        return {**outside_or_inside(-ratio - held.offset), "score_samples": -ratio}

    return Part(
        compute,
        rows=_rows(estimator),
        reach=estimator._distances_fit_X_[:, count - 1],
        density=estimator._lrd,  # noqa: SLF001
        offset=estimator.offset_,
    )


BUILDERS: dict[str, Builder] = {
    "KNeighborsClassifier": neighbor_classifier,
    "KNeighborsRegressor": neighbor_regressor,
    "LabelPropagation": propagation,
    "LabelSpreading": propagation,
    "LocalOutlierFactor": local_outlier_factor,
    "RadiusNeighborsClassifier": radius_classifier,
    "RadiusNeighborsRegressor": radius_regressor,
}
