"""Where calibration samples come from: data on disk, the user's own generator, or chance."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekit.config.array_files import npy_series
from edgekit.config.feeds import synthetic
from edgekit.config.samples import open_table
from edgekit.config.table import Selection, Table, in_memory, joined
from edgekit.core.arrays import Arrays
from edgekit.core.calibration import GeneratedSamples
from edgekit.core.jobs import SamplesJob
from edgekit.core.noun import changed
from edgekit.core.request import CalibrationRequest
from edgekit.core.signature import Signature
from edgekit.errors import ConfigError, UnsupportedError, UntrustedError

RANDOM = "random"
_RANDOM_ROWS = 128
_MOST_GENERATED = 10_000
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

Generate = Callable[[SamplesJob], GeneratedSamples]
"""Runs `own_samples.write` in a child."""


def opened(
    request: CalibrationRequest, signature: Signature, folder: Path, generate: Generate | None
) -> Table:
    """The samples of `request.path`, unread; those of a generator are written to `folder` first.

    The word `random` is chance, whatever lies in the folder: a file of that name is `./random`.
    """
    if request.path == RANDOM:
        return _random_table(signature, request.num_samples or _RANDOM_ROWS, request.seed)
    path = Path(request.path)
    if path.exists() or not _FUNCTION.fullmatch(request.path):
        return open_table(path, request.preprocess)
    if not request.trusted:
        raise UntrustedError(
            f"--calibration-data {request.path} runs code of yours",
            fix="add --trust-calibration to let it run, or write its samples to an .npz",
        )
    if generate is None:
        raise UnsupportedError(
            f"--calibration-data {request.path}: generators cannot be run here",
            fix="write its samples to an .npz",
        )
    job = SamplesJob(
        function=request.path,
        inputs=signature.inputs,
        limit=request.num_samples or _MOST_GENERATED,
        folder=str(folder / "generated"),
        module_path=str(Path(request.module_path or ".").resolve()),
    )
    found = generate(job)
    table = joined(
        {name: npy_series(Path(file)) for name, file in found.files.items()}, request.path
    )
    if not found.more or request.num_samples:
        return table
    note = f"{request.path} has more samples; the first {found.count:,} were taken"
    return dataclasses.replace(table, notes=(note,))


def _random_table(signature: Signature, count: int, seed: int) -> Table:
    """Made-up samples, another block of them at a time."""
    free = Signature(
        inputs=tuple(
            changed(s, shape=None if s.shape is None else (None, *s.shape[1:]))
            for s in signature.inputs
        ),
        outputs=(),
    )

    def blocks(selection: Selection) -> Iterator[Arrays]:
        for cut in selection:
            yield synthetic(free, seed=(seed, int(cut[0])), rows=len(cut))

    one = synthetic(free, seed=seed, rows=1)
    series = {name: dataclasses.replace(in_memory(a), count=count) for name, a in one.items()}
    return joined(series, RANDOM, blocks=blocks)


def wanted(request: CalibrationRequest, table: Table) -> tuple[int, tuple[str, ...]]:
    """How many samples are used, and what to say where there are not as many as were asked for."""
    asked = request.num_samples
    if asked is not None and asked < 1:
        raise ConfigError(f"--num-calibration-samples {asked} leaves nothing", fix="give 1 or more")
    if asked is not None and asked > table.count:
        note = f"{asked} calibration samples were asked for, there are {table.count}"
        return table.count, (note,)
    return asked or table.count, ()
