"""A Keras model built anew of tf_keras layers that each do one thing, for training with tfmot.

Convolutions, dense layers and what stands between them are rebuilt with their names and weights.
Everything else, from `keras.ops` to the user's own layers, is called as it is from inside a layer
of its own: it computes the same, and keeps its weights as they are.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from edgekit.backends.keras_calls import LayerCall, calls_of, graph_in
from edgekit.backends.keras_model import KerasModel, symbolic_tensors

KERNELS = {
    "Conv2D": "kernel",
    "Conv2DTranspose": "kernel",
    "Dense": "kernel",
    "DepthwiseConv2D": "depthwise_kernel",
}
# TensorFlow's converter has one scale for all weights of these; a scale per channel fails in it
# ("mismatched quantized axes").
_ONE_SCALE = ("Dense", "Conv2DTranspose")
# Layers that mean the same in both libraries.
_REBUILT = frozenset({
    "Activation", "Add", "AveragePooling1D", "AveragePooling2D", "BatchNormalization",
    "Concatenate", "Cropping1D", "Cropping2D", "Flatten", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "LeakyReLU",
    "MaxPooling2D", "Permute", "ReLU", "Reshape", "SeparableConv2D", "Softmax", "UpSampling2D",
    "ZeroPadding1D", "ZeroPadding2D", *KERNELS,
})  # fmt: skip
_ACTIVATIONS = frozenset({
    "linear", "relu", "relu6", "softmax", "sigmoid", "tanh", "elu", "selu", "softplus", "softsign",
    "silu", "swish", "gelu",
})  # fmt: skip
_IDENTITY_AT_INFERENCE = frozenset({
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
})  # fmt: skip
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
_OF_POINTWISE = ("filters", "use_bias", "name")
_OF_TRAINING = ("_initializer", "_regularizer", "_constraint")


class FixedBatchNormalization(tf_keras.layers.BatchNormalization):
    """Uses the statistics it has, also in training: what is trained is what will run."""

    def call(self, inputs: Any, training: Any = None) -> Any:  # noqa: ARG002
        """Normalize by the moving mean and variance."""
        return super().call(inputs, training=False)


class Reshaped(tf_keras.layers.Layer):
    """`value` in another shape, of which one size may be -1; the batch may change."""

    def __init__(self, sizes: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self._sizes = tuple(sizes)

    def call(self, value: Any) -> Any:
        """Reshape."""
        return tf.reshape(value, self._sizes)

    def get_config(self) -> dict[str, Any]:
        """What a copy is made of."""
        return {**super().get_config(), "sizes": self._sizes}


def replayed(source: KerasModel) -> Any:
    """`source` in inference form as a functional tf_keras model that shares no trained weights with it.

    It takes and gives lists of tensors in the order of the source's signature. Float inputs go
    through a linear Activation first; activations inside layers stand alone, separable convolutions
    are two, a dense layer takes rows and has the BatchNormalization behind it in its weights.
    Raises UnsupportedError for a model whose graph of layers is not known.
    """
    inputs, outputs = symbolic_tensors(source)
    builder = _Builder()
    given = [
        tf_keras.Input(batch_shape=t.shape, dtype=t.dtype, name=builder.free_name(_maker(t)))
        for t in inputs
    ]
    tensors = {id(t): builder.entry(put) for t, put in zip(inputs, given, strict=True)}
    builder.run(graph_in(source.model), tensors)
    return tf_keras.Model(given, [tensors[id(tensor)] for tensor in outputs], name="model")


def _maker(tensor: Any) -> str:
    return str(tensor._keras_history[0].name)  # noqa: SLF001 - the only record of it


class _Builder:
    """Rebuilds layers, each once, under names that are there once."""

    def __init__(self) -> None:
        self._built: dict[int, Any] = {}
        self._used: Counter[int] = Counter()
        self._foldable: dict[int, Any] = {}
        self._names: set[str] = set()

    def run(self, functional: Any, tensors: dict[int, Any]) -> None:
        """Make the calls of `functional`; `tensors` maps its symbolic tensors to ours."""
        calls = list(calls_of(functional))
        used = Counter(id(t) for t in chain(functional.outputs, *(call.inputs for call in calls)))
        self._used.update(used)
        for call in calls:
            results = self._called(call, [tensors[id(tensor)] for tensor in call.inputs])
            tensors.update(zip(map(id, call.outputs), tf.nest.flatten(results), strict=True))

    def free_name(self, name: str) -> str:
        """`name` fit for tf_keras, with a number where it is taken by a layer of another model."""
        wanted = name = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)
        number = 0
        while wanted in self._names:
            number += 1
            wanted = f"{name}_{number}"
        self._names.add(wanted)
        return wanted

    def entry(self, tensor: Any) -> Any:
        """`tensor`, behind a layer that can round it if it is a float."""
        return self._activated(tensor, "linear", "input") if tensor.dtype.is_floating else tensor

    def _called(self, call: LayerCall, values: list[Any]) -> Any:
        operation, kind = call.operation, type(call.operation).__name__
        inner = graph_in(operation)
        if inner is not None:
            inside = dict(zip(map(id, inner.inputs), values, strict=True))
            self.run(inner, inside)
            return [inside[id(tensor)] for tensor in inner.outputs]
        if _is_sum(call):
            return tf_keras.layers.Add(name=self.free_name(operation.name))(values)
        if not _is_float_layer(operation):
            return self._passed_on(call.again, operation.name, values)
        if kind in _IDENTITY_AT_INFERENCE:
            return values[0]
        if kind == "Activation":
            return self._activated(values[0], operation.activation, operation.name)
        if kind == "BatchNormalization" and (folding := self._foldable.get(id(call.inputs[0]))):
            _fold(operation, folding)
            return values[0]
        if kind in _REBUILT and getattr(operation, "groups", 1) == 1:
            result = self._rebuilt(operation, values if call.takes_list else values[0])
            self._note_foldable(call)
            return result
        return self._passed_on(call.again, operation.name, values)

    def _note_foldable(self, call: LayerCall) -> None:
        """Remember a layer with one scale for all its weights: its BatchNormalization goes into it."""
        layer, result = call.operation, id(call.outputs[0])
        is_plain = _activation_name(getattr(layer, "activation", None)) == "linear"
        is_called_once = len(layer._inbound_nodes) == 1 and self._used[result] == 1  # noqa: SLF001
        if type(layer).__name__ in _ONE_SCALE and is_plain and is_called_once:
            self._foldable[result] = self._built[id(layer)][0]

    def _rebuilt(self, layer: Any, value: Any) -> Any:
        is_new = id(layer) not in self._built
        if is_new:
            self._built[id(layer)] = self._parts(layer)
        parts = self._built[id(layer)]
        shape = () if isinstance(value, list) else tuple(value.shape)
        is_wide = type(layer).__name__ == "Dense" and len(shape) > 2 and list(shape).count(None) < 2
        if is_wide:
            value = Reshaped((-1, shape[-1]), name=self.free_name(f"{layer.name}_rows"))(value)
        for part in parts:
            value = part(value)
        if is_new:
            weights = iter(layer.get_weights())
            for part in parts:
                own = [next(weights, zeros) for zeros in part.get_weights()]
                part.set_weights(own)
        if getattr(layer, "activation", None) is not None:
            value = self._activated(value, layer.activation, f"{layer.name}_activation")
        if is_wide:
            sizes = [-1 if size is None else size for size in (*shape[:-1], value.shape[-1])]
            value = Reshaped(sizes, name=self.free_name(f"{layer.name}_steps"))(value)
        return value

    def _parts(self, layer: Any) -> list[Any]:
        """The tf_keras layers that do what `layer` does but for its activation, without its weights."""
        kind = type(layer).__name__
        config = _config_of(layer) | {"name": self.free_name(layer.name)}
        if kind == "SeparableConv2D":
            first = {key: value for key, value in config.items() if key not in _OF_POINTWISE}
            first["name"] = self.free_name(f"{layer.name}_depthwise")
            second = {key: config[key] for key in _OF_POINTWISE}
            return [
                _made("DepthwiseConv2D", first | {"use_bias": False}),
                _made("Conv2D", second | {"kernel_size": 1, "data_format": config["data_format"]}),
            ]
        if kind in _ONE_SCALE:
            config["use_bias"] = True
        return [_made(kind, config)]

    def _activated(self, value: Any, function: Any, name: str) -> Any:
        known = _activation_name(function)
        if known == "linear" and name.endswith("_activation"):
            return value
        if known is None:
            return self._passed_on(lambda values: function(values[0]), name, [value])
        return tf_keras.layers.Activation(known, name=self.free_name(name))(value)

    def _passed_on(self, function: Any, name: str, values: list[Any]) -> Any:
        """What `function` gives, called from inside a layer.

        The layer has a class of its own, as it is copied through its config, which takes no objects.
        """

        class PassedOn(tf_keras.layers.Layer):
            """Calls what it stands for."""

            def call(self, values: Any) -> Any:
                return function(list(values) if isinstance(values, list | tuple) else [values])

        return PassedOn(name=self.free_name(name))(values)


def _fold(norm: Any, layer: Any) -> None:
    """Let `layer` (dense or transposed convolution) do what the BatchNormalization behind it did."""
    mean, variance = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma)
    shift = np.asarray(norm.beta) if norm.center else 0.0
    kernel, bias = layer.get_weights()
    along = scale if type(layer).__name__ == "Dense" else scale[:, None]
    layer.set_weights([kernel * along, (bias - mean) * scale + shift])


def _is_float_layer(operation: Any) -> bool:
    """Whether it is a layer, not an op, that computes in float32 throughout."""
    import keras

    if not isinstance(operation, keras.layers.Layer | tf_keras.layers.Layer):
        return False
    return operation.compute_dtype in ("float32", None)


def _is_sum(call: LayerCall) -> bool:
    """Whether the call is `a + b` of two tensors of one shape, which is what the layer Add does."""
    import keras

    is_add = type(call.operation).__name__ == "Add"
    is_op = is_add and not isinstance(call.operation, keras.layers.Layer | tf_keras.layers.Layer)
    return is_op and len(call.inputs) == 2 and call.inputs[0].shape == call.inputs[1].shape


def _activation_name(function: Any) -> str | None:
    """The word for an activation that both libraries have; None for any other."""
    if isinstance(function, str):
        return function
    name = getattr(function, "__name__", "")
    library = getattr(function, "__module__", "").partition(".")[0]
    return name if library in ("keras", "tf_keras") and name in _ACTIVATIONS else None


def _made(kind: str, config: dict[str, Any]) -> Any:
    """A tf_keras layer of `kind` from what its constructor takes of `config`."""
    if kind == "BatchNormalization":
        maker: Any = FixedBatchNormalization
    else:
        maker = getattr(tf_keras.layers, kind)
    known = {name for each in maker.__mro__ for name in inspect.signature(each.__init__).parameters}
    renamed = {_RENAMED.get((kind, key), key): value for key, value in config.items()}
    return maker(**{key: value for key, value in renamed.items() if key in known | {"name"}})


def _config_of(layer: Any) -> dict[str, Any]:
    """The settings of a layer that count at inference; its activation comes after it."""
    return {
        key: value
        for key, value in layer.get_config().items()
        if value is not None
        and not key.endswith(_OF_TRAINING)
        and key not in ("activation", "dtype", "name", "trainable")
    }
