"""The search for the fewest layers, and which trials no other beats."""

from __future__ import annotations

import pytest

from edgekit.core.gain import Trial
from edgekit.pipeline.mending import with_front
from edgekit.pipeline.repair import fewest


@pytest.mark.parametrize("needed", range(1, 12))
def test_the_fewest_layers_that_hold_are_found_in_few_trials(needed: int) -> None:
    ranked = [str(i) for i in range(11)]
    tried: list[int] = []

    def holds(kept: object) -> bool:
        tried.append(len(kept))  # type: ignore[arg-type]
        return tried[-1] >= needed

    assert fewest(holds, ranked)
    assert min(n for n in tried if n >= needed) == needed
    assert len(tried) <= 8
    assert len(set(tried)) == len(tried)


def test_where_no_number_of_layers_holds_that_is_said() -> None:
    assert not fewest(lambda kept: False, ["a", "b", "c"])


def test_a_trial_that_another_beats_in_everything_is_not_on_the_front() -> None:
    good = Trial(changed="good", outcome="passed", drop=0.0, size_bytes=10, latency_p50_ms=1.0)
    small = Trial(changed="small", outcome="passed", drop=0.1, size_bytes=5, latency_p50_ms=1.0)
    bad = Trial(changed="bad", outcome="passed", drop=0.1, size_bytes=10, latency_p50_ms=2.0)
    only_scanned = Trial(changed="scan", sqnr_db=90.0, size_bytes=1)
    front = {t.changed: t.on_front for t in with_front((good, small, bad, only_scanned))}
    assert front == {"good": True, "small": True, "bad": False, "scan": False}
