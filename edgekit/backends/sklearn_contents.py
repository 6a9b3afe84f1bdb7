"""Checks inside a loaded estimator what scikit-learn follows without looking.

A tree keeps the positions of its children and features as raw numbers, and the compiled code that
follows them checks no bounds: a crafted file could read past the arrays or walk in circles
(scikit-learn pull request 34558). Only what the file format cannot vouch for is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import MalformedError

Integers = NDArray[np.integer[Any]]


def check_contents(estimator: Any) -> None:
    """Raise MalformedError where a tree or neighbour index below `estimator` points outside itself."""
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.neighbors._ball_tree import BallTree, BallTree32
    from sklearn.neighbors._kd_tree import KDTree, KDTree32
    from sklearn.tree._tree import Tree

    for part, features in parts(estimator):
        if isinstance(part, Tree):
            _check_tree(part)
        elif isinstance(part, TreePredictor):
            _check_predictor(part, features)
        elif isinstance(part, (BallTree, BallTree32, KDTree, KDTree32)):
            _check_index(part.__getstate__())


def parts(value: Any) -> Iterator[tuple[Any, int]]:
    """Every object below `value` once, with the feature count of the nearest estimator above it."""
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        part, features = waiting.pop()
        if isinstance(part, (str, bytes, int, float, type(None))) or id(part) in seen:
            continue
        seen.add(id(part))
        features = _number(getattr(part, "n_features_in_", None)) or features
        yield part, features
        waiting += [(child, features) for child in _children(part)]


def _children(part: Any) -> list[Any]:
    if isinstance(part, dict):
        return list(part.values())
    if isinstance(part, (list, tuple, set)):
        return list(part)
    if isinstance(part, np.ndarray):
        return list(part.flat) if part.dtype == object else []
    if isinstance(part, type):
        return []
    return list(getattr(part, "__dict__", {}).values())


def _number(value: Any) -> int:
    return int(value) if isinstance(value, (int, np.integer)) else 0


def _check_tree(tree: Any) -> None:
    inner = np.flatnonzero(tree.children_left != -1)
    ranks = np.arange(tree.node_count)
    _check_children(tree.children_left, ranks, inner, "tree")
    _check_children(tree.children_right, ranks, inner, "tree")
    _check_range(tree.feature[inner], 0, tree.n_features, "feature of a tree")


def _check_predictor(predictor: Any, features: int) -> None:
    nodes = predictor.nodes
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    ranks = np.arange(len(nodes))
    _check_children(nodes["left"].astype(np.int64), ranks, inner, "boosted tree")
    _check_children(nodes["right"].astype(np.int64), ranks, inner, "boosted tree")
    _check_range(nodes["feature_idx"][inner], 0, features, "feature of a boosted tree")
    sets = nodes["bitset_idx"][nodes["is_categorical"] == 1]
    _check_range(sets, 0, len(predictor.raw_left_cat_bitsets), "category set of a boosted tree")


def _check_children(child: Integers, ranks: Integers, inner: Integers, what: str) -> None:
    """Children come after their parent, so that every walk ends."""
    if ranks.size == 0:
        raise MalformedError(f"a {what} of the model has no nodes")
    if np.any(child[inner] <= ranks[inner]) or np.any(child[inner] >= ranks.size):
        raise MalformedError(f"a {what} of the model has a node whose child is not in the tree")


def _check_index(state: tuple[Any, ...]) -> None:
    data, order, nodes, bounds = (np.asarray(part) for part in state[:4])
    levels, count = int(state[5]), int(state[6])
    sizes_fit = (
        count == len(nodes) == 2**levels - 1
        and bounds.ndim == 3
        and bounds.shape[1:] == (count, data.shape[1])
        and len(order) == len(data)
    )
    if not sizes_fit or not nodes["is_leaf"][count // 2 :].all():
        raise MalformedError("a neighbour index of the model has arrays that do not fit together")
    _check_range(order, 0, len(data), "row of a neighbour index")
    for edge in ("idx_start", "idx_end"):
        _check_range(nodes[edge], 0, len(data) + 1, "node of a neighbour index")


def _check_range(values: Any, low: int, end: int, what: str) -> None:
    values = np.asarray(values).astype(np.int64)
    if values.size and (values.min() < low or values.max() >= end):
        raise MalformedError(
            f"a {what} of the model points to {values.max()}, outside of {low} to {end - 1}"
        )
