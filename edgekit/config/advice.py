"""What to say, and when to say no, about samples that ranges are to be learned from."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.config.hygiene import Hygiene, Spread
from edgekit.core.calibration import CalibrationReport
from edgekit.errors import ConfigError

FEW_SAMPLES = 32
"""Fewer rarely hold the extremes of every channel; 100 to 500 are usual."""

_CLIPPED_FACTOR = 8.0
"""Evaluation values this many times too large lose their upper three bits: no rounding repairs it."""

_WASTED_FACTOR = 64.0
"""Calibration values this many times too large leave two of eight bits: as good as nothing."""

_CLIPPED_SHARE = 0.25
_NOTED_SHARE = 0.01
_STABLE = 0.8
_REPEATED_SHARE = 0.1
_ONE_CLASS_SHARE = 0.9
_UNRELATED = 0.02
_NAMED = 8


def check_worth(
    report: CalibrationReport, hygiene: Hygiene, evaluation: Mapping[str, Spread]
) -> list[str]:
    """Doubts about the scale of the samples; ConfigError where the answer is known to be ruined.

    Refused: values that never change; evaluation values `_CLIPPED_FACTOR` times as large, or
    `_WASTED_FACTOR` times smaller (both the largest and the typical one); a quarter of all
    evaluation values outside the range. Data called `random` is only doubted: it was asked for.
    """
    if all(low == high for low, high in report.input_ranges.values()):
        raise ConfigError(
            f"{report.origin}: no input ever changes its value ({_ranges(report)})",
            fix="give real samples: there is nothing to learn ranges from",
        )
    pairs = {name: (hygiene.spreads[name], spread) for name, spread in evaluation.items()}
    doubts = [doubt for name, pair in pairs.items() if (doubt := _scale_doubt(name, *pair))]
    share = report.outside_share or 0.0
    if share > _CLIPPED_SHARE and not doubts:
        doubts.append(
            f"{share:.0%} of the evaluation values lie outside the calibrated range "
            f"({_ranges(report)}) and would be clipped"
        )
    beyond = report.beyond_share or 0.0
    if beyond > _CLIPPED_SHARE and not doubts:
        doubts.append(
            f"{beyond:.0%} of the calibration values lie outside the range of the evaluation data "
            f"({_ranges(report)}): are both prepared in the same way?"
        )
    ruined = share > _CLIPPED_SHARE or any(_is_ruined(*pair) for pair in pairs.values())
    if ruined and not report.random:
        raise ConfigError(
            f"{report.origin}: {'; '.join(doubts)}",
            fix="prepare calibration and evaluation data in the same way: scale, mean, std, layout",
        )
    return doubts


def advice(report: CalibrationReport, hygiene: Hygiene) -> list[str]:
    """Plain words on what the report found; nothing where all is well."""
    notes = _sample_notes(report) + _class_notes(report)
    if not report.random:
        notes += [note for name, s in hygiene.spreads.items() for note in _input_notes(name, s)]
    share = report.outside_share or 0.0
    if _NOTED_SHARE < share <= _CLIPPED_SHARE:
        notes.append(
            f"{share:.1%} of the evaluation values lie outside the calibrated range: "
            "give samples that hold the extremes"
        )
    return notes


def _sample_notes(report: CalibrationReport) -> list[str]:
    if report.random:
        return ["calibrated on random numbers: every range is made up; give real samples"]
    notes = []
    if report.count < FEW_SAMPLES:
        notes.append(f"{report.count} calibration sample(s) are few: give 100 or more")
    if report.duplicates > _REPEATED_SHARE * report.count:
        notes.append(f"{report.duplicates} of {report.count} calibration samples repeat others")
    if report.overlap:
        notes.append(
            f"{report.overlap} calibration sample(s) are in the evaluation data too: "
            "its accuracy looks better than it is"
        )
    ratio = report.half_range_ratio
    if ratio is not None and ratio < _STABLE:
        notes.append(
            f"the two halves of the calibration data have {ratio:.0%} of their range in common: "
            "ranges depend on which samples there are; give more"
        )
    return notes


def _class_notes(report: CalibrationReport) -> list[str]:
    if not report.classes:
        return []
    notes = []
    absent = [name for name, count in report.classes.items() if not count]
    if all(name.isdecimal() for name in report.classes):
        numbers = {int(name) for name in report.classes}
        absent += [str(n) for n in range(max(numbers)) if n not in numbers][: _NAMED + 1]
    if absent:
        notes.append(f"no calibration sample of class {_few(absent)}")
    name, most = max(report.classes.items(), key=lambda item: item[1])
    if report.count >= FEW_SAMPLES and most > _ONE_CLASS_SHARE * report.count:
        notes.append(f"{most} of {report.count} calibration samples are of class {name}")
    return notes


def _input_notes(name: str, spread: Spread) -> list[str]:
    notes = []
    constant = spread.constant_channels
    if constant and not spread.counts_ids:
        notes.append(
            f"input {name}: {len(constant)} of {spread.channels} channel(s) never change "
            f"({_few([str(n) for n in constant])}): what depends on them is not calibrated"
        )
    likeness = spread.neighbours
    if likeness is not None and abs(likeness) < _UNRELATED and not spread.counts_ids:
        notes.append(
            f"input {name}: neighbouring values are as unlike as those of random noise: "
            "are these real samples?"
        )
    return notes


def _scale_doubt(name: str, calibrated: Spread, evaluation: Spread) -> str | None:
    factor = max(_times(evaluation, calibrated), _times(calibrated, evaluation))
    if factor < _CLIPPED_FACTOR:
        return None
    return (
        f"input {name}: calibration values reach {calibrated.reach:.4g}, evaluation values "
        f"{evaluation.reach:.4g}: the two look scaled differently"
    )


def _is_ruined(calibrated: Spread, evaluation: Spread) -> bool:
    return (
        _times(evaluation, calibrated) >= _CLIPPED_FACTOR
        or _times(calibrated, evaluation) >= _WASTED_FACTOR
    )


def _times(larger: Spread, smaller: Spread) -> float:
    """How many times larger both the largest and the typical magnitude are."""
    if not smaller.reach or not smaller.magnitude:
        return 1.0
    return min(larger.reach / smaller.reach, larger.magnitude / smaller.magnitude)


def _ranges(report: CalibrationReport) -> str:
    return ", ".join(
        f"{name}: {low:.4g} to {high:.4g}" for name, (low, high) in report.input_ranges.items()
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
