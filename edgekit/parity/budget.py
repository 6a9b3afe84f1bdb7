"""Figures against the limits of a target."""

from __future__ import annotations

from edgekit.core.cell import BudgetLine, Latency, Memory, ReportedFile
from edgekit.core.measured import Placement
from edgekit.core.target import Budget


def check_budget(
    budget: Budget,
    *,
    artifact: ReportedFile,
    latency: Latency | None,
    memory: Memory | None,
    placement: Placement | None,
) -> tuple[BudgetLine, ...]:
    """One line per limit that is set. A limit whose figure was not measured is not met."""
    p90_ms = latency.p90_ms if latency else None
    rss_bytes = memory.peak_rss_bytes if memory else None
    share = placement.share if placement else None
    rows: tuple[tuple[str, float | None, float | None, bool], ...] = (
        ("size_bytes", budget.max_size_bytes, artifact.size_bytes, False),
        ("latency_p90_ms", budget.max_latency_p90_ms, p90_ms, False),
        ("peak_rss_bytes", budget.max_peak_rss_bytes, rss_bytes, False),
        ("delegated_share", budget.min_delegated_share, share, True),
    )
    return tuple(
        BudgetLine(name=name, limit=limit, actual=actual, ok=_met(limit, actual, at_least=at_least))
        for name, limit, actual, at_least in rows
        if limit is not None
    )


def _met(limit: float, actual: float | None, *, at_least: bool) -> bool:
    if actual is None:
        return False
    return actual >= limit if at_least else actual <= limit
