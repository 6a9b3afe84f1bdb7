"""What a pass brought against the float32 artifact, in figures and in one honest sentence."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.artifact import Artifact
from edgekit.core.cell import CellReport
from edgekit.core.gain import Gain
from edgekit.core.measured import RunResult
from edgekit.core.noun import changed
from edgekit.core.recipe import LayerPrecision, Precision
from edgekit.parity.latency import latency_of

_STORED_IN_8_BITS = frozenset(
    {Precision.W8, Precision.DYNAMIC, Precision.INT8, Precision.W8A16, Precision.W4}
)
_NOISE = 0.1  # medians of two runs on one machine differ by less than this for no reason


def gain_of(
    report: CellReport,
    baseline: Artifact,
    *,
    baseline_compressed: int | None,
    run: RunResult | None,
    layers: Sequence[LayerPrecision],
    features: Sequence[str],
) -> Gain | None:
    """Sizes, memory and p50 latency of a report against `run` of `baseline`; `layers` are the artifact's."""
    if report.artifact is None:
        return None
    timing = latency_of(run.timing, None) if run and run.timing else None
    figures = Gain(
        baseline=f"float32 {baseline.format}",
        baseline_size_bytes=baseline.size_bytes,
        size_ratio=report.artifact.size_bytes / baseline.size_bytes,
        compressed_ratio=_ratio(report.artifact.size_compressed_bytes, baseline_compressed),
        in_memory_ratio=_ratio(
            report.memory.model_rss_bytes if report.memory else None,
            run.model_rss_bytes if run else None,
        ),
        latency_ratio=_ratio(
            report.latency.p50_ms if report.latency else None, timing.p50_ms if timing else None
        ),
        baseline_p50_ms=timing.p50_ms if timing else None,
        baseline_delegated_share=run.placement.share if run and run.placement else None,
        bits8_share=bits8_share(layers),
    )
    return changed(figures, summary=_summary(figures, layers, features))


def _summary(gain: Gain, layers: Sequence[LayerPrecision], features: Sequence[str]) -> str:
    parts = [f"{gain.size_ratio:.0%} of the size"]
    if gain.latency_ratio is not None:
        parts.append(f"{gain.latency_ratio:.0%} of the time")
    reasons = _no_gain(gain, layers, features)
    return "; ".join([f"{' and '.join(parts)} of {gain.baseline}", *reasons])


def bits8_share(layers: Sequence[LayerPrecision]) -> float | None:
    """Share of the weights that are stored in 8 bits or less, 0..1; None where none are known."""
    total = sum(layer.parameters for layer in layers)
    stored = sum(layer.parameters for layer in layers if layer.precision in _STORED_IN_8_BITS)
    return stored / total if total else None


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _no_gain(gain: Gain, layers: Sequence[LayerPrecision], features: Sequence[str]) -> list[str]:
    """One clause for every figure that did not get better, with the likeliest cause."""
    found = []
    if gain.size_ratio > 1 - _NOISE / 2:
        found.append(
            "no gain in size, because the weights are a small part of this file: scales and "
            "conversion nodes outweigh what they save"
        )
    if gain.latency_ratio is not None and gain.latency_ratio > 1 - _NOISE:
        found.append(f"no gain in latency here, because {_slow(layers, features)}")
    return found


def _slow(layers: Sequence[LayerPrecision], features: Sequence[str]) -> str:
    kinds = {layer.precision for layer in layers} - {Precision.FP32}
    if kinds & {Precision.FP16, Precision.BF16}:
        return "this processor's kernels turn 16-bit floats back into float32"
    if kinds <= {Precision.W8, Precision.W4}:
        return "the weights are turned back into float32 before they are used"
    if kinds & {Precision.W8A16}:
        return "there are no fast kernels for 16-bit activations on this processor"
    if not {"vnni", "dotprod", "i8mm"} & set(features):
        return (
            "this processor has no 8-bit dot-product instructions (VNNI, dotprod); it says nothing "
            "about a device that has them"
        )
    return "the model is too small, or converting between float and 8 bits costs what it saves"
