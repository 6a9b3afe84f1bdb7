"""TFLite in fewer bits, by TensorFlow's converter and by ai-edge-quantizer: claims on real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.core.artifact import Format
from edgekit.core.recipe import IoType, LayerRule, Precision, RangeMethod
from edgekit.errors import ConfigError, UnsupportedError
from edgekit.worker.client import Workers
from tests.parity.edge_cells import Bench
from tests.parity.quantized import Case, Quantizing, precisions_of, sqnr_db

pytestmark = pytest.mark.framework

STATIC = (Precision.INT8, Precision.W8A16)
FLOORS_DB = {
    Precision.FP16: 50,
    Precision.W8: 35,
    Precision.DYNAMIC: 33,
    Precision.INT8: 25,
    Precision.W8A16: 34,
    Precision.W4: 10,
}


@pytest.fixture(scope="module")
def quantizing(workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> Quantizing:
    return Quantizing(Bench(workers=workers, folder=tmp_path_factory.mktemp("quantizing")))


@pytest.fixture(scope="module")
def digits(quantizing: Quantizing, sample_models: Path) -> Case:
    """A small convolutional network, 100 samples to calibrate on and 60 others."""
    built = sample_models / "digits_cnn" / "built"
    with np.load(built / "calibration.npz") as known, np.load(built / "eval.npz") as data:
        calibration, images, labels = known["x"][:100], data["x"][:60], data["y"][:60]
    path = built / "digits_cnn.keras"
    return quantizing.case(path, {"image": calibration}, {"image": images}, labels)


def random_case(quantizing: Quantizing, path: Path, name: str, shape: tuple[int, ...]) -> Case:
    """A case on normal numbers."""
    rng = np.random.default_rng(0)
    known, new = (rng.normal(size=(60, *shape)).astype(np.float32) for _ in range(2))
    return quantizing.case(path, {name: known}, {name: new})


@pytest.mark.parametrize("precision", FLOORS_DB)
def test_ai_edge_stores_every_layer_in_the_precision_asked_for(
    quantizing: Quantizing, digits: Case, precision: Precision
) -> None:
    made = quantizing.by_ai_edge(digits, precision)
    depthwise = precision is Precision.W4  # which has no 4-bit kernel
    assert set(precisions_of(made).values()) - {precision} == (
        {Precision.W8} if depthwise else set()
    )
    assert any("DEPTHWISE_CONV_2D" in note for note in made.notes) is depthwise
    float32 = quantizing.outputs(digits, digits.float32)
    assert sqnr_db(float32, quantizing.outputs(digits, made)) >= FLOORS_DB[precision]
    assert made.size_bytes < digits.float32.size_bytes
    assert quantizing.bench.load(Path(made.path), Format.TFLITE).layers == made.layers


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8, Precision.W8A16])
def test_tensorflow_stores_every_layer_in_the_precision_asked_for(
    quantizing: Quantizing, digits: Case, precision: Precision
) -> None:
    made = quantizing.by_tensorflow(digits, precision)
    assert set(precisions_of(made).values()) == {precision}
    float32 = quantizing.outputs(digits, digits.float32)
    assert sqnr_db(float32, quantizing.outputs(digits, made)) >= FLOORS_DB[precision]


def test_what_tensorflow_leaves_in_float_is_noted(quantizing: Quantizing, digits: Case) -> None:
    """It does not quantize layers of less than 1,024 weights at run time."""
    made = quantizing.by_tensorflow(digits, Precision.DYNAMIC)
    left = [name for name, kind in precisions_of(made).items() if kind is Precision.FP32]
    assert left
    assert all(any(name in note for note in made.notes) for name in left[:5])


@pytest.mark.parametrize("tool", ["by_ai_edge", "by_tensorflow"])
@pytest.mark.parametrize("io", [IoType.INT8, IoType.UINT8])
def test_integer_inputs_and_outputs_stand_for_the_same_numbers(
    quantizing: Quantizing, digits: Case, tool: str, io: IoType
) -> None:
    made = getattr(quantizing, tool)(digits, Precision.INT8, io=io)
    specs = (*made.signature.inputs, *made.signature.outputs)
    assert [(spec.origin, spec.dtype) for spec in specs] == [("image", io), ("digit", io)]
    assert all(spec.quantization for spec in specs)
    float32 = quantizing.outputs(digits, digits.float32)
    assert sqnr_db(float32, quantizing.outputs(digits, made)) >= FLOORS_DB[Precision.INT8]


def test_excluded_and_ruled_layers_are_those_of_the_keras_names(
    quantizing: Quantizing, digits: Case
) -> None:
    names = list(precisions_of(digits_in_int8 := quantizing.by_ai_edge(digits, Precision.INT8)))
    first, last = names[0], names[-1]
    made = quantizing.by_ai_edge(
        digits,
        Precision.INT8,
        exclude=(first,),
        rules=(LayerRule(layers=last, precision=Precision.W8A16),),
    )
    found = precisions_of(made)
    assert found.pop(first) is Precision.FP32
    assert found.pop(last) is Precision.W8A16
    assert set(found.values()) == {Precision.INT8}
    float32 = quantizing.outputs(digits, digits.float32)
    assert sqnr_db(float32, quantizing.outputs(digits, made)) > 25
    assert made.size_bytes > digits_in_int8.size_bytes


@pytest.mark.parametrize("method", RangeMethod)
def test_every_range_method_keeps_the_labels(
    quantizing: Quantizing, digits: Case, method: RangeMethod
) -> None:
    made = quantizing.by_ai_edge(digits, Precision.INT8, ranges=method)
    (scores,) = quantizing.outputs(digits, made)
    assert np.mean(scores.argmax(-1) == digits.labels) >= 0.95


def test_ranges_are_those_of_the_samples(quantizing: Quantizing, digits: Case) -> None:
    """Samples of a tenth of the brightness clip everything: the answers are ruined."""
    image = np.load(digits.calibration.files["image"])
    dim = Case(
        digits.source, digits.float32, quantizing.saved({"image": image / 10}), digits.samples
    )
    float32 = quantizing.outputs(digits, digits.float32)
    for tool in (quantizing.by_ai_edge, quantizing.by_tensorflow):
        assert sqnr_db(float32, quantizing.outputs(digits, tool(dim, Precision.INT8))) < 15


@pytest.mark.parametrize("tool", ["by_ai_edge", "by_tensorflow"])
def test_per_tensor_weights_have_one_scale_and_more_noise(
    quantizing: Quantizing, digits: Case, tool: str
) -> None:
    made = getattr(quantizing, tool)(digits, Precision.INT8, per_channel=False)
    found = quantizing.bench.inspect(made).tensors
    assert found is not None
    assert found.per_channel == 0
    assert made.layers


@pytest.mark.parametrize(
    ("precision", "settings", "reason"),
    [
        (Precision.DYNAMIC, {"io": IoType.INT8}, "int8 arithmetic"),
        (Precision.DYNAMIC, {"ranges": RangeMethod.MSE}, "measured"),
        (Precision.DYNAMIC, {"symmetric": True}, "symmetric"),
        (Precision.W8A16, {"symmetric": False}, "symmetric"),
        (Precision.W4, {"block_size": 64}, "per channel"),
        (Precision.INT8, {"exclude": ("*",)}, "changed nothing"),
        (Precision.BF16, {}, "changed nothing"),
    ],
)
def test_what_ai_edge_cannot_do_is_refused(
    quantizing: Quantizing,
    digits: Case,
    precision: Precision,
    settings: dict[str, object],
    reason: str,
) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        quantizing.by_ai_edge(digits, precision, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [{"exclude": ("dense",)}, {"ranges": RangeMethod.MSE}, {"symmetric": True}],
)
def test_what_tensorflow_cannot_do_is_refused_with_the_tool_that_can(
    quantizing: Quantizing, digits: Case, settings: dict[str, object]
) -> None:
    with pytest.raises(UnsupportedError, match="ai-edge-quantizer"):
        quantizing.by_tensorflow(digits, Precision.INT8, **settings)


def test_names_that_are_not_there_are_refused_with_those_that_are(
    quantizing: Quantizing, digits: Case
) -> None:
    with pytest.raises(ConfigError, match="conv2d"):
        quantizing.by_ai_edge(digits, Precision.INT8, exclude=("conv2d_99",))
    with pytest.raises(ConfigError, match="CONV_2D"):
        quantizing.by_ai_edge(digits, Precision.INT8, op_types=("Conv",))


def test_static_quantization_without_samples_and_of_a_quantized_file_is_refused(
    quantizing: Quantizing, digits: Case
) -> None:
    with pytest.raises(ConfigError, match="calibration-data"):
        quantizing.by_ai_edge(digits, Precision.INT8, calibrated=False)
    twice = Case(
        digits.source,
        quantizing.by_ai_edge(digits, Precision.DYNAMIC),
        digits.calibration,
        digits.samples,
    )
    with pytest.raises(UnsupportedError, match="already"):
        quantizing.by_ai_edge(twice, Precision.INT8)


@pytest.mark.parametrize("tool", ["by_ai_edge", "by_tensorflow"])
def test_several_inputs_keep_names_order_and_integers(
    quantizing: Quantizing, keras_zoo: Path, tool: str
) -> None:
    rng = np.random.default_rng(0)

    def rows(count: int) -> dict[str, Array]:
        return {
            "zebra": rng.normal(size=(count, 4)).astype(np.float32),
            "apple": 5 * rng.normal(size=(count, 4)).astype(np.float32),
            "tokens": rng.integers(0, 20, (count, 3)),
        }

    case = quantizing.case(keras_zoo / "several.keras", rows(60), rows(20))
    made = getattr(quantizing, tool)(case, Precision.INT8)
    assert [s.origin for s in made.signature.inputs] == ["zebra", "apple", "tokens"]
    assert [s.origin for s in made.signature.outputs] == ["yes", "no", "maybe"]
    assert made.signature.inputs[2].dtype == "int64"
    float32 = quantizing.outputs(case, case.float32)
    assert sqnr_db(float32, quantizing.outputs(case, made)) > 25


@pytest.mark.parametrize(
    ("tool", "file", "said"),
    [
        ("by_ai_edge", "gru.keras", "in dynamic, not int8"),
        ("by_tensorflow", "gru.keras", "loops unrolled"),
        ("by_tensorflow", "k2_recurrent.h5", "loops unrolled"),  # SIGSEGV where it is not
    ],
)
def test_a_loop_in_int8_is_right_and_says_what_was_done(
    quantizing: Quantizing, keras_zoo: Path, tool: str, file: str, said: str
) -> None:
    case = random_case(quantizing, keras_zoo / file, "steps", (6, 5))
    made = getattr(quantizing, tool)(case, Precision.INT8)
    assert any(said in note for note in made.notes)
    assert Precision.FP32 not in {layer.precision for layer in made.layers}
    float32 = quantizing.outputs(case, case.float32)
    assert sqnr_db(float32, quantizing.outputs(case, made)) > 15


def test_attention_keeps_all_but_its_products_in_float(
    quantizing: Quantizing, keras_zoo: Path
) -> None:
    case = random_case(quantizing, keras_zoo / "attention.keras", "steps", (6, 8))
    products = quantizing.by_ai_edge(case, Precision.INT8)
    assert any("attention" in note for note in products.notes)
    ops = ("FULLY_CONNECTED", "BATCH_MATMUL", "SOFTMAX", "ADD", "MUL", "MEAN", "SQUARED_DIFFERENCE")
    everything = quantizing.by_ai_edge(case, Precision.INT8, op_types=ops)
    float32 = quantizing.outputs(case, case.float32)
    noise = [sqnr_db(float32, quantizing.outputs(case, made)) for made in (products, everything)]
    assert noise[0] > 25
    assert noise[0] > noise[1]


def test_the_plain_kernels_agree_with_the_fast_ones(quantizing: Quantizing, digits: Case) -> None:
    made = quantizing.by_ai_edge(digits, Precision.INT8)
    fast, plain = (quantizing.outputs(digits, made, reference=on) for on in (False, True))
    assert sqnr_db(plain, fast) > 35


def test_inspect_lists_the_names_to_exclude_by(quantizing: Quantizing, digits: Case) -> None:
    made = quantizing.by_ai_edge(digits, Precision.INT8)
    assert quantizing.bench.inspect(made).layers == made.layers
