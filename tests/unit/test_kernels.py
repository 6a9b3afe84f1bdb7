"""Whether a bad answer is the model's or the machine's."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.parity.kernels import doubt_of

RNG = np.random.default_rng(0)
EXPECTED = RNG.standard_normal((50, 10))
NOISE = RNG.standard_normal((50, 10))


def off(db: float) -> dict[str, Array]:
    """Outputs with this signal to noise ratio."""
    size = np.linalg.norm(EXPECTED) / np.linalg.norm(NOISE) / 10 ** (db / 20)
    return {"y": (EXPECTED + size * NOISE).astype(np.float32)}


def test_a_gap_between_kernels_is_named_with_both_figures() -> None:
    doubt = doubt_of({"y": EXPECTED}, off(16), off(37))
    assert "saturate: output y has sqnr 16.0 dB with them and 37.0 dB with plain" in doubt.message
    assert doubt.reference_sqnr_db == pytest.approx(37, abs=1e-3)


@pytest.mark.parametrize(("fast", "plain"), [(24, 26), (37, 16), (30, 30)])
def test_a_small_gap_and_better_fast_kernels_are_no_doubt(fast: float, plain: float) -> None:
    assert doubt_of({"y": EXPECTED}, off(fast), off(plain)).message == ""


def test_labels_and_outputs_that_cannot_be_compared_raise_no_doubt() -> None:
    assert doubt_of({"label": np.arange(3)}, {"label": np.arange(3)}, {}).message == ""
    assert doubt_of({"y": EXPECTED}, {}, off(30)).message == ""
