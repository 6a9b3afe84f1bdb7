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
_FILE_NAME = re.compile(r"[\w.\-]+")


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
    """Every record of the archive by its path below the root folder."""
    if len(content) > _LIMIT_BYTES:
        raise MalformedError(f"{name} is larger than {_LIMIT_BYTES >> 30} GiB")
    try:
        reader = torch._C.PyTorchFileReader(io.BytesIO(content))  # noqa: SLF001  (no public one)
        records = reader.get_all_records()
        found = {record: reader.get_record(record) for record in dict.fromkeys(records)}
    except (RuntimeError, ValueError) as error:
        raise MalformedError(f"{name} is not a torch archive: {str(error)[:200]}") from error
    for record in records:
        path = PurePosixPath(record)
        if path.is_absolute() or ".." in path.parts or "\\" in record:
            raise MalformedError(f"{name} holds a member with an unsafe path: {record!r}")
    if len(records) != len(found):
        raise MalformedError(f"{name} holds two members of the same name")
    return found


def _check(members: dict[str, bytes], name: str, sha256: str) -> None:
    if "models/model.json" not in members:
        hint = "torch.export.save of torch 2.8 or newer writes one"
        raise MalformedError(f"{name} has no models/model.json: not an exported program ({hint})")
    for member, content in members.items():
        for danger in _in_member(member, content, name):
            raise UntrustedError(
                f"{name} would run code when it is loaded: {danger}",
                fix=f"if you know who made it: --trust sha256:{sha256}",
            )


def _in_member(member: str, content: bytes, name: str) -> Iterator[str]:
    """What in one member could run; raises MalformedError for JSON that is none."""
    if member.endswith(".json"):
        try:
            document = json.loads(content)
        except ValueError as error:
            raise MalformedError(f"{name}: {member} is not JSON: {error}") from error
        if member.startswith("models/"):
            yield from dangers(document, member)
        else:
            yield from _in_payloads(document, member)
    elif member.startswith("data/aotinductor"):
        yield f"{member} is compiled code"
    elif member.startswith("data/constants/") and "tensor_" not in PurePosixPath(member).name:
        yield f"{member} is a pickled custom object"
    elif member.endswith(".pt"):
        yield from weights_only(content, member)


def _in_payloads(document: Any, member: str) -> Iterator[str]:
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise MalformedError(f"{member} has no table named 'config'")
    for tensor, payload in config.items():
        path = payload.get("path_name") if isinstance(payload, dict) else None
        if not isinstance(path, str) or not _FILE_NAME.fullmatch(path):
            raise MalformedError(f"{member}: the file of {tensor!r} is {path!r}, expected a name")
        if payload.get("use_pickle") is not False:
            yield f"{member} has {tensor!r} as a pickle (use_pickle)"
    yield from dangers(dict.fromkeys(config), member)
