"""A user's own detection metric: BlazeFace's boxes need its anchors, which only the user has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


def faces_found(outputs: dict[str, Numbers], labels: dict[str, Numbers]) -> float:
    """F1 of faces at a score of 0.75 against true boxes, matched at an overlap of 0.5."""
    anchors = np.load(Path(__file__).with_name("blazeface_anchors.npy"))
    hits = wrong = 0
    for boxes, scores, true in zip(
        outputs["boxes"], outputs["scores"], labels["boxes"], strict=True
    ):
        left = [box for box in true if np.isfinite(box).all()]
        for box in decoded(boxes, scores, anchors):
            match = next((i for i, t in enumerate(left) if overlap(box, t) >= 0.5), None)
            hits += match is not None
            wrong += match is None
            if match is not None:
                left.pop(match)
        wrong += len(left)
    return 2 * hits / (2 * hits + wrong)


def decoded(boxes: Numbers, scores: Numbers, anchors: Numbers) -> list[Numbers]:
    """Boxes x1, y1, x2, y2 of one image, the best of those that overlap by more than 0.3."""
    chance = 1 / (1 + np.exp(-np.clip(scores[:, 0].astype(np.float64), -100, 100)))
    kept = np.flatnonzero(chance >= 0.75)
    centre = boxes[kept, :2] / 128 * anchors[kept, 2:] + anchors[kept, :2]
    half = boxes[kept, 2:4] / 128 * anchors[kept, 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)
    found: list[Numbers] = []
    for i in np.argsort(-chance[kept]):
        if all(overlap(corners[i], other) <= 0.3 for other in found):
            found.append(corners[i])
    return found


def overlap(one: Numbers, two: Numbers) -> float:
    """Intersection over union."""
    size = np.maximum(np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2]), 0)
    both = size.prod()
    return float(both / ((one[2:] - one[:2]).prod() + (two[2:] - two[:2]).prod() - both))
