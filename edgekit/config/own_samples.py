"""Samples from the user's own generator. Runs in a child: the generator is the user's code."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from edgekit.config.row_files import RowFile
from edgekit.config.table import is_label
from edgekit.core.arrays import Arrays
from edgekit.core.calibration import GeneratedSamples
from edgekit.core.jobs import SamplesJob
from edgekit.core.signature import TensorSpec
from edgekit.errors import ConfigError


def write(job: SamplesJob) -> GeneratedSamples:
    """Call the function without arguments and write what it yields, one item in memory at a time.

    An item is a dict of arrays by input name (`y` for labels), a list or tuple in the order of the
    inputs, or one array; a single sample, or a batch whose first axis counts samples.
    """
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, RowFile] = {}
    count, more = 0, False
    with contextlib.ExitStack() as stack:
        for item in _items(job):
            if count >= job.limit:
                more = True
                break
            rows = _rows(item, job)
            for name, array in rows.items():
                if name not in files and count == 0:
                    path = folder / f"generated-{len(files)}.npy"
                    files[name] = stack.enter_context(RowFile(path, array.shape[1:], array.dtype))
                _append(files, name, array[: job.limit - count], job, count)
            more = more or count + len(next(iter(rows.values()))) > job.limit
            count = _counted(files, job)
    if not count:
        raise ConfigError(f"{job.function} gave no samples", fix="yield at least one")
    return GeneratedSamples(
        files={name: str(file.path) for name, file in files.items()}, count=count, more=more
    )


def _items(job: SamplesJob) -> Iterable[object]:
    module, _, name = job.function.partition(":")
    if job.module_path:
        sys.path.insert(0, job.module_path)
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"--calibration-data {job.function}: {error}",
            fix="--calibration-path names the folder of the module",
        ) from error
    items = function()
    if not isinstance(items, Iterable):
        raise ConfigError(
            f"{job.function} gave {type(items).__name__}, which cannot be iterated",
            fix="yield samples, or return a list of them",
        )
    return items


def _rows(item: object, job: SamplesJob) -> Arrays:
    """One item as arrays whose first axis counts samples."""
    arrays = _named(item, job)
    inputs = {spec.name: spec for spec in job.inputs}
    only = job.inputs[0] if len(job.inputs) == 1 else None
    single = False
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" and not is_label(name):
            raise ConfigError(
                f"{job.function} gave {array.dtype} for {name!r}", fix="give arrays of numbers"
            )
        spec = inputs.get(name, only)
        if spec is not None and not is_label(name):
            single = single or _is_sample(array.ndim, spec)
    rows = {name: array[np.newaxis] if single else array for name, array in arrays.items()}
    counts = {name: array.shape[0] if array.ndim else 0 for name, array in rows.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise ConfigError(
            f"{job.function} gave an item whose arrays have {counts} rows",
            fix="give single samples, or batches of equal length",
        )
    return rows


def _named(item: object, job: SamplesJob) -> Arrays:
    if isinstance(item, Mapping):
        return {str(name): np.asarray(value) for name, value in item.items()}
    names = [spec.name for spec in job.inputs]
    values = list(item) if isinstance(item, list | tuple) else [item]
    if len(values) != len(names):
        raise ConfigError(
            f"{job.function} gave {len(values)} arrays, the model takes {len(names)}",
            fix=f"give a dict with {', '.join(names)}, and `y` for labels",
        )
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def _is_sample(ndim: int, spec: TensorSpec) -> bool:
    """Whether an array of `ndim` axes lacks the batch axis of `spec`."""
    return spec.shape is not None and ndim == len(spec.shape) - 1


def _append(
    files: Mapping[str, RowFile], name: str, rows: np.ndarray, job: SamplesJob, count: int
) -> None:
    try:
        files[name].append(rows)
    except KeyError:
        raise ConfigError(
            f"{job.function}: sample {count} has an array {name!r} that the first had not",
            fix="give the same arrays for every sample",
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"{job.function}: sample {count} has {error} for {name!r}",
            fix="one shape and dtype for all samples of an input",
        ) from error


def _counted(files: Mapping[str, RowFile], job: SamplesJob) -> int:
    counts = {name: file.count for name, file in files.items()}
    if len(set(counts.values())) != 1:
        raise ConfigError(
            f"{job.function} left out an array: {counts} rows so far",
            fix="give the same arrays for every sample",
        )
    return next(iter(counts.values()))
