"""scikit-learn to every format: equal labels, numbers within 1e-5, thresholds included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.artifact import Format, ModelSource
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.jobs import LoadJob
from edgekit.worker.client import Workers
from tests.conftest import REPO, ConvertModel
from tests.parity.edge_cells import Bench

pytestmark = pytest.mark.framework

BY_TORCH = "sklearn_to_pt2"
MODELS = (
    "adaboost", "adaboost_of_lines", "adaboost_regressor", "bagged_columns", "bayes", "calibrated",
    "calibrated_isotonic", "columns", "constant", "extra_trees", "gradient", "histogram",
    "histogram_poisson", "kmeans", "lda", "logistic", "mixture", "mlp", "named_columns", "names", "nearest",
    "novelty", "odd_classes", "one_vs_one", "powers", "principal", "qda", "stacked", "svc", "svr",
    "two_targets", "two_regressors", "voting",
)  # fmt: skip
ON_DEVICE = (
    "adaboost_regressor", "calibrated_isotonic", "columns", "gradient", "histogram", "kmeans",
    "mixture", "names", "nearest", "powers", "svc", "two_targets",
)  # fmt: skip
NOT_BY_SKL2ONNX = (
    "calibrated", "calibrated_isotonic", "constant", "histogram_poisson", "kmeans", "powers", "qda",
    "two_targets",
)  # fmt: skip
ON_THRESHOLDS = (
    "tree", "forest", "gradient", "histogram", "isolation", "scaled_tree", "twice_scaled_histogram",
)  # fmt: skip
SHARED = (
    "digits_rf50",
    "wine_tree",
    "iris_logreg",
    "cancer_mlp",
    "digits_linsvc",
    "diabetes_ridge",
)
FORMATS = (Format.ONNX, Format.TFLITE, Format.EXECUTORCH, Format.TORCHSCRIPT)


def check(report: CellReport) -> None:
    """Passed, every label equal, every float within 2e-5 of the worst value or of 1."""
    assert report.outcome is Outcome.PASSED, report.reason
    assert report.parity is not None
    for output in report.parity.outputs:
        assert not output.mismatches, output
        assert output.max_abs_diff <= 2e-5 * max(1.0, abs(output.worst_expected or 0.0)), output


@pytest.mark.parametrize("name", MODELS)
def test_the_torch_modules_answer_as_scikit_learn_does(
    convert_model: ConvertModel, sklearn_zoo: Path, name: str
) -> None:
    report, path = convert_model(
        sklearn_zoo / f"{name}.skops", to="torchscript", data=sklearn_zoo / f"{name}.npz"
    )
    check(report)
    assert path.is_file()


@pytest.mark.parametrize("name", [name for name in MODELS if name not in NOT_BY_SKL2ONNX])
def test_skl2onnx_answers_as_scikit_learn_does(
    convert_model: ConvertModel, sklearn_zoo: Path, name: str
) -> None:
    report, _ = convert_model(
        sklearn_zoo / f"{name}.skops", to="onnx", data=sklearn_zoo / f"{name}.npz"
    )
    check(report)


@pytest.mark.parametrize("to", ["tflite", "executorch"])
@pytest.mark.parametrize("name", ON_DEVICE)
def test_the_modules_survive_the_formats_of_devices(
    convert_model: ConvertModel, sklearn_zoo: Path, name: str, to: str
) -> None:
    report, _ = convert_model(
        sklearn_zoo / f"{name}.skops", to=to, data=sklearn_zoo / f"{name}.npz"
    )
    check(report)


@pytest.mark.parametrize("to", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", ON_THRESHOLDS)
def test_values_on_a_threshold_and_beside_it_take_the_same_side(
    convert_model: ConvertModel, sklearn_zoo: Path, name: str, to: str
) -> None:
    name = f"{name}_on_thresholds"
    report, _ = convert_model(
        sklearn_zoo / f"{name}.skops", to=to, data=sklearn_zoo / f"{name}.npz"
    )
    check(report)


def test_what_skl2onnx_lacks_goes_by_way_of_torch_when_asked(
    convert_model: ConvertModel, sklearn_zoo: Path
) -> None:
    model, data = sklearn_zoo / "constant.skops", sklearn_zoo / "constant.npz"
    refused, _ = convert_model(model, to="onnx", data=data)
    assert refused.outcome is Outcome.UNSUPPORTED
    assert refused.reason is not None
    assert f"--via {BY_TORCH}" in refused.reason.fix
    report, _ = convert_model(model, to="onnx", data=data, via=BY_TORCH)
    check(report)


@pytest.mark.parametrize(
    ("name", "to", "told"),
    [
        ("platt", "tflite", "SVC: probability=True"),
        ("categories", "tflite", "HistGradientBoostingClassifier: splits on categorical"),
        ("categories", "onnx", "HistGradientBoostingClassifier with categorical features"),
        ("spline", "executorch", "SplineTransformer: no torch module"),
        ("spline", "onnx", "SplineTransformer: skl2onnx has no converter"),
        ("qda", "onnx", "QuadraticDiscriminantAnalysis: skl2onnx"),
        ("histogram_poisson", "onnx", "prediction would be off"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_name_of_the_part(
    convert_model: ConvertModel, sklearn_zoo: Path, name: str, to: str, told: str
) -> None:
    path = next(sklearn_zoo.glob(f"{name}.[sp]k*"))
    report, output = convert_model(path, to=to, opening={"trust": "this-file"})
    assert report.outcome is Outcome.UNSUPPORTED
    assert report.reason is not None
    assert told in report.reason.message
    assert report.reason.fix
    assert not output.exists()


def test_global_state_that_a_backend_changes_stays_in_its_child(
    workers: Workers, bench: Bench, sklearn_zoo: Path, tmp_path: Path
) -> None:
    before = np.geterr()
    job = LoadJob(
        source=ModelSource(path="none", format=Format.SKOPS, sha256=""), folder=str(tmp_path)
    )
    said = workers.call(
        job,
        dict[str, str],
        entry="tests.parity.rude_backend:load",
        environment={"PYTHONPATH": str(REPO)},
    )
    assert set(said.values()) == {"raise"}
    assert np.geterr() == before
    artifact = bench.load(sklearn_zoo / "svc.skops", Format.SKOPS)
    rows = {"x": np.full((2, 13), 1e3, np.float32)}  # kernels that underflow to 0
    assert bench.outputs(artifact, rows, (2,))["label"].shape == (2,)


@pytest.mark.shared
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("name", SHARED)
def test_real_models_keep_every_label(
    convert_model: ConvertModel, shared_models: Path, tmp_path: Path, name: str, to: Format
) -> None:
    with np.load(shared_models / "sklearn" / f"{name}_eval.npz") as given:
        np.savez(tmp_path / "rows.npz", x=given["x"].astype(np.float32), y=given["y"])
    report, _ = convert_model(
        shared_models / "sklearn" / f"{name}.joblib",
        to=to,
        data=tmp_path / "rows.npz",
        opening={"trust": "this-file"},
    )
    check(report)
    assert report.accuracy is not None
    assert report.accuracy.drop == pytest.approx(0, abs=1e-5)
