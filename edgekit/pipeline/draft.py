"""A cell's report while it is being written: facts go in as they are known, one report comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.cell import SCHEMA, CellReport, Outcome, Reason, ReportedFile, Stage, StepReport
from edgekit.errors import (
    CrashedError,
    EdgekitError,
    MalformedError,
    TimedOutError,
    UnavailableError,
    UnsupportedError,
    UntrustedError,
)

Progress = Callable[[str], None]

_OUTCOMES: tuple[tuple[type[EdgekitError], Outcome], ...] = (
    (UnsupportedError, Outcome.UNSUPPORTED),
    (UnavailableError, Outcome.UNAVAILABLE),
    (UntrustedError, Outcome.UNTRUSTED),
    (MalformedError, Outcome.MALFORMED),
    (CrashedError, Outcome.CRASHED),
    (TimedOutError, Outcome.TIMED_OUT),
)


class Draft:
    """The facts of one cell so far, and the stage it has reached."""

    def __init__(self, cell_id: str, *, recipe: str, target: str, progress: Progress) -> None:
        self.stage = Stage.PLAN
        self.facts: dict[str, Any] = {"id": cell_id, "recipe": recipe, "target": target}
        self.notes: list[str] = []
        self._steps: list[StepReport] = []
        self._progress = progress

    @contextmanager
    def step(self, stage: Stage, name: str, backend: str) -> Iterator[None]:
        """One child's work: progress before, its seconds after, however it ends."""
        self.stage = stage
        self._progress(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = round(time.perf_counter() - start, 3)
            self._steps.append(StepReport(name=name, backend=backend, seconds=seconds))

    def passed(self) -> CellReport:
        """The report of a cell with nothing against it."""
        return self.report(Outcome.PASSED, None)

    def failed(self, error: EdgekitError) -> CellReport:
        """The report of a cell that an error ended, at the stage it had reached."""
        outcome = next((o for kind, o in _OUTCOMES if isinstance(error, kind)), Outcome.FAILED)
        show_log = isinstance(error, CrashedError | TimedOutError)
        reason = Reason(message=error.message, fix=error.fix, log=error.log if show_log else "")
        return self.report(outcome, reason)

    def report(self, outcome: Outcome, reason: Reason | None) -> CellReport:
        """The report with everything known so far."""
        return CellReport(
            schema=SCHEMA,
            outcome=outcome,
            stage=self.stage,
            reason=reason,
            steps=tuple(self._steps),
            notes=tuple(dict.fromkeys(self.notes)),
            **self.facts,
        )


def reported(artifact: Artifact, *, path: str, compressed: int | None = None) -> ReportedFile:
    """An artifact as a report names it, under the path the user knows it by."""
    return ReportedFile(
        path=path,
        format=artifact.format,
        size_bytes=artifact.size_bytes,
        size_compressed_bytes=compressed,
        sha256=artifact.sha256,
        writer=artifact.writer,
    )
