"""Projections: centre, multiply by a matrix, and what a few of them do before or after."""

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
    refuse,
    split,
)
from edgekit.backends.sklearn_modules.svm import kernel


def _projected(mean: Any, matrix: Any) -> Part:
    """`(x - mean) M` with M `(features, components)`."""
    matrix = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)
    high, low = split(np.zeros(len(matrix)) if mean is None else mean)
    return Part(
        lambda held, x: {"transform": ((x - held.high) - held.low) @ held.matrix},
        high=high,
        low=low,
        matrix=matrix,
    )


def principal(estimator: Any, _: Build) -> Part:
    """PCA and IncrementalPCA."""
    matrix = np.asarray(estimator.components_).T
    if estimator.whiten:
        scale = np.sqrt(estimator.explained_variance_)
        matrix = matrix / np.maximum(scale, np.finfo(np.float64).eps)
    return _projected(estimator.mean_, matrix)


def uncentred(estimator: Any, _: Build) -> Part:
    """TruncatedSVD, random projections, neighbourhood components."""
    matrix = estimator.components_
    return _projected(None, (matrix.toarray() if hasattr(matrix, "toarray") else matrix).T)


def partial_least_squares_svd(estimator: Any, _: Build) -> Part:
    """PLSSVD."""
    scale = np.reshape(estimator._x_std, (-1, 1))  # noqa: SLF001
    return _projected(estimator._x_mean, estimator.x_weights_ / scale)  # noqa: SLF001


def independent(estimator: Any, _: Build) -> Part:
    """FastICA."""
    return _projected(getattr(estimator, "mean_", None), np.asarray(estimator.components_).T)


def factors(estimator: Any, _: Build) -> Part:
    """FactorAnalysis: the expected latent variables (Barber, 21.2.33)."""
    weighted = estimator.components_ / estimator.noise_variance_
    identity = np.eye(len(estimator.components_))
    spread = np.linalg.inv(identity + weighted @ estimator.components_.T)
    return _projected(estimator.mean_, weighted.T @ spread)


def kernel_components(estimator: Any, _: Build) -> Part:
    """KernelPCA: the centred kernel with every fitted row, projected."""
    gamma = getattr(estimator, "gamma_", None) or 1.0 / estimator.n_features_in_
    similar = kernel(estimator, gamma=float(gamma))
    values = estimator.eigenvalues_
    scaled = np.zeros_like(estimator.eigenvectors_)
    used = np.flatnonzero(values)
    scaled[:, used] = estimator.eigenvectors_[:, used] / np.sqrt(values[used])

    def compute(held: Any, x: Tensor) -> Answers:
        near = similar(x, held.rows)
        centred = near - held.columns - near.mean(dim=1, keepdim=True) + held.all
        return {"transform": centred @ held.scaled}

    centerer = estimator._centerer  # noqa: SLF001
    return Part(
        compute,
        rows=estimator.X_fit_,
        columns=centerer.K_fit_rows_,
        all=float(centerer.K_fit_all_),
        scaled=scaled,
    )


def kernel_centerer(estimator: Any, _: Build) -> Part:
    """KernelCenterer: takes off row means first, so that what is subtracted stays small."""
    means = np.asarray(estimator.K_fit_rows_, dtype=np.float64) - float(estimator.K_fit_all_)
    high, low = split(means)

    def compute(held: Any, x: Tensor) -> Answers:
        return {"transform": ((x - x.mean(dim=1, keepdim=True)) - held.high) - held.low}

    return Part(compute, high=high, low=low)


def nystroem(estimator: Any, _: Build) -> Part:
    """Nystroem: the kernel with a few rows, normalized."""
    settings = _KernelSettings(estimator)
    similar = kernel(settings, gamma=settings.gamma)
    return Part(
        lambda held, x: {"transform": similar(x, held.rows) @ held.matrix},
        rows=estimator.components_,
        matrix=estimator.normalization_.T,
    )


class _KernelSettings:
    """Nystroem leaves its kernel's parameters unset for sklearn.metrics to fill in."""

    def __init__(self, estimator: Any) -> None:
        if estimator.kernel_params:
            raise refuse(estimator, "kernel_params have no torch module")
        self.kernel = estimator.kernel
        self.coef0 = 1.0 if estimator.coef0 is None else estimator.coef0
        self.degree = 3 if estimator.degree is None else estimator.degree
        features = estimator.components_.shape[1]
        self.gamma = 1.0 / features if estimator.gamma is None else float(estimator.gamma)


def random_fourier(estimator: Any, _: Build) -> Part:
    """RBFSampler: cosines of random projections."""
    scale = float((2.0 / estimator.n_components) ** 0.5)
    return Part(
        lambda held, x: {"transform": torch.cos(x @ held.weights + held.offset) * scale},
        weights=estimator.random_weights_,
        offset=estimator.random_offset_,
    )


def skewed(estimator: Any, _: Build) -> Part:
    """SkewedChi2Sampler: cosines of random projections of logarithms."""
    scale, skew = float((2.0 / estimator.n_components) ** 0.5), float(estimator.skewedness)

    def compute(held: Any, x: Tensor) -> Answers:
        return {"transform": torch.cos(torch.log(x + skew) @ held.weights + held.offset) * scale}

    return Part(compute, weights=estimator.random_weights_, offset=estimator.random_offset_)


def additive_chi2(estimator: Any, _: Build) -> Part:
    """AdditiveChi2Sampler: a few samples of the spectrum of each positive value."""
    steps = estimator.sample_steps
    interval = estimator.sample_interval or {1: 0.8, 2: 0.5, 3: 0.4}[steps]

    def compute(_: Any, x: Tensor) -> Answers:
        zero = x == 0
        safe = torch.where(zero, torch.ones_like(x), x)
        angle = interval * torch.log(safe)
        columns = [torch.sqrt(safe * interval)]
        for step in range(1, steps):
            height = torch.sqrt(2 * safe * interval / float(np.cosh(np.pi * step * interval)))
            columns += [height * torch.cos(step * angle), height * torch.sin(step * angle)]
        nothing = torch.zeros_like(x)
        return {"transform": torch.cat([torch.where(zero, nothing, c) for c in columns], dim=1)}

    return Part(compute)


def boltzmann(estimator: Any, _: Build) -> Part:
    """BernoulliRBM: the probabilities of its hidden units."""
    return Part(
        lambda held, x: {"transform": torch.sigmoid(x @ held.weights + held.offset)},
        weights=np.asarray(estimator.components_).T,
        offset=estimator.intercept_hidden_,
    )


def pooled(estimator: Any, _: Build) -> Part:
    """FeatureAgglomeration: the mean of the columns of each cluster."""
    if estimator.pooling_func is not np.mean:
        raise refuse(estimator, "a pooling function other than numpy.mean has no torch module")
    member = np.eye(estimator.n_clusters_)[estimator.labels_]
    return _projected(None, member / member.sum(axis=0))


BUILDERS: dict[str, Builder] = {
    "AdditiveChi2Sampler": additive_chi2,
    "BernoulliRBM": boltzmann,
    "FactorAnalysis": factors,
    "FastICA": independent,
    "FeatureAgglomeration": pooled,
    "GaussianRandomProjection": uncentred,
    "IncrementalPCA": principal,
    "KernelCenterer": kernel_centerer,
    "KernelPCA": kernel_components,
    "NeighborhoodComponentsAnalysis": uncentred,
    "Nystroem": nystroem,
    "PCA": principal,
    "PLSSVD": partial_least_squares_svd,
    "RBFSampler": random_fourier,
    "SkewedChi2Sampler": skewed,
    "SparseRandomProjection": uncentred,
    "TruncatedSVD": uncentred,
}
