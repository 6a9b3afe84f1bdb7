"""Trained PyTorch weights and programs to ONNX and TorchScript, with the figures they must reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.core.arrays import write_npz
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.signature import TensorSpec
from tests.conftest import ConvertModel
from tests.parity.torch_zoo_names import factory

pytestmark = [pytest.mark.framework, pytest.mark.shared]

LIMITS = {"onnx": 2e-5, "torchscript": 0.0}
Images = NDArray[np.float32]


@pytest.fixture
def cifar(shared_models: Path, tmp_path: Path) -> Path:
    """80 labelled images as `x` and `y`, normalised as ResNet20 wants them."""
    raw = np.load(shared_models / "data" / "cifar10_80.npz")
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    images = ((raw["x"] / 255 - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32)
    return saved(tmp_path / "cifar.npz", images, raw["y"])


def saved(path: Path, images: Images, labels: NDArray[np.generic] | None = None) -> Path:
    write_npz(path, {"x": images} if labels is None else {"x": images, "y": labels})
    return path


def photos(shared_models: Path, height: int, width: int) -> Images:
    x = np.load(shared_models / "data" / "images_128.npz")["x"][:6, :height, :width]
    return ((x.astype(np.float32) - 127.5) * 0.0078125).transpose(0, 3, 1, 2)


def passed(report: CellReport, limit: float) -> CellReport:
    assert report.outcome is Outcome.PASSED, report.reason
    assert report.parity is not None
    assert max(output.max_abs_diff for output in report.parity.outputs) <= limit
    return report


@pytest.mark.parametrize("to", LIMITS)
@pytest.mark.parametrize("file", ["resnet20-12fca82f.th", "resnet20.pt2"])
def test_resnet20_keeps_its_answers(
    convert_model: ConvertModel, shared_models: Path, cifar: Path, file: str, to: str
) -> None:
    said = {} if file.endswith(".pt2") else factory("ResNet20")
    path = shared_models / "pytorch" / file
    report, _ = convert_model(path, to=to, data=cifar, opening=said)
    passed(report, LIMITS[to])
    assert report.accuracy is not None
    assert report.accuracy.source == report.accuracy.artifact == 0.95


@pytest.mark.parametrize("to", LIMITS)
def test_mnist_conv_small_comes_out_of_a_list_of_one(
    convert_model: ConvertModel, shared_models: Path, tmp_path: Path, to: str
) -> None:
    raw = np.load(shared_models / "data" / "mnist_400.npz")
    images = (raw["x"][:, None] / 255).astype(np.float32)
    report, _ = convert_model(
        shared_models / "pytorch" / "mnist_conv_small_nat.pth",
        to=to,
        data=saved(tmp_path / "mnist.npz", images, raw["y"]),
        opening=factory("mnist_conv_small"),
    )
    passed(report, LIMITS[to])
    assert report.accuracy is not None
    assert report.accuracy.artifact == 0.9875


@pytest.mark.parametrize("to", LIMITS)
@pytest.mark.parametrize("size", [(24, 24), (97, 128)])
def test_pnet_keeps_two_named_outputs_at_any_image_size(
    convert_model: ConvertModel,
    shared_models: Path,
    tmp_path: Path,
    to: str,
    size: tuple[int, int],
) -> None:
    image = TensorSpec(name="x", dtype="float32", shape=(None, 3, None, None))
    report, _ = convert_model(
        shared_models / "pytorch" / "pnet.pt",
        to=to,
        data=saved(tmp_path / "photos.npz", photos(shared_models, *size)),
        opening={"inputs": (image,), **factory("PNet")},
    )
    signature = passed(report, LIMITS[to]).signature
    assert signature is not None
    assert signature.inputs[0].shape == (None, 3, None, None)
    assert [s.name for s in signature.outputs] == ["boxes", "faces"]


@pytest.mark.parametrize("to", LIMITS)
def test_rnet_keeps_its_two_outputs_apart(
    convert_model: ConvertModel, shared_models: Path, tmp_path: Path, to: str
) -> None:
    report, _ = convert_model(
        shared_models / "pytorch" / "rnet.pt",
        to=to,
        data=saved(tmp_path / "photos.npz", photos(shared_models, 24, 24)),
        opening=factory("RNet"),
    )
    signature = passed(report, LIMITS[to]).signature
    assert signature is not None
    assert [s.shape for s in signature.outputs] == [(None, 4), (None, 2)]
