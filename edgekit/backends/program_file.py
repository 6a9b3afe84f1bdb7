"""Looks into a `.pt2` archive and loads it only when nothing in it can run code.

`torch.export.load` is not safe on foreign files. It falls back from a weights-only read to a full
pickle, obeys `use_pickle` and pickled custom objects, hands size expressions to `sympy.sympify` and
guards to `exec`, walks `torch.<anything>` by attribute for a node's target, imports modules named
in a tree spec, and loads AOTInductor libraries. Each of these is refused here by an allow-list.
The bytes are read once, with torch's own archive reader, and the very bytes checked are loaded.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from edgekit.backends.pickles import weights_only
from edgekit.errors import MalformedError, UnsupportedError, UntrustedError

_NAMESPACES = "aten|prim|prims|quantized|quantized_decomposed|torchao|torchvision"
_HIGHER_ORDER = (
    "cond|while_loop|map_impl|scan|associative_scan|wrap_with_set_grad_enabled|wrap_with_autocast"
)
_TARGET = re.compile(
    rf"torch\.ops\.(({_NAMESPACES})\.[A-Za-z0-9]\w*(\.\w+)?|higher_order\.({_HIGHER_ORDER}))"
    r"|torch\.sym_\w+|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pos|pow|and_|or_|not_"
    r"|eq|ne|lt|le|gt|ge|lshift|rshift)|math\.(ceil|floor|trunc|sqrt|pow)"
)
_READS_FILES = re.compile(r"torch\.ops\.aten\.(from_file|_from_file)\b")
_TREE_TYPES = {
    None,
    "builtins.tuple",
    "builtins.list",
    "builtins.dict",
    "collections.OrderedDict",
    "collections.namedtuple",
}
_EXPRESSION_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Constant, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp,
    ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.keyword,
)  # fmt: skip
_GUARD_NODES = (*_EXPRESSION_NODES, ast.Subscript, ast.Attribute)
_GUARD_METHODS = {"size", "stride", "storage_offset", "shape", "item", "dtype", "device"}
_NOT_IN_EXPRESSIONS = re.compile(r"_|eval|exec|open|input|compile|getattr|setattr|vars|globals")
_LIMIT_BYTES = 4 << 30


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
    except RuntimeError as error:
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
        for danger in _dangers(member, content, name):
            raise UntrustedError(
                f"{name} would run code when it is loaded: {danger}",
                fix=f"if you know who made it: --trust sha256:{sha256}",
            )


def _dangers(member: str, content: bytes, name: str) -> Iterator[str]:
    """What in one member could run; raises MalformedError for JSON that is none."""
    if member.endswith(".json"):
        try:
            document = json.loads(content)
        except ValueError as error:
            raise MalformedError(f"{name}: {member} is not JSON: {error}") from error
        if member.startswith("models/"):
            yield from _in_model(document, member)
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
        if not isinstance(path, str) or "/" in path or "\\" in path:
            raise MalformedError(f"{member}: the file of {tensor!r} is {path!r}, expected a name")
        if payload.get("use_pickle") is not False:
            yield f"{member} has {tensor!r} as a pickle (use_pickle)"


def _in_model(document: Any, member: str) -> Iterator[str]:
    for key, value in _entries(document):
        if key == "target" and isinstance(value, str):
            yield from _in_target(value, member)
        elif key == "expr_str" and not _is_plain(value, _EXPRESSION_NODES):
            yield f"{member} has a size that is not plain arithmetic: {str(value)[:120]!r}"
        elif key == "guards_code" and isinstance(value, list):
            bad = [guard for guard in value if not _is_plain(guard, _GUARD_NODES)]
            if bad:
                yield f"{member} has a guard that is no comparison of sizes: {str(bad[0])[:120]!r}"
        elif key in ("in_spec", "out_spec") and isinstance(value, str):
            yield from _in_tree(value, member)
        elif key == "custom_obj_values" and value:
            yield f"{member} has custom objects: {', '.join(map(str, value))[:120]}"


def _in_target(target: str, member: str) -> Iterator[str]:
    if _READS_FILES.match(target):
        yield f"{member} reads files of this machine ({target})"
    elif _TARGET.fullmatch(target):
        return
    elif re.fullmatch(r"torch\.ops(\.[A-Za-z0-9]\w*){2,3}", target):
        raise UnsupportedError(
            f"the program calls {target}, an operator outside of torch's own",
            fix="replace the custom operator by torch operations and export again",
        )
    else:
        yield f"{member} calls {target[:120]!r}, which is not an operator"


def _in_tree(text: str, member: str) -> Iterator[str]:
    """Tree specs may name a module to import: an enum as a key, a defaultdict's factory."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise MalformedError(f"{member} has a tree spec that is not JSON: {error}") from error
    for key, value in _entries(document):
        if key == "__enum__" or "module" in key:
            yield f"{member} names a Python module in a tree spec"
        elif key == "type" and value not in _TREE_TYPES:
            yield f"{member} has a tree of type {str(value)[:80]!r}"
        elif key == "context" and isinstance(value, str) and value[:1] in "[{":
            yield from _in_tree(value, member)


def _entries(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of every table at any depth."""
    pending = [document]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from item.items()
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _is_plain(text: Any, allowed: tuple[type[ast.AST], ...]) -> bool:
    """Whether an expression is arithmetic over names, numbers and calls of names like `Mod`."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, TypeError, ValueError, RecursionError):
        return False
    for node in nodes:
        if not isinstance(node, allowed):
            return False
        if isinstance(node, ast.Name) and _NOT_IN_EXPRESSIONS.match(node.id):
            return False
        if isinstance(node, ast.Attribute) and node.attr not in _GUARD_METHODS:
            return False
    return True
