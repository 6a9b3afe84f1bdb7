"""Every way edgekit can say no, and the exit code each one carries."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The one table of exit codes; `edgekit --help` prints it."""

    PASSED = 0
    MATRIX = 1
    USAGE = 2
    UNSUPPORTED = 3
    STEP_FAILED = 4
    PARITY = 5
    ACCURACY = 6
    BUDGET = 7
    UNAVAILABLE = 8
    REFUSED = 9
    BUG = 70
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """What a caller learns from this code, in one line."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.PASSED: "passed",
    ExitCode.MATRIX: "matrix: some cell not as expected",
    ExitCode.USAGE: "usage or configuration",
    ExitCode.UNSUPPORTED: "unsupported model, op or route",
    ExitCode.STEP_FAILED: "a step failed, crashed or timed out",
    ExitCode.PARITY: "numeric parity failed",
    ExitCode.ACCURACY: "accuracy budget missed, or inconclusive under --strict",
    ExitCode.BUDGET: "size, latency, memory or delegation budget missed",
    ExitCode.UNAVAILABLE: "extra, tool or device unavailable",
    ExitCode.REFUSED: "refused: the input would run code, or is malformed",
    ExitCode.BUG: "a bug in edgekit",
    ExitCode.INTERRUPTED: "interrupted",
}


class EdgekitError(Exception):
    """Base of all errors a user may see: what happened, and how to mend it."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.log = ""

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}" if self.fix else self.message


class ConfigError(EdgekitError):
    """An option, a name, a data file or a target file that cannot be used as given."""

    exit_code = ExitCode.USAGE


class UnsupportedError(EdgekitError):
    """No route, or a layer, op or estimator that the route cannot express."""

    exit_code = ExitCode.UNSUPPORTED


class StepError(EdgekitError):
    """A step ran and did not succeed."""

    exit_code = ExitCode.STEP_FAILED


class CrashedError(StepError):
    """The child of a step ended without a result: a signal, an abort, an exit."""


class TimedOutError(StepError):
    """A step ran past its wall-clock limit and was ended."""


class UnavailableError(EdgekitError):
    """This machine lacks an extra, a tool or a device."""

    exit_code = ExitCode.UNAVAILABLE


class UntrustedError(EdgekitError):
    """Opening the input would run code that nobody has allowed for this file."""

    exit_code = ExitCode.REFUSED


class MalformedError(EdgekitError):
    """The input is not what its format says it is."""

    exit_code = ExitCode.REFUSED
