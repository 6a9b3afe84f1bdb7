"""The samples that passes learn from: staged on disk, looked over, and reported."""

from __future__ import annotations

import numpy as np

from edgekit.config.calibration import stage_calibration
from edgekit.core.artifact import Artifact
from edgekit.core.calibration import Calibration
from edgekit.core.measured import Evidence
from edgekit.core.request import ConvertRequest
from edgekit.pipeline.cell import Cell
from edgekit.pipeline.prove import Inputs

_JUDGED_SAMPLES = 256


def best_inputs(cell: Cell, inputs: Inputs, calibration: Calibration | None) -> Inputs:
    """Real samples that there are: those of evaluation, else of calibration, else made-up ones.

    Made-up numbers lie outside the ranges that a quantized model was given; a verdict on them would
    say nothing.
    """
    found = cell.draft.facts.get("calibration")
    if inputs.data is not None or calibration is None or found is None or found.random:
        return inputs
    rows = np.linspace(0, calibration.count - 1, min(calibration.count, _JUDGED_SAMPLES)).astype(
        int
    )
    arrays = {name: np.load(path, mmap_mode="r")[rows] for name, path in calibration.files.items()}
    return Inputs(arrays=arrays, evidence=Evidence.CALIBRATION, data=None)


def calibrate(
    cell: Cell, source: Artifact, inputs: Inputs, request: ConvertRequest
) -> Calibration | None:
    """Stage the calibration (or training) data of a request; None where it names none.

    What was found out about the data goes into the report. Raises ConfigError where it is not fit
    to learn from: samples of the evaluation data, NaN, another layout.
    """
    asked = request.training if request.recipe.needs_training else request.calibration
    if asked is None:
        return None
    staged, found = stage_calibration(
        asked,
        source.signature,
        folder=cell.folder / "calibration",
        evaluation=inputs.arrays if inputs.data else None,
        generate=cell.generate,
    )
    cell.draft.facts["calibration"] = found
    cell.draft.notes += found.notes
    return staged
