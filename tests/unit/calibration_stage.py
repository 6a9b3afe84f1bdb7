"""The shortest way to stage calibration samples in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.config.calibration import stage_calibration
from edgekit.config.calibration_source import Generate
from edgekit.config.own_samples import write
from edgekit.core.arrays import Array, write_npz
from edgekit.core.calibration import Calibration, CalibrationReport
from edgekit.core.request import CalibrationRequest
from edgekit.core.signature import Signature, TensorSpec

IMAGES = (None, 8, 8, 3)


def model(
    *shape: int | None, dtype: str = "float32", names: tuple[str, ...] = ("image",)
) -> Signature:
    specs = tuple(TensorSpec(name=name, dtype=dtype, shape=shape or IMAGES) for name in names)
    return Signature(inputs=specs, outputs=())


def images(count: int, *, seed: int = 0, top: float = 1.0) -> Array:
    """Smooth pictures of random colors, as photographs are smooth."""
    rng = np.random.default_rng(seed)
    corner, slope = rng.random((2, count, 1, 1, 3))
    ramp = np.arange(8).reshape(1, 8, 1, 1) / 8 + np.arange(8).reshape(1, 1, 8, 1) / 8
    return (top * (corner + slope * ramp) / 3).astype(np.float32)


class Stage:
    """`stage(x=..., y=...)` writes an `.npz` and stages it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        signature: Signature | None = None,
        *,
        evaluation: dict[str, Array] | None = None,
        num_samples: int | None = None,
        allow_overlap: bool = False,
        **arrays: Array,
    ) -> tuple[Calibration, CalibrationReport]:
        path = self.folder / "calibration data.npz"
        write_npz(path, arrays)
        request = CalibrationRequest(
            path=str(path), num_samples=num_samples, allow_overlap=allow_overlap
        )
        return self.of(request, signature or model(), evaluation=evaluation)

    def of(
        self,
        request: CalibrationRequest,
        signature: Signature,
        *,
        evaluation: dict[str, Array] | None = None,
        generate: Generate = write,
    ) -> tuple[Calibration, CalibrationReport]:
        return stage_calibration(
            request,
            signature,
            folder=self.folder / "staged here",
            evaluation=evaluation,
            generate=generate,
        )


def staged(calibration: Calibration, name: str = "image") -> Array:
    array: Array = np.load(calibration.files[name], mmap_mode="r", allow_pickle=False)
    return array
