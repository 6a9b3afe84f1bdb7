"""BlazeFace (front camera), and how its answers become faces: the user's side of `--factory`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

Numbers = NDArray[Any]


class Block(nn.Module):
    """Depthwise 3x3 and 1x1, plus the input; new channels of the input are zeros at the end."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.convs = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, 0 if stride == 2 else 1, groups=inputs),
            nn.Conv2d(inputs, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y, skip = x, x
        if self.stride == 2:
            y, skip = pad(x, (0, 2, 0, 2)), max_pool2d(x, 2)
        skip = pad(skip, (0, 0, 0, 0, 0, self.added)) if self.added else skip
        return torch.relu(self.convs(y) + skip)


class BlazeFace(nn.Module):
    """(N, 3, 128, 128) to boxes (N, 896, 16) and scores (N, 896, 1)."""

    def __init__(self) -> None:
        super().__init__()
        widths = [(24, 1), (28, 1), (32, 2), (36, 1), (42, 1), (48, 2), (56, 1), (64, 1)]
        self.backbone1 = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2),
            nn.ReLU(),
            *_blocks(24, [*widths, (72, 1), (80, 1), (88, 1)]),
        )
        self.backbone2 = nn.Sequential(*_blocks(88, [(96, 2), (96, 1), (96, 1), (96, 1), (96, 1)]))
        self.classifier_8 = nn.Conv2d(88, 2, 1)
        self.classifier_16 = nn.Conv2d(96, 6, 1)
        self.regressor_8 = nn.Conv2d(88, 32, 1)
        self.regressor_16 = nn.Conv2d(96, 96, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        near = self.backbone1(pad(x, (1, 2, 1, 2)))
        far = self.backbone2(near)
        scores = [_rows(self.classifier_8(near), 1), _rows(self.classifier_16(far), 1)]
        boxes = [_rows(self.regressor_8(near), 16), _rows(self.regressor_16(far), 16)]
        return {"boxes": torch.cat(boxes, 1), "scores": torch.cat(scores, 1)}


def build() -> nn.Module:
    """The factory."""
    return BlazeFace()


def _blocks(inputs: int, widths: list[tuple[int, int]]) -> list[Block]:
    blocks = []
    for outputs, stride in widths:
        blocks.append(Block(inputs, outputs, stride))
        inputs = outputs
    return blocks


def _rows(y: Tensor, width: int) -> Tensor:
    return y.permute(0, 2, 3, 1).reshape(y.shape[0], -1, width)


def count_faces(boxes: Numbers, scores: Numbers, anchors: Numbers) -> int:
    """Faces of one image at a score of 0.75, overlapping ones (IoU above 0.3) counted once."""
    chance = 1 / (1 + np.exp(-np.clip(scores[:, 0].astype(np.float64), -100, 100)))
    kept = chance >= 0.75
    centre = boxes[kept, :2] / 128 * anchors[kept, 2:] + anchors[kept, :2]
    half = boxes[kept, 2:4] / 128 * anchors[kept, 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)
    order = list(np.argsort(-chance[kept]))
    faces = 0
    while order:
        best = order.pop(0)
        faces += 1
        order = [other for other in order if _overlap(corners[best], corners[other]) <= 0.3]
    return faces


def _overlap(one: Numbers, two: Numbers) -> float:
    size = np.maximum(np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2]), 0)
    both = size.prod()
    return float(both / ((one[2:] - one[:2]).prod() + (two[2:] - two[:2]).prod() - both))
