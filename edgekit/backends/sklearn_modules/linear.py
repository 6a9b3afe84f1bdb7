"""Linear models: one matrix product, then a link."""

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
    normalized,
    refuse,
    split,
    two_sided,
)


def regression(estimator: Any, _: Build) -> Part:
    """X W + b, for every estimator with `coef_` and `intercept_`; one target is a vector."""
    coef = np.asarray(estimator.coef_, dtype=np.float64)
    flat = coef.ndim == 1
    return Part(
        lambda held, x: {"predict": _one(x @ held.weight + held.bias, flat=flat)},
        weight=np.atleast_2d(coef).T,
        bias=np.broadcast_to(np.asarray(estimator.intercept_), (1 if flat else coef.shape[0],)),
    )


def _one(value: Tensor, *, flat: bool) -> Tensor:
    return value.squeeze(1) if flat else value


def linear_svr(estimator: Any, _: Build) -> Part:
    """LinearSVR and SGD regressors keep a one-element intercept for one target."""
    return Part(
        lambda held, x: {"predict": (x @ held.weight + held.bias).squeeze(1)},
        weight=np.reshape(estimator.coef_, (-1, 1)),
        bias=np.ravel(estimator.intercept_)[:1],
    )


def generalized(estimator: Any, _: Build) -> Part:
    """Poisson, Gamma and Tweedie: the mean is exp of the linear predictor, or itself."""
    link = type(estimator._base_loss.link if hasattr(estimator, "_base_loss") else None).__name__  # noqa: SLF001
    if link not in ("LogLink", "IdentityLink"):
        raise refuse(estimator, f"the link {link} has no torch module")

    def compute(held: Any, x: Tensor) -> Answers:
        mean = (x @ held.weight + held.bias).squeeze(1)
        return {"predict": torch.exp(mean) if link == "LogLink" else mean}

    return Part(compute, weight=np.reshape(estimator.coef_, (-1, 1)), bias=[estimator.intercept_])


def partial_least_squares(estimator: Any, _: Build) -> Part:
    """PLS and CCA: centre, then project."""
    high, low = split(estimator._x_mean)  # noqa: SLF001

    def compute(held: Any, x: Tensor) -> Answers:
        centred = (x - held.high) - held.low
        predicted = centred @ held.coef + held.intercept
        return {
            "predict": _one(predicted, flat=one_target),
            "transform": (centred / held.scale) @ held.rotations,
        }

    one_target = bool(getattr(estimator, "_predict_1d", False))
    return Part(
        compute,
        high=high,
        low=low,
        scale=estimator._x_std,  # noqa: SLF001
        coef=np.asarray(estimator.coef_).T,
        intercept=estimator.intercept_,
        rotations=estimator.x_rotations_,
    )


def _decisions(estimator: Any, link: Any) -> Part:
    """Scores of linear classifiers; `link` turns `(N, classes)` or `(N,)` into probabilities."""
    coef = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64))
    binary = coef.shape[0] == 1

    def compute(held: Any, x: Tensor) -> Answers:
        scores = x @ held.weight + held.bias
        if binary:
            score = scores.squeeze(1)
            return two_sided(score, link(score) if link else None)
        answers = {"decision_function": scores}
        if link:
            answers["predict_proba"] = link(scores)
        return classified(scores, **answers)

    bias = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64), (coef.shape[0],))
    return Part(compute, weight=coef.T, bias=bias)


def scores_only(estimator: Any, _: Build) -> Part:
    """LinearSVC, Perceptron, RidgeClassifier: no probabilities."""
    if getattr(estimator, "_label_binarizer", None) is not None:
        kind = estimator._label_binarizer.y_type_  # noqa: SLF001
        if kind.startswith("multilabel"):
            raise refuse(estimator, "several labels per row have no torch module")
    return _decisions(estimator, None)


def logistic(estimator: Any, _: Build) -> Part:
    """LogisticRegression, LDA: softmax over classes, sigmoid for two."""

    def link(scores: Tensor) -> Tensor:
        return torch.sigmoid(scores) if scores.dim() == 1 else torch.softmax(scores, dim=1)

    part = _decisions(estimator, link)
    if type(estimator).__name__ != "LinearDiscriminantAnalysis":
        return part
    return part if not hasattr(estimator, "scalings_") else _with_projection(estimator, part)


def _with_projection(estimator: Any, part: Part) -> Part:
    """LDA also transforms: the SVD solver centres first, the eigen solver does not."""
    centre = getattr(estimator, "xbar_", np.zeros(estimator.n_features_in_))
    high, low = split(centre)
    columns = estimator._max_components  # noqa: SLF001

    def compute(held: Any, x: Tensor) -> Answers:
        projected = ((x - held.high) - held.low) @ held.scalings
        return {**held.parts[0](x), "transform": projected}

    scalings = np.asarray(estimator.scalings_)[:, :columns]
    return Part(compute, parts=[part], high=high, low=low, scalings=scalings)


def stochastic(estimator: Any, _: Build) -> Part:
    """SGDClassifier: probabilities exist for log loss and modified Huber loss only."""

    def one_vs_rest(scores: Tensor) -> Tensor:
        shares = torch.sigmoid(scores)
        return shares if shares.dim() == 1 else normalized(shares)

    def clipped(scores: Tensor) -> Tensor:
        shares = (torch.clamp(scores, -1.0, 1.0) + 1.0) / 2.0
        return shares if shares.dim() == 1 else normalized(shares)

    links = {"log_loss": one_vs_rest, "modified_huber": clipped}
    return _decisions(estimator, links.get(estimator.loss))


def one_class(estimator: Any, _: Build) -> Part:
    """SGDOneClassSVM: inside where w x is at least the offset."""

    def compute(held: Any, x: Tensor) -> Answers:
        decision = (x @ held.weight).squeeze(1) - held.offset
        return outside_or_inside(decision)

    return Part(compute, weight=np.reshape(estimator.coef_, (-1, 1)), offset=estimator.offset_[0])


def outside_or_inside(decision: Tensor) -> Answers:
    """Answers of an outlier detector: 1 where the decision is 0 or more, else -1."""
    label = torch.where(decision >= 0, torch.ones_like(decision), -torch.ones_like(decision))
    return {"predict": label.to(torch.int64), "decision_function": decision}


BUILDERS: dict[str, Builder] = {
    **dict.fromkeys(
        (
            "ARDRegression", "BayesianRidge", "ElasticNet", "ElasticNetCV", "HuberRegressor", "Lars",
            "LarsCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC",
            "LinearRegression", "MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso",
            "MultiTaskLassoCV", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV",
            "QuantileRegressor", "Ridge", "RidgeCV", "TheilSenRegressor",
        ),
        regression,
    ),
    **dict.fromkeys(("LinearSVR", "PassiveAggressiveRegressor", "SGDRegressor"), linear_svr),
    **dict.fromkeys(("GammaRegressor", "PoissonRegressor", "TweedieRegressor"), generalized),
    **dict.fromkeys(("CCA", "PLSCanonical", "PLSRegression"), partial_least_squares),
    **dict.fromkeys(
        ("LinearSVC", "PassiveAggressiveClassifier", "Perceptron", "RidgeClassifier",
         "RidgeClassifierCV"),
        scores_only,
    ),
    **dict.fromkeys(
        ("LinearDiscriminantAnalysis", "LogisticRegression", "LogisticRegressionCV"), logistic
    ),
    "SGDClassifier": stochastic,
    "SGDOneClassSVM": one_class,
}  # fmt: skip
