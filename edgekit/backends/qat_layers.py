"""Where int8 is simulated in a tf_keras model: which weights and which results are rounded.

The layers round through tfmot's wrapper, placed as TFLite's kernels compute: a convolution with the
BatchNormalization and ReLU behind it is one op, and only what leaves it is rounded. tfmot's own
placement leaves a convolution in front of a ReLU in float, and has one scale for all channels of a
depthwise convolution, where TFLite has one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.quantization.keras import (
    QuantizeConfig,
    QuantizeWrapperV2,
    quantizers,
)

from edgekit.backends.keras_replay import KERNELS
from edgekit.backends.layer_choice import chosen
from edgekit.core.recipe import Precision, Qat, Quantize
from edgekit.errors import UnsupportedError

_ROUNDED_ALREADY = frozenset({
    "Cropping1D", "Cropping2D", "Flatten", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
    "MaxPooling2D", "Permute", "Reshape", "Reshaped", "Softmax", "ZeroPadding1D", "ZeroPadding2D",
})  # fmt: skip
# Axes of a kernel whose elements have a scale each; 0 is one scale for all.
_CHANNEL_AXES = {"Conv2D": 1, "Conv2DTranspose": 0, "DepthwiseConv2D": 2, "Dense": 0}
_RANGE_KNOWN = frozenset({"softmax", "sigmoid", "tanh"})


@dataclass
class Phase:
    """Whether ranges are being measured, with all numbers in float, or learnt by the way."""

    is_measuring: bool = False


@dataclass(frozen=True)
class Simulation:
    """`model` computes as int8 will; `phase` switches all its layers."""

    model: Any
    phase: Phase


def simulated(model: Any, settings: Qat) -> Simulation:
    """A copy of the functional `model` in which int8 is simulated; what `exclude` names stays float.

    Raises ConfigError for a glob that names no layer with weights, UnsupportedError where no layer
    is left to quantize.
    """
    phase = Phase()
    copy = tf_keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    plan = _plan(copy, settings, phase)

    def wrapped(layer: Any) -> Any:
        config = plan.get(layer.name)
        return layer if config is None else QuantizeWrapperV2(layer, config, name_prefix="")

    return Simulation(tf_keras.models.clone_model(copy, clone_function=wrapped), phase)


class WeightQuantizer(quantizers.LastValueQuantizer):
    """Symmetric, with a scale for each element of the last `axes` axes; 0 is one scale for all."""

    def __init__(self, axes: int) -> None:
        super().__init__(num_bits=8, per_axis=axes > 0, symmetric=True, narrow_range=True)
        self._axes = axes

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """The variables of the ranges, which the first call in training sets."""
        shape = (prod(tensor_shape[-self._axes :]),) if self._axes else ()
        return _range_variables(layer, name, shape)

    def __call__(self, inputs: Any, training: Any, weights: Any, **options: Any) -> Any:
        """`inputs` rounded."""
        if self._axes < 2:
            return super().__call__(inputs, training, weights, **options)
        height, width, *channels = inputs.shape
        merged = tf.reshape(inputs, (height, width, 1, prod(channels)))
        return tf.reshape(super().__call__(merged, training, weights, **options), inputs.shape)


class ResultQuantizer(quantizers.MovingAverageQuantizer):
    """Asymmetric, one scale. The range is measured first, then follows that of the batches."""

    def __init__(self, phase: Phase) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        self._phase = phase

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:  # noqa: ARG002
        """The variables of the range, which holds zero from the start, as int8 demands."""
        return _range_variables(layer, name, ())

    def __call__(self, inputs: Any, training: Any, weights: Any, **options: Any) -> Any:
        """`inputs` rounded, or as they are while ranges are measured."""
        if not (training and self._phase.is_measuring):
            return super().__call__(inputs, training, weights, **options)
        low, high = weights["min_var"], weights["max_var"]
        low.assign(tf.minimum(low, tf.reduce_min(inputs)))
        high.assign(tf.maximum(high, tf.reduce_max(inputs)))
        return inputs


class Rounding(QuantizeConfig):
    """What a wrapped layer rounds: its weights called `kernel`, if any, and its result, if asked."""

    def __init__(self, kernel: str | None, weights: Any, result: Any) -> None:
        self._kernel, self._weights, self._result = kernel, weights, result

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """The kernel with its quantizer."""
        return [(getattr(layer, self._kernel), self._weights)] if self._kernel else []

    def set_quantize_weights(self, layer: Any, quantize_weights: Sequence[Any]) -> None:
        """Let the layer compute with the rounded kernel."""
        for weights in quantize_weights:
            setattr(layer, self._kernel or "", weights)

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:  # noqa: ARG002
        """None: activations stand alone."""
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
        """Nothing to set."""

    def get_output_quantizers(self, layer: Any) -> list[Any]:  # noqa: ARG002
        """The quantizer of the result."""
        return [self._result] if self._result else []

    def get_config(self) -> dict[str, Any]:
        """Nothing: wrapped layers are never written down."""
        return {}


def _range_variables(layer: Any, name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {
        f"{side}_var": layer.add_weight(
            f"{name}_{side}", shape=shape, initializer="zeros", trainable=False
        )
        for side in ("min", "max")
    }


def _plan(model: Any, settings: Qat, phase: Phase) -> dict[str, Rounding | None]:
    """What each layer rounds, by its name; None for one that is left as it is."""
    kernels = [layer.name for layer in model.layers if _kernel(layer)]
    if not kernels:
        raise UnsupportedError(
            "the model has no layer that can be trained for int8: there are "
            f"{', '.join(sorted({type(layer).__name__ for layer in model.layers}))}",
            fix=f"it takes one of {', '.join(KERNELS)}; without training: --precision int8",
        )
    asked = chosen(Quantize(precision=Precision.INT8, exclude=settings.exclude), kernels)
    kept = {name for name, precision in asked.items() if precision is Precision.FP32}
    if kept == set(kernels):
        raise UnsupportedError("every layer with weights is excluded", fix="exclude fewer layers")
    left_alone = _float_ends(model, kept)
    ends = {id(tensor) for tensor in tf.nest.flatten(model.outputs)}
    plan: dict[str, Rounding | None] = {}
    for layer in model.layers:
        kernel = None if layer.name in kept else _kernel(layer)
        rounds_result = (
            layer.name not in left_alone
            and not _is_inside_an_op(layer, ends)
            and _result_needs_rounding(layer)
        )
        weights = WeightQuantizer(_CHANNEL_AXES[type(layer).__name__]) if kernel else None
        result = ResultQuantizer(phase) if rounds_result else None
        plan[layer.name] = Rounding(kernel, weights, result) if kernel or result else None
    return plan


def _float_ends(model: Any, kept: set[str]) -> set[str]:
    """The layers kept in float, and those behind them, that no layer in int8 follows."""
    leads_on: set[str] = set()
    for layer in reversed(model.layers):
        behind = _followers(layer)
        if any(b.name in leads_on or (_kernel(b) and b.name not in kept) for b in behind):
            leads_on.add(layer.name)
    in_float: set[str] = set()
    for layer in model.layers:
        before = [node.layer.name for node in layer._inbound_nodes[0].parent_nodes]  # noqa: SLF001
        is_behind = not _kernel(layer) and any(name in in_float for name in before)
        if layer.name in kept or is_behind:
            in_float.add(layer.name)
    return in_float - leads_on


def _kernel(layer: Any) -> str | None:
    return KERNELS.get(type(layer).__name__)


def _ends_here(layer: Any, ends: set[int]) -> bool:
    return any(id(tensor) in ends for tensor in tf.nest.flatten(layer.output))


def _followers(layer: Any) -> list[Any]:
    return [node.layer for node in layer._outbound_nodes]  # noqa: SLF001


def _is_inside_an_op(layer: Any, ends: set[int]) -> bool:
    """Whether TFLite computes `layer` and what follows in one op, so that nothing is stored between."""
    followers = _followers(layer)
    if len(followers) != 1 or _ends_here(layer, ends):
        return False
    kind, follower = type(layer).__name__, followers[0]
    if _CHANNEL_AXES.get(kind) and type(follower).__name__ == "FixedBatchNormalization":
        return True
    computes = kind in KERNELS or kind in ("FixedBatchNormalization", "Add")
    return type(follower).__name__ == "Concatenate" or (computes and _is_clipping(follower))


def _is_clipping(layer: Any) -> bool:
    """Whether `layer` is a ReLU or ReLU6, which other ops take in."""
    if type(layer).__name__ == "Activation":
        return layer.activation.__name__ in ("relu", "relu6")
    is_plain = type(layer).__name__ == "ReLU" and not layer.negative_slope and not layer.threshold
    return is_plain and layer.max_value in (None, 6.0)


def _result_needs_rounding(layer: Any) -> bool:
    kind = type(layer).__name__
    if kind == "InputLayer" or kind in _ROUNDED_ALREADY:
        return False
    if kind == "Activation" and layer.activation.__name__ in _RANGE_KNOWN:
        return False
    results = tf.nest.flatten(layer.output)
    return len(results) == 1 and results[0].dtype.is_floating
