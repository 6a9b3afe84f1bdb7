"""Run both sides on the same samples and judge: parity, accuracy, latency, memory, budget."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from edgekit import __version__
from edgekit.catalog import host_platform
from edgekit.config import feeds
from edgekit.config.feeds import Feed
from edgekit.config.samples import Data
from edgekit.config.targets import runs_here
from edgekit.core.arrays import Arrays, read_npz
from edgekit.core.artifact import Artifact, Format
from edgekit.core.cell import CellReport, Memory, Outcome, Reason, Stage
from edgekit.core.measured import Accuracy, Evidence, Parity, RunResult, TensorParity, Verdict
from edgekit.core.noun import changed
from edgekit.core.recipe import Precision
from edgekit.core.request import Proof
from edgekit.core.target import Budget, Target
from edgekit.errors import StepError, UnsupportedError
from edgekit.parity.budget import check_budget
from edgekit.parity.compare import compare, left_to_the_task
from edgekit.parity.kernels import CURE
from edgekit.parity.latency import latency_of
from edgekit.parity.tolerance import Tolerances
from edgekit.pipeline.cell import Cell
from edgekit.pipeline.doubts import doubts
from edgekit.pipeline.draft import reported
from edgekit.pipeline.score import Sides, accuracy_of, classified, missed

_STRICT_SOURCES = frozenset({Format.SKOPS, Format.PICKLE})
_MAX_PROBED_AXIS = 256


_WEAK = {
    Evidence.CALIBRATION: "judged on the calibration samples, to which the ranges were fitted",
    Evidence.SYNTHETIC: "the samples are synthetic",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Arrays by the source's input names, what they are worth, and the user's data if any."""

    arrays: Arrays
    evidence: Evidence
    data: Data | None

    @property
    def weakness(self) -> tuple[str, ...]:
        """What a report must say of samples that prove little."""
        if self.evidence is Evidence.REAL:
            return ()
        return (f"weak evidence: {_WEAK[self.evidence]}; give real ones with --eval-data",)


def gather_inputs(source: Artifact, data: Data | None, proof: Proof, cell: Cell) -> Inputs:
    """The user's samples fitted to the source, or synthetic ones."""
    if not source.signature.inputs:
        raise UnsupportedError(
            "the model takes no inputs", fix="edgekit judges models by what they answer to samples"
        )
    if data is None:
        arrays = feeds.synthetic(source.signature, seed=proof.seed)
        return Inputs(arrays=arrays, evidence=Evidence.SYNTHETIC, data=None)
    arrays, notes = feeds.bind(data, source.signature)
    cell.draft.notes += notes
    return Inputs(arrays=arrays, evidence=Evidence.REAL, data=data)


def prove(
    cell: Cell,
    source: Artifact,
    artifact: Artifact,
    *,
    inputs: Inputs,
    proof: Proof,
    target: Target | None,
    precision: Precision = Precision.FP32,
) -> CellReport:
    """Judge `artifact` against `source`; every figure that was measured is in the report."""
    draft = cell.draft
    draft.notes += inputs.weakness
    draft.facts["strict"] = proof.strict
    feed = feeds.write_feed(inputs.arrays, artifact.signature, cell.folder / "samples.npz")
    expected = cell.run(source, feed, proof)
    actual = cell.run(artifact, feed, proof, own=True, fresh=True)
    draft.stage = Stage.COMPARE
    tolerances = Tolerances(
        atol=proof.atol,
        rtol=proof.rtol,
        strict=source.format in _STRICT_SOURCES,
        precision=precision,
        min_sqnr_db=proof.min_sqnr_db,
        min_agreement=proof.min_agreement,
    )
    sides = Sides(
        real=inputs.evidence is Evidence.REAL,
        inputs=inputs.arrays,
        labels=inputs.data.labels if inputs.data else {},
        expected=_outputs(expected, feed),
        actual=_outputs(actual, feed),
    )
    parity = compare(
        sides.expected,
        sides.actual,
        tolerances=tolerances,
        evidence=inputs.evidence,
        samples=feed.count,
        classified=classified(artifact, sides.labels, proof),
    )
    parity = _with_probe(cell, source, artifact, parity, inputs=inputs, tolerances=tolerances)
    doubt = doubts(
        cell,
        artifact,
        feed,
        sides=(sides.expected, sides.actual),
        precision=precision,
        num_threads=proof.num_threads,
    )
    accuracy = None
    if not any(output.broken for output in parity.outputs):
        accuracy = accuracy_of(cell, artifact, sides, proof)
    draft.stage = Stage.COMPARE
    parity = changed(
        _settled(cell, parity, accuracy, tolerances), reference_sqnr_db=doubt.reference_sqnr_db
    )
    draft.facts |= {"parity": parity, "accuracy": accuracy}
    measured(cell, artifact, actual, source=expected, target=target)
    return _judged(cell, parity, accuracy, doubt=doubt.message)


def measured(
    cell: Cell,
    artifact: Artifact,
    run: RunResult,
    *,
    source: RunResult | None,
    target: Target | None,
) -> None:
    """Put latency, memory, placement, environment and budget lines into the draft."""
    facts = cell.draft.facts
    facts["latency"] = (
        latency_of(run.timing, source.timing if source else None) if run.timing else None
    )
    facts["memory"] = Memory(
        peak_rss_bytes=run.peak_rss_bytes,
        model_rss_bytes=run.model_rss_bytes,
        source_peak_rss_bytes=source.peak_rss_bytes if source else None,
    )
    facts["placement"] = run.placement
    facts["environment"] = _environment(run, source)
    here = target is None or runs_here(target)
    if target is not None and not here:
        device = f"{target.device.os}-{target.device.arch}"
        cell.draft.notes.append(
            f"run on this {host_platform()} host, not on {device}: latency and memory are the host's"
        )
    facts["budget"] = check_budget(
        target.budget if target else Budget(),
        artifact=reported(artifact, path=artifact.path),
        latency=facts["latency"] if here else None,
        memory=facts["memory"] if here else None,
        placement=run.placement,
    )


def over_budget(cell: Cell) -> Reason | None:
    """The first limit that was missed, as a reason."""
    for line in cell.draft.facts.get("budget", ()):
        if not line.ok:
            actual = "not measured" if line.actual is None else f"{line.actual:g}"
            return Reason(message=f"{line.name}: {actual}, the limit is {line.limit:g}")
    return None


def _settled(
    cell: Cell, parity: Parity, accuracy: Accuracy | None, tolerances: Tolerances
) -> Parity:
    """A task metric that passed on real labels decides over the rules of a quantized precision."""
    decides = accuracy is not None and accuracy.verdict is Verdict.PASSED
    if not decides or tolerances.precision is Precision.FP32:
        return parity
    settled = left_to_the_task(parity, tolerances)
    for before, after in zip(parity.outputs, settled.outputs, strict=True):
        if after.ok and not before.ok:
            cell.draft.notes.append(f"output {after.name}: {after.reason}")
    return settled


def _judged(
    cell: Cell, parity: Parity, accuracy: Accuracy | None, *, doubt: str = ""
) -> CellReport:
    draft = cell.draft
    if doubt:
        draft.notes.append(f"{doubt}; {CURE}")
    verdict = missed(accuracy) if accuracy else None
    failed = verdict if verdict and verdict[0] is Outcome.ACCURACY_FAILED else None
    worst = next((output for output in parity.outputs if not output.ok), None)
    if worst is not None and (worst.broken or failed is None):
        return draft.report(Outcome.PARITY_FAILED, _off(worst, doubt))
    if failed is not None:
        outcome, reason = failed
        also = f"; output {worst.name}: {worst.reason}" if worst else ""
        reason = changed(reason, message=f"{reason.message}{also}")
        return draft.report(outcome, changed(reason, fix=CURE) if doubt else reason)
    late = over_budget(cell)
    if late:
        return draft.report(Outcome.OVER_BUDGET, late)
    return draft.report(*verdict) if verdict else draft.passed()


def _off(worst: TensorParity, doubt: str) -> Reason:
    """Why an output that is too far off is, and what would help."""
    if doubt and not worst.broken:
        return Reason(message=f"output {worst.name}: {worst.reason}; {doubt}", fix=CURE)
    if worst.atol is not None or worst.broken:
        fix = "compare the outputs above; --atol/--rtol [OUT:]V allow more"
    else:
        fix = (
            "keep more in float (--exclude, another --precision), or let labelled samples decide "
            "(--max-drop)"
        )
    return Reason(message=f"output {worst.name}: {worst.reason}", fix=fix)


def _outputs(result: RunResult, feed: Feed) -> Arrays:
    return feeds.rows_of(read_npz(result.outputs), feed)


def _with_probe(
    cell: Cell,
    source: Artifact,
    artifact: Artifact,
    parity: Parity,
    *,
    inputs: Inputs,
    tolerances: Tolerances,
) -> Parity:
    """Axes other than the first that the artifact calls free are run at a second size too."""
    sizes = {
        inputs.arrays[spec.origin].shape[axis]
        for spec in artifact.signature.inputs
        for axis, size in enumerate(spec.shape or ())
        if axis and size is None
    }
    if not sizes:
        return parity
    size = max(sizes) * 2 if max(sizes) * 2 <= _MAX_PROBED_AXIS else max(min(sizes) // 2, 2)
    arrays = feeds.synthetic(source.signature, seed=1, rows=2, size=size)
    feed = feeds.write_feed(arrays, artifact.signature, cell.folder / "probe.npz")
    bare = Proof(num_runs=0)
    try:
        expected = cell.run(source, feed, bare)
    except StepError as error:
        cell.draft.notes.append(
            f"free axes were not tried at size {size}: the source fails there ({error})"
        )
        return parity
    actual = cell.run(artifact, feed, bare, own=True)
    probe = compare(
        _outputs(expected, feed),
        _outputs(actual, feed),
        tolerances=tolerances,
        evidence=Evidence.SYNTHETIC,
        samples=feed.count,
    )
    cell.draft.notes.append(f"free axes were also run at size {size}")
    found = probe.outputs
    if not tolerances.compares_elements:  # made-up samples are outside of the calibrated ranges
        found = tuple(o if o.broken else changed(o, ok=True, rule="", reason="") for o in found)
    extra = tuple(changed(output, name=f"{output.name} (axis size {size})") for output in found)
    return changed(parity, outputs=parity.outputs + extra)


def _environment(run: RunResult, source: RunResult | None) -> dict[str, str]:
    return {
        "edgekit": __version__,
        "python": platform.python_version(),
        "platform": host_platform(),
        "runtime": run.runtime,
        **({"source_runtime": source.runtime, **source.versions} if source else {}),
        **run.versions,
    }
