"""Calibration samples that come from chance or from the user's own code."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.calibration import GeneratedSamples
from edgekit.core.jobs import SamplesJob
from edgekit.core.request import CalibrationRequest
from edgekit.errors import ConfigError, CrashedError, UntrustedError
from edgekit.worker.client import Workers
from tests.unit.calibration_stage import Stage, images, model, staged


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_random_is_made_up_block_by_block_and_said_so(stage: Stage) -> None:
    request = CalibrationRequest(path="random", num_samples=3000, seed=3)
    calibration, report = stage.of(request, model(None, 500))
    made = staged(calibration)
    assert made.shape == (3000, 500)
    assert (abs(made.mean()) < 0.01, abs(made.std() - 1) < 0.01) == (True, True)
    assert len(np.unique(made[:, 0])) == 3000
    assert report.random
    assert "random numbers" in report.notes[0]
    assert stage.of(request, model(None, 500))[0].sha256 == calibration.sha256


def test_random_against_evaluation_data_is_doubted_not_refused(stage: Stage) -> None:
    _, report = stage.of(
        CalibrationRequest(path="random"), model(), evaluation={"image": images(30, top=255)}
    )
    assert any("scaled differently" in note for note in report.notes)


def test_a_file_that_is_not_there_is_never_random(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such data file"):
        stage.of(CalibrationRequest(path=str(tmp_path / "Random")), model())


# module:function


GENERATORS = """
import os
import numpy as np

ROWS = np.arange(6 * 4, dtype=np.float32).reshape(6, 4)

def samples():
    yield from ROWS

def batches():
    yield [ROWS[:4]]
    yield [ROWS[4:]]

def named():
    for row, label in zip(ROWS, "010101"):
        yield {"image": row, "y": int(label)}

def without_end():
    while True:
        yield ROWS

def ragged():
    yield ROWS[0]
    yield ROWS[0, :3]

def empty():
    return []

def process_ids():
    while True:
        yield [np.full(1, os.getpid(), float)]
        yield [np.ones(1)]

def crash():
    os._exit(3)

def number():
    return 3
"""


@pytest.fixture
def generators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of a module that this process forgets afterwards."""
    name = f"generators_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / "own code"
    folder.mkdir()
    (folder / f"{name}.py").write_text(GENERATORS)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return f"{folder}|{name}"


def generated(where: str, function: str, **fields: object) -> CalibrationRequest:
    folder, module = where.split("|")
    return CalibrationRequest(
        path=f"{module}:{function}",
        module_path=folder,
        **{"trusted": True, **fields},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("function", ["samples", "batches", "named"])
def test_a_generator_gives_samples_or_batches(stage: Stage, generators: str, function: str) -> None:
    calibration, report = stage.of(generated(generators, function), model(None, 4))
    assert np.array_equal(staged(calibration), np.arange(24).reshape(6, 4))
    assert report.classes == ({"0": 3, "1": 3} if function == "named" else None)


def test_a_generator_without_end_is_cut(stage: Stage, generators: str) -> None:
    calibration, _ = stage.of(generated(generators, "without_end", num_samples=20), model(None, 4))
    assert calibration.count == 20
    _, report = stage.of(generated(generators, "without_end"), model(None, 4))
    assert report.count == 10_000
    assert any("the first 10,000 were taken" in note for note in report.notes)


def test_a_generator_does_not_run_without_trust(stage: Stage, generators: str) -> None:
    with pytest.raises(UntrustedError, match="runs code of yours") as error:
        stage.of(generated(generators, "samples", trusted=False), model(None, 4))
    assert "--trust-calibration" in error.value.fix


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("ragged", r"float32 \(3,\) after float32 \(4,\)"),
        ("empty", "gave no samples"),
        ("number", "gave int, which cannot be iterated"),
        ("absent", "has no attribute 'absent'"),
    ],
)
def test_a_bad_generator_is_refused_by_name(
    stage: Stage, generators: str, function: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        stage.of(generated(generators, function), model(None, 4))


def test_the_users_code_runs_in_another_process(
    stage: Stage, generators: str, workers: Workers
) -> None:
    def in_a_child(job: SamplesJob) -> GeneratedSamples:
        entry = "edgekit.config.own_samples:write"
        return workers.call(job, GeneratedSamples, entry=entry, environment={}, own=True)

    asked = generated(generators, "process_ids", num_samples=40)
    calibration, _ = stage.of(asked, model(None, 1), generate=in_a_child)
    child = int(staged(calibration)[0, 0])
    assert child != os.getpid()
    with pytest.raises(CrashedError):
        stage.of(generated(generators, "crash"), model(None, 1), generate=in_a_child)
