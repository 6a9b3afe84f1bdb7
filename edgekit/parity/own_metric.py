"""Score outputs with the user's own function. Runs in a child: the function is the user's code."""

from __future__ import annotations

import importlib
import sys

from edgekit.core.arrays import read_npz
from edgekit.core.jobs import ScoreJob
from edgekit.errors import ConfigError


def score(job: ScoreJob) -> tuple[float, ...]:
    """`metric(outputs, labels) -> float` for each side; both arguments are dicts of arrays."""
    module, _, name = job.metric.partition(":")
    if job.metric_path:
        sys.path.insert(0, job.metric_path)
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"--metric {job.metric}: {error}", fix="--metric-path names the folder of the module"
        ) from error
    labels = read_npz(job.labels)
    return tuple(float(function(read_npz(path), labels)) for path in job.outputs)
