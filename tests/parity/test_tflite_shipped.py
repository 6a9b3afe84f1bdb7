"""TFLite files of others load, tell what they are, and answer as accurately as they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.core.artifact import Artifact, Format
from edgekit.core.signature import Quantization
from edgekit.errors import ConfigError, UnsupportedError
from tests.parity.edge_cells import Bench

Numbers = NDArray[Any]

pytestmark = [pytest.mark.framework, pytest.mark.shared]


def shipped(bench: Bench, shared_models: Path, name: str) -> Artifact:
    return bench.load(shared_models / "tflite" / f"{name}.tflite", Format.TFLITE)


def answers(bench: Bench, model: Artifact, x: Numbers, *, rows: int = 20) -> Numbers:
    """The one output for all of `x`, `rows` at a time."""
    name = model.signature.inputs[0].name
    (output,) = bench.outputs(model, {name: x}, (rows,) * (len(x) // rows)).values()
    return output


def stored(x: Numbers, scale: Quantization | None) -> Numbers:
    """Real numbers as int8."""
    assert scale is not None
    steps: Numbers = np.round(x / scale.scale[0]) + scale.zero_point[0]
    return np.clip(steps, -128, 127).astype(np.int8)


def cifar(shared_models: Path) -> tuple[Numbers, Numbers]:
    data = np.load(shared_models / "data" / "cifar10_80.npz")
    return data["x"], data["y"]


def mnist(shared_models: Path) -> tuple[Numbers, Numbers]:
    data = np.load(shared_models / "data" / "mnist_400.npz")
    return (data["x"] / 255).astype(np.float32), data["y"]


def test_resnet8_answers_like_the_keras_model_it_was_made_from(
    bench: Bench, shared_models: Path
) -> None:
    images, labels = cifar(shared_models)
    model = shipped(bench, shared_models, "pretrainedResnet")
    assert model.signature.inputs[0].shape == (None, 32, 32, 3)
    found = answers(bench, model, images.astype(np.float32))
    reference = np.load(shared_models / "keras" / "pretrainedResnet_ref.npz")
    expected = reference[reference.files[-1]]
    assert np.abs(found - expected).max() <= 1e-5
    assert (found.argmax(1) == labels).sum() == 74


def test_int8_resnet8_is_as_accurate_as_the_float_one(bench: Bench, shared_models: Path) -> None:
    images, labels = cifar(shared_models)
    model = shipped(bench, shared_models, "pretrainedResnet_quant")
    spec = model.signature.inputs[0]
    assert spec.quantization == Quantization(scale=(1.0,), zero_point=(-128,))
    found = answers(bench, model, stored(images.astype(np.float32), spec.quantization))
    assert (found.argmax(1) == labels).mean() >= 0.89


@pytest.mark.parametrize("name", ["trained_lstm", "trained_lstm_int8"])
def test_the_state_of_a_recurrent_model_does_not_leak_from_call_to_call(
    bench: Bench, shared_models: Path, name: str
) -> None:
    rows, labels = mnist(shared_models)
    model = shipped(bench, shared_models, name)
    spec = model.signature.inputs[0]
    x = stored(rows, spec.quantization) if spec.dtype == "int8" else rows
    found = answers(bench, model, x, rows=1)
    backwards = answers(bench, model, x[::-1].copy(), rows=1)[::-1]
    assert np.array_equal(found, backwards)
    assert (found.argmax(1) == labels).mean() >= 0.91


@pytest.mark.parametrize("name", ["hello_world_float", "hello_world_int8"])
def test_hello_world_is_a_sine(bench: Bench, shared_models: Path, name: str) -> None:
    model = shipped(bench, shared_models, name)
    x = np.linspace(0, 6, 40, dtype=np.float32)[:, None]
    assert np.abs(answers(bench, model, x) - np.sin(x)).max() < 0.15


def test_a_dynamically_quantized_model_keeps_its_accuracy(
    bench: Bench, shared_models: Path
) -> None:
    rows, labels = mnist(shared_models)
    model = shipped(bench, shared_models, "gow_mnist_cnn_dynamic")
    found = answers(bench, model, rows[..., None])
    assert (found.argmax(1) == labels).mean() >= 0.97


def test_a_file_without_signatures_is_named_by_its_tensors(
    bench: Bench, shared_models: Path
) -> None:
    model = shipped(bench, shared_models, "micro_speech_quantized")
    assert [spec.name for spec in model.signature.inputs] == ["Reshape_1"]
    assert [spec.name for spec in model.signature.outputs] == ["labels_softmax"]
    assert model.writer.startswith("TOCO")
    x = np.zeros((2, 1960), np.int8)
    found = answers(bench, model, x, rows=1)
    assert found.shape == (2, 4)


def test_a_signature_that_is_not_in_the_file_is_refused(shared_models: Path, bench: Bench) -> None:
    path = shared_models / "tflite" / "hello_world_float.tflite"
    with pytest.raises(ConfigError, match="no signature 'train'") as refused:
        bench.load(path, Format.TFLITE, signature_key="train")
    assert "serving_default" in refused.value.fix


def test_inspection_counts_ops_weights_and_multiplications(
    bench: Bench, shared_models: Path
) -> None:
    found = bench.inspect(shipped(bench, shared_models, "pretrainedResnet_quant"))
    assert found.ops == {
        "CONV_2D": 9,
        "ADD": 3,
        "AVERAGE_POOL_2D": 1,
        "RESHAPE": 1,
        "FULLY_CONNECTED": 1,
        "SOFTMAX": 1,
    }
    assert found.parameters == 77706  # the 78,666 of the Keras model, batch norms folded
    assert found.macs == 12501632
    assert found.tensors is not None
    assert found.tensors.per_channel == 18
    assert found.tensors.dtypes == {"int8": 27, "int32": 11}
    assert found.size_bytes == 98496


@pytest.mark.parametrize(
    ("name", "nodes", "left"),
    [
        ("pretrainedResnet", 16, {}),
        ("pretrainedResnet_quant", 16, {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1}),
        ("trained_lstm", 4, {"UNIDIRECTIONAL_SEQUENCE_LSTM": 1}),
        ("micro_speech_quantized", 4, {"SOFTMAX": 1}),
    ],
)
def test_placement_names_what_the_delegate_left(
    bench: Bench, shared_models: Path, name: str, nodes: int, left: dict[str, int]
) -> None:
    model = shipped(bench, shared_models, name)
    spec = model.signature.inputs[0]
    x = np.zeros([size or 1 for size in spec.shape or ()], spec.dtype)
    result, _ = bench.run(model, {spec.name: x}, (1,))
    assert result.placement is not None
    assert (result.placement.nodes, result.placement.left) == (nodes, left)
    assert result.placement.delegated_nodes == nodes - sum(left.values())


CUSTOM = """
import sys
import flatbuffers
from ai_edge_litert import schema_py_generated as schema

model = schema.ModelT.InitFromPackedBuf(open(sys.argv[1], "rb").read())
code = model.operatorCodes[0]
code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, "FlexErf"
builder = flatbuffers.Builder(4096)
builder.Finish(model.Pack(builder), b"TFL3")
open(sys.argv[2], "wb").write(builder.Output())
"""


def test_a_flex_op_is_shown_by_inspect_and_refused_by_the_runtime(
    bench: Bench, shared_models: Path, tmp_path: Path
) -> None:
    source = shared_models / "tflite" / "hello_world_float.tflite"
    path = tmp_path / "flex.tflite"
    subprocess.run([sys.executable, "-c", CUSTOM, str(source), str(path)], check=True)
    model = bench.load(path, Format.TFLITE)
    found = bench.inspect(model)
    assert found.ops == {"FlexErf": 3}
    assert "Flex" in found.notes[-1]
    with pytest.raises(UnsupportedError, match="FlexErf"):
        bench.run(model, {"dense_input": np.zeros((1, 1), np.float32)}, (1,))
