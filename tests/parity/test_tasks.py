"""The verdict of real models that are no classifiers: an autoencoder and a face detector."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.cell import Outcome
from edgekit.core.measured import DropType, Task, Verdict
from edgekit.core.signature import TensorSpec
from edgekit.errors import ConfigError
from tests.conftest import ConvertModel
from tests.parity.blazeface_metric import decoded

pytestmark = [pytest.mark.framework, pytest.mark.shared]


def test_no_top1_is_offered_for_an_autoencoder(
    convert_model: ConvertModel, shared_models: Path, tmp_path: Path
) -> None:
    windows = shared_models / "data" / "ad_logmel_windows.npz"
    model = shared_models / "keras" / "ad01.h5"
    report, _ = convert_model(model, to="tflite", data=windows)
    assert report.outcome is Outcome.PASSED, report.reason
    assert report.accuracy is None
    assert report.parity is not None
    assert report.parity.top1_agreement is None
    with np.load(windows) as real:
        np.savez(tmp_path / "labelled.npz", x=real["x"], y=np.zeros(len(real["x"]), np.int64))
    with pytest.raises(ConfigError, match="is this an autoencoder"):
        convert_model(model, to="tflite", data=tmp_path / "labelled.npz")


def test_an_autoencoder_is_held_to_its_mean_squared_error(
    convert_model: ConvertModel, shared_models: Path
) -> None:
    report, _ = convert_model(
        shared_models / "keras" / "ad01.h5",
        to="tflite",
        data=shared_models / "data" / "ad_logmel_windows.npz",
        proof={
            "task": Task.RECONSTRUCTION,
            "max_drop": 0.03,
            "drop_type": DropType.RELATIVE,
        },
    )
    assert report.outcome is Outcome.PASSED, report.reason
    assert report.accuracy is not None
    assert report.accuracy.metric == "mse"
    assert report.accuracy.source == pytest.approx(115.74, abs=0.01)
    assert report.accuracy.verdict is Verdict.PASSED


def test_faces_are_judged_by_a_metric_of_ones_own(
    convert_model: ConvertModel, shared_models: Path, tmp_path: Path
) -> None:
    folder, here = shared_models / "pytorch", Path(__file__).parent
    shutil.copy(here / "blazeface_metric.py", tmp_path)
    shutil.copy(folder / "blazeface_anchors.npy", tmp_path)
    anchors = np.load(folder / "blazeface_anchors.npy")
    truth = np.full((2, 3, 4), np.nan)
    with np.load(folder / "blazeface_eval.npz") as real:
        images = (real["x"].transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
        for i, pair in enumerate(zip(real["ref_boxes"], real["ref_scores"], strict=True)):
            faces = decoded(*pair, anchors)
            truth[i, : len(faces)] = faces
    np.savez(tmp_path / "faces.npz", x=images, y_boxes=truth)

    def judged(**proof: object) -> object:
        report, _ = convert_model(
            folder / "blazeface.pth",
            to="onnx",
            data=tmp_path / "faces.npz",
            opening={
                "factory": "torch_blazeface:build",
                "factory_path": str(here),
                "inputs": (TensorSpec(name="x", dtype="float32", shape=(None, 3, 128, 128)),),
            },
            proof=proof,
        )
        assert report.outcome is Outcome.PASSED, report.reason
        assert report.accuracy is not None
        return report.accuracy.source, report.accuracy.artifact

    own = {"metric": "blazeface_metric:faces_found", "metric_path": str(tmp_path)}
    assert judged(**own) == (1.0, 1.0)
    with pytest.raises(ConfigError, match="which outputs are boxes"):
        judged(task=Task.DETECTION)
