"""The lines a model can take through edgekit: convert, validate, bench, inspect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgekit.catalog import Catalog
from edgekit.config import feeds
from edgekit.config.features import features_of
from edgekit.config.samples import Data, read_data
from edgekit.config.sniff import sniff
from edgekit.core.artifact import Artifact, Format
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.inspection import Inspection
from edgekit.core.noun import changed, to_json
from edgekit.core.recipe import Preprocess
from edgekit.core.request import BenchRequest, ConvertRequest, Opening, ValidateRequest
from edgekit.core.target import Target
from edgekit.errors import ConfigError, EdgekitError, ExitCode
from edgekit.parity.tolerance import stored_precision
from edgekit.pipeline.cell import Cell, cell_folder, source_of
from edgekit.pipeline.draft import Draft, Progress, reported
from edgekit.pipeline.judging import describe
from edgekit.pipeline.learning import best_inputs, calibrate
from edgekit.pipeline.making import Maker, best_plan
from edgekit.pipeline.mending import mended
from edgekit.pipeline.names import aligned
from edgekit.pipeline.prove import gather_inputs, measured, over_budget, prove
from edgekit.pipeline.publish import check_writable, failed_path, publish
from edgekit.planner import Wish, rivals
from edgekit.worker.client import Workers

_TELL_NO_INPUTS = frozenset({Format.STATE_DICT, Format.TORCH_PICKLE, Format.TORCHSCRIPT})


def quiet(_: str) -> None:
    """Progress for nobody."""


def convert(
    request: ConvertRequest, *, workers: Workers, catalog: Catalog, progress: Progress = quiet
) -> CellReport:
    """Convert, prove and, if it passed, publish. Raises ConfigError; all else is in the report."""
    if request.output:
        check_writable(Path(request.output))
    preprocess = request.recipe.preprocess or _preprocess(request.target)
    data = _data(request.proof.data, preprocess)
    target = request.target.name if request.target else request.to.value
    name = request.recipe.name
    draft = Draft(
        f"{Path(request.opening.path).stem}-{name}-{target}",
        recipe=name,
        target=target,
        progress=progress,
    )
    wish = Wish(passes=request.recipe.passes, via=request.via, features=features_of(request.target))

    def line(cell: Cell) -> CellReport:
        plans = rivals(sniff(Path(request.opening.path)), request.to, catalog, wish)
        _check_data(request)
        source = _load(cell, request.opening, data)
        inputs = gather_inputs(source, data, request.proof, cell)
        calibration = calibrate(cell, source, inputs, request)
        maker = Maker(
            cell,
            source,
            inputs=best_inputs(cell, inputs, calibration),
            request=request,
            features=wish.features,
            calibration=calibration,
        )
        report, made = mended(maker, best_plan(maker, plans), request)
        _publish(report, made, request)
        return report

    return _in_cell(line, draft, workers=workers, catalog=catalog, run_dir=request.run_dir)


def validate(
    request: ValidateRequest, *, workers: Workers, catalog: Catalog, progress: Progress = quiet
) -> CellReport:
    """Prove an artifact that already exists against its source."""
    data = _data(request.proof.data, _preprocess(request.target))
    path = Path(request.artifact)
    draft = Draft(
        f"{Path(request.opening.path).stem}-validate-{path.name}",
        recipe="as given",
        target=request.target.name if request.target else "",
        progress=progress,
    )

    def line(cell: Cell) -> CellReport:
        source = _load(cell, request.opening, data)
        inputs = gather_inputs(source, data, request.proof, cell)
        opening = Opening(path=str(path), inputs=source.signature.inputs)
        artifact = cell.load(source_of(opening), own=True)
        signature = aligned(artifact, source.signature, request.proof.map_outputs)
        artifact = changed(artifact, signature=signature)
        describe(cell, artifact, str(path))
        return prove(
            cell,
            source,
            artifact,
            inputs=inputs,
            proof=request.proof,
            target=request.target,
            precision=request.precision or stored_precision(artifact.layers),
        )

    return _in_cell(line, draft, workers=workers, catalog=catalog, run_dir=request.run_dir)


def bench(
    request: BenchRequest, *, workers: Workers, catalog: Catalog, progress: Progress = quiet
) -> CellReport:
    """Run one model and measure it; nothing is compared."""
    data = _data(request.proof.data, _preprocess(request.target))
    path = Path(request.opening.path)
    target = request.target.name if request.target else ""
    draft = Draft(f"{path.name}-bench", recipe="as given", target=target, progress=progress)

    def line(cell: Cell) -> CellReport:
        artifact = _load(cell, request.opening, data)
        describe(cell, artifact, str(path))
        inputs = gather_inputs(artifact, data, request.proof, cell)
        draft.notes += inputs.weakness
        feed = feeds.write_feed(inputs.arrays, artifact.signature, cell.folder / "samples.npz")
        run = cell.run(artifact, feed, request.proof, own=True, fresh=True)
        measured(cell, artifact, run, source=None, target=request.target)
        missed = over_budget(cell)
        return draft.report(Outcome.OVER_BUDGET, missed) if missed else draft.passed()

    return _in_cell(line, draft, workers=workers, catalog=catalog, run_dir=request.run_dir)


def inspect(
    opening: Opening, *, workers: Workers, catalog: Catalog, progress: Progress = quiet
) -> Inspection:
    """Say what is inside a model. Raises what went wrong."""
    draft = Draft("inspect", recipe="", target="", progress=progress)
    with cell_folder(None, "inspect") as folder:
        cell = Cell(draft, workers=workers, catalog=catalog, folder=folder)
        return cell.inspect(_load(cell, opening, None))


def _in_cell(
    line: Callable[[Cell], CellReport],
    draft: Draft,
    *,
    workers: Workers,
    catalog: Catalog,
    run_dir: str | None,
) -> CellReport:
    """Walk one line in a folder of its own: an error ends it as a report, but for a ConfigError."""
    with cell_folder(run_dir, draft.facts["id"]) as folder:
        try:
            return line(Cell(draft, workers=workers, catalog=catalog, folder=folder))
        except ConfigError:
            raise
        except EdgekitError as error:
            return draft.failed(error)


def _preprocess(target: Target | None) -> Preprocess | None:
    return target.preprocess if target else None


def _data(path: str | None, preprocess: Preprocess | None) -> Data | None:
    return read_data(Path(path), preprocess) if path else None


def _load(cell: Cell, opening: Opening, data: Data | None) -> Artifact:
    """The source with its signature; formats that tell no inputs take them from the data."""
    told = feeds.specs_of(data) if data and sniff(Path(opening.path)) in _TELL_NO_INPUTS else ()
    source = source_of(opening, inputs=told)
    artifact = cell.load(source)
    cell.draft.notes += artifact.notes
    cell.draft.facts["source"] = reported(artifact, path=opening.path)
    return artifact


def _check_data(request: ConvertRequest) -> None:
    """Raise ConfigError before any work where a pass lacks the samples it learns from."""
    if request.recipe.needs_calibration and request.calibration is None:
        raise ConfigError(
            f"{request.recipe.name} needs calibration data: ranges of activations are measured on it",
            fix="add --calibration-data FILE|DIR: 100 or more samples as in use, not from --eval-data",
        )
    if request.recipe.needs_training and request.training is None:
        raise ConfigError(
            f"{request.recipe.name} fine-tunes the model and needs data for it",
            fix="add --train-data FILE|DIR",
        )


def _publish(report: CellReport, made: Artifact, request: ConvertRequest) -> None:
    """At `output` there is a good artifact or what was there before."""
    if not request.output:
        return
    output = Path(request.output)
    if report.exit_code is ExitCode.PASSED:
        publish(Path(made.path), output, to_json(report))
    elif request.keep_failed:
        publish(Path(made.path), failed_path(output), to_json(report))
