"""A backend that ends badly costs one cell: the right outcome, no process, no file left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from edgekit.catalog import Catalog
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.backend import Backend, Kind
from edgekit.core.cell import CellReport, Outcome, Stage
from edgekit.core.jobs import ConvertJob, LoadJob
from edgekit.core.request import ConvertRequest, Opening, Proof
from edgekit.errors import CrashedError, ExitCode, StepError, TimedOutError
from edgekit.pipeline.lines import convert
from edgekit.process import LOG_LIMIT_BYTES
from edgekit.worker.client import LOG_NAME, Workers

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@pytest.fixture(autouse=True)
def found_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def job_of(folder: Path) -> ConvertJob:
    model = folder / "model.bin"
    model.write_bytes(b"model")
    source = ModelSource(path=str(model), format=Format.ONNX, sha256="0" * 64)
    with Workers(timeout_s=60) as workers:
        artifact = workers.call(
            LoadJob(source=source, folder=str(folder / "load")),
            Artifact,
            entry="bad_backends:load",
            environment={},
        )
    return ConvertJob(
        artifact=artifact,
        to=Format.TFLITE,
        folder=str(folder / "convert"),
        signature=artifact.signature,
        samples="",
    )


def attempt(job: ConvertJob, name: str, *, timeout_s: float = 60) -> Artifact:
    with Workers(timeout_s=timeout_s) as workers:
        return workers.call(job, Artifact, entry=f"bad_backends:{name}", environment={})


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants() -> list[int]:
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    found = [int(child) for task in tasks for child in task.read_text().split()]
    return [pid for pid in found if is_running(pid)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("segfaults", "ended by SIGSEGV"),
        ("is_killed", "ended by SIGKILL"),
        ("exits_as_if_well", "exited with code 0 before it gave a result"),
    ],
)
def test_a_backend_that_dies_is_a_crash_that_says_how(
    tmp_path: Path, name: str, message: str
) -> None:
    job, before = job_of(tmp_path), descendants()
    with pytest.raises(CrashedError, match=message):
        attempt(job, name)
    assert descendants() == before


def test_a_crash_shows_the_end_of_its_log(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    with pytest.raises(CrashedError) as crash:
        attempt(job, "segfaults")
    assert "bad_backends.py" in crash.value.log  # faulthandler names the line
    assert "about to fall" in (Path(job.folder) / LOG_NAME).read_text()


def test_a_backend_that_hangs_is_ended_at_its_limit(tmp_path: Path) -> None:
    job, before, start = job_of(tmp_path), descendants(), time.monotonic()
    with pytest.raises(TimedOutError, match="no result after 1 s"):
        attempt(job, "hangs", timeout_s=1)
    assert time.monotonic() - start < 10
    assert descendants() == before


def test_a_flood_is_cut_and_the_result_still_counts(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    assert attempt(job, "floods").writer == "bad_backends"
    log = Path(job.folder) / LOG_NAME
    assert LOG_LIMIT_BYTES <= log.stat().st_size < LOG_LIMIT_BYTES + 100
    assert log.read_bytes().endswith(b"[log cut: limit reached]\n")


def test_sys_exit_is_a_failed_step_not_an_end_of_edgekit(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="SystemExit: enough") as failed:
        attempt(job_of(tmp_path), "calls_exit")
    assert not isinstance(failed.value, CrashedError)


def test_an_answer_of_another_kind_is_a_failed_step(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="the backend gave no Artifact"):
        attempt(job_of(tmp_path), "answers_nonsense")


def test_a_daemon_of_a_crashed_backend_is_ended_too(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    with pytest.raises(CrashedError, match="SIGABRT"):
        attempt(job, "leaves_a_daemon_and_falls")
    assert not is_running(int((Path(job.folder) / "daemon.pid").read_text()))


def test_a_process_that_a_good_backend_left_ends_with_the_session(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    attempt(job, "leaves_a_child_and_succeeds")
    assert not is_running(int((Path(job.folder) / "child.pid").read_text()))


def test_a_new_child_does_the_next_job_after_a_crash(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    with Workers(timeout_s=60) as workers:
        with pytest.raises(CrashedError):
            workers.call(job, Artifact, entry="bad_backends:segfaults", environment={})
        made = workers.call(job, Artifact, entry="bad_backends:good", environment={})
    assert made.format is Format.TFLITE


def catalog_with(converter: str) -> Catalog:
    """The bad plug-in alone: a loader, a runtime and one converter from ONNX to TFLite."""
    rows = [(Kind.LOADER, "load"), (Kind.RUNTIME, "run")]
    plain = tuple(
        Backend(
            name=f"bad_{function}",
            kind=kind,
            entry=f"bad_backends:{function}",
            reads=(Format.KERAS, Format.ONNX, Format.TFLITE),
        )
        for kind, function in rows
    )
    bad = Backend(
        name=converter,
        kind=Kind.CONVERTER,
        entry=f"bad_backends:{converter}",
        reads=(Format.TFLITE,),
        writes=Format.ONNX,
    )
    return Catalog(backends=(*plain, bad))


def converted(folder: Path, converter: str, *, timeout_s: float = 60) -> CellReport:
    """One conversion through the whole pipeline of a file that is sniffed as TFLite."""
    model = folder / "model.tflite"
    model.write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    np.savez(folder / "data.npz", x=np.ones((3, 4), np.float32))
    request = ConvertRequest(
        opening=Opening(path=str(model)),
        to=Format.ONNX,
        proof=Proof(data=str(folder / "data.npz"), num_runs=0),
        output=str(folder / "out" / "made.onnx"),
        run_dir=str(folder / "run"),
    )
    (folder / "out").mkdir()
    with Workers(timeout_s=timeout_s) as workers:
        return convert(request, workers=workers, catalog=catalog_with(converter))


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("segfaults", Outcome.CRASHED),
        ("is_killed", Outcome.CRASHED),
        ("exits_as_if_well", Outcome.CRASHED),
        ("calls_exit", Outcome.FAILED),
        ("hangs", Outcome.TIMED_OUT),
        ("leaves_a_daemon_and_falls", Outcome.CRASHED),
    ],
)
def test_a_cell_reports_it_and_writes_no_artifact(
    tmp_path: Path, name: str, outcome: Outcome
) -> None:
    before = descendants()
    report = converted(tmp_path, name, timeout_s=3 if name == "hangs" else 60)
    assert (report.outcome, report.stage) == (outcome, Stage.CONVERT)
    assert report.outcome.exit_code is ExitCode.STEP_FAILED
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix != ".json"]
    assert descendants() == before


def test_a_well_behaved_plug_in_passes_and_publishes(tmp_path: Path) -> None:
    report = converted(tmp_path, "good")
    assert report.outcome is Outcome.PASSED, report.reason
    assert (tmp_path / "out" / "made.onnx").exists()
