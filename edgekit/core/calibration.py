"""Calibration samples on disk, and what was found out about them."""

from __future__ import annotations

from edgekit.core.noun import Noun


class Calibration(Noun):
    """Samples as raw `.npy` files, one per input of the source, to be read row by row (mmap).

    `files` maps the source's input names to paths; arrays have `count` rows, in the source's dtype.
    `labels` maps output names to paths, `""` where the data just says `y`; for fine-tuning.
    """

    files: dict[str, str]
    count: int
    sha256: str
    labels: dict[str, str] = {}


class GeneratedSamples(Noun):
    """What a user's generator gave: one `.npy` per array, all of `count` rows; `more` were left."""

    files: dict[str, str]
    count: int
    more: bool = False


class CalibrationReport(Noun):
    """What the calibration data is worth. Counts are of samples.

    `count` were used of `available`. `classes` is per label where the data has labels. `duplicates`
    repeat an earlier sample bit for bit, `overlap` occur in the evaluation data too.
    `constant_channels` are indices of the last (or channel) axis that never change. `outside_share`
    is the share of evaluation values outside the calibrated input range, `beyond_share` that of
    calibration values outside the evaluation range. `half_range_ratio` is what the input ranges of
    the first and the second half have in common, as a share of both: 1 is stable.
    """

    origin: str
    count: int
    available: int | None = None
    random: bool = False
    classes: dict[str, int] | None = None
    duplicates: int = 0
    overlap: int = 0
    input_ranges: dict[str, tuple[float, float]] = {}
    constant_channels: dict[str, tuple[int, ...]] = {}
    outside_share: float | None = None
    beyond_share: float | None = None
    half_range_ratio: float | None = None
    notes: tuple[str, ...] = ()
