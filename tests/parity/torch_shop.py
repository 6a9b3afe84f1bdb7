"""Small torch programs and the passes that ExecuTorch and TorchScript converters fuse.

`python torch_shop.py FOLDER` writes the programs as `.pt2`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.catalog import load_catalog
from edgekit.core.arrays import Array
from edgekit.core.artifact import Artifact, Format
from edgekit.core.calibration import Calibration
from edgekit.core.jobs import ConvertJob
from edgekit.core.measured import RunResult
from edgekit.core.recipe import Precision, Quantize

if TYPE_CHECKING:
    from tests.parity.edge_cells import Bench

Samples = Mapping[str, Array]


@dataclass(frozen=True)
class Shop:
    """Converts with a pass, and compares with the source."""

    bench: Bench

    def make(
        self, source: Artifact, to: Format, settings: Quantize, seen: Samples, **options: str
    ) -> Artifact:
        """`source` as `to`, quantized on the rows of `seen`."""
        folder = Path(self.bench._new("pass"))
        for name, array in seen.items():
            np.save(folder / f"{name}.npy", array)
        np.savez(folder / "samples.npz", **{n: a[:2] for n, a in seen.items()})  # type: ignore[arg-type]
        job = ConvertJob(
            artifact=source,
            to=to,
            folder=str(folder),
            signature=source.signature,
            samples=str(folder / "samples.npz"),
            options=options,
            fused=settings,
            calibration=Calibration(
                files={name: str(folder / f"{name}.npy") for name in seen},
                count=len(next(iter(seen.values()))),
                sha256=hashlib.sha256(b"".join(a.tobytes() for a in seen.values())).hexdigest(),
            ),
        )
        return self.bench._call(load_catalog().backend(f"pt2_to_{to}"), job, Artifact)

    def judge(self, source: Artifact, made: Artifact, new: Samples) -> tuple[float, RunResult]:
        """SQNR in dB of the worst output on `new`, called with one row and with the rest."""
        calls = (1, len(next(iter(new.values()))) - 1)
        expected = self.bench.outputs(source, new, calls)
        result, actual = self.bench.run(made, new, calls)
        return min(sqnr_db(expected[name], actual[name]) for name in expected), result


def sqnr_db(expected: Array, actual: Array) -> float:
    """Signal to quantization noise in decibels."""
    assert expected.shape == actual.shape
    true, other = expected.astype(np.float64), actual.astype(np.float64)
    return float(10 * np.log10(np.sum(true**2) / max(np.sum((true - other) ** 2), 1e-30)))


def stored(artifact: Artifact) -> dict[str, Precision]:
    """What each layer is stored in."""
    return {layer.name: layer.precision for layer in artifact.layers}


def build(folder: Path) -> None:
    """Write every program into `folder`."""
    import torch
    from torch import Tensor, nn
    from torch.nn import functional

    class Normed(nn.Module):
        """Residual block with batch norm, an in-place relu, a relu6 and a depthwise convolution."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.block = nn.Sequential(
                nn.Conv2d(8, 8, 3, padding="same", groups=8), nn.BatchNorm2d(8), nn.ReLU6(),
                nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8),
            )  # fmt: skip
            self.head = nn.Linear(8, 5)
            for norm in (self.norm, self.block[1], self.block[4]):
                nn.init.normal_(norm.running_mean)
                nn.init.uniform_(norm.running_var, 0.5, 4)
                nn.init.uniform_(norm.weight, 0.5, 2)
                nn.init.normal_(norm.bias)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.relu(self.norm(self.stem(x)), inplace=True)
            return self.head((x + self.block(x)).relu().mean((2, 3)))

    class Dead(nn.Module):
        """Channels with next to no weights and a bias, which no product's scale fits."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)
            with torch.no_grad():
                self.first.weight[:4] *= 1e-9
                self.first.bias[:4] = torch.tensor([50.0, -30.0, 20.0, 7.0])

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x * 1e-3))

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(6, 8, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x)[0][:, -1])

    torch.manual_seed(0)
    batch = {0: torch.export.Dim("batch", min=1, max=512)}
    mlp = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
    )
    programs = {
        "normed": (Normed(), torch.randn(2, 3, 10, 10)),
        "mlp": (mlp, torch.randn(2, 16)),
        "dead": (Dead(), torch.randn(2, 8)),
        "lstm": (Recurrent(), torch.randn(2, 4, 6)),
        "conv": (nn.Conv2d(3, 4, 3), torch.randn(2, 3, 6, 6)),
        "plain": (nn.Softmax(-1), torch.randn(2, 5)),
    }
    for name, (module, example) in programs.items():
        with torch.no_grad():
            program = torch.export.export(module.eval(), (example,), dynamic_shapes=(batch,))
        torch.export.save(program, folder / f"{name}.pt2")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
