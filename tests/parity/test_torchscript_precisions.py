"""TorchScript in fewer bits: half precision for all, 8 bits for linear layers, float32 outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.artifact import Format
from edgekit.core.recipe import LayerRule, Precision, Quantize
from edgekit.errors import UnsupportedError
from tests.parity.edge_cells import Bench
from tests.parity.torch_shop import Shop, stored

pytestmark = pytest.mark.framework

SCRIPT = Format.TORCHSCRIPT
DYNAMIC, FP32 = Precision.DYNAMIC, Precision.FP32
SHAPES = {"normed": (3, 10, 10), "mlp": (16,), "lstm": (4, 6)}


@pytest.fixture
def shop(bench: Bench) -> Shop:
    return Shop(bench)


@pytest.mark.parametrize(("precision", "least_db"), [(Precision.FP16, 50), (Precision.BF16, 35)])
@pytest.mark.parametrize("name", SHAPES)
def test_half_precision_halves_the_weights_and_takes_and_gives_float32(
    shop: Shop, small_programs: Path, name: str, precision: Precision, least_db: float
) -> None:
    source = shop.bench.load(small_programs / f"{name}.pt2", Format.EXPORTED)
    (given,) = source.signature.inputs
    seen, new = (
        {given.name: np.random.default_rng(seed).normal(size=(9, *SHAPES[name])).astype("f4")}
        for seed in (0, 1)
    )
    made = shop.make(source, SCRIPT, Quantize(precision=precision), seen)
    assert set(stored(made).values()) == {precision}
    assert {s.dtype for s in (*made.signature.inputs, *made.signature.outputs)} == {"float32"}
    inside = shop.bench.inspect(made)
    assert inside.tensors is not None
    assert set(inside.tensors.dtypes) == {"bfloat16" if "b" in precision else "float16"}
    assert shop.judge(source, made, new)[0] > least_db
    assert shop.bench.load(Path(made.path), SCRIPT).layers == made.layers


def test_dynamic_takes_the_linear_layers_and_names_what_it_leaves(
    shop: Shop, small_programs: Path
) -> None:
    source = shop.bench.load(small_programs / "normed.pt2", Format.EXPORTED)
    images = np.random.default_rng(0).normal(size=(9, 3, 10, 10)).astype(np.float32)
    made = shop.make(source, SCRIPT, Quantize(precision=DYNAMIC), {"x": images})
    assert stored(made) == {"stem": FP32, "block.0": FP32, "block.3": FP32, "head": DYNAMIC}
    assert any("kept in float32: stem, block.0, block.3" in note for note in made.notes)
    assert shop.judge(source, made, {"x": images})[0] > 35


@pytest.mark.parametrize("per_channel", [True, False])
def test_dynamic_makes_a_perceptron_smaller(
    shop: Shop, small_programs: Path, per_channel: bool
) -> None:
    source = shop.bench.load(small_programs / "mlp.pt2", Format.EXPORTED)
    rows = {"input": np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)}
    settings = Quantize(precision=DYNAMIC, per_channel=per_channel, exclude=("4",))
    made = shop.make(source, SCRIPT, settings, rows)
    assert stored(made) == {"0": DYNAMIC, "2": DYNAMIC, "4": FP32}
    inside = shop.bench.inspect(made)
    assert inside.parameters == 16 * 64 + 64 + 64 * 64 + 64 + 64 * 4 + 4
    assert inside.tensors is not None
    assert (inside.tensors.dtypes["qint8"], inside.tensors.per_channel) == (2, 2 * per_channel)
    assert shop.judge(source, made, rows)[0] > 30
    assert made.size_bytes < 0.75 * 4 * inside.parameters


@pytest.mark.parametrize(
    ("program", "settings", "message"),
    [
        ("conv", Quantize(precision=DYNAMIC), "dynamic changed nothing"),
        ("plain", Quantize(precision=Precision.FP16), "fp16 changed nothing"),
        ("mlp", Quantize(precision=DYNAMIC, symmetric=True), "symmetric"),
        ("mlp", Quantize(precision=Precision.BF16, exclude=("0",)), "not for single layers"),
        (
            "mlp",
            Quantize(precision=DYNAMIC, rules=(LayerRule(layers="0", precision=Precision.FP16),)),
            "no fp16 layers next to dynamic",
        ),
    ],
)
def test_what_torchscript_cannot_do_is_refused(
    shop: Shop, small_programs: Path, program: str, settings: Quantize, message: str
) -> None:
    source = shop.bench.load(small_programs / f"{program}.pt2", Format.EXPORTED)
    (given,) = source.signature.inputs
    shape = tuple(size or 4 for size in given.shape or ())
    with pytest.raises(UnsupportedError, match=message) as refused:
        shop.make(source, SCRIPT, settings, {given.name: np.zeros(shape, np.float32)})
    assert refused.value.fix
