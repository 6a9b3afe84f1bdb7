"""The judgement of one model on one target."""

from __future__ import annotations

from enum import StrEnum

from edgekit.core.artifact import Format
from edgekit.core.calibration import CalibrationReport
from edgekit.core.gain import Diagnosis, Gain, Rival, Trial
from edgekit.core.measured import Accuracy, Clock, Parity, Placement
from edgekit.core.noun import Noun
from edgekit.core.recipe import LayerPrecision
from edgekit.core.signature import Signature
from edgekit.errors import ExitCode

SCHEMA = "edgekit.report/1"


class Stage(StrEnum):
    """Where a cell stands or fell."""

    PLAN = "plan"
    LOAD = "load"
    OPTIMIZE = "optimize"
    CONVERT = "convert"
    RUN = "run"
    COMPARE = "compare"


class Outcome(StrEnum):
    """How a cell ended."""

    PASSED = "passed"
    PARITY_FAILED = "parity-failed"
    ACCURACY_FAILED = "accuracy-failed"
    OVER_BUDGET = "over-budget"
    INCONCLUSIVE = "inconclusive"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    UNTRUSTED = "untrusted"
    MALFORMED = "malformed"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMED_OUT = "timed-out"

    @property
    def exit_code(self) -> ExitCode:
        """The exit code a single cell with this outcome gives."""
        return _EXITS[self]


_EXITS = {
    Outcome.PASSED: ExitCode.PASSED,
    Outcome.PARITY_FAILED: ExitCode.PARITY,
    Outcome.ACCURACY_FAILED: ExitCode.ACCURACY,
    Outcome.OVER_BUDGET: ExitCode.BUDGET,
    Outcome.INCONCLUSIVE: ExitCode.PASSED,
    Outcome.UNSUPPORTED: ExitCode.UNSUPPORTED,
    Outcome.UNAVAILABLE: ExitCode.UNAVAILABLE,
    Outcome.UNTRUSTED: ExitCode.REFUSED,
    Outcome.MALFORMED: ExitCode.REFUSED,
    Outcome.FAILED: ExitCode.STEP_FAILED,
    Outcome.CRASHED: ExitCode.STEP_FAILED,
    Outcome.TIMED_OUT: ExitCode.STEP_FAILED,
}


class Reason(Noun):
    """Why a cell did not pass: cause, how to mend it, and the end of the child's log if there is one."""

    message: str
    fix: str = ""
    log: str = ""


class ReportedFile(Noun):
    """A model file in a report."""

    path: str
    format: Format
    size_bytes: int
    sha256: str
    size_compressed_bytes: int | None = None
    writer: str = ""


class Latency(Noun):
    """Percentiles over the runs of one call, in milliseconds, of `rows` rows."""

    clock: Clock
    first_ms: float
    min_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    runs: int
    warmup_runs: int
    threads: int
    rows: int = 1
    source_p50_ms: float | None = None
    source_threads: int | None = None


class Memory(Noun):
    """Memory. `peak_rss_bytes` is the whole runtime process, interpreter included.

    `model_rss_bytes` is what the process grew by from opening the model to the end of its calls.
    """

    peak_rss_bytes: int | None = None
    model_rss_bytes: int | None = None
    source_peak_rss_bytes: int | None = None


class BudgetLine(Noun):
    """One limit against its figure; a figure that was not measured is absent and not ok."""

    name: str
    limit: float
    ok: bool
    actual: float | None = None


class StepReport(Noun):
    """One child's work: what it was and how long it took."""

    name: str
    backend: str
    seconds: float
    cached: bool = False


class CellReport(Noun):
    """Everything known about one cell. A figure that was not measured is absent.

    `strict`: the user takes a verdict that is not certain for a failure.
    """

    schema: str
    id: str
    outcome: Outcome
    stage: Stage
    recipe: str
    source: ReportedFile | None = None
    target: str = ""
    reason: Reason | None = None
    artifact: ReportedFile | None = None
    signature: Signature | None = None
    parity: Parity | None = None
    accuracy: Accuracy | None = None
    latency: Latency | None = None
    memory: Memory | None = None
    placement: Placement | None = None
    layers: tuple[LayerPrecision, ...] = ()
    calibration: CalibrationReport | None = None
    rivals: tuple[Rival, ...] = ()
    gain: Gain | None = None
    diagnosis: Diagnosis | None = None
    trials: tuple[Trial, ...] = ()
    budget: tuple[BudgetLine, ...] = ()
    steps: tuple[StepReport, ...] = ()
    notes: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    strict: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of this cell alone: that of its outcome, but for what `strict` says."""
        if self.strict and self.outcome is Outcome.INCONCLUSIVE:
            return ExitCode.ACCURACY
        return self.outcome.exit_code
