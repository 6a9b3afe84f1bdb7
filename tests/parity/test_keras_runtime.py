"""Keras models run and are looked into in their own framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.config.sniff import digest
from edgekit.core.arrays import Arrays, read_npz
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.inspection import Inspection
from edgekit.core.jobs import InspectJob, LoadJob, RunJob
from edgekit.core.measured import RunResult
from edgekit.worker.client import Workers

pytestmark = pytest.mark.framework


class Model:
    """One model on the warm children of one Keras backend."""

    def __init__(self, workers: Workers, path: Path, folder: Path, backend: str) -> None:
        self.workers, self.folder = workers, folder
        self.environment = {"KERAS_BACKEND": backend}
        format = Format.SAVEDMODEL if path.is_dir() else Format.KERAS
        source = ModelSource(path=str(path), format=format, sha256=digest(path))
        self.artifact = workers.call(
            LoadJob(source=source, folder=str(folder / "load")),
            Artifact,
            entry="edgekit.backends.loaders.keras:load",
            environment=self.environment,
        )

    def run(
        self, samples: Arrays, *, fresh: bool = False, **said: object
    ) -> tuple[RunResult, Arrays]:
        np.savez(self.folder / "samples.npz", **samples)  # type: ignore[arg-type]
        rows = len(next(iter(samples.values())))
        job = RunJob(
            artifact=self.artifact,
            folder=str(self.folder / "run"),
            samples=str(self.folder / "samples.npz"),
            calls=(rows - 1, 1),
            **{"num_runs": 0, **said},  # type: ignore[arg-type]
        )
        result = self.workers.call(
            job,
            RunResult,
            entry="edgekit.backends.runtimes.keras_host:run",
            environment=self.environment,
            fresh=fresh,
        )
        return result, read_npz(Path(result.outputs))

    def inspect(self) -> Inspection:
        return self.workers.call(
            InspectJob(artifact=self.artifact, folder=str(self.folder / "inspect")),
            Inspection,
            entry="edgekit.backends.inspectors.keras:inspect",
            environment=self.environment,
        )


def floats(outputs: Arrays) -> NDArray[np.float64]:
    return outputs["scores"].astype(np.float64)


def images(rows: int) -> Arrays:
    return {"image": np.random.default_rng(1).normal(size=(rows, 12, 12, 3)).astype("float32")}


def test_tensorflow_and_torch_give_the_same_answers(
    workers: Workers, keras_zoo: Path, tmp_path: Path
) -> None:
    path = keras_zoo / "conv.keras"
    _, expected = Model(workers, path, tmp_path, "tensorflow").run(images(3))
    _, actual = Model(workers, path, tmp_path, "torch").run(images(3))
    np.testing.assert_allclose(floats(actual), floats(expected), atol=1e-6)
    assert floats(expected).shape == (3, 4)
    assert np.ptp(floats(expected), axis=0).max() > 1e-3


def test_the_source_runs_in_inference_mode(
    workers: Workers, keras_zoo: Path, tmp_path: Path
) -> None:
    """With dropout of one half, or batch statistics of the batch, two runs would differ."""
    model = Model(workers, keras_zoo / "conv.keras", tmp_path, "tensorflow")
    whole = floats(model.run(images(3))[1])
    first = floats(model.run({"image": images(3)["image"][:2]})[1])
    np.testing.assert_allclose(whole[:2], first, atol=1e-6)


def test_a_fresh_child_has_the_threads_asked_for(
    workers: Workers, keras_zoo: Path, tmp_path: Path
) -> None:
    model = Model(workers, keras_zoo / "conv.keras", tmp_path, "tensorflow")
    timed: dict[str, Any] = {"num_runs": 3, "min_time_s": 0.0, "warmup_runs": 1}
    result, _ = model.run(images(2), fresh=True, num_threads=1, **timed)
    assert result.timing is not None
    assert (result.timing.threads, len(result.timing.runs_ns)) == (1, 3)
    # TensorFlow's threads are fixed by now: the number that holds is told, not the one asked for.
    again, _ = model.run(images(2), num_threads=2, **timed)
    assert again.timing is not None
    assert again.timing.threads == 1


def test_layers_parameters_and_macs_are_counted(
    workers: Workers, keras_zoo: Path, tmp_path: Path
) -> None:
    found = Model(workers, keras_zoo / "conv.keras", tmp_path, "tensorflow").inspect()
    assert found.ops["Conv2D"] == found.ops["SeparableConv2D"] == found.ops["DepthwiseConv2D"] == 1
    # conv 12*12*27*8, depthwise 6*6*72, separable 6*6*(72+64), dense 8*4
    assert found.macs == 31104 + 2592 + 4896 + 32
    # conv, batch norm, depthwise, separable, dense
    assert found.parameters == 216 + 32 + 80 + (72 + 64 + 8) + 36


def test_what_has_no_macs_says_so(workers: Workers, keras_zoo: Path, tmp_path: Path) -> None:
    found = Model(workers, keras_zoo / "nested.keras", tmp_path, "tensorflow").inspect()
    assert found.macs is None
    assert "TimeDistributed" in found.notes[0]


def test_the_ops_of_a_savedmodel_are_counted(
    workers: Workers, keras_zoo: Path, tmp_path: Path
) -> None:
    found = Model(workers, keras_zoo / "exported", tmp_path, "tensorflow").inspect()
    assert found.ops["DepthwiseConv2dNative"] == 2
    assert "__inference" not in " ".join(found.ops)
