"""How a model is made smaller: an ordered tuple of passes, each with its settings."""

from __future__ import annotations

import re
from enum import StrEnum
from fnmatch import fnmatchcase

from edgekit.core.noun import Noun


class Precision(StrEnum):
    """What weights and activations are stored and computed in.

    `w8` and `w4`: weights in 8 or 4 bits, arithmetic in float. `dynamic`: 8-bit weights, activations
    quantized at run time. `int8` (also called w8a8): both in 8 bits, ranges from calibration data.
    `w8a16`: 8-bit weights, 16-bit activations.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    W8 = "w8"
    DYNAMIC = "dynamic"
    INT8 = "int8"
    W8A16 = "w8a16"
    W4 = "w4"

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations have to be measured on samples."""
        return self in (Precision.INT8, Precision.W8A16)


class RangeMethod(StrEnum):
    """How the range of an activation is taken from its values in the calibration samples."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    MSE = "mse"


class IoType(StrEnum):
    """What inputs and outputs of a quantized artifact are stored in."""

    FLOAT = "float"
    INT8 = "int8"
    UINT8 = "uint8"


class LayerRule(Noun):
    """Layers whose name matches the glob `layers` get `precision` instead of the pass's own."""

    layers: str
    precision: Precision


class Quantize(Noun, tag="quantize"):
    """Store weights, and for some precisions compute, in fewer bits.

    `symmetric` (of activations) and `op_types` are `None` and `()` where the backend's default for
    the architecture holds; it is stated in the report. `exclude` are globs of layers kept in float,
    `rules` of layers that get another precision; the first match counts, `exclude` before `rules`.
    `percentile` (of |values|, 0..100) is for that range method; `block_size` is of 4-bit weights.
    """

    precision: Precision
    per_channel: bool = True
    symmetric: bool | None = None
    io: IoType = IoType.FLOAT
    exclude: tuple[str, ...] = ()
    rules: tuple[LayerRule, ...] = ()
    op_types: tuple[str, ...] = ()
    ranges: RangeMethod = RangeMethod.MINMAX
    percentile: float = 99.99
    block_size: int = 32

    @property
    def needs_calibration(self) -> bool:
        """Whether the pass's own precision, or one of its rules', does."""
        return any(
            p.needs_calibration for p in (self.precision, *(r.precision for r in self.rules))
        )

    def precision_of(self, layer: str) -> Precision:
        """What the layer called `layer` is to be stored in."""
        if any(names_layer(glob, layer) for glob in self.exclude):
            return Precision.FP32
        for rule in self.rules:
            if names_layer(rule.layers, layer):
                return rule.precision
        return self.precision


def names_layer(glob: str, layer: str) -> bool:
    """Whether `glob` matches a layer's whole name or one part of it.

    Formats prefix names with scopes and join them when they merge ops: `model/conv2d_1/Conv2D;...`
    is named by `conv2d_1`, `conv2d_*`, and by the whole.
    """
    return any(fnmatchcase(name, glob) for name in (layer, *re.split(r"[/;.:]", layer)))


class Qat(Noun, tag="qat"):
    """Fine-tune with quantization simulated in the forward pass, then convert to int8.

    Without labels in the training data the loss is the distance to the float model's own answers.
    """

    epochs: int = 3
    learning_rate: float = 1e-4
    batch_size: int = 32
    seed: int = 0
    exclude: tuple[str, ...] = ()


class Equalize(Noun, tag="equalize"):
    """Move scale between neighbouring layers until their channels range alike; the function stays.

    Cross-layer equalization of Nagel et al. 2019 (arXiv 1906.04721), in powers of two, which are
    exact in float32. It comes before the pass that quantizes.
    """


Pass = Quantize | Qat | Equalize


def name_of(settings: Pass) -> str:
    """A pass as a progress line and a report call it."""
    match settings:
        case Qat():
            return "fine-tune for int8"
        case Equalize():
            return "equalize layers"
        case Quantize():
            return f"quantize to {settings.precision}"


class Preprocess(Noun):
    """How image and sound files become arrays, as data.

    Images: resize to `size` (height, width), crop the centre to `crop`, then (value * `scale` -
    mean) / std per channel of 0..255, in `layout` (nhwc, nchw, nhw) and `dtype`. With `keep_aspect`
    the image covers `size` unstretched and what stands over is cut. `color` is rgb, bgr or grey.
    Sound: -1..1 times `scale`, mono, in layout nt, ntc or nct; its rate has to be `sample_rate_hz`.
    """

    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    keep_aspect: bool = False
    color: str = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = "nhwc"
    dtype: str = "float32"
    sample_rate_hz: int | None = None


class Recipe(Noun):
    """A named, ordered tuple of passes; none is plain float32."""

    name: str
    description: str = ""
    passes: tuple[Pass, ...] = ()
    preprocess: Preprocess | None = None

    @property
    def precision(self) -> Precision:
        """What the last pass that quantizes leaves behind."""
        for step in reversed(self.passes):
            if not isinstance(step, Equalize):
                return Precision.INT8 if isinstance(step, Qat) else step.precision
        return Precision.FP32

    @property
    def needs_calibration(self) -> bool:
        """Whether a pass has to measure ranges of activations on samples."""
        return any(isinstance(p, Quantize) and p.needs_calibration for p in self.passes)

    @property
    def needs_training(self) -> bool:
        """Whether a pass fine-tunes."""
        return any(isinstance(p, Qat) for p in self.passes)


class LayerPrecision(Noun):
    """One layer of an artifact: its op type, what it is stored in, and its number of weights."""

    name: str
    op: str
    precision: Precision
    parameters: int = 0
