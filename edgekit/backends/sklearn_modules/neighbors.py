"""Neighbours and centres: distances from differences, then the k smallest."""

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
    split,
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


def nearest_centroid(estimator: Any, _: Build) -> Part:
    """NearestCentroid: the closest, or with unequal priors the best discriminant score."""
    if estimator.metric not in ("euclidean", "manhattan"):
        raise refuse(estimator, f"the metric {estimator.metric!r} has no torch module")
    if estimator.metric == "manhattan":
        return Part(
            lambda held, x: {"predict": torch.argmin(_gaps(x, held.rows).sum(dim=2), dim=1)},
            rows=estimator.centroids_,
        )
    spread = np.where(estimator.within_class_std_dev_ == 0, 1.0, estimator.within_class_std_dev_)
    even = bool(np.isclose(estimator.class_prior_, 1 / len(estimator.classes_)).all())
    binary = len(estimator.classes_) == 2

    def compute(held: Any, x: Tensor) -> Answers:
        scaled = (x.unsqueeze(1) - held.rows.unsqueeze(0)) / held.spread
        scores = held.prior - (scaled * scaled).sum(dim=2)
        nearest = torch.argmin(squared_distances(x, held.rows), dim=1)
        return {
            "predict": nearest if even else torch.argmax(scores, dim=1),
            "predict_proba": torch.softmax(scores, dim=1),
            "decision_function": scores[:, 1] - scores[:, 0] if binary else scores,
        }

    prior = 2.0 * np.log(estimator.class_prior_)
    return Part(compute, rows=estimator.centroids_, spread=spread, prior=prior)


def centers(estimator: Any, _: Build) -> Part:
    """KMeans and its kin: the nearest centre, and the distances to all."""

    def compute(held: Any, x: Tensor) -> Answers:
        squares = squared_distances(x, held.rows)
        return {
            "predict": held.names[torch.argmin(squares, dim=1)],
            "transform": torch.sqrt(squares),
        }

    rows, names = _centers(estimator)
    return Part(compute, rows=rows, names=names)


def _centers(estimator: Any) -> tuple[Any, Any]:
    if type(estimator).__name__ == "Birch":
        return estimator.subcluster_centers_, np.asarray(estimator.subcluster_labels_)
    return estimator.cluster_centers_, np.arange(len(estimator.cluster_centers_))


def bisecting(estimator: Any, _: Build) -> Part:
    """BisectingKMeans: from the root of its tree of centres, the nearer child each time."""
    tables = _bisecting_tables(estimator)
    high, low = split(np.asarray(estimator._X_mean))  # noqa: SLF001

    def compute(held: Any, x: Tensor) -> Answers:
        centred = (x - held.high) - held.low
        squares = squared_distances(centred, held.rows)
        at = torch.zeros_like(x[:, :1]).to(torch.int64)
        for _ in range(tables["depth"]):
            left, right = held.left[at], held.right[at]
            nearer = torch.gather(squares, 1, left) <= torch.gather(squares, 1, right)
            at = torch.where(nearer, left, right)
        return {
            "predict": held.names[at.squeeze(1)],
            "transform": torch.sqrt(squared_distances(x, held.centers)),
        }

    arrays = {name: tables[name] for name in ("rows", "left", "right", "names")}
    return Part(compute, high=high, low=low, centers=estimator.cluster_centers_, **arrays)


def _bisecting_tables(estimator: Any) -> dict[str, Any]:
    order: list[tuple[Any, int]] = [(estimator._bisecting_tree, 0)]  # noqa: SLF001
    left, right, names = [], [], []
    for at, (node, depth) in enumerate(order):
        if node.left is None:
            left.append(at)
            right.append(at)
            names.append(int(node.label))
            continue
        left.append(len(order))
        right.append(len(order) + 1)
        names.append(-1)
        order += [(node.left, depth + 1), (node.right, depth + 1)]
    rows = [np.zeros(estimator.n_features_in_) if n.center is None else n.center for n, _ in order]
    return {
        "rows": np.array(rows, dtype=np.float64),
        "left": np.array(left),
        "right": np.array(right),
        "names": np.array(names),
        "depth": max(depth for _, depth in order),
    }


def elliptic(estimator: Any, _: Build) -> Part:
    """EllipticEnvelope: the squared Mahalanobis distance against its offset."""
    high, low = split(estimator.location_)
    root = np.linalg.cholesky(estimator.get_precision())

    def compute(held: Any, x: Tensor) -> Answers:
        white = ((x - held.high) - held.low) @ held.root
        return outside_or_inside(-(white * white).sum(dim=1) - held.offset)

    return Part(compute, high=high, low=low, root=root, offset=estimator.offset_)


BUILDERS: dict[str, Builder] = {
    "AffinityPropagation": centers,
    "Birch": centers,
    "BisectingKMeans": bisecting,
    "EllipticEnvelope": elliptic,
    "KMeans": centers,
    "KNeighborsClassifier": neighbor_classifier,
    "KNeighborsRegressor": neighbor_regressor,
    "LocalOutlierFactor": local_outlier_factor,
    "MeanShift": centers,
    "MiniBatchKMeans": centers,
    "NearestCentroid": nearest_centroid,
    "RadiusNeighborsClassifier": radius_classifier,
    "RadiusNeighborsRegressor": radius_regressor,
}
