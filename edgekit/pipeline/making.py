"""Make artifacts by plans, each step once; of several plans keep the one nearest to the source."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.config import feeds
from edgekit.config.feeds import Feed
from edgekit.core.arrays import Array, Arrays, read_npz
from edgekit.core.artifact import Artifact
from edgekit.core.backend import Kind
from edgekit.core.calibration import Calibration
from edgekit.core.gain import Rival
from edgekit.core.noun import changed, to_json
from edgekit.core.plan import Plan, Step
from edgekit.core.recipe import Equalize, Precision, name_of
from edgekit.core.request import ConvertRequest, Proof
from edgekit.errors import EdgekitError, StepError, UnsupportedError
from edgekit.parity.metrics import sqnr_db
from edgekit.pipeline.cell import Cell
from edgekit.pipeline.names import with_inputs
from edgekit.pipeline.prove import Inputs

_SCORED_SAMPLES = 64
_EXACT_DB = 999.0
_AS_NEAR_DB = 1.0


class Maker:
    """Turns steps into artifacts inside one cell; steps that plans share are done once."""

    def __init__(
        self,
        cell: Cell,
        source: Artifact,
        *,
        inputs: Inputs,
        request: ConvertRequest,
        features: tuple[str, ...] = (),
        calibration: Calibration | None = None,
    ) -> None:
        self.cell = cell
        self.source = source
        self.inputs = inputs
        self.calibration = calibration
        self.features = features
        self._request = request
        self._made: dict[str, Artifact] = {}
        self._expected: dict[tuple[int, ...], Arrays] = {}
        self._feeds = 0

    def make(self, steps: Sequence[Step]) -> Artifact:
        """The source after `steps`; raises what a step raises, UnsupportedError where one did nothing."""
        if not steps:
            return self.source
        key = to_json(tuple(steps))
        if key not in self._made:
            self._made[key] = self._apply(self.make(steps[:-1]), steps[-1], number=len(steps))
        return self._made[key]

    def note(self, steps: Sequence[Step]) -> None:
        """Put what the steps had to say into the draft."""
        for end in range(1, len(steps) + 1):
            self.cell.draft.notes += self.make(steps[:end]).notes

    def closeness(self, artifact: Artifact) -> tuple[float, int]:
        """SQNR in dB of the worst output on up to 64 calibration samples (else on the inputs)."""
        arrays = self._scored()
        feed = self._feed(arrays, artifact)
        actual = self._outputs(artifact, feed, own=True)
        if feed.calls not in self._expected:
            self._expected[feed.calls] = self._outputs(self.source, feed, own=False)
        floats = [n for n, array in self._expected[feed.calls].items() if array.dtype.kind == "f"]
        found = [_sqnr(self._expected[feed.calls][name], actual[name]) for name in floats]
        return min(found, default=_EXACT_DB), feed.count

    def _apply(self, artifact: Artifact, step: Step, *, number: int) -> Artifact:
        backend = self.cell.catalog.backend(step.backend)
        target = self._request.target.options if self._request.target else {}
        options = {**backend.options, **target, **self._request.options}
        if backend.kind is Kind.OPTIMIZER and step.does is not None:
            made = self.cell.optimize(
                artifact,
                backend,
                settings=step.does,
                calibration=self.calibration,
                features=self.features,
                options=options,
            )
        else:
            wanted = artifact.signature
            if artifact is self.source:
                wanted = with_inputs(wanted, self._request.opening.inputs)
            examples = self.cell.folder / f"examples-{number}.npz"
            feeds.write_examples(self.inputs.arrays, wanted, examples)
            made = self.cell.convert(
                artifact,
                backend,
                signature=wanted,
                examples=examples,
                options=options,
                fused=step.does,
                calibration=self.calibration,
            )
        _check_did(step, artifact, made)
        return made

    def _scored(self) -> Arrays:
        if self.calibration is None:
            return {name: array[:_SCORED_SAMPLES] for name, array in self.inputs.arrays.items()}
        count = min(self.calibration.count, _SCORED_SAMPLES)
        rows = np.linspace(0, self.calibration.count - 1, count).astype(int)
        files = self.calibration.files
        return {name: np.load(path, mmap_mode="r")[rows] for name, path in files.items()}

    def _feed(self, arrays: Arrays, artifact: Artifact) -> Feed:
        self._feeds += 1
        path = self.cell.folder / f"scored-{self._feeds}.npz"
        return feeds.write_feed(arrays, artifact.signature, path)

    def _outputs(self, artifact: Artifact, feed: Feed, *, own: bool) -> Arrays:
        run = self.cell.run(artifact, feed, Proof(num_runs=0), own=own)
        return feeds.rows_of(read_npz(run.outputs), feed)


def best_plan(maker: Maker, plans: Sequence[Plan]) -> Plan:
    """The first plan whose artifact is as near to the source as any, within 1 dB; all are reported.

    Plans come in order of preference: of two that answer alike the first is the faster. One that
    fails is passed over, and raised only where every one failed.
    """
    if len(plans) == 1:
        maker.make(plans[0].steps)
        return plans[0]
    rivals: list[Rival] = []
    failures: list[EdgekitError] = []
    for plan in plans:
        names = tuple(step.backend for step in plan.steps)
        try:
            made = maker.make(plan.steps)
            found, samples = maker.closeness(made)
        except (UnsupportedError, StepError) as error:
            failures.append(error)
            rivals.append(Rival(backends=names, reason=error.message))
            continue
        size = made.size_bytes
        rivals.append(Rival(backends=names, sqnr_db=found, size_bytes=size, samples=samples))
    if len(failures) == len(plans):
        raise failures[0]
    best = max(map(_rank, rivals))
    at = next(i for i, rival in enumerate(rivals) if _rank(rival) >= best - _AS_NEAR_DB)
    maker.cell.draft.facts["rivals"] = tuple(
        changed(rival, taken=i == at) for i, rival in enumerate(rivals)
    )
    return plans[at]


def _rank(rival: Rival) -> float:
    return -math.inf if rival.sqnr_db is None else rival.sqnr_db


def _sqnr(expected: Array, actual: Array) -> float:
    if expected.shape != actual.shape or not np.isfinite(actual.astype(np.float64)).all():
        return -_EXACT_DB
    found = sqnr_db(expected.astype(np.float64), actual.astype(np.float64))
    return _EXACT_DB if found is None else found


def _check_did(step: Step, before: Artifact, after: Artifact) -> None:
    """A pass that changed nothing is an error, not a success."""
    if step.does is None:
        return
    if isinstance(step.does, Equalize) and after.sha256 != before.sha256:
        return
    rewritten = [layer for layer in after.layers if layer.precision is not Precision.FP32]
    if after.sha256 == before.sha256 or not rewritten:
        raise UnsupportedError(
            f"{step.backend} was to {name_of(step.does)} and changed nothing in this model",
            fix="convert it with --precision fp32 or fp16, or take another --via",
        )
