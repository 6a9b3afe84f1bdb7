"""The plug-in points. A backend is a module-level function of one of these shapes."""

from __future__ import annotations

from typing import Protocol

from edgekit.core.artifact import Artifact
from edgekit.core.inspection import Inspection
from edgekit.core.jobs import ConvertJob, InspectJob, LoadJob, OptimizeJob, RunJob
from edgekit.core.measured import RunResult


class Loader(Protocol):
    """Looks into a file without running its code, then reads its signature."""

    def __call__(self, job: LoadJob) -> Artifact: ...


class Converter(Protocol):
    """Writes an artifact of another format into the job's folder."""

    def __call__(self, job: ConvertJob) -> Artifact: ...


class Optimizer(Protocol):
    """Applies one pass; the artifact keeps its format, its names and their order."""

    def __call__(self, job: OptimizeJob) -> Artifact: ...


class Runtime(Protocol):
    """Runs an artifact on samples and times it."""

    def __call__(self, job: RunJob) -> RunResult: ...


class Inspector(Protocol):
    """Says what is inside an artifact."""

    def __call__(self, job: InspectJob) -> Inspection: ...
