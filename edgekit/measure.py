"""The warm-up and repeat loop: raw nanoseconds on a named clock, no statistics."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from edgekit.core.measured import Clock, Timing

MAX_WARMUP_S = 2.0
MAX_TIME_S = 10.0
_STABLE_RATIO = 0.02


def measure(
    call: Callable[[], object],
    *,
    num_runs: int,
    min_time_s: float,
    warmup_runs: int | None = None,
    threads: int,
    rows: int,
) -> Timing:
    """Time `call` alone, again and again.

    Warms up `warmup_runs` times, or until the running median moves by less than 2 % (at most 2 s).
    Then at least `num_runs` calls and `min_time_s` seconds, but no more than 10 s: a slow call
    gives fewer runs, and the count says so.
    """
    first_ns = _once(call)
    warmed = _warm_up(call, warmup_runs)
    runs: list[int] = []
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < MAX_TIME_S or not runs:
        if len(runs) >= num_runs and elapsed >= min_time_s:
            break
        runs.append(_once(call))
    return Timing(
        clock=Clock.HOST,
        first_ns=first_ns,
        runs_ns=tuple(runs),
        warmup_runs=warmed,
        threads=threads,
        rows=rows,
    )


def _warm_up(call: Callable[[], object], wanted: int | None) -> int:
    if wanted is not None:
        for _ in range(wanted):
            _once(call)
        return wanted
    runs: list[int] = []
    start = time.perf_counter()
    while time.perf_counter() - start < MAX_WARMUP_S:
        before = statistics.median(runs) if len(runs) >= 5 else None
        runs.extend(_once(call) for _ in range(5))
        if before and abs(statistics.median(runs) - before) <= _STABLE_RATIO * before:
            break
    return len(runs)


def _once(call: Callable[[], object]) -> int:
    start = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - start
