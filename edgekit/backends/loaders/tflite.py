"""TFLite (LiteRT) files: data only, nothing in them runs on loading."""

from __future__ import annotations

from pathlib import Path

from edgekit.backends.tflite_files import open_model, signature_of, writer_of
from edgekit.backends.tflite_layers import layers_of
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import LoadJob
from edgekit.core.noun import changed


def load(job: LoadJob) -> Artifact:
    """The file's signature and what its layers are stored in, read from its flatbuffer.

    Raises MalformedError where it is not a whole TFLite file, ConfigError where the signature asked
    for is not in it.
    """
    path = Path(job.source.path)
    model = open_model(path)
    return changed(
        artifact_of(
            path,
            format=Format.TFLITE,
            signature=signature_of(model, job.source.signature_key),
            writer=writer_of(model),
            source=job.source,
        ),
        layers=layers_of(model),
    )
