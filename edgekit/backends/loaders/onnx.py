"""Reads the signature of an ONNX file. Nothing in it can run: it is data."""

from __future__ import annotations

from pathlib import Path

from edgekit.backends.onnx_files import onnx_signature, read_onnx, writer
from edgekit.backends.onnx_layers import layers_of
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import LoadJob
from edgekit.core.noun import changed


def load(job: LoadJob) -> Artifact:
    """The user's file with its signature; raises MalformedError where it is none."""
    path = Path(job.source.path)
    model = read_onnx(path)
    artifact = artifact_of(
        path,
        format=Format.ONNX,
        signature=onnx_signature(model),
        writer=writer(model),
        source=job.source,
    )
    return changed(artifact, layers=layers_of(model))
