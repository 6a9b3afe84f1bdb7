"""Centres: the nearest one, and distances to all."""

from __future__ import annotations

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
    split,
    squared_distances,
)


def nearest_centroid(estimator: Any, _: Build) -> Part:
    """NearestCentroid: the closest, or with unequal priors the best discriminant score."""
    if estimator.metric not in ("euclidean", "manhattan"):
        raise refuse(estimator, f"the metric {estimator.metric!r} has no torch module")
    if estimator.metric == "manhattan":
        return Part(
            lambda held, x: {
                "predict": torch.argmin(
                    torch.abs(x.unsqueeze(1) - held.rows.unsqueeze(0)).sum(dim=2), dim=1
                )
            },
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
    "MeanShift": centers,
    "MiniBatchKMeans": centers,
    "NearestCentroid": nearest_centroid,
}
