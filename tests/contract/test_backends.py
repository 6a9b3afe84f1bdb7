"""What every row of the catalog keeps to, whatever the framework behind it."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest

from edgekit.backend_table import BUILTIN
from edgekit.catalog import load_catalog
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.backend import Backend, Kind
from edgekit.core.jobs import LoadJob
from edgekit.core.signature import TensorSpec
from edgekit.errors import EdgekitError, ExitCode
from edgekit.planner import reader
from edgekit.worker.client import LOG_NAME, Workers
from tests.parity.edge_cells import Bench, Samples, largest

SHAPES = {
    Kind.LOADER: ("load", "LoadJob", "Artifact"),
    Kind.CONVERTER: ("convert", "ConvertJob", "Artifact"),
    Kind.OPTIMIZER: ("optimize", "OptimizeJob", "Artifact"),
    Kind.RUNTIME: ("run", "RunJob", "RunResult"),
    Kind.INSPECTOR: ("inspect", "InspectJob", "Inspection"),
}
REPO = Path(__file__).resolve().parents[2]
X = TensorSpec(name="x", dtype="float32", shape=(None, 8))

by_name = pytest.mark.parametrize("row", BUILTIN, ids=lambda row: row.name)


@by_name
def test_an_entry_is_a_function_of_the_shape_of_its_kind(row: Backend) -> None:
    module, _, function = row.entry.partition(":")
    tree = ast.parse((REPO / f"{module.replace('.', '/')}.py").read_text())
    (found,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    (argument,) = found.args.args
    shown = (
        function,
        ast.unparse(argument.annotation or found),
        ast.unparse(found.returns or found),
    )
    assert (argument.arg, shown) == ("job", SHAPES[row.kind])


@by_name
def test_a_row_says_what_it_needs_and_what_to_install(row: Backend) -> None:
    assert row.reads
    assert row.requires
    assert row.extra
    assert (row.writes is not None) == (row.kind in (Kind.CONVERTER, Kind.OPTIMIZER))


def test_names_are_unique() -> None:
    assert len({row.name for row in BUILTIN}) == len(BUILTIN)


def test_whatever_can_be_made_can_be_loaded_run_and_inspected() -> None:
    written = {row.writes for row in BUILTIN if row.writes is not None}
    for kind in (Kind.LOADER, Kind.RUNTIME, Kind.INSPECTOR):
        read = {format for row in BUILTIN if row.kind is kind for format in row.reads}
        assert written <= read


LOADERS = [
    pytest.param(row, format, id=f"{row.name}-{format}")
    for row in BUILTIN
    if row.kind is Kind.LOADER
    for format in row.reads
    if format is not Format.SAVEDMODEL
]


def refusal(workers: Workers, row: Backend, format: Format, path: Path) -> EdgekitError:
    """The error a loader gives for `path`, with nothing trusted."""
    source = ModelSource(
        path=str(path),
        format=format,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        factory="torch_factories:mlp",
        factory_path=str(REPO / "tests" / "parity"),
        inputs=(X,),
    )
    job = LoadJob(source=source, folder=str(path.parent / "load"))
    with pytest.raises(EdgekitError) as refused:
        workers.call(job, Artifact, entry=row.entry, environment=row.environment)
    log = path.parent / "load" / LOG_NAME
    assert not log.exists() or "Traceback" not in log.read_text()
    return refused.value


@pytest.mark.framework
@pytest.mark.parametrize("content", ["empty", "random"])
@pytest.mark.parametrize(("row", "format"), LOADERS)
def test_a_loader_refuses_what_is_not_its_format(
    workers: Workers, tmp_path: Path, row: Backend, format: Format, content: str
) -> None:
    path = tmp_path / f"model{format.suffix}"
    path.write_bytes(b"" if content == "empty" else np.random.default_rng(0).bytes(5000))
    assert refusal(workers, row, format, path).exit_code is ExitCode.REFUSED


@pytest.fixture(scope="module")
def models(
    workers: Workers,
    programs: Path,
    sample_models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[Format, tuple[Artifact, Samples]]:
    """One model of each format with a free batch, and four rows for it."""
    bench = Bench(workers=workers, folder=tmp_path_factory.mktemp("models"))
    images = {"x": np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)}
    program = bench.load(programs / "pool.pt2", Format.EXPORTED)
    made: dict[Format, tuple[Artifact, Samples]] = {Format.EXPORTED: (program, images)}
    for to in (Format.TFLITE, Format.ONNX, Format.EXECUTORCH, Format.TORCHSCRIPT):
        made[to] = (bench.convert(program, to, images), images)
    for format, name in ((Format.KERAS, "digits_cnn"), (Format.SKOPS, "digits_forest")):
        path = sample_models / name / "built" / f"{name}{format.suffix}"
        artifact = bench.load(path, format)
        (spec,) = artifact.signature.inputs
        shape = [4, *(size or 1 for size in (spec.shape or ())[1:])]
        rows = np.random.default_rng(2).random(shape).astype(spec.dtype)
        made[format] = (artifact, {spec.name: rows})
    return made


RUNNABLE = [
    Format.EXPORTED,
    Format.TFLITE,
    Format.ONNX,
    Format.EXECUTORCH,
    Format.TORCHSCRIPT,
    Format.KERAS,
    Format.SKOPS,
]
each_format = pytest.mark.parametrize("format", RUNNABLE)


@pytest.mark.framework
@each_format
def test_a_runtime_gives_the_same_whatever_the_calls(
    models: dict[Format, tuple[Artifact, Samples]], bench: Bench, format: Format
) -> None:
    artifact, samples = models[format]
    whole = bench.outputs(artifact, samples, (4,))
    assert largest(whole, bench.outputs(artifact, samples, (1, 2, 1))) <= 1e-6
    assert largest(whole, bench.outputs(artifact, samples, (4,))) == 0


@pytest.mark.framework
@each_format
def test_a_runtime_times_the_calls_and_names_its_version(
    models: dict[Format, tuple[Artifact, Samples]], bench: Bench, format: Format
) -> None:
    result, _ = bench.run(*models[format], (2, 2), num_runs=5)
    assert result.timing is not None
    assert (result.timing.rows, result.timing.threads) == (2, 1)
    assert len(result.timing.runs_ns) >= 5
    assert min(result.timing.runs_ns) > 0
    assert result.versions
    assert result.peak_rss_bytes


@pytest.mark.framework
@each_format
def test_an_inspector_tells_signature_ops_and_size(
    models: dict[Format, tuple[Artifact, Samples]], bench: Bench, format: Format
) -> None:
    artifact, _ = models[format]
    found = bench.inspect(artifact)
    assert found.format is format
    assert found.signature.inputs
    assert sum(found.ops.values()) > 0
    assert found.size_bytes == Path(artifact.path).stat().st_size


@pytest.mark.framework
@pytest.mark.parametrize("kept", [0.5, 0.97])
@each_format
def test_a_loader_refuses_a_file_that_breaks_off(
    models: dict[Format, tuple[Artifact, Samples]],
    workers: Workers,
    tmp_path: Path,
    format: Format,
    kept: float,
) -> None:
    data = Path(models[format][0].path).read_bytes()
    path = tmp_path / f"model{format.suffix}"
    path.write_bytes(data[: int(len(data) * kept)])
    row = reader(Kind.LOADER, format, load_catalog())
    assert refusal(workers, row, format, path).exit_code is ExitCode.REFUSED
