"""The main graph of an open TFLite interpreter, its tensors by the artifact's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.arrays import Arrays
from edgekit.core.artifact import Artifact
from edgekit.core.recipe import Precision
from edgekit.core.signature import TensorSpec
from edgekit.errors import MalformedError, UnsupportedError

_UNRESOLVED = ("Select TensorFlow op", "nresolved custom op")


class MainGraph:
    """Feeds and reads tensors by name, whatever the interpreter calls them."""

    def __init__(self, interpreter: Any, artifact: Artifact) -> None:
        self._interpreter = interpreter
        key = next(iter(interpreter.get_signature_list()), None)
        named = interpreter._get_full_signature_list()[key] if key else {}  # noqa: SLF001
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._inputs = _indices(artifact.signature.inputs, named.get("inputs", {}), inputs)
        self._outputs = _indices(artifact.signature.outputs, named.get("outputs", {}), outputs)
        self._shapes = {detail["index"]: tuple(detail["shape"]) for detail in inputs}

    def call(self, feed: Arrays) -> Arrays:
        """One independent call: recurrent state is cleared first."""
        self.bind(feed)()
        return {name: self._interpreter.get_tensor(at) for name, at in self._outputs.items()}

    def bind(self, feed: Arrays) -> Callable[[], None]:
        """Set the inputs, fitting the graph to their shapes; what is returned is `invoke` alone."""
        wanted = {self._inputs[name]: array for name, array in feed.items()}
        resized = {at: array for at, array in wanted.items() if array.shape != self._shapes[at]}
        for at, array in resized.items():
            self._interpreter.resize_tensor_input(at, array.shape)
            self._shapes[at] = array.shape
        if resized:
            allocate(self._interpreter)
        self._interpreter.reset_all_variables()
        for at, array in wanted.items():
            self._interpreter.set_tensor(at, array)
        return self._interpreter.invoke


def allocate(interpreter: Any) -> None:
    """Give every tensor its memory; raises UnsupportedError where the runtime lacks an op."""
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        if any(phrase in str(error) for phrase in _UNRESOLVED):
            raise UnsupportedError(
                f"the TFLite runtime has no kernel for an op of this file: {error}",
                fix="convert with built-in ops only, as edgekit does",
            ) from error
        raise


def check_runs(path: Path, precision: Precision) -> None:
    """Run the file once on zeros; raises UnsupportedError where a kernel refuses what it was given.

    16-bit activations fail in convolutions whose channels have scales far apart
    (`no_integer_overflow_from_quantization`), and in ops without a 16-bit kernel: converters write
    such files and do not see it.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    try:
        allocate(interpreter)
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()
    except RuntimeError as error:
        raise UnsupportedError(
            f"the TFLite runtime cannot run this model in {precision}: "
            f"{str(error).strip().splitlines()[0][:300]}",
            fix="choose --precision int8 or dynamic",
        ) from error


def _indices(
    specs: Sequence[TensorSpec], named: dict[str, int], details: list[dict[str, Any]]
) -> dict[str, int]:
    """Tensor index by name: the signature def's, else the tensors' own names, else by position."""
    own = {str(detail["name"]): int(detail["index"]) for detail in details}
    for known in (named, own):
        if all(spec.name in known for spec in specs):
            return {spec.name: known[spec.name] for spec in specs}
    if len(specs) != len(details):
        raise MalformedError(f"the file has tensors {sorted(named or own)}, expected {[*specs]}")
    return {spec.name: int(d["index"]) for spec, d in zip(specs, details, strict=True)}
