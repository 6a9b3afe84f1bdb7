"""Files of samples for tests to write, and the shortest way to read them."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgekit.config.feeds import bind
from edgekit.config.samples import open_table, read_data
from edgekit.config.table import Selection
from edgekit.core.arrays import Array, Arrays
from edgekit.core.recipe import Preprocess
from edgekit.core.signature import Shape, Signature, TensorSpec
from edgekit.errors import ConfigError

RATE = 16_000


def by_blocks(path: Path, selection: Selection, preprocess: Preprocess | None = None) -> Arrays:
    parts = list(open_table(path, preprocess).blocks(selection))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def read(path: Path, preprocess: Preprocess | None = None) -> Array:
    return read_data(path, preprocess).inputs["x"]


def fix_for(path: Path, shape: Shape, preprocess: Preprocess | None = None) -> str:
    signature = Signature(
        inputs=(TensorSpec(name="image", dtype="float32", shape=shape),), outputs=()
    )
    with pytest.raises(ConfigError) as error:
        bind(read_data(path, preprocess), signature)
    return error.value.fix


def write_parquet(path: Path, **columns: list[Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {name: pa.list_(pa.list_(pa.float32())) for name in columns if name == "x"}
    table = pa.table({n: pa.array(c, type=types.get(n)) for n, c in columns.items()})
    parquet.write_table(table, path, row_group_size=40)


def save_image(path: Path, pixels: Array, *, exif: Image.Exif | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, exif=exif or b"")
    return path.parent


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def save_sound(
    path: Path, values: Array, *, width: int = 2, rate: int = RATE, channels: int = 1
) -> Path:
    """`values` in -1..1, in turn for each channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if width == 1:
        data = np.round(np.multiply(values, 127) + 128).astype(np.uint8).tobytes()
    else:
        whole = np.round(np.multiply(values, 2 ** (8 * width - 1) - 1)).astype("<i4")
        data = whole.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path.parent
