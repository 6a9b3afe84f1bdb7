"""Transformers that look values up: encoders, bins, quantiles, imputation, selection."""

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
    down,
    interpolated,
    refuse,
    up,
)


def selector(estimator: Any, _: Build) -> Part:
    """Every estimator with `get_support`: columns are taken."""
    columns = np.flatnonzero(estimator.get_support())
    return Part(lambda held, x: {"transform": x[:, held.columns]}, columns=columns)


def _numbers(estimator: Any) -> list[Any]:
    """`categories_` as float32, the precision of what they are compared with."""
    if getattr(estimator, "_infrequent_enabled", False):
        raise refuse(estimator, "grouping of infrequent categories has no torch module")
    try:
        return [np.asarray(known, dtype=np.float64) for known in estimator.categories_]
    except (TypeError, ValueError) as error:
        raise refuse(
            estimator,
            "its categories are text, and tensors hold numbers",
            fix="encode text as integers in the application",
        ) from error


def one_hot(estimator: Any, _: Build) -> Part:
    """OneHotEncoder of numeric columns; an unknown value gives zeros."""
    known = _numbers(estimator)
    dropped = estimator.drop_idx_
    columns, values = [], []
    for at, numbers in enumerate(known):
        drop = None if dropped is None else dropped[at]
        kept = [n for i, n in enumerate(numbers) if drop is None or i != drop]
        columns += [at] * len(kept)
        values += kept
    if np.isnan(values).any():
        raise refuse(estimator, "NaN as a category has no torch module")
    return Part(
        lambda held, x: {"transform": (x[:, held.columns] == held.values).to(torch.float32)},
        columns=np.array(columns, dtype=np.int64),
        values=np.array(values, dtype=np.float64),
    )


def ordinal(estimator: Any, _: Build) -> Part:
    """OrdinalEncoder of numeric columns: the place among the known categories."""
    known = _numbers(estimator)
    unknown = estimator.unknown_value
    if unknown is not None and np.isnan(unknown):
        raise refuse(estimator, "unknown_value=nan has no torch module")

    def compute(held: Any, x: Tensor) -> Answers:
        hits = (x[:, held.columns] == held.values).to(torch.float32)
        place = hits @ held.place
        if unknown is None:
            return {"transform": place}
        found = hits @ held.found
        return {"transform": torch.where(found > 0, place, torch.full_like(place, float(unknown)))}

    columns, values, place, found = _lookup(known, [np.arange(len(n)) for n in known])
    return Part(compute, columns=columns, values=values, place=place, found=found)


def _lookup(known: list[Any], given: list[Any]) -> tuple[Any, Any, Any, Any]:
    """Tables that turn "which category was hit" into one value per column."""
    columns = np.repeat(np.arange(len(known)), [len(numbers) for numbers in known])
    found = (columns[:, None] == np.arange(len(known))).astype(np.float64)
    return columns, np.concatenate(known), found * np.concatenate(given)[:, None], found


def target(estimator: Any, _: Build) -> Part:
    """TargetEncoder of numeric columns: the encoding learned for each category."""
    if estimator.target_type_ == "multiclass":
        raise refuse(estimator, "a target of several classes has no torch module")
    columns, values, place, found = _lookup(_numbers(estimator), estimator.encodings_)

    def compute(held: Any, x: Tensor) -> Answers:
        hits = (x[:, held.columns] == held.values).to(torch.float32)
        value = hits @ held.place
        return {"transform": torch.where(hits @ held.found > 0, value, held.mean + 0.0 * value)}

    mean = np.full(len(estimator.categories_), estimator.target_mean_)
    return Part(compute, columns=columns, values=values, place=place, found=found, mean=mean)


def bins(estimator: Any, _: Build) -> Part:
    """KBinsDiscretizer: how many inner edges a value has reached."""
    edges = [np.asarray(edge)[1:-1] for edge in estimator.bin_edges_]
    columns = np.repeat(np.arange(len(edges)), [len(edge) for edge in edges])
    member = (columns[:, None] == np.arange(len(edges))).astype(np.float64)
    sizes = [len(edge) + 1 for edge in edges]
    ordinal = estimator.encode == "ordinal"

    def compute(held: Any, x: Tensor) -> Answers:
        reached = (x[:, held.columns] >= held.edges).to(torch.float32)
        place = reached @ held.member
        if ordinal:
            return {"transform": place}
        return {"transform": (place[:, held.of] == held.values).to(torch.float32)}

    return Part(
        compute,
        columns=columns,
        edges=up(np.concatenate(edges)),
        member=member,
        of=np.repeat(np.arange(len(edges)), sizes),
        values=np.concatenate([np.arange(size) for size in sizes]).astype(np.float64),
    )


def quantile(estimator: Any, _: Build) -> Part:
    """QuantileTransformer to a uniform distribution: the mean of both ways to interpolate."""
    if estimator.output_distribution != "uniform":
        raise refuse(
            estimator,
            "output_distribution='normal' needs the inverse of the normal distribution",
            fix="use output_distribution='uniform', or PowerTransformer",
        )
    known, shares = np.asarray(estimator.quantiles_), np.asarray(estimator.references_)

    def compute(held: Any, x: Tensor) -> Answers:
        columns = []
        for at in range(known.shape[1]):
            column = x[:, at]
            rising = interpolated(column, getattr(held, f"up_{at}"), held.shares)
            falling = interpolated(-column, getattr(held, f"down_{at}"), held.negative_shares)
            columns.append(0.5 * (rising - falling))
        value = torch.stack(columns, dim=1)
        value = torch.where(x == held.top, torch.ones_like(value), value)
        return {"transform": torch.where(x == held.bottom, torch.zeros_like(value), value)}

    tables: dict[str, Any] = {"shares": shares, "negative_shares": -shares[::-1]}
    tables |= {"bottom": _exact(known[0]), "top": _exact(known[-1])}
    for at in range(known.shape[1]):
        tables |= {f"up_{at}": up(known[:, at]), f"down_{at}": up(-known[::-1, at])}
    return Part(compute, **tables)


def _exact(values: Any) -> Any:
    """Values that a float32 can equal; NaN, which nothing equals, for the others."""
    near = values.astype(np.float32)
    return np.where(near == values, near, np.float32(np.nan))


def imputer(estimator: Any, _: Build) -> Part:
    """SimpleImputer: missing values become the statistic of their column."""
    statistics = np.asarray(estimator.statistics_, dtype=np.float64)
    kept = np.flatnonzero(~np.isnan(statistics))
    if estimator.keep_empty_features:
        kept = np.arange(len(statistics))
    flags = [] if estimator.indicator_ is None else list(estimator.indicator_.features_)
    missing = _missing(estimator)

    def compute(held: Any, x: Tensor) -> Answers:
        column = x[:, held.kept]
        filled = torch.where(missing(column), held.statistics + torch.zeros_like(column), column)
        if not flags:
            return {"transform": filled}
        marks = missing(x[:, held.flags]).to(torch.float32)
        return {"transform": torch.cat([filled, marks], dim=1)}

    arrays: dict[str, Any] = {"flags": np.array(flags, dtype=np.int64)} if flags else {}
    return Part(compute, kept=kept, statistics=np.nan_to_num(statistics[kept]), **arrays)


def missing_indicator(estimator: Any, _: Build) -> Part:
    """MissingIndicator."""
    missing = _missing(estimator)
    if not len(estimator.features_):
        raise refuse(estimator, "it has no columns: nothing was missing when it was fitted")
    return Part(
        lambda held, x: {"transform": missing(x[:, held.columns])},
        columns=np.asarray(estimator.features_, dtype=np.int64),
    )


def _missing(estimator: Any) -> Any:
    marker = estimator.missing_values
    if marker is None or isinstance(marker, str):
        raise refuse(estimator, f"missing_values={marker!r} is not a number")
    if np.isnan(marker):
        return lambda x: x != x
    return lambda x: x == float(marker)


def isotonic(estimator: Any, _: Build) -> Part:
    """IsotonicRegression: linear between its thresholds, outside them clipped or NaN."""
    if estimator.out_of_bounds == "raise":
        raise refuse(
            estimator,
            "out_of_bounds='raise' raises for some rows, and a graph cannot",
            fix="fit it with out_of_bounds='clip'",
        )
    clips = estimator.out_of_bounds == "clip"

    def compute(held: Any, x: Tensor) -> Answers:
        x = x.reshape(-1)
        value = interpolated(x, held.at, held.values)
        if clips:
            return {"predict": value}
        outside = (x < held.at[0]) | (x > held.end)
        return {"predict": torch.where(outside, torch.full_like(value, float("nan")), value)}

    return Part(
        compute,
        at=up(estimator.X_thresholds_),
        end=down(estimator.X_thresholds_[-1]),
        values=estimator.y_thresholds_,
    )


BUILDERS: dict[str, Builder] = {
    **dict.fromkeys(
        ("GenericUnivariateSelect", "SelectFdr", "SelectFpr", "SelectFromModel", "SelectFwe",
         "SelectKBest", "SelectPercentile", "SequentialFeatureSelector", "VarianceThreshold"),
        selector,
    ),
    "IsotonicRegression": isotonic,
    "KBinsDiscretizer": bins,
    "MissingIndicator": missing_indicator,
    "OneHotEncoder": one_hot,
    "OrdinalEncoder": ordinal,
    "QuantileTransformer": quantile,
    "SimpleImputer": imputer,
    "TargetEncoder": target,
}  # fmt: skip
