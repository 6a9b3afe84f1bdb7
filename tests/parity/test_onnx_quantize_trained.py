"""Real trained networks as int8 ONNX: right on this machine, and flagged where they would not be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.catalog import load_catalog
from edgekit.config.features import host_features
from edgekit.core.arrays import Array, Arrays
from edgekit.core.artifact import Artifact, Format
from edgekit.core.recipe import Precision, Quantize
from tests.conftest import ConvertModel
from tests.parity.edge_cells import Bench
from tests.parity.onnx_shop import INT8, Shop, sqnr_db

pytestmark = [pytest.mark.framework, pytest.mark.shared]


@pytest.fixture
def shop(bench: Bench) -> Shop:
    return Shop(bench)


def test_resnet20_is_right_in_int8_on_this_machine(
    shop: Shop, convert_model: ConvertModel, shared_models: Path
) -> None:
    """Calibrated on photographs, judged on the 80 CIFAR images; float answers 76 right."""
    report, path = convert_model(shared_models / "pytorch" / "resnet20.pt2", to="onnx")
    assert report.outcome == "passed", report.reason
    source = shop.bench.load(path, Format.ONNX)
    images, labels, expected = cifar(shared_models, shop, source)
    crops = photo_crops(shared_models)
    for row in usable_here():
        made = shop.make(source, row, Quantize(precision=Precision.INT8), crops)
        found = shop.bench.outputs(made, images, (80,))
        name = source.signature.outputs[0].name
        assert (found[name].argmax(1) == labels).sum() >= 75
        assert sqnr_db(expected, found) >= 25
        assert made.size_bytes < 0.3 * source.size_bytes


def test_full_range_kernels_saturate_on_resnet20_where_there_is_no_vnni_and_only_there(
    shop: Shop, convert_model: ConvertModel, shared_models: Path
) -> None:
    _, path = convert_model(shared_models / "pytorch" / "resnet20.pt2", to="onnx")
    source = shop.bench.load(path, Format.ONNX)
    images, _, expected = cifar(shared_models, shop, source)
    few = {"x": photo_crops(shared_models)["x"][::8]}
    made = shop.make(source, "ort_static", Quantize(precision=Precision.INT8), few)
    fast = sqnr_db(expected, shop.bench.outputs(made, images, (80,)))
    plain = sqnr_db(expected, shop.bench.outputs(made, images, (80,), reference=True))
    features = host_features()
    if "vnni" in features or "arm64" in features:
        assert abs(plain - fast) < 1
    else:
        assert plain - fast > 3
    assert any("20 8-bit layers" in note for note in shop.bench.inspect(made).notes)


@pytest.mark.parametrize(
    ("model", "least"), [("mnist_conv_small", 0.98), ("pt_digits_dscnn", 0.935)]
)
def test_small_networks_keep_their_accuracy_in_int8(
    shop: Shop, convert_model: ConvertModel, shared_models: Path, model: str, least: float
) -> None:
    _, path = convert_model(shared_models / "pytorch" / f"{model}.pt2", to="onnx")
    source = shop.bench.load(path, Format.ONNX)
    given = source.signature.inputs[0].name
    measured, samples, labels = digits(shared_models, model)
    for row in usable_here():
        made = shop.make(source, row, Quantize(precision=Precision.INT8), {given: measured})
        found = shop.bench.outputs(made, {given: samples}, (len(samples),))
        answers = found[source.signature.outputs[0].name].argmax(1)
        assert (answers == labels).mean() >= least


def usable_here() -> list[str]:
    """The int8 rows whose kernels are right on this machine."""
    rows = [load_catalog().backend(name) for name in INT8]
    here = set(host_features())
    return [row.name for row in rows if not row.needs_features or set(row.needs_features) & here]


def cifar(shared_models: Path, shop: Shop, source: Artifact) -> tuple[Arrays, Array, Arrays]:
    """80 images as resnet20 takes them, their labels, and the float model's answers."""
    data = np.load(shared_models / "data" / "cifar10_80.npz")
    images = {"x": normal(data["x"])}
    return images, data["y"], shop.bench.outputs(source, images, (80,))


def digits(shared_models: Path, model: str) -> tuple[Array, Array, Array]:
    """Samples to measure on, others to judge on, and the labels of these."""
    if model == "mnist_conv_small":
        data = np.load(shared_models / "data" / "mnist_400.npz")
        x = (data["x"] / 255).astype(np.float32)[:, None]
        return x[:100], x[100:], data["y"][100:]
    data = np.load(shared_models / "data" / "digits_split.npz")
    x, held_out = (
        (data[k] / 16).astype(np.float32).reshape(-1, 1, 8, 8) for k in ("x_train", "x_test")
    )
    return x[:200], held_out, data["y_test"]


def photo_crops(shared_models: Path) -> Arrays:
    """32 x 32 crops of ten photographs at three scales: not what resnet20 is judged on."""
    photos = np.load(shared_models / "data" / "images_128.npz")["x"].astype(np.float32)
    crops = []
    for width in (1, 2, 4):
        side = 128 // width
        small = photos.reshape(-1, side, width, side, width, 3).mean((2, 4))
        corners = range(0, side - 31, 24)
        crops += [small[:, i : i + 32, j : j + 32] for i in corners for j in corners]
    return {"x": normal(np.concatenate(crops))}


def normal(images: Array) -> Array:
    """RGB images (N, H, W, 3) in 0..255 as torchvision normalizes them, (N, 3, H, W)."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scaled = (images.astype(np.float64) / 255 - mean) / std
    return scaled.transpose(0, 3, 1, 2).astype(np.float32)
