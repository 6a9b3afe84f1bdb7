"""Run a TFLite file on this machine: by LiteRT, or by the older tflite_runtime."""

from __future__ import annotations

from collections import Counter
from importlib import import_module, metadata
from typing import Any

from edgekit.backends.calls import placed, resident_bytes, run_calls
from edgekit.backends.tflite_graph import MainGraph, allocate
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import RunJob
from edgekit.core.measured import Placement, RunResult
from edgekit.errors import MalformedError, UnavailableError

_LIBRARIES = ("ai_edge_litert", "tflite_runtime")


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
    allocate(interpreter)
    graph = MainGraph(interpreter, job.artifact)
    return run_calls(
        job,
        graph.call,
        runtime=library,
        versions=versions,
        placement=_placement(_nodes(interpreter), num_nodes),
        timed=graph.bind,
        resident_before=before,
    )


def _open(job: RunJob) -> tuple[str, Any]:
    for library in _LIBRARIES:
        try:
            module = import_module(f"{library}.interpreter")
        except ModuleNotFoundError:
            continue
        try:
            return library, module.Interpreter(
                model_path=job.artifact.path,
                num_threads=job.num_threads,
                experimental_op_resolver_type=_kernels(module, reference=job.reference),
            )
        except ValueError as error:
            raise MalformedError(
                f"{job.artifact.path} is not a whole TFLite file: {error}"
            ) from error
    raise UnavailableError("no TFLite runtime is installed", fix="pip install 'edgekit[litert]'")


def _kernels(module: Any, *, reference: bool) -> Any:
    """The optimized kernels with XNNPACK, or for `reference` the plain ones that define the format."""
    kinds = module.OpResolverType
    return kinds.BUILTIN_REF if reference else kinds.AUTO


def _other_graph(interpreter: Any, artifact: Artifact) -> str | None:
    """The signature to call where the file has several, each a graph of its own."""
    keys = list(interpreter.get_signature_list())
    if len(keys) < 2:
        return None
    asked = artifact.source.signature_key if artifact.source else None
    return asked or "serving_default"


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
