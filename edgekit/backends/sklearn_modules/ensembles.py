"""Estimators made of estimators: several answers become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edgekit.backends.sklearn_modules.part import (
    Answers,
    Build,
    Builder,
    Part,
    Tensor,
    classified,
    refuse,
)
from edgekit.backends.sklearn_modules.trees import Forest, leaf_shares, nodes


def bagging_classifier(estimator: Any, build: Build) -> Part:
    """BaggingClassifier: the mean of probabilities, or of votes where members have none."""
    count = len(estimator.classes_)
    order = [np.asarray(member.classes_, dtype=np.int64) for member in estimator.estimators_]
    if all(hasattr(member, "tree_") for member in estimator.estimators_):
        return _bagged_trees(estimator, [np.eye(count)[classes] for classes in order])
    members = [build(member) for member in estimator.estimators_]
    soft = hasattr(estimator.estimators_[0], "predict_proba")

    def compute(held: Any, x: Tensor) -> Answers:
        total = 0.0
        for at, part in enumerate(held.parts):
            answers = part(x[:, getattr(held, f"columns_{at}")])
            places = getattr(held, f"places_{at}")
            total = total + (
                answers["predict_proba"] @ places if soft else places[answers["predict"]]
            )
        shares = total / len(members)
        return classified(shares, predict_proba=shares)

    return Part(compute, parts=members, **_columns(estimator), **_places(order, count))


def _bagged_trees(estimator: Any, places: list[Any]) -> Part:
    """Members that are trees, in one table."""
    tables = [
        nodes(member.tree_, leaf_shares(member.tree_) @ place, columns)
        for member, place, columns in zip(
            estimator.estimators_, places, estimator.estimators_features_, strict=True
        )
    ]

    def compute(held: Any, x: Tensor) -> Answers:
        shares = held.parts[0](x).sum(dim=1) / len(tables)
        return classified(shares, predict_proba=shares)

    return Part(compute, parts=[Forest(tables)])


def _places(order: list[Any], count: int) -> dict[str, Any]:
    """For each member a matrix that puts its classes where the ensemble has them."""
    return {f"places_{at}": np.eye(count)[classes] for at, classes in enumerate(order)}


def _columns(estimator: Any) -> dict[str, Any]:
    return {
        f"columns_{at}": np.asarray(columns, dtype=np.int64)
        for at, columns in enumerate(estimator.estimators_features_)
    }


def bagging_regressor(estimator: Any, build: Build) -> Part:
    """BaggingRegressor: the mean."""
    if all(hasattr(member, "tree_") for member in estimator.estimators_):
        tables = [
            nodes(member.tree_, member.tree_.value[:, :, 0], columns)
            for member, columns in zip(
                estimator.estimators_, estimator.estimators_features_, strict=True
            )
        ]
        flat = estimator.estimators_[0].n_outputs_ == 1
        return Part(
            lambda held, x: {"predict": _mean(held.parts[0](x), flat=flat)}, parts=[Forest(tables)]
        )
    members = [build(member) for member in estimator.estimators_]

    def compute(held: Any, x: Tensor) -> Answers:
        total = 0.0
        for at, part in enumerate(held.parts):
            total = total + part(x[:, getattr(held, f"columns_{at}")])["predict"]
        return {"predict": total / len(members)}

    return Part(compute, parts=members, **_columns(estimator))


def _mean(leaves: Tensor, *, flat: bool) -> Tensor:
    mean = leaves.sum(dim=1) / leaves.shape[1]
    return mean.squeeze(1) if flat else mean


def voting_classifier(estimator: Any, build: Build) -> Part:
    """VotingClassifier, soft or hard, with weights."""
    members = [build(member) for member in estimator.estimators_]
    weights = _weights(estimator, len(members))
    count = len(estimator.classes_)

    def compute(held: Any, x: Tensor) -> Answers:
        answers = [part(x) for part in held.parts]
        if estimator.voting == "soft":
            given = torch.stack([answer["predict_proba"] for answer in answers], dim=1)
            shares = (given * held.weights).sum(dim=1) / held.total
            return classified(shares, predict_proba=shares)
        best = torch.stack([answer["predict"] for answer in answers], dim=1).unsqueeze(2)
        votes = (best == held.classes).to(torch.float32)
        return classified((votes * held.weights).sum(dim=1))

    return Part(
        compute,
        parts=members,
        weights=weights.reshape(1, -1, 1),
        total=float(weights.sum()),
        classes=np.arange(count).reshape(1, 1, -1),
    )


def _weights(estimator: Any, count: int) -> Any:
    weights = estimator._weights_not_none  # noqa: SLF001
    return np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)


def voting_regressor(estimator: Any, build: Build) -> Part:
    """VotingRegressor: the weighted mean."""
    members = [build(member) for member in estimator.estimators_]
    weights = _weights(estimator, len(members))

    def compute(held: Any, x: Tensor) -> Answers:
        each = torch.stack([part(x)["predict"] for part in held.parts], dim=1)
        return {"predict": (each * held.weights).sum(dim=1)}

    return Part(compute, parts=members, weights=weights / weights.sum())


def stacking(estimator: Any, build: Build) -> Part:
    """StackingClassifier and StackingRegressor: members' answers feed the final estimator."""
    members = [build(member) for member in estimator.estimators_]
    final = build(estimator.final_estimator_)
    methods = list(estimator.stack_method_)
    binary = len(getattr(estimator, "classes_", ())) == 2
    values = [_class_values(member) for member in estimator.estimators_]

    def compute(held: Any, x: Tensor) -> Answers:
        columns = []
        for at, part in enumerate(held.parts[:-1]):
            value = part(x)[methods[at]]
            if methods[at] == "predict" and values[at] is not None:
                value = getattr(held, f"values_{at}")[value].to(torch.float32)
            if value.dim() == 1:
                value = value.unsqueeze(1)
            elif methods[at] == "predict_proba" and binary:
                value = value[:, 1:]
            columns.append(value)
        if estimator.passthrough:
            columns.append(x)
        return held.parts[-1](torch.cat(columns, dim=1))

    tables = {f"values_{at}": value for at, value in enumerate(values) if value is not None}
    return Part(compute, parts=[*members, final], **tables)


def _class_values(member: Any) -> Any:
    """The numbers that a member's `predict` gives for its class indices; None for a regressor."""
    classes = getattr(member, "classes_", None)
    if classes is None:
        return None
    if isinstance(classes, list) or np.asarray(classes).dtype.kind not in "iuf":
        raise refuse(member, "class labels as features must be numbers")
    return np.asarray(classes, dtype=np.float64)


def multi_output_regressor(estimator: Any, build: Build) -> Part:
    """MultiOutputRegressor: one member per target."""
    members = [build(member) for member in estimator.estimators_]
    return Part(
        lambda held, x: {
            "predict": torch.stack([part(x)["predict"] for part in held.parts], dim=1)
        },
        parts=members,
    )


def multi_output_classifier(estimator: Any, build: Build) -> Part:
    """MultiOutputClassifier: one member per target."""
    members = [build(member) for member in estimator.estimators_]

    def compute(held: Any, x: Tensor) -> Answers:
        answers = [part(x) for part in held.parts]
        result: Answers = {"predict": torch.stack([a["predict"] for a in answers], dim=1)}
        if all("predict_proba" in answer for answer in answers):
            result["predict_proba"] = [answer["predict_proba"] for answer in answers]
        return result

    return Part(compute, parts=members)


def chain(estimator: Any, build: Build) -> Part:
    """ClassifierChain and RegressorChain: each member also sees the answers before it."""
    members = [build(member) for member in estimator.estimators_]
    method = getattr(estimator, "chain_method_", "predict")
    if isinstance(method, (list, tuple)):
        method = method[0]
    back = np.argsort(np.asarray(estimator.order_))
    classifies = hasattr(estimator, "classes_")
    for member in estimator.estimators_ if classifies else ():
        if not np.array_equal(member.classes_, [0, 1]):
            raise refuse(estimator, "targets other than 0 and 1 have no torch module")

    def compute(held: Any, x: Tensor) -> Answers:
        seen: list[Tensor] = []
        answers: list[Answers] = []
        for part in held.parts:
            wide = torch.cat([x, *(value.unsqueeze(1) for value in seen)], dim=1) if seen else x
            answers.append(part(wide))
            value = answers[-1][method]
            seen.append((value[:, 1] if value.dim() == 2 else value).to(torch.float32))
        result = {"predict": torch.stack([answers[at]["predict"] for at in back], dim=1)}
        if classifies and all("predict_proba" in answer for answer in answers):
            shares = [answers[at]["predict_proba"][:, 1] for at in back]
            result["predict_proba"] = torch.stack(shares, dim=1)
        return result

    return Part(compute, parts=members)


BUILDERS: dict[str, Builder] = {
    "BaggingClassifier": bagging_classifier,
    "BaggingRegressor": bagging_regressor,
    "ClassifierChain": chain,
    "MultiOutputClassifier": multi_output_classifier,
    "MultiOutputRegressor": multi_output_regressor,
    "RegressorChain": chain,
    "StackingClassifier": stacking,
    "StackingRegressor": stacking,
    "VotingClassifier": voting_classifier,
    "VotingRegressor": voting_regressor,
}
