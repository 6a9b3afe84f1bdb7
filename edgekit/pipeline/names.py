"""Line up the tensors of two signatures: by name, by position, by shape; never by guess."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.core.artifact import Artifact, Format
from edgekit.core.noun import changed
from edgekit.core.signature import Shape, Signature, TensorSpec, show_shape
from edgekit.errors import ConfigError

_POSITIONAL = frozenset({Format.EXECUTORCH, Format.TORCHSCRIPT})


def aligned(artifact: Artifact, source: Signature, named: Mapping[str, str]) -> Signature:
    """The artifact's signature with each tensor's `source_name` filled in.

    `named` pairs artifact names with source names. Raises ConfigError where names differ and shapes
    do not tell which is which.
    """
    positional = artifact.format in _POSITIONAL
    return Signature(
        inputs=_aligned(artifact.signature.inputs, source.inputs, named, positional=positional),
        outputs=_aligned(artifact.signature.outputs, source.outputs, named, positional=positional),
    )


def with_inputs(signature: Signature, given: tuple[TensorSpec, ...]) -> Signature:
    """`signature` with the axes that the user fixed by `--input`; raises ConfigError on a conflict."""
    inputs = {spec.name: spec for spec in signature.inputs}
    for spec in given:
        if spec.name not in inputs:
            raise ConfigError(
                f"--input {spec.name}: the model has no such input",
                fix=f"it has: {', '.join(inputs)}",
            )
        own = inputs[spec.name]
        if not _narrows(spec.shape, own.shape) or spec.dtype != own.dtype:
            raise ConfigError(
                f"--input {spec.name}: {spec.dtype} {show_shape(spec.shape)} does not fit the model's "
                f"{own.dtype} {show_shape(own.shape)}",
                fix="only axes that are free in the model can be fixed",
            )
        inputs[spec.name] = changed(own, shape=spec.shape)
    return Signature(inputs=tuple(inputs.values()), outputs=signature.outputs)


def _aligned(
    own: tuple[TensorSpec, ...],
    source: tuple[TensorSpec, ...],
    named: Mapping[str, str],
    *,
    positional: bool,
) -> tuple[TensorSpec, ...]:
    if len(own) != len(source):
        raise ConfigError(
            f"the artifact has {_names(own)}, the source has {_names(source)}",
            fix="compare an artifact with the model it was made from",
        )
    origins = {spec.name: named.get(spec.name, spec.origin) for spec in own}
    if set(origins.values()) == {spec.name for spec in source}:
        pairs = origins
    elif positional or len(own) == 1:
        pairs = {spec.name: wanted.name for spec, wanted in zip(own, source, strict=True)}
    else:
        pairs = _by_shape(own, source)
    return tuple(changed(spec, source_name=pairs[spec.name]) for spec in own)


def _by_shape(own: tuple[TensorSpec, ...], source: tuple[TensorSpec, ...]) -> dict[str, str]:
    pairs = {}
    for spec in own:
        fits = [s.name for s in source if _kind(s) == _kind(spec)]
        if len(fits) != 1:
            raise ConfigError(
                f"which tensor of the source is {spec.name!r}? the artifact has {_names(own)}, the "
                f"source has {_names(source)}",
                fix=f"say it: --map {spec.name}=NAME, once for each",
            )
        pairs[spec.name] = fits[0]
    return pairs


def _kind(spec: TensorSpec) -> tuple[str, Shape | None]:
    kind = "float" if spec.quantization else spec.dtype.rstrip("0123456789")
    return kind, spec.shape and spec.shape[1:]


def _names(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name} {show_shape(spec.shape)}" for spec in specs)


def _narrows(shape: Shape | None, own: Shape | None) -> bool:
    if shape is None or own is None:
        return shape is not None
    return len(shape) == len(own) and all(
        o is None or o == s for s, o in zip(shape, own, strict=True)
    )
