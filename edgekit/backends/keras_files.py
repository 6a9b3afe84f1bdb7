"""Keras models opened safely: who wrote the file, what is in its config, then the model itself."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.backends import keras_trust
from edgekit.backends.kept import kept
from edgekit.backends.keras_model import KerasModel, Library, named_model
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.errors import ConfigError, MalformedError, UnsupportedError

_BROKEN = (
    OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError, zipfile.BadZipFile,
)  # fmt: skip
_MAX_CONFIG_BYTES = 64 << 20
_MAX_MEMBERS = 100_000
_MAX_EXPANSION = 20  # Keras stores weights uncompressed; a bomb expands a thousandfold
_ALWAYS_ALLOWED_BYTES = 64 << 20
_WITHOUT_GROUPS = (
    "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D",
    "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
)  # fmt: skip


@dataclass(frozen=True)
class KerasFile:
    """What a `.keras` or `.h5` file says about itself; nothing of it has been opened by Keras."""

    suffix: str
    version: str
    config: Any

    @property
    def is_keras_3(self) -> bool:
        """Whether Keras 3 wrote it; files older than the version attribute are Keras 2 or 1."""
        return self.version.partition(".")[0] not in ("", "0", "1", "2")

    @property
    def writer(self) -> str:
        """The tool that wrote the file."""
        return f"Keras {self.version or '1 or 2'} ({self.suffix})"


def open_keras(source: ModelSource) -> KerasModel:
    """The model in a `.keras`, `.h5` or SavedModel, in inference form, with its signature.

    Nothing in the file runs, unless `source.trusted`. The last model stays open for the next caller
    in this child. Raises UntrustedError, MalformedError, UnsupportedError or ConfigError.
    """
    return _opened(source)


@kept
def _opened(source: ModelSource) -> KerasModel:
    if source.format is Format.SAVEDMODEL:
        from edgekit.backends.savedmodels import open_savedmodel

        return open_savedmodel(source)
    file = read_keras_file(Path(source.path))
    keras_trust.refuse_untrusted(source, keras_trust.code_in(file.config))
    with _right_suffix(source.path, file.suffix) as path:
        return _open_file(path, file, source)


def source_of(artifact: Artifact) -> ModelSource:
    """The source behind an artifact that is the user's own file."""
    if artifact.source is None:
        raise ConfigError(f"{artifact.path} was not given as a source", fix="give the model itself")
    return artifact.source


def read_keras_file(path: Path) -> KerasFile:
    """Read config and version with zip, JSON and HDF5 alone; raises MalformedError."""
    try:
        if zipfile.is_zipfile(path):
            version, config = _read_zip(path)
            suffix = ".keras"
        else:
            version, config = _read_h5(path)
            suffix = ".h5"
        # A model is opened uncompiled, so its own loss and metrics are never built.
        decoded = json.loads(config)
        decoded.pop("compile_config", None)
    except _BROKEN as error:
        raise MalformedError(f"{path} is not a whole Keras file: {_first_line(error)}") from error
    return KerasFile(suffix=suffix, version=version, config=decoded)


def _read_zip(path: Path) -> tuple[str, str | bytes]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        allowed = _ALWAYS_ALLOWED_BYTES + _MAX_EXPANSION * path.stat().st_size
        if len(members) > _MAX_MEMBERS or total > allowed:
            raise ValueError(f"{len(members)} members that unpack to {total} bytes")
        if archive.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
            raise ValueError(f"config.json is larger than {_MAX_CONFIG_BYTES} bytes")
        config = archive.read("config.json")
        metadata = archive.read("metadata.json") if "metadata.json" in archive.namelist() else b"{}"
    return str(json.loads(metadata).get("keras_version", "")), config


def _read_h5(path: Path) -> tuple[str, str | bytes]:
    import h5py

    with h5py.File(path, "r") as file:
        linked: list[str] = []
        file.visititems_links(lambda name, link: linked.append(name) if _outside(link) else None)
        if linked:
            raise ValueError(f"{linked[0]!r} is a link to another file")
        if "model_config" not in file.attrs:
            raise UnsupportedError(
                f"{path} holds weights only, no model",
                fix="save the whole model: model.save('model.keras')",
            )
        version = file.attrs.get("keras_version", "")
        config = file.attrs["model_config"]
    return version.decode() if isinstance(version, bytes) else str(version), config


def _outside(link: Any) -> bool:
    import h5py

    return isinstance(link, h5py.ExternalLink)


@contextmanager
def _right_suffix(path: str, suffix: str) -> Iterator[Path]:
    """The file under a name that Keras, which looks at suffixes, takes for what it is."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        link.symlink_to(Path(path).resolve())
        yield link


def _open_file(path: Path, file: KerasFile, source: ModelSource) -> KerasModel:
    """Open with Keras 3; what Keras 2 wrote and Keras 3 cannot build goes to tf_keras."""
    import keras

    keras.utils.clear_session()  # counted names, such as the second `input_layer`, start again
    custom = _trusted_classes(file, source) if source.trusted else {}
    try:
        model = keras.models.load_model(
            path,
            custom_objects={**custom, **_workarounds(file)},
            compile=False,
            safe_mode=not source.trusted,
        )
    except Exception as error:  # Keras has no class for "cannot build": TypeError, ValueError, ...
        if file.is_keras_3:
            raise _not_built(file, f"Keras {keras.__version__}", error) from error
        model, library = _open_with_tf_keras(path, file, custom, source), Library.TF_KERAS
    else:
        library = Library.KERAS
    return named_model(model, library, file.config, source.inputs, writer=file.writer)


def _workarounds(file: KerasFile) -> dict[str, Any]:
    """Keras 2 wrote `groups: 1` into configs of layers that have no such parameter in Keras 3.

    https://github.com/keras-team/keras/issues/19441
    """
    if file.is_keras_3:
        return {}
    import keras

    def without_groups(layer: Any) -> Any:
        def __init__(self: Any, *args: Any, groups: int = 1, **options: Any) -> None:  # noqa: N807
            if groups != 1:
                raise ValueError(f"{layer.__name__} with {groups} groups")
            layer.__init__(self, *args, **options)

        return type(layer.__name__, (layer,), {"__init__": __init__})

    layers = [getattr(keras.layers, name) for name in _WITHOUT_GROUPS]
    return {layer.__name__: without_groups(layer) for layer in layers}


def _open_with_tf_keras(
    path: Path, file: KerasFile, custom: dict[str, Any], source: ModelSource
) -> Any:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UnsupportedError(
            f"{file.writer} wrote this model in a form that Keras {keras.__version__} cannot "
            "build; only tf_keras can, and tf_keras needs TensorFlow",
            fix="convert it to tflite or onnx, which go through TensorFlow, or save it by Keras 3",
        )
    import tf_keras

    try:
        return tf_keras.models.load_model(
            path, custom_objects=custom, compile=False, safe_mode=not source.trusted
        )
    except Exception as error:  # as Keras 3: no class of its own for it
        raise _not_built(file, f"tf_keras {tf_keras.__version__}", error) from error


def _trusted_classes(file: KerasFile, source: ModelSource) -> dict[str, Any]:
    """The user's own classes, imported from the modules that the trusted config names."""
    found: dict[str, Any] = {}
    if source.factory_path is not None:
        sys.path.insert(0, source.factory_path)
    for name in keras_trust.foreign_modules(file.config):
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise UnsupportedError(
                f"the model needs classes of the Python module {name!r}: {error}",
                fix=f"put the folder that holds {name.partition('.')[0]!r} on PYTHONPATH",
            ) from error
        for item in keras_trust.layer_configs(file.config):
            if item.get("module") == name and item["class_name"] in vars(module):
                found[item["class_name"]] = vars(module)[item["class_name"]]
    return found


def _not_built(file: KerasFile, tool: str, error: Exception) -> UnsupportedError:
    classes = {item["class_name"] for item in keras_trust.layer_configs(file.config)}
    text = str(error)
    missing = sorted(
        name
        for name in classes
        if f"class '{name}'" in text or f"layer: '{name}'" in text or f"object: '{name}'" in text
    )
    named = f": the class {missing[0]!r} is not part of Keras" if missing else ""
    return UnsupportedError(
        f"{tool} cannot build the model that {file.writer} wrote{named} ({_first_line(error)})",
        fix="export it as a SavedModel where its code is at hand: model.export('folder')",
    )


def _first_line(error: Exception) -> str:
    # Keras wraps the cause once per nesting level, each time behind a dump of the config.
    text = str(error).rpartition("Exception encountered: ")[2].strip()
    line = next(iter(text.splitlines()), "") or type(error).__name__
    return line if len(line) <= 300 else f"{line[:300]} ..."
