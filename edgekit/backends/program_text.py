"""Finds what could run in the JSON of a `.pt2`: much of it is pasted into Python source by torch.

Size expressions go to `sympy.sympify`, which is `eval`; guards, argument names and attribute paths
become source text for `exec`; a node's target is looked up from `torch` by attribute; a tree spec
may name a module to import. Each kind of text has its own allow-list here.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from edgekit.errors import MalformedError, UnsupportedError

_NAMESPACES = "aten|prim|prims|quantized|quantized_decomposed|torchao|torchvision"
_HIGHER_ORDER = (
    "cond|while_loop|map_impl|scan|associative_scan|wrap_with_set_grad_enabled|wrap_with_autocast"
)
_TARGET = re.compile(
    rf"torch\.ops\.(({_NAMESPACES})\.[A-Za-z0-9_]\w*(\.\w+)?|higher_order\.({_HIGHER_ORDER}))"
    r"|torch\.sym_\w+|math\.(ceil|floor|trunc|sqrt|pow)|_operator\.(getitem|add|sub|mul|truediv"
    r"|floordiv|mod|neg|pos|pow|and_|or_|not_|eq|ne|lt|le|gt|ge|lshift|rshift)"
)
_CUSTOM_OPERATOR = re.compile(r"torch\.ops(\.[A-Za-z0-9]\w*){2,3}")
_FILE_OPERATOR = re.compile(r"torch\.ops\.aten\._?(from_file|save|load)\b.*")
_PLAIN_TEXT = re.compile(r"[\w .:/+\-]*")
_FREE_TEXT_KEYS = frozenset({"as_string", "as_strings"})  # arguments: pasted with repr
_TREE_TYPES = frozenset(
    {
        None,
        "builtins.tuple",
        "builtins.list",
        "builtins.dict",
        "collections.OrderedDict",
        "collections.namedtuple",
    }
)
_SYMPY_NAMES = frozenset(
    {
        "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod",
        "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Abs", "floor", "ceiling",
        "FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilToInt",
        "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv",
        "IntTrueDiv", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat",
        "Identity",
    }
)  # fmt: skip
_GUARD_NAMES = _SYMPY_NAMES | {"max", "min", "abs", "int", "float", "round"}
_ARITHMETIC = (
    ast.Expression, ast.Call, ast.Name, ast.Constant, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp,
    ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.keyword,
)  # fmt: skip
_GUARD_METHODS = frozenset(
    {"size", "stride", "storage_offset", "shape", "ceil", "floor", "trunc", "sqrt", "pow"}
)


def dangers(document: Any, member: str) -> Iterator[str]:
    """What in the JSON of a program could run; nothing where there is nothing."""
    ranges: dict[str, Any] = {}
    for key, value in _entries(document):
        if key == "expr_str":
            if not _is_size(value):
                yield f"{member} has a size that is not plain arithmetic: {_shown(value)}"
        elif key == "guards_code":
            for guard in value if isinstance(value, list) else [value]:
                if not _is_guard(guard):
                    yield f"{member} has a guard that is no comparison of sizes: {_shown(guard)}"
        elif key in ("in_spec", "out_spec") and isinstance(value, str):
            yield from _in_tree(value, member)
        elif key == "target" and isinstance(value, str) and "." in value:
            yield from _in_target(value, member)
        elif key == "range_constraints" and isinstance(value, dict):
            ranges = value
        elif key == "custom_obj_values" and value:
            yield f"{member} has custom objects: {_shown(list(value))}"
        elif key not in _FREE_TEXT_KEYS:
            named = () if key in ranges and _is_size(key) else (key,)
            for text in (*named, *_strings(value)):
                if not _PLAIN_TEXT.fullmatch(text):
                    yield f"{member} has code in a name: {_shown(text)}"


def _in_target(target: str, member: str) -> Iterator[str]:
    if _FILE_OPERATOR.fullmatch(target):
        yield f"{member} reads or writes files of this machine ({target})"
    elif _TARGET.fullmatch(target):
        return
    elif _CUSTOM_OPERATOR.fullmatch(target):
        raise UnsupportedError(
            f"the program calls {target}, an operator outside of torch's own",
            fix="replace the custom operator by torch operations and export again",
        )
    else:
        yield f"{member} calls {_shown(target)}, which is not an operator"


def _in_tree(text: str, member: str) -> Iterator[str]:
    """A tree spec: enum keys and factories of defaultdicts name modules to import."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise MalformedError(f"{member} has a tree spec that is not JSON: {error}") from error
    for key, value in _entries({"tree": document}):
        if key == "__enum__" or "module" in key:
            yield f"{member} names a Python module in a tree spec"
        elif key == "type":
            if value not in _TREE_TYPES:
                yield f"{member} has a tree of type {_shown(value)}"
        elif key == "context" and isinstance(value, str) and value[:1] in ("[", "{"):
            yield from _in_tree(value, member)
        else:
            for name in (key, *_strings(value)):
                if not _PLAIN_TEXT.fullmatch(name):
                    yield f"{member} has code in a name: {_shown(name)}"


def _entries(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of every table at any depth; what a node says of its own origin apart."""
    pending = [document]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from item.items()
            pending.extend(value for key, value in item.items() if key != "metadata")
        elif isinstance(item, list):
            pending.extend(item)


def _strings(value: Any) -> list[str]:
    """The strings directly in a value: itself, or in lists of it; tables come by themselves."""
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def _is_size(text: Any) -> bool:
    """Arithmetic over numbers, symbols, and sympy's functions by name.

    A string may only be the name in `Symbol('s0')`: sympy evaluates strings given to anything else.
    """
    nodes = _parsed(text)
    names = [
        (node.func, node.args[0])
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args
    ]
    named = [first for function, first in names if function.id == "Symbol"]
    return bool(nodes) and all(
        isinstance(node, _ARITHMETIC)
        and (not isinstance(node, ast.Call) or _calls(node, _SYMPY_NAMES))
        and (not isinstance(node, ast.Constant) or _is_number(node) or node in named)
        for node in nodes
    )


def _is_guard(text: Any) -> bool:
    """A comparison over `L['x'].size()[0]` and the like; keys are plain names."""
    nodes = _parsed(text)
    return bool(nodes) and all(
        isinstance(node, (*_ARITHMETIC, ast.Subscript, ast.Attribute))
        and (not isinstance(node, ast.Attribute) or node.attr in _GUARD_METHODS)
        and (not isinstance(node, ast.Call) or _calls(node, _GUARD_NAMES, _GUARD_METHODS))
        and (not isinstance(node, ast.Constant) or _is_number(node) or _is_plain(node.value))
        for node in nodes
    )


def _parsed(text: Any) -> list[ast.AST]:
    """The nodes of an expression; none where it is not one."""
    try:
        return list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return []


def _calls(
    node: ast.Call, functions: frozenset[str], methods: frozenset[str] = frozenset()
) -> bool:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in methods
    return isinstance(node.func, ast.Name) and node.func.id in functions


def _is_number(node: ast.Constant) -> bool:
    return isinstance(node.value, int | float)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) and bool(_PLAIN_TEXT.fullmatch(value))


def _shown(value: Any) -> str:
    return repr(value)[:120]
