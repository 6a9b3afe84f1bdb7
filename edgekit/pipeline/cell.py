"""The stages of one cell that happen in children: each is a job in a numbered folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.catalog import Catalog
from edgekit.config.feeds import Feed
from edgekit.config.sniff import digest, sniff
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.backend import Backend, Kind
from edgekit.core.calibration import Calibration, GeneratedSamples
from edgekit.core.cell import Stage
from edgekit.core.inspection import Inspection
from edgekit.core.jobs import (
    ConvertJob,
    InspectJob,
    LoadJob,
    OptimizeJob,
    RunJob,
    SamplesJob,
    ScoreJob,
)
from edgekit.core.measured import RunResult
from edgekit.core.recipe import Pass, name_of
from edgekit.core.request import Opening, Proof
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import UntrustedError
from edgekit.pipeline.draft import Draft
from edgekit.planner import reader
from edgekit.worker.client import Workers


class Cell:
    """One cell's workers, catalog, folder and report draft."""

    def __init__(self, draft: Draft, *, workers: Workers, catalog: Catalog, folder: Path) -> None:
        self.draft = draft
        self.catalog = catalog
        self.folder = folder
        self._workers = workers
        self._jobs = 0

    def load(self, source: ModelSource, *, own: bool = False) -> Artifact:
        """Look into the user's file and read its signature."""
        backend = reader(Kind.LOADER, source.format, self.catalog)
        folder = self._job_folder(f"load-{source.format}")
        with self.draft.step(Stage.LOAD, f"load {Path(source.path).name}", backend.name):
            return self._workers.call(
                LoadJob(source=source, folder=folder),
                Artifact,
                entry=backend.entry,
                environment=backend.environment,
                own=own,
            )

    def convert(
        self,
        artifact: Artifact,
        backend: Backend,
        *,
        signature: Signature,
        examples: Path,
        options: dict[str, str],
        fused: Pass | None = None,
        calibration: Calibration | None = None,
    ) -> Artifact:
        """Apply one converter, with the pass that it does on the way."""
        to = backend.writes or artifact.format
        folder = self._job_folder(backend.name)
        job = ConvertJob(
            artifact=artifact,
            to=to,
            folder=folder,
            signature=signature,
            samples=str(examples),
            options=options,
            fused=fused,
            calibration=calibration,
        )
        with self.draft.step(Stage.CONVERT, f"convert to {to}", backend.name):
            return self._workers.call(
                job, Artifact, entry=backend.entry, environment=backend.environment
            )

    def optimize(
        self,
        artifact: Artifact,
        backend: Backend,
        *,
        settings: Pass,
        calibration: Calibration | None,
        features: tuple[str, ...],
        options: dict[str, str],
    ) -> Artifact:
        """Apply one pass that keeps the format."""
        job = OptimizeJob(
            artifact=artifact,
            folder=self._job_folder(backend.name),
            settings=settings,
            calibration=calibration,
            features=features,
            options=options,
        )
        with self.draft.step(Stage.OPTIMIZE, name_of(settings), backend.name):
            return self._workers.call(
                job, Artifact, entry=backend.entry, environment=backend.environment
            )

    def run(
        self,
        artifact: Artifact,
        feed: Feed,
        proof: Proof,
        *,
        own: bool = False,
        fresh: bool = False,
        reference: bool = False,
    ) -> RunResult:
        """Run an artifact on a feed.

        With `fresh`, in a child that has never seen it; with `reference`, on plain kernels.
        """
        backend = reader(Kind.RUNTIME, artifact.format, self.catalog)
        job = RunJob(
            artifact=artifact,
            folder=self._job_folder(backend.name),
            samples=feed.path,
            calls=feed.calls,
            stacked=feed.stacked,
            num_threads=proof.num_threads,
            warmup_runs=proof.warmup_runs,
            num_runs=proof.num_runs,
            reference=reference,
        )
        name = f"run {artifact.format}" + (" on plain kernels" if reference else "")
        with self.draft.step(Stage.RUN, name, backend.name):
            return self._workers.call(
                job,
                RunResult,
                entry=backend.entry,
                environment=backend.environment,
                own=own,
                fresh=fresh,
            )

    def inspect(self, artifact: Artifact) -> Inspection:
        """Say what is inside an artifact."""
        backend = reader(Kind.INSPECTOR, artifact.format, self.catalog)
        folder = self._job_folder(backend.name)
        with self.draft.step(Stage.LOAD, f"inspect {artifact.format}", backend.name):
            return self._workers.call(
                InspectJob(artifact=artifact, folder=folder),
                Inspection,
                entry=backend.entry,
                environment=backend.environment,
            )

    def score(self, job: ScoreJob) -> tuple[tuple[float | None, ...], ...]:
        """Score outputs with the user's own metric, on all samples and on resamples."""
        with self.draft.step(Stage.COMPARE, f"score with {job.metric}", "own_metric"):
            return self._workers.call(
                job,
                tuple[tuple[float | None, ...], ...],
                entry="edgekit.parity.own_metric:score",
                environment={},
                own=True,
            )

    def generate(self, job: SamplesJob) -> GeneratedSamples:
        """Let the user's own generator write samples, in a child of its own."""
        with self.draft.step(Stage.LOAD, f"samples from {job.function}", "own_samples"):
            return self._workers.call(
                job,
                GeneratedSamples,
                entry="edgekit.config.own_samples:write",
                environment={},
                own=True,
            )

    def _job_folder(self, name: str) -> str:
        self._jobs += 1
        return str(self.folder / f"{self._jobs:02d}-{name}")


def source_of(
    opening: Opening, *, inputs: tuple[TensorSpec, ...] = (), format: Format | None = None
) -> ModelSource:
    """Sniff and digest the user's file; raises UntrustedError where `--trust` names another digest."""
    path = Path(opening.path)
    found = format or sniff(path)
    sha256 = digest(path)
    named = opening.trust.removeprefix("sha256:")
    if opening.trust.startswith("sha256:") and named != sha256:
        raise UntrustedError(
            f"--trust names sha256:{named}, but {path} is sha256:{sha256}",
            fix="the file is not the one that was trusted; look at it again before you trust it",
        )
    return ModelSource(
        path=str(path.resolve()),
        format=found,
        sha256=sha256,
        trusted=bool(opening.trust),
        factory=opening.factory,
        factory_path=str(Path(opening.factory_path or ".").resolve()) if opening.factory else None,
        signature_key=opening.signature_key,
        inputs=opening.inputs or inputs,
    )


@contextmanager
def cell_folder(run_dir: str | None, cell_id: str) -> Iterator[Path]:
    """Where the jobs of a cell lie: kept under `run_dir`, else temporary."""
    if run_dir:
        folder = Path(run_dir).resolve() / cell_id
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-", ignore_cleanup_errors=True) as folder_name:
        yield Path(folder_name)
