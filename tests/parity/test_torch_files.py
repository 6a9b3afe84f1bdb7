"""Opening PyTorch files: nothing runs unasked, weights fit strictly, signatures are read right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.artifact import Artifact, Format
from edgekit.core.signature import TensorSpec
from edgekit.errors import ConfigError, MalformedError, UnsupportedError, UntrustedError
from tests.parity.edge_cells import Bench, largest
from tests.parity.torch_zoo_names import FACTORIES, MARK, factory

pytestmark = pytest.mark.framework

ROWS = TensorSpec(name="x", dtype="float32", shape=(None, 12))
IMAGES = TensorSpec(name="x", dtype="float32", shape=(None, 3, 16, 16))
RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 12)).astype(np.float32)


def weights(bench: Bench, path: Path, **said: object) -> Artifact:
    said = {"inputs": (ROWS,), **factory("mlp"), **said}
    return bench.load(path, Format.STATE_DICT, **said)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sample_inputs", "data/sample_inputs/model.pt is a pickle"),
        ("use_pickle", "use_pickle"),
        ("expression", "a size that is not plain arithmetic"),
        ("guard", "a guard that is no comparison of sizes"),
        ("argument", "code in a name"),
        ("target", "torch.os.system"),
        ("constant", "which is no plain tensor|none of the parts"),
        ("library", "none of the parts of a plain program"),
        ("second_model", "none of the parts of a plain program"),
    ],
)
def test_a_program_that_would_run_code_is_refused_before_it_does(
    bench: Bench, torch_zoo: Path, name: str, told: str
) -> None:
    with pytest.raises(UntrustedError, match=told) as refused:
        bench.load(torch_zoo / f"evil_{name}.pt2", Format.EXPORTED)
    assert "--trust sha256:" in refused.value.fix
    assert not (torch_zoo / MARK).exists()


def test_the_same_archive_without_its_payload_opens(bench: Bench, torch_zoo: Path) -> None:
    artifact = bench.load(torch_zoo / "evil_good.pt2", Format.EXPORTED)
    assert [spec.shape for spec in artifact.signature.inputs] == [(None, 12)]


@pytest.mark.parametrize("name", ["traversal", "no_model", "other_case"])
def test_a_broken_program_archive_is_malformed(bench: Bench, torch_zoo: Path, name: str) -> None:
    with pytest.raises(MalformedError, match=r"unsafe path|no models/|same name"):
        bench.load(torch_zoo / f"evil_{name}.pt2", Format.EXPORTED)


def test_a_truncated_program_is_malformed(bench: Bench, torch_zoo: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.pt2"
    half.write_bytes((torch_zoo / "pair.pt2").read_bytes()[:1500])
    with pytest.raises(MalformedError, match=r"half\.pt2"):
        bench.load(half, Format.EXPORTED)


@pytest.mark.parametrize("name", ["evil.pt", "evil_legacy.pt"])
@pytest.mark.parametrize("format", [Format.STATE_DICT, Format.TORCH_PICKLE])
def test_a_hostile_pickle_is_refused_by_what_it_would_call(
    bench: Bench, torch_zoo: Path, name: str, format: Format
) -> None:
    with pytest.raises(UntrustedError, match=r"would run: __builtin__\.eval") as refused:
        bench.load(torch_zoo / name, format, inputs=(ROWS,), **factory("mlp"))
    assert "--trust sha256:" in refused.value.fix
    assert not (torch_zoo / MARK).exists()


def test_a_whole_module_opens_only_with_trust(bench: Bench, torch_zoo: Path) -> None:
    path = torch_zoo / "whole_module.pt"
    with pytest.raises(UntrustedError, match=r"torch_factories\.Block"):
        bench.load(path, Format.TORCH_PICKLE)
    artifact = bench.load(
        path, Format.TORCH_PICKLE, inputs=(IMAGES,), trusted=True, factory_path=FACTORIES
    )
    assert artifact.signature.outputs[0].shape == (None, 5)


def test_trust_is_what_lets_a_program_run_its_code(
    bench: Bench, torch_zoo: Path, tmp_path: Path
) -> None:
    path = tmp_path / "evil.pt2"
    path.write_bytes((torch_zoo / "evil_sample_inputs.pt2").read_bytes())
    bench.load(path, Format.EXPORTED, trusted=True)
    ran = (torch_zoo / MARK).exists()
    (torch_zoo / MARK).unlink(missing_ok=True)
    assert ran


def test_torchscript_that_reads_files_is_refused(bench: Bench, torch_zoo: Path) -> None:
    with pytest.raises(UntrustedError, match="from_file"):
        bench.load(torch_zoo / "reads_file.pt", Format.TORCHSCRIPT, inputs=(ROWS,))


def test_a_file_that_changed_after_it_was_looked_at_is_refused(
    bench: Bench, torch_zoo: Path, tmp_path: Path
) -> None:
    path = tmp_path / "pair.pt2"
    path.write_bytes((torch_zoo / "pair.pt2").read_bytes())
    artifact = bench.load(path, Format.EXPORTED)
    path.write_bytes((torch_zoo / "evil_good.pt2").read_bytes())
    bench.workers.__exit__(None, None, None)  # the next child does not have it in memory
    with pytest.raises(MalformedError, match="has changed"):
        bench.run(artifact, {"right": X[:, :6], "left": X[:, :6]}, (5,))


@pytest.mark.parametrize("name", ["scored.pth", "wrapped.pth", "legacy.pt"])
def test_the_same_weights_answer_the_same_however_they_are_wrapped(
    bench: Bench, torch_zoo: Path, name: str
) -> None:
    expected = bench.outputs(weights(bench, torch_zoo / "mlp.safetensors"), {"x": X}, (5,))
    actual = bench.outputs(weights(bench, torch_zoo / name), {"x": X}, (2, 3))
    assert largest(expected, actual) < 1e-6


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing_key.pt", "missing from the file: 2.bias"),
        ("unknown_key.pt", "unknown to it: 9.weight"),
        ("cnn.pt", "does not fit"),
        ("empty.pt", "missing from the file: 0.weight"),
    ],
)
def test_weights_that_do_not_fit_the_factory_are_refused_by_name(
    bench: Bench, torch_zoo: Path, name: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        weights(bench, torch_zoo / name)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"factory": None}, "weights without their architecture"),
        ({"factory": "torch_factories:nothing"}, "no function 'nothing'"),
        ({"factory": "no_such_module:mlp"}, "no_such_module"),
        ({"factory": "torch_factories:not_a_module"}, "OrderedDict"),
        ({"inputs": ()}, "does not say what goes into the model"),
        ({"inputs": (TensorSpec(name="x", dtype="float32", shape=(None, 7)),)}, r"\(2, 7\)"),
    ],
)
def test_what_is_missing_for_weights_is_asked_for(
    bench: Bench, torch_zoo: Path, said: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        weights(bench, torch_zoo / "mlp.safetensors", **said)
    assert refused.value.fix or "OrderedDict" in told


def test_names_of_outputs_come_from_the_dict_that_forward_returns(
    bench: Bench, torch_zoo: Path
) -> None:
    pair = [TensorSpec(name=n, dtype="float32", shape=(None, 6)) for n in ("left", "right")]
    artifact = bench.load(
        torch_zoo / "TwoByTwo.pt", Format.STATE_DICT, inputs=tuple(pair), **factory("TwoByTwo")
    )
    assert [spec.name for spec in artifact.signature.outputs] == ["zeta", "alpha"]


def test_several_inputs_are_never_taken_by_position_alone(bench: Bench, torch_zoo: Path) -> None:
    pair = [TensorSpec(name=n, dtype="float32", shape=(None, 6)) for n in ("a", "b")]
    with pytest.raises(ConfigError, match=r"takes \(right, left\), the inputs given are \(a, b\)"):
        bench.load(
            torch_zoo / "TwoByTwo.pt", Format.STATE_DICT, inputs=tuple(pair), **factory("TwoByTwo")
        )


def test_an_output_axis_is_free_where_it_follows_a_free_input(
    bench: Bench, torch_zoo: Path
) -> None:
    image = TensorSpec(name="x", dtype="float32", shape=(None, 3, None, None))
    artifact = bench.load(
        torch_zoo / "FullyConvolutional.pt",
        Format.STATE_DICT,
        inputs=(image,),
        **factory("FullyConvolutional"),
    )
    assert [s.shape for s in artifact.signature.outputs] == [
        (None, 2, None, None),
        (None, 6, None, None),
    ]


def test_a_nested_program_is_called_flat_with_its_constants(bench: Bench, torch_zoo: Path) -> None:
    artifact = bench.load(torch_zoo / "nested.pt2", Format.EXPORTED)
    assert [spec.name for spec in artifact.signature.inputs] == ["x", "extra_bias", "shift"]
    assert [spec.name for spec in artifact.signature.outputs] == ["scaled", "shifted"]
    x, bias, shift = RNG.standard_normal((3, 2, 6)).astype(np.float32)
    found = bench.outputs(artifact, {"x": x, "extra_bias": bias, "shift": shift}, (2,))
    assert largest({"scaled": x * 4 + bias, "shifted": x + shift}, found) < 1e-6


def test_a_program_exported_in_training_mode_is_refused(bench: Bench, torch_zoo: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"training mode|at every call") as refused:
        bench.load(torch_zoo / "training.pt2", Format.EXPORTED)
    assert "model.eval()" in refused.value.fix
