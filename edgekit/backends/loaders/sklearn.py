"""Looks into scikit-learn files and learns what the estimator takes and answers."""

from __future__ import annotations

import warnings
from pathlib import Path

from edgekit.backends.sklearn_answers import signature_of
from edgekit.backends.sklearn_files import open_file
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import LoadJob


def load(job: LoadJob) -> Artifact:
    """The user's `.skops`, `.joblib` or `.pkl` with its signature.

    Raises UntrustedError before anything in the file could run, UnsupportedError for estimators that
    do not map a table of numbers to numbers.
    """
    import sklearn

    opened = open_file(job.source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = signature_of(opened.estimator, job.source.inputs)
    return artifact_of(
        Path(job.source.path),
        format=job.source.format,
        signature=signature,
        writer=f"scikit-learn {opened.version or sklearn.__version__}",
        notes=opened.notes,
        source=job.source,
    )
