"""Ranges from streamed values."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.backends.activation_ranges import Range, RangeCollector
from edgekit.core.arrays import Array
from edgekit.core.recipe import RangeMethod

CLIPPING = (RangeMethod.PERCENTILE, RangeMethod.ENTROPY, RangeMethod.MSE)


def _range(method: RangeMethod, *arrays: Array, percentile: float = 99.99, bits: int = 8) -> Range:
    collector = RangeCollector(method, percentile, bits=bits)
    for array in arrays:
        collector.add("t", array)
    return collector.ranges()["t"]


def _quantization_error(
    values: npt.NDArray[np.float64], bounds: Range, *, levels: int = 256
) -> float:
    step = (bounds[1] - bounds[0]) / (levels - 1)
    kept = np.clip(values, *bounds)
    return float(np.mean((values - (np.round((kept - bounds[0]) / step) * step + bounds[0])) ** 2))


def test_minmax_is_exact_over_calls_and_shapes() -> None:
    first, second = np.array([[0.1, 3.7]], np.float32), np.array([-1.3], np.float32)
    assert _range(RangeMethod.MINMAX, first, second) == (float(second[0]), float(first[0, 1]))


@pytest.mark.parametrize("method", RangeMethod)
def test_values_that_are_not_finite_are_ignored(method: RangeMethod) -> None:
    values = np.array([np.nan, -np.inf, 1.0, 2.0, np.inf])
    low, high = _range(method, values)
    assert 0 <= low <= 1
    assert 1.9 <= high <= 2


def test_a_tensor_without_a_finite_value_has_no_range() -> None:
    collector = RangeCollector(RangeMethod.MINMAX)
    collector.add("t", np.array([np.nan]))
    collector.add("empty", np.zeros((0, 3)))
    assert collector.ranges() == {}


@pytest.mark.parametrize("method", RangeMethod)
@pytest.mark.parametrize("value", [0.0, 2.5, -1e-30])
def test_a_constant_keeps_its_value(method: RangeMethod, value: float) -> None:
    assert _range(method, np.full(9, value)) == (value, value)


@pytest.mark.parametrize("method", CLIPPING)
def test_the_order_of_the_samples_changes_the_range_by_a_bin_at_most(method: RangeMethod) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(scale=scale, size=400) for scale in (0.01, 1, 30, 3)]
    there, back = _range(method, *arrays), _range(method, *arrays[::-1])
    span = max(a.max() for a in arrays) - min(a.min() for a in arrays)
    assert there == pytest.approx(back, abs=span / 500)


@pytest.mark.parametrize("method", CLIPPING)
def test_no_range_is_wider_than_the_values(method: RangeMethod) -> None:
    values = np.random.default_rng(1).uniform(0.2, 0.9, 3000)
    low, high = _range(method, values)
    assert values.min() <= low
    assert high <= values.max()


@pytest.mark.parametrize("bounds", [(-7.0, 5.0), (0.0, 1e-6), (-3e8, 0.0), (100.0, 101.0)])
def test_the_percentile_is_that_of_the_values(bounds: Range) -> None:
    values = np.random.default_rng(2).uniform(*bounds, size=40_000)
    found = _range(RangeMethod.PERCENTILE, *np.split(values, 20), percentile=90)
    span = max(bounds[1], 0) - min(bounds[0], 0)
    assert found == pytest.approx(tuple(np.percentile(values, (5, 95))), abs=2 * span / 1024)


def test_zeros_count_in_the_percentile() -> None:
    values = np.concatenate([np.zeros(9990), np.full(10, 8.0)])
    assert _range(RangeMethod.PERCENTILE, values, percentile=99)[1] < 0.01
    assert _range(RangeMethod.PERCENTILE, values, percentile=99.99)[1] == 8


@pytest.mark.parametrize("method", [RangeMethod.PERCENTILE, RangeMethod.ENTROPY])
def test_one_outlier_in_many_values_is_cut(method: RangeMethod) -> None:
    values = np.append(np.random.default_rng(3).normal(size=200_000), 400.0)
    low, high = _range(method, values, percentile=99.99)
    assert 2 < high < 40
    assert -6 < low < -2


def test_mse_is_near_the_best_pair_of_bounds_found_by_trying() -> None:
    values = np.random.default_rng(4).laplace(size=20_000)
    values[values < -2] = -2
    tried = min(
        _quantization_error(values, (low, high), levels=16)
        for low in np.linspace(-2, -0.5, 16)
        for high in np.linspace(1, 10, 40)
    )
    found = _range(RangeMethod.MSE, values, bits=4)
    assert _quantization_error(values, found, levels=16) < 1.05 * tried
    assert tried < 0.7 * _quantization_error(values, (values.min(), values.max()), levels=16)


def test_entropy_cuts_a_long_tail_and_leaves_a_uniform_distribution_alone() -> None:
    rng = np.random.default_rng(5)
    uniform = rng.uniform(-1, 1, 100_000)
    assert _range(RangeMethod.ENTROPY, uniform) == pytest.approx((-1, 1), abs=0.01)
    tailed = rng.standard_t(3, 100_000)
    assert _range(RangeMethod.ENTROPY, tailed)[1] < 0.5 * tailed.max()


def test_entropy_is_not_drawn_to_the_blank_border_of_images() -> None:
    """Most values of each channel are its answer to the border, one and the same."""
    rng = np.random.default_rng(8)
    strokes = np.abs(rng.normal(scale=3, size=4000))
    values = np.concatenate([strokes, np.full(16_000, 0.11), np.full(9000, -0.24)])
    assert _range(RangeMethod.ENTROPY, values)[1] > 0.8 * strokes.max()


def test_entropy_of_a_few_values_cuts_none_of_them() -> None:
    assert _range(RangeMethod.ENTROPY, np.array([0.1, 1.0, 2.0])) == (0.1, 2.0)


def test_sixteen_bits_need_no_clipping_by_entropy() -> None:
    values = np.random.default_rng(6).standard_t(3, 50_000)
    assert _range(RangeMethod.ENTROPY, values, bits=16) == (values.min(), values.max())


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    collector = RangeCollector(RangeMethod.MSE)
    values = np.random.default_rng(7).normal(size=1000)
    collector.add("t", values)
    tracemalloc.start()
    for scale in range(1, 400):
        collector.add("t", values * scale)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 50_000
