"""What a Keras config would run if it were opened, found by reading alone.

Keras 3 has a safe mode; `tf_keras` ignores it for `.h5` files and imports any module that a config
names. So the config is judged here first, every nested dict of it, against lists of what is known
to be only numbers: what is not on a list counts as code.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from typing import Any

from edgekit.core.artifact import ModelSource
from edgekit.errors import UntrustedError

_CODE_CLASSES = {
    "__lambda__": "a Python function stored as bytecode",
    "Lambda": "a Lambda layer (Python function)",
    "TorchModuleWrapper": "a TorchModuleWrapper layer (pickled Python object)",
    "FlaxLayer": "a FlaxLayer (Python function)",
    "JaxLayer": "a JaxLayer (Python function)",
    "TFSMLayer": "a TFSMLayer (runs another SavedModel)",
    "TensorFlowOpLayer": "a TensorFlowOpLayer (any TensorFlow op)",
}
_OP_LAMBDAS = frozenset(
    {"TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"}
)
_FILE_VOCABULARIES = frozenset({"StringLookup", "IntegerLookup", "TextVectorization"})

# Parts of Keras that hold layers and functions of tensors; `keras.utils`, `keras.saving` and
# whatever a module of Keras happens to import (`os`, `subprocess`) are outside.
_KERAS_MODULE = re.compile(
    r"(tf_)?keras(\.(api|src|_tf_keras|keras))*"
    r"(\.(engine|layers|models|activations|initializers|regularizers|constraints|optimizers|losses"
    r"|metrics|mixed_precision|dtype_policies|ops|random|quantizers|backend|applications"
    r"|__internal__)(\.\w+)*)?"
)
_HARMLESS_BUILTINS = frozenset({"abs", "max", "min", "sum", "pow", "round", "all", "any"})
_PURE_GROUPS = (
    "__operators__.", "math.", "nn.", "linalg.", "signal.", "image.", "dtypes.", "random.",
    "bitwise.", "ragged.", "sparse.", "strings.", "debugging.assert_",
)  # fmt: skip
_PURE_OPS = """
    abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh boolean_mask
    broadcast_to cast clip_by_norm clip_by_value complex concat constant convert_to_tensor cos
    cosh cumsum divide dynamic_partition dynamic_stitch einsum ensure_shape equal exp expand_dims
    eye fill floor gather gather_nd greater greater_equal identity less less_equal linspace
    logical_and logical_not logical_or matmul maximum meshgrid minimum multiply negative norm
    not_equal one_hot ones ones_like pad pow range rank realdiv reduce_all reduce_any
    reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat reshape
    reverse reverse_sequence roll round row_lengths row_splits saturate_cast scatter_nd
    searchsorted sequence_mask shape sigmoid sign sin sinh size slice sort space_to_batch split
    sqrt square squeeze stack stop_gradient strided_slice subtract tan tanh tensor_scatter_nd_add
    tensor_scatter_nd_update tensordot tile to_tensor transpose truediv unique unstack values
    where zeros zeros_like
"""


def refuse_untrusted(source: ModelSource, found: list[str]) -> None:
    """Raise UntrustedError naming what would run, unless the user trusts this file."""
    if found and not source.trusted:
        named = "; ".join(dict.fromkeys(found))
        raise UntrustedError(
            f"opening {source.path} would run code: {named}",
            fix=f"if you know who made this file: --trust sha256:{source.sha256}",
        )


def code_in(config: Any) -> list[str]:
    """What of a decoded Keras config is code, one phrase each; [] where there is only data."""
    found: list[str] = []
    for item in layer_configs(config):
        found += _code_in_item(item)
    return found


def foreign_modules(config: Any) -> list[str]:
    """The modules outside Keras that the config names."""
    named = (item.get("module") for item in layer_configs(config))
    return list(dict.fromkeys(m for m in named if isinstance(m, str) and not _is_keras(m)))


def layer_configs(config: Any) -> Iterator[dict[str, Any]]:
    """Every nested dict that names a class: layers, models and what they are made of."""
    return (item for item in _dicts(config) if isinstance(item.get("class_name"), str))


def names_in(config: Any) -> set[str]:
    """Every name that the config gives to a layer or a tensor, dict keys included."""
    names = {item["name"] for item in _dicts(config) if isinstance(item.get("name"), str)}
    for item in _dicts(config):
        inputs = item.get("input_layers")
        names |= set(inputs) if isinstance(inputs, dict) else set()
    return names


def _code_in_item(item: dict[str, Any]) -> Iterator[str]:
    name, module, inner = item.get("class_name"), item.get("module"), item.get("config")
    inner = inner if isinstance(inner, dict) else {"function": inner}
    label = f" {inner['name']!r}" if isinstance(inner.get("name"), str) else ""
    if isinstance(module, str) and not _is_keras(module):
        yield f"Python module {module!r} imported for {_plain(name, inner)!r}"
    bare = str(name).rpartition(">")[2]
    if bare in _CODE_CLASSES:
        yield f"{_CODE_CLASSES[bare]}{label}"
    if bare in _OP_LAMBDAS and not _is_pure(inner):
        yield f"TensorFlow function {_symbol(inner)!r} in layer{label}"
    if bare in _FILE_VOCABULARIES and isinstance(inner.get("vocabulary"), str):
        yield f"{bare}{label} reads the file {inner['vocabulary']!r}"
    if isinstance(module, str) and (reached := _reached(module, _plain(name, inner))):
        yield reached


def _reached(module: str, name: str) -> str:
    """`os.system` found through a module of Keras, or `eval` through `builtins`."""
    if module == "builtins" and name in vars(builtins) and name not in _HARMLESS_BUILTINS:
        return f"Python function {name!r}"
    return f"Python object {module}.{name}" if "." in name else ""


def _plain(name: object, inner: dict[str, Any]) -> str:
    return str(inner.get("function")) if name == "function" else str(name)


def _is_keras(module: str) -> bool:
    return module == "builtins" or _KERAS_MODULE.fullmatch(module) is not None


def _symbol(inner: dict[str, Any]) -> str:
    return str(inner.get("function") or inner.get("method_name") or inner.get("attr_name") or "")


def _is_pure(inner: dict[str, Any]) -> bool:
    symbol = _symbol(inner).removeprefix("compat.v1.")
    return not symbol or symbol in _PURE_OPS.split() or symbol.startswith(_PURE_GROUPS)


def _dicts(config: Any) -> Iterator[dict[str, Any]]:
    """Every dict in the nested config, found without recursion: a hostile file nests deeply."""
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
