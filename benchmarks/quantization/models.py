"""The models, and for each the folds of its data: calibrated on one part, judged on another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quantization.costs import REPO

_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_STD = np.array((0.229, 0.224, 0.225), np.float32)
Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Two `.npz` with `x` and `y` that share no sample."""

    calibration: Path
    evaluation: Path


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained model; the evaluation parts of its folds are disjoint, so results add up."""

    name: str
    path: Path
    folds: tuple[Fold, ...]

    @property
    def is_keras(self) -> bool:
        return self.path.suffix != ".pt2"


def shared_folder() -> Path | None:
    """The folder of real trained models, where there is one."""
    folder = Path(os.environ.get("EDGEKIT_SHARED_MODELS", REPO.parent / "shared" / "models"))
    return folder if folder.is_dir() else None


def models(folder: Path) -> list[Model]:
    """All models of this machine, their data written into `folder`."""
    found = [_sample("digits_cnn", "keras"), _sample("digits_resnet", "pt2")]
    shared = shared_folder()
    return found + (list(_real(shared, folder)) if shared else [])


def _sample(name: str, suffix: str) -> Model:
    built = REPO / "sample_models" / name / "built"
    fold = Fold(calibration=built / "calibration.npz", evaluation=built / "eval.npz")
    return Model(name=name, path=built / f"{name}.{suffix}", folds=(fold,))


def _real(shared: Path, folder: Path) -> Iterator[Model]:
    with np.load(shared / "data/cifar10_80.npz") as data:
        photos, kinds = data["x"].astype(np.float32), data["y"]
    with np.load(shared / "data/mnist_400.npz") as data:
        strokes, numbers = (data["x"] / 255).astype(np.float32)[:, None], data["y"]
    normal = ((photos / 255 - _MEAN) / _STD).transpose(0, 3, 1, 2)
    digits = _digits(shared / "data/digits_split.npz")
    for name, path, data in (
        ("resnet8", "keras/pretrainedResnet.h5", _halves(photos, kinds)),
        ("resnet20", "pytorch/resnet20.pt2", _halves(normal, kinds)),
        ("mnist_conv_small", "pytorch/mnist_conv_small.pt2", _halves(strokes, numbers)),
        ("digits_dscnn", "keras/digits_dscnn.keras", digits(-1)),
        ("pt_digits_dscnn", "pytorch/pt_digits_dscnn.pt2", digits(1)),
    ):
        folds = tuple(_written(folder / f"{name}-{at}", fold) for at, fold in enumerate(data))
        yield Model(name=name, path=shared / path, folds=folds)


Parts = tuple[tuple[Array, Array], tuple[Array, Array]]  # calibration and evaluation: x, y


def _halves(x: Array, y: Array) -> list[Parts]:
    middle = len(x) // 2
    first, second = (x[:middle], y[:middle]), (x[middle:], y[middle:])
    return [(first, second), (second, first)]


def _digits(path: Path) -> Callable[[int], list[Parts]]:
    def parts(channel_axis: int) -> list[Parts]:
        with np.load(path) as data:
            train, test = (
                np.expand_dims((data[f"x_{part}"] / 16).astype(np.float32), channel_axis)
                for part in ("train", "test")
            )
            return [((train[:300], data["y_train"][:300]), (test, data["y_test"]))]

    return parts


def _written(stem: Path, parts: Parts) -> Fold:
    (x, y), (other_x, other_y) = parts
    calibration, evaluation = Path(f"{stem}-calibration.npz"), Path(f"{stem}-evaluation.npz")
    np.savez(calibration, x=np.ascontiguousarray(x), y=y)
    np.savez(evaluation, x=np.ascontiguousarray(other_x), y=other_y)
    return Fold(calibration=calibration, evaluation=evaluation)
