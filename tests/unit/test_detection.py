"""Boxes: decoding, suppression, and average precision against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError
from edgekit.parity.accuracy import Asked, Graded, graded
from edgekit.parity.detection import Detections, decoded, mean_ap, overlap
from edgekit.parity.tasks import Metric

SQUARE = np.array([0.0, 0.0, 10.0, 10.0])


def image(boxes: list[list[float]], scores: list[float], classes: list[int]) -> Detections:
    return Detections(
        boxes=np.array(boxes, float).reshape(-1, 4),
        scores=np.array(scores, float),
        classes=np.array(classes, np.int64),
    )


def ap(found: list[Detections], truth: list[Detections]) -> float:
    return mean_ap(found, truth).of_all(len(truth))


def test_overlap_is_intersection_over_union() -> None:
    half = SQUARE + np.array([5, 0, 5, 0])
    assert overlap(SQUARE[None], np.stack([SQUARE, half, SQUARE + 20])).tolist() == [[1, 1 / 3, 0]]


def test_exact_boxes_have_an_average_precision_of_one() -> None:
    truth = image([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 1], [0, 1])
    assert ap([image([[20, 20, 30, 30], [0, 0, 10, 10]], [0.6, 0.9], [1, 0])], [truth]) == 1.0


def test_a_missed_box_costs_the_recalls_above_what_was_reached() -> None:
    truth = image([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 1], [0, 0])
    assert ap([image([[0, 0, 10, 10]], [0.9], [0])], [truth]) == pytest.approx(51 / 101)


def test_a_false_box_of_a_higher_score_halves_the_precision() -> None:
    found = image([[50, 50, 60, 60], [0, 0, 10, 10]], [0.9, 0.8], [0, 0])
    assert ap([found], [image([[0, 0, 10, 10]], [1], [0])]) == pytest.approx(0.5)


def test_a_box_that_overlaps_by_three_quarters_counts_at_six_of_ten_thresholds() -> None:
    found = image([[0, 0, 10, 7.5]], [0.9], [0])
    assert ap([found], [image([[0, 0, 10, 10]], [1], [0])]) == pytest.approx(0.6)


def test_a_true_box_is_found_once_only() -> None:
    twice = image([[0, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.8], [0, 0])
    other = image([[0, 0, 10, 10], [40, 40, 50, 50]], [1, 1], [0, 0])
    assert ap([twice], [other]) == pytest.approx(51 / 101)


def test_boxes_of_another_class_or_image_do_not_count() -> None:
    truth = [image([[0, 0, 10, 10]], [1], [0]), image([[0, 0, 10, 10]], [1], [0])]
    found = [image([[0, 0, 10, 10]], [0.9], [0]), image([[0, 0, 10, 10]], [0.9], [1])]
    assert ap(found, truth) == pytest.approx(51 / 101)


def test_images_that_count_twice_count_twice() -> None:
    truth = [image([[0, 0, 10, 10]], [1], [0]), image([[0, 0, 10, 10]], [1], [0])]
    found = [image([[0, 0, 10, 10]], [0.9], [0]), image([], [], [])]
    assert mean_ap(found, truth).value(np.array([[2.0, 0.0], [0.0, 2.0]])).tolist() == [1.0, 0.0]


def outputs() -> dict[str, Array]:
    """Three boxes, of which the second is the first again, a little off, in two images."""
    boxes = np.stack([SQUARE, SQUARE + 0.5, SQUARE + 30])
    scores = np.array([[0.9, 0.0], [0.8, 0.1], [0.0, 0.7]])
    return {"boxes": np.stack([boxes] * 2), "scores": np.stack([scores] * 2)}


def test_overlapping_boxes_of_a_class_are_suppressed() -> None:
    first = decoded(outputs())[0]
    assert first.scores.tolist() == [0.9, 0.7, 0.1]
    assert first.classes.tolist() == [0, 1, 1]


def test_outputs_are_told_apart_by_shape_and_else_asked_for() -> None:
    assert len(decoded({"b": outputs()["boxes"], "a": outputs()["scores"][..., 0]})[0].scores) == 1
    with pytest.raises(ConfigError, match="which outputs are boxes"):
        decoded({"a": outputs()["boxes"], "b": outputs()["boxes"]})
    with pytest.raises(ConfigError, match="scores of the boxes are not in"):
        decoded({**outputs(), "scores": outputs()["scores"] * 3})
    with pytest.raises(ConfigError, match="not x1, y1, x2, y2"):
        decoded({**outputs(), "boxes": outputs()["boxes"][..., [2, 3, 0, 1]]})


def detections(actual: dict[str, Array], labels: dict[str, Array]) -> Graded:
    specs = tuple(TensorSpec(name=n, dtype="float32") for n in actual)
    asked = Asked(labels=labels, signature=Signature(inputs=(), outputs=specs), inputs={})
    return graded(Metric.MAP, expected=outputs(), actual=actual, asked=asked)


def test_true_boxes_are_filled_up_with_nan() -> None:
    gap = np.full(4, np.nan)
    labels = {
        "boxes": np.stack([np.stack([SQUARE, SQUARE + 30]), np.stack([SQUARE, gap])]),
        "classes": np.array([[0, 1], [0, 0]]),
    }
    both = detections(outputs(), labels)
    assert both.source.by_class[0] == (2, 1.0)
    assert both.source.of_all(2) == pytest.approx((1 + 1) / 2)
    assert both.truth == ""


def test_without_labels_the_confident_detections_of_the_source_are_the_truth() -> None:
    same = detections(outputs(), {})
    assert same.source.of_all(2) == same.artifact.of_all(2) == 1.0
    assert "the source's own detections" in same.truth
    moved = detections({**outputs(), "boxes": outputs()["boxes"] + 1}, {})  # IoU 81 / 119
    assert moved.artifact.of_all(2) == pytest.approx(0.4)


def test_wrong_labels_of_boxes_are_refused() -> None:
    with pytest.raises(ConfigError, match="y_boxes has shape"):
        detections(outputs(), {"boxes": np.zeros((2, 4))})
    with pytest.raises(ConfigError, match="no box to find"):
        detections(outputs(), {"boxes": np.full((2, 1, 4), np.nan)})
