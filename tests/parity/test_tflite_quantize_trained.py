"""Trained models as quantized TFLite files, with the figures they must reach.

Samples to calibrate on are never those to judge by: photos for CIFAR images, a training split, the
other half of the rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.core.artifact import Artifact
from edgekit.core.recipe import Precision
from edgekit.worker.client import Workers
from tests.parity.edge_cells import Bench
from tests.parity.quantized import Case, Quantizing, precisions_of, sqnr_db

pytestmark = [pytest.mark.framework, pytest.mark.shared]

TOOLS = ("by_ai_edge", "by_tensorflow")


@pytest.fixture(scope="module")
def quantizing(workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> Quantizing:
    return Quantizing(Bench(workers=workers, folder=tmp_path_factory.mktemp("trained")))


def data(shared_models: Path, file: str) -> dict[str, NDArray[np.uint8]]:
    with np.load(shared_models / "data" / file) as arrays:
        return dict(arrays)


def photos(shared_models: Path) -> NDArray[np.float64]:
    """200 pieces of ten photos, in the size and the range of CIFAR images."""
    rng = np.random.default_rng(0)
    images = data(shared_models, "images_128.npz")["x"].astype(np.float64)
    pieces = []
    for at in range(200):
        zoom = int(rng.integers(2, 5))
        y, x = rng.integers(0, 129 - 32 * zoom, 2)
        piece = images[at % 10, y : y + 32 * zoom, x : x + 32 * zoom]
        pieces.append(piece.reshape(32, zoom, 32, zoom, 3).mean((1, 3)))
    return np.stack(pieces)


def judged(quantizing: Quantizing, case: Case, made: Artifact) -> tuple[int, float, float]:
    """Right answers, agreement with the float file, SQNR in dB."""
    (float32,), (scores,) = (quantizing.outputs(case, a) for a in (case.float32, made))
    labels = scores.argmax(-1)
    right = int(np.sum(labels == case.labels))
    return right, float(np.mean(labels == float32.argmax(-1))), sqnr_db([float32], [scores])


@pytest.fixture(scope="module")
def resnet8(quantizing: Quantizing, shared_models: Path) -> Case:
    cifar = data(shared_models, "cifar10_80.npz")
    return quantizing.case(
        shared_models / "keras" / "pretrainedResnet.h5",
        {"input_1": photos(shared_models).astype(np.float32)},
        {"input_1": cifar["x"].astype(np.float32)},
        cifar["y"],
    )


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("precision", "floor_db", "most_bytes"),
    [
        (Precision.INT8, 20, 98_496),
        (Precision.DYNAMIC, 30, 98_496),
        (Precision.W8A16, 30, 104_000),
        (Precision.FP16, 50, 170_000),
    ],
)
def test_resnet8(
    quantizing: Quantizing,
    resnet8: Case,
    tool: str,
    precision: Precision,
    floor_db: float,
    most_bytes: int,
) -> None:
    made = getattr(quantizing, tool)(resnet8, precision)
    right, agreement, noise_db = judged(quantizing, resnet8, made)
    assert right >= 73
    assert agreement >= 0.98
    assert noise_db >= floor_db
    assert made.size_bytes <= most_bytes


def test_resnet8_keeps_the_layer_that_is_named_by_its_keras_name(
    quantizing: Quantizing, resnet8: Case
) -> None:
    made = quantizing.by_ai_edge(resnet8, Precision.INT8, exclude=("conv2d_1",))
    assert [layer.parameters for layer in made.layers if layer.precision is Precision.FP32] == [
        2304
    ]
    assert precisions_of(made)["conv2d_1"] is Precision.FP32


@pytest.mark.parametrize("tool", TOOLS)
def test_ad01_in_int8_reconstructs_as_the_float_model_does(
    quantizing: Quantizing, shared_models: Path, tool: str
) -> None:
    windows = data(shared_models, "ad_logmel_windows.npz")["x"].astype(np.float32)
    case = quantizing.case(
        shared_models / "keras" / "ad01.h5", {"input_1": windows[::2]}, {"input_1": windows}
    )
    made = getattr(quantizing, tool)(case, Precision.INT8)
    (float32,), (found,) = (quantizing.outputs(case, a) for a in (case.float32, made))
    errors = [float(np.mean((answer - windows) ** 2)) for answer in (float32, found)]
    assert sqnr_db([float32], [found]) >= 35
    assert errors[1] == pytest.approx(errors[0], rel=0.03)


@pytest.mark.parametrize("tool", TOOLS)
def test_gow_mnist_dynamic(quantizing: Quantizing, shared_models: Path, tool: str) -> None:
    mnist = data(shared_models, "mnist_400.npz")
    images = (mnist["x"][..., None] / 255).astype(np.float32)
    case = quantizing.case(
        shared_models / "keras" / "gow_mnist_cnn.keras",
        {"input_layer": images[:8]},
        {"input_layer": images},
        mnist["y"],
    )
    made = getattr(quantizing, tool)(case, Precision.DYNAMIC)
    right, agreement, _ = judged(quantizing, case, made)
    assert right >= 0.98 * 400
    assert agreement >= 0.99
    assert made.size_bytes <= 56_000


@pytest.mark.parametrize("tool", TOOLS)
def test_digits_dscnn_in_int8(quantizing: Quantizing, shared_models: Path, tool: str) -> None:
    split = data(shared_models, "digits_split.npz")
    known, new = (
        (split[key].reshape(-1, 8, 8, 1) / 16).astype(np.float32) for key in ("x_train", "x_test")
    )
    case = quantizing.case(
        shared_models / "keras" / "digits_dscnn.keras",
        {"input_layer": known[:300]},
        {"input_layer": new},
        split["y_test"],
    )
    _, agreement, noise_db = judged(
        quantizing, case, getattr(quantizing, tool)(case, Precision.INT8)
    )
    assert agreement >= 0.99
    assert noise_db >= 35


@pytest.mark.parametrize(("tool", "floor_db"), [("by_ai_edge", 35), ("by_tensorflow", 25)])
def test_digits_lstm_in_int8(
    quantizing: Quantizing, shared_models: Path, tool: str, floor_db: float
) -> None:
    split = data(shared_models, "digits_split.npz")
    known, new = (
        (split[key].reshape(-1, 8, 8) / 16).astype(np.float32) for key in ("x_train", "x_test")
    )
    case = quantizing.case(
        shared_models / "keras" / "digits_lstm.keras",
        {"input_layer_1": known[:200]},
        {"input_layer_1": new},
        split["y_test"],
    )
    right, _, noise_db = judged(quantizing, case, getattr(quantizing, tool)(case, Precision.INT8))
    assert right >= 0.94 * 540
    assert noise_db >= floor_db


def test_mnist_conv_small_from_pytorch_in_int8(quantizing: Quantizing, shared_models: Path) -> None:
    mnist = data(shared_models, "mnist_400.npz")
    images = (mnist["x"][:, None] / 255).astype(np.float32)
    case = quantizing.case(
        shared_models / "pytorch" / "mnist_conv_small.pt2",
        {"input": images[:100]},
        {"input": images[100:]},
        mnist["y"][100:],
    )
    right, _, noise_db = judged(quantizing, case, quantizing.by_ai_edge(case, Precision.INT8))
    assert right >= 0.98 * 300
    assert noise_db >= 33


def test_pt_digits_dscnn_from_pytorch_in_int8(quantizing: Quantizing, shared_models: Path) -> None:
    split = data(shared_models, "digits_split.npz")
    known, new = (
        (split[key].reshape(-1, 1, 8, 8) / 16).astype(np.float32) for key in ("x_train", "x_test")
    )
    case = quantizing.case(
        shared_models / "pytorch" / "pt_digits_dscnn.pt2",
        {"x": known[:300]},
        {"x": new},
        split["y_test"],
    )
    right, agreement, _ = judged(quantizing, case, quantizing.by_ai_edge(case, Precision.INT8))
    assert right >= 0.935 * 540
    assert agreement >= 0.98
