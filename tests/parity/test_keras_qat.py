"""Keras models fine-tuned for int8: claims on what comes out, with real training."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.cell import CellReport, Outcome
from edgekit.core.recipe import Precision, Qat, Recipe
from edgekit.core.request import CalibrationRequest
from edgekit.errors import ConfigError
from tests.conftest import REPO, ConvertModel

pytestmark = pytest.mark.framework

ONE_EPOCH = Qat(epochs=1)


@pytest.fixture(scope="module")
def digits(sample_models: Path) -> Path:
    return sample_models / "digits_cnn" / "built"


@pytest.fixture(scope="module")
def outlier(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits_cnn with one channel 300 times larger than the others between two convolutions."""
    folder = tmp_path_factory.mktemp("outlier")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.parity.ruined",
            str(digits / "digits_cnn.keras"),
            str(folder),
        ],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        cwd=REPO,
        check=True,
        capture_output=True,
    )
    return folder / "outlier.keras"


def tuned(
    convert_model: ConvertModel, model: Path, train: Path, settings: Qat, **options: object
) -> tuple[CellReport, Path]:
    return convert_model(
        model,
        to="tflite",
        recipe=Recipe(name="qat", passes=(settings,)),
        training=CalibrationRequest(path=str(train)),
        **options,
    )


def random_rows(path: Path, **shapes: tuple[int, ...]) -> Path:
    rng = np.random.default_rng(0)
    rows = {name: rng.normal(size=(40, *shape)) for name, shape in shapes.items()}
    np.savez(
        path,
        **{  # type: ignore[arg-type]
            name: rng.integers(0, 20, array.shape) if name == "tokens" else array.astype("float32")
            for name, array in rows.items()
        },
    )
    return path


def unlabelled(data: Path, path: Path) -> Path:
    with np.load(data) as arrays:
        np.savez(path, x=arrays["x"])
    return path


def test_every_layer_is_in_int8_and_answers_as_the_float_model(
    convert_model: ConvertModel, digits: Path, tmp_path: Path
) -> None:
    model = digits / "digits_cnn.keras"
    before = hashlib.sha256(model.read_bytes()).hexdigest()
    train = unlabelled(digits / "calibration.npz", tmp_path / "train.npz")
    report, _ = tuned(convert_model, model, train, Qat(), data=digits / "eval.npz")
    assert report.outcome is Outcome.PASSED
    assert {layer.precision for layer in report.layers} == {Precision.INT8}
    assert [layer.op for layer in report.layers].count("DEPTHWISE_CONV_2D") == 1
    assert report.parity is not None
    assert report.parity.outputs[0].sqnr_db is not None
    assert report.parity.outputs[0].sqnr_db >= 35
    assert hashlib.sha256(model.read_bytes()).hexdigest() == before


def test_labels_lower_the_loss_of_the_task(convert_model: ConvertModel, digits: Path) -> None:
    model, train = digits / "digits_cnn.keras", digits / "calibration.npz"
    report, _ = tuned(convert_model, model, train, Qat(epochs=2))
    told = next(note for note in report.notes if "cross-entropy" in note)
    assert "3 epochs" not in told
    assert "kept: epoch" in told


def test_the_same_seed_gives_the_same_bytes(convert_model: ConvertModel, digits: Path) -> None:
    model, train = digits / "digits_cnn.keras", digits / "calibration.npz"
    made = []
    for _ in range(2):
        report, path = tuned(convert_model, model, train, Qat(epochs=1, seed=3))
        assert any("kept: epoch 1" in note for note in report.notes)
        made.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert made[0] == made[1]


def test_training_repairs_what_quantizing_ruins(
    convert_model: ConvertModel, digits: Path, outlier: Path, tmp_path: Path
) -> None:
    """One channel has the range of activations to itself: the others keep a few steps of 255."""
    plain, _ = convert_model(
        outlier,
        to="tflite",
        data=digits / "eval.npz",
        recipe=Recipe(name="int8", passes=(Qat(epochs=0),)),
        training=CalibrationRequest(path=str(digits / "calibration.npz")),
        keep_failed=True,
    )
    train = unlabelled(digits / "calibration.npz", tmp_path / "train.npz")
    settings = Qat(epochs=10, learning_rate=1e-3)
    trained, _ = tuned(
        convert_model, outlier, train, settings, data=digits / "eval.npz", keep_failed=True
    )
    assert plain.accuracy is not None
    assert trained.accuracy is not None
    assert plain.accuracy.artifact < 0.8
    assert trained.accuracy.artifact > 0.9


def test_an_excluded_layer_stays_in_float(convert_model: ConvertModel, digits: Path) -> None:
    settings = Qat(epochs=1, exclude=("digit", "conv2d_1"))
    model, train = digits / "digits_cnn.keras", digits / "calibration.npz"
    report, _ = tuned(convert_model, model, train, settings, data=digits / "eval.npz")
    assert report.outcome is Outcome.PASSED
    kept = {la.name.split(";")[0].split("/")[0] for la in report.layers if la.precision == "fp32"}
    assert kept == {"digit", "conv2d_1"}
    assert len(report.layers) == 5


def test_an_exclusion_that_names_nothing_is_refused(
    convert_model: ConvertModel, digits: Path
) -> None:
    settings = Qat(epochs=1, exclude=("digits",))
    model, train = digits / "digits_cnn.keras", digits / "calibration.npz"
    with pytest.raises(ConfigError, match="'digits' names none of the layers"):
        tuned(convert_model, model, train, settings)


def test_separable_layers_sums_and_relu6_are_in_int8(
    convert_model: ConvertModel, keras_zoo: Path, tmp_path: Path
) -> None:
    train = random_rows(tmp_path / "train.npz", image=(12, 12, 3))
    report, _ = tuned(convert_model, keras_zoo / "conv.keras", train, ONE_EPOCH)
    assert report.outcome is Outcome.PASSED
    assert len(report.layers) == 5
    assert {layer.precision for layer in report.layers} == {Precision.INT8}


def test_names_and_order_are_those_of_the_source(
    convert_model: ConvertModel, keras_zoo: Path, tmp_path: Path
) -> None:
    train = random_rows(tmp_path / "train.npz", zebra=(4,), apple=(4,), tokens=(3,))
    report, _ = tuned(convert_model, keras_zoo / "several.keras", train, ONE_EPOCH)
    assert report.outcome is Outcome.PASSED
    assert report.artifact is not None
    assert report.signature is not None
    assert [spec.name for spec in report.signature.inputs] == ["zebra", "apple", "tokens"]
    assert [spec.name for spec in report.signature.outputs] == ["yes", "no", "maybe"]


def test_a_model_of_keras_2_is_trained(
    convert_model: ConvertModel, keras_zoo: Path, tmp_path: Path
) -> None:
    """Keras 3 cannot open this one."""
    train = random_rows(tmp_path / "train.npz", image=(12, 12, 3))
    report, _ = tuned(convert_model, keras_zoo / "k2_functional.keras", train, ONE_EPOCH)
    assert report.outcome is Outcome.PASSED
    assert {layer.precision for layer in report.layers} == {Precision.INT8}


def test_layers_that_cannot_be_trained_stay_float_and_are_named(
    convert_model: ConvertModel, keras_zoo: Path, tmp_path: Path
) -> None:
    train = random_rows(tmp_path / "train.npz", steps=(6, 8))
    report, _ = tuned(convert_model, keras_zoo / "attention.keras", train, ONE_EPOCH)
    assert report.outcome is Outcome.PASSED
    assert any("fp32, not int8: multi_head_attention" in note for note in report.notes)
    named = {layer.name.split(";")[0]: layer.precision for layer in report.layers}
    assert named["dense"] is Precision.INT8


def test_a_model_of_an_lstm_is_refused_by_name_before_training(
    convert_model: ConvertModel, keras_zoo: Path, tmp_path: Path
) -> None:
    train = random_rows(tmp_path / "train.npz", x=(6, 5))
    report, _ = tuned(convert_model, keras_zoo / "lstm.keras", train, ONE_EPOCH)
    assert report.outcome is Outcome.UNSUPPORTED
    assert report.reason is not None
    assert "lstm" in report.reason.message
    assert not any("fine-tuned" in note for note in report.notes)


def test_labels_that_do_not_fit_are_refused(
    convert_model: ConvertModel, digits: Path, tmp_path: Path
) -> None:
    with np.load(digits / "calibration.npz") as data:
        np.savez(tmp_path / "train.npz", x=data["x"], y=data["y"] + 10)
    with pytest.raises(ConfigError, match=r"class 19.* has 10"):
        tuned(convert_model, digits / "digits_cnn.keras", tmp_path / "train.npz", ONE_EPOCH)
