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

    `rule` says what the output was held to; `atol` and `rtol` are there where it was held to them.
    `broken` is what no rule can excuse: a wrong shape or kind, NaN, one answer for every sample.
    `min_required_atol` is the smallest absolute tolerance that would pass at that rtol. Outputs
    that cannot be compared are infinitely far off; JSON has no word for that, so there it is absent.
    `sqnr_db` = 10 log10(sum expected^2 / sum (expected - actual)^2); absent where there is no error.
    `agreement` is the share of rows whose class is the same; `kl_divergence`, where both sides give
    probabilities, the mean over rows of sum expected * ln(expected / actual).
    """

    name: str
    ok: bool
    rule: str = ""
    broken: bool = False
    atol: float | None = None
    rtol: float | None = None
    max_abs_diff: float = math.inf
    mean_abs_diff: float = math.inf
    min_required_atol: float = math.inf
    max_rel_diff: float | None = None
    cosine_similarity: float | None = None
    sqnr_db: float | None = None
    agreement: float | None = None
    kl_divergence: float | None = None
    worst_index: tuple[int, ...] = ()
    worst_expected: float | None = None
    worst_actual: float | None = None
    nan_count: int = 0
    mismatches: int | None = None
    reason: str = ""


class Evidence(StrEnum):
    """What the verdict rests on."""

    REAL = "real"
    CALIBRATION = "calibration"
    SYNTHETIC = "synthetic"


class Parity(Noun):
    """The comparison of all outputs over all samples.

    `reference_sqnr_db` is the worst output's SQNR with the runtime's plain kernels, where the fast
    ones were doubted.
    """

    evidence: Evidence
    samples: int
    outputs: tuple[TensorParity, ...]
    top1_agreement: float | None = None
    reference_sqnr_db: float | None = None

    @property
    def ok(self) -> bool:
        """Whether every output agrees."""
        return all(output.ok for output in self.outputs)


class Task(StrEnum):
    """What a model is for; the metric follows."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"
    EMBEDDING = "embedding"
    RECONSTRUCTION = "reconstruction"
    AUDIO = "audio"


class DropType(StrEnum):
    """Whether a drop is in the metric's own unit or a share of the source's value."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


class Verdict(StrEnum):
    """What the samples say of a limit: the whole 95 % interval meets it, misses it, or neither."""

    PASSED = "pass"
    FAILED = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_JUDGED = "not judged"


class ClassDrop(Noun):
    """A class in which the artifact is worse: its samples and the metric of both sides on it."""

    label: str
    samples: int
    source: float
    artifact: float
    drop: float


class Accuracy(Noun):
    """A task metric of both sides on the same labelled samples. `drop` is positive when worse.

    `drop_ci95` is its 95 % interval, `artifact_ci95` that of the artifact's value. `within_limit` is
    whether the measured values meet the limit; the verdict is of the intervals. Where it is
    inconclusive, `samples_needed` would decide if the observed rates held; absent where no number
    would. `lost` samples are right in the source only, `gained` in the artifact only, and `p_value`
    is McNemar's exact one of the two. `per_class` has the classes that lost most, at most ten.
    `truth` says what stood in for labels where there were none. `agreement`, of embeddings, is the
    share of samples with the same nearest neighbour on both sides.
    """

    metric: str
    samples: int
    source: float
    artifact: float
    drop: float
    verdict: Verdict
    limit: str = ""
    within_limit: bool | None = None
    drop_ci95: tuple[float, float] | None = None
    artifact_ci95: tuple[float, float] | None = None
    samples_needed: int | None = None
    lost: int | None = None
    gained: int | None = None
    p_value: float | None = None
    agreement: float | None = None
    truth: str = ""
    per_class: tuple[ClassDrop, ...] = ()
