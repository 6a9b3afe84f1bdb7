"""CIFAR networks in int8 through the whole pipeline, in two folds.

There are 80 images: one half gives the ranges and the other half the verdict, then the other way
about, so that every image is judged and none by ranges it gave.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.cell import CellReport
from edgekit.core.recipe import Precision, Quantize, Recipe
from edgekit.core.request import CalibrationRequest
from tests.conftest import ConvertModel

pytestmark = [pytest.mark.framework, pytest.mark.shared]

INT8 = Recipe(name="int8", passes=(Quantize(precision=Precision.INT8),))
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def folds(
    shared_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path]]:
    """Two files of 40 images each: `raw` for ResNet8, `normalized` for resnet20."""
    folder = tmp_path_factory.mktemp("cifar")
    with np.load(shared_models / "data" / "cifar10_80.npz") as cifar:
        raw, labels = cifar["x"].astype(np.float32), cifar["y"]
    scaled = ((raw / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2).astype(np.float32)
    for name, images in (("raw", raw), ("normalized", scaled)):
        np.savez(folder / f"{name}-0.npz", x=images[:40], y=labels[:40])
        np.savez(folder / f"{name}-1.npz", x=images[40:], y=labels[40:])
    return {
        name: (folder / f"{name}-0.npz", folder / f"{name}-1.npz") for name in ("raw", "normalized")
    }


def in_folds(
    convert_model: ConvertModel, model: Path, to: str, halves: tuple[Path, Path]
) -> list[CellReport]:
    return [
        convert_model(
            model,
            to=to,
            data=judged_on,
            recipe=INT8,
            calibration=CalibrationRequest(path=str(calibrated_on)),
        )[0]
        for calibrated_on, judged_on in (halves, halves[::-1])
    ]


def right(report: CellReport) -> int:
    assert report.accuracy is not None, report.reason
    return round(report.accuracy.artifact * report.accuracy.samples)


def noise_db(report: CellReport) -> float:
    assert report.parity is not None, report.reason
    return report.parity.outputs[0].sqnr_db or 0


@pytest.mark.parametrize("to", ["onnx", "tflite", "executorch"])
def test_resnet20_in_int8(
    convert_model: ConvertModel,
    shared_models: Path,
    folds: dict[str, tuple[Path, Path]],
    to: str,
) -> None:
    model = shared_models / "pytorch" / "resnet20.pt2"
    reports = in_folds(convert_model, model, to, folds["normalized"])
    assert sum(map(right, reports)) >= 75
    assert min(map(noise_db, reports)) >= 25
    for report in reports:
        assert report.gain is not None
        assert report.gain.size_ratio < 0.35
        if to == "executorch":
            assert report.placement is not None
            assert not any("convolution" in op for op in report.placement.left)
            assert report.gain.baseline_delegated_share is None  # nothing was timed


def test_resnet8_in_int8(
    convert_model: ConvertModel, shared_models: Path, folds: dict[str, tuple[Path, Path]]
) -> None:
    model = shared_models / "keras" / "pretrainedResnet.h5"
    reports = in_folds(convert_model, model, "tflite", folds["raw"])
    assert sum(map(right, reports)) >= 73
    agreeing = sum(r.parity.top1_agreement or 0 for r in reports if r.parity) / 2
    assert agreeing >= 0.98
    for report in reports:
        assert report.artifact is not None
        assert report.artifact.size_bytes <= 98_496
        assert len(report.rivals) == 2
        assert [rival.taken for rival in report.rivals].count(True) == 1
