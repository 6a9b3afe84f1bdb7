"""Models that plain int8 ruins: the layer is named, and `auto` mends them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.catalog import load_catalog
from edgekit.core.artifact import Format
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.recipe import Precision, Quantize, Recipe
from edgekit.core.request import CalibrationRequest, ConvertRequest, Opening, Proof
from edgekit.pipeline.lines import convert
from edgekit.worker.client import Workers
from tests.conftest import ConvertModel

pytestmark = pytest.mark.framework
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ruined(sample_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ruined")
    model = sample_models / "digits_cnn" / "built" / "digits_cnn.keras"
    subprocess.run(
        [sys.executable, "-m", "tests.parity.ruined", str(model), str(folder)],
        cwd=REPO,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
        capture_output=True,
    )
    return folder


def int8(
    convert_model: ConvertModel, model: Path, digits: Path, *, auto: bool, per_channel: bool = True
) -> tuple[CellReport, Path]:
    quantize = Quantize(precision=Precision.INT8, per_channel=per_channel)
    return convert_model(
        model,
        to="tflite",
        data=digits / "eval.npz",
        recipe=Recipe(name="int8", passes=(quantize,)),
        calibration=CalibrationRequest(path=str(digits / "calibration.npz")),
        proof={"max_drop": 0.01, "num_runs": 0},
        auto=auto,
    )


@pytest.fixture
def digits(sample_models: Path) -> Path:
    return sample_models / "digits_cnn" / "built"


def test_plain_int8_fails_the_gate_with_the_layer_named(
    convert_model: ConvertModel, ruined: Path, digits: Path
) -> None:
    report, output = int8(convert_model, ruined / "outlier.keras", digits, auto=False)
    assert report.outcome is Outcome.ACCURACY_FAILED
    assert report.reason is not None
    assert "conv2d_1" in report.reason.message
    assert report.diagnosis is not None
    assert {row.layer for row in report.diagnosis.layers[:2]} == {"conv2d_1", "conv2d_2"}
    assert any("activations" in cause for cause in report.diagnosis.causes)
    assert not output.exists()


def test_auto_mends_an_outlier_channel_and_keeps_nine_tenths_in_8_bits(
    convert_model: ConvertModel, ruined: Path, digits: Path
) -> None:
    report, output = int8(convert_model, ruined / "outlier.keras", digits, auto=True)
    assert report.outcome in (Outcome.PASSED, Outcome.INCONCLUSIVE), report.reason
    assert report.accuracy is not None
    assert report.accuracy.drop <= 0.01
    assert report.gain is not None
    assert (report.gain.bits8_share or 0) >= 0.9
    assert output.exists()
    assert [row.taken for row in report.trials].count(True) == 1
    assert any(row.on_front for row in report.trials)


def test_auto_mends_a_layer_that_per_tensor_weights_ruin(
    convert_model: ConvertModel, ruined: Path, digits: Path
) -> None:
    model = ruined / "per_tensor.keras"
    plain, _ = int8(convert_model, model, digits, auto=False, per_channel=False)
    assert plain.outcome is Outcome.ACCURACY_FAILED
    assert plain.diagnosis is not None
    assert any(cause.startswith("per-tensor weights") for cause in plain.diagnosis.causes)
    mended, _ = int8(convert_model, model, digits, auto=True, per_channel=False)
    assert mended.outcome in (Outcome.PASSED, Outcome.INCONCLUSIVE), mended.reason
    assert mended.accuracy is not None
    assert mended.accuracy.drop <= 0.01
    assert mended.gain is not None
    assert (mended.gain.bits8_share or 0) >= 0.9


def test_an_interrupted_search_goes_on_where_it_was(
    workers: Workers, ruined: Path, digits: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "outlier.tflite.auto.jsonl"
    request = ConvertRequest(
        opening=Opening(path=str(ruined / "outlier.keras")),
        to=Format.TFLITE,
        proof=Proof(data=str(digits / "eval.npz"), max_drop=0.01, num_runs=0),
        recipe=Recipe(name="int8", passes=(Quantize(precision=Precision.INT8),)),
        calibration=CalibrationRequest(path=str(digits / "calibration.npz")),
        auto=True,
        output=str(tmp_path / "outlier.tflite"),
    )

    def stop_at_third(_: str) -> None:
        if journal.exists() and len(journal.read_text().splitlines()) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(request, workers=workers, catalog=load_catalog(), progress=stop_at_third)
    done = [json.loads(line)["trial"] for line in journal.read_text().splitlines()]
    assert len(done) == 3
    assert not (tmp_path / "outlier.tflite").exists()
    whole = convert(request, workers=workers, catalog=load_catalog())
    assert whole.outcome in (Outcome.PASSED, Outcome.INCONCLUSIVE)
    assert not journal.exists()
    assert {row["changed"] for row in done} <= {row.changed for row in whole.trials}
    quantized = sum(step.name == "quantize to int8" for step in whole.steps)
    assert quantized < len(whole.trials) - 1
