"""Small ONNX models, each with a trap for quantizers in it; built by hand, with a fixed seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.arrays import Array

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
WIDTH, TOKENS = 16, 12


class Graph:
    """Nodes and random weights, collected until they are saved."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.held: list[Any] = []

    def weight(self, name: str, *shape: int, scale: float = 1.0) -> str:
        """A random weight whose products keep the scale of what they multiply."""
        fan_in = max(int(np.prod(shape[1:])), 1)
        array = self._rng.normal(size=shape) * scale / np.sqrt(fan_in)
        return self.hold(name, array.astype(np.float32))

    def hold(self, name: str, array: Array) -> str:
        self.held.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        domain = str(attributes.pop("domain", ""))
        name = str(attributes.pop("name", ""))
        node = helper.make_node(kind, inputs, [output], name, domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def save(self, path: Path, inputs: dict[str, tuple[int, list[Any]]], output: list[Any]) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(self.nodes[-1].output[0], FLOAT, output)],
            self.held,
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        path.write_bytes(model.SerializeToString(deterministic=True))
        return path


def transformer(path: Path) -> Path:
    """One block on int64 tokens; its two Gemms share a square weight, which is transposed."""
    g = Graph()
    g.op("Gather", [g.weight("embed", 40, WIDTH, scale=4.0), "tokens"], "x", name="embed")
    for part in ("q", "k", "v"):
        g.op("MatMul", ["x", g.weight(f"w_{part}", WIDTH, WIDTH)], part, name=f"attention/{part}")
    g.op("Transpose", ["k"], "kt", perm=[0, 2, 1])
    g.op("MatMul", ["q", "kt"], "scores", name="attention/scores")
    g.op("Softmax", ["scores"], "shares", axis=-1)
    g.op("MatMul", ["shares", "v"], "mixed", name="attention/mix")
    g.op("Add", ["x", "mixed"], "sum")
    g.hold("one", np.ones(WIDTH, np.float32))
    g.op("LayerNormalization", ["sum", "one"], "normed")
    g.op("ReduceMean", ["normed"], "mean", axes=[1], keepdims=0)
    square, bias = g.weight("square", WIDTH, WIDTH), g.weight("bias", WIDTH)
    g.op("Gemm", ["mean", square], "first", transB=1, name="first")
    g.op("Relu", ["first"], "positive")
    g.op("Gemm", ["positive", square, bias], "y", transB=1, alpha=0.5, beta=2.0, name="second")
    return g.save(path, {"tokens": (INT64, ["batch", TOKENS])}, ["batch", WIDTH])


def recurrent(path: Path, kind: str = "LSTM") -> Path:
    """An LSTM or a GRU, and a Gemm on its last state."""
    g = Graph()
    gates = {"LSTM": 4, "GRU": 3}[kind] * WIDTH
    g.op("Transpose", ["x"], "steps", perm=[1, 0, 2])
    held = [g.weight("w", 1, gates, 8, scale=8.0), g.weight("r", 1, gates, WIDTH, scale=8.0)]
    node = helper.make_node(kind, ["steps", *held], ["", "state"], "memory", hidden_size=WIDTH)
    g.nodes.append(node)
    g.op("Squeeze", ["state", g.hold("zero", np.zeros(1, np.int64))], "last")
    g.op("Gemm", ["last", g.weight("out", 3, WIDTH)], "y", transB=1, name="out")
    return g.save(path, {"x": (FLOAT, ["batch", 6, 8])}, ["batch", 3])


def two_inputs(path: Path) -> Path:
    """A convolution with batch norm and a Gemm, joined; nodes without names."""
    g = Graph()
    g.op("Conv", ["image", g.weight("kernel.weight", 8, 2, 3, 3)], "conv", pads=[1, 1, 1, 1])
    ones = [g.hold(f"bn{i}", np.full(8, v, np.float32)) for i, v in enumerate((1.5, 0.1, 0.0, 2.0))]
    g.op("BatchNormalization", ["conv", *ones], "normal")
    g.op("Relu", ["normal"], "relu")
    g.op("GlobalAveragePool", ["relu"], "pooled")
    g.op("Flatten", ["pooled"], "flat")
    bias = g.hold("bias", np.linspace(-1, 1, 8, dtype=np.float32))
    g.op("Gemm", ["numbers", g.weight("table.weight", 8, 5), bias], "dense", transB=1)
    g.op("Concat", ["flat", "dense"], "both", axis=1)
    g.op("Gemm", ["both", g.weight("head.weight", 4, 16)], "y", transB=1)
    given = {"image": (FLOAT, ["batch", 2, 8, 8]), "numbers": (FLOAT, ["batch", 5])}
    return g.save(path, given, ["batch", 4])


def trees(path: Path) -> Path:
    """One decision stump of ai.onnx.ml."""
    g = Graph()
    g.op(
        "TreeEnsembleRegressor",
        ["x"],
        "y",
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[1.0, 2.0],
        n_targets=1,
    )
    return g.save(path, {"x": (FLOAT, ["batch", 2])}, ["batch", 1])


def large_weight(path: Path, value: float) -> Path:
    """Two products; a weight of the first has `value` in it."""
    g = Graph()
    weight = np.full((4, 4), 0.5, np.float32)
    weight[0, 0] = value
    g.op("MatMul", ["x", g.hold("w", weight)], "h", name="wide")
    g.op("MatMul", ["h", g.weight("v", 4, 4)], "y", name="narrow")
    return g.save(path, {"x": (FLOAT, ["batch", 4])}, ["batch", 4])
