"""Boxes found against boxes there: decode, suppress, match, mean average precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.arrays import Array
from edgekit.errors import ConfigError
from edgekit.parity.bootstrap import Floats, Value
from edgekit.parity.scored import Scored

OVERLAPS = np.arange(0.5, 1.0, 0.05)
CONFIDENT = 0.5
_RECALLS = np.linspace(0, 1, 101)
_LEAST_SCORE = 0.01
_SAME_OBJECT = 0.5
_CANDIDATES, _PER_IMAGE = 300, 100
_OWN = "decode the boxes in a metric of your own: --metric module:function"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """The boxes of one image: `(D, 4)` as x1, y1, x2, y2, their scores and classes `(D,)`."""

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]

    def at_least(self, score: float) -> Detections:
        """Those with that score or more."""
        return self.of(self.scores >= score)

    def of(self, chosen: Array) -> Detections:
        """Some of them, by mask or index."""
        boxes, scores, classes = self.boxes[chosen], self.scores[chosen], self.classes[chosen]
        return Detections(boxes=boxes, scores=scores, classes=classes)


def decoded(outputs: Mapping[str, Array]) -> list[Detections]:
    """Per image the best 100 boxes after suppression of overlaps above 0.5 within a class.

    There must be one output `(N, K, 4)` of boxes x1, y1, x2, y2 and one `(N, K)` or `(N, K, C)` of
    scores 0..1 for them, every class an object's. Raises ConfigError where that is not so.
    """
    boxes, scores = _boxes_and_scores(outputs)
    if scores.min(initial=0) < 0 or scores.max(initial=0) > 1:
        raise ConfigError("the scores of the boxes are not in 0..1", fix=_OWN)
    if ((boxes[..., 2:] < boxes[..., :2]).any(axis=-1) & (scores.max(axis=-1) > CONFIDENT)).any():
        raise ConfigError("the boxes are not x1, y1, x2, y2: some x2 < x1 or y2 < y1", fix=_OWN)
    return [_suppressed(b, s) for b, s in zip(boxes, scores, strict=True)]


def labelled(labels: Mapping[str, Array]) -> list[Detections]:
    """The true boxes: `boxes` `(N, M, 4)`, rows of NaN filling up, `classes` `(N, M)` or all 0."""
    boxes = labels["boxes"].astype(np.float64)
    if boxes.ndim != 3 or boxes.shape[-1] != 4:
        raise ConfigError(
            f"y_boxes has shape {boxes.shape}",
            fix="give (N, M, 4) as x1, y1, x2, y2, rows of NaN where an image has fewer",
        )
    classes = labels.get("classes", np.zeros(boxes.shape[:2], np.int64))
    if classes.shape != boxes.shape[:2]:
        raise ConfigError(
            f"y_classes has shape {classes.shape}", fix=f"one per box: {boxes.shape[:2]}"
        )
    there = np.asarray(np.isfinite(boxes).all(axis=-1))
    if (boxes[there][:, 2:] < boxes[there][:, :2]).any():
        raise ConfigError("y_boxes: some x2 < x1 or y2 < y1", fix="give x1, y1, x2, y2")
    return [
        Detections(boxes=b[t], scores=np.ones(t.sum()), classes=c[t].astype(np.int64))
        for b, c, t in zip(boxes, classes, there, strict=True)
    ]


def mean_ap(found: list[Detections], truth: list[Detections]) -> Scored:
    """mAP50-95 as COCO defines it.

    It is the mean over overlaps 0.50, 0.55 ... 0.95, the classes in `truth`, and 101 recalls, of
    the precision.
    """
    classes = np.unique(np.concatenate([image.classes for image in truth]))
    if not len(classes):
        raise ConfigError("there is no box to find in any sample", fix="give samples with boxes")
    parts = {int(c): _average_precision(found, truth, int(c)) for c in classes}

    def value(counts: Floats) -> Floats:
        per_class = np.stack([part(counts) for part in parts.values()], axis=1)
        known = np.isfinite(per_class)
        total = np.where(known, per_class, 0).sum(axis=1)
        return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)

    once = np.ones((1, len(truth)))
    by_class = {
        c: (sum(int((i.classes == c).any()) for i in truth), float(part(once)[0]))
        for c, part in parts.items()
    }
    return Scored(value=value, by_class=by_class)


def overlap(a: Floats, b: Floats) -> Floats:
    """Intersection over union of every box of `a` `(A, 4)` with every box of `b` `(B, 4)`."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (a, b)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-12))


def _boxes_and_scores(outputs: Mapping[str, Array]) -> tuple[Floats, Floats]:
    """Boxes `(N, K, 4)` and scores `(N, K, C)`, told apart by shape, then by name."""
    boxes = [n for n, a in outputs.items() if a.ndim == 3 and a.shape[-1] == 4]
    boxes = [n for n in boxes if len(boxes) == 1 or "box" in n.lower()]
    shape = outputs[boxes[0]].shape[:2] if len(boxes) == 1 else ()
    scores = [
        n for n, a in outputs.items() if n not in boxes and a.shape[:2] == shape and a.ndim <= 3
    ]
    scores = [n for n in scores if len(scores) == 1 or "score" in n.lower()]
    if len(boxes) != 1 or len(scores) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
        raise ConfigError(
            f"which outputs are boxes (N, K, 4) and scores (N, K) or (N, K, C)? there are: {shapes}",
            fix=_OWN,
        )
    found, score = outputs[boxes[0]].astype(np.float64), outputs[scores[0]].astype(np.float64)
    return found, score if score.ndim == 3 else score[..., None]


def _suppressed(boxes: Floats, scores: Floats) -> Detections:
    place, cls = np.nonzero(scores > _LEAST_SCORE)
    order = np.argsort(-scores[place, cls], kind="stable")[:_CANDIDATES]
    place, cls = place[order], cls[order]
    same = (overlap(boxes[place], boxes[place]) > _SAME_OBJECT) & (cls[:, None] == cls)
    kept: list[int] = []
    for i in range(len(place)):
        if not same[i, kept].any():
            kept.append(i)
    best = np.array(kept[:_PER_IMAGE], np.int64)
    return Detections(
        boxes=boxes[place[best]], scores=scores[place[best], cls[best]], classes=cls[best]
    )


def _average_precision(found: list[Detections], truth: list[Detections], cls: int) -> Value:
    mine = [image.of(image.classes == cls) for image in found]
    there = [image.of(image.classes == cls) for image in truth]
    scores = np.concatenate([image.scores for image in mine])
    order = np.argsort(-scores, kind="stable")
    image_of = np.repeat(np.arange(len(mine)), [len(image.scores) for image in mine])[order]
    hits = np.concatenate([_hits(m, t) for m, t in zip(mine, there, strict=True)], axis=1)[:, order]
    wanted = np.array([len(image.scores) for image in there], np.float64)

    def one(counts: Floats) -> float:
        total = counts @ wanted
        if not total:
            return np.nan
        drawn = counts[image_of]
        true = (hits * drawn).cumsum(axis=1)
        precision = true / np.maximum(drawn.cumsum(), 1)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.pad(precision, ((0, 0), (0, 1)))
        at = [np.searchsorted(row, _RECALLS - 1e-12) for row in true / total]
        return float(np.take_along_axis(reached, np.stack(at), axis=1).mean())

    return lambda counts: np.array([one(row) for row in counts])


def _hits(found: Detections, truth: Detections) -> Floats:
    """`(overlaps, D)`: 1 where a box takes a true one that no box of a higher score took."""
    shares = overlap(found.boxes, truth.boxes)
    free = np.ones((len(OVERLAPS), len(truth.scores)), bool)
    hits = np.zeros((len(OVERLAPS), len(found.scores)))
    if not free.size:
        return hits
    for i in np.argsort(-found.scores, kind="stable"):
        fitting = np.where(free & (shares[i] >= OVERLAPS[:, None] - 1e-9), shares[i], -1.0)
        best = fitting.argmax(axis=1)
        taken = fitting.max(axis=1) >= 0
        hits[taken, i] = 1
        free[np.flatnonzero(taken), best[taken]] = False
    return hits
