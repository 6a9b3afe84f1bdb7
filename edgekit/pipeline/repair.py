"""Mend a recipe that misses its verdict: the smallest change that holds the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edgekit.core.gain import Diagnosis
from edgekit.core.noun import changed
from edgekit.core.recipe import (
    Equalize,
    LayerPrecision,
    LayerRule,
    Precision,
    Quantize,
    RangeMethod,
)
from edgekit.errors import ExitCode
from edgekit.pipeline.diagnosing import keeping, only_layers
from edgekit.pipeline.trials import Passes, Proven, Trials

Kept = Sequence[str]
Form = Callable[[Kept], Passes]


def repair(
    trials: Trials, settings: Quantize, diagnosis: Diagnosis, layers: Sequence[LayerPrecision]
) -> Proven | None:
    """The smallest artifact that passes, else the best there was; None where no attempt was proven.

    Whole recipes first (per channel, range methods, equalization), for they keep every layer in 8
    bits; then layers are taken out, costliest first, as few as will do: first in ways that keep 8-bit
    weights, then in 16-bit floats, then in float32.
    """
    proven: list[Proven] = []

    def attempt(passes: Passes, label: str, kept: Kept = ()) -> bool:
        found = trials.prove(passes, label, kept=tuple(kept))
        if found is not None:
            proven.append(found)
        return found is not None and _holds(found)

    bases: list[Passes] = [(settings,)]
    for label, passes in _whole(settings, layers):
        if attempt(passes, label):
            return _best(proven)
        bases.append(passes)
    ranked = [row.layer for row in diagnosis.layers]
    for base in dict.fromkeys((_nearest(trials, bases), (settings,))):
        for label, form in _forms(base):

            def holds(kept: Kept, label: str = label, form: Form = form) -> bool:
                return attempt(form(kept), f"{len(kept)} layers {label}", kept)

            if trials.is_over or (ranked and fewest(holds, ranked)):
                return _best(proven)
    return _best(proven)


def _holds(found: Proven) -> bool:
    return found.report.exit_code is ExitCode.PASSED


def _best(proven: Sequence[Proven]) -> Proven | None:
    """The smallest that passes; else the most accurate, and of equal ones the nearest to the source."""
    passing = [found for found in proven if _holds(found)]
    if passing:
        return min(passing, key=lambda found: found.trial.size_bytes or 0)
    return max(
        proven,
        key=lambda found: (-(found.trial.drop or 0.0), found.trial.sqnr_db or 0.0),
        default=None,
    )


def _nearest(trials: Trials, bases: Sequence[Passes]) -> Passes:
    """Of whole recipes, the one nearest to the source."""

    def sqnr_db(base: Passes) -> float:
        trial = trials.measure(base, "again")
        return trial.sqnr_db if trial and trial.sqnr_db is not None else float("-inf")

    return max(bases, key=sqnr_db)


def _whole(settings: Quantize, layers: Sequence[LayerPrecision]) -> Iterator[tuple[str, Passes]]:
    wide = changed(settings, per_channel=True)
    if not settings.per_channel:
        yield "per channel", (wide,)
    if settings.needs_calibration:
        for method in (RangeMethod.PERCENTILE, RangeMethod.MSE, RangeMethod.ENTROPY):
            if method is not settings.ranges:
                yield f"{method} ranges", (changed(wide, ranges=method),)
    yield "equalized", (Equalize(), wide)
    if settings.needs_calibration and not settings.op_types:
        yield "layers alone", (only_layers(wide, layers),)


def _forms(base: Passes) -> Iterator[tuple[str, Form]]:
    """Ways to take layers out of the last pass of `base`, the one that keeps most bits down first."""
    *before, last = base
    if not isinstance(last, Quantize):
        return

    def ruled(precision: Precision) -> Form:
        return lambda kept: (
            *before,
            changed(
                last,
                rules=(
                    *(LayerRule(layers=rule, precision=precision) for rule in _globs(kept)),
                    *last.rules,
                ),
            ),
        )

    for precision in (Precision.W8, Precision.DYNAMIC, Precision.W8A16, Precision.FP16):
        yield f"in {precision}", ruled(precision)
    weights = Quantize(precision=Precision.W8, exclude=last.exclude)
    yield "with 8-bit weights alone", lambda kept: (*before, keeping(last, kept), weights)
    yield "in fp32", lambda kept: (*before, keeping(last, kept))


def _globs(kept: Kept) -> tuple[str, ...]:
    return keeping(Quantize(precision=Precision.FP32), kept).exclude


def fewest(holds: Callable[[Kept], bool], ranked: Kept) -> bool:
    """Find the fewest of the first layers of `ranked` for which `holds`, by doubling then bisection."""
    low, high = 0, 1
    while not holds(ranked[:high]):
        if high >= len(ranked):
            return False
        low, high = high, min(high * 2, len(ranked))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(ranked[:middle]) else (middle, high)
    return True
