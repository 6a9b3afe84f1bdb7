"""Pass, fail, inconclusive: what a limit says of an interval, and how many samples would decide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.core.measured import Accuracy, DropType, Verdict
from edgekit.errors import ConfigError
from edgekit.parity import scored
from edgekit.parity.accuracy import Graded
from edgekit.parity.scored import Scored
from edgekit.parity.tasks import Metric
from edgekit.parity.verdict import AccuracyLimit, compared, from_draws, judge

RNG = np.random.default_rng(0)
ONE_POINT = AccuracyLimit(max_drop=0.01)


def top1(lost: int, gained: int, samples: int, limit: AccuracyLimit, right: int = 0) -> Accuracy:
    """The verdict where `right` samples are right on both sides, all of one class."""
    source, artifact = np.zeros(samples, bool), np.zeros(samples, bool)
    source[: right + lost] = True
    artifact[:right] = True
    artifact[right + lost : right + lost + gained] = True
    labels = np.zeros(samples, np.int64)
    sides = Graded(
        source=scored.right_or_wrong(source, labels),
        artifact=scored.right_or_wrong(artifact, labels),
    )
    return judge("top1", compared(Metric.TOP1, sides, samples=samples), limit, sides=sides)


def of_means(source: Array, artifact: Array, limit: AccuracyLimit, metric: Metric) -> Accuracy:
    """The verdict where the metric is the mean of one number per sample."""
    sides = Graded(
        source=Scored(value=scored.mean_of(source)), artifact=Scored(value=scored.mean_of(artifact))
    )
    return judge(metric, compared(metric, sides, samples=len(source)), limit, sides=sides)


def test_a_hundred_equal_answers_do_not_decide_a_gate_of_one_point_and_381_would() -> None:
    verdict = top1(0, 0, 100, ONE_POINT, right=90)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.within_limit
    assert verdict.samples_needed == 381
    assert top1(0, 0, 381, ONE_POINT, right=300).verdict is Verdict.PASSED
    assert top1(0, 0, 380, ONE_POINT, right=300).verdict is Verdict.INCONCLUSIVE


def test_the_number_of_samples_that_is_named_decides_at_the_same_rates() -> None:
    for lost, gained in ((3, 3), (5, 1), (20, 2)):
        verdict = top1(lost, gained, 500, ONE_POINT)
        if verdict.verdict is Verdict.INCONCLUSIVE:
            assert verdict.samples_needed is not None
            times = math.ceil(verdict.samples_needed / 500) + 1
            more = top1(lost * times, gained * times, 500 * times, ONE_POINT)
            assert more.verdict is not Verdict.INCONCLUSIVE


def test_a_measured_drop_over_the_limit_that_is_not_certain_is_told_apart() -> None:
    verdict = top1(2, 0, 100, ONE_POINT, right=90)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.within_limit is False
    assert (verdict.lost, verdict.gained, verdict.p_value) == (2, 0, 0.5)


def test_a_large_drop_fails() -> None:
    verdict = top1(30, 0, 100, ONE_POINT, right=60)
    assert verdict.verdict is Verdict.FAILED
    assert verdict.samples_needed is None
    assert verdict.drop_ci95 is not None
    assert verdict.drop_ci95[0] > 0.01
    assert verdict.per_class[0].drop == pytest.approx(0.3)


def test_a_drop_that_is_the_limit_is_never_decided() -> None:
    verdict = top1(1, 0, 100, ONE_POINT, right=90)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.within_limit
    assert verdict.samples_needed is None


def test_no_drop_at_all_is_a_claim_about_these_samples() -> None:
    nothing = AccuracyLimit(max_drop=0)
    assert top1(0, 0, 50, nothing, right=40).verdict is Verdict.PASSED
    assert "on these samples" in top1(0, 3, 50, nothing, right=40).limit
    swapped = top1(2, 2, 50, nothing, right=40)
    assert swapped.verdict is Verdict.INCONCLUSIVE
    assert top1(1, 0, 50, nothing, right=40).within_limit is False
    assert top1(20, 0, 50, nothing, right=20).verdict is Verdict.FAILED


def test_a_least_accuracy_is_held_against_the_exact_interval() -> None:
    limit = AccuracyLimit(min_accuracy=0.9)
    assert top1(0, 0, 1000, limit, right=930).verdict is Verdict.PASSED
    assert top1(0, 0, 100, limit, right=93).verdict is Verdict.INCONCLUSIVE
    assert top1(0, 0, 1000, limit, right=850).verdict is Verdict.FAILED
    assert top1(0, 0, 1000, limit, right=930).artifact_ci95 == pytest.approx(
        (0.9124, 0.9450), abs=1e-4
    )


def test_of_two_limits_the_worse_counts() -> None:
    both = AccuracyLimit(min_accuracy=0.5, max_drop=0.01)
    assert top1(30, 0, 100, both, right=70).verdict is Verdict.FAILED
    assert top1(0, 0, 100, both, right=90).verdict is Verdict.INCONCLUSIVE
    assert top1(0, 0, 1000, both, right=900).verdict is Verdict.PASSED
    assert top1(0, 0, 10, AccuracyLimit(), right=9).verdict is Verdict.NOT_JUDGED


def test_a_relative_drop_is_a_share_of_the_source() -> None:
    source = RNG.uniform(90, 110, 400)
    limit = AccuracyLimit(max_drop=0.03, drop_type=DropType.RELATIVE)
    assert of_means(source, source * 1.02, limit, Metric.MSE).verdict is Verdict.PASSED
    assert of_means(source, source * 1.04, limit, Metric.MSE).verdict is Verdict.FAILED
    assert of_means(source, source * 0.5, limit, Metric.MSE).verdict is Verdict.PASSED


def test_one_sample_has_no_interval_and_decides_nothing() -> None:
    verdict = of_means(np.ones(1), np.ones(1), ONE_POINT, Metric.MSE)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.drop_ci95 is None
    assert verdict.samples_needed is None


def test_the_bootstrap_of_a_mean_agrees_with_theory() -> None:
    source = RNG.standard_normal(200)
    artifact = source + RNG.normal(0.1, 0.5, 200)
    verdict = of_means(source, artifact, AccuracyLimit(), Metric.MSE)
    difference = artifact - source
    half = 1.972 * difference.std(ddof=1) / 200**0.5
    assert verdict.drop == pytest.approx(difference.mean())
    assert verdict.drop_ci95 == pytest.approx(
        (difference.mean() - half, difference.mean() + half), abs=half * 0.1
    )


@pytest.mark.parametrize("samples", [5, 10, 30])
def test_the_bootstrap_covers_the_truth_on_few_samples_too(samples: int) -> None:
    inside = 0
    for trial in range(150):
        difference = np.random.default_rng(trial).standard_normal(samples)
        verdict = of_means(np.zeros(samples), difference, AccuracyLimit(), Metric.MSE)
        assert verdict.drop_ci95 is not None
        inside += verdict.drop_ci95[0] <= 0 <= verdict.drop_ci95[1]
    assert inside >= 135


def test_equal_answers_on_ten_samples_are_no_proof_for_a_metric_of_classes() -> None:
    values = (0.9, 0.9)
    drawn = (np.full(200, 0.9), np.full(200, 0.9))
    both = from_draws(values, drawn, samples=10, lower_is_better=False, of_classes=True)
    verdict = judge("f1", both, AccuracyLimit(max_drop=0.05), sides=None)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.samples_needed == 73
    errors = from_draws(values, drawn, samples=10, lower_is_better=True, of_classes=False)
    assert judge("rmse", errors, ONE_POINT, sides=None).verdict is Verdict.PASSED


def test_the_same_seed_gives_the_same_interval() -> None:
    source, artifact = RNG.standard_normal(50), RNG.standard_normal(50)
    first = of_means(source, artifact, ONE_POINT, Metric.MSE)
    assert of_means(source, artifact, ONE_POINT, Metric.MSE) == first


def test_the_classes_that_lost_most_come_first_at_most_ten() -> None:
    labels = np.repeat(np.arange(20), 10)
    right = np.tile(np.arange(10), 20) >= labels // 2
    sides = Graded(
        source=scored.right_or_wrong(np.ones(200, bool), labels),
        artifact=scored.right_or_wrong(right, labels),
        categories=tuple(f"class {i}" for i in range(20)),
    )
    verdict = judge("top1", compared(Metric.TOP1, sides, samples=200), ONE_POINT, sides=sides)
    assert len(verdict.per_class) == 10
    assert {drop.label for drop in verdict.per_class[:2]} == {"class 18", "class 19"}
    assert verdict.per_class[0].samples == 10
    assert verdict.per_class[0].drop == pytest.approx(0.9)


def test_a_least_value_of_an_error_is_refused() -> None:
    with pytest.raises(ConfigError, match="less is better"):
        of_means(np.ones(3), np.ones(3), AccuracyLimit(min_accuracy=1), Metric.MAE)


def test_a_metric_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a number"):
        of_means(np.ones(3), np.full(3, np.nan), AccuracyLimit(), Metric.MSE)
