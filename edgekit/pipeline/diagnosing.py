"""Why a quantized artifact is not good enough: what each layer costs, and what would be better."""

from __future__ import annotations

import glob
from collections.abc import Sequence

from edgekit.core.calibration import CalibrationReport
from edgekit.core.cell import CellReport
from edgekit.core.gain import Diagnosis, Sensitivity
from edgekit.core.noun import changed
from edgekit.core.recipe import LayerPrecision, Precision, Quantize, RangeMethod
from edgekit.pipeline.trials import Trials

_CLEAR_DB = 3.0
_FEW_SAMPLES = 32
_CHECKED_LAYERS = 3


def diagnose(trials: Trials, settings: Quantize, report: CellReport) -> Diagnosis:
    """Quantize each layer alone, the worst also out of the rest, and try what would take a cause away."""
    base = trials.measure((settings,), "as asked")
    if base is None or base.sqnr_db is None:
        return Diagnosis(sqnr_db=0.0, complete=False)
    layers = report.layers
    found = _scan(trials, settings, layers)
    for at, worst in enumerate(found[:_CHECKED_LAYERS]):
        trial = trials.measure((keeping(settings, [worst.layer]),), f"all but {worst.layer}")
        if trial is not None:
            found[at] = changed(worst, all_but_sqnr_db=trial.sqnr_db)
    return Diagnosis(
        sqnr_db=base.sqnr_db,
        layers=tuple(found),
        causes=tuple(_causes(trials, settings, base.sqnr_db, report)),
        complete=len(found) == len([layer for layer in layers if layer.parameters]),
    )


def keeping(settings: Quantize, layers: Sequence[str]) -> Quantize:
    """`settings` with these layers left in float too."""
    return changed(settings, exclude=(*settings.exclude, *map(glob.escape, layers)))


def only_layers(settings: Quantize, layers: Sequence[LayerPrecision]) -> Quantize:
    """`settings` for the ops that hold weights alone; what lies between them stays in float."""
    return changed(settings, op_types=tuple(sorted({layer.op for layer in layers})))


def _scan(
    trials: Trials, settings: Quantize, layers: Sequence[LayerPrecision]
) -> list[Sensitivity]:
    """Each quantized layer alone, the costliest first."""
    quantized = [layer for layer in layers if layer.precision is settings.precision]
    found = []
    for layer in quantized:
        others = [other.name for other in quantized if other.name != layer.name]
        trial = trials.measure((keeping(settings, others),), f"only {layer.name}")
        if trial is not None and trial.sqnr_db is not None:
            found.append(
                Sensitivity(
                    layer=layer.name,
                    op=layer.op,
                    parameters=layer.parameters,
                    alone_sqnr_db=trial.sqnr_db,
                )
            )
    return sorted(found, key=lambda row: row.alone_sqnr_db)


def _causes(trials: Trials, settings: Quantize, base_db: float, report: CellReport) -> list[str]:
    found = [*_data_causes(report.calibration)]
    if not settings.per_channel:
        better = _better(trials, changed(settings, per_channel=True), "per channel", base_db)
        if better:
            found.append(f"per-tensor weights: per channel is {better}")
    for method in (RangeMethod.PERCENTILE, RangeMethod.MSE):
        if settings.needs_calibration and settings.ranges is RangeMethod.MINMAX:
            better = _better(trials, changed(settings, ranges=method), f"{method} ranges", base_db)
            if better:
                found.append(f"outliers in the ranges of activations: {method} is {better}")
    if settings.precision is Precision.INT8:
        finer = changed(settings, precision=Precision.W8A16)
        better = _better(trials, finer, "activations in 16 bits", base_db)
        if better:
            found.append(f"8 bits are too few for the activations: 16 are {better}")
    if settings.needs_calibration and not settings.op_types:
        better = _better(trials, only_layers(settings, report.layers), "layers alone", base_db)
        if better:
            found.append(
                f"ops between the layers (sums, concatenations, softmax): in float they are {better}"
            )
    here_db = _worst_db(report)
    if here_db is not None and here_db < base_db - _CLEAR_DB:
        found.append(
            f"calibration samples unlike the evaluation samples: {base_db:.1f} dB on those, "
            f"{here_db:.1f} dB on these; values beyond the calibrated ranges are cut off"
        )
    reference = report.parity.reference_sqnr_db if report.parity else None
    if reference is not None and reference > base_db + _CLEAR_DB:
        found.append(
            f"saturation: the plain kernels give {reference:.1f} dB, the fast ones {base_db:.1f} dB"
        )
    return found


def _worst_db(report: CellReport) -> float | None:
    outputs = report.parity.outputs if report.parity else ()
    return min((o.sqnr_db for o in outputs if o.sqnr_db is not None), default=None)


def _data_causes(data: CalibrationReport | None) -> list[str]:
    if data is None:
        return []
    found = []
    if data.count < _FEW_SAMPLES:
        found.append(f"few samples: ranges were measured on {data.count}, take 100 or more")
    if data.random:
        found.append("random calibration data: ranges of noise are not those of real samples")
    return found


def _better(trials: Trials, settings: Quantize, label: str, base_db: float) -> str:
    """How much better these settings are, where they clearly are."""
    trial = trials.measure((settings,), label)
    if trial is None or trial.sqnr_db is None or trial.sqnr_db < base_db + _CLEAR_DB:
        return ""
    return f"{trial.sqnr_db - base_db:.1f} dB better"
