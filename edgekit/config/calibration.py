"""From `--calibration-data` to samples on disk, looked over, in the shape and dtype of the model."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgekit.config.advice import advice, check_worth
from edgekit.config.calibration_source import RANDOM, Generate, opened, wanted
from edgekit.config.fitting import cast, cast_note, check_shape, matched
from edgekit.config.hygiene import Hygiene, evaluated, is_magnitude, outside_share
from edgekit.config.overlap import Overlap
from edgekit.config.row_files import RowFile
from edgekit.config.table import LABEL, Cut, Selection, Table, is_label
from edgekit.core.arrays import Array, Arrays
from edgekit.core.calibration import Calibration, CalibrationReport
from edgekit.core.noun import changed
from edgekit.core.request import CalibrationRequest
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError, StepError, UnsupportedError

_BLOCK_BYTES = 1 << 20
_MOST_BLOCK_ROWS = 1024


def stage_calibration(
    request: CalibrationRequest,
    signature: Signature,
    *,
    folder: Path,
    evaluation: Mapping[str, Array] | None = None,
    generate: Generate | None = None,
) -> tuple[Calibration, CalibrationReport]:
    """Write one `.npy` per input into `folder`, a block at a time, and say what the samples are worth.

    `evaluation` holds the evaluation inputs by name, in the model's dtypes. Raises ConfigError for
    data that does not fit the model, NaN and infinity, samples that are in the evaluation data too
    (unless allowed) and data that is scaled differently; UntrustedError for a generator without trust.
    """
    _check_numbers(signature)
    folder.mkdir(parents=True, exist_ok=True)
    table = opened(request, signature, folder, generate)
    count, notes = wanted(request, table)
    table = dataclasses.replace(table, notes=(*table.notes, *notes))
    staging = _Staging(table, signature, evaluation=evaluation or {}, count=count)
    staged = staging.write(folder)
    return staged, staging.report(request)


class _Staging:
    """One pass over a table: every block is fitted, looked over and written."""

    def __init__(
        self, table: Table, signature: Signature, *, evaluation: Mapping[str, Array], count: int
    ) -> None:
        self.table = table
        self.signature = signature
        self.inputs = [name for name in table.series if not is_label(name)]
        self.names = matched(self.inputs, signature, table.origin)
        for spec in signature.inputs:
            series = table.series[self.names[spec.name]]
            shape = (series.count, *series.shape)
            check_shape(shape, spec, table.origin, shape_fix=table.shape_fix)
        self.evaluation = {
            spec.name: evaluation[spec.name].astype(spec.dtype, copy=False)
            for spec in signature.inputs
            if spec.name in evaluation
        }
        self.count = count
        self.evaluated = {n: evaluated(a) for n, a in self.evaluation.items() if is_magnitude(a)}
        self.hygiene = Hygiene(
            [spec.name for spec in signature.inputs],
            count=count,
            known={name: spread.range for name, spread in self.evaluated.items()},
        )
        self.overlap = Overlap(self.evaluation) if self.evaluation else None
        self.exact: dict[str, bool] = {}

    def write(self, folder: Path) -> Calibration:
        """The staged samples. Raises StepError where the disk cannot hold them."""
        specs = {spec.name: spec for spec in self.signature.inputs}
        row_bytes = sum(
            int(np.prod(self.table.series[self.names[name]].shape)) * np.dtype(spec.dtype).itemsize
            for name, spec in specs.items()
        )
        _check_space(folder, self.count * row_bytes)
        rows = min(max(_BLOCK_BYTES // max(row_bytes, 1), 1), _MOST_BLOCK_ROWS)
        selection = Selection(available=self.table.count, count=self.count, rows=rows)
        files: dict[str, RowFile] = {}
        with contextlib.ExitStack() as stack:
            for cut, block in zip(selection, self.table.blocks(selection), strict=True):
                fitted = self._fitted(block, cut)
                self._look_over(fitted, block, cut)
                labels = {n: a for n, a in block.items() if is_label(n) and a.dtype.kind in "fiub"}
                for name, array in {**fitted, **labels}.items():
                    if name not in files:
                        path = (
                            folder / f"{'labels' if name in labels else 'input'}-{len(files)}.npy"
                        )
                        files[name] = stack.enter_context(
                            RowFile(path, array.shape[1:], array.dtype)
                        )
                    with _disk(folder):
                        files[name].append(array)
        return _calibration(files, specs, self.count)

    def report(self, request: CalibrationRequest) -> CalibrationReport:
        """What was found out. Raises ConfigError where the samples would do harm."""
        random = request.path == RANDOM
        overlap = 0 if random or self.overlap is None else self.overlap.count
        if self.overlap and overlap and not request.allow_overlap:
            raise _overlapping(self.table, self.overlap)
        ranges = {name: spread.range for name, spread in self.hygiene.spreads.items()}
        compared = {name: ranges[name] for name in self.evaluated}
        report = CalibrationReport(
            origin=request.path,
            count=self.count,
            available=self.table.count,
            random=random,
            classes=self.hygiene.classes(self.table.classes),
            duplicates=self.hygiene.duplicates,
            overlap=overlap,
            input_ranges=ranges,
            constant_channels={
                name: spread.constant_channels
                for name, spread in self.hygiene.spreads.items()
                if spread.constant_channels
            },
            outside_share=outside_share(self.evaluation, compared) if compared else None,
            beyond_share=self.hygiene.beyond_share,
            half_range_ratio=self.hygiene.half_range_ratio(),
        )
        doubts = check_worth(report, self.hygiene, self.evaluated)
        notes = (*self.table.notes, *self._cast_notes(), *doubts, *advice(report, self.hygiene))
        return changed(report, notes=notes)

    def _fitted(self, block: Arrays, cut: Cut) -> Arrays:
        """The inputs of one block in the model's dtypes, all of them finite."""
        fitted: Arrays = {}
        for spec in self.signature.inputs:
            array, exact = cast(block[self.names[spec.name]], spec, self.table.origin)
            self.exact[spec.name] = self.exact.get(spec.name, True) and exact
            finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
            if not finite.all():
                at = int(np.argmin(finite))
                raise ConfigError(
                    f"{self.table.origin}: {self.table.sample(int(cut[at]))} of input {spec.name!r} "
                    f"holds {_odd_value(array[at])}",
                    fix="mend the sample or take it out: one such value spoils every range after it",
                )
            fitted[spec.name] = array
        return fitted

    def _look_over(self, fitted: Arrays, block: Arrays, cut: Cut) -> None:
        self.hygiene.add(fitted)
        if LABEL in block:
            self.hygiene.add_labels(block[LABEL])
        if self.overlap:
            self.overlap.add(fitted, cut)

    def _cast_notes(self) -> Iterator[str]:
        for spec in self.signature.inputs:
            dtype = self.table.series[self.names[spec.name]].dtype
            if dtype != np.dtype(spec.dtype):
                yield f"calibration: {cast_note(spec, dtype, exact=self.exact[spec.name])}"


def _calibration(
    files: Mapping[str, RowFile], specs: Mapping[str, TensorSpec], count: int
) -> Calibration:
    sha256 = hashlib.sha256()
    for name, file in files.items():
        sha256.update(f"{name}\0{file.dtype}\0{file.shape}\0{file.sha256.hexdigest()}\n".encode())
    return Calibration(
        files={spec.origin: str(files[name].path) for name, spec in specs.items()},
        count=count,
        sha256=sha256.hexdigest(),
        labels={
            name.removeprefix(LABEL).removeprefix("_"): str(file.path)
            for name, file in files.items()
            if name not in specs
        },
    )


def _overlapping(table: Table, overlap: Overlap) -> ConfigError:
    pairs = ", ".join(
        f"{table.sample(row)} is evaluation sample {twin}" for row, twin in overlap.pairs
    )
    more = ", ..." if overlap.count > len(overlap.pairs) else ""
    return ConfigError(
        f"{table.origin}: {overlap.count} sample(s) are in the evaluation data too: {pairs}{more}",
        fix="take them out of one of the two, or say --allow-overlap: accuracy on samples that "
        "the ranges were taken from looks better than it is",
    )


def _check_numbers(signature: Signature) -> None:
    for spec in signature.inputs:
        try:
            number = np.dtype(spec.dtype).kind in "fiub"
        except TypeError:
            number = False
        if not number:
            raise UnsupportedError(
                f"input {spec.name!r} is {spec.dtype}: ranges are learned from numbers",
                fix="use a precision that needs no calibration: fp16, dynamic or w8",
            )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StepError(
            f"the calibration samples take {needed:,} bytes, {folder} has {free:,} free",
            fix="use fewer (--num-calibration-samples) or set TMPDIR to a larger disk",
        )


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StepError(
            f"calibration samples cannot be written to {folder}: {error}",
            fix="use fewer (--num-calibration-samples) or set TMPDIR to a larger disk",
        ) from error


def _odd_value(row: Array) -> str:
    return "NaN" if np.isnan(row).any() else "infinity"
