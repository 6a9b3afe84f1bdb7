"""Builds the tiny Keras models that the tests convert: run as a script, in a child, with a folder.

Weights are random and large enough that every output moves with its input.
"""

# ruff: noqa: ANN401
# mypy: disable-error-code="misc,untyped-decorator"

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Write every model of the zoo into `folder`."""
    import keras

    keras.utils.set_random_seed(7)
    for name, build in KERAS_3.items():
        settled(build(keras, keras.layers)).save(folder / f"{name}.keras")
    hostile(keras, folder)
    saved_models(keras, folder)
    disguised_saved_models(folder)
    keras_2(folder)


def settled(model: Any) -> Any:
    """Give batch statistics and biases values that matter."""
    import numpy as np

    rng = np.random.default_rng(3)
    for layer in model.layers:
        for weight in layer.weights:
            kind = weight.name.split("/")[-1].split(":")[0]
            if kind in ("moving_variance", "gamma"):
                weight.assign(rng.uniform(0.5, 2.0, weight.shape).astype("float32"))
            elif kind in ("moving_mean", "beta", "bias"):
                weight.assign(rng.normal(0, 0.5, weight.shape).astype("float32"))
    return model


def conv(keras: Any, layers: Any) -> Any:
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    z = layers.SeparableConv2D(8, 3, strides=2, padding="same")(x)
    x = layers.Add()([layers.LeakyReLU()(y), z])
    x = layers.GlobalAveragePooling2D()(layers.Dropout(0.5)(x))
    return keras.Model(image, layers.Dense(4, activation="softmax", name="scores")(x))


def free_size(keras: Any, layers: Any) -> Any:
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D()(x)
    return keras.Model(image, layers.Conv2D(2, 1, name="heat")(x))


def flat(keras: Any, layers: Any) -> Any:
    """Flatten after a convolution: what is a view with channels last is none without."""
    image = keras.Input((6, 6, 1), name="image")
    x = layers.MaxPooling2D()(layers.Conv2D(4, 3, padding="same", activation="relu")(image))
    return keras.Model(image, layers.Dense(3, name="scores")(layers.Flatten()(x)))


def grouped(keras: Any, layers: Any) -> Any:
    """A grouped convolution, which Keras sets apart for XLA, after a Normalization, whose mean is
    a constant outside of any variable; GELU for its erfc."""
    image = keras.Input((8, 8, 4), name="image")
    x = layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0])(image)
    x = layers.Conv2D(8, 3, groups=2, padding="same", activation="gelu")(x)
    return keras.Model(image, layers.GlobalAveragePooling2D(name="scores")(x))


def lstm(keras: Any, layers: Any) -> Any:
    return keras.Sequential([keras.Input((6, 5)), layers.LSTM(4), layers.Dense(3, name="out")])


def gru(keras: Any, layers: Any) -> Any:
    steps = keras.Input((6, 5), name="steps")
    x = layers.GRU(4, return_sequences=True)(steps)
    return keras.Model(steps, layers.GRU(3, name="last", reset_after=False)(x))


def bidirectional(keras: Any, layers: Any) -> Any:
    steps = keras.Input((6, 5), name="steps")
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(steps)
    return keras.Model(steps, layers.Bidirectional(layers.GRU(3), name="both")(x))


def attention(keras: Any, layers: Any) -> Any:
    steps = keras.Input((6, 8), name="steps")
    x = layers.MultiHeadAttention(num_heads=2, key_dim=4)(steps, steps)
    x = layers.LayerNormalization()(layers.Add()([x, steps]))
    x = layers.Dense(16, activation="gelu")(x)
    return keras.Model(steps, layers.Dense(3, name="out")(layers.Flatten()(x)))


def several(keras: Any, layers: Any) -> Any:
    """Names out of alphabetical order, outputs of one shape, an int64 input."""
    zebra = keras.Input((4,), name="zebra")
    apple = keras.Input((4,), name="apple")
    tokens = keras.Input((3,), name="tokens", dtype="int64")
    words = layers.Flatten()(layers.Embedding(20, 2)(tokens))
    x = layers.Concatenate()([zebra, apple, words])
    heads = [layers.Dense(3, name=name)(x) for name in ("yes", "no", "maybe")]
    return keras.Model([zebra, apple, tokens], heads)


def dicts(keras: Any, layers: Any) -> Any:
    """Inputs and outputs are dicts, whose keys are the names."""
    right = keras.Input((4,), name="right")
    left = keras.Input((4,), name="left")
    x = layers.Subtract()([right, left])
    y = layers.Dense(3)(x)
    return keras.Model({"right": right, "left": left}, {"z": y, "a": layers.Dense(3)(y * 2 + 1)})


def states(keras: Any, layers: Any) -> Any:
    """One layer gives three outputs, which need three names."""
    steps = keras.Input((6, 5), name="steps")
    return keras.Model(steps, list(layers.LSTM(4, return_state=True, name="cell")(steps)))


def nested(keras: Any, layers: Any) -> Any:
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5, activation="tanh")], name="inner")
    steps = keras.Input((3, 4), name="steps")
    x = layers.TimeDistributed(inner)(steps)
    return keras.Model(steps, layers.Dense(2, name="out")(layers.Flatten()(x)))


def needs_flex(keras: Any, layers: Any) -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, keras.ops.erfinv(layers.Dense(4, activation="tanh")(x) * 0.9))


KERAS_3 = {
    build.__name__: build
    for build in (
        conv,
        free_size,
        flat,
        grouped,
        lstm,
        gru,
        bidirectional,
        attention,
        several,
        dicts,
        states,
        nested,
        needs_flex,
    )
}


def hostile(keras: Any, folder: Path) -> None:
    """Models with code in them: each payload makes the file `ran` beside the model."""
    layers = keras.layers
    mark = str(folder / "ran")
    payload = eval(f"lambda x: (__import__('pathlib').Path({mark!r}).touch(), x * 2)[1]")
    evil = layers.Lambda(payload, output_shape=(3,), name="payload")
    inner = keras.Sequential([keras.Input((3,)), evil], name="wrapped")
    steps = keras.Input((2, 3))
    deep = keras.Model(steps, layers.TimeDistributed(inner)(steps))
    flat = keras.Sequential([keras.Input((3,)), evil])
    for name, model in (("lambda", flat), ("lambda_deep", deep)):
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
    Path(mark).unlink(missing_ok=True)


def saved_models(keras: Any, folder: Path) -> None:
    import tensorflow as tf

    settled(conv(keras, keras.layers)).export(str(folder / "exported"), verbose=False)

    class Two(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable([1.0, 2.0, 3.0])

        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
        def double(self, x: Any) -> Any:
            return {"sum": x + self.scale, "double": x * self.scale * 2.0}

        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
        def halve(self, x: Any) -> Any:
            return {"half": x / 2.0}

    class Leaking(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable([1.0, 2.0, 3.0])

        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
        def leak(self, x: Any) -> Any:
            tf.io.write_file(str(folder / "ran"), "x")
            return {"y": x * self.scale}

    class Saving(tf.Module):
        """The op of the saver, where a signature reaches it."""

        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
        def save(self, x: Any) -> Any:
            tf.raw_ops.SaveV2(
                prefix=str(folder / "ran"), tensor_names=["x"], shape_and_slices=[""], tensors=[x]
            )
            return {"y": x * 2.0}

    two = Two()
    pair = {"double": two.double, "halve": two.halve}
    tf.saved_model.save(two, str(folder / "two"), signatures=pair)
    saving = Saving()
    tf.saved_model.save(saving, str(folder / "saving"), signatures={"s": saving.save})
    bad = Leaking()
    tf.saved_model.save(bad, str(folder / "leaking"), signatures={"serving_default": bad.leak})


def disguised_saved_models(folder: Path) -> None:
    """The same dangers where a quick look misses them."""
    import shutil

    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    for name, of in (("shadowed", "leaking"), ("restoring", "two")):
        shutil.copytree(folder / of, folder / name)
        file = folder / name / "saved_model.pb"
        proto = SavedModel.FromString(file.read_bytes())
        graph = proto.meta_graphs[0]
        if name == "shadowed":  # a function of the op's name, so that the op looks like a call
            graph.graph_def.library.function.add().signature.name = "WriteFile"
        else:  # what is to be run to restore the variables writes them
            graph.saver_def.restore_op_name = graph.saver_def.save_tensor_name.partition(":")[0]
        file.write_bytes(proto.SerializeToString())


def keras_2(folder: Path) -> None:
    import tf_keras

    layers = tf_keras.layers
    image = tf_keras.Input((12, 12, 3), name="image")
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2D(4, 3, activation="relu")(image))
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x))
    depthwise = settled(tf_keras.Model(image, layers.Dense(3, name="scores")(x)))
    depthwise.compile("adam", "mse")
    depthwise.save(folder / "k2_depthwise.h5")
    depthwise.save(folder / "k2_functional.keras")
    plain = tf_keras.Sequential([layers.Dense(3, activation="tanh", input_shape=(4,))])
    plain.compile("adam", "mse")
    plain.save(folder / "k2_sequential.keras")
    steps = tf_keras.Input((6, 5), name="steps")
    x = layers.GRU(4, name="last")(layers.LSTM(4, return_sequences=True)(steps))
    settled(tf_keras.Model(steps, x)).save(folder / "k2_recurrent.h5")
    mark = str(folder / "ran")

    def payload(x: Any, mark: str = mark) -> Any:
        __import__("pathlib").Path(mark).touch()
        return x * 2

    evil = tf_keras.Sequential([layers.Lambda(payload, input_shape=(3,), name="payload")])
    evil.save(folder / "k2_lambda.h5")
    evil.save(folder / "k2_lambda.keras")
    x = tf_keras.Input((3,), name="x")
    import tensorflow as tf

    tf_keras.Model(x, tf.math.multiply(tf.nn.relu(x), 2.0)).save(folder / "k2_ops.h5")
    Path(mark).unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
