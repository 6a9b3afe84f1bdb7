"""Factors and sums behind products go into these, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from edgekit.backends.onnx_folding import fold_channels  # noqa: E402
from tests.parity.onnx_zoo import FLOAT, Graph  # noqa: E402

pytestmark = pytest.mark.framework
X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def built(
    path: Path, *, factor: tuple[int, ...], shared: bool = False, transposed: int = 0
) -> Path:
    """Gemm, Mul, Add and Relu; of a shared weight a second Gemm makes use."""
    g = Graph()
    weight = g.weight("w", 6, 6)
    g.op("Gemm", ["x", weight, g.weight("b", 6)], "product", transB=transposed)
    g.op("Mul", ["product", g.weight("factor", *factor, scale=9.0)], "scaled")
    g.op("Add", [g.weight("mean", 6), "scaled"], "normal")
    g.op("Relu", ["normal"], "hidden")
    g.op("Gemm", ["hidden", weight if shared else g.weight("v", 6, 6)], "y")
    return g.save(path, {"x": (FLOAT, ["n", 6])}, ["n", 6])


def answers(model: object) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString())  # type: ignore[attr-defined]
    found: npt.NDArray[np.float32] = session.run(None, {"x": X})[0]
    return found


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("factor", [(6,), (1, 6), (1,)])
def test_a_batch_norm_behind_a_dense_layer_goes_into_its_weights(
    tmp_path: Path, factor: tuple[int, ...], transposed: int
) -> None:
    model = onnx.load(built(tmp_path / "m.onnx", factor=factor, transposed=transposed))
    before = answers(model)
    fold_channels(model)
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Relu", "Gemm"]
    np.testing.assert_allclose(answers(model), before, rtol=1e-5, atol=1e-6 * float(before.max()))


@pytest.mark.parametrize(("factor", "shared"), [((5, 1), False), ((5, 6), False), ((6,), True)])
def test_factors_of_samples_and_shared_weights_are_left_alone(
    tmp_path: Path, factor: tuple[int, ...], shared: bool
) -> None:
    model = onnx.load(built(tmp_path / "m.onnx", factor=factor, shared=shared))
    before, nodes = answers(model), len(model.graph.node)
    fold_channels(model)
    assert len(model.graph.node) == nodes
    assert np.array_equal(answers(model), before)
