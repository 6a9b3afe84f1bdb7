"""Boosted ensembles: sums of leaf values on top of a start, then the inverse link of the loss."""

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
from edgekit.backends.sklearn_modules.trees import Forest, Nodes, nodes


def gradient_boosting(estimator: Any, _: Build) -> Part:
    """GradientBoosting: a constant start plus the learning rate times the leaves."""
    columns = estimator.estimators_.shape[1]
    tables = [
        nodes(tree.tree_, estimator.learning_rate * _placed(tree.tree_.value[:, 0, 0], at, columns))
        for row in estimator.estimators_
        for at, tree in enumerate(row)
    ]
    constant = isinstance(estimator.init_, str) or type(estimator.init_).__name__.startswith(
        "Dummy"
    )
    if not constant:
        raise refuse(
            estimator,
            f"it starts from a {type(estimator.init_).__name__}, and only constant starts are known",
            fix="fit it with init=None or init='zero'",
        )
    start = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_)))[0]  # noqa: SLF001
    return _boosted(estimator, tables, start, ties_to=1)


def histogram_boosting(estimator: Any, _: Build) -> Part:
    """HistGradientBoosting: missing values follow the side each node learned."""
    if estimator.is_categorical_ is not None and np.any(estimator.is_categorical_):
        raise refuse(
            estimator,
            "splits on categorical features have no torch module",
            fix="fit it without categorical_features, on one-hot encoded columns",
        )
    columns = estimator.n_trees_per_iteration_
    tables = [
        _predictor_nodes(predictor.nodes, at, columns)
        for row in estimator._predictors  # noqa: SLF001
        for at, predictor in enumerate(row)
    ]
    start = np.broadcast_to(np.ravel(estimator._baseline_prediction), (columns,))  # noqa: SLF001
    if not tables:
        raise refuse(estimator, "it has no trees")
    return _boosted(estimator, tables, start, ties_to=0)


def _placed(values: Any, at: int, columns: int) -> Any:
    """Leaf values in column `at` of `columns`: every tree adds to one class only."""
    placed = np.zeros((len(values), columns))
    placed[:, at] = values
    return placed


def _predictor_nodes(table: Any, at: int, columns: int) -> Nodes:
    leaf = table["is_leaf"] == 1
    return Nodes(
        feature=np.where(leaf, 0, table["feature_idx"]),
        threshold=np.where(leaf, 0.0, table["num_threshold"]),
        left=np.where(leaf, -1, table["left"].astype(np.int64)),
        right=np.where(leaf, -1, table["right"].astype(np.int64)),
        values=_placed(table["value"], at, columns),
        missing_left=table["missing_go_to_left"] == 1,
    )


def _boosted(estimator: Any, tables: list[Nodes], start: Any, *, ties_to: int) -> Part:
    classes = len(estimator.classes_) if hasattr(estimator, "classes_") else 0
    link = type(estimator._loss.link).__name__  # noqa: SLF001
    exponential = type(estimator._loss).__name__ == "ExponentialLoss"  # noqa: SLF001
    if not classes and link not in ("IdentityLink", "LogLink"):
        raise refuse(estimator, f"the link {link} has no torch module")

    def compute(held: Any, x: Tensor) -> Answers:
        raw = held.parts[0](x).sum(dim=1) + held.start
        if not classes:
            value = raw.squeeze(1)
            return {"predict": torch.exp(value) if link == "LogLink" else value}
        if classes > 2:
            return classified(raw, predict_proba=torch.softmax(raw, dim=1), decision_function=raw)
        score = raw.squeeze(1)
        share = torch.sigmoid(2 * score if exponential else score)
        return {
            "predict": (score >= 0 if ties_to else score > 0).to(torch.int64),
            "decision_function": score,
            "predict_proba": torch.stack([1 - share, share], dim=1),
        }

    return Part(compute, parts=[Forest(tables)], start=start)


def adaboost_classifier(estimator: Any, build: Build) -> Part:
    """SAMME: every member votes with its weight for one class and against the others."""
    count = estimator.n_classes_
    if count < 2:
        raise refuse(estimator, "it knows only one class")
    votes = _tree_votes(estimator) if _are_trees(estimator) else _member_votes(estimator, build)

    def compute(held: Any, x: Tensor) -> Answers:
        total = held.parts[0](x)
        if count == 2:
            decision = total[:, 1] - total[:, 0]
            shares = torch.softmax(torch.stack([-decision, decision], dim=1) / 2, dim=1)
            label = (decision > 0).to(torch.int64)
            return {"predict": label, "decision_function": decision, "predict_proba": shares}
        shares = torch.softmax(total / (count - 1), dim=1)
        return classified(total, decision_function=total, predict_proba=shares)

    return Part(compute, parts=[votes])


def _are_trees(estimator: Any) -> bool:
    return all(hasattr(member, "tree_") for member in estimator.estimators_)


def _ballots(estimator: Any) -> list[Any]:
    """For each member a row per class it knows: what its vote for that class adds to all."""
    count = estimator.n_classes_
    weights = estimator.estimator_weights_ / estimator.estimator_weights_.sum()
    known = [np.searchsorted(estimator.classes_, m.classes_) for m in estimator.estimators_]
    against = -1.0 / (count - 1)
    return [
        weight * np.where(np.eye(count)[classes] == 1, 1.0, against)
        for weight, classes in zip(weights, known, strict=False)
    ]


def _tree_votes(estimator: Any) -> Any:
    """All trees in one table: each leaf holds the whole ballot of its tree."""
    tables = [
        nodes(member.tree_, ballot[np.argmax(member.tree_.value[:, 0, :], axis=1)])
        for member, ballot in zip(estimator.estimators_, _ballots(estimator), strict=True)
    ]
    return Part(lambda held, x: held.parts[0](x).sum(dim=1), parts=[Forest(tables)])


def _member_votes(estimator: Any, build: Build) -> Any:
    ballots = _ballots(estimator)

    def compute(held: Any, x: Tensor) -> Tensor:
        total = 0.0
        for at, part in enumerate(held.parts):
            total = total + getattr(held, f"ballot_{at}")[part(x)["predict"]]
        return total

    named: dict[str, Any] = {f"ballot_{at}": ballot for at, ballot in enumerate(ballots)}
    return Part(compute, parts=[build(member) for member in estimator.estimators_], **named)


def adaboost_regressor(estimator: Any, build: Build) -> Part:
    """The weighted median: the smallest prediction that half of the weight does not exceed."""
    members = estimator.estimators_
    weights = estimator.estimator_weights_[: len(members)]
    together = _are_trees(estimator)

    def compute(held: Any, x: Tensor) -> Answers:
        if together:
            each = held.parts[0](x).squeeze(2)
        else:
            each = torch.stack([part(x)["predict"] for part in held.parts], dim=1)
        below = (each.unsqueeze(1) <= each.unsqueeze(2)).to(torch.float32)
        reached = (below * held.weights).sum(dim=2) >= held.enough
        far = torch.full_like(each, torch.finfo(torch.float32).max)
        return {"predict": torch.amin(torch.where(reached, each, far), dim=1)}

    forest = [Forest([nodes(m.tree_, m.tree_.value[:, :, 0]) for m in members])] if together else []
    return Part(
        compute,
        parts=forest or [build(member) for member in members],
        weights=weights.reshape(1, 1, -1),
        enough=0.5 * float(weights.sum()),
    )


BUILDERS: dict[str, Builder] = {
    "AdaBoostClassifier": adaboost_classifier,
    "AdaBoostRegressor": adaboost_regressor,
    "GradientBoostingClassifier": gradient_boosting,
    "GradientBoostingRegressor": gradient_boosting,
    "HistGradientBoostingClassifier": histogram_boosting,
    "HistGradientBoostingRegressor": histogram_boosting,
}
