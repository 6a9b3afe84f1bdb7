"""An artifact noun for files that a step has just written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.signature import Signature


def artifact_of(
    path: Path,
    *,
    format: Format,
    signature: Signature,
    writer: str,
    notes: tuple[str, ...] = (),
    source: ModelSource | None = None,
) -> Artifact:
    """Describe the file or folder at `path`, with its SHA-256 and its size in bytes."""
    return Artifact(
        path=str(path),
        format=format,
        signature=signature,
        sha256=source.sha256 if source else hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=size_bytes(path),
        writer=writer,
        notes=notes,
        source=source,
    )


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
