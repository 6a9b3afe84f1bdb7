"""What a report says of parity and accuracy, in rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgekit.core.measured import Accuracy, Parity, TensorParity

_SHOWN_CLASSES = 3


def parity_rows(parity: Parity) -> Iterator[tuple[str, ...]]:
    """One row per output: how far off, on what samples, held to what."""
    samples = f"{parity.samples} {parity.evidence} samples"
    for output in parity.outputs:
        if math.isinf(output.max_abs_diff):
            yield ("parity", f"{output.name}: NOT ok: {output.reason}")
            continue
        state = "ok" if output.ok else f"NOT ok: {output.reason}"
        yield ("parity", f"{_distance(output)}, {samples}: {state}")
    if parity.reference_sqnr_db is not None:
        yield ("parity", f"sqnr {parity.reference_sqnr_db:.1f} dB on plain kernels")


def accuracy_rows(accuracy: Accuracy) -> Iterator[tuple[str, ...]]:
    """The metric of both sides, the drop with its interval, and the classes that lost most."""
    limit = f" ({accuracy.limit})" if accuracy.limit else ""
    values = f"{accuracy.metric} {accuracy.source:.4f} -> {accuracy.artifact:.4f}"
    yield ("accuracy", f"{values}, {accuracy.samples} samples: {accuracy.verdict}{limit}")
    if accuracy.truth:
        yield ("", f"measured against {accuracy.truth}")
    if accuracy.drop_ci95:
        low, high = accuracy.drop_ci95
        text = f"drop {accuracy.drop:.4f}, 95 % interval {low:.4f} to {high:.4f}"
        if accuracy.lost is not None and accuracy.p_value is not None:
            text += f"; {accuracy.lost} lost, {accuracy.gained} gained, p {accuracy.p_value:.2g}"
        yield ("", text)
    if accuracy.samples_needed is not None:
        yield ("", f"about {accuracy.samples_needed:,} samples would decide at these rates")
    if accuracy.agreement is not None:
        yield ("", f"same nearest neighbour for {accuracy.agreement:.1%} of the samples")
    worst = [f"{c.label} {c.source:.3g} -> {c.artifact:.3g}" for c in accuracy.per_class]
    if worst:
        more = f" and {len(worst) - _SHOWN_CLASSES} more" if len(worst) > _SHOWN_CLASSES else ""
        yield ("", f"classes that lost most: {', '.join(worst[:_SHOWN_CLASSES])}{more}")


def _distance(output: TensorParity) -> str:
    text = f"{output.name}: max abs diff {output.max_abs_diff:.2e}"
    if output.mismatches is not None:
        text = f"{output.name}: {output.mismatches} mismatches"
    if output.rule and output.atol is None and output.sqnr_db is not None:
        text += f", sqnr {output.sqnr_db:.1f} dB"
    if output.agreement is not None and (output.atol is None or output.agreement < 1):
        text += f", agreement {output.agreement:.4g}"
    if output.atol is not None and output.min_required_atol:
        text += f", passes at atol {output.min_required_atol:.1e}"
    return text
