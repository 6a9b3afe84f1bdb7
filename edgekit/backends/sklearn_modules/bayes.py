"""Naive Bayes, quadratic discriminants and Gaussian mixtures: log densities, then softmax."""

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
    split,
)


def _posterior(scores: Tensor) -> Answers:
    return classified(scores, predict_proba=torch.softmax(scores, dim=1))


def _centred(held: Any, x: Tensor) -> Tensor:
    """`(N, classes, features)`: x minus each mean, the mean kept as two float32 numbers."""
    return (x.unsqueeze(1) - held.high) - held.low


def gaussian(estimator: Any, _: Build) -> Part:
    """GaussianNB."""
    return _diagonal(estimator.theta_, 1.0 / estimator.var_, np.log(estimator.class_prior_))


def _diagonal(means: Any, precisions: Any, log_weights: Any) -> Part:
    """Independent Gaussians with `precisions` = 1/variance `(classes, features)`."""
    high, low = split(means)
    constant = log_weights + 0.5 * np.log(precisions / (2 * np.pi)).sum(axis=1)

    def compute(held: Any, x: Tensor) -> Answers:
        scaled = _centred(held, x) * held.root
        return _posterior(held.constant - 0.5 * (scaled * scaled).sum(dim=2))

    return Part(compute, high=high, low=low, root=np.sqrt(precisions), constant=constant)


def multinomial(estimator: Any, _: Build) -> Part:
    """MultinomialNB and ComplementNB: linear in the counts."""
    prior = estimator.class_log_prior_
    if type(estimator).__name__ == "ComplementNB" and len(estimator.classes_) > 1:
        prior = np.zeros(len(estimator.classes_))
    return Part(
        lambda held, x: _posterior(x @ held.weight + held.prior),
        weight=estimator.feature_log_prob_.T,
        prior=prior,
    )


def bernoulli(estimator: Any, _: Build) -> Part:
    """BernoulliNB: linear in zeros and ones, above `binarize`."""
    absent = np.log(1 - np.exp(estimator.feature_log_prob_))
    threshold = estimator.binarize

    def compute(held: Any, x: Tensor) -> Answers:
        ones = x if threshold is None else (x > threshold).to(torch.float32)
        return _posterior(ones @ held.weight + held.prior)

    return Part(
        compute,
        weight=(estimator.feature_log_prob_ - absent).T,
        prior=estimator.class_log_prior_ + absent.sum(axis=1),
    )


def categorical(estimator: Any, _: Build) -> Part:
    """CategoricalNB: one table row per feature and category, added up."""
    sizes = [table.shape[1] for table in estimator.feature_log_prob_]
    starts = np.cumsum([0, *sizes[:-1]])

    def compute(held: Any, x: Tensor) -> Answers:
        at = torch.minimum(x.to(torch.int64), held.last) + held.starts
        rows = held.table[at.reshape(-1)].reshape(-1, len(sizes), held.table.shape[1])
        return _posterior(rows.sum(dim=1) + held.prior)

    return Part(
        compute,
        table=np.concatenate([table.T for table in estimator.feature_log_prob_]),
        starts=starts,
        last=np.array(sizes) - 1,
        prior=estimator.class_log_prior_,
    )


def quadratic(estimator: Any, _: Build) -> Part:
    """QuadraticDiscriminantAnalysis."""
    whitening = [
        rotation * scaling**-0.5
        for rotation, scaling in zip(estimator.rotations_, estimator.scalings_, strict=True)
    ]
    logs = np.array([np.log(scaling).sum() for scaling in estimator.scalings_])
    part = _whitened(estimator.means_, whitening, np.log(estimator.priors_) - 0.5 * logs)
    if len(estimator.classes_) > 2:
        return part
    return Part(lambda held, x: _difference(held.parts[0](x)), parts=[part])


def _difference(answers: Answers) -> Answers:
    scores = answers["decision_function"]
    return {**answers, "decision_function": scores[:, 1] - scores[:, 0]}


def _whitened(means: Any, whitening: list[Any], constant: Any) -> Part:
    """Gaussians by `|(x - mean) W|^2`, one matrix W `(features, rank)` per class."""
    high, low = split(means)
    count = len(whitening)

    def compute(held: Any, x: Tensor) -> Answers:
        centred = _centred(held, x)
        norms = []
        for at in range(count):
            white = centred[:, at] @ getattr(held, f"whitening_{at}")
            norms.append((white * white).sum(dim=1))
        scores = held.constant - 0.5 * torch.stack(norms, dim=1)
        return {**_posterior(scores), "decision_function": scores}

    named = {f"whitening_{at}": matrix for at, matrix in enumerate(whitening)}
    return Part(compute, high=high, low=low, constant=constant, **named)


def mixture(estimator: Any, _: Build) -> Part:
    """GaussianMixture and BayesianGaussianMixture of every covariance type."""
    means, roots = estimator.means_, estimator.precisions_cholesky_
    constant = _mixture_constant(estimator)
    kind = estimator.covariance_type
    if kind == "full":
        return _whitened(means, list(roots), constant)
    if kind == "tied":
        return _whitened(means, [roots] * len(means), constant)
    wide = roots if kind == "diag" else np.repeat(roots[:, None], means.shape[1], axis=1)
    return _whitened(means, [np.diag(root) for root in wide], constant)


def _mixture_constant(estimator: Any) -> Any:
    """What scikit-learn's own log density adds to -|white|^2/2, read off at the means."""
    try:
        at_means = estimator._estimate_weighted_log_prob(estimator.means_)  # noqa: SLF001
    except AttributeError as error:
        raise refuse(estimator, "this version of scikit-learn hides its log density") from error
    return np.diag(at_means)


BUILDERS: dict[str, Builder] = {
    "BayesianGaussianMixture": mixture,
    "BernoulliNB": bernoulli,
    "CategoricalNB": categorical,
    "ComplementNB": multinomial,
    "GaussianMixture": mixture,
    "GaussianNB": gaussian,
    "MultinomialNB": multinomial,
    "QuadraticDiscriminantAnalysis": quadratic,
}
