"""What counts as code in a Keras config: judged on data alone, no framework."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.backends.keras_trust import code_in


def layer(name: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"module": module, "class_name": name, "config": {"name": "it", **config}}


def nested(inner: dict[str, Any]) -> dict[str, Any]:
    """A layer in a wrapper in a model in a model."""
    wrapper = layer("TimeDistributed", layer=inner)
    model = layer("Sequential", "keras", layers=[wrapper])
    return layer("Functional", "keras.src.models.functional", layers=[model])


@pytest.mark.parametrize(
    "config",
    [
        layer("Dense", activation="relu"),
        layer(
            "Dense", activation={"module": "builtins", "class_name": "function", "config": "relu"}
        ),
        layer("Add", "keras.src.ops.numpy"),
        layer("LayerScale", "keras.src.applications.convnext"),
        layer("BatchNormalization", "tf_keras.src.layers.normalization.batch_normalization"),
        layer("TFOpLambda", None, function="math.multiply"),
        layer("TFOpLambda", None, function="compat.v1.nn.relu"),
        layer("SlicingOpLambda", None, function="__operators__.getitem"),
        layer("StringLookup", vocabulary=["a", "b"]),
        {"class_name": "Lambdas are not layers", "config": None},
        {"module": "os", "name": "a dict that names no class"},
    ],
    ids=str,
)
def test_plain_layers_are_data(config: dict[str, Any]) -> None:
    assert code_in(nested(config)) == []


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (
            layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4w"}}),
            "Lambda",
        ),
        (layer("Lambda", None, function=["4wEAAA", None, None], function_type="lambda"), "Lambda"),
        (layer("Dense", activation={"class_name": "__lambda__", "config": {}}), "bytecode"),
        (layer("Evil", "my_package.layers"), "my_package.layers"),
        (layer("Popen", "subprocess"), "subprocess"),
        (layer("Anything", "kerasevil"), "kerasevil"),
        (layer("get_file", "keras.utils"), "keras.utils"),
        (layer("load_model", "keras.src.saving.saving_lib"), "keras.src.saving"),
        (layer("os.system", "tf_keras.src.engine.training"), "os.system"),
        (
            layer(
                "Activation",
                activation={"module": "builtins", "class_name": "function", "config": "eval"},
            ),
            "eval",
        ),
        (layer("TFOpLambda", None, function="io.write_file"), "io.write_file"),
        (layer("TFOpLambda", None, function="py_function"), "py_function"),
        (layer("TFOpLambda", None, function="raw_ops.WriteFile"), "raw_ops.WriteFile"),
        (layer("InstanceProperty", None, attr_name="__class__"), "__class__"),
        (layer("TensorFlowOpLayer", None, node_def="op: 'WriteFile'"), "TensorFlowOpLayer"),
        (layer("TFSMLayer", filepath="/elsewhere"), "SavedModel"),
        (layer("TorchModuleWrapper", module="gASV"), "TorchModuleWrapper"),
        (layer("Addons>Lambda", None), "Lambda"),
        (layer("TextVectorization", vocabulary="/etc/passwd"), "/etc/passwd"),
    ],
    ids=str,
)
def test_code_is_named_however_deep_it_lies(config: dict[str, Any], named: str) -> None:
    found = code_in(nested(config))
    assert any(named in phrase for phrase in found), found


def test_a_config_nested_deeper_than_the_stack_is_read() -> None:
    config = layer("Lambda")
    for _ in range(5000):
        config = {"layers": [config]}
    assert code_in(config)
