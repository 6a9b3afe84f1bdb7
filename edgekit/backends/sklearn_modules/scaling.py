"""Scalers and other transformers that treat each value, or each row, alike."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, combinations_with_replacement
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


def standard(estimator: Any, _: Build) -> Part:
    """StandardScaler, RobustScaler: shift, then divide."""
    name = "mean_" if type(estimator).__name__ == "StandardScaler" else "center_"
    return _shifted(estimator, getattr(estimator, name, None), estimator.scale_)


def _shifted(estimator: Any, shift: Any, scale: Any) -> Part:
    features = estimator.n_features_in_
    high, low = split(np.zeros(features) if shift is None else shift)
    scale = np.ones(features) if scale is None else scale
    return Part(
        lambda held, x: {"transform": ((x - held.high) - held.low) / held.scale},
        high=high,
        low=low,
        scale=scale,
    )


def min_max(estimator: Any, _: Build) -> Part:
    """MinMaxScaler: `x * scale_ + min_`, written as a shift first, which loses less."""
    low, top = (float(edge) for edge in estimator.feature_range)
    start, rest = split(-estimator.min_ / estimator.scale_)

    def compute(held: Any, x: Tensor) -> Answers:
        scaled = ((x - held.high) - held.low) * held.scale
        return {"transform": torch.clamp(scaled, low, top) if estimator.clip else scaled}

    return Part(compute, high=start, low=rest, scale=estimator.scale_)


def max_abs(estimator: Any, _: Build) -> Part:
    """MaxAbsScaler."""
    clip = getattr(estimator, "clip", False)

    def compute(held: Any, x: Tensor) -> Answers:
        scaled = x / held.scale
        return {"transform": torch.clamp(scaled, -1.0, 1.0) if clip else scaled}

    return Part(compute, scale=estimator.scale_)


def normalizer(estimator: Any, _: Build) -> Part:
    """Normalizer: rows of length one; a row of zeros stays."""

    def compute(_: Any, x: Tensor) -> Answers:
        if estimator.norm == "l1":
            length = torch.abs(x).sum(dim=1, keepdim=True)
        elif estimator.norm == "l2":
            length = torch.sqrt((x * x).sum(dim=1, keepdim=True))
        else:
            length = torch.amax(torch.abs(x), dim=1, keepdim=True)
        return {"transform": x / torch.where(length == 0, torch.ones_like(length), length)}

    return Part(compute)


def tfidf(estimator: Any, _: Build) -> Part:
    """TfidfTransformer: counts times inverse document frequencies, rows of length one."""
    rows = normalizer(estimator, _) if estimator.norm else None

    def compute(held: Any, x: Tensor) -> Answers:
        if estimator.sublinear_tf:
            zero = x == 0
            safe = torch.where(zero, torch.ones_like(x), x)
            x = torch.where(zero, torch.zeros_like(x), torch.log(safe) + 1)
        weighted = x * held.idf
        return held.parts[0](weighted) if held.parts else {"transform": weighted}

    idf = estimator.idf_ if estimator.use_idf else np.ones(1)
    return Part(compute, parts=[rows] if rows else [], idf=idf)


def binarizer(estimator: Any, _: Build) -> Part:
    """Binarizer."""
    threshold = float(estimator.threshold)
    return Part(lambda _, x: {"transform": (x > threshold).to(torch.float32)})


def polynomial(estimator: Any, _: Build) -> Part:
    """PolynomialFeatures: every product as a chain of multiplications of columns."""
    features, terms = estimator.n_features_in_, _terms(estimator)
    longest = max((len(term) for term in terms), default=0)
    columns = np.array([list(term) + [features] * (longest - len(term)) for term in terms])

    def compute(held: Any, x: Tensor) -> Answers:
        wide = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        product = wide[:, held.column_0] if longest else torch.ones_like(x[:, :1])
        for at in range(1, longest):
            product = product * wide[:, getattr(held, f"column_{at}")]
        return {"transform": product}

    tables: dict[str, Any] = {f"column_{at}": columns[:, at] for at in range(longest)}
    return Part(compute, **tables)


def _terms(estimator: Any) -> list[tuple[int, ...]]:
    """Feature indices of every output, in scikit-learn's order."""
    low, high = estimator._min_degree, estimator._max_degree  # noqa: SLF001
    choose: Callable[..., Any] = (
        combinations if estimator.interaction_only else combinations_with_replacement
    )
    degrees = range(max(1, low), high + 1)
    terms = [tuple(t) for d in degrees for t in choose(range(estimator.n_features_in_), d)]
    return [(), *terms] if estimator.include_bias else terms


def function(estimator: Any, _: Build) -> Part:
    """FunctionTransformer: nothing, or one of numpy's functions that torch has too."""
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "absolute": torch.abs, "cos": torch.cos, "exp": torch.exp, "expm1": torch.expm1,
        "log": torch.log, "log10": torch.log10, "log1p": torch.log1p, "log2": torch.log2,
        "negative": torch.neg, "reciprocal": torch.reciprocal, "sin": torch.sin,
        "sqrt": torch.sqrt, "square": torch.square, "tanh": torch.tanh,
    }  # fmt: skip
    if estimator.func is None:
        return Part(lambda _, x: {"transform": x})
    name = getattr(estimator.func, "__name__", "")
    if not isinstance(estimator.func, np.ufunc) or name not in known or estimator.kw_args:
        raise refuse(
            estimator,
            f"the function {name or estimator.func!r} cannot be turned into a graph",
            fix=f"use one of numpy's own ({', '.join(sorted(known))}), "
            "or apply it in the application before the model",
        )
    return Part(lambda _, x: {"transform": known[name](x)})


def power(estimator: Any, _: Build) -> Part:
    """PowerTransformer: (b^l - 1) / l of b = 1 + x (Yeo-Johnson) or x (Box-Cox), then a scaler.

    The mean is taken off before the division: b^l of a large negative l is tiny next to the 1.
    """
    boxcox = estimator.method == "box-cox"
    lambdas = np.asarray(estimator.lambdas_, dtype=np.float64)
    mean, scale = np.zeros_like(lambdas), np.ones_like(lambdas)
    if estimator.standardize:
        scaler = estimator._scaler  # noqa: SLF001
        mean, scale = scaler.mean_, scaler.scale_

    def compute(held: Any, x: Tensor) -> Answers:
        if boxcox:
            return {"transform": _raised(torch.log(x), held.parts[0])}
        above = _raised(torch.log1p(torch.relu(x)), held.parts[0])
        below = -_raised(torch.log1p(torch.relu(-x)), held.parts[1])
        return {"transform": torch.where(x >= 0, above, below)}

    return Part(
        compute,
        parts=[_power_tables(lambdas, mean, scale), _power_tables(2 - lambdas, -mean, scale)],
    )


def _power_tables(exponent: Any, mean: Any, scale: Any) -> Part:
    flat = np.abs(exponent) <= np.spacing(1.0)
    exponent = np.where(flat, 1.0, exponent)
    remains = 1.0 + exponent * mean  # b^l at the mean
    return Part(
        lambda _, x: {"transform": x},
        exponent=exponent,
        flat=flat,
        mean=mean,
        scale=scale,
        tiny=remains < 0.5,
        remains=remains,
        steepness=exponent * scale,
        offset=exponent * mean,
    )


def _raised(log: Tensor, held: Part) -> Tensor:
    """((b^l - 1) / l - mean) / scale from log b; l = 0 is the logarithm itself."""
    grown = log * held.exponent
    whole = torch.where(
        held.tiny, torch.exp(grown) - held.remains, torch.expm1(grown) - held.offset
    )
    return torch.where(held.flat, (log - held.mean) / held.scale, whole / held.steepness)


BUILDERS: dict[str, Builder] = {
    "Binarizer": binarizer,
    "FunctionTransformer": function,
    "MaxAbsScaler": max_abs,
    "MinMaxScaler": min_max,
    "Normalizer": normalizer,
    "PolynomialFeatures": polynomial,
    "PowerTransformer": power,
    "RobustScaler": standard,
    "StandardScaler": standard,
    "TfidfTransformer": tfidf,
}
