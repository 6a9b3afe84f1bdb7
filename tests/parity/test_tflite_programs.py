"""litert-torch: names, dtypes and axes are mapped, never lost without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.artifact import Artifact, Format
from edgekit.core.cell import Outcome
from edgekit.core.signature import TensorSpec
from edgekit.errors import UnsupportedError
from tests.conftest import ConvertModel
from tests.parity.edge_cells import Bench, Samples, largest
from tests.parity.torch_blazeface import count_faces

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(4)
ROWS = RNG.standard_normal((6, 5)).astype(np.float32)


def converted(bench: Bench, path: Path, samples: Samples) -> tuple[Artifact, Artifact]:
    """The program in torch and in TFLite."""
    source = bench.load(path, Format.EXPORTED)
    return source, bench.convert(source, Format.TFLITE, samples)


def test_inputs_and_outputs_of_one_shape_are_not_mixed_up(bench: Bench, programs: Path) -> None:
    samples = {"zebra": ROWS[:2], "ant": ROWS[2:4]}
    source, made = converted(bench, programs / "pair.pt2", samples)
    assert [spec.origin for spec in made.signature.inputs] == ["zebra", "ant"]
    more = {"zebra": ROWS, "ant": ROWS[::-1].copy()}
    calls = (1,) * 6
    assert largest(bench.outputs(source, more, calls), bench.outputs(made, more, calls)) < 1e-6


def test_names_survive_in_the_file_alone(bench: Bench, programs: Path) -> None:
    samples = {"zebra": ROWS[:2], "ant": ROWS[2:4]}
    source, made = converted(bench, programs / "pair.pt2", samples)
    alone = bench.load(Path(made.path), Format.TFLITE)
    assert {spec.name for spec in alone.signature.inputs} == {"ant", "zebra"}
    assert {spec.name for spec in alone.signature.outputs} == {
        spec.name for spec in source.signature.outputs
    }
    expected = bench.outputs(source, samples, (1, 1))
    assert largest(expected, bench.outputs(alone, samples, (1, 1))) < 1e-6


def test_wide_integers_become_32_bit_with_a_note(bench: Bench, programs: Path) -> None:
    ids = RNG.integers(0, 20, (4, 7))
    source, made = converted(bench, programs / "lookup.pt2", {"ids": ids[:2]})
    assert made.signature.inputs[0].dtype == "int32"
    assert any("ids is int64 in the source and int32 in the file" in note for note in made.notes)
    expected = bench.outputs(source, {"ids": ids}, (1,) * 4)
    assert largest(expected, bench.outputs(made, {"ids": ids}, (1,) * 4)) < 1e-6


def test_a_boolean_input_stays_boolean(bench: Bench, programs: Path) -> None:
    masks = {"x": ROWS, "keep": ROWS > 0}
    source, made = converted(bench, programs / "masked.pt2", masks)
    assert made.signature.inputs[1].dtype == "bool"
    calls = (1,) * 6
    assert largest(bench.outputs(source, masks, calls), bench.outputs(made, masks, calls)) == 0


def test_a_free_batch_is_kept_where_it_can_be(bench: Bench, programs: Path) -> None:
    images = RNG.standard_normal((9, 3, 8, 8)).astype(np.float32)
    source, made = converted(bench, programs / "pool.pt2", {"x": images[:2]})
    assert made.signature.inputs[0].shape == (None, 3, 8, 8)
    assert not made.notes
    expected = bench.outputs(source, {"x": images}, (1, 8))
    assert largest(expected, bench.outputs(made, {"x": images}, (1, 8))) < 1e-5


def test_a_batch_that_cannot_stay_free_is_fixed_to_1_with_a_note(
    bench: Bench, programs: Path
) -> None:
    source, made = converted(bench, programs / "linear.pt2", {"input": ROWS[:2]})
    assert made.signature.inputs[0].shape == (1, 5)
    assert made.signature.outputs[0].shape == (1, 3)
    assert any("batch axis of input fixed to 1" in note for note in made.notes)
    calls = (1,) * 6
    expected = bench.outputs(source, {"input": ROWS}, calls)
    assert largest(expected, bench.outputs(made, {"input": ROWS}, calls)) < 1e-5


def test_channels_last_code_holds_each_weight_once(bench: Bench, programs: Path) -> None:
    images = RNG.standard_normal((4, 9, 9, 4)).astype(np.float32)
    source, made = converted(bench, programs / "channels_last.pt2", {"x": images[:2]})
    result, actual = bench.run(made, {"x": images}, (1,) * 4)
    assert largest(bench.outputs(source, {"x": images}, (1,) * 4), actual) < 1e-5
    found = bench.inspect(made)
    assert (found.ops["CONV_2D"], found.ops["DEPTHWISE_CONV_2D"]) == (1, 1)
    weights = 3 * 3 * 4 * 8 + 3 * 3 * 8 + 8 * 5
    assert found.parameters is not None
    assert weights <= found.parameters <= weights + 24  # biases that TFLite ops must have
    assert result.placement is not None
    assert not [name for name in result.placement.left if "CONV" in name]


def test_a_model_without_a_batch_runs_row_by_row(bench: Bench, programs: Path) -> None:
    rows = RNG.standard_normal((4, 6)).astype(np.float32)
    source, made = converted(bench, programs / "counting.pt2", {"x": rows[0]})
    expected, actual = (
        bench.run(artifact, {"x": rows}, (4,), stacked=True)[1] for artifact in (source, made)
    )
    assert largest(expected, actual) < 1e-6


def test_an_op_without_a_lowering_is_refused_by_name(bench: Bench, programs: Path) -> None:
    with pytest.raises(UnsupportedError, match="lgamma"):
        converted(bench, programs / "rare.pt2", {"x": ROWS})


@pytest.mark.shared
def test_resnet20_is_within_1e_4(bench: Bench, shared_models: Path) -> None:
    images = RNG.standard_normal((4, 3, 32, 32)).astype(np.float32)
    path = shared_models / "pytorch" / "resnet20.pt2"
    source, made = converted(bench, path, {"x": images[:2]})
    calls = (1,) * 4
    expected = bench.outputs(source, {"x": images}, calls)
    assert largest(expected, bench.outputs(made, {"x": images}, calls)) <= 1e-4
    assert bench.inspect(made).ops["CONV_2D"] == 19
    assert bench.inspect(made).macs == 40551040


@pytest.mark.shared
def test_blazeface_finds_the_faces(
    convert_model: ConvertModel, bench: Bench, shared_models: Path, tmp_path: Path
) -> None:
    folder = shared_models / "pytorch"
    with np.load(folder / "blazeface_eval.npz") as real:
        images = (real["x"].transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
        faces = real["faces"].tolist()
    np.savez(tmp_path / "images.npz", x=images)
    report, output = convert_model(
        folder / "blazeface.pth",
        to="tflite",
        data=tmp_path / "images.npz",
        opening={
            "factory": "torch_blazeface:build",
            "factory_path": str(Path(__file__).parent),
            "inputs": (TensorSpec(name="x", dtype="float32", shape=(None, 3, 128, 128)),),
        },
    )
    assert report.outcome is Outcome.PASSED, report.reason
    made = bench.load(output, Format.TFLITE)
    found = bench.outputs(made, {"x": images}, (1, 1))
    anchors = np.load(folder / "blazeface_anchors.npy")
    pairs = zip(found["boxes"], found["scores"], strict=True)
    assert [count_faces(boxes, scores, anchors) for boxes, scores in pairs] == faces == [1, 3]
