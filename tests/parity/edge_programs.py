"""Small torch programs with a trap in each: `python edge_programs.py FOLDER` writes them as `.pt2`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional


class ChannelsLast(nn.Module):
    """As Keras code on torch: kernels (kh, kw, in, out), channels last, and clones in that format."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 3, 4, 8) * 0.2)
        self.depthwise = nn.Parameter(torch.randn(3, 3, 8, 1) * 0.2)
        self.dense = nn.Parameter(torch.randn(8, 5))
        self.forgotten = nn.Parameter(torch.randn(5000))

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        y = functional.conv2d(y, self.kernel.permute(3, 2, 0, 1), padding=1).relu()
        y = y.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        y = y.clone(memory_format=torch.channels_last)
        y = functional.conv2d(y, self.depthwise.permute(2, 3, 0, 1), groups=8, stride=2)
        y = y.contiguous(memory_format=torch.channels_last).sigmoid()
        return y.mean((2, 3)) @ self.dense


class Pair(nn.Module):
    """Two inputs whose names sort the other way round, two outputs of one shape."""

    def forward(self, zebra: Tensor, ant: Tensor) -> dict[str, Tensor]:
        return {"sum_of": 2 * zebra + ant, "difference": zebra - 3 * ant}


class Lookup(nn.Module):
    """Integer ids in, ids and scores out."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        scores = self.table(ids).sum(1)
        return {"best": scores.argmax(1), "scores": scores}


class Masked(nn.Module):
    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        return torch.where(keep, x * 2, -torch.ones_like(x))


class Pool(nn.Module):
    """Nothing but a convolution and a maximum: litert-torch can keep its batch free."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(self.conv(x).relu(), 2)


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x).abs()


class Recurrent(nn.Module):
    """As Keras writes an LSTM: the state starts as zeros of the size of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(9, 8)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(x.shape[0], 4)
        for step in range(3):
            gate, new = self.cell(torch.cat([x[:, step], state], 1)).split(4, 1)
            state = state * gate.sigmoid() + new.tanh()
        return state


class Rare(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.lgamma(x)


class Counting(nn.Module):
    """No batch axis at all."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 0) * 0.5


_BATCH = Dim("batch", min=1, max=512)


def build(folder: Path) -> None:
    """Write every program into `folder`."""
    torch.manual_seed(0)
    image = torch.randn(2, 9, 9, 4)
    row = torch.randn(2, 5)
    linear = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    _save(folder / "channels_last.pt2", ChannelsLast(), (image,))
    _save(folder / "pair.pt2", Pair(), (row, torch.randn(2, 5)))
    _save(folder / "lookup.pt2", Lookup(), (torch.randint(0, 20, (2, 7)),))
    _save(folder / "masked.pt2", Masked(), (row, row > 0))
    _save(folder / "pool.pt2", Pool(), (torch.randn(2, 3, 8, 8),))
    _save(folder / "linear.pt2", linear, (row,))
    _save(folder / "spectrum.pt2", Spectrum(), (torch.randn(2, 16),))
    _save(folder / "recurrent.pt2", Recurrent(), (torch.randn(2, 3, 5),))
    _save(folder / "rare.pt2", Rare(), (row,))
    _save(folder / "counting.pt2", Counting(), (torch.randn(6),), is_free=False)


def _save(
    path: Path, module: nn.Module, inputs: tuple[Tensor, ...], *, is_free: bool = True
) -> None:
    free = tuple({0: _BATCH} for _ in inputs) if is_free else None
    with torch.no_grad():
        program = torch.export.export(module.eval(), inputs, dynamic_shapes=free)
    torch.export.save(program, path)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
