"""Keras models and SavedModels, looked into before they are opened."""

from __future__ import annotations

from pathlib import Path

from edgekit.backends.keras_files import open_keras
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import LoadJob


def load(job: LoadJob) -> Artifact:
    """The user's own file with its signature, read from the open model.

    Raises UntrustedError where opening it would run code, MalformedError, UnsupportedError for
    layers that Keras cannot build, and ConfigError where a SavedModel's signature must be chosen.
    """
    model = open_keras(job.source)
    return artifact_of(
        Path(job.source.path),
        format=job.source.format,
        signature=model.signature,
        writer=model.writer,
        source=job.source,
    )
