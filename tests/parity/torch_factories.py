"""Small models, and the architectures of the real weights: the user's side of `--factory`."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        Block(8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def channels_last_cnn() -> nn.Module:
    return cnn().to(memory_format=torch.channels_last)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(16, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(self.lstm(x)[0])[0][:, -1])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.encoder(self.embedding(ids)).mean(1)


class TwoByTwo(nn.Module):
    """Two inputs of one shape, two outputs of one shape: only their names tell them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, right: Tensor, left: Tensor) -> dict[str, Tensor]:
        return {"zeta": self.one(right) - left, "alpha": self.other(left) * right}


class FullyConvolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.pool(torch.relu(self.first(x)))
        return self.second(y).softmax(1), y


class Branching(nn.Module):
    """Control flow that depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x - 1


class FixedBatch(nn.Module):
    """Works for a batch of two only, which `Dim.AUTO` makes static without a word."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1) + 1


class Nested(nn.Module):
    """Keyword, dict and constant arguments, an output that is None."""

    def forward(
        self, x: Tensor, extra: dict[str, Tensor], factor: int = 3, *, shift: Tensor
    ) -> Tensor:
        return {"scaled": x * factor + extra["bias"], "nothing": None, "shifted": x + shift}


class Unnormalised(nn.Module):
    """A batch norm that is left in training mode, and a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(6), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(x))


class Minus(nn.Module):
    """Two inputs whose order counts and is not that of their names."""

    def forward(self, zero: Tensor, one: Tensor) -> Tensor:
        return zero - 2 * one


class ReadsFile(nn.Module):
    """TorchScript whose code reads a file of the machine it runs on."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file("/etc/hostname", size=1, dtype=torch.uint8)[0]


class ResidualBlock(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.grows = width_in != width

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.grows:
            extra = y.shape[1] // 4
            x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
        return torch.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    def _stage(self, width_in: int, width: int, stride: int) -> nn.Module:
        first = ResidualBlock(width_in, width, stride)
        return nn.Sequential(first, *(ResidualBlock(width, width, 1) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.linear(y.mean((2, 3)))


def mnist_conv_small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(800, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


class PNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.pool1(self.prelu1(self.conv1(x)))
        y = self.prelu3(self.conv3(self.prelu2(self.conv2(y))))
        return {"boxes": self.conv4_2(y), "faces": self.conv4_1(y).softmax(1)}


class RNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.pool1(self.prelu1(self.conv1(x)))
        y = self.pool2(self.prelu2(self.conv2(y)))
        y = self.prelu3(self.conv3(y)).permute(0, 3, 2, 1).flatten(1)
        y = self.prelu4(self.dense4(y))
        return self.dense5_2(y), self.dense5_1(y).softmax(1)


def not_a_module() -> OrderedDict[str, int]:
    return OrderedDict()


class PaddedPool(nn.Module):
    """Zeros around negative numbers, then a max-pool: the zeros win at the edges."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool2d(nn.functional.pad(-x.abs() - 1, (1, 1, 1, 1)), 3, 2)
