"""Parity: what passes, what fails, and what the report says of it."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.core.measured import Evidence, Parity
from edgekit.core.recipe import LayerPrecision, Precision
from edgekit.parity.compare import compare, left_to_the_task
from edgekit.parity.tolerance import Tolerances, stored_precision

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((6, 4)).astype(np.float32)


def judged(
    expected: dict[str, Array], actual: dict[str, Array], tolerances: Tolerances | None = None
) -> Parity:
    return compare(
        expected,
        actual,
        tolerances=tolerances or Tolerances(),
        evidence=Evidence.REAL,
        samples=6,
    )


def reason(parity: Parity) -> str:
    return parity.outputs[0].reason


def test_equal_outputs_pass_with_no_error_to_speak_of() -> None:
    parity = judged({"y": SCORES}, {"y": SCORES.copy()})
    assert parity.ok
    assert parity.outputs[0].max_abs_diff == 0
    assert parity.outputs[0].sqnr_db is None


def test_the_tolerance_that_is_printed_passes_and_a_hair_less_does_not() -> None:
    off = SCORES + np.float32(0.01)
    failed = judged({"y": SCORES}, {"y": off}).outputs[0]
    assert not failed.ok
    assert "--atol y:" in failed.reason
    printed = float(failed.reason.split("--atol y:")[1].split()[0])
    assert judged({"y": SCORES}, {"y": off}, Tolerances(atol={"y": printed})).ok
    assert not judged(
        {"y": SCORES}, {"y": off}, Tolerances(atol={"y": failed.min_required_atol * 0.999})
    ).ok


def test_the_worst_element_is_named() -> None:
    off = SCORES.copy()
    off[3, 2] += 5
    worst = judged({"y": SCORES}, {"y": off}).outputs[0]
    assert worst.worst_index == (3, 2)
    assert worst.worst_actual == pytest.approx(float(off[3, 2]))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_fails(poison: float) -> None:
    off = SCORES.copy()
    off[0, 0] = poison
    parity = judged({"y": SCORES}, {"y": off}, Tolerances(atol={"": 1e9}))
    assert not parity.ok
    assert parity.outputs[0].nan_count == 1


def test_nan_on_both_sides_is_no_proof() -> None:
    poisoned = np.full_like(SCORES, np.nan)
    assert "source" not in reason(judged({"y": SCORES}, {"y": poisoned}))
    assert "source" in reason(judged({"y": poisoned}, {"y": poisoned}))


def test_a_constant_answer_fails_however_wide_the_tolerance_is_relative() -> None:
    constant = np.repeat(SCORES[:1], 6, axis=0)
    parity = judged({"y": SCORES}, {"y": constant}, Tolerances(rtol={"": 100.0}))
    assert "same for every sample" in reason(parity)


@pytest.mark.parametrize(
    ("actual", "says"),
    [
        (SCORES[:, :3], "shape"),
        (SCORES.T.copy(), "shape"),
        (np.zeros((6, 4), np.int64), "dtype"),
    ],
)
def test_another_shape_or_kind_fails(actual: Array, says: str) -> None:
    assert says in reason(judged({"y": SCORES}, {"y": actual}))


def test_a_missing_output_fails() -> None:
    assert "no such output" in reason(judged({"y": SCORES}, {}))


def test_swapped_outputs_of_one_shape_fail() -> None:
    a, b = SCORES, SCORES[::-1].copy()
    assert not judged({"a": a, "b": b}, {"a": b, "b": a}).ok


def test_labels_may_differ_only_where_the_source_is_at_a_tie() -> None:
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32)
    labels = np.array([0, 0])
    at_the_tie = judged(
        {"label": labels, "p": probabilities}, {"label": np.array([1, 0]), "p": probabilities}
    )
    assert at_the_tie.outputs[0].ok
    assert at_the_tie.outputs[0].mismatches == 1
    away = judged(
        {"label": labels, "p": probabilities}, {"label": np.array([0, 1]), "p": probabilities}
    )
    assert not away.outputs[0].ok


def test_strict_tolerance_is_one_in_a_hundred_thousand() -> None:
    near, far = SCORES + np.float32(2e-6), SCORES + np.float32(1e-4)
    assert judged({"y": SCORES}, {"y": near}, Tolerances(strict=True)).ok
    assert not judged({"y": SCORES}, {"y": far}, Tolerances(strict=True)).ok


def test_strict_tolerance_grows_with_the_range_of_wide_numbers() -> None:
    wide = np.array([1000.0, 0.4, -3.0], np.float32)
    near, far = wide + np.float32(5e-3), wide + np.float32(5e-2)
    assert judged({"y": wide}, {"y": near}, Tolerances(strict=True)).ok
    assert not judged({"y": wide}, {"y": far}, Tolerances(strict=True)).ok


def test_agreement_is_of_the_output_that_looks_like_probabilities() -> None:
    p = np.array([[0.8, 0.2], [0.3, 0.7]], np.float32)
    q = np.array([[0.8, 0.2], [0.7, 0.3]], np.float32)
    assert judged({"p": p}, {"p": q}).top1_agreement == 0.5
    assert judged({"y": SCORES}, {"y": SCORES}).top1_agreement is None


def test_agreement_of_logits_is_known_where_they_are_named_as_classes() -> None:
    off = SCORES.copy()
    off[0] = -off[0]
    named = compare(
        {"y": SCORES},
        {"y": off},
        tolerances=Tolerances(),
        evidence=Evidence.REAL,
        samples=6,
        classified="y",
    )
    assert named.top1_agreement == pytest.approx(5 / 6)
    assert named.outputs[0].agreement == pytest.approx(5 / 6)


def test_divergence_is_of_probabilities_on_both_sides() -> None:
    p = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32)
    q = np.array([[0.25, 0.75], [0.9, 0.1]], np.float32)
    found = judged({"p": p}, {"p": q}).outputs[0].kl_divergence
    assert found == pytest.approx((0.5 * np.log(2) + 0.5 * np.log(2 / 3)) / 2, rel=1e-5)
    assert judged({"y": SCORES}, {"y": SCORES}).outputs[0].kl_divergence is None


def noisy(db: float) -> Array:
    """SCORES with noise of which the signal to noise ratio is `db`."""
    noise = RNG.standard_normal(SCORES.shape)
    size = np.sqrt(np.square(SCORES).sum() / np.square(noise).sum() / 10 ** (db / 10))
    return (SCORES + size * noise).astype(np.float32)


@pytest.mark.parametrize(
    ("precision", "least"),
    [
        (Precision.BF16, 30),
        (Precision.W8, 30),
        (Precision.DYNAMIC, 20),
        (Precision.INT8, 20),
        (Precision.W8A16, 20),
        (Precision.W4, 15),
    ],
)
def test_a_quantized_output_is_held_to_a_signal_to_noise_ratio(
    precision: Precision, least: float
) -> None:
    quantized = Tolerances(precision=precision)
    good = judged({"y": SCORES}, {"y": noisy(least + 0.5)}, quantized).outputs[0]
    assert good.ok
    assert good.rule == f"sqnr >= {least} dB"
    assert good.atol is None
    bad = judged({"y": SCORES}, {"y": noisy(least - 0.5)}, quantized).outputs[0]
    assert not bad.ok
    assert f"sqnr {least - 0.5:.1f} dB is below {least} dB" in bad.reason


def test_an_artifact_is_held_to_the_coarsest_precision_of_its_layers() -> None:
    def layers(*precisions: Precision) -> tuple[LayerPrecision, ...]:
        return tuple(LayerPrecision(name="l", op="Conv", precision=p) for p in precisions)

    assert stored_precision(()) is Precision.FP32
    assert stored_precision(layers(Precision.FP32, Precision.FP16)) is Precision.FP16
    assert stored_precision(layers(Precision.INT8, Precision.FP32, Precision.W8)) is Precision.INT8


def test_half_floats_may_be_off_by_a_hundredth_of_the_range() -> None:
    half = Tolerances(precision=Precision.FP16)
    reach = float(np.ptp(SCORES))
    assert judged({"y": SCORES}, {"y": SCORES + np.float32(0.009 * reach)}, half).ok
    assert not judged({"y": SCORES}, {"y": SCORES + np.float32(0.02 * reach)}, half).ok


def test_classes_of_a_quantized_model_agree_in_98_of_100() -> None:
    quantized = Tolerances(precision=Precision.INT8)
    labels = np.arange(80)
    one, two = labels.copy(), labels.copy()
    one[7] = 0
    two[[7, 8]] = 0
    passed = judged({"label": labels}, {"label": one}, quantized).outputs[0]
    assert passed.ok
    assert passed.agreement == 79 / 80
    failed = judged({"label": labels}, {"label": two}, quantized).outputs[0]
    assert not failed.ok
    assert failed.rule == "agreement >= 0.98"
    assert judged({"label": labels}, {"label": two}, Tolerances(min_agreement=0.9)).ok


def test_what_the_user_asks_holds_beside_the_rules_of_the_precision() -> None:
    off = noisy(25)
    assert judged({"y": SCORES}, {"y": off}, Tolerances(precision=Precision.INT8)).ok
    for tolerances in (
        Tolerances(precision=Precision.INT8, min_sqnr_db=26),
        Tolerances(precision=Precision.INT8, atol={"y": 1e-4}),
        Tolerances(precision=Precision.INT8, rtol={"": 1e-4}),
    ):
        parity = judged({"y": SCORES}, {"y": off}, tolerances)
        assert not parity.ok
        assert not left_to_the_task(parity, tolerances).ok
    loose = Tolerances(precision=Precision.W8, min_sqnr_db=20)
    assert judged({"y": SCORES}, {"y": off}, loose).ok


def test_the_task_metric_excuses_noise_but_nothing_broken() -> None:
    quantized = Tolerances(precision=Precision.INT8)
    missed = judged({"y": SCORES}, {"y": noisy(10)}, quantized)
    assert not missed.ok
    settled = left_to_the_task(missed, quantized)
    assert settled.ok
    assert "the task metric decides" in settled.outputs[0].reason
    for bad in (np.full_like(SCORES, np.nan), SCORES[:, :2], np.repeat(SCORES[:1], 6, axis=0)):
        broken = judged({"y": SCORES}, {"y": bad}, quantized)
        assert broken.outputs[0].broken
        assert not left_to_the_task(broken, quantized).ok


def test_an_output_that_stays_within_a_grid_step_may_be_one_value() -> None:
    nearly = 100 + np.linspace(0, 1e-3, 6, dtype=np.float32)[:, None]
    rounded = np.full_like(nearly, 100)
    assert judged({"y": nearly}, {"y": rounded}, Tolerances(precision=Precision.INT8)).ok is False
    steady = np.concatenate([nearly, np.zeros_like(nearly)], axis=1)
    flat = np.concatenate([rounded, np.zeros_like(nearly)], axis=1)
    assert judged({"y": steady}, {"y": flat}, Tolerances(precision=Precision.INT8)).ok


def test_one_sample_of_a_few_is_as_near_as_they_can_tell() -> None:
    chances = np.eye(4, dtype=np.float32)[np.arange(40) % 4] * 0.6 + 0.1
    one, two = chances.copy(), chances.copy()
    one[:1] = one[:1, ::-1]
    two[:2] = two[:2, ::-1]
    int8 = Tolerances(precision=Precision.INT8, min_sqnr_db=0.0)
    assert judged({"p": chances}, {"p": one}, int8).ok
    assert not judged({"p": chances}, {"p": two}, int8).ok
    assert not judged({"p": chances[:10]}, {"p": one[:10]}, int8).ok
