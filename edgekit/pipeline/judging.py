"""Judge what a plan makes, beside the float32 artifact of the same way."""

from __future__ import annotations

from pathlib import Path

from edgekit.config import feeds
from edgekit.core.artifact import Artifact
from edgekit.core.cell import CellReport
from edgekit.core.measured import RunResult
from edgekit.core.noun import changed
from edgekit.core.plan import Plan
from edgekit.core.request import ConvertRequest
from edgekit.core.signature import Signature
from edgekit.parity.gain import gain_of
from edgekit.pipeline.cell import Cell
from edgekit.pipeline.draft import reported
from edgekit.pipeline.making import Maker
from edgekit.pipeline.prove import prove
from edgekit.pipeline.publish import compressed_size_bytes
from edgekit.planner import without_passes


class Judge:
    """Proves plans of one request; the float32 artifact beside them is run once."""

    def __init__(self, maker: Maker, request: ConvertRequest) -> None:
        self._maker = maker
        self._request = request
        self._runs: dict[str, RunResult] = {}

    def prove(self, plan: Plan) -> tuple[CellReport, Artifact]:
        """The verdict on what `plan` makes, and what its passes brought."""
        cell, made = self._maker.cell, self._maker.make(plan.steps)
        kept = list(cell.draft.notes)
        self._maker.note(plan.steps)
        describe(cell, made, self._request.output or Path(made.path).name)
        baseline = self._baseline(plan)
        run = self._run(baseline) if baseline else None
        report = prove(
            cell,
            self._maker.source,
            made,
            inputs=self._maker.inputs,
            proof=self._request.proof,
            target=self._request.target,
            precision=self._request.recipe.precision,
        )
        cell.draft.notes = kept  # what this plan had to say is in its own report
        if baseline is None:
            return report, made
        gain = gain_of(
            report,
            baseline,
            baseline_compressed=compressed_size_bytes(Path(baseline.path)),
            run=run,
            layers=made.layers,
            features=self._maker.features,
        )
        return changed(report, gain=gain, layers=made.layers), made

    def _baseline(self, plan: Plan) -> Artifact | None:
        if not self._request.recipe.passes:
            return None
        return self._maker.make(without_passes(plan.steps, self._maker.cell.catalog))

    def _run(self, baseline: Artifact) -> RunResult | None:
        """Run and time the float32 artifact in a fresh child; None where nothing is timed."""
        proof = self._request.proof
        if proof.num_runs == 0:
            return None
        if baseline.path not in self._runs:
            path = self._maker.cell.folder / "baseline.npz"
            feed = feeds.write_feed(self._maker.inputs.arrays, baseline.signature, path)
            self._runs[baseline.path] = self._maker.cell.run(
                baseline, feed, proof, own=True, fresh=True
            )
        return self._runs[baseline.path]


def describe(cell: Cell, artifact: Artifact, path: str) -> None:
    """Put the artifact's file and signature into the draft, under the path the user knows it by."""
    compressed = compressed_size_bytes(Path(artifact.path))
    cell.draft.facts["artifact"] = reported(artifact, path=path, compressed=compressed)
    cell.draft.facts["signature"] = Signature(
        inputs=artifact.signature.inputs, outputs=artifact.signature.outputs
    )
