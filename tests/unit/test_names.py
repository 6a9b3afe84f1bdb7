"""Tensors are lined up by name, position or shape, and never by guess."""

from __future__ import annotations

import pytest

from edgekit.core.artifact import Artifact, Format
from edgekit.core.signature import Shape, Signature, TensorSpec
from edgekit.errors import ConfigError
from edgekit.pipeline.names import aligned, with_inputs

X = TensorSpec(name="x", dtype="float32", shape=(None, 4))


def outputs(**shapes: Shape) -> Signature:
    specs = tuple(TensorSpec(name=n, dtype="float32", shape=s) for n, s in shapes.items())
    return Signature(inputs=(X,), outputs=specs)


def artifact(signature: Signature, format: Format = Format.TFLITE) -> Artifact:
    return Artifact(path="m", format=format, signature=signature, sha256="", size_bytes=0)


def origins(made: Artifact, source: Signature, **named: str) -> list[str]:
    return [spec.origin for spec in aligned(made, source, named).outputs]


def test_equal_names_win_over_order() -> None:
    made = artifact(outputs(b=(None, 2), a=(None, 2)))
    assert origins(made, outputs(a=(None, 2), b=(None, 2))) == ["b", "a"]


def test_positional_formats_go_by_position() -> None:
    made = artifact(outputs(o0=(None, 2), o1=(None, 2)), Format.EXECUTORCH)
    assert origins(made, outputs(a=(None, 2), b=(None, 2))) == ["a", "b"]


def test_distinct_shapes_tell_which_is_which() -> None:
    made = artifact(outputs(p=(1, 3), q=(1, 2)))
    assert origins(made, outputs(a=(None, 2), b=(None, 3))) == ["b", "a"]


def test_twins_with_other_names_are_refused_until_named() -> None:
    made = artifact(outputs(p=(1, 2), q=(1, 2)))
    source = outputs(a=(None, 2), b=(None, 2))
    with pytest.raises(ConfigError) as error:
        origins(made, source)
    assert "--map p=NAME" in error.value.fix
    assert origins(made, source, p="b", q="a") == ["b", "a"]


def test_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(ConfigError, match="the source has"):
        origins(artifact(outputs(p=(1, 2))), outputs(a=(None, 2), b=(None, 2)))


def test_input_options_fix_free_axes_only() -> None:
    fixed = TensorSpec(name="x", dtype="float32", shape=(1, 4))
    assert with_inputs(outputs(), (fixed,)).inputs[0].shape == (1, 4)
    for wrong in ((1, 5), (1, 4, 1)):
        with pytest.raises(ConfigError, match="does not fit"):
            with_inputs(outputs(), (TensorSpec(name="x", dtype="float32", shape=wrong),))
    with pytest.raises(ConfigError, match="no such input"):
        with_inputs(outputs(), (TensorSpec(name="z", dtype="float32", shape=(1, 4)),))
