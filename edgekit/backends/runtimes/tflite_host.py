"""Run a TFLite file on this machine: by LiteRT, or by the older tflite_runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any

from edgekit.backends.calls import placed, resident_bytes, run_calls
from edgekit.core.arrays import Arrays
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import RunJob
from edgekit.core.measured import Placement, RunResult
from edgekit.core.signature import TensorSpec
from edgekit.errors import MalformedError, UnavailableError, UnsupportedError

_LIBRARIES = ("ai_edge_litert", "tflite_runtime")
_UNRESOLVED = ("Select TensorFlow op", "nresolved custom op")


def run(job: RunJob) -> RunResult:
    """Run all calls with `num_threads` threads and time `invoke` alone.

    Raises UnsupportedError where the runtime lacks an op, MalformedError where the file is not
    whole or its tensors are not those of the signature.
    """
    before = resident_bytes()
    library, interpreter = _open(job)
    versions = {library: metadata.version(library.replace("_", "-"))}
    key = _other_graph(interpreter, job.artifact)
    if key is not None:
        runner = interpreter.get_signature_runner(key)
        return run_calls(job, lambda feed: runner(**feed), runtime=library, versions=versions)
    num_nodes = len(_nodes(interpreter))
    _allocate(interpreter)
    graph = _Graph(interpreter, job.artifact)
    return run_calls(
        job,
        graph.call,
        runtime=library,
        versions=versions,
        placement=_placement(_nodes(interpreter), num_nodes),
        timed=graph.bind,
        resident_before=before,
    )


class _Graph:
    """The main graph of an interpreter, its tensors by the artifact's names."""

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
            _allocate(self._interpreter)
        self._interpreter.reset_all_variables()
        for at, array in wanted.items():
            self._interpreter.set_tensor(at, array)
        return self._interpreter.invoke


def _open(job: RunJob) -> tuple[str, Any]:
    for library in _LIBRARIES:
        try:
            module = import_module(f"{library}.interpreter")
        except ModuleNotFoundError:
            continue
        try:
            return library, module.Interpreter(
                model_path=job.artifact.path, num_threads=job.num_threads
            )
        except ValueError as error:
            raise MalformedError(
                f"{job.artifact.path} is not a whole TFLite file: {error}"
            ) from error
    raise UnavailableError("no TFLite runtime is installed", fix="pip install 'edgekit[litert]'")


def _other_graph(interpreter: Any, artifact: Artifact) -> str | None:
    """The signature to call where the file has several, each a graph of its own."""
    keys = list(interpreter.get_signature_list())
    if len(keys) < 2:
        return None
    asked = artifact.source.signature_key if artifact.source else None
    return asked or "serving_default"


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


def _allocate(interpreter: Any) -> None:
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        if any(phrase in str(error) for phrase in _UNRESOLVED):
            raise UnsupportedError(
                f"the TFLite runtime has no kernel for an op of this file: {error}",
                fix="convert with built-in ops only, as edgekit does",
            ) from error
        raise


def _nodes(interpreter: Any) -> list[dict[str, Any]]:
    return list(interpreter._get_ops_details())  # noqa: SLF001 - the only list of nodes there is


def _placement(nodes: list[dict[str, Any]], num_nodes: int) -> Placement:
    """Which of the first `num_nodes` nodes the delegate nodes after them took over.

    The runtime keeps the replaced nodes in its list and says only what a delegate node reads and
    writes. A node is replaced where a delegate's outputs lead back to it without passing the
    delegate's inputs.
    """
    own, delegates = nodes[:num_nodes], nodes[num_nodes:]
    writer = {int(t): i for i, node in enumerate(own) for t in node["outputs"]}
    taken: set[int] = set()
    for delegate in delegates:
        stop = {int(t) for t in delegate["inputs"]}
        front = [int(t) for t in delegate["outputs"]]
        while front:
            tensor = front.pop()
            node = writer.get(tensor)
            if tensor in stop or node is None or node in taken:
                continue
            taken.add(node)
            front += [int(t) for t in own[node]["inputs"]]
    left = Counter(str(node["op_name"]) for i, node in enumerate(own) if i not in taken)
    return placed("XNNPACK", nodes=num_nodes, delegated=len(taken), left=dict(left))
