"""Real trained Keras models, with real data: figures that must hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.cell import CellReport, Outcome
from tests.conftest import ConvertModel

pytestmark = [pytest.mark.framework, pytest.mark.shared]

Data = Callable[..., Path]


@pytest.fixture
def data(shared_models: Path, tmp_path: Path) -> Data:
    """`data(name)` -> an `.npz` with `x` as that model takes it, and labels `y` where there are any."""

    def write(name: str) -> Path:
        arrays = _arrays(shared_models / "data", name)
        np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
        return tmp_path / "data.npz"

    return write


def _arrays(
    folder: Path, name: str
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    if name == "cifar":
        found = np.load(folder / "cifar10_80.npz")
        return {"x": found["x"].astype("float32"), "y": found["y"]}
    if name == "mnist":
        found = np.load(folder / "mnist_400.npz")
        return {"x": found["x"][..., None].astype("float32") / 255, "y": found["y"]}
    if name in ("digits", "digit rows"):
        found = np.load(folder / "digits_split.npz")
        x = found["x_test"].reshape(-1, 8, 8).astype("float32") / 16
        return {"x": x if name == "digit rows" else x[..., None], "y": found["y_test"]}
    if name == "faces":
        x = np.load(folder / "gray64_32.npz")["x"][..., None].astype("float32")
        return {"x": (x / 255 - 0.5) * 2}
    return {"x": np.load(folder / "ad_logmel_windows.npz")["x"]}


def worst(report: CellReport) -> float:
    assert report.outcome is Outcome.PASSED, report.reason
    assert report.parity is not None
    assert report.parity.evidence == "real"
    return max(output.max_abs_diff for output in report.parity.outputs)


def test_resnet8_of_mlperf_tiny_becomes_tflite(
    convert_model: ConvertModel, shared_models: Path, data: Data
) -> None:
    report, path = convert_model(
        shared_models / "keras/pretrainedResnet.h5", to="tflite", data=data("cifar")
    )
    assert worst(report) <= 1e-5
    assert path.stat().st_size <= 320 * 1024
    assert report.accuracy is not None
    assert round(report.accuracy.artifact * 80) == 74


def test_the_lstm_becomes_tflite_of_builtin_ops(
    convert_model: ConvertModel, shared_models: Path, data: Data
) -> None:
    report, path = convert_model(
        shared_models / "keras/digits_lstm.keras", to="tflite", data=data("digit rows")
    )
    assert worst(report) <= 1e-5
    assert b"Flex" not in path.read_bytes()
    assert report.accuracy is not None
    assert report.accuracy.artifact == pytest.approx(0.9537, abs=1e-4)


@pytest.mark.parametrize("to", ["tflite", "onnx", "executorch", "torchscript"])
def test_the_depthwise_net_goes_everywhere(
    convert_model: ConvertModel, shared_models: Path, data: Data, to: str
) -> None:
    report, _ = convert_model(
        shared_models / "keras/digits_dscnn.keras", to=to, data=data("digits")
    )
    assert worst(report) <= 1e-5
    assert report.accuracy is not None
    assert report.accuracy.artifact == pytest.approx(0.9444, abs=1e-4)


def test_tiny_xception_of_keras_2_becomes_onnx(
    convert_model: ConvertModel, shared_models: Path, data: Data
) -> None:
    report, _ = convert_model(
        shared_models / "keras/tiny_XCEPTION_KDEF.hdf5", to="onnx", data=data("faces")
    )
    assert worst(report) <= 1e-5


def test_a_small_mnist_net_becomes_tflite(
    convert_model: ConvertModel, shared_models: Path, data: Data
) -> None:
    report, _ = convert_model(
        shared_models / "keras/gow_mnist_cnn.keras", to="tflite", data=data("mnist")
    )
    assert worst(report) <= 1e-5
    assert report.accuracy is not None
    assert report.accuracy.artifact == pytest.approx(0.9825, abs=1e-4)


def test_the_anomaly_detector_becomes_tflite(
    convert_model: ConvertModel, shared_models: Path, data: Data
) -> None:
    """Outputs reach 90: the bound is relative to them."""
    report, _ = convert_model(shared_models / "keras/ad01.h5", to="tflite", data=data("speech"))
    assert worst(report) <= 1e-5 * 90
