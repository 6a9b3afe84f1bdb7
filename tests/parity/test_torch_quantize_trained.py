"""Trained models to ExecuTorch and TorchScript in fewer bits, whole, with the figures they must reach.

Samples to calibrate on are never those to judge by: photos for CIFAR images, a training split, the
other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.core.recipe import Precision, Quantize, Recipe
from edgekit.core.request import CalibrationRequest
from tests.conftest import ConvertModel

pytestmark = [pytest.mark.framework, pytest.mark.shared]

Split = tuple[Array, Array, Array]
CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def cifar(data: Path) -> Split:
    """Pieces of ten photos, shrunk; and 80 test images."""
    rng = np.random.default_rng(0)
    photos = np.load(data / "images_128.npz")["x"].astype(np.float64)
    pieces = []
    for at in range(120):
        zoom = at // 10 % 4 + 1
        y, x = rng.integers(0, 129 - 32 * zoom, 2)
        piece = photos[at % 10, y : y + 32 * zoom, x : x + 32 * zoom]
        pieces.append(piece.reshape(32, zoom, 32, zoom, 3).mean((1, 3)))
    test = np.load(data / "cifar10_80.npz")
    seen, new = (
        ((x / 255 - CIFAR_MEAN) / CIFAR_STD).transpose(0, 3, 1, 2).astype(np.float32)
        for x in (np.stack(pieces), test["x"])
    )
    return seen, new, test["y"]


def mnist(data: Path) -> Split:
    held = np.load(data / "mnist_400.npz")
    images = (held["x"][:, None] / 255).astype(np.float32)
    return images[:100], images[100:], held["y"][100:]


def digits(data: Path) -> Split:
    held = np.load(data / "digits_split.npz")
    seen, new = ((held[k][:, None] / 16).astype(np.float32) for k in ("x_train", "x_test"))
    return seen[:200], new, held["y_test"]


def digits_last(data: Path) -> Split:
    seen, new, labels = digits(data)
    return seen.transpose(0, 2, 3, 1), new.transpose(0, 2, 3, 1), labels


def cancer(data: Path) -> Split:
    held = np.load(data.parent / "sklearn" / "cancer_mlp_eval.npz")
    x = held["x"].astype(np.float32)
    return x[:50], x[50:], held["y"][50:]


@pytest.mark.parametrize(
    ("model", "split", "to", "precision", "least", "least_db"),
    [
        ("pytorch/resnet20.pt2", cifar, "executorch", "int8", 75 / 80, 25),
        ("pytorch/resnet20.pt2", cifar, "torchscript", "fp16", 75 / 80, 50),
        ("pytorch/mnist_conv_small.pt2", mnist, "executorch", "int8", 0.98, 35),
        ("pytorch/mnist_conv_small.pt2", mnist, "executorch", "fp16", 0.98, 50),
        ("pytorch/mnist_conv_small.pt2", mnist, "torchscript", "dynamic", 0.98, 35),
        ("pytorch/pt_digits_dscnn.pt2", digits, "executorch", "int8", 0.935, 28),
        ("pytorch/pt_digits_dscnn.pt2", digits, "torchscript", "bf16", 0.935, 35),
        ("keras/digits_dscnn.keras", digits_last, "executorch", "int8", 0.94, 30),
        ("sklearn/cancer_mlp.joblib", cancer, "executorch", "int8", 0.95, 35),
        ("sklearn/cancer_mlp.joblib", cancer, "executorch", "dynamic", 0.95, 40),
    ],
)
def test_a_trained_model_keeps_its_accuracy(
    convert_model: ConvertModel,
    shared_models: Path,
    tmp_path: Path,
    model: str,
    split: Callable[[Path], Split],
    to: str,
    precision: str,
    least: float,
    least_db: float,
) -> None:
    seen, new, labels = split(shared_models / "data")
    np.savez(tmp_path / "seen.npz", x=seen)
    np.savez(tmp_path / "new.npz", x=new, y=labels)
    report, _ = convert_model(
        shared_models / model,
        to=to,
        data=tmp_path / "new.npz",
        opening={"trust": "this-file"} if model.endswith("joblib") else None,
        proof={"min_accuracy": least},
        recipe=Recipe(name=precision, passes=(Quantize(precision=Precision(precision)),)),
        calibration=CalibrationRequest(path=str(tmp_path / "seen.npz"))
        if precision == "int8"
        else None,
    )
    assert report.accuracy is not None
    assert report.accuracy.artifact >= least
    assert report.parity is not None
    assert min(o.sqnr_db for o in report.parity.outputs if o.sqnr_db is not None) >= least_db
    assert any(layer.precision == precision for layer in report.layers)
    if report.placement is not None:
        assert not [name for name in report.placement.left if "convolution" in name]
