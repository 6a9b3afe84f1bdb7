"""ExecuTorch in fewer bits: what is in 8 or 16 bits, that it runs on the delegate, and answers right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.arrays import Array
from edgekit.core.artifact import Format
from edgekit.core.cell import Outcome
from edgekit.core.recipe import IoType, LayerRule, Precision, Quantize, RangeMethod, Recipe
from edgekit.errors import ConfigError, UnsupportedError
from tests.conftest import ConvertModel
from tests.parity.edge_cells import Bench
from tests.parity.torch_shop import Shop, stored

pytestmark = pytest.mark.framework

PTE = Format.EXECUTORCH
INT8, DYNAMIC, FP32, FP16 = Precision.INT8, Precision.DYNAMIC, Precision.FP32, Precision.FP16
CONVOLUTIONS = ("xnnpack::Conv2d", "xnnpack::DepthwiseConv2d")


@pytest.fixture
def shop(bench: Bench) -> Shop:
    return Shop(bench)


def drawn(*shape: int, seed: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


SEEN, NEW = drawn(24, 3, 10, 10, seed=0), drawn(9, 3, 10, 10, seed=1)
ROWS, NEW_ROWS = drawn(24, 16, seed=0), drawn(9, 16, seed=1)


def test_int8_is_per_channel_delegated_whole_and_keeps_a_free_batch(
    shop: Shop, small_programs: Path
) -> None:
    """Batch norms are folded, and a relu6 is computed together with its convolution."""
    source = shop.bench.load(small_programs / "normed.pt2", Format.EXPORTED)
    made = shop.make(source, PTE, Quantize(precision=INT8), SEEN)
    assert stored(made) == {"stem": INT8, "block.0": INT8, "block.3": INT8, "head": DYNAMIC}
    assert any("the ranges of head are taken at run time" in note for note in made.notes)
    quality_db, result = shop.judge(source, made, NEW)
    assert quality_db > 36
    assert result.placement is not None
    assert set(result.placement.left) <= {"aten::mean.out"}
    inside = shop.bench.inspect(made)
    assert sum(inside.ops[kind] for kind in CONVOLUTIONS) == 3
    assert "xnnpack::Clamp" not in inside.ops
    assert inside.tensors is not None
    assert inside.tensors.dtypes == {"qcint8": 4, "qcint32": 3, "float32": 1}
    assert shop.bench.load(Path(made.path), PTE).layers == made.layers


def test_answers_beyond_the_calibrated_range_are_not_cut_off(
    shop: Shop, small_programs: Path
) -> None:
    """The last layer gives float32, unless a rule says that it is int8 as well."""
    source = shop.bench.load(small_programs / "normed.pt2", Format.EXPORTED)
    seen = {"x": np.multiply(SEEN["x"], np.float32(0.7))}
    ruled = (LayerRule(layers="head", precision=INT8),)
    made, cut = (
        shop.make(source, PTE, Quantize(precision=INT8, rules=rules), seen) for rules in ((), ruled)
    )
    assert set(stored(cut).values()) == {INT8}
    assert shop.judge(source, made, NEW)[0] > shop.judge(source, cut, NEW)[0] + 1


def test_weights_have_one_scale_per_tensor_where_that_was_asked_for(
    shop: Shop, small_programs: Path
) -> None:
    source = shop.bench.load(small_programs / "normed.pt2", Format.EXPORTED)
    made = shop.make(source, PTE, Quantize(precision=INT8, per_channel=False), SEEN)
    inside = shop.bench.inspect(made)
    assert inside.tensors is not None
    assert inside.tensors.dtypes == {"qint8": 4, "qint32": 4}
    assert shop.judge(source, made, NEW)[0] > 33


def test_layers_are_excluded_and_ruled_by_the_names_of_their_modules(
    shop: Shop, small_programs: Path
) -> None:
    source = shop.bench.load(small_programs / "normed.pt2", Format.EXPORTED)
    rules = (LayerRule(layers="head", precision=DYNAMIC),)
    settings = Quantize(precision=INT8, exclude=("block.*",), rules=rules)
    made = shop.make(source, PTE, settings, SEEN)
    assert stored(made) == {"stem": INT8, "block.0": FP32, "block.3": FP32, "head": DYNAMIC}
    quality_db, result = shop.judge(source, made, NEW)
    assert quality_db > 36
    assert result.placement is not None
    assert not [name for name in result.placement.left if "convolution" in name]
    with pytest.raises(ConfigError, match="'stam' names none") as refused:
        shop.make(source, PTE, Quantize(precision=INT8, exclude=("stam",)), SEEN)
    assert "stem" in refused.value.fix


def test_dynamic_takes_convolutions_with_a_relu_and_linear_layers(
    shop: Shop, small_programs: Path
) -> None:
    source = shop.bench.load(small_programs / "normed.pt2", Format.EXPORTED)
    made = shop.make(source, PTE, Quantize(precision=DYNAMIC), SEEN)
    assert stored(made) == {"stem": DYNAMIC, "block.0": FP32, "block.3": DYNAMIC, "head": DYNAMIC}
    assert any("kept in float32" in note and "block.0" in note for note in made.notes)
    quality_db, result = shop.judge(source, made, NEW)
    assert quality_db > 38
    assert result.placement is not None
    assert not [name for name in result.placement.left if "convolution" in name]


@pytest.mark.parametrize("method", RangeMethod)
def test_ranges_are_taken_by_every_method(
    shop: Shop, small_programs: Path, method: RangeMethod
) -> None:
    source = shop.bench.load(small_programs / "mlp.pt2", Format.EXPORTED)
    settings = Quantize(precision=INT8, ranges=method)
    made = shop.make(source, PTE, settings, {"input": ROWS["x"]})
    assert shop.judge(source, made, {"input": NEW_ROWS["x"]})[0] > 25


def test_an_outlier_ruins_minmax_and_not_the_percentile(shop: Shop, small_programs: Path) -> None:
    source = shop.bench.load(small_programs / "mlp.pt2", Format.EXPORTED)
    seen = {"input": ROWS["x"].copy()}
    seen["input"][0, 0] = 400.0
    whole, cut = (
        shop.make(source, PTE, Quantize(precision=INT8, ranges=method, percentile=98), seen)
        for method in (RangeMethod.MINMAX, RangeMethod.PERCENTILE)
    )
    new = {"input": NEW_ROWS["x"]}
    assert shop.judge(source, whole, new)[0] + 5 < shop.judge(source, cut, new)[0]


def test_the_bias_of_a_channel_without_weights_is_not_cut_off(
    shop: Shop, small_programs: Path
) -> None:
    source = shop.bench.load(small_programs / "dead.pt2", Format.EXPORTED)
    made = shop.make(source, PTE, Quantize(precision=INT8), drawn(24, 8, seed=0))
    assert shop.judge(source, made, drawn(9, 8, seed=1))[0] > 20


def test_an_lstm_is_right_and_said_to_stay_in_float32(shop: Shop, small_programs: Path) -> None:
    source = shop.bench.load(small_programs / "lstm.pt2", Format.EXPORTED)
    made = shop.make(source, PTE, Quantize(precision=INT8), drawn(24, 4, 6, seed=0))
    assert stored(made) == {"lstm": FP32, "head": INT8}
    assert any("no 8-bit form of it: lstm" in note for note in made.notes)
    assert shop.judge(source, made, drawn(9, 4, 6, seed=1))[0] > 30


def test_weights_that_several_calls_share_are_one_layer(shop: Shop, programs: Path) -> None:
    source = shop.bench.load(programs / "recurrent.pt2", Format.EXPORTED)
    made = shop.make(source, PTE, Quantize(precision=INT8), drawn(24, 3, 5, seed=0))
    assert stored(made) == {"cell": INT8}
    assert shop.judge(source, made, drawn(9, 3, 5, seed=1))[0] > 15


def test_channels_last_code_is_quantized_like_any_other(shop: Shop, programs: Path) -> None:
    """As Keras writes it: kernels transposed, products with matrices, one layer per parameter."""
    source = shop.bench.load(programs / "channels_last.pt2", Format.EXPORTED)
    made = shop.make(source, PTE, Quantize(precision=INT8), drawn(24, 9, 9, 4, seed=0))
    assert stored(made) == {"kernel": INT8, "depthwise": INT8, "dense": DYNAMIC}
    quality_db, result = shop.judge(source, made, drawn(9, 9, 9, 4, seed=1))
    assert quality_db > 30
    assert result.placement is not None
    assert not [name for name in result.placement.left if "convolution" in name]


def test_fp16_halves_linear_layers_and_takes_and_gives_float32(
    shop: Shop, small_programs: Path
) -> None:
    source = shop.bench.load(small_programs / "mlp.pt2", Format.EXPORTED)
    seen = {"input": ROWS["x"]}
    made = shop.make(source, PTE, Quantize(precision=FP16), seen)
    assert stored(made) == dict.fromkeys("024", FP16)
    assert {s.dtype for s in (*made.signature.inputs, *made.signature.outputs)} == {"float32"}
    inside = shop.bench.inspect(made)
    assert inside.tensors is not None
    assert inside.tensors.dtypes == {"float16": 6}
    assert shop.judge(source, made, {"input": NEW_ROWS["x"]})[0] > 50


@pytest.mark.parametrize(
    ("program", "settings", "options", "message"),
    [
        ("mlp", Quantize(precision=INT8), {"delegate": "portable"}, "portable was asked for"),
        ("mlp", Quantize(precision=INT8, io=IoType.INT8), {}, "io = int8"),
        ("mlp", Quantize(precision=INT8, op_types=("Linear",)), {}, "op_types = Linear"),
        (
            "mlp",
            Quantize(precision=DYNAMIC, per_channel=False),
            {},
            "only with weights per channel",
        ),
        ("mlp", Quantize(precision=FP16, exclude=("0",)), {}, "not for single layers"),
        ("conv", Quantize(precision=FP16), {}, "would change nothing"),
        ("plain", Quantize(precision=INT8), {}, "int8 changed nothing"),
        ("plain", Quantize(precision=FP16), {}, "fp16 changed nothing"),
        (
            "mlp",
            Quantize(precision=INT8, rules=(LayerRule(layers="0", precision=FP16),)),
            {},
            "'0' cannot be fp16",
        ),
    ],
)
def test_what_xnnpack_cannot_do_is_refused(
    shop: Shop,
    small_programs: Path,
    program: str,
    settings: Quantize,
    options: dict[str, str],
    message: str,
) -> None:
    source = shop.bench.load(small_programs / f"{program}.pt2", Format.EXPORTED)
    (given,) = source.signature.inputs
    shape = tuple(size or 4 for size in given.shape or ())
    seen = {given.name: drawn(*shape, seed=0)["x"]}
    with pytest.raises(UnsupportedError, match=message) as refused:
        shop.make(source, PTE, settings, seen, **options)
    assert refused.value.fix


OUTSIDE = """
import sys
import torch
import executorch.kernels.quantized
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer, get_symmetric_quantization_config,
)
from executorch.exir import to_edge
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

x = torch.ones(2, 4)
graph = torch.export.export(torch.nn.Linear(4, 3).eval(), (x,)).module(check_guards=False)
config = get_symmetric_quantization_config(is_per_channel=True)
prepared = prepare_pt2e(graph, XNNPACKQuantizer().set_global(config))
prepared(x)
program = torch.export.export(convert_pt2e(prepared), (x,))
open(sys.argv[1], "wb").write(to_edge(program).to_executorch().buffer)
"""


def test_quantized_ops_outside_a_delegate_find_their_kernels(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "outside.pte"
    subprocess.run([sys.executable, "-c", OUTSIDE, str(path)], check=True, capture_output=True)
    made = bench.load(path, PTE)
    result, outputs = bench.run(made, {"input_0": np.ones((2, 4), np.float32)}, (2,))
    assert result.placement is not None
    assert result.placement.delegated_nodes == 0
    assert any("quantized_decomposed" in name for name in result.placement.left)
    assert np.abs(outputs["output_0"]).max() > 0


def test_layers_of_a_keras_model_are_called_as_in_keras(
    convert_model: ConvertModel, sample_models: Path
) -> None:
    built = sample_models / "digits_cnn" / "built"
    recipe = Recipe(name="r", passes=(Quantize(precision=DYNAMIC, exclude=("digit",)),))
    report, _ = convert_model(
        built / "digits_cnn.keras", to="executorch", data=built / "eval.npz", recipe=recipe
    )
    assert report.outcome is Outcome.PASSED, report.reason
    assert {layer.name: layer.precision for layer in report.layers} == {
        "conv2d": FP32,  # one channel in, which XNNPACK takes for depthwise
        "depthwise_conv2d": FP32,
        "conv2d_1": DYNAMIC,
        "conv2d_2": DYNAMIC,
        "digit": FP32,
    }
