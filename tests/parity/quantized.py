"""TFLite files in fewer bits, one backend at a time; real data cut into calibration and evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.catalog import load_catalog
from edgekit.core.arrays import Array
from edgekit.core.artifact import Artifact, Format
from edgekit.core.calibration import Calibration
from edgekit.core.jobs import ConvertJob, OptimizeJob, RunJob
from edgekit.core.measured import RunResult
from edgekit.core.recipe import Precision, Quantize
from tests.parity.edge_cells import Bench

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A model with samples to calibrate on and others, labelled or not, to judge by."""

    source: Artifact
    float32: Artifact
    calibration: Calibration
    samples: Mapping[str, Array]
    labels: Array | None = None


@dataclass(frozen=True)
class Quantizing:
    """Both tools that write quantized TFLite files."""

    bench: Bench

    def case(
        self,
        path: Path,
        calibration: Mapping[str, Array],
        samples: Mapping[str, Array],
        labels: Array | None = None,
    ) -> Case:
        """The float file of a Keras model or `.pt2` program, and samples by its input names."""
        format = Format.EXPORTED if path.suffix == ".pt2" else Format.KERAS
        source = self.bench.load(path, format)
        saved = self.saved(calibration)
        return Case(source, self._converted(source, None, saved), saved, samples, labels)

    def by_tensorflow(self, case: Case, precision: Precision, **settings: object) -> Artifact:
        wanted = Quantize(precision=precision, **settings)  # type: ignore[arg-type]
        return self._converted(case.source, wanted, case.calibration)

    def by_ai_edge(
        self, case: Case, precision: Precision, *, calibrated: bool = True, **settings: object
    ) -> Artifact:
        job = OptimizeJob(
            artifact=case.float32,
            folder=self.bench._new("optimize"),
            settings=Quantize(precision=precision, **settings),  # type: ignore[arg-type]
            calibration=case.calibration if calibrated else None,
        )
        return self.bench._call(load_catalog().backend("aeq_quantize"), job, Artifact)

    def outputs(self, case: Case, artifact: Artifact, *, reference: bool = False) -> list[Floats]:
        """The outputs for all samples, one call per sample, in the order of the source's."""
        folder = Path(self.bench._new("run"))
        np.savez(folder / "samples.npz", **case.samples)  # type: ignore[arg-type]
        rows = len(next(iter(case.samples.values())))
        job = RunJob(
            artifact=artifact,
            folder=str(folder),
            samples=str(folder / "samples.npz"),
            calls=(1,) * rows,
            num_runs=0,
            reference=reference,
        )
        row = load_catalog().backend("tflite_host")
        result = self.bench._call(row, job, RunResult)
        with np.load(result.outputs) as found:
            return [found[s.origin].astype(np.float64) for s in artifact.signature.outputs]

    def saved(self, arrays: Mapping[str, Array]) -> Calibration:
        folder = Path(self.bench._new("calibration"))
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return Calibration(
            files={name: str(folder / f"{name}.npy") for name in arrays},
            count=len(next(iter(arrays.values()))),
            sha256=hashlib.sha256(b"".join(a.tobytes() for a in arrays.values())).hexdigest(),
        )

    def _converted(
        self, source: Artifact, fused: Quantize | None, calibration: Calibration
    ) -> Artifact:
        folder = self.bench._new("convert")
        samples = {
            spec.name: np.load(calibration.files[spec.name])[:2] for spec in source.signature.inputs
        }
        np.savez(Path(folder) / "samples.npz", **samples)
        job = ConvertJob(
            artifact=source,
            to=Format.TFLITE,
            folder=folder,
            signature=source.signature,
            samples=str(Path(folder) / "samples.npz"),
            fused=fused,
            calibration=calibration,
        )
        name = "pt2_to_tflite" if source.format is Format.EXPORTED else "keras_to_tflite"
        return self.bench._call(load_catalog().backend(name), job, Artifact)


def sqnr_db(expected: list[Floats], actual: list[Floats]) -> float:
    """Signal to quantization noise over all outputs, in decibels; the worst output counts."""
    return min(
        float(10 * np.log10(np.sum(e**2) / max(np.sum((e - a) ** 2), 1e-30)))
        for e, a in zip(expected, actual, strict=True)
    )


def precisions_of(artifact: Artifact) -> dict[str, Precision]:
    """What each layer is stored in, by the first of its scopes."""
    return {layer.name.partition(";")[0]: layer.precision for layer in artifact.layers}
