"""The interval of a paired drop: its definition, its edge cases, and how often it lets one pass."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.parity.paired import clopper_pearson, mcnemar, tango_interval, tango_upper
from edgekit.parity.quantiles import Z95, beta_cdf, beta_quantile, t_quantile_95

LIMIT = 0.01


def test_nothing_changed_on_a_hundred_samples_still_leaves_almost_four_points_open() -> None:
    low, high = tango_interval(0, 0, 100)
    assert high == pytest.approx(Z95**2 / (100 + Z95**2))
    assert low == pytest.approx(-high)


def test_the_interval_is_mirrored_where_the_sides_are_swapped() -> None:
    low, high = tango_interval(12, 2, 50)
    assert tango_interval(2, 12, 50) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("lost", "gained", "samples"), [(12, 2, 50), (1, 0, 80), (4, 3, 1000)])
def test_at_its_ends_the_score_test_is_at_five_percent(
    lost: int, gained: int, samples: int
) -> None:
    for drop in tango_interval(lost, gained, samples):
        shares = np.linspace(max(-drop, 0), (1 - drop) / 2, 2_000_001)[1:-1]
        likelihood = (
            lost * np.log(shares + drop)
            + gained * np.log(shares)
            + (samples - lost - gained) * np.log1p(-2 * shares - drop)
        )
        likeliest = shares[likelihood.argmax()]
        variance = samples * (2 * likeliest + drop * (1 - drop))
        assert abs(lost - gained - samples * drop) / variance**0.5 == pytest.approx(Z95, abs=2e-3)


def test_mcnemar_is_a_fair_coin() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(6, 0) == pytest.approx(2 / 64)
    assert mcnemar(12, 2) == pytest.approx(2 * (1 + 14 + 91) / 2**14)


def test_clopper_pearson_gives_the_published_ends() -> None:
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1.0))
    low, high = clopper_pearson(81, 263)  # Clopper and Pearson, as in Newcombe (1998), table I
    assert (round(low, 4), round(high, 4)) == (0.2527, 0.3676)


def test_quantiles_are_those_of_the_tables() -> None:
    assert t_quantile_95(1) == pytest.approx(12.7062, abs=1e-4)
    assert t_quantile_95(10) == pytest.approx(2.2281, abs=1e-4)
    assert t_quantile_95(1e6) == pytest.approx(Z95, abs=1e-4)
    assert beta_cdf(2, 3, 0.4) == pytest.approx(0.5248)
    assert beta_cdf(30_000, 70_001, beta_quantile(30_000, 70_001, 0.3)) == pytest.approx(0.3)


@pytest.mark.parametrize("samples", [100, 400, 1000, 5000])
@pytest.mark.parametrize("discordant", [0.011, 0.02, 0.05, 0.15])
def test_a_drop_just_over_the_limit_passes_at_most_one_time_in_twenty(
    samples: int, discordant: float
) -> None:
    drop = LIMIT * 1.0001
    lost, gained = drawn(samples, drop, discordant, times=1000)
    passes = tango_upper(lost, gained, np.full(1000, float(samples))) <= LIMIT
    assert passes.mean() <= 0.05


def test_a_drop_well_within_the_limit_passes_almost_always() -> None:
    lost, gained = drawn(20_000, 0.002, 0.02, times=1000)
    assert (tango_upper(lost, gained, np.full(1000, 20_000.0)) <= LIMIT).mean() > 0.99


def drawn(
    samples: int, drop: float, discordant: float, *, times: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Losses and gains of `times` evaluations of models that truly drop by `drop`."""
    lost, gained = (discordant + drop) / 2, (discordant - drop) / 2
    rng = np.random.default_rng(samples)
    counts = rng.multinomial(samples, [lost, gained, 1 - lost - gained], size=times)
    return counts[:, 0].astype(np.float64), counts[:, 1].astype(np.float64)
