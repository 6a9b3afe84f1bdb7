"""SavedModel folders: every op of the graph is looked at before TensorFlow may run one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.backends.keras_model import KerasModel, Library, Tensors
from edgekit.backends.keras_trust import refuse_untrusted
from edgekit.core.artifact import ModelSource
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError, MalformedError, UnsupportedError

_INTERNAL_KEYS = ("__saved_model_init_op", "__saved_model_train_op")
_DEFAULT_KEY = "serving_default"
_KERAS_TWIN = "serve"  # Keras 3 exports the same function under both keys

# Ops that touch files or run code although TensorFlow does not call them stateful.
_IMPURE_WORDS = ("File", "PyFunc", "Dataset", "Reader", "Debug", "CustomCall", "Xla")
_IMPURE = (
    "Abort", "Copy", "CopyHost", "GenerateVocabRemapping", "ImmutableConst", "MlirPassthroughOp",
    "ShardedFilespec",
)  # fmt: skip
# The saver's ops: a SavedModel has them to write and restore its variables. No signature reaches
# them, and restoring reaches none that writes.
_SAVER_READS = ("RestoreV2", "Restore", "ShardedFilename")
_SAVER_WRITES = ("SaveV2", "MergeV2Checkpoints", "Save")
# Stateful, and yet they touch nothing but variables, tables, random numbers and control flow.
_HARMLESS_STATEFUL = """
    AnonymousHashTable AnonymousMutableDenseHashTable AnonymousMutableHashTable Assert Case
    CheckNumerics CheckNumericsV2 DeepCopy DestroyResourceOp DisableCopyOnRead DummySeedGenerator
    Empty GuaranteeConst HashTable HashTableV2 If InitializeTableV2 Multinomial
    MutableDenseHashTable MutableDenseHashTableV2 MutableHashTable MutableHashTableOfTensors
    MutableHashTableOfTensorsV2 MutableHashTableV2 MutexLock MutexV2 NonDeterministicInts
    ParameterizedTruncatedNormal Print ReadVariableOp RngReadAndSkip RngSkip
    SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 Stack StackCloseV2 StackPopV2
    StackPushV2 StackV2 StatefulPartitionedCall StatelessRandomGetAlg TemporaryVariable Timestamp
    TruncatedNormal VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2 While
"""
_HARMLESS_PREFIXES = (
    "Random", "Stateful", "Assign", "ResourceScatter", "ResourceStridedSliceAssign",
    "ResourceGather", "ResourceApply", "ResourceSparseApply", "LookupTable", "TensorArray", "CudnnRNN",
)  # fmt: skip


def open_savedmodel(source: ModelSource) -> KerasModel:
    """The chosen signature of a SavedModel, as a callable with the names of that signature.

    Raises UntrustedError naming the ops that touch files or run code, MalformedError, and
    ConfigError where there are several signatures and none was chosen.
    """
    import tensorflow as tf

    graph = _read(Path(source.path))
    refuse_untrusted(source, sorted(_dangerous(graph)))
    key = _chosen_key(graph, source.signature_key)
    signature = _signature(graph.signature_def[key])
    try:
        loaded = tf.saved_model.load(source.path)
        function = loaded.signatures[key]
    except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
        raise MalformedError(f"{source.path} is not a whole SavedModel: {error}") from error

    names = [spec.name for spec in signature.inputs]

    def call(tensors: Mapping[str, Any]) -> Tensors:
        return dict(function(**{name: tf.convert_to_tensor(tensors[name]) for name in names}))

    writer = f"TensorFlow {graph.meta_info_def.tensorflow_version} (SavedModel)"
    return KerasModel(function, Library.TENSORFLOW, signature, writer, call, owner=loaded)


def _read(folder: Path) -> Any:
    """The meta graph for serving; raises MalformedError."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / "saved_model.pb"
    try:
        proto = SavedModel.FromString(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise MalformedError(f"{file} is not a SavedModel: {error}") from error
    serving = [graph for graph in proto.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not serving:
        raise MalformedError(f"{file} holds no graph tagged 'serve'")
    return serving[0]


def _chosen_key(graph: Any, wanted: str | None) -> str:
    keys = sorted(
        key
        for key, definition in graph.signature_def.items()
        if key not in _INTERNAL_KEYS and definition.outputs
    )
    if wanted is not None and wanted not in keys:
        raise ConfigError(
            f"the SavedModel has no signature {wanted!r}",
            fix=f"choose with --signature: {', '.join(keys) or 'it has none'}",
        )
    if not keys:
        raise UnsupportedError(
            "the SavedModel has no signature to call",
            fix="save it with tf.saved_model.save(..., signatures=...) or model.export('folder')",
        )
    if wanted is not None:
        return wanted
    if len(keys) == 1 or set(keys) == {_DEFAULT_KEY, _KERAS_TWIN}:
        return _DEFAULT_KEY if _DEFAULT_KEY in keys else keys[0]
    raise ConfigError(
        f"the SavedModel has several signatures: {', '.join(keys)}",
        fix=f"choose one, such as --signature {keys[0]}",
    )


def _signature(definition: Any) -> Signature:
    """Inputs and outputs in the order of their tensors' numbers: a protobuf map has none."""
    return Signature(inputs=_specs(definition.inputs), outputs=_specs(definition.outputs))


def _specs(infos: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    import tensorflow as tf

    specs: list[TensorSpec] = []
    for name in sorted(infos, key=_natural):
        shape = infos[name].tensor_shape
        dtype = tf.dtypes.as_dtype(infos[name].dtype)
        if dtype == tf.string or not infos[name].name:
            raise UnsupportedError(
                f"tensor {name!r} of the signature is a string or sparse tensor",
                fix="export a signature that takes and gives dense numbers",
            )
        sizes = tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
        specs.append(
            TensorSpec(name=name, dtype=dtype.name, shape=None if shape.unknown_rank else sizes)
        )
    return tuple(specs)


def _natural(name: str) -> tuple[str, int, str]:
    """`output_2` before `output_10`."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return stem, int(digits) if digits else -1, name


def _dangerous(graph: Any) -> set[str]:
    """One phrase per op that touches files, runs code, or is unknown to this TensorFlow."""
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    called = _reached(graph, functions, _entries(graph))
    restored = _reached(graph, functions, [graph.saver_def.restore_op_name])
    found: set[str] = set()
    for place, node in _all_nodes(graph, functions):
        if node.op in _SAVER_READS + _SAVER_WRITES:
            is_dangerous = place in called or (node.op in _SAVER_WRITES and place in restored)
        else:
            is_dangerous = _is_dangerous(node, functions)
        if is_dangerous:
            where = f" in function {place!r}" if place in functions else ""
            found.add(f"TensorFlow op {node.op}{where}")
    return found


def _is_dangerous(node: Any, functions: Mapping[str, Any]) -> bool:
    from tensorflow.python.framework import op_def_registry

    op: str = node.op
    definition = op_def_registry.get(op)
    if definition is None:  # the name of an op stays an op, whatever the file calls its functions
        return op not in functions
    if op in _IMPURE or any(word in op for word in _IMPURE_WORDS):
        return True
    if op == "PrintV2":
        return bool(node.attr["output_stream"].s.startswith(b"file:"))
    harmless = op in _HARMLESS_STATEFUL.split() or op.startswith(_HARMLESS_PREFIXES)
    return bool(definition.is_stateful) and not harmless


def _all_nodes(graph: Any, functions: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every node with the place it is in: a function's name, or its own in the main graph."""
    for node in graph.graph_def.node:
        yield node.name, node
    for name, function in functions.items():
        for node in function.node_def:
            yield name, node


def _entries(graph: Any) -> list[str]:
    """Tensors and functions that loading or a call can run, by name."""
    entries = [info.name for d in graph.signature_def.values() for info in _infos(d)]
    entries += graph.object_graph_def.concrete_functions
    for collection in graph.collection_def.values():
        entries += collection.node_list.value
    return entries


def _reached(graph: Any, functions: Mapping[str, Any], entries: Iterable[str]) -> set[str]:
    """Main-graph nodes and functions that computing the entries can run."""
    nodes = {node.name: node for node in graph.graph_def.node}
    pending = list(entries)
    reached: set[str] = set()
    while pending:
        place = pending.pop().removeprefix("^").partition(":")[0]
        if place in reached:
            continue
        reached.add(place)
        if place in nodes:
            pending += [*nodes[place].input, *_called([nodes[place]])]
        if place in functions:
            pending += _called(functions[place].node_def)
    return reached


def _infos(definition: Any) -> Iterable[Any]:
    return [*definition.inputs.values(), *definition.outputs.values()]


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    """The functions that the nodes call, by op or by attribute."""
    for node in nodes:
        yield node.op
        for value in node.attr.values():
            yield value.func.name
            yield from (func.name for func in value.list.func)
