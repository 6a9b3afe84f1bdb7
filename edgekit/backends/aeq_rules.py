"""What ai-edge-quantizer is told: which op gets which bits, and what it cannot do at all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.backends.tflite_files import items, text
from edgekit.backends.tflite_layers import Layer
from edgekit.core.recipe import IoType, Precision, Quantize

# The same bits for the weights where the tool, or the runtime, cannot do the arithmetic asked for.
_NEXT = {
    Precision.INT8: Precision.DYNAMIC,
    Precision.W8A16: Precision.DYNAMIC,
    Precision.DYNAMIC: Precision.W8,
    Precision.W4: Precision.W8,
}
_OP_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
_EVERYTHING = ".*"


def reachable(layer: Layer, wanted: Precision, settings: Quantize) -> Precision:
    """The precision nearest to `wanted` that the tool has for this layer; FP32 where it has none.

    Inside a loop nothing is static: calibration sees the last round only, and the tool does not know
    that the loop's inputs and outputs are one tensor.
    """
    if layer.in_loop and wanted.needs_calibration:
        wanted = _NEXT[wanted]
    return nearest(layer.precision.op, wanted, settings)


def nearest(op: str, wanted: Precision, settings: Quantize) -> Precision:
    """The precision nearest to `wanted` that the tool has for an op; FP32 where it has none."""
    while wanted is not Precision.FP32 and not _is_known(op, wanted, settings):
        wanted = _NEXT.get(wanted, Precision.FP32)
    return wanted


def tell(quantizer: Any, model: Any, given: Mapping[Layer, Precision], settings: Quantize) -> None:
    """Write the rules into `quantizer`: later ones override earlier ones."""
    if settings.precision.needs_calibration:
        _tell_everything(quantizer, model, settings)
    for layer, precision in given.items():
        if _is_known(layer.precision.op, precision, settings):
            scope = f"^{re.escape(layer.scope)}$"
            _add(quantizer, scope, _tool_name(layer.precision.op), precision, settings)


def _tell_everything(quantizer: Any, model: Any, settings: Quantize) -> None:
    """Ops without weights too, save those in loops; inputs and outputs as asked."""
    for op in settings.op_types or ("*",):
        if op == "*" or _is_known(op, settings.precision, settings):
            _add(quantizer, _EVERYTHING, _tool_name(op), settings.precision, settings)
    for side in ("INPUT", "OUTPUT"):
        _add(quantizer, _EVERYTHING, side, Precision.FP32, settings)
        if settings.io is not IoType.FLOAT:
            _add_io(quantizer, side, settings)
    for scope in _loop_scopes(model):
        _add(quantizer, f"^{re.escape(scope)}$", "*", Precision.FP32, settings)


def _loop_scopes(model: Any) -> Sequence[str]:
    """The ops of graphs that have no signature: loops and branches call them."""
    signed = {entry.SubgraphIndex() for entry in items(model, "SignatureDefs")} or {0}
    return [
        "".join(f"{text(graph.Tensors(int(index)).Name())};" for index in indices)
        for at, graph in enumerate(items(model, "Subgraphs"))
        if at not in signed
        for indices in [
            *(operator.OutputsAsNumpy() for operator in items(graph, "Operators")),
            graph.InputsAsNumpy(),
            graph.OutputsAsNumpy(),
        ]
    ]


def _is_known(op: str, precision: Precision, settings: Quantize) -> bool:
    from ai_edge_quantizer import algorithm_manager, qtyping

    try:
        name = qtyping.TFLOperationName(_tool_name(op))
        algorithm, config = _algorithm(precision, settings)
        if config is not None:
            algorithm_manager.check_op_quantization_config(algorithm, name, config)
    except ValueError:
        return False
    return config is not None or precision is Precision.FP32


def _tool_name(op: str) -> str:
    """What the tool calls an op. Never `*`: outputs are ops to it, and have their maker's scope."""
    return _OP_NAMES.get(op, op)


def _add(quantizer: Any, scope: str, op: str, precision: Precision, settings: Quantize) -> None:
    from ai_edge_quantizer import qtyping

    algorithm, config = _algorithm(precision, settings)
    quantizer.update_quantization_recipe(scope, qtyping.TFLOperationName(op), config, algorithm)


def _add_io(quantizer: Any, side: str, settings: Quantize) -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping

    _, config = _algorithm(settings.precision, settings)
    if settings.io is IoType.UINT8:
        kinds = qtyping.TensorQuantizationConfig
        unsigned = kinds(num_bits=8, symmetric=False, dtype=qtyping.TensorDataType.UINT)
        config = _config(unsigned, config.weight_tensor_config, is_integer=True)
    quantizer.update_quantization_recipe(
        _EVERYTHING,
        qtyping.TFLOperationName(side),
        config,
        algorithm_manager.AlgorithmName.MIN_MAX_UNIFORM_QUANT,
    )


def _algorithm(precision: Precision, settings: Quantize) -> tuple[Any, Any]:
    """The tool's algorithm and its settings for one precision."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    names = algorithm_manager.AlgorithmName
    tensor = qtyping.TensorQuantizationConfig
    kind = qtyping.QuantGranularity
    granularity = kind.CHANNELWISE if settings.per_channel else kind.TENSORWISE
    weights = tensor(num_bits=8, granularity=granularity)
    match precision:
        case Precision.FP16:
            half = tensor(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
            return names.FLOAT_CASTING, _config(None, half, is_integer=False)
        case Precision.W8:
            return names.MIN_MAX_UNIFORM_QUANT, _config(None, weights, is_integer=False)
        case Precision.W4:
            quarter = tensor(num_bits=4, granularity=granularity)
            return names.MIN_MAX_UNIFORM_QUANT, _config(None, quarter, is_integer=False)
        case Precision.DYNAMIC:
            return names.MIN_MAX_UNIFORM_QUANT, _config(None, weights, is_integer=True)
        case Precision.INT8:
            bytes_ = tensor(num_bits=8, symmetric=bool(settings.symmetric))
            return names.MIN_MAX_UNIFORM_QUANT, _config(bytes_, weights, is_integer=True)
        case Precision.W8A16:
            words = tensor(num_bits=16, symmetric=True)
            return names.MIN_MAX_UNIFORM_QUANT, _config(words, weights, is_integer=True)
        case Precision.FP32 | Precision.BF16:
            return names.NO_QUANTIZE, None


def _config(activations: Any, weights: Any, *, is_integer: bool) -> Any:
    from ai_edge_quantizer import qtyping

    compute = qtyping.ComputePrecision
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=activations,
        weight_tensor_config=weights,
        compute_precision=compute.INTEGER if is_integer else compute.FLOAT,
        explicit_dequantize=not is_integer,
    )
