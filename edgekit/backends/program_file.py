"""Looks into a `.pt2` archive and loads it only when nothing in it can run code.

`torch.export.load` is not safe on foreign files: it falls back from a weights-only read to a full
pickle, obeys `use_pickle`, unpickles custom objects, loads AOTInductor libraries, and evaluates
text from its JSON (see program_text). Each of these is refused here. The bytes are read once, with
torch's own archive reader, and the very bytes that were checked are loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from edgekit.backends.pickles import code_allowed, weights_only
from edgekit.backends.program_text import dangers
from edgekit.errors import MalformedError, UntrustedError

_LIMIT_BYTES = 4 << 30
_MODEL = "models/model.json"
_READ = re.compile(
    r"models/model\.json|data/(weights|constants)/model_\1_config\.json"
    r"|data/(weights|constants|sample_inputs)/model\.pt"
)
# Constants of any other name are pickled objects.
_INERT = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|extra/[^/]+"
    r"|archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)"
)
_FILE_NAMES = {"weights": re.compile(r"weight_\d+"), "constants": re.compile(r"tensor_\d+")}


def read_program(path: Path, *, sha256: str, trusted: bool) -> Any:
    """The exported program in `path`. `trusted` is the user's permission for the file `sha256`.

    Raises MalformedError where the archive is not a `.pt2` or not the file of that digest,
    UntrustedError naming what would run.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise MalformedError(f"{path.name} has changed since it was first read")
    if not trusted:
        _check(_members(content, path.name), path.name, sha256)
    try:
        with code_allowed() if trusted else contextlib.nullcontext():
            return torch.export.load(io.BytesIO(content))
    except (RuntimeError, AssertionError, KeyError, ValueError, TypeError) as error:
        raise MalformedError(f"{path.name} is not a readable .pt2 program: {error}") from error


def _members(content: bytes, name: str) -> dict[str, bytes]:
    """The records of the archive by path below the root folder; raw weights are left empty."""
    if len(content) > _LIMIT_BYTES:
        raise MalformedError(f"{name} is larger than {_LIMIT_BYTES >> 30} GiB")
    try:
        reader = torch._C.PyTorchFileReader(io.BytesIO(content))  # noqa: SLF001  (no public one)
        records = reader.get_all_records()
        found = {r: reader.get_record(r) if _READ.fullmatch(r) else b"" for r in records}
    except (RuntimeError, ValueError) as error:
        raise MalformedError(f"{name} is not a torch archive: {str(error)[:200]}") from error
    for record in records:
        path = PurePosixPath(record)
        if path.is_absolute() or ".." in path.parts or "\\" in record:
            raise MalformedError(f"{name} holds a member with an unsafe path: {record!r}")
    # torch's reader finds a record whatever its case: one could be checked and another loaded.
    if len(records) != len({record.lower() for record in records}):
        raise MalformedError(f"{name} holds two members of the same name")
    return found


def _check(members: dict[str, bytes], name: str, sha256: str) -> None:
    if _MODEL not in members:
        hint = "torch.export.save of torch 2.8 or newer writes one"
        raise MalformedError(f"{name} has no {_MODEL}: not an exported program ({hint})")
    for member, content in members.items():
        for danger in _in_member(member, content, name):
            raise UntrustedError(
                f"{name} would run code when it is loaded: {danger}",
                fix=f"if you know who made it: --trust sha256:{sha256}",
            )


def _in_member(member: str, content: bytes, name: str) -> Iterator[str]:
    """What in one member could run; raises MalformedError for JSON that is none."""
    if member.endswith(".pt") and _READ.fullmatch(member):
        yield from weights_only(content, member)
    elif _READ.fullmatch(member):
        try:
            document = json.loads(content)
        except ValueError as error:
            raise MalformedError(f"{name}: {member} is not JSON: {error}") from error
        in_it = dangers if member == _MODEL else _in_payloads
        yield from in_it(document, member)
    elif not _INERT.fullmatch(member):
        yield f"{member} is none of the parts of a plain program"


def _in_payloads(document: Any, member: str) -> Iterator[str]:
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise MalformedError(f"{member} has no table named 'config'")
    expected = _FILE_NAMES[member.split("/")[1]]
    for tensor, payload in config.items():
        path = payload.get("path_name") if isinstance(payload, dict) else None
        if not isinstance(path, str) or not expected.fullmatch(path):
            yield f"{member} takes {tensor!r} from {str(path)[:80]!r}, which is no plain tensor"
            return
        if payload.get("use_pickle") is not False:
            yield f"{member} has {tensor!r} as a pickle (use_pickle)"
    yield from dangers(dict.fromkeys(config), member)
