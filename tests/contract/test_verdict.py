"""The verdict through the pipeline: outcome, exit code, what is published, what the user is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.arrays import Array, read_npz, write_npz
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.measured import Task, Verdict
from edgekit.errors import ConfigError, ExitCode
from tests.conftest import ConvertModel

pytestmark = pytest.mark.framework

OWN = """
def accuracy(outputs, labels):
    if (labels["y"] == 0).sum() > {zeros}:
        raise ValueError("only some draws can be judged")
    return float((outputs["label"] == labels["y"]).mean())
"""


class Forest:
    """Digits by a random forest, converted to ONN    accuracy = report.accuracy
    assert accuracy is not None and judged on some of its samples."""

    def __init__(self, sample_models: Path, folder: Path, convert_model: ConvertModel) -> None:
        built = sample_models / "digits_forest" / "built"
        self._model, self._convert, self._folder = (
            built / "digits_forest.skops",
            convert_model,
            folder,
        )
        self.arrays: dict[str, Array] = read_npz(built / "eval.npz")

    def judged(self, *, rows: int = 540, **proof: object) -> tuple[CellReport, Path]:
        data = self._folder / "some.npz"
        write_npz(data, {name: array[:rows] for name, array in self.arrays.items()})
        return self._convert(self._model, to="onnx", data=data, proof=proof)


@pytest.fixture
def forest(sample_models: Path, tmp_path: Path, convert_model: ConvertModel) -> Forest:
    return Forest(sample_models, tmp_path, convert_model)


def test_equal_answers_on_all_samples_pass_a_gate_of_one_point(forest: Forest) -> None:
    report, output = forest.judged(max_drop=0.01)
    assert report.outcome is Outcome.PASSED, report.reason
    assert output.exists()
    assert report.accuracy is not None
    assert report.accuracy.verdict is Verdict.PASSED
    assert (report.accuracy.lost, report.accuracy.gained) == (0, 0)


def test_a_hundred_samples_are_too_few_and_the_report_says_how_many_would_do(
    forest: Forest,
) -> None:
    report, output = forest.judged(rows=100, max_drop=0.01)
    assert report.outcome is Outcome.INCONCLUSIVE
    assert report.exit_code is ExitCode.PASSED
    assert output.exists()
    assert report.accuracy is not None
    assert report.accuracy.samples_needed == 381
    assert report.reason is not None
    assert "100 samples do not decide whether drop <= 0.01" in report.reason.message
    assert "about 381 would decide" in report.reason.fix


def test_under_strict_an_open_verdict_is_a_failure_and_nothing_is_published(
    forest: Forest,
) -> None:
    report, output = forest.judged(rows=100, max_drop=0.01, strict=True)
    assert report.outcome is Outcome.INCONCLUSIVE
    assert report.exit_code is ExitCode.ACCURACY
    assert not output.exists()


def test_a_measured_value_that_misses_never_passes_however_open_the_verdict(
    forest: Forest,
) -> None:
    report, output = forest.judged(min_accuracy=0.975)
    assert report.accuracy is not None
    assert report.accuracy.verdict is Verdict.INCONCLUSIVE
    assert report.accuracy.within_limit is False
    assert report.outcome is Outcome.ACCURACY_FAILED
    assert report.reason is not None
    assert "the measured value misses the limit top1 >= 0.975" in report.reason.message
    assert not output.exists()


def test_a_metric_of_ones_own_is_resampled_in_its_child(forest: Forest, tmp_path: Path) -> None:
    zeros = int((forest.arrays["y"] == 0).sum())
    (tmp_path / "mine.py").write_text(OWN.format(zeros=zeros))
    report, _ = forest.judged(metric="mine:accuracy", metric_path=str(tmp_path), max_drop=0.01)
    assert report.outcome is Outcome.PASSED, report.reason
    accuracy = report.accuracy
    assert accuracy is not None
    assert accuracy.verdict is Verdict.PASSED
    assert accuracy.artifact_ci95 is not None
    low, high = accuracy.artifact_ci95
    assert low < accuracy.artifact < high
    assert high - low == pytest.approx(4 * np.sqrt(0.9704 * 0.0296 / 540), rel=0.3)


def test_a_task_that_the_outputs_do_not_fit_is_a_question(forest: Forest) -> None:
    with pytest.raises(ConfigError, match="compares an output with the input of its shape"):
        forest.judged(task=Task.RECONSTRUCTION)


@pytest.mark.parametrize("proof", [{"max_drop": 0.1}, {"metric": "top1"}])
def test_made_up_samples_are_no_ground_for_a_task_metric(
    proof: dict[str, object], sample_models: Path, convert_model: ConvertModel
) -> None:
    model = sample_models / "digits_forest" / "built" / "digits_forest.skops"
    with pytest.raises(ConfigError, match="need real samples"):
        convert_model(model, to="onnx", proof={"task": Task.CLASSIFICATION, **proof})
