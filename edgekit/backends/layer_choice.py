"""Which layers a pass changes: globs against the layers that are there; and whether it did."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from edgekit.core.recipe import LayerPrecision, Precision, Quantize, names_layer
from edgekit.errors import ConfigError, UnsupportedError


def chosen(settings: Quantize, layers: Sequence[str]) -> dict[str, Precision]:
    """The precision of every layer in `layers`; raises ConfigError for a glob that names none."""
    for glob in (*settings.exclude, *(rule.layers for rule in settings.rules)):
        if not any(names_layer(glob, layer) for layer in layers):
            near = difflib.get_close_matches(glob, layers, n=3, cutoff=0.2)
            raise ConfigError(
                f"{glob!r} names none of the layers that can be quantized",
                fix=f"such as: {', '.join(near or layers[:3])}; `edgekit inspect` lists them",
            )
    return {layer: settings.precision_of(layer) for layer in layers}


def check_changed(
    layers: Sequence[LayerPrecision], settings: Quantize, *, tool: str, can: str
) -> None:
    """Raise UnsupportedError where no layer is stored in less than float32: nothing was changed."""
    if any(layer.precision is not Precision.FP32 for layer in layers):
        return
    ops = ", ".join(sorted({layer.op for layer in layers})) or "none"
    raise UnsupportedError(
        f"{settings.precision} changed nothing: {tool} quantizes {can}, and the layers of this model "
        f"are: {ops}",
        fix="convert it with --precision fp32 or fp16",
    )
