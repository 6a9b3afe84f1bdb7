"""What the user pointed at, and what a step made."""

from __future__ import annotations

from enum import StrEnum

from edgekit.core.noun import Noun
from edgekit.core.recipe import LayerPrecision
from edgekit.core.signature import Signature, TensorSpec


class Format(StrEnum):
    """A way a model is written down. The value is the word of the command line and the report."""

    KERAS = "keras"
    SAVEDMODEL = "savedmodel"
    EXPORTED = "pt2"
    TORCHSCRIPT = "torchscript"
    STATE_DICT = "state-dict"
    TORCH_PICKLE = "torch-pickle"
    SKOPS = "skops"
    PICKLE = "pickle"
    ONNX = "onnx"
    TFLITE = "tflite"
    EXECUTORCH = "executorch"
    COREML = "coreml"
    C = "c"

    @property
    def suffix(self) -> str:
        """The file ending an artifact of this format is written with."""
        return _SUFFIXES[self]


_SUFFIXES = {
    Format.KERAS: ".keras",
    Format.SAVEDMODEL: "",
    Format.EXPORTED: ".pt2",
    Format.TORCHSCRIPT: ".pt",
    Format.STATE_DICT: ".pt",
    Format.TORCH_PICKLE: ".pt",
    Format.SKOPS: ".skops",
    Format.PICKLE: ".pkl",
    Format.ONNX: ".onnx",
    Format.TFLITE: ".tflite",
    Format.EXECUTORCH: ".pte",
    Format.COREML: ".mlpackage",
    Format.C: ".c",
}


class ModelSource(Noun):
    """The user's model and what the user said about it; all a child needs to open it again.

    `trusted` is the user's word for this one file. `factory` is `module:function`, the user's own
    code that builds the architecture of a state dict, found in `factory_path` first.
    """

    path: str
    format: Format
    sha256: str
    trusted: bool = False
    factory: str | None = None
    factory_path: str | None = None
    signature_key: str | None = None
    inputs: tuple[TensorSpec, ...] = ()


class Artifact(Noun):
    """A model on disk with its signature. `source` is set where the files are the user's own.

    `writer` says which tool and version wrote it; `notes` are facts a user must see, such as an
    axis that the format had to fix. `layers` is filled by the steps that quantize.
    """

    path: str
    format: Format
    signature: Signature
    sha256: str
    size_bytes: int
    writer: str = ""
    notes: tuple[str, ...] = ()
    layers: tuple[LayerPrecision, ...] = ()
    source: ModelSource | None = None
