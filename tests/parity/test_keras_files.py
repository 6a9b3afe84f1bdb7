"""Keras files and SavedModels: what is opened, what is refused, what things are called."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from edgekit.config.sniff import digest
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.jobs import LoadJob
from edgekit.errors import ConfigError, MalformedError, UnsupportedError, UntrustedError
from edgekit.worker.client import Workers

pytestmark = pytest.mark.framework

Open = Callable[..., Artifact]
HOSTILE = (
    "lambda.keras",
    "lambda.h5",
    "lambda_deep.keras",
    "lambda_deep.h5",
    "k2_lambda.keras",
    "k2_lambda.h5",
)


@pytest.fixture
def opened(workers: Workers, tmp_path: Path) -> Open:
    """`opened(path, backend="tensorflow", trusted=False, signature_key=None)`."""

    def load(path: Path, backend: str = "tensorflow", **said: object) -> Artifact:
        format = Format.SAVEDMODEL if path.is_dir() else Format.KERAS
        source = ModelSource(path=str(path), format=format, sha256=digest(path), **said)  # type: ignore[arg-type]
        return workers.call(
            LoadJob(source=source, folder=str(tmp_path / "load")),
            Artifact,
            entry="edgekit.backends.loaders.keras:load",
            environment={"KERAS_BACKEND": backend},
        )

    return load


def names(artifact: Artifact) -> tuple[list[str], list[str]]:
    signature = artifact.signature
    return [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]


@pytest.mark.parametrize("model", ["conv", "lstm", "several", "dicts", "states", "nested"])
def test_names_are_the_same_with_tensorflow_and_with_torch(
    opened: Open, keras_zoo: Path, model: str
) -> None:
    path = keras_zoo / f"{model}.keras"
    assert opened(path).signature == opened(path, "torch").signature


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("conv.keras", (["image"], ["scores"])),
        ("lstm.keras", (["input_layer"], ["out"])),
        ("several.keras", (["zebra", "apple", "tokens"], ["yes", "no", "maybe"])),
        ("dicts.keras", (["right", "left"], ["z", "a"])),
        ("states.keras", (["steps"], ["cell", "cell_1", "cell_2"])),
        ("k2_depthwise.h5", (["image"], ["scores"])),
        ("k2_functional.keras", (["image"], ["scores"])),
        ("exported", (["image"], ["output_0"])),
    ],
)
def test_names_and_their_order_are_those_of_the_file(
    opened: Open, keras_zoo: Path, model: str, expected: tuple[list[str], list[str]]
) -> None:
    assert names(opened(keras_zoo / model)) == expected


def test_dtypes_and_free_axes_are_those_of_the_file(opened: Open, keras_zoo: Path) -> None:
    several = opened(keras_zoo / "several.keras").signature
    assert [spec.dtype for spec in several.inputs] == ["float32", "float32", "int64"]
    free = opened(keras_zoo / "free_size.keras").signature
    assert (free.inputs[0].shape, free.outputs[0].shape) == (
        (None, None, None, 3),
        (None,) * 3 + (2,),
    )


@pytest.mark.parametrize(
    ("model", "writer"),
    [
        ("conv.keras", "Keras 3."),
        ("k2_depthwise.h5", "Keras 2."),
        ("k2_sequential.keras", "Keras 2."),
        ("exported", "TensorFlow 2."),
    ],
)
def test_the_writer_is_told(opened: Open, keras_zoo: Path, model: str, writer: str) -> None:
    assert opened(keras_zoo / model).writer.startswith(writer)


def test_a_file_is_taken_for_what_is_in_it_not_for_its_suffix(
    opened: Open, keras_zoo: Path, tmp_path: Path
) -> None:
    odd = shutil.copy(keras_zoo / "conv.keras", tmp_path / "model.h5")
    assert names(opened(Path(odd))) == (["image"], ["scores"])


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
@pytest.mark.parametrize("model", HOSTILE)
def test_a_lambda_is_refused_by_name_and_does_not_run(
    opened: Open, keras_zoo: Path, model: str, backend: str
) -> None:
    path = keras_zoo / model
    with pytest.raises(UntrustedError, match="payload") as refused:
        opened(path, backend)
    assert f"--trust sha256:{digest(path)}" in refused.value.fix
    assert not (keras_zoo / "ran").exists()


@pytest.mark.parametrize("model", HOSTILE)
def test_with_trust_the_lambda_runs(opened: Open, keras_zoo: Path, model: str) -> None:
    opened(keras_zoo / model, trusted=True)
    mark = keras_zoo / "ran"
    ran = mark.exists()
    mark.unlink(missing_ok=True)
    assert ran or model.startswith("lambda")  # Keras 3 knows the output shape: it runs when called


@pytest.mark.parametrize(
    ("model", "op"),
    [
        ("leaking", "WriteFile"),
        ("saving", "SaveV2"),
        ("shadowed", "WriteFile"),
        ("restoring", "SaveV2"),
    ],
)
def test_a_savedmodel_that_writes_files_is_refused(
    opened: Open, keras_zoo: Path, model: str, op: str
) -> None:
    with pytest.raises(UntrustedError, match=op):
        opened(keras_zoo / model, signature_key="double" if model == "restoring" else None)


def test_a_savedmodel_that_writes_files_is_opened_with_trust(opened: Open, keras_zoo: Path) -> None:
    assert names(opened(keras_zoo / "leaking", trusted=True)) == (["x"], ["y"])


def test_a_class_of_another_module_is_not_imported(
    opened: Open, keras_zoo: Path, tmp_path: Path
) -> None:
    path = tmp_path / "foreign.keras"
    _rewrite(keras_zoo / "conv.keras", path, '"module": "keras.layers"', '"module": "antigravity"')
    with pytest.raises(UntrustedError, match="antigravity"):
        opened(path)


def test_a_class_keras_does_not_have_is_named(
    opened: Open, keras_zoo: Path, tmp_path: Path
) -> None:
    path = tmp_path / "unknown.keras"
    _rewrite(keras_zoo / "conv.keras", path, '"class_name": "ReLU"', '"class_name": "Frobnicate"')
    with pytest.raises(UnsupportedError, match="Frobnicate"):
        opened(path)


def test_a_savedmodel_with_several_signatures_asks_which(opened: Open, keras_zoo: Path) -> None:
    with pytest.raises(ConfigError, match="double, halve"):
        opened(keras_zoo / "two")
    with pytest.raises(ConfigError, match="'treble'"):
        opened(keras_zoo / "two", signature_key="treble")
    assert names(opened(keras_zoo / "two", signature_key="double")) == (["x"], ["double", "sum"])


def test_a_file_only_tf_keras_can_open_is_unsupported_without_tensorflow(
    opened: Open, keras_zoo: Path
) -> None:
    with pytest.raises(UnsupportedError, match="needs TensorFlow") as refused:
        opened(keras_zoo / "k2_functional.keras", "torch")
    assert "tflite" in refused.value.fix


@pytest.mark.parametrize("model", ["conv.keras", "k2_depthwise.h5"])
def test_half_a_file_is_malformed(
    opened: Open, keras_zoo: Path, tmp_path: Path, model: str
) -> None:
    half = tmp_path / model
    data = (keras_zoo / model).read_bytes()
    half.write_bytes(data[: len(data) // 2])
    with pytest.raises(MalformedError):
        opened(half)


def test_a_zip_bomb_is_malformed(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("config.json", b" " * (256 << 20))
    with pytest.raises(MalformedError, match="unpack"):
        opened(path)


def test_an_h5_of_weights_alone_is_refused_as_such(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["dense/kernel"] = [1.0]
    with pytest.raises(UnsupportedError, match="weights only"):
        opened(path)


def test_an_h5_that_links_to_another_file_is_malformed(
    opened: Open, keras_zoo: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(keras_zoo / "k2_depthwise.h5", tmp_path))
    with h5py.File(path, "a") as file:
        file["model_weights/elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(MalformedError, match="link"):
        opened(path)


def _rewrite(source: Path, target: Path, old: str, new: str) -> None:
    """A copy of a `.keras` file with other text in its config."""
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(target, "w") as written:
        for member in read.namelist():
            data = read.read(member)
            if member == "config.json":
                assert old in data.decode()
                data = data.decode().replace(old, new).encode()
                json.loads(data)
            written.writestr(member, data)
