"""What a pass brought: the artifact against the float32 artifact of the same format."""

from __future__ import annotations

from edgekit.core.noun import Noun


class Gain(Noun):
    """Figures of the float32 artifact, and the artifact's as shares of them: 0.25 is a quarter.

    `in_memory` compares what each model adds to its process. `bits8_share` is the share of the
    weights that are stored in 8 bits or less. `summary` says in one sentence what was gained, or
    why nothing was.
    """

    baseline: str
    baseline_size_bytes: int
    size_ratio: float
    compressed_ratio: float | None = None
    in_memory_ratio: float | None = None
    latency_ratio: float | None = None
    baseline_p50_ms: float | None = None
    baseline_delegated_share: float | None = None
    bits8_share: float | None = None
    summary: str = ""


class Rival(Noun):
    """One way to make the artifact, measured on samples against the source; one of them was taken.

    `sqnr_db` is of the worst output; absent where that way failed, and `reason` says how.
    """

    backends: tuple[str, ...]
    taken: bool = False
    sqnr_db: float | None = None
    size_bytes: int | None = None
    samples: int = 0
    reason: str = ""


class Sensitivity(Noun):
    """What quantizing one layer costs, as SQNR in dB of the worst output.

    `alone`: only this layer is quantized; `all_but`: all layers but this one.
    """

    layer: str
    op: str
    parameters: int
    alone_sqnr_db: float
    all_but_sqnr_db: float | None = None


class Diagnosis(Noun):
    """Why a quantized artifact is not good enough: layers by what they cost, worst first, and causes.

    A cause is named only where a trial without it was measured to be better.
    """

    sqnr_db: float
    layers: tuple[Sensitivity, ...] = ()
    causes: tuple[str, ...] = ()
    complete: bool = True


class Trial(Noun):
    """One attempt of `--auto`: what was changed, what it gave, whether it meets what was asked.

    `kept` are layers left in more than 8 bits. `on_front` trials are beaten by no other in accuracy,
    size and latency at once; `taken` is the one that was published or is the best there was.
    """

    changed: str
    number: int = 0
    kept: tuple[str, ...] = ()
    sqnr_db: float | None = None
    metric: str = ""
    accuracy: float | None = None
    drop: float | None = None
    size_bytes: int | None = None
    latency_p50_ms: float | None = None
    bits8_share: float | None = None
    outcome: str = ""
    reason: str = ""
    on_front: bool = False
    taken: bool = False
