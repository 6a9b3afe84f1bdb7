"""Estimators that pass rows through others: pipelines, unions, columns, searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edgekit.backends.sklearn_answers import column_parts
from edgekit.backends.sklearn_modules.part import (
    Answers,
    Build,
    Builder,
    Part,
    Tensor,
    refuse,
)


def pipeline(estimator: Any, build: Build) -> Part:
    """Pipeline: each step transforms, the last answers."""
    steps = [build(step) for _, step in estimator.steps if step not in (None, "passthrough")]
    ends_in_transform = estimator.steps[-1][1] in (None, "passthrough")

    def compute(held: Any, x: Tensor) -> Answers:
        before = held.parts if ends_in_transform else held.parts[:-1]
        for part in before:
            x = part(x)["transform"]
        return {"transform": x} if ends_in_transform else held.parts[-1](x)

    return Part(compute, parts=steps)


def union(estimator: Any, build: Build) -> Part:
    """FeatureUnion: the outputs side by side, weighted."""
    weights = estimator.transformer_weights or {}
    used = [(name, step) for name, step in estimator.transformer_list if step not in ("drop", None)]
    parts = [_passed() if step == "passthrough" else build(step) for _, step in used]
    scales = [float(weights.get(name, 1.0)) for name, _ in used]

    def compute(held: Any, x: Tensor) -> Answers:
        columns = [_floats(part(x)["transform"]) for part in held.parts]
        scaled = [c if s == 1.0 else c * s for c, s in zip(columns, scales, strict=True)]
        return {"transform": torch.cat(scaled, dim=1)}

    return Part(compute, parts=parts)


def columns(estimator: Any, build: Build) -> Part:
    """ColumnTransformer over numeric columns, whether named or numbered."""
    used = [(step, at) for step, at in column_parts(estimator) if step != "drop" and len(at)]
    parts = [_passed() if step == "passthrough" else build(step) for step, _ in used]

    def compute(held: Any, x: Tensor) -> Answers:
        given = [
            _floats(part(x[:, getattr(held, f"columns_{at}")])["transform"])
            for at, part in enumerate(held.parts)
        ]
        return {"transform": torch.cat(given, dim=1)}

    tables = {f"columns_{at}": np.array(which) for at, (_, which) in enumerate(used)}
    return Part(compute, parts=parts, **tables)


def _floats(value: Tensor) -> Tensor:
    return value.to(torch.float32)


def _passed() -> Part:
    return Part(lambda _, x: {"transform": x})


def chosen(estimator: Any, build: Build) -> Part:
    """Searches over parameters answer with the best estimator."""
    return build(estimator.best_estimator_)


def inner(estimator: Any, build: Build) -> Part:
    """Estimators that hand everything on to the one they fitted."""
    return build(estimator.estimator_)


def frozen(estimator: Any, build: Build) -> Part:
    """FrozenEstimator."""
    return build(estimator.estimator)


def elimination(estimator: Any, build: Build) -> Part:
    """RFE and RFECV: select columns, then answer as the estimator on them."""
    kept = np.flatnonzero(estimator.get_support())

    def compute(held: Any, x: Tensor) -> Answers:
        selected = x[:, held.columns]
        return {**held.parts[0](selected), "transform": selected}

    return Part(compute, parts=[build(estimator.estimator_)], columns=kept)


def transformed_target(estimator: Any, build: Build) -> Part:
    """TransformedTargetRegressor: the regressor's answer, transformed back."""
    inverse = _inverse(estimator)

    def compute(held: Any, x: Tensor) -> Answers:
        return {"predict": inverse(held, held.parts[0](x)["predict"])}

    part = build(estimator.regressor_)
    scaler = estimator.transformer_
    if type(scaler).__name__ == "StandardScaler":
        shift = 0.0 if scaler.mean_ is None else float(scaler.mean_[0])
        scale = 1.0 if scaler.scale_ is None else float(scaler.scale_[0])
        return Part(compute, parts=[part], shift=shift, scale=scale)
    return Part(compute, parts=[part])


def _inverse(estimator: Any) -> Any:
    scaler = estimator.transformer_
    if type(scaler).__name__ == "StandardScaler" and scaler.n_features_in_ == 1:
        return lambda held, y: y * held.scale + held.shift
    known = {"exp": torch.exp, "expm1": torch.expm1, "square": torch.square, "sqrt": torch.sqrt}
    if type(scaler).__name__ == "FunctionTransformer":
        if scaler.inverse_func is None:
            return lambda _, y: y
        function = known.get(getattr(scaler.inverse_func, "__name__", ""))
        if function is not None and isinstance(scaler.inverse_func, np.ufunc):
            return lambda _, y: function(y)
    raise refuse(estimator, f"the inverse of {type(scaler).__name__} has no torch module")


BUILDERS: dict[str, Builder] = {
    "ColumnTransformer": columns,
    "FeatureUnion": union,
    "FrozenEstimator": frozen,
    "GridSearchCV": chosen,
    "HalvingGridSearchCV": chosen,
    "HalvingRandomSearchCV": chosen,
    "Pipeline": pipeline,
    "RANSACRegressor": inner,
    "RFE": elimination,
    "RFECV": elimination,
    "RandomizedSearchCV": chosen,
    "SelfTrainingClassifier": inner,
    "TransformedTargetRegressor": transformed_target,
}
