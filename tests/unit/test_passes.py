"""Where passes are placed: every way is a plan, and what cannot be done is refused with what can."""

from __future__ import annotations

import pytest

from edgekit.backend_table import BUILTIN
from edgekit.catalog import Catalog
from edgekit.core.artifact import Format
from edgekit.core.plan import Plan
from edgekit.core.recipe import Equalize, LayerRule, Pass, Precision, Qat, Quantize, RangeMethod
from edgekit.errors import ConfigError, UnsupportedError
from edgekit.planner import Wish, precisions, rivals, without_passes

ALL = Catalog(backends=BUILTIN)
INT8 = Quantize(precision=Precision.INT8)


def names(plan: Plan) -> list[str]:
    return [step.backend for step in plan.steps]


def ways(source: Format, to: Format, *passes: Pass, **wish: object) -> list[list[str]]:
    found = rivals(source, to, ALL, Wish(passes=passes, **wish))  # type: ignore[arg-type]
    return [names(plan) for plan in found]


def test_a_pass_is_fused_or_follows_the_converter_and_both_are_rivals() -> None:
    assert ways(Format.KERAS, Format.TFLITE, INT8) == [
        ["keras_to_tflite"],
        ["keras_to_tflite", "aeq_quantize"],
    ]


def test_without_passes_there_is_one_plan() -> None:
    assert ways(Format.KERAS, Format.TFLITE) == [["keras_to_tflite"]]


def test_via_may_name_the_optimizer() -> None:
    assert ways(Format.KERAS, Format.TFLITE, INT8, via="aeq_quantize") == [
        ["keras_to_tflite", "aeq_quantize"]
    ]
    with pytest.raises(ConfigError, match="aeq_quantise"):
        ways(Format.KERAS, Format.TFLITE, INT8, via="aeq_quantise")


def test_single_layers_go_to_backends_that_know_layers() -> None:
    kept = Quantize(precision=Precision.INT8, exclude=("conv2d_1",))
    assert ways(Format.KERAS, Format.TFLITE, kept) == [["keras_to_tflite", "aeq_quantize"]]
    ruled = Quantize(
        precision=Precision.INT8, rules=(LayerRule(layers="a", precision=Precision.W8),)
    )
    assert ways(Format.KERAS, Format.TFLITE, ruled) == [["keras_to_tflite", "aeq_quantize"]]


def test_range_methods_go_to_backends_that_have_them() -> None:
    entropy = Quantize(precision=Precision.INT8, ranges=RangeMethod.ENTROPY)
    assert ways(Format.KERAS, Format.TFLITE, entropy) == [["keras_to_tflite", "aeq_quantize"]]


def test_full_range_u8s8_is_no_rival_where_it_would_saturate() -> None:
    here = {way[-1] for way in ways(Format.EXPORTED, Format.ONNX, INT8, features=("avx2", "vnni"))}
    there = {way[-1] for way in ways(Format.EXPORTED, Format.ONNX, INT8, features=("avx2",))}
    assert "ort_static" in here - there
    assert "ort_static_reduced" in here & there


def test_an_unknown_precision_is_refused_with_the_nearest_before_any_work() -> None:
    with pytest.raises(UnsupportedError) as error:
        ways(Format.KERAS, Format.TFLITE, Quantize(precision=Precision.BF16))
    assert "bf16" in error.value.message
    assert "--precision fp16" in error.value.fix


def test_settings_that_nobody_can_do_are_named() -> None:
    rule = LayerRule(layers="a*", precision=Precision.W4)
    asked = Quantize(precision=Precision.INT8, rules=(rule,))
    with pytest.raises(UnsupportedError, match=r"minmax ranges, a\* in w4"):
        ways(Format.EXPORTED, Format.EXECUTORCH, asked)


def test_fine_tuning_has_a_converter_of_its_own_that_nothing_else_takes() -> None:
    assert ways(Format.KERAS, Format.TFLITE, Qat()) == [["keras_to_tflite_qat"]]
    [plan] = rivals(Format.KERAS, Format.TFLITE, ALL, Wish(passes=(Qat(),)))
    assert [step.backend for step in without_passes(plan.steps, ALL)] == ["keras_to_tflite"]
    with pytest.raises(UnsupportedError, match="quantization-aware"):
        ways(Format.EXPORTED, Format.ONNX, Qat())


def test_equalizing_comes_between_converting_and_quantizing() -> None:
    assert ways(Format.KERAS, Format.TFLITE, Equalize(), INT8) == [
        ["keras_to_tflite", "tflite_equalize", "aeq_quantize"]
    ]
    with pytest.raises(UnsupportedError, match="equalized"):
        ways(Format.KERAS, Format.EXECUTORCH, Equalize(), INT8)


def test_passes_keep_their_order() -> None:
    plan = rivals(
        Format.EXPORTED,
        Format.ONNX,
        ALL,
        Wish(passes=(INT8, Quantize(precision=Precision.W8)), via="ort_static_reduced"),
    )[0]
    assert names(plan) == ["pt2_to_onnx", "ort_static_reduced", "onnx_weights"]
    assert [step.backend for step in without_passes(plan.steps, ALL)] == ["pt2_to_onnx"]


@pytest.mark.parametrize("source", [Format.KERAS, Format.EXPORTED, Format.SKOPS])
def test_every_format_has_more_than_float32(source: Format) -> None:
    for to in (Format.TFLITE, Format.ONNX, Format.EXECUTORCH, Format.TORCHSCRIPT):
        assert {Precision.FP32, Precision.FP16} <= set(precisions(source, to, ALL))
