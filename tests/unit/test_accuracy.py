"""Task metrics against values worked out by hand, and questions where outputs do not fit the task."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.core.measured import Task
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError
from edgekit.parity import scored
from edgekit.parity.accuracy import Asked, Graded, classified_output, graded
from edgekit.parity.tasks import Metric, chosen_metric

SCORES = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.5, 0.4, 0.1]])
LABELS = np.array([1, 0, 2, 1])
RNG = np.random.default_rng(0)


def signature(*outputs: TensorSpec) -> Signature:
    return Signature(inputs=(), outputs=outputs)


def spec(name: str, *shape: int | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def sides(
    metric: Metric,
    outputs: dict[str, Array],
    labels: dict[str, Array],
    *,
    actual: dict[str, Array] | None = None,
    of: Signature | None = None,
    inputs: dict[str, Array] | None = None,
) -> Graded:
    of = of or signature(*(spec(name, None, *a.shape[1:]) for name, a in outputs.items()))
    asked = Asked(labels=labels, signature=of, inputs=inputs or {})
    return graded(metric, expected=outputs, actual=actual or outputs, asked=asked)


def value(metric: Metric, output: Array, labels: Array) -> float:
    return sides(metric, {"y": output}, {"": labels}).artifact.of_all(len(output))


def test_metrics_give_the_values_of_their_definitions() -> None:
    assert value(Metric.TOP1, SCORES, LABELS) == 0.75
    assert value(Metric.TOP5, SCORES, LABELS) == 1.0
    assert value(Metric.F1, SCORES, LABELS) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    target = np.array([1.0, 2.0, 3.0])
    guess = np.array([1.0, 2.0, 5.0])
    assert value(Metric.RMSE, guess, target) == pytest.approx((4 / 3) ** 0.5)
    assert value(Metric.MSE, guess, target) == pytest.approx(4 / 3)
    assert value(Metric.MAE, guess, target) == pytest.approx(2 / 3)
    assert value(Metric.R2, guess, target) == pytest.approx(1 - 4 / 2)
    assert value(Metric.SNR, guess, target) == pytest.approx(10 * np.log10(14 / 4))


def test_auroc_counts_ties_as_half() -> None:
    areas = [
        scored.auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))(np.ones((1, 4)))[0],
        scored.auroc(np.array([0.5, 0.5]), np.array([0, 1]))(np.ones((1, 2)))[0],
    ]
    assert areas == [0.75, 0.5]


@pytest.mark.parametrize("metric", [Metric.F1, Metric.AUROC, Metric.RMSE, Metric.R2, Metric.SNR])
def test_a_sample_that_counts_twice_is_as_good_as_two_samples(metric: Metric) -> None:
    numeric = metric in (Metric.RMSE, Metric.R2, Metric.SNR)
    output = RNG.standard_normal((30, 1 if numeric else 4)) + 1
    labels = RNG.standard_normal((30, 1)) if numeric else RNG.integers(0, 4, 30)
    counts = RNG.multinomial(30, np.full(30, 1 / 30), size=3).astype(np.float64)
    weighted = sides(metric, {"y": output}, {"": labels}).source.value(counts)
    for row, found in zip(counts.astype(int), weighted, strict=True):
        drawn = np.repeat(np.arange(30), row)
        assert found == pytest.approx(value(metric, output[drawn], labels[drawn]))


def test_a_single_score_per_row_is_a_binary_answer() -> None:
    assert value(Metric.TOP1, np.array([[0.9], [0.2]]), np.array([1, 0])) == 1.0
    assert value(Metric.TOP1, np.array([[3.0], [-2.0]]), np.array([1, 0])) == 1.0


def test_labels_without_a_name_go_to_the_label_output() -> None:
    two = signature(spec("label", None, dtype="int64"), spec("probabilities", None, 3))
    outputs = {"label": LABELS, "probabilities": -SCORES}
    assert sides(Metric.TOP1, outputs, {"": LABELS}, of=two).source.of_all(4) == 1.0


def test_text_labels_are_looked_up_in_the_categories() -> None:
    label = TensorSpec(name="label", dtype="int64", shape=(None,), categories=("cat", "dog"))
    labels = {"": np.array(["dog", "cat"])}
    both = sides(Metric.TOP1, {"label": np.array([1, 1])}, labels, of=signature(label))
    assert both.source.of_all(2) == 0.5
    assert both.categories == ("cat", "dog")


def test_an_unclear_choice_is_refused_with_the_names() -> None:
    twins = {"a": SCORES, "b": SCORES}
    with pytest.raises(ConfigError, match="a, b"):
        sides(Metric.TOP1, twins, {"": LABELS})
    with pytest.raises(ConfigError, match="y_c belong to no output"):
        sides(Metric.TOP1, twins, {"c": LABELS})


def test_class_metrics_refuse_float_targets() -> None:
    with pytest.raises(ConfigError, match="class indices"):
        value(Metric.TOP1, SCORES, LABELS + 0.5)


def test_a_label_that_the_model_cannot_answer_is_refused() -> None:
    with pytest.raises(ConfigError, match="sample 3 is 3, but the model knows the classes 0 to 2"):
        value(Metric.TOP1, SCORES, np.array([1, 0, 2, 3]))


def test_top1_of_an_autoencoder_is_refused_with_the_task_to_say() -> None:
    x = RNG.standard_normal((5, 16))
    with pytest.raises(ConfigError, match="is this an autoencoder") as refused:
        sides(Metric.TOP1, {"y": x * 0.9}, {"": np.arange(5)}, inputs={"x": x})
    assert "--task reconstruction" in refused.value.fix


def test_a_classifier_with_as_many_classes_as_features_is_none_of_that() -> None:
    chances = {"y": SCORES / SCORES.sum(axis=1, keepdims=True)}
    both = sides(Metric.TOP1, chances, {"": LABELS}, inputs={"x": RNG.standard_normal((4, 3))})
    assert both.source.of_all(4) == 0.75


@pytest.mark.parametrize("metric", [Metric.TOP1, Metric.TOP5, Metric.F1])
def test_class_metrics_refuse_maps(metric: Metric) -> None:
    with pytest.raises(ConfigError, match="needs scores"):
        value(metric, RNG.standard_normal((4, 8, 8, 3)), LABELS)


def test_a_reconstruction_is_compared_with_its_input() -> None:
    x = RNG.standard_normal((6, 16))
    both = sides(Metric.MSE, {"y": x + 0.5}, {}, actual={"y": x - 1.0}, inputs={"x": x})
    assert both.source.of_all(6) == pytest.approx(0.25)
    assert both.artifact.of_all(6) == pytest.approx(1.0)
    assert both.truth == "the input x"


def test_a_reconstruction_of_another_shape_is_refused() -> None:
    x = RNG.standard_normal((6, 16))
    with pytest.raises(ConfigError, match="there is none: y"):
        sides(Metric.MSE, {"y": x[:, :3]}, {}, inputs={"x": x})


def test_an_embedding_is_compared_by_direction_and_neighbours() -> None:
    vectors = RNG.standard_normal((20, 8))
    same = sides(Metric.COSINE, {"e": vectors}, {}, actual={"e": vectors * 3})
    assert same.artifact.of_all(20) == pytest.approx(1.0)
    assert same.agreement == 1.0
    other = sides(Metric.COSINE, {"e": vectors}, {}, actual={"e": vectors[::-1].copy()})
    assert other.agreement is not None
    assert other.agreement < 0.5


@pytest.mark.parametrize("axis", [1, 3])
def test_miou_finds_the_class_axis_and_leaves_out_255(axis: int) -> None:
    truth = np.array([[[0, 0, 1], [1, 1, 255]]])
    said = np.array([[[0, 1, 1], [1, 1, 0]]])
    scores = np.moveaxis(np.eye(2)[said], 3, axis)
    both = sides(Metric.MIOU, {"m": scores}, {"": truth})
    assert both.source.of_all(1) == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert both.source.by_class[1] == (1, 0.75)


@pytest.mark.parametrize(
    ("task", "labels", "metric"),
    [
        (None, LABELS, Metric.TOP1),
        (None, LABELS / 2, Metric.RMSE),
        (Task.CLASSIFICATION, LABELS, Metric.TOP1),
        (Task.REGRESSION, LABELS, Metric.RMSE),
        (Task.AUDIO, LABELS, Metric.TOP1),
        (Task.AUDIO, LABELS / 2, Metric.RMSE),
        (Task.AUDIO, SCORES, Metric.SNR),
        (Task.SEGMENTATION, LABELS, Metric.MIOU),
        (Task.RECONSTRUCTION, None, Metric.MSE),
        (Task.EMBEDDING, None, Metric.COSINE),
        (Task.DETECTION, None, Metric.MAP),
    ],
)
def test_the_metric_follows_the_task(
    task: Task | None, labels: Array | None, metric: Metric
) -> None:
    assert chosen_metric(task, None, {} if labels is None else {"": labels}) is metric


def test_a_metric_of_another_task_and_a_metric_without_its_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="top1 is no metric of reconstruction"):
        chosen_metric(Task.RECONSTRUCTION, "top1", {})
    with pytest.raises(ConfigError, match="miou needs labels"):
        chosen_metric(Task.SEGMENTATION, None, {})
    with pytest.raises(ConfigError, match="unknown metric 'top2'"):
        chosen_metric(None, "top2", {"": LABELS})


def test_the_output_of_class_labels_is_found_or_left_open() -> None:
    assert classified_output({}, signature(spec("y", None, 3))) == "y"
    assert (
        classified_output({"": LABELS}, signature(spec("a", None, 3), spec("b", None, 3))) is None
    )
