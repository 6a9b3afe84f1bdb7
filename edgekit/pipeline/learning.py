"""The samples that passes learn from: staged on disk, looked over, and reported."""

from __future__ import annotations

from edgekit.config.calibration import stage_calibration
from edgekit.core.artifact import Artifact
from edgekit.core.calibration import Calibration
from edgekit.core.request import ConvertRequest
from edgekit.pipeline.cell import Cell
from edgekit.pipeline.prove import Inputs


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
