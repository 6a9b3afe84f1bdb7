"""Runs a fitted estimator in scikit-learn itself: the reference of every scikit-learn conversion."""

from __future__ import annotations

import warnings

from edgekit.backends.calls import run_calls
from edgekit.backends.kept import forget
from edgekit.backends.sklearn_answers import INPUT, answer
from edgekit.backends.sklearn_contents import parts
from edgekit.backends.sklearn_files import open_estimator
from edgekit.core.arrays import Arrays
from edgekit.core.jobs import RunJob
from edgekit.core.measured import RunResult
from edgekit.errors import MalformedError


def run(job: RunJob) -> RunResult:
    """Feed float32 rows, computed in scikit-learn's float64; outputs as in the signature."""
    import numpy
    import sklearn
    from threadpoolctl import threadpool_limits

    forget()
    if job.artifact.source is None:
        raise MalformedError(f"{job.artifact.path} has no source to run")
    estimator = open_estimator(job.artifact.source)
    for part, _ in parts(estimator):
        if "n_jobs" in getattr(part, "__dict__", {}):
            part.n_jobs = job.num_threads

    def call(feed: Arrays) -> Arrays:
        return answer(estimator, feed[INPUT])

    with threadpool_limits(job.num_threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run_calls(
            job,
            call,
            runtime="sklearn_host",
            versions={"scikit-learn": sklearn.__version__, "numpy": numpy.__version__},
        )
