"""The user's own metric, in a child: the function is the user's code."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from edgekit.core.arrays import Array, Arrays, read_npz
from edgekit.core.jobs import ScoreJob
from edgekit.errors import ConfigError

_TIME_LIMIT_S = 60.0

OwnMetric = Callable[[Arrays, Arrays], float]
Scores = tuple[tuple[float | None, ...], ...]


def score(job: ScoreJob) -> Scores:
    """`metric(outputs, labels) -> float` for each side; both arguments are dicts of arrays."""
    metric = _found(job)
    labels = read_npz(job.labels)
    sides = [read_npz(path) for path in job.outputs]
    rows = len(next(iter(labels.values())))
    values = [tuple(_number(metric(outputs, labels)) for outputs in sides)]
    for drawn in _draws(rows, job):
        truth = _taken(labels, drawn, rows)
        values.append(tuple(_on_draw(metric, _taken(s, drawn, rows), truth) for s in sides))
    return tuple(zip(*values, strict=True))


def _found(job: ScoreJob) -> OwnMetric:
    module, _, name = job.metric.partition(":")
    if job.metric_path:
        sys.path.insert(0, job.metric_path)
    try:
        function: OwnMetric = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"--metric {job.metric}: {error}", fix="--metric-path names the folder of the module"
        ) from error
    return function


def _draws(rows: int, job: ScoreJob) -> Iterator[Array]:
    """Row numbers drawn with replacement, until the time is up."""
    rng = np.random.default_rng(job.seed)
    end = time.monotonic() + _TIME_LIMIT_S
    for _ in range(job.resamples):
        if time.monotonic() > end:
            return
        yield rng.integers(0, rows, rows)


def _taken(arrays: Arrays, drawn: Array, rows: int) -> Arrays:
    return {
        name: array[drawn] if array.shape[:1] == (rows,) else array
        for name, array in arrays.items()
    }


def _on_draw(metric: OwnMetric, outputs: Arrays, labels: Arrays) -> float | None:
    """None where a draw lacks what the metric needs, such as rows of a second class."""
    try:
        return _number(metric(outputs, labels))
    except (ValueError, ArithmeticError):
        return None


def _number(value: float) -> float | None:
    """The value; None where it is none, because JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
