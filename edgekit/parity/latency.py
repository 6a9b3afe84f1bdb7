"""Percentiles of raw timings."""

from __future__ import annotations

import numpy as np

from edgekit.core.cell import Latency
from edgekit.core.measured import Timing

_NS_PER_MS = 1e6


def latency_of(timing: Timing, source: Timing | None) -> Latency:
    """Milliseconds per call; percentiles by linear interpolation between runs."""
    runs = np.array(timing.runs_ns) / _NS_PER_MS
    p50, p90, p99 = np.percentile(runs, (50, 90, 99))
    return Latency(
        clock=timing.clock,
        first_ms=timing.first_ns / _NS_PER_MS,
        min_ms=float(runs.min()),
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        runs=len(runs),
        warmup_runs=timing.warmup_runs,
        threads=timing.threads,
        rows=timing.rows,
        source_p50_ms=float(np.median(source.runs_ns)) / _NS_PER_MS if source else None,
        source_threads=source.threads if source else None,
    )
