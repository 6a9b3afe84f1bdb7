"""How a source becomes an artifact: an ordered tuple of steps."""

from __future__ import annotations

from edgekit.core.artifact import Format
from edgekit.core.noun import Noun
from edgekit.core.recipe import Pass


class Step(Noun):
    """One backend applied once, and the pass that it does or fuses, if any."""

    backend: str
    reads: Format
    writes: Format
    does: Pass | None = None


class Plan(Noun):
    """Load with `loader`, run the source with `source_runtime`, apply `steps`, run with `runtime`."""

    loader: str
    source_runtime: str
    steps: tuple[Step, ...]
    runtime: str
