"""Parity: what passes, what fails, and what the report says of it."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.core.measured import Evidence, Parity
from edgekit.parity.compare import compare
from edgekit.parity.tolerance import Tolerances

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
