"""Formats are told by content: any suffix will do, and none will help."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest

from edgekit.config.sniff import digest, sniff
from edgekit.core.artifact import Format
from edgekit.errors import ConfigError, MalformedError


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return path


def wrote(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


ONNX = b"\x08\x0a" + b"\x3a\x02\x0a\x00"  # ir_version 10, an (almost) empty graph
TORCH_GLOBAL = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n."


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(24), Format.KERAS),
        (b"\x1c\0\0\0TFL3" + bytes(24), Format.TFLITE),
        (b"\x1c\0\0\0ET12" + bytes(24), Format.EXECUTORCH),
        (struct.pack("<Q", 2) + b"{}", Format.STATE_DICT),
        (pickle.dumps({"a": 1}), Format.PICKLE),
        (b"\x78\x9c" + bytes(8), Format.PICKLE),
        (ONNX, Format.ONNX),
    ],
)
def test_a_file_is_told_by_its_bytes(tmp_path: Path, data: bytes, format: Format) -> None:
    assert sniff(wrote(tmp_path / "model.wrong-suffix", data)) is format


@pytest.mark.parametrize(
    ("members", "format"),
    [
        ({"metadata_dot_json": b"{}", "config_dot_json": b"{}"}, Format.KERAS),
        ({"schema_dot_json": b"{}"}, Format.SKOPS),
        ({"model__archive_format": b"pt2"}, Format.EXPORTED),
        (
            {"m__data_dot_pkl": b"", "m__constants_dot_pkl": b"", "m__code__x": b""},
            Format.TORCHSCRIPT,
        ),
        ({"m__data_dot_pkl": TORCH_GLOBAL}, Format.STATE_DICT),
        ({"m__data_dot_pkl": b"\x80\x02cmodels\nNet\n."}, Format.TORCH_PICKLE),
        ({"m__data_dot_pkl": b"\x80\x02cos\nsystem\n."}, Format.TORCH_PICKLE),
    ],
)
def test_an_archive_is_told_by_its_members(
    tmp_path: Path, members: dict[str, bytes], format: Format
) -> None:
    assert sniff(archive(tmp_path / "m", **members)) is format


def test_a_dict_of_plain_weights_is_a_state_dict_by_its_pickle_alone(tmp_path: Path) -> None:
    data = io.BytesIO()
    pickle.dump(OrderedDict(a=1), data, protocol=2)
    assert sniff(archive(tmp_path / "m", m__data_dot_pkl=data.getvalue())) is Format.STATE_DICT


def test_folders(tmp_path: Path) -> None:
    wrote(tmp_path / "saved_model.pb", b"x")
    assert sniff(tmp_path) is Format.SAVEDMODEL
    with pytest.raises(ConfigError, match="holds no model"):
        sniff(tmp_path.parent)


@pytest.mark.parametrize("data", [b"", b"hello, world", bytes(64), b"\x08\x0a", b"\x3a\xff"])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigError):
        sniff(wrote(tmp_path / "model.onnx", data))


def test_a_broken_archive_is_malformed(tmp_path: Path) -> None:
    with pytest.raises(MalformedError):
        sniff(wrote(tmp_path / "m.keras", b"PK\x03\x04" + bytes(100)))


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        sniff(tmp_path / "none.onnx")


def test_the_digest_of_a_folder_covers_names_and_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    wrote(folder / "x", b"1")
    first = digest(folder)
    wrote(folder / "x", b"2")
    second = digest(folder)
    (folder / "x").rename(folder / "y")
    assert len({first, second, digest(folder)}) == 3
