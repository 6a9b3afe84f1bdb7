"""A verdict that fails is explained; with `--auto` it is mended."""

from __future__ import annotations

from edgekit.core.artifact import Artifact
from edgekit.core.cell import CellReport, Outcome, Reason
from edgekit.core.gain import Diagnosis, Trial
from edgekit.core.noun import changed
from edgekit.core.plan import Plan
from edgekit.core.recipe import Quantize
from edgekit.core.request import ConvertRequest
from edgekit.errors import ExitCode
from edgekit.pipeline.diagnosing import diagnose
from edgekit.pipeline.judging import Judge
from edgekit.pipeline.making import Maker
from edgekit.pipeline.repair import repair
from edgekit.pipeline.trials import Proven, Trials

_DIAGNOSIS_S = 120.0
_MENDABLE = (Outcome.PARITY_FAILED, Outcome.ACCURACY_FAILED, Outcome.INCONCLUSIVE)


def mended(maker: Maker, plan: Plan, request: ConvertRequest) -> tuple[CellReport, Artifact]:
    """Judge what `plan` makes. Where it fails: name the layers and causes; with `auto`, mend it."""
    judge = Judge(maker, request)
    report, made = judge.prove(plan)
    settings = request.recipe.passes[0] if len(request.recipe.passes) == 1 else None
    if (
        not isinstance(settings, Quantize)
        or report.outcome not in _MENDABLE
        or report.exit_code is ExitCode.PASSED
    ):
        return report, made
    seconds = request.auto_time_s if request.auto else _DIAGNOSIS_S
    trials = Trials(maker, request, prove=judge.prove, via=plan.steps[-1].backend, seconds=seconds)
    diagnosis = diagnose(trials, settings, report)
    explained = changed(report, diagnosis=diagnosis, reason=_reason(report, diagnosis))
    best = repair(trials, settings, diagnosis, report.layers) if request.auto else None
    if best is not None and _is_better(best.report, report):
        made = maker.make(best.plan.steps)
        explained = changed(
            best.report, diagnosis=diagnosis, notes=(*best.report.notes, _said(best, trials))
        )
    if request.auto:
        trials.forget()
    rows = tuple(changed(row, taken=best is not None and row == best.trial) for row in trials.all)
    steps = maker.cell.draft.passed().steps
    return changed(explained, trials=with_front(rows), steps=steps), made


def with_front(trials: tuple[Trial, ...]) -> tuple[Trial, ...]:
    """Mark the trials that no other beats in accuracy (else SQNR), size and latency at once."""
    return tuple(
        changed(
            trial,
            on_front=bool(trial.outcome)
            and trial.outcome != "failed"
            and not any(_beats(other, trial) for other in trials if other.outcome != "failed"),
        )
        for trial in trials
    )


def _beats(one: Trial, other: Trial) -> bool:
    mine, theirs = _costs(one), _costs(other)
    known = [(m, t) for m, t in zip(mine, theirs, strict=True) if m is not None and t is not None]
    if len(known) < sum(t is not None for t in theirs):
        return False
    return all(m <= t for m, t in known) and any(m < t for m, t in known)


def _costs(trial: Trial) -> tuple[float | None, ...]:
    """What is better small: the drop (else the noise), the size, the latency."""
    noise = None if trial.sqnr_db is None else -trial.sqnr_db
    return (trial.drop if trial.drop is not None else noise, trial.size_bytes, trial.latency_p50_ms)


def _is_better(one: CellReport, other: CellReport) -> bool:
    if one.exit_code is ExitCode.PASSED:
        return True
    drops = [r.accuracy.drop if r.accuracy else 0.0 for r in (one, other)]
    return drops[0] < drops[1]


def _reason(report: CellReport, diagnosis: Diagnosis) -> Reason:
    """The cause as it was, with the costliest layers and what would be better."""
    old = report.reason or Reason(message=str(report.outcome))
    parts = [old.message]
    if diagnosis.layers:
        worst = diagnosis.layers[0]
        parts.append(
            f"the costliest layer is {worst.layer} ({worst.op}): {worst.alone_sqnr_db:.1f} dB alone"
        )
    parts += diagnosis.causes
    fix = "--auto takes out what costs most; or --exclude the layer" if diagnosis.layers else ""
    return changed(old, message="; ".join(parts), fix=fix or old.fix)


def _said(best: Proven, trials: Trials) -> str:
    kept = f" ({', '.join(best.trial.kept)})" if best.trial.kept else ""
    return (
        f"--auto took: {best.trial.changed}{kept}, after {len(trials.all)} trials; trials were judged "
        "on the same evaluation data as the result"
    )
