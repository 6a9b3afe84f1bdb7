"""Equalization: the function stays to the last bit, and channels range alike."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.backends.equalization import Neighbours, Side, equalize

RNG = np.random.default_rng(0)


def two_layers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first = RNG.standard_normal((8, 4)).astype(np.float32) * np.geomspace(1, 1e4, 8)[:, None]
    bias = RNG.standard_normal(8).astype(np.float32) * np.geomspace(1, 1e4, 8)
    second = RNG.standard_normal((3, 8)).astype(np.float32) / np.geomspace(1, 1e4, 8)
    return first.astype(np.float32), bias.astype(np.float32), second.astype(np.float32)


def answers(first: np.ndarray, bias: np.ndarray, second: np.ndarray) -> np.ndarray:
    x = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
    hidden = np.maximum(x @ first.T + bias, 0)
    return np.stack([sum(h * w for h, w in zip(row.T, second.T, strict=True)) for row in hidden])


def test_the_function_stays_to_the_last_bit() -> None:
    first, bias, second = two_layers()
    before = answers(first, bias, second)
    assert equalize([Neighbours(Side(first, 0), (bias,), Side(second, 1))])
    np.testing.assert_array_equal(answers(first, bias, second), before)


def test_channels_range_alike_afterwards() -> None:
    first, bias, second = two_layers()
    equalize([Neighbours(Side(first, 0), (bias,), Side(second, 1))])
    ratio = Side(first, 0).ranges() / Side(second, 1).ranges()
    assert ratio.max() / ratio.min() <= 4  # powers of two leave each side within sqrt 2


def test_what_ranges_alike_is_left_alone() -> None:
    weights = np.ones((4, 4), np.float32)
    assert equalize([Neighbours(Side(weights, 0), (), Side(weights.copy(), 1))]) == 0


@pytest.mark.parametrize("side", [0, 1])
def test_a_dead_channel_is_left_alone(side: int) -> None:
    first, bias, second = two_layers()
    (first if side == 0 else second.T)[2] = 0
    equalize([Neighbours(Side(first, 0), (bias,), Side(second, 1))])
    assert np.isfinite(first).all()
    assert np.isfinite(second).all()
