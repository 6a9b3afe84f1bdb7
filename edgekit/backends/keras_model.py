"""An open Keras model behind flat names: which tensors go in, which come out, what they are called.

Names come from what the file says (layer names, dict keys), never from counters of this process, so
the same file has the same names with TensorFlow and with torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edgekit.backends.keras_trust import names_in
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError, UnsupportedError

Tensors = dict[str, Any]


class Library(StrEnum):
    """What holds the model."""

    KERAS = "keras"
    TF_KERAS = "tf_keras"
    TENSORFLOW = "tensorflow"


@dataclass(frozen=True)
class KerasModel:
    """`call` takes and gives the framework's tensors by the signature's names, for inference.

    `owner` is the loaded SavedModel that holds the variables and tables of its signatures.
    """

    model: Any
    library: Library
    signature: Signature
    writer: str
    call: Callable[[Mapping[str, Any]], Tensors]
    owner: Any = None


def named_model(
    model: Any, library: Library, config: Any, given: Sequence[TensorSpec], *, writer: str
) -> KerasModel:
    """Find the names of an open model; `given` are the inputs of one that was not built.

    Raises UnsupportedError for inputs that are no plain tensors.
    """
    # What Keras knows of a functional or Sequential model: symbolic tensors, nested as in a call.
    inputs, outputs = _symbolic(model, library)
    if inputs is None:
        return _called_model(model, library, given, writer=writer)
    known = names_in(config)
    input_names = _renamed(_names(inputs), known)
    output_names = _unique(_names(outputs))
    signature = Signature(
        inputs=_specs(input_names, _leaves(inputs)), outputs=_specs(output_names, _leaves(outputs))
    )

    def call(tensors: Mapping[str, Any]) -> Tensors:
        given = iter([tensors[name] for name in input_names])
        results = model(_packed(inputs, given), training=False)
        return dict(zip(output_names, _aligned(outputs, results), strict=True))

    return KerasModel(model, library, signature, writer, call)


def symbolic_tensors(model: KerasModel) -> tuple[list[Any], list[Any]]:
    """Keras's own tensors for the inputs and outputs, in the order of the signature.

    Raises UnsupportedError for a model that is Python code, of which Keras knows no graph.
    """
    inputs, outputs = _symbolic(model.model, model.library)
    if inputs is None:
        raise UnsupportedError(
            f"the model is a Python class ({type(model.model).__name__}) without a graph of layers",
            fix="build it of layers: a functional or Sequential model",
        )
    return _leaves(inputs), _leaves(outputs)


def _symbolic(model: Any, library: Library) -> tuple[Any, Any]:
    if library is Library.TF_KERAS:
        inner = getattr(model, "_nested_inputs", None)
        return inner, getattr(model, "_nested_outputs", None)
    functional = getattr(model, "_functional", None) or model
    return getattr(functional, "_inputs_struct", None), getattr(functional, "_outputs_struct", None)


def _called_model(
    model: Any, library: Library, given: Sequence[TensorSpec], *, writer: str
) -> KerasModel:
    """A model of the user's own class: its outputs are learnt by calling it once on zeros."""
    import numpy as np

    if not given:
        raise ConfigError(
            "this model is a Python class that does not tell its inputs",
            fix="give them in the order of its call: --input NAME:SHAPE:DTYPE, or data",
        )

    def call(tensors: Mapping[str, Any]) -> Tensors:
        values = [tensors[spec.name] for spec in given]
        results = model(*values, training=False)
        return dict(zip(_unique(_result_names(results)), _leaves(results), strict=True))

    rows = {s.name: np.zeros([d or 2 for d in s.shape or ()], s.dtype) for s in given}
    found = call(rows)
    free = any(spec.shape and spec.shape[0] is None for spec in given)
    outputs = tuple(
        TensorSpec(
            name=name,
            dtype=_dtype(value),
            shape=((None,) if free else tuple(value.shape[:1])) + tuple(value.shape[1:]),
        )
        for name, value in found.items()
    )
    return KerasModel(model, library, Signature(inputs=tuple(given), outputs=outputs), writer, call)


def _names(structure: Any, prefix: str = "") -> list[str]:
    """A name per leaf: dict keys, else the name of the layer that gives the tensor."""
    if isinstance(structure, Mapping):
        return [
            name
            for key, value in structure.items()
            for name in _names(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(structure, (list, tuple)):
        each = [_names(v, f"{prefix}.{i}" if prefix else "") for i, v in enumerate(structure)]
        return [name for names in each for name in names]
    return [prefix or _layer_name(structure)]


def _layer_name(tensor: Any) -> str:
    history = tensor._keras_history  # noqa: SLF001 - the only record of who made a tensor
    return str(history[0].name)


def _result_names(structure: Any, prefix: str = "") -> list[str]:
    if isinstance(structure, Mapping):
        return [n for key, v in structure.items() for n in _result_names(v, f"{prefix}{key}.")]
    if isinstance(structure, (list, tuple)):
        return [n for i, v in enumerate(structure) for n in _result_names(v, f"{prefix}{i}.")]
    return [prefix.rstrip(".") if not prefix or prefix[0].isalpha() else f"output_{prefix[:-1]}"]


def _leaves(structure: Any) -> list[Any]:
    """The leaves in the order of `_names`; dicts keep their own order, which Keras's tree sorts."""
    if isinstance(structure, Mapping):
        return [leaf for value in structure.values() for leaf in _leaves(value)]
    if isinstance(structure, (list, tuple)):
        return [leaf for value in structure for leaf in _leaves(value)]
    return [structure]


def _aligned(structure: Any, results: Any) -> list[Any]:
    """The leaves of `results` in the order of `structure`, dicts matched by key."""
    if isinstance(structure, Mapping):
        return [leaf for key, value in structure.items() for leaf in _aligned(value, results[key])]
    if isinstance(structure, (list, tuple)):
        pairs = zip(structure, _as_list(results, len(structure)), strict=True)
        return [leaf for value, result in pairs for leaf in _aligned(value, result)]
    return [results]


def _as_list(results: Any, count: int) -> Sequence[Any]:
    """tf_keras unwraps a list of one."""
    return results if isinstance(results, (list, tuple)) else [results] * count


def _packed(structure: Any, given: Any) -> Any:
    """`structure` with the next of `given` in place of each leaf."""
    if isinstance(structure, Mapping):
        return {key: _packed(value, given) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_packed(value, given) for value in structure]
    return next(given)


def _renamed(names: list[str], known: set[str]) -> list[str]:
    """`input` in place of a name that is not in the file, so was counted in this process."""
    own = [name if name in known or "." in name else "" for name in names]
    missing = ["input"] if own.count("") == 1 else [f"input_{i}" for i in range(len(own))]
    spare = iter(missing)
    return _unique([name or next(spare) for name in own])


def _unique(names: list[str]) -> list[str]:
    """`lstm, lstm, lstm` -> `lstm, lstm_1, lstm_2`, as tf_keras does."""
    taken: list[str] = []
    for name in names:
        count, free = 0, name or "output"
        while free in taken:
            count += 1
            free = f"{name or 'output'}_{count}"
        taken.append(free)
    return taken


def _specs(names: list[str], tensors: list[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, dtype=_plain_dtype(name, tensor), shape=_shape(tensor))
        for name, tensor in zip(names, tensors, strict=True)
    )


def _plain_dtype(name: str, tensor: Any) -> str:
    dtype = _dtype(tensor)
    kind = type(tensor).__name__
    if (
        dtype == "string"
        or "Sparse" in kind
        or "Ragged" in kind
        or getattr(tensor, "sparse", False)
    ):
        raise UnsupportedError(
            f"tensor {name!r} is a {'string' if dtype == 'string' else 'sparse or ragged'} tensor",
            fix="cut the model after its preprocessing, so that it takes dense numbers",
        )
    return dtype


def _dtype(tensor: Any) -> str:
    """`float32` of a numpy, torch (`torch.float32`), TensorFlow or symbolic tensor."""
    dtype = tensor.dtype
    return str(getattr(dtype, "name", dtype)).rpartition(".")[2]


def _shape(tensor: Any) -> tuple[int | None, ...] | None:
    shape = tensor.shape
    if getattr(shape, "rank", 0) is None or shape is None:
        return None
    return tuple(None if size is None else int(size) for size in shape)
