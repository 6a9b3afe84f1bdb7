"""PyTorch to ONNX and TorchScript through the whole pipeline: right answers, names, free axes."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.artifact import Format
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.signature import TensorSpec
from tests.conftest import ConvertModel
from tests.parity.edge_cells import Bench
from tests.parity.torch_zoo_names import factory

pytestmark = pytest.mark.framework

FORMATS = ("onnx", "torchscript")
RNG = np.random.default_rng(1)


def spec(name: str, *shape: int | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


MODELS = {
    "cnn": (spec("image", None, 3, 16, 16),),
    "channels_last": (spec("image", None, 3, 16, 16),),
    "Recurrent": (spec("frames", None, 7, 6),),
    "Transformer": (spec("ids", None, None, dtype="int64"),),
    "TwoByTwo": (spec("left", None, 6), spec("right", None, 6)),
    "FullyConvolutional": (spec("image", None, 3, None, None),),
}
CLASSES = {"channels_last": "channels_last_cnn"}


def max_abs_diff(report: CellReport) -> float:
    assert report.parity is not None
    return max(output.max_abs_diff for output in report.parity.outputs)


def shapes(report: CellReport) -> dict[str, tuple[int | None, ...] | None]:
    assert report.signature is not None
    both = (*report.signature.inputs, *report.signature.outputs)
    return {tensor.name: tensor.shape for tensor in both}


def contents(path: Path) -> bytes:
    """All bytes of a file, those that a zip archive compresses too."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = (n for n in archive.namelist() if not n.endswith(".py"))
        return b"".join(archive.read(name) for name in members)


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_weights_become_an_artifact_with_the_same_answers(
    convert_model: ConvertModel, torch_zoo: Path, name: str, to: str
) -> None:
    said = {"inputs": MODELS[name], **factory(CLASSES.get(name, name))}
    report, made = convert_model(torch_zoo / f"{name}.pt", to=to, opening=said)
    assert report.outcome is Outcome.PASSED, report.reason
    assert max_abs_diff(report) <= 5e-6
    found = shapes(report)
    assert {s.name: s.shape for s in MODELS[name]}.items() <= found.items()
    assert not re.search(rb"/[\w./-]+\.py\b", contents(made))


@pytest.mark.parametrize("to", FORMATS)
def test_outputs_of_one_shape_are_told_apart_by_name(
    convert_model: ConvertModel, torch_zoo: Path, tmp_path: Path, to: str
) -> None:
    rows = {name: RNG.standard_normal((5, 6)).astype(np.float32) for name in ("left", "right")}
    np.savez(tmp_path / "rows.npz", left=rows["left"], right=rows["right"])
    report, _ = convert_model(torch_zoo / "pair.pt2", to=to, data=tmp_path / "rows.npz")
    assert report.outcome is Outcome.PASSED, report.reason
    assert report.signature is not None
    assert [s.origin for s in report.signature.inputs] == ["right", "left"]
    assert [s.origin for s in report.signature.outputs] == ["zeta", "alpha"]


@pytest.mark.parametrize("to", FORMATS)
def test_torchscript_of_another_tool_is_a_source(
    convert_model: ConvertModel, torch_zoo: Path, to: str
) -> None:
    said = {"inputs": (spec("x", None, 3, 16, 16),)}
    if to == "torchscript":
        said = {"inputs": (spec("x", 4, 3, 16, 16),)}
    report, _ = convert_model(torch_zoo / "traced.pt", to=to, opening=said)
    assert report.outcome is Outcome.PASSED, report.reason


@pytest.mark.parametrize("to", FORMATS)
def test_inputs_of_torchscript_go_by_name_in_whatever_order_they_are_given(
    convert_model: ConvertModel, torch_zoo: Path, to: str
) -> None:
    said = {"inputs": (spec("one", None, 6), spec("zero", None, 6))}
    path = torch_zoo / "minus.pt"
    report, _ = convert_model(path, to=to, opening=said)
    assert report.signature is not None, report.reason
    assert [s.name for s in report.signature.inputs] == ["zero", "one"]
    assert report.outcome is Outcome.PASSED, report.reason


def test_the_names_in_a_torchscript_file_are_read_back_from_it(
    bench: Bench, torch_zoo: Path
) -> None:
    rows = RNG.standard_normal((2, 6)).astype(np.float32)
    source = bench.load(torch_zoo / "pair.pt2", Format.EXPORTED)
    made = bench.convert(source, Format.TORCHSCRIPT, {"right": rows, "left": rows})
    again = bench.load(Path(made.path), Format.TORCHSCRIPT)
    assert [s.name for s in again.signature.inputs] == ["right", "left"]
    assert [s.name for s in again.signature.outputs] == ["zeta", "alpha"]


@pytest.mark.parametrize("to", FORMATS)
def test_a_conversion_writes_the_same_bytes_again(bench: Bench, torch_zoo: Path, to: str) -> None:
    rows = RNG.standard_normal((2, 6)).astype(np.float32)
    source = bench.load(torch_zoo / "pair.pt2", Format.EXPORTED)
    once = bench.convert(source, Format(to), {"right": rows, "left": rows})
    again = bench.convert(source, Format(to), {"right": rows, "left": rows})
    assert once.sha256 == again.sha256


def test_the_opset_asked_for_is_the_one_written(bench: Bench, torch_zoo: Path) -> None:
    rows = RNG.standard_normal((2, 6)).astype(np.float32)
    source = bench.load(torch_zoo / "pair.pt2", Format.EXPORTED)
    made = bench.convert(source, Format.ONNX, {"right": rows, "left": rows}, opset="18")
    assert made.writer.endswith("opset 18")
    assert "opset ai.onnx 18" in bench.inspect(made).notes


@pytest.mark.parametrize(
    ("model", "shape", "told"),
    [
        ("Branching", (None, 6), "depends on the data"),
        ("FixedBatch", (None, 6), "axis 0 of input 'x' cannot stay free"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_a_way_out(
    convert_model: ConvertModel,
    torch_zoo: Path,
    model: str,
    shape: tuple[int | None, ...],
    told: str,
) -> None:
    said = {"inputs": (spec("x", *shape),), **factory(model)}
    report, made = convert_model(torch_zoo / "empty.pt", to="onnx", opening=said)
    assert report.outcome is Outcome.UNSUPPORTED
    assert report.reason is not None
    assert told in report.reason.message
    assert "torch.cond" in report.reason.fix or "--input x:2,6:float32" in report.reason.fix
    assert not made.exists()


def test_a_batch_that_the_model_fixes_converts_when_the_user_fixes_it(
    convert_model: ConvertModel, torch_zoo: Path
) -> None:
    said = {"inputs": (spec("x", 2, 6),), **factory("FixedBatch")}
    report, _ = convert_model(torch_zoo / "empty.pt", to="onnx", opening=said)
    assert report.outcome is Outcome.PASSED, report.reason


def test_a_batch_of_one_in_the_data_does_not_make_the_batch_a_constant(
    convert_model: ConvertModel, torch_zoo: Path, tmp_path: Path
) -> None:
    one = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "one.npz", x=one)
    report, _ = convert_model(
        torch_zoo / "cnn.pt", to="onnx", data=tmp_path / "one.npz", opening=factory("cnn")
    )
    assert report.outcome is Outcome.PASSED, report.reason
    assert shapes(report)["x"] == (None, 3, 16, 16)


def test_parts_and_cost_are_told_alike_for_source_and_artifact(
    bench: Bench, torch_zoo: Path
) -> None:
    rows = RNG.standard_normal((2, 6)).astype(np.float32)
    source = bench.load(torch_zoo / "pair.pt2", Format.EXPORTED)
    made = [bench.convert(source, Format(to), {"right": rows, "left": rows}) for to in FORMATS]
    for artifact in (source, *made):
        found = bench.inspect(artifact)
        assert found.parameters == 2 * (6 * 6 + 6)
        assert found.macs == 2 * 6 * 6
