"""Peak memory of staging few and many calibration samples: `python -m benchmarks.calibration_memory`.

Every kind of data is written twice, with 200 and with 20,000 samples, and staged by a fresh process
each, with evaluation data to compare with. Exits with 1 where many take more than `LIMIT` times the
memory of few. `--quick` takes a tenth of both.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from edgekit.config.calibration import stage_calibration
from edgekit.core.arrays import Array
from edgekit.core.recipe import Preprocess
from edgekit.core.request import CalibrationRequest
from edgekit.core.signature import Signature, TensorSpec

FEW, MANY = 200, 20_000
LIMIT = 1.2
IMAGE, FEATURES, SOUND = (32, 32, 3), 64, 1600
RATE = 16_000


def main() -> None:
    """Write, stage and compare every kind; print a table."""
    if sys.argv[1:2] == ["--one"]:
        stage_one(*sys.argv[2:])
        return
    few, many = (FEW // 10, MANY // 10) if "--quick" in sys.argv else (FEW, MANY)
    ratios = []
    print(
        f"| data | {few:,} samples, MB | {many:,} samples, MB | ratio | staged, MB | processor s |"
    )
    print("|---|---|---|---|---|---|")
    for kind in WRITERS:
        (low, _, _), (high, staged, seconds) = measured(kind, few), measured(kind, many)
        ratios.append(high / low)
        print(
            f"| {kind} | {low:.1f} | {high:.1f} | **{high / low:.2f}** | {staged:.0f} | {seconds:.1f} |",
            flush=True,
        )
    sys.exit(int(max(ratios) > LIMIT))


def measured(kind: str, count: int) -> tuple[float, float, float]:
    """Peak MB of the process that stages, MB staged, and its processor seconds."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"data{'' if kind in ('png', 'wav', 'folder of npy') else f'.{kind}'}"
        WRITERS[kind](path, count)
        command = [sys.executable, "-m", "benchmarks.calibration_memory", "--one", kind, str(path)]
        ended = subprocess.run(
            [*command, str(count)], stdout=subprocess.PIPE, text=True, check=True
        )
    peak, staged, seconds = map(float, ended.stdout.split())
    return peak, staged, seconds


def stage_one(kind: str, path: str, count: str) -> None:
    """Stage `path` and print the peak of this process, what was staged, and its processor seconds."""
    shape = {"png": IMAGE, "csv": (FEATURES,), "parquet": (FEATURES,), "wav": (SOUND,)}
    row = shape.get(kind, IMAGE)
    spec = TensorSpec(name="input", dtype="float32", shape=(None, *row))
    evaluation = np.random.default_rng(1).random((100, *row), np.float32)
    evaluation = evaluation * 255 if kind == "png" else evaluation
    origin = path if Path(path).exists() else "random"
    request = CalibrationRequest(
        path=origin, num_samples=int(count), preprocess=Preprocess(sample_rate_hz=RATE)
    )
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        made, report = stage_calibration(
            request,
            Signature(inputs=(spec,), outputs=()),
            folder=Path(folder),
            evaluation={"input": evaluation},
        )
        staged = sum(Path(file).stat().st_size for file in made.files.values())
    if report.count != int(count) or report.duplicates or report.overlap:
        sys.exit(f"not what was written: {report}")
    print(peak_mb(), staged / 1e6, time.process_time() - start)


def peak_mb() -> float:
    """The high-water mark of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("this system tells no peak memory")


def rows(count: int, *shape: int) -> Array:
    """Random values in 0..1: nothing that compresses to nothing."""
    return np.random.default_rng(0).random((count, *shape), np.float32)


def write_csv(path: Path, count: int) -> None:
    """One header line, one line a sample."""
    with path.open("w") as file:
        file.write(",".join(f"f{i}" for i in range(FEATURES)) + ",y\n")
        for i, row in enumerate(rows(count, FEATURES)):
            file.write(",".join(f"{v:.7g}" for v in row.tolist()) + f",{i % 10}\n")


def write_parquet(path: Path, count: int) -> None:
    """All rows in one row group, as pandas writes them."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = rows(count, FEATURES).T
    table = pa.table({f"f{i}": column for i, column in enumerate(columns)})
    parquet.write_table(table, path)


def write_npy_folder(path: Path, count: int) -> None:
    """`x/00000.npy` and so on."""
    (path / "x").mkdir(parents=True)
    for i, row in enumerate(rows(count, *IMAGE)):
        np.save(path / "x" / f"{i:05}.npy", row)


def write_images(path: Path, count: int) -> None:
    """Ten class folders of png."""
    for label in range(10):
        (path / str(label)).mkdir(parents=True)
    for i, row in enumerate(rows(count, *IMAGE)):
        pixels = np.asarray(row * np.float32(255)).astype(np.uint8)
        Image.fromarray(pixels).save(path / str(i % 10) / f"{i:05}.png")


def write_sounds(path: Path, count: int) -> None:
    """A folder of 16-bit mono files."""
    path.mkdir()
    for i, row in enumerate(rows(count, SOUND)):
        with wave.open(str(path / f"{i:05}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, SOUND, "NONE", ""))
            file.writeframes((row * np.float32(32767)).astype("<i2").tobytes())


WRITERS: dict[str, Callable[[Path, int], object]] = {
    "npz": lambda path, count: np.savez(path, x=rows(count, *IMAGE)),
    "compressed.npz": lambda path, count: np.savez_compressed(path, x=rows(count, *IMAGE)),
    "npy": lambda path, count: np.save(path, rows(count, *IMAGE)),
    "folder of npy": write_npy_folder,
    "csv": write_csv,
    "parquet": write_parquet,
    "png": write_images,
    "wav": write_sounds,
    "random": lambda *_: None,
}


if __name__ == "__main__":
    main()
