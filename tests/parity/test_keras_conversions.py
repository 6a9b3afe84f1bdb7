"""Keras to every format through the whole pipeline: each test is a trap of a real converter."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.artifact import Format
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.signature import TensorSpec
from edgekit.errors import ConfigError
from tests.conftest import ConvertModel

pytestmark = pytest.mark.framework

LOOPS = ("lstm", "gru", "bidirectional", "states")
FEED_FORWARD = ("conv", "grouped", "attention", "several", "dicts", "nested")


def worst(report: CellReport) -> float:
    """The largest difference over all outputs of a cell that passed."""
    assert report.outcome is Outcome.PASSED, report.reason
    assert report.parity is not None
    return max(output.max_abs_diff for output in report.parity.outputs)


def shapes(report: CellReport) -> list[tuple[int | None, ...] | None]:
    assert report.signature is not None
    return [spec.shape for spec in (*report.signature.inputs, *report.signature.outputs)]


@pytest.mark.parametrize("to", ["tflite", "onnx"])
@pytest.mark.parametrize("model", FEED_FORWARD)
def test_a_model_keeps_its_answers_and_its_free_batch(
    convert_model: ConvertModel, keras_zoo: Path, model: str, to: str
) -> None:
    report, _ = convert_model(keras_zoo / f"{model}.keras", to=to)
    assert worst(report) <= 1e-5
    assert all(shape is not None and shape[0] is None for shape in shapes(report))


@pytest.mark.parametrize("model", LOOPS)
def test_a_loop_is_written_for_tflite_without_flex_ops_and_its_batch_of_one_is_noted(
    convert_model: ConvertModel, keras_zoo: Path, model: str
) -> None:
    report, path = convert_model(keras_zoo / f"{model}.keras", to="tflite")
    assert worst(report) <= 1e-5
    assert all(shape is not None and shape[0] == 1 for shape in shapes(report))
    assert any("fixed to 1" in note and "loop in layer" in note for note in report.notes)
    assert b"Flex" not in path.read_bytes()


@pytest.mark.parametrize("model", LOOPS)
def test_a_loop_keeps_its_free_batch_in_onnx(
    convert_model: ConvertModel, keras_zoo: Path, model: str
) -> None:
    report, _ = convert_model(keras_zoo / f"{model}.keras", to="onnx")
    assert worst(report) <= 1e-5
    assert all(shape is not None and shape[0] is None for shape in shapes(report))


@pytest.mark.parametrize(
    ("to", "model"), [("tflite", "several"), ("onnx", "several"), ("tflite", "dicts")]
)
def test_outputs_of_one_shape_are_not_exchanged(
    convert_model: ConvertModel, keras_zoo: Path, to: str, model: str
) -> None:
    expected = {"several": ["yes", "no", "maybe"], "dicts": ["z", "a"]}[model]
    report, _ = convert_model(keras_zoo / f"{model}.keras", to=to)
    assert worst(report) <= 1e-5
    assert report.parity is not None
    assert report.signature is not None
    assert [output.name for output in report.parity.outputs] == expected
    assert [spec.name for spec in report.signature.outputs] == expected


def test_an_int64_input_stays_int64_in_tflite(convert_model: ConvertModel, keras_zoo: Path) -> None:
    report, _ = convert_model(keras_zoo / "several.keras", to="tflite")
    assert report.signature is not None
    assert report.signature.input("tokens").dtype == "int64"


@pytest.mark.parametrize("to", ["tflite", "onnx"])
def test_the_size_of_an_image_stays_free(
    convert_model: ConvertModel, keras_zoo: Path, to: str
) -> None:
    report, _ = convert_model(keras_zoo / "free_size.keras", to=to)
    assert worst(report) <= 1e-5
    assert shapes(report) == [(None, None, None, 3), (None, None, None, 2)]


def test_axes_that_the_user_fixes_are_fixed(convert_model: ConvertModel, keras_zoo: Path) -> None:
    image = TensorSpec(name="image", dtype="float32", shape=(1, 16, 24, 3))
    report, _ = convert_model(
        keras_zoo / "free_size.keras", to="tflite", opening={"inputs": (image,)}
    )
    assert worst(report) <= 1e-5
    assert shapes(report) == [(1, 16, 24, 3), (1, 8, 12, 2)]


@pytest.mark.parametrize("to", ["tflite", "onnx"])
def test_an_op_the_format_lacks_is_refused_by_op_and_layer(
    convert_model: ConvertModel, keras_zoo: Path, to: str
) -> None:
    report, path = convert_model(keras_zoo / "needs_flex.keras", to=to)
    assert report.outcome is Outcome.UNSUPPORTED
    assert report.reason is not None
    assert "Erfinv in layer 'erfinv'" in report.reason.message
    assert not path.exists()


@pytest.mark.parametrize("to", ["tflite", "onnx"])
@pytest.mark.parametrize(
    "model", ["k2_depthwise.h5", "k2_functional.keras", "k2_sequential.keras", "k2_ops.h5"]
)
def test_what_keras_2_wrote_converts(
    convert_model: ConvertModel, keras_zoo: Path, model: str, to: str
) -> None:
    report, _ = convert_model(keras_zoo / model, to=to)
    assert worst(report) <= 1e-5


@pytest.mark.parametrize("to", ["tflite", "onnx"])
def test_a_savedmodel_converts_by_the_signature_chosen(
    convert_model: ConvertModel, keras_zoo: Path, to: str
) -> None:
    exported, _ = convert_model(keras_zoo / "exported", to=to)
    assert worst(exported) <= 1e-5
    double, _ = convert_model(keras_zoo / "two", to=to, opening={"signature_key": "double"})
    assert worst(double) <= 1e-5
    assert double.parity is not None
    assert {output.name for output in double.parity.outputs} == {"double", "sum"}


def test_a_lambda_converts_with_trust_and_its_refusal_leaves_nothing(
    convert_model: ConvertModel, keras_zoo: Path
) -> None:
    refused, path = convert_model(keras_zoo / "k2_lambda.h5", to="tflite")
    assert refused.outcome is Outcome.UNTRUSTED
    assert not path.exists()
    assert not (keras_zoo / "ran").exists()
    trusted, _ = convert_model(
        keras_zoo / "k2_lambda.h5", to="tflite", opening={"trust": "this-file"}
    )
    (keras_zoo / "ran").unlink()
    assert worst(trusted) == 0


def test_an_opset_that_tf2onnx_cannot_write_is_a_configuration_error(
    convert_model: ConvertModel, keras_zoo: Path
) -> None:
    with pytest.raises(ConfigError, match="opset 21"):
        convert_model(keras_zoo / "conv.keras", to="onnx", options={"opset": "21"})


@pytest.mark.parametrize("model", ["conv", "flat", "lstm", "several", "free_size"])
def test_executorch_gets_a_program_it_can_run_and_delegate(
    convert_model: ConvertModel, keras_zoo: Path, model: str
) -> None:
    report, _ = convert_model(keras_zoo / f"{model}.keras", to="executorch")
    assert worst(report) <= 1e-5
    assert report.placement is not None
    left = set(report.placement.left)
    assert not {op for op in left if "conv" in op or "permute" in op or "clone" in op}
    assert report.placement.delegated_nodes > 0


@pytest.mark.parametrize(
    "model", ["attention", "bidirectional", "gru", "dicts", "flat", "grouped", "k2_depthwise"]
)
def test_torchscript_gives_the_same_answers(
    convert_model: ConvertModel, keras_zoo: Path, model: str
) -> None:
    suffix = "h5" if model.startswith("k2") else "keras"
    report, _ = convert_model(keras_zoo / f"{model}.{suffix}", to="torchscript")
    assert worst(report) <= 1e-5


def test_tflite_can_be_reached_without_tensorflow(
    convert_model: ConvertModel, keras_zoo: Path
) -> None:
    report, _ = convert_model(keras_zoo / "conv.keras", to="tflite", via="pt2_to_tflite")
    assert worst(report) <= 1e-5
    assert [step.backend for step in report.steps if "convert" in step.name] == [
        "keras_to_pt2",
        "pt2_to_tflite",
    ]


def test_a_keras_file_becomes_a_torch_program_where_tensorflow_cannot_be_imported(
    keras_zoo: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "samples.npz", image=np.ones((2, 12, 12, 3), "float32"))
    script = """
        import sys
        sys.modules["tensorflow"] = None
        from edgekit.backends.converters.keras_to_pt2 import convert
        from edgekit.backends.loaders.keras import load
        from edgekit.core.artifact import Format, ModelSource
        from edgekit.core.jobs import ConvertJob, LoadJob
        model, folder = sys.argv[1:]
        source = ModelSource(path=model, format=Format.KERAS, sha256="0")
        artifact = load(LoadJob(source=source, folder=folder))
        convert(ConvertJob(artifact=artifact, to=Format.EXPORTED, folder=folder,
                           signature=artifact.signature, samples=folder + "/samples.npz"))
    """
    subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(script),
            str(keras_zoo / "conv.keras"),
            str(tmp_path),
        ],
        env={"KERAS_BACKEND": "torch", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        check=True,
    )
    assert (tmp_path / f"model{Format.EXPORTED.suffix}").stat().st_size > 0
