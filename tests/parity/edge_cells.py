"""One backend at a time, in warm children: load, convert, run, inspect."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgekit.catalog import load_catalog
from edgekit.core.arrays import Array, Arrays
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.backend import Backend, Kind
from edgekit.core.inspection import Inspection
from edgekit.core.jobs import ConvertJob, InspectJob, Job, LoadJob, RunJob
from edgekit.core.measured import RunResult
from edgekit.planner import reader
from edgekit.worker.client import Workers

R = TypeVar("R")
Samples = Mapping[str, Array]


@dataclass(frozen=True)
class Bench:
    """Warm children and a folder to work in."""

    workers: Workers
    folder: Path

    def load(self, path: Path, format: Format, **said: object) -> Artifact:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        source = ModelSource(path=str(path), format=format, sha256=digest, **said)  # type: ignore[arg-type]
        row = reader(Kind.LOADER, format, load_catalog())
        return self._call(row, LoadJob(source=source, folder=self._new("load")), Artifact)

    def convert(self, artifact: Artifact, to: Format, samples: Samples, **options: str) -> Artifact:
        folder = self._new("convert")
        job = ConvertJob(
            artifact=artifact,
            to=to,
            folder=folder,
            signature=artifact.signature,
            samples=_saved(Path(folder), samples),
            options=options,
        )
        row = load_catalog().backend(f"pt2_to_{to}")
        return self._call(row, job, Artifact)

    def run(
        self,
        artifact: Artifact,
        samples: Samples,
        calls: tuple[int, ...],
        *,
        stacked: bool = False,
        num_runs: int = 0,
        reference: bool = False,
    ) -> tuple[RunResult, Arrays]:
        folder = self._new("run")
        job = RunJob(
            artifact=artifact,
            folder=folder,
            samples=_saved(Path(folder), samples),
            calls=calls,
            stacked=stacked,
            num_runs=num_runs,
            min_time_s=0.01,
            reference=reference,
        )
        row = reader(Kind.RUNTIME, artifact.format, load_catalog())
        result = self.workers.call(
            job, RunResult, entry=row.entry, environment=row.environment, own=True
        )
        with np.load(result.outputs, allow_pickle=False) as outputs:
            return result, dict(outputs)

    def outputs(
        self,
        artifact: Artifact,
        samples: Samples,
        calls: tuple[int, ...],
        *,
        reference: bool = False,
    ) -> Arrays:
        return self.run(artifact, samples, calls, reference=reference)[1]

    def inspect(self, artifact: Artifact) -> Inspection:
        row = reader(Kind.INSPECTOR, artifact.format, load_catalog())
        return self._call(
            row, InspectJob(artifact=artifact, folder=self._new("inspect")), Inspection
        )

    def _call(self, row: Backend, job: Job, kind: type[R]) -> R:
        return self.workers.call(job, kind, entry=row.entry, environment=row.environment)

    def _new(self, name: str) -> str:
        folder = self.folder / f"{len(list(self.folder.iterdir())):02d}-{name}"
        folder.mkdir()
        return str(folder)


def _saved(folder: Path, arrays: Samples) -> str:
    path = folder / "samples.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def largest(expected: Samples, actual: Samples) -> float:
    """The largest absolute difference over all outputs, which must be the same ones."""
    assert expected.keys() == actual.keys()
    assert all(expected[name].shape == actual[name].shape for name in expected)
    return max(
        float(np.max(np.abs(expected[n].astype(np.float64) - actual[n].astype(np.float64))))
        for n in expected
    )
