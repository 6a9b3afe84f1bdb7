"""Trees and forests: all nodes in one table, followed by gathers for as many steps as the deepest."""

from __future__ import annotations

from collections.abc import Sequence
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
    down,
    refuse,
    tensor,
)
from edgekit.core.arrays import Array
from edgekit.core.noun import Noun


class Nodes(Noun):
    """One tree: arrays of length nodes, `values` `(nodes, k)`; a leaf has `left` = -1."""

    feature: Any
    threshold: Any
    left: Any
    right: Any
    values: Any
    missing_left: Any = None


class Forest(torch.nn.Module):
    """`(N, n_features)` -> leaf values `(N, trees, k)`.

    Thresholds are rounded down to float32, which leaves `x <= t` as it is for every float32 x.
    Leaves point to themselves, so that all trees take the same number of steps.
    """

    def __init__(self, trees: Sequence[Nodes], *, values: bool = True) -> None:
        super().__init__()
        starts = np.cumsum([0, *(len(tree.left) for tree in trees)])
        rows = [_rows(tree, start) for tree, start in zip(trees, starts[:-1], strict=True)]
        for name in ("feature", "threshold", "left", "right"):
            self.register_buffer(name, tensor(np.concatenate([row[name] for row in rows])))
        if values:
            leaves = np.concatenate([np.asarray(tree.values) for tree in trees])
            self.register_buffer("values", tensor(leaves))
        self.register_buffer("roots", tensor(starts[:-1]))
        self.has_missing = any(row["missing"].any() for row in rows)
        if self.has_missing:
            missing = np.concatenate([row["missing"] for row in rows]).astype(np.float32)
            self.register_buffer("missing", tensor(missing))
        self.depth = max(_depth(tree) for tree in trees)
        self.trees = len(trees)

    def leaves(self, x: Tensor) -> Tensor:
        """The row of the node table in which each tree ends, `(N, trees)`."""
        at = self.roots.unsqueeze(0) + torch.zeros_like(x[:, :1]).to(torch.int64)
        for _ in range(self.depth):
            value = torch.gather(x, 1, self.feature[at])
            goes_left = value <= self.threshold[at]
            if self.has_missing:
                goes_left = goes_left | ((value != value) & (self.missing[at] > 0))
            at = torch.where(goes_left, self.left[at], self.right[at])
        return at

    def forward(self, x: Tensor) -> Tensor:
        """Leaf values of every tree."""
        at = self.leaves(x)
        return self.values[at.reshape(-1)].reshape(-1, self.trees, self.values.shape[1])


def _rows(tree: Nodes, start: int) -> dict[str, Array]:
    left, right = np.asarray(tree.left), np.asarray(tree.right)
    leaf = left == -1
    own = np.arange(len(left))
    missing = np.zeros(len(left), bool) if tree.missing_left is None else tree.missing_left
    return {
        "feature": np.where(leaf, 0, tree.feature).astype(np.int64),
        "threshold": down(np.where(leaf, 0.0, tree.threshold)),
        "left": np.where(leaf, own, left).astype(np.int64) + start,
        "right": np.where(leaf, own, right).astype(np.int64) + start,
        "missing": np.asarray(missing).astype(bool) & ~leaf,
    }


def _depth(tree: Nodes) -> int:
    """Steps from the root to the deepest leaf; children come after their parent."""
    depth = np.zeros(len(tree.left), dtype=int)
    for node in range(len(tree.left)):
        if tree.left[node] != -1:
            depth[[tree.left[node], tree.right[node]]] = depth[node] + 1
    return int(depth.max())


def nodes(tree: Any, values: Array, columns: Array | None = None) -> Nodes:
    """The arrays of a scikit-learn `Tree` with other leaf values; `columns` renames features."""
    feature = np.where(tree.children_left == -1, 0, tree.feature)
    return Nodes(
        feature=feature if columns is None else np.asarray(columns)[feature],
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        values=values,
        missing_left=getattr(tree, "missing_go_to_left", None),
    )


def _trees(estimator: Any) -> list[Any]:
    return [estimator] if hasattr(estimator, "tree_") else list(estimator.estimators_)


def classifier(estimator: Any, _: Build) -> Part:
    """Trees and forests: the mean of the leaves' class shares."""
    trees = [tree.tree_ for tree in _trees(estimator)]
    outputs, classes = trees[0].value.shape[1:]
    widths = np.atleast_1d(estimator.n_classes_)

    def compute(held: Any, x: Tensor) -> Answers:
        shares = held.parts[0](x).sum(dim=1) / len(trees)
        if outputs == 1:
            return classified(shares, predict_proba=shares)
        each = [
            shares[:, at * classes : at * classes + int(width)] for at, width in enumerate(widths)
        ]
        best = torch.stack([torch.argmax(share, dim=1) for share in each], dim=1)
        return {"predict": best, "predict_proba": each}

    return Part(compute, parts=[Forest([nodes(tree, leaf_shares(tree)) for tree in trees])])


def leaf_shares(tree: Any) -> Array:
    """The class shares of every node, `(nodes, outputs * classes)`."""
    values = np.asarray(tree.value)
    total = values.sum(axis=2, keepdims=True)
    return (values / np.where(total == 0, 1, total)).reshape(len(values), -1)


def regressor(estimator: Any, _: Build) -> Part:
    """Trees and forests: the mean of the leaves."""
    trees = [tree.tree_ for tree in _trees(estimator)]
    flat = trees[0].value.shape[1] == 1

    def compute(held: Any, x: Tensor) -> Answers:
        mean = held.parts[0](x).sum(dim=1) / len(trees)
        return {"predict": mean.squeeze(1) if flat else mean}

    return Part(compute, parts=[Forest([nodes(tree, tree.value[:, :, 0]) for tree in trees])])


def isolation(estimator: Any, _: Build) -> Part:
    """IsolationForest: the mean path length against that of an unsuccessful search."""
    from sklearn.ensemble._iforest import _average_path_length

    expected = float(_average_path_length([estimator._max_samples])[0])  # noqa: SLF001
    if expected == 0:
        raise refuse(estimator, "it was fitted on one row, and every row scores the same")
    tables = [
        nodes(tree.tree_, (lengths + counts - 1.0).reshape(-1, 1), columns)
        for tree, columns, lengths, counts in zip(
            estimator.estimators_,
            estimator.estimators_features_,
            estimator._average_path_length_per_tree,  # noqa: SLF001
            estimator._decision_path_lengths,  # noqa: SLF001
            strict=True,
        )
    ]
    scale = float(np.log(2.0)) / (len(tables) * expected)

    def compute(held: Any, x: Tensor) -> Answers:
        lengths = held.parts[0](x).sum(dim=1).squeeze(1)
        return outside_or_inside(-torch.exp(-lengths * scale) - held.offset)

    return Part(compute, parts=[Forest(tables)], offset=estimator.offset_)


def embedding(estimator: Any, _: Build) -> Part:
    """RandomTreesEmbedding: one column per leaf that the encoder has seen."""
    trees = [tree.tree_ for tree in estimator.estimators_]
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    seen = [
        leaves + at
        for leaves, at in zip(estimator.one_hot_encoder_.categories_, starts, strict=False)
    ]
    tree_of = np.repeat(np.arange(len(trees)), [len(leaves) for leaves in seen])

    def compute(held: Any, x: Tensor) -> Answers:
        ends = held.parts[0].leaves(x)
        return {"transform": (ends[:, held.tree_of] == held.seen).to(torch.float32)}

    forest = Forest([nodes(tree, tree.value[:, :, 0]) for tree in trees], values=False)
    return Part(
        compute, parts=[forest], seen=np.concatenate(seen).astype(np.int64), tree_of=tree_of
    )


BUILDERS: dict[str, Builder] = {
    **dict.fromkeys(
        ("DecisionTreeClassifier", "ExtraTreeClassifier", "ExtraTreesClassifier",
         "RandomForestClassifier"),
        classifier,
    ),
    **dict.fromkeys(
        ("DecisionTreeRegressor", "ExtraTreeRegressor", "ExtraTreesRegressor",
         "RandomForestRegressor"),
        regressor,
    ),
    "IsolationForest": isolation,
    "RandomTreesEmbedding": embedding,
}  # fmt: skip
