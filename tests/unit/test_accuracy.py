"""Task metrics against values worked out by hand, and the verdict at its limit."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError
from edgekit.parity import metrics
from edgekit.parity.accuracy import AccuracyLimit, Metric, built_in_score, judge

SCORES = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.5, 0.4, 0.1]])
LABELS = np.array([1, 0, 2, 1])


def signature(*outputs: TensorSpec) -> Signature:
    return Signature(inputs=(), outputs=outputs)


def spec(name: str, *shape: int | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def value(metric: Metric, output: Array, labels: Array) -> float:
    one = signature(spec("y", None, *output.shape[1:]))
    return built_in_score(metric, {"": labels}, one)({"y": output})


def test_metrics_give_the_values_of_their_definitions() -> None:
    assert value(Metric.TOP1, SCORES, LABELS) == 0.75
    assert value(Metric.TOP5, SCORES, LABELS) == 1.0
    assert value(Metric.F1, SCORES, LABELS) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    target = np.array([1.0, 2.0, 3.0])
    guess = np.array([1.0, 2.0, 5.0])
    assert value(Metric.RMSE, guess, target) == pytest.approx((4 / 3) ** 0.5)
    assert value(Metric.MAE, guess, target) == pytest.approx(2 / 3)
    assert value(Metric.R2, guess, target) == pytest.approx(1 - 4 / 2)


def test_auroc_counts_ties_as_half() -> None:
    assert metrics.auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert metrics.auroc(np.array([0.5, 0.5]), np.array([0, 1])) == 0.5


def test_a_single_score_per_row_is_a_binary_answer() -> None:
    assert value(Metric.TOP1, np.array([[0.9], [0.2]]), np.array([1, 0])) == 1.0
    assert value(Metric.TOP1, np.array([[3.0], [-2.0]]), np.array([1, 0])) == 1.0


def test_labels_without_a_name_go_to_the_label_output() -> None:
    outputs = signature(spec("label", None, dtype="int64"), spec("probabilities", None, 3))
    score = built_in_score(Metric.TOP1, {"": LABELS}, outputs)
    assert score({"label": LABELS, "probabilities": -SCORES}) == 1.0


def test_text_labels_are_looked_up_in_the_categories() -> None:
    label = TensorSpec(name="label", dtype="int64", shape=(None,), categories=("cat", "dog"))
    score = built_in_score(Metric.TOP1, {"": np.array(["dog", "cat"])}, signature(label))
    assert score({"label": np.array([1, 1])}) == 0.5


def test_an_unclear_choice_is_refused_with_the_names() -> None:
    twins = signature(spec("a", None, 3), spec("b", None, 3))
    with pytest.raises(ConfigError, match="a, b"):
        built_in_score(Metric.TOP1, {"": LABELS}, twins)
    with pytest.raises(ConfigError, match="y_c belong to no output"):
        built_in_score(Metric.TOP1, {"c": LABELS}, twins)


def test_class_metrics_refuse_float_targets() -> None:
    with pytest.raises(ConfigError, match="class indices"):
        value(Metric.TOP1, SCORES, LABELS + 0.5)


@pytest.mark.parametrize(("artifact", "verdict"), [(0.90, "pass"), (0.8999, "fail")])
def test_the_limit_itself_passes(artifact: float, verdict: str) -> None:
    limit = AccuracyLimit(min_accuracy=0.90)
    assert judge("top1", samples=10, source=1, artifact=artifact, limit=limit).verdict == verdict


def test_a_drop_is_positive_when_worse_whichever_way_is_better() -> None:
    free = AccuracyLimit()
    assert judge("top1", samples=1, source=0.9, artifact=0.8, limit=free).drop == pytest.approx(0.1)
    assert judge("rmse", samples=1, source=2, artifact=3, limit=free).drop == 1
    failed = judge("rmse", samples=1, source=2, artifact=3, limit=AccuracyLimit(max_drop=0.5))
    assert failed.verdict == "fail"


def test_a_least_value_of_an_error_is_refused() -> None:
    with pytest.raises(ConfigError, match="less is better"):
        judge("mae", samples=1, source=1, artifact=1, limit=AccuracyLimit(min_accuracy=1))


def test_a_metric_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a number"):
        judge("own:metric", samples=1, source=1, artifact=float("nan"), limit=AccuracyLimit())
