"""Measured facts, without opinion."""

from __future__ import annotations

import math
from enum import StrEnum

from edgekit.core.noun import Noun


class Clock(StrEnum):
    """Whose time a timing is: emulated time is never latency."""

    HOST = "host"
    DEVICE = "device"
    EMULATED = "emulated"


class Timing(Noun):
    """Raw wall times of single calls in nanoseconds, in order; the first call apart."""

    clock: Clock
    first_ns: int
    runs_ns: tuple[int, ...]
    warmup_runs: int
    threads: int
    rows: int = 1


class Placement(Noun):
    """How many nodes of the graph run on a delegate; `left` counts the op types that do not.

    `share` is delegated nodes over all nodes, 0..1.
    """

    delegate: str
    nodes: int
    delegated_nodes: int
    share: float
    left: dict[str, int] = {}


class RunResult(Noun):
    """What one run gave. `outputs` is an `.npz` keyed by the artifact's output names.

    `model_rss_bytes` is what the process grew by from before the model was opened to after its calls.
    """

    outputs: str
    runtime: str
    timing: Timing | None = None
    peak_rss_bytes: int | None = None
    placement: Placement | None = None
    model_rss_bytes: int | None = None
    versions: dict[str, str] = {}


class TensorParity(Noun):
    """How far one output is from the expected one; differences in float64.

    `min_required_atol` is the smallest absolute tolerance that would pass at the given rtol. Outputs
    that cannot be compared are infinitely far off; JSON has no word for that, so there it is absent.
    `sqnr_db` = 10 log10(sum expected^2 / sum (expected - actual)^2); absent where there is no error.
    """

    name: str
    ok: bool
    atol: float
    rtol: float
    max_abs_diff: float = math.inf
    mean_abs_diff: float = math.inf
    min_required_atol: float = math.inf
    max_rel_diff: float | None = None
    cosine_similarity: float | None = None
    sqnr_db: float | None = None
    worst_index: tuple[int, ...] = ()
    worst_expected: float | None = None
    worst_actual: float | None = None
    nan_count: int = 0
    mismatches: int | None = None
    reason: str = ""


class Evidence(StrEnum):
    """What the verdict rests on."""

    REAL = "real"
    SYNTHETIC = "synthetic"


class Parity(Noun):
    """The comparison of all outputs over all samples."""

    evidence: Evidence
    samples: int
    outputs: tuple[TensorParity, ...]
    top1_agreement: float | None = None

    @property
    def ok(self) -> bool:
        """Whether every output agrees."""
        return all(output.ok for output in self.outputs)


class Accuracy(Noun):
    """A task metric of both sides on the same labelled samples. `drop` is positive when worse."""

    metric: str
    samples: int
    source: float
    artifact: float
    drop: float
    verdict: str
    limit: str = ""
