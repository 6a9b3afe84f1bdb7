"""Where tests quantize ONNX files: one row of the catalog at a time, in warm children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.catalog import load_catalog
from edgekit.core.arrays import Array, Arrays
from edgekit.core.artifact import Artifact
from edgekit.core.calibration import Calibration
from edgekit.core.jobs import OptimizeJob
from edgekit.core.recipe import Quantize
from tests.parity import onnx_zoo
from tests.parity.edge_cells import Bench

HASWELL, CASCADE_LAKE = ("x86_64", "avx2"), ("x86_64", "avx2", "vnni")
INT8 = ("ort_static", "ort_static_unsigned", "ort_static_reduced", "ort_static_signed")
SAFE = ("ort_static_unsigned", "ort_static_reduced")


@dataclass(frozen=True)
class Shop:
    """A bench that also quantizes."""

    bench: Bench

    def make(
        self,
        artifact: Artifact,
        by: str,
        settings: Quantize,
        samples: Mapping[str, Array],
        features: tuple[str, ...] = CASCADE_LAKE,
    ) -> Artifact:
        """Do one pass with the row called `by`, for a CPU with `features`."""
        row = load_catalog().backend(by)
        folder = Path(self.bench._new(by))
        for name, array in samples.items():
            np.save(folder / f"{name}.npy", array)
        count = min((len(array) for array in samples.values()), default=0)
        files = {name: str(folder / f"{name}.npy") for name in samples}
        job = OptimizeJob(
            artifact=artifact,
            folder=str(folder),
            settings=settings,
            calibration=Calibration(files=files, count=count, sha256="0"),
            features=features,
            options=row.options,
        )
        return self.bench._call(row, job, Artifact)

    def quality_db(self, source: Artifact, made: Artifact, samples: Mapping[str, Array]) -> float:
        """SQNR of what `made` answers, in one call of two rows and one of all others."""
        calls = (2, len(next(iter(samples.values()))) - 2)
        expected = self.bench.outputs(source, samples, calls)
        return sqnr_db(expected, self.bench.outputs(made, samples, calls))


def sqnr_db(expected: Arrays, actual: Arrays) -> float:
    """The least signal to quantization noise ratio of all outputs."""
    found = []
    for name, wanted in expected.items():
        signal = wanted.astype(np.float64)
        noise = signal - actual[name].astype(np.float64)
        found.append(10 * np.log10((signal**2).sum() / max((noise**2).sum(), 1e-30)))
    return float(min(found))


def drawn(seed: int) -> dict[str, Arrays]:
    """Samples for each model of the zoo."""
    rng = np.random.default_rng(seed)
    return {
        "transformer": {"tokens": rng.integers(0, 40, (32, onnx_zoo.TOKENS))},
        "lstm": {"x": rng.normal(size=(32, 6, 8)).astype(np.float32)},
        "two inputs": {
            "image": rng.normal(size=(32, 2, 8, 8)).astype(np.float32),
            "numbers": rng.normal(size=(32, 5)).astype(np.float32),
        },
    }
