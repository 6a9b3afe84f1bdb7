"""Takes scalers in front of trees away by moving them into the thresholds, without any error.

scikit-learn scales in float64 and a device in float32: a value on a threshold could fall on the
other side. A scaler keeps the order of values, so for every threshold there is one largest float32
that goes left; it is found by bisection over all float32 numbers with the scaler itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends.sklearn_contents import parts

_SCALERS = frozenset({"MaxAbsScaler", "MinMaxScaler", "RobustScaler", "StandardScaler"})
_TREES = frozenset(
    {"DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor",
     "ExtraTreesClassifier", "ExtraTreesRegressor", "GradientBoostingClassifier",
     "GradientBoostingRegressor", "HistGradientBoostingClassifier",
     "HistGradientBoostingRegressor", "RandomForestClassifier", "RandomForestRegressor"}
)  # fmt: skip
Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
Scale = Callable[[Floats], Floats]


def folded(estimator: Any) -> Any:
    """`estimator`, or where it is a pipeline that ends in scalers and trees, one without the scalers.

    The answers are those of scikit-learn for every float32 row. The original is left alone.
    """
    if type(estimator).__name__ != "Pipeline":
        return estimator
    steps = [step for step in estimator.steps if step[1] not in (None, "passthrough")]
    first = len(steps) - 1
    while first > 0 and type(steps[first - 1][1]).__name__ in _SCALERS:
        first -= 1
    name, trees = steps[-1]
    scalers = [step for _, step in steps[first:-1]]
    categorical = np.any(getattr(trees, "is_categorical_", None))
    if not scalers or type(trees).__name__ not in _TREES or categorical:
        return estimator
    moved = _moved(trees, scalers)
    return type(estimator)([*steps[:first], (name, moved)]) if first else moved


def _moved(trees: Any, scalers: list[Any]) -> Any:
    """A copy of `trees` whose thresholds are those of unscaled values."""

    def scale(rows: Floats) -> Floats:
        for scaler in scalers:
            rows = scaler.transform(rows)
        return rows

    result = copy.deepcopy(trees)
    for part, _ in parts(result):
        if type(part).__name__ == "Tree":
            inner = part.children_left != -1
            part.threshold[inner] = _unscaled(
                part.feature[inner], part.threshold[inner], part.n_features, scale, narrow=True
            )
        elif type(part).__name__ == "TreePredictor":
            inner, table = part.nodes["is_leaf"] == 0, part.nodes
            table["num_threshold"][inner] = _unscaled(
                table["feature_idx"][inner],
                table["num_threshold"][inner],
                scalers[0].n_features_in_,
                scale,
                narrow=False,
            )
    return result


def _unscaled(
    feature: Integers, threshold: Floats, features: int, scale: Scale, *, narrow: bool
) -> Floats:
    """For each threshold the largest float32 x with scaled(x) <= threshold, as float64.

    `narrow`: the trees see the scaled value rounded to float32 (all but HistGradientBoosting).
    """
    pairs = np.stack([feature.astype(np.float64), threshold.astype(np.float64)], axis=1)
    wanted, back = np.unique(pairs, axis=0, return_inverse=True)
    column, limit = wanted[:, 0].astype(np.int64), wanted[:, 1]
    each = np.arange(len(wanted))
    low = np.full(len(wanted), _rank(np.finfo(np.float32).min))
    high = np.full(len(wanted), _rank(np.finfo(np.float32).max))
    rows = np.zeros((len(wanted), features))
    while np.any(low < high):
        middle = (low + high + 1) // 2
        rows[each, column] = _value(middle)
        with np.errstate(over="ignore"):
            scaled = scale(rows)[each, column]
            if narrow:
                scaled = scaled.astype(np.float32)
        left = scaled <= limit
        low, high = np.where(left, middle, low), np.where(left, high, middle - 1)
    return _value(low).astype(np.float64)[back.reshape(-1)]


def _rank(value: Any) -> int:
    """The place of a float32 in their order; 0 is 0.0."""
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _value(rank: Integers) -> Floats:
    """The float32 at a place in their order."""
    bits = np.where(rank >= 0, rank, -rank | -0x80000000).astype(np.int32)
    return bits.view(np.float32)
