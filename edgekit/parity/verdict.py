"""From two graded sides to a verdict: the drop, its 95 % interval, and what they say of a limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekit.core.measured import Accuracy, ClassDrop, DropType, Verdict
from edgekit.core.noun import Noun
from edgekit.errors import ConfigError
from edgekit.parity.accuracy import Graded
from edgekit.parity.bootstrap import Floats, floored, resampled, spread
from edgekit.parity.paired import Interval, clopper_pearson, mcnemar, tango_interval
from edgekit.parity.tasks import LOWER_IS_BETTER, OF_CLASSES, Metric

_HAIR = 1e-12
_MOST_SAMPLES = 1 << 32
_WORST_CLASSES = 10

At = Callable[[float], Interval]


class AccuracyLimit(Noun):
    """What the user allows: a least value of the artifact's metric, a largest drop, or nothing."""

    min_accuracy: float | None = None
    max_drop: float | None = None
    drop_type: DropType = DropType.ABSOLUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The metric of both sides, and what is known of it.

    `drop_at` and `artifact_at` give the 95 % intervals of the drop and of the artifact's value on a
    number of samples on which the observed rates would hold. `never_worse`: the artifact lost
    nothing, neither on the samples nor on any draw from them.
    """

    samples: int
    source: float
    artifact: float
    drop: float
    drop_at: At
    artifact_at: At
    never_worse: bool = False
    lost: int | None = None
    gained: int | None = None


def compared(metric: Metric, sides: Graded, *, samples: int, seed: int = 0) -> Compared:
    """Compare on the same samples: exactly where each is right or wrong, else by the bootstrap."""
    if sides.source.right is not None and sides.artifact.right is not None:
        right = sides.artifact.right.astype(bool)
        lost = int((sides.source.right.astype(bool) & ~right).sum())
        gained = int((right & ~sides.source.right.astype(bool)).sum())
        return _right_or_wrong(int(right.sum()), lost, gained, samples)
    source, artifact = sides.source.of_all(samples), sides.artifact.of_all(samples)
    drawn = resampled(sides.source.value, sides.artifact.value, samples=samples, seed=seed)
    return from_draws(
        (source, artifact),
        drawn,
        samples=samples,
        lower_is_better=metric in LOWER_IS_BETTER,
        of_classes=metric in OF_CLASSES,
    )


def from_draws(
    values: tuple[float, float],
    drawn: tuple[Floats, Floats],
    *,
    samples: int,
    lower_is_better: bool,
    of_classes: bool,
) -> Compared:
    """Compare a metric of both sides by its values on resamples, `drawn`.

    The intervals of a share in 0..1 that is made of right and wrong (`of_classes`) have a least
    width.
    """
    source, artifact = values
    sign = -1 if lower_is_better else 1
    drop = sign * (source - artifact)
    drops = sign * (drawn[0] - drawn[1])
    drop_at, artifact_at = spread(drop, drops, samples), spread(artifact, drawn[1], samples)
    if of_classes:
        drop_at, artifact_at = floored(drop_at, drop), floored(artifact_at, artifact)
    return Compared(
        samples=samples,
        source=source,
        artifact=artifact,
        drop=drop,
        drop_at=drop_at,
        artifact_at=artifact_at,
        never_worse=bool(
            len(drops) and max(drop, drops[np.isfinite(drops)].max(initial=drop)) <= 0
        ),
    )


def judge(metric: str, both: Compared, limit: AccuracyLimit, *, sides: Graded | None) -> Accuracy:
    """Hold the intervals against the limits. Raises ConfigError where a value is not a number."""
    if not (math.isfinite(both.source) and math.isfinite(both.artifact)):
        raise ConfigError(
            f"{metric} is not a number: {both.source} of the source, {both.artifact} of the artifact",
            fix="look at the labels; AUROC, say, needs rows of both classes",
        )
    checks = _checks(metric, both, limit)
    verdicts = [check.verdict(both.samples) for check in checks]
    open_ones = [c for c, v in zip(checks, verdicts, strict=True) if v is Verdict.INCONCLUSIVE]
    verdict = next(
        (v for v in (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED) if v in verdicts),
        Verdict.NOT_JUDGED,
    )
    needed = [check.samples_needed(both.samples) for check in open_ones]
    return Accuracy(
        metric=metric,
        samples=both.samples,
        source=both.source,
        artifact=both.artifact,
        drop=both.drop,
        verdict=verdict,
        limit=" and ".join(check.text for check in checks),
        within_limit=all(check.is_met for check in checks) if checks else None,
        drop_ci95=_finite(both.drop_at(both.samples)),
        artifact_ci95=_finite(both.artifact_at(both.samples)),
        samples_needed=_most(needed) if verdict is Verdict.INCONCLUSIVE else None,
        lost=both.lost,
        gained=both.gained,
        p_value=None if both.lost is None else mcnemar(both.lost, both.gained or 0),
        agreement=sides.agreement if sides else None,
        truth=sides.truth if sides else "",
        per_class=worst_classes(sides) if sides else (),
    )


def worst_classes(sides: Graded) -> tuple[ClassDrop, ...]:
    """The classes in which the artifact is worse, the worst first, at most ten."""
    drops = [
        ClassDrop(
            label=sides.categories[label] if sides.categories and label >= 0 else str(label),
            samples=samples,
            source=value,
            artifact=sides.artifact.by_class[label][1],
            drop=value - sides.artifact.by_class[label][1],
        )
        for label, (samples, value) in sides.source.by_class.items()
        if label in sides.artifact.by_class
    ]
    worse = [drop for drop in drops if drop.drop > _HAIR]
    return tuple(sorted(worse, key=lambda drop: -drop.drop)[:_WORST_CLASSES])


def _right_or_wrong(right: int, lost: int, gained: int, samples: int) -> Compared:
    def drop_at(count: float) -> Interval:
        share = count / samples
        return tango_interval(lost * share, gained * share, count)

    def artifact_at(count: float) -> Interval:
        return clopper_pearson(right * count / samples, count)

    return Compared(
        samples=samples,
        source=(right + lost - gained) / samples,
        artifact=right / samples,
        drop=(lost - gained) / samples,
        drop_at=drop_at,
        artifact_at=artifact_at,
        never_worse=lost == 0,
        lost=lost,
        gained=gained,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """`estimate <= bound`, with the interval of the estimate as a function of the sample count."""

    text: str
    estimate: float
    bound: float
    at: At
    settled: bool = False

    @property
    def is_met(self) -> bool:
        return self.estimate <= self.bound + _HAIR

    def verdict(self, samples: float) -> Verdict:
        low, high = self.at(samples)
        if self.settled or high <= self.bound + _HAIR:
            return Verdict.PASSED
        return Verdict.FAILED if low > self.bound + _HAIR else Verdict.INCONCLUSIVE

    def samples_needed(self, samples: int) -> int | None:
        """The fewest samples that decide if the observed rates hold; None where none would."""
        few, many = samples, samples * 2
        if not all(map(math.isfinite, self.at(samples))):
            return None
        while self.verdict(many) is Verdict.INCONCLUSIVE:
            few, many = many, many * 2
            if many > _MOST_SAMPLES:
                return None
        while many - few > 1:
            middle = (few + many) // 2
            undecided = self.verdict(middle) is Verdict.INCONCLUSIVE
            few, many = (middle, many) if undecided else (few, middle)
        return many


def _checks(metric: str, both: Compared, limit: AccuracyLimit) -> list[_Check]:
    checks = []
    if limit.min_accuracy is not None:
        if metric in LOWER_IS_BETTER:
            raise ConfigError(
                f"--min-accuracy has no meaning for {metric}, of which less is better",
                fix="use --max-drop",
            )
        text = f"{metric} >= {limit.min_accuracy:g}"
        checks.append(
            _Check(
                text=text,
                estimate=-both.artifact,
                bound=-limit.min_accuracy,
                at=_negated(both.artifact_at),
            )
        )
    if limit.max_drop is not None:
        relative = limit.drop_type is DropType.RELATIVE
        bound = limit.max_drop * (abs(both.source) if relative else 1)
        text = f"drop <= {limit.max_drop:g}" + (f" of {both.source:g}" if relative else "")
        settled = bound == 0 and both.never_worse
        text += ", on these samples" if settled else ""
        checks.append(
            _Check(text=text, estimate=both.drop, bound=bound, at=both.drop_at, settled=settled)
        )
    return checks


def _negated(at: At) -> At:
    def negative(count: float) -> Interval:
        low, high = at(count)
        return -high, -low

    return negative


def _finite(interval: Interval) -> Interval | None:
    return interval if all(map(math.isfinite, interval)) else None


def _most(needed: list[int | None]) -> int | None:
    known = [number for number in needed if number is not None]
    return max(known) if len(known) == len(needed) else None
