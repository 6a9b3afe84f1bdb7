"""What a report says of its recipe, in rows: what was tried, what was gained, what was mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from edgekit.core.cell import CellReport
from edgekit.core.gain import Rival, Trial

_SHOWN_LAYERS = 3
_SHOWN_TRIALS = 12


def recipe_rows(report: CellReport, *, verbose: bool) -> Iterator[tuple[str, ...]]:
    """Rows for `layers`, `calibration`, `rivals`, `gain`, `diagnosis` and `trials`, where there are any."""
    if report.layers:
        counts = Counter(layer.precision.value for layer in report.layers)
        yield ("layers", ", ".join(f"{count} in {name}" for name, count in counts.most_common()))
    if report.calibration:
        data = report.calibration
        kind = "RANDOM, " if data.random else ""
        yield ("calibration", f"{data.origin}: {kind}{data.count} samples")
    for rival in report.rivals:
        yield ("tried", _rival(rival))
    if report.gain:
        yield ("gain", report.gain.summary)
        yield from _gain_details(report)
    yield from _diagnosis(report)
    shown = report.trials if verbose else [t for t in report.trials if t.outcome or t.taken]
    for trial in list(shown)[:_SHOWN_TRIALS] if not verbose else shown:
        yield ("trial", _trial(trial))


def _rival(rival: Rival) -> str:
    way = " -> ".join(rival.backends)
    if rival.sqnr_db is None:
        return f"{way}: {rival.reason}"
    size = f", {rival.size_bytes:,} bytes" if rival.size_bytes else ""
    taken = ": taken" if rival.taken else ""
    return f"{way}: {rival.sqnr_db:.1f} dB on {rival.samples} samples{size}{taken}"


def _gain_details(report: CellReport) -> Iterator[tuple[str, ...]]:
    gain, artifact = report.gain, report.artifact
    if gain is None or artifact is None:
        return
    parts = [f"raw {gain.size_ratio:.2f}"]
    if gain.compressed_ratio is not None:
        parts.append(f"compressed {gain.compressed_ratio:.2f}")
    if gain.in_memory_ratio is not None:
        parts.append(f"in memory {gain.in_memory_ratio:.2f}")
    if gain.latency_ratio is not None:
        parts.append(f"p50 {gain.latency_ratio:.2f}")
    yield ("against", f"{gain.baseline}: {', '.join(parts)}")
    if gain.baseline_delegated_share is not None and report.placement:
        yield (
            "delegated",
            f"{report.placement.share:.0%} of the nodes, {gain.baseline_delegated_share:.0%} in float32",
        )


def _diagnosis(report: CellReport) -> Iterator[tuple[str, ...]]:
    if not report.diagnosis:
        return
    for row in report.diagnosis.layers[:_SHOWN_LAYERS]:
        rest = "" if row.all_but_sqnr_db is None else f", all but it {row.all_but_sqnr_db:.1f} dB"
        yield ("costs", f"{row.layer} ({row.op}): alone {row.alone_sqnr_db:.1f} dB{rest}")
    for cause in report.diagnosis.causes:
        yield ("cause", cause)


def _trial(trial: Trial) -> str:
    parts = [] if trial.sqnr_db is None else [f"{trial.sqnr_db:.1f} dB"]
    parts += [] if trial.accuracy is None else [f"{trial.metric} {trial.accuracy:.4f}"]
    parts += [] if trial.size_bytes is None else [f"{trial.size_bytes:,} bytes"]
    parts += [] if trial.latency_p50_ms is None else [f"p50 {trial.latency_p50_ms:.3f} ms"]
    parts += [] if trial.bits8_share is None else [f"{trial.bits8_share:.0%} in 8 bits"]
    marks = (": taken" if trial.taken else "") + (" (front)" if trial.on_front else "")
    outcome = f" {trial.outcome}" if trial.outcome else ""
    return f"{trial.changed}: {', '.join(parts)}{outcome}{marks}"
