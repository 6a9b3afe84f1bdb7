"""Tell a model's format from its bytes, never from its suffix alone. Reads, runs nothing."""

from __future__ import annotations

import hashlib
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgekit.core.artifact import Format
from edgekit.errors import ConfigError, MalformedError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_COMPRESSED_PICKLES = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"]\x00\x00",
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
)
_PICKLE_LIMIT_BYTES = 256 << 20
_ONNX_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_ONNX_GRAPH_FIELD = 7


def sniff(path: Path) -> Format:
    """The format of the model at `path`.

    Raises ConfigError where there is no such file or nothing edgekit knows, MalformedError where the
    file starts as a known format and breaks off.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise ConfigError(f"no such file: {path}", fix="check the path of the model")
    with path.open("rb") as file:
        head = file.read(32)
        if head[:8] == _HDF5:
            return Format.KERAS
        if head[:4] == b"PK\x03\x04":
            return _archive(path)
        if head[4:8] == b"TFL3":
            return Format.TFLITE
        if head[4:6] == b"ET" and head[6:8].isdigit():
            return Format.EXECUTORCH
        if _is_safetensors(head, path.stat().st_size):
            return Format.STATE_DICT
        if head.startswith(_TORCH_LEGACY):
            file.seek(0)
            return _torch_pickle(file)
        if (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05") or head.startswith(
            _COMPRESSED_PICKLES
        ):
            return Format.PICKLE
        if _is_onnx(file, path.stat().st_size):
            return Format.ONNX
    raise ConfigError(
        f"{path} is not a model edgekit knows (it starts with {head[:8]!r}, {path.stat().st_size} bytes)",
        fix="give a Keras, PyTorch, scikit-learn, ONNX, TFLite or ExecuTorch file, or a SavedModel folder",
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and digests of all files below a folder, in hex."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = [
        f"{file.relative_to(path).as_posix()}\0{digest(file)}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _folder(path: Path) -> Format:
    if (path / "saved_model.pb").is_file():
        return Format.SAVEDMODEL
    if (path / "Manifest.json").is_file() and (path / "Data").is_dir():
        return Format.COREML
    raise ConfigError(
        f"the folder {path} holds no model",
        fix="a SavedModel folder has saved_model.pb in it; for anything else give the file itself",
    )


def _archive(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            tails = {name.partition("/")[2] for name in names}
            if "metadata.json" in names and "config.json" in names:
                return Format.KERAS
            if "schema.json" in names:
                return Format.SKOPS
            if "archive_format" in tails or "models/model.json" in tails:
                return Format.EXPORTED
            if "serialized_exported_program.json" in names:
                return Format.EXPORTED
            if "constants.pkl" in tails and any(tail.startswith("code/") for tail in tails):
                return Format.TORCHSCRIPT
            for name in names:
                if name.partition("/")[2] == "data.pkl":
                    with archive.open(name) as file:
                        return _torch_pickle(file)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise MalformedError(f"{path} is a broken zip archive: {error}") from error
    raise ConfigError(
        f"{path} is a zip archive, but of no model format edgekit knows",
        fix="give a .keras, .pt2, .pt or .skops file",
    )


def _torch_pickle(file: IO[bytes]) -> Format:
    """Weights alone, or a pickle that names classes which torch does not count as weights."""
    try:
        return Format.STATE_DICT if all(map(_is_plain, _globals(file))) else Format.TORCH_PICKLE
    except (ValueError, IndexError, EOFError) as error:
        raise MalformedError(f"the pickle inside the file is broken: {error}") from error


def _is_plain(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    if module in {"torch", "torch._utils", "torch.storage", "torch._tensor"}:
        return True
    return name in {"collections OrderedDict", "torch.nn.parameter Parameter"} or (
        module == "torch.serialization" and attribute == "_get_layout"
    )


def _globals(file: IO[bytes]) -> Iterator[str]:
    """`module name` of each global the pickle imports. Reads opcodes, unpickles nothing."""
    data = file.read(_PICKLE_LIMIT_BYTES + 1)
    if len(data) > _PICKLE_LIMIT_BYTES:
        raise MalformedError(f"the pickle inside the file is over {_PICKLE_LIMIT_BYTES} bytes")
    strings: list[str] = []
    if data.startswith(_TORCH_LEGACY):
        data = data[len(_TORCH_LEGACY) :]
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            yield str(argument)
        elif opcode.name == "STACK_GLOBAL":
            yield " ".join(strings[-2:])
        elif isinstance(argument, str):
            strings.append(argument)


def _is_safetensors(head: bytes, size: int) -> bool:
    """A little-endian header length, then that much JSON."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= size - 8


def _is_onnx(file: IO[bytes], size: int) -> bool:
    """Walk the top-level protobuf fields: only those of ModelProto, a graph among them."""
    file.seek(0)
    found: set[int] = set()
    while file.tell() < size:
        tag = _varint(file)
        if tag is None or (tag >> 3) not in _ONNX_MODEL_FIELDS:
            return False
        found.add(tag >> 3)
        length = _varint(file)
        if length is None or (tag & 7) not in (0, 2):
            return False
        if (tag & 7) == 2:
            if file.tell() + length > size:
                return False
            file.seek(length, 1)
    return _ONNX_GRAPH_FIELD in found


def _varint(file: IO[bytes]) -> int | None:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
