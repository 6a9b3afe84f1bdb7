"""ONNX files in fewer bits: what is rewritten, what stays float, and that the answers hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from edgekit.core.artifact import Artifact, Format  # noqa: E402
from edgekit.core.recipe import (  # noqa: E402
    IoType,
    LayerRule,
    Precision,
    Quantize,
    RangeMethod,
)
from edgekit.errors import ConfigError, MalformedError, UnsupportedError  # noqa: E402
from tests.parity import onnx_zoo  # noqa: E402
from tests.parity.edge_cells import Bench  # noqa: E402
from tests.parity.onnx_shop import (  # noqa: E402
    CASCADE_LAKE,
    HASWELL,
    INT8,
    SAFE,
    Shop,
    drawn,
)

pytestmark = pytest.mark.framework


@pytest.fixture
def shop(bench: Bench) -> Shop:
    return Shop(bench)


Builder = Callable[[Path], Path]
MODELS: dict[str, Builder] = {
    "transformer": onnx_zoo.transformer,
    "lstm": onnx_zoo.recurrent,
    "two inputs": onnx_zoo.two_inputs,
}
SEEN, UNSEEN = drawn(5), drawn(6)
TOKENS, STEPS, PAIRS = SEEN["transformer"], SEEN["lstm"], SEEN["two inputs"]
LEAST_DB = {
    Precision.INT8: 25,
    Precision.W8A16: 30,
    Precision.DYNAMIC: 25,
    Precision.FP16: 50,
    Precision.W8: 35,
    Precision.W4: 15,
}
WAYS = [
    *((row, Precision.INT8) for row in INT8),
    ("ort_static", Precision.W8A16),
    ("ort_dynamic", Precision.DYNAMIC),
    ("ort_cast", Precision.FP16),
    ("onnx_weights", Precision.W8),
    ("onnx_weights", Precision.W4),
]


def loaded(shop: Shop, build: Builder, path: Path) -> Artifact:
    return shop.bench.load(build(path), Format.ONNX)


@pytest.mark.parametrize(("row", "precision"), WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_every_precision_answers_like_the_float_model(
    shop: Shop, tmp_path: Path, name: str, row: str, precision: Precision
) -> None:
    source = loaded(shop, MODELS[name], tmp_path / "m.onnx")
    before = Path(source.path).read_bytes()
    made = shop.make(source, row, Quantize(precision=precision), SEEN[name])
    assert shop.quality_db(source, made, UNSEEN[name]) >= LEAST_DB[precision]
    assert {layer.name for layer in made.layers} == {layer.name for layer in source.layers}
    assert any(layer.precision is precision for layer in made.layers)
    assert made.signature == source.signature
    assert Path(source.path).read_bytes() == before
    assert sorted(p.name for p in Path(made.path).parent.glob("*.onnx*")) == ["model.onnx"]


@pytest.mark.parametrize(("row", "precision"), WAYS[::4] + WAYS[5:])
def test_files_are_the_same_byte_for_byte_and_name_no_place(
    shop: Shop, tmp_path: Path, row: str, precision: Precision
) -> None:
    source = loaded(shop, onnx_zoo.transformer, tmp_path / "m.onnx")
    settings = Quantize(precision=precision)
    first, second = (shop.make(source, row, settings, TOKENS) for _ in range(2))
    assert first.sha256 == second.sha256
    assert str(tmp_path).encode() not in Path(first.path).read_bytes()


def test_layers_are_listed_by_the_loader_and_the_inspector(shop: Shop, tmp_path: Path) -> None:
    source = loaded(shop, onnx_zoo.two_inputs, tmp_path / "m.onnx")
    assert [(n.name, n.op, n.precision, n.parameters) for n in source.layers] == [
        ("kernel", "Conv", "fp32", 144),
        ("table", "Gemm", "fp32", 40),
        ("head", "Gemm", "fp32", 64),
    ]
    made = shop.make(source, "ort_static", Quantize(precision=Precision.INT8), PAIRS)
    again = shop.bench.load(Path(made.path), Format.ONNX)
    assert again.layers == made.layers == shop.bench.inspect(made).layers
    assert {layer.precision for layer in made.layers} == {Precision.INT8}


def test_weights_of_every_kind_shrink_to_a_quarter(shop: Shop, tmp_path: Path) -> None:
    source = loaded(shop, onnx_zoo.recurrent, tmp_path / "m.onnx")
    made = shop.make(source, "onnx_weights", Quantize(precision=Precision.W8), STEPS)
    assert {layer.precision for layer in made.layers} == {Precision.W8}
    held = {t.name: t for t in onnx.load(made.path).graph.initializer}
    floats = sum(np.prod(t.dims) for t in held.values() if t.data_type == onnx.TensorProto.FLOAT)
    weights = sum(layer.parameters for layer in source.layers)
    assert floats < weights / 10


def test_a_transformer_has_its_products_quantized_alone_and_says_so(
    shop: Shop, tmp_path: Path
) -> None:
    source = loaded(shop, onnx_zoo.transformer, tmp_path / "m.onnx")
    made = shop.make(source, "ort_static", Quantize(precision=Precision.INT8), TOKENS)
    assert any("because this is a transformer" in note for note in made.notes)
    assert any("embed (Gather)" in note for note in made.notes)


def test_rules_and_globs_reach_single_layers(shop: Shop, tmp_path: Path) -> None:
    source = loaded(shop, onnx_zoo.transformer, tmp_path / "m.onnx")
    settings = Quantize(
        precision=Precision.INT8,
        exclude=("attention/*",),
        rules=(LayerRule(layers="second", precision=Precision.W8A16),),
    )
    made = shop.make(source, "ort_static", settings, TOKENS)
    found = {layer.name: layer.precision for layer in made.layers}
    assert found["first"] is Precision.INT8
    assert found["second"] is Precision.W8A16
    assert {found[f"attention/{n}"] for n in ("q", "k", "v", "scores", "mix")} == {Precision.FP32}
    assert shop.quality_db(source, made, UNSEEN["transformer"]) > 25


def test_an_excluded_layer_stays_float_where_another_shares_its_weight(
    shop: Shop, tmp_path: Path
) -> None:
    source = loaded(shop, onnx_zoo.transformer, tmp_path / "m.onnx")
    settings = Quantize(precision=Precision.INT8, exclude=("first",))
    made = shop.make(source, "ort_static", settings, TOKENS)
    found = {layer.name: layer.precision for layer in made.layers}
    assert (found["first"], found["second"]) == (Precision.FP32, Precision.INT8)


def test_an_excluded_gemm_stays_float_in_dynamic(shop: Shop, tmp_path: Path) -> None:
    source = loaded(shop, onnx_zoo.transformer, tmp_path / "m.onnx")
    settings = Quantize(precision=Precision.DYNAMIC, exclude=("second",))
    made = shop.make(source, "ort_dynamic", settings, TOKENS)
    found = {layer.name: layer.precision for layer in made.layers}
    assert (found["first"], found["second"]) == (Precision.DYNAMIC, Precision.FP32)


@pytest.mark.parametrize("method", RangeMethod)
def test_every_range_method_works(shop: Shop, tmp_path: Path, method: RangeMethod) -> None:
    source = loaded(shop, onnx_zoo.two_inputs, tmp_path / "m.onnx")
    settings = Quantize(precision=Precision.INT8, ranges=method, percentile=99.9)
    made = shop.make(source, "ort_static", settings, PAIRS)
    assert shop.quality_db(source, made, UNSEEN["two inputs"]) > 15


def test_per_tensor_weights_have_one_scale(shop: Shop, tmp_path: Path) -> None:
    source = loaded(shop, onnx_zoo.two_inputs, tmp_path / "m.onnx")
    per_tensor = Quantize(precision=Precision.INT8, per_channel=False)
    made = shop.make(source, "ort_static", per_tensor, PAIRS)
    tensors = shop.bench.inspect(made).tensors
    assert tensors is not None
    assert tensors.per_channel == 0


REFUSED = [
    (onnx_zoo.trees, "ort_static", Quantize(precision=Precision.INT8), "TreeEnsembleRegressor"),
    (onnx_zoo.trees, "ort_cast", Quantize(precision=Precision.FP16), "TreeEnsembleRegressor"),
    (
        onnx_zoo.transformer,
        "ort_static",
        Quantize(precision=Precision.INT8, op_types=("Convolution",)),
        "Convolution",
    ),
    (
        onnx_zoo.transformer,
        "ort_static",
        Quantize(precision=Precision.INT8, io=IoType.INT8),
        "stay float",
    ),
    (
        onnx_zoo.transformer,
        "onnx_weights",
        Quantize(precision=Precision.W4, block_size=24),
        "powers of 2",
    ),
    (
        onnx_zoo.transformer,
        "ort_dynamic",
        Quantize(
            precision=Precision.DYNAMIC,
            rules=(LayerRule(layers="first", precision=Precision.FP16),),
        ),
        "first is to be fp16",
    ),
]


@pytest.mark.parametrize(("build", "row", "settings", "reason"), REFUSED)
def test_what_cannot_be_done_is_refused(
    shop: Shop, tmp_path: Path, build: Builder, row: str, settings: Quantize, reason: str
) -> None:
    source = loaded(shop, build, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match=reason) as refusal:
        shop.make(source, row, settings, TOKENS)
    assert refusal.value.fix


def test_a_pass_that_changes_nothing_is_refused(shop: Shop, tmp_path: Path) -> None:
    path = onnx_zoo.recurrent(tmp_path / "gru.onnx", "GRU")
    source = shop.bench.load(path, Format.ONNX)
    only = Quantize(precision=Precision.DYNAMIC, exclude=("out",))
    with pytest.raises(UnsupportedError, match=r"changed nothing.*GRU"):
        shop.make(source, "ort_dynamic", only, STEPS)


def test_a_glob_that_names_no_layer_is_refused_with_near_names(shop: Shop, tmp_path: Path) -> None:
    source = loaded(shop, onnx_zoo.transformer, tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="names none") as refusal:
        shop.make(source, "onnx_weights", Quantize(precision=Precision.W8, exclude=("frist",)), {})
    assert "first" in refusal.value.fix


def test_weights_beyond_float16_stay_float_and_nan_is_refused(shop: Shop, tmp_path: Path) -> None:
    half = Quantize(precision=Precision.FP16)
    wide = shop.bench.load(onnx_zoo.large_weight(tmp_path / "wide.onnx", 1e5), Format.ONNX)
    made = shop.make(wide, "ort_cast", half, {})
    assert [layer.precision for layer in made.layers] == [Precision.FP32, Precision.FP16]
    assert any("wide stays float32" in note for note in made.notes)
    broken = shop.bench.load(onnx_zoo.large_weight(tmp_path / "nan.onnx", np.nan), Format.ONNX)
    with pytest.raises(MalformedError, match="not finite"):
        shop.make(broken, "ort_cast", half, {})


@pytest.mark.parametrize(("row", "is_flagged"), [(row, row not in SAFE) for row in INT8])
def test_products_that_saturate_without_vnni_are_flagged(
    shop: Shop, tmp_path: Path, row: str, is_flagged: bool
) -> None:
    source = loaded(shop, onnx_zoo.transformer, tmp_path / "m.onnx")
    made = shop.make(source, row, Quantize(precision=Precision.INT8), TOKENS)
    notes = " ".join(shop.bench.inspect(made).notes)
    assert ("their sums saturate" in notes) is is_flagged


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_dynamic_products_are_safe_where_the_target_has_no_vnni(
    shop: Shop, tmp_path: Path, name: str
) -> None:
    source, samples = loaded(shop, MODELS[name], tmp_path / "m.onnx"), SEEN[name]
    settings = Quantize(precision=Precision.DYNAMIC)
    fast = shop.make(source, "ort_dynamic", settings, samples, CASCADE_LAKE)
    safe = shop.make(source, "ort_dynamic", settings, samples, HASWELL)
    assert "saturate" in " ".join(shop.bench.inspect(fast).notes)
    assert "saturate" not in " ".join(shop.bench.inspect(safe).notes)
    assert shop.quality_db(source, safe, UNSEEN[name]) > LEAST_DB[Precision.DYNAMIC]
