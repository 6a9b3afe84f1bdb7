"""Run both sides on the same samples and judge: parity, accuracy, latency, memory, budget."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit import __version__
from edgekit.catalog import host_platform
from edgekit.config import feeds
from edgekit.config.feeds import Feed
from edgekit.config.samples import Data
from edgekit.config.targets import runs_here
from edgekit.core.arrays import Array, Arrays, read_npz, write_npz
from edgekit.core.artifact import Artifact, Format
from edgekit.core.cell import CellReport, Memory, Outcome, Reason, Stage
from edgekit.core.jobs import ScoreJob
from edgekit.core.measured import Accuracy, Evidence, Parity, RunResult
from edgekit.core.noun import changed
from edgekit.core.request import Proof
from edgekit.core.target import Budget, Target
from edgekit.errors import ConfigError, StepError, UnsupportedError
from edgekit.parity.accuracy import AccuracyLimit, Metric, built_in_score, default_metric, judge
from edgekit.parity.budget import check_budget
from edgekit.parity.compare import compare
from edgekit.parity.latency import latency_of
from edgekit.parity.tolerance import Tolerances
from edgekit.pipeline.cell import Cell
from edgekit.pipeline.draft import reported

_STRICT_SOURCES = frozenset({Format.SKOPS, Format.PICKLE})
_MAX_PROBED_AXIS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Arrays by the source's input names, what they are worth, and the user's data if any."""

    arrays: Arrays
    evidence: Evidence
    data: Data | None


def gather_inputs(source: Artifact, data: Data | None, proof: Proof, cell: Cell) -> Inputs:
    """The user's samples fitted to the source, or synthetic ones, of which the report says so."""
    if not source.signature.inputs:
        raise UnsupportedError(
            "the model takes no inputs", fix="edgekit judges models by what they answer to samples"
        )
    if data is None:
        cell.draft.notes.append(
            "weak evidence: the samples are synthetic; give real ones with --eval-data"
        )
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
) -> CellReport:
    """Judge `artifact` against `source`; every figure that was measured is in the report."""
    draft = cell.draft
    feed = feeds.write_feed(inputs.arrays, artifact.signature, cell.folder / "samples.npz")
    expected = cell.run(source, feed, proof)
    actual = cell.run(artifact, feed, proof, own=True, fresh=True)
    draft.stage = Stage.COMPARE
    tolerances = Tolerances(
        atol=proof.atol, rtol=proof.rtol, strict=source.format in _STRICT_SOURCES
    )
    sides = (_outputs(expected, feed), _outputs(actual, feed))
    parity = compare(*sides, tolerances=tolerances, evidence=inputs.evidence, samples=feed.count)
    parity = _with_probe(cell, source, artifact, parity, inputs=inputs, tolerances=tolerances)
    accuracy = _accuracy(cell, artifact, sides, inputs=inputs, proof=proof)
    draft.facts |= {"parity": parity, "accuracy": accuracy}
    measured(cell, artifact, actual, source=expected, target=target)
    return _judged(cell, parity, accuracy)


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


def _judged(cell: Cell, parity: Parity, accuracy: Accuracy | None) -> CellReport:
    if not parity.ok:
        worst = next(output for output in parity.outputs if not output.ok)
        return cell.draft.report(
            Outcome.PARITY_FAILED,
            Reason(
                message=f"output {worst.name}: {worst.reason}",
                fix="compare the outputs above; --atol/--rtol [OUT:]V allow more",
            ),
        )
    if accuracy is not None and accuracy.verdict == "fail":
        message = (
            f"{accuracy.metric} {accuracy.artifact:.4g} (source {accuracy.source:.4g}), "
            f"required: {accuracy.limit}"
        )
        return cell.draft.report(Outcome.ACCURACY_FAILED, Reason(message=message))
    missed = over_budget(cell)
    return cell.draft.report(Outcome.OVER_BUDGET, missed) if missed else cell.draft.passed()


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
    extra = tuple(
        changed(output, name=f"{output.name} (axis size {size})") for output in probe.outputs
    )
    return changed(parity, outputs=parity.outputs + extra)


def _accuracy(
    cell: Cell, artifact: Artifact, sides: tuple[Arrays, Arrays], *, inputs: Inputs, proof: Proof
) -> Accuracy | None:
    labels: Mapping[str, Array] = inputs.data.labels if inputs.data else {}
    limit = AccuracyLimit(min_accuracy=proof.min_accuracy, max_drop=proof.max_drop)
    if not labels:
        if proof.metric or limit != AccuracyLimit():
            raise ConfigError(
                "--metric, --min-accuracy and --max-drop need labels",
                fix="add `y` to the --eval-data",
            )
        return None
    metric = proof.metric or default_metric(next(iter(labels.values()))).value
    if ":" in metric:
        source, own = _own_metric(cell, metric, sides, labels, proof)
    else:
        score = built_in_score(_known(metric), labels, artifact.signature)
        source, own = score(sides[0]), score(sides[1])
    rows = len(next(iter(labels.values())))
    return judge(metric, samples=rows, source=source, artifact=own, limit=limit)


def _known(metric: str) -> Metric:
    try:
        return Metric(metric)
    except ValueError:
        raise ConfigError(
            f"unknown metric {metric!r}", fix=f"one of {', '.join(Metric)}, or module:function"
        ) from None


def _own_metric(
    cell: Cell,
    metric: str,
    sides: tuple[Arrays, Arrays],
    labels: Mapping[str, Array],
    proof: Proof,
) -> tuple[float, float]:
    paths = (cell.folder / "expected.npz", cell.folder / "actual.npz")
    for path, arrays in zip(paths, sides, strict=True):
        write_npz(path, arrays)
    truth = cell.folder / "labels.npz"
    write_npz(truth, {name or "y": array for name, array in labels.items()})
    source, own = cell.score(
        ScoreJob(
            metric=metric,
            outputs=tuple(map(str, paths)),
            labels=str(truth),
            folder=str(cell.folder / "score"),
            metric_path=str(Path(proof.metric_path or ".").resolve()),
        )
    )
    return source, own


def _environment(run: RunResult, source: RunResult | None) -> dict[str, str]:
    return {
        "edgekit": __version__,
        "python": platform.python_version(),
        "platform": host_platform(),
        "runtime": run.runtime,
        **({"source_runtime": source.runtime, **source.versions} if source else {}),
        **run.versions,
    }
