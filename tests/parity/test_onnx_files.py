"""ONNX files as sources: read, inspected and run; what is broken or reaches out is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from edgekit.core.artifact import Format  # noqa: E402
from edgekit.errors import MalformedError, UnsupportedError  # noqa: E402
from tests.parity.edge_cells import Bench, largest  # noqa: E402

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(2)
WEIGHT = RNG.standard_normal((3, 2)).astype(np.float32)


def model(path: Path, *, location: str | None = None, kind: str = "tensor") -> Path:
    """`y = x @ w` with a free batch; the weight in another file where `location` is given."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(WEIGHT, "w")
    if location is not None:
        onnx.external_data_helper.set_external_data(weight, location=location)
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
    shape = ["batch", 3]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    if kind == "sequence":
        given = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [given], [result], [weight])
    made = helper.make_model(graph, producer_name="hand", producer_version="1")
    made.opset_import[0].version, made.ir_version = 17, 9
    path.write_bytes(made.SerializeToString())
    return path


def test_a_file_says_its_names_free_axes_and_writer(bench: Bench, tmp_path: Path) -> None:
    artifact = bench.load(model(tmp_path / "m.onnx"), Format.ONNX)
    assert [(s.name, s.dtype, s.shape) for s in artifact.signature.inputs] == [
        ("x", "float32", (None, 3))
    ]
    assert artifact.signature.outputs[0].shape == (None, 2)
    assert artifact.writer == "hand 1"


def test_a_file_runs_as_numpy_says(bench: Bench, tmp_path: Path) -> None:
    artifact = bench.load(model(tmp_path / "m.onnx"), Format.ONNX)
    rows = RNG.standard_normal((5, 3)).astype(np.float32)
    found = bench.outputs(artifact, {"x": rows}, (1, 4))
    assert largest({"y": rows @ WEIGHT}, found) < 1e-6


def test_weights_in_a_file_beside_it_are_read(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    artifact = bench.load(model(tmp_path / "m.onnx", location="w.bin"), Format.ONNX)
    rows = RNG.standard_normal((2, 3)).astype(np.float32)
    found = bench.outputs(artifact, {"x": rows}, (2,))
    assert largest({"y": rows @ WEIGHT}, found) < 1e-6


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "sub/../../secret.bin"])
def test_weights_from_outside_the_folder_are_refused(
    bench: Bench, tmp_path: Path, location: str
) -> None:
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    with pytest.raises(MalformedError, match="outside its folder"):
        bench.load(model(folder / "m.onnx", location=location), Format.ONNX)


def test_weights_behind_a_link_out_of_the_folder_are_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(MalformedError, match="outside its folder"):
        bench.load(model(folder / "m.onnx", location="w.bin"), Format.ONNX)


def test_weights_that_are_missing_are_named(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match=r"'w' from 'w\.bin', which is not there"):
        bench.load(model(tmp_path / "m.onnx", location="w.bin"), Format.ONNX)


def test_bytes_that_are_no_model_are_malformed(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x07not a model")
    with pytest.raises(MalformedError, match=r"m\.onnx is not"):
        bench.load(path, Format.ONNX)


def test_an_input_that_is_no_tensor_is_refused_by_name(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="'x' is a sequence"):
        bench.load(model(tmp_path / "m.onnx", kind="sequence"), Format.ONNX)


def test_inspection_counts_ops_parameters_and_macs(bench: Bench, tmp_path: Path) -> None:
    found = bench.inspect(bench.load(model(tmp_path / "m.onnx"), Format.ONNX))
    assert (found.ops, found.parameters, found.macs) == ({"MatMul": 1}, 6, 6)
    assert found.notes == ("opset ai.onnx 17",)
