"""ExecuTorch programs (`.pte`): data only, nothing in them runs on loading."""

from __future__ import annotations

from pathlib import Path

from edgekit.backends.pte_files import layers_of, read_program, signature_of
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import LoadJob
from edgekit.core.noun import changed


def load(job: LoadJob) -> Artifact:
    """The signature and the layers as edgekit wrote them into the file, else tensors by position.

    Raises MalformedError where it is not a whole ExecuTorch file.
    """
    path = Path(job.source.path)
    program = read_program(path)
    signature, notes = signature_of(program)
    artifact = artifact_of(
        path,
        format=Format.EXECUTORCH,
        signature=signature,
        writer="edgekit with ExecuTorch" if program.signature else "ExecuTorch",
        notes=notes,
        source=job.source,
    )
    return changed(artifact, layers=layers_of(program))
