"""Exported torch programs: opened safely, made flat, exported with free axes that stay free, saved.

A flat program takes positional tensors in the order of `signature.inputs` and gives a tuple in the
order of `signature.outputs`. Every converter from `.pt2` sees only flat modules and programs.
"""

from __future__ import annotations

import inspect
import io
import keyword
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim
from torch.fx.experimental import _config as symbolic
from torch.utils import _pytree as pytree

from edgekit.backends.attention import without_fast_path
from edgekit.backends.calls import fitted
from edgekit.backends.kept import kept
from edgekit.backends.program_file import read_program
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.signature import Shape, Signature, TensorSpec
from edgekit.errors import UnsupportedError

Program = Any  # torch.export.ExportedProgram; torch is Any to the type checker
Tensors = tuple[Any, ...]


def open_program(artifact: Artifact) -> Program:
    """The program in a `.pt2` file, looked into before anything in it could run.

    Kept for the next caller in this child: treat it as read-only. Raises UntrustedError or
    MalformedError.
    """
    trusted = artifact.source is not None and artifact.source.trusted
    return _opened(artifact.path, artifact.sha256, trusted)


@kept
def _opened(path: str, sha256: str, trusted: bool) -> Program:  # noqa: FBT001
    return read_program(Path(path), sha256=sha256, trusted=trusted)


def flat_module(artifact: Artifact) -> Any:
    """The program of a `.pt2` as an `nn.Module` in inference mode: flat tensors in, a tuple out."""
    program = open_program(artifact)
    # Its guards and hooks compare shapes with the declared ranges at every call. That was done where
    # the data came in, it would be on the clock, and torch.jit cannot trace through it.
    module = program.module(check_guards=False)
    module._forward_pre_hooks.clear()  # noqa: SLF001
    call = Nested(leaves=tuple(_leaves(program)), spec=program.call_spec.in_spec)
    return flattened(module, [node.name for node in input_nodes(program)], call)


def flat_program(job: ConvertJob, *, most: int | None = None) -> Program:
    """The job's `.pt2` as a flat program with exactly the free axes of `job.signature`.

    Axes in which `job.signature` has a size become static. `most` bounds every free axis from
    above, for tools that plan memory by the largest size.
    """
    return export_program(flat_module(job.artifact), examples(job), job.signature, most=most)


@dataclass(frozen=True)
class Nested:
    """How flat tensors become the arguments of a program: leaves in order, and their tree."""

    leaves: tuple[Any, ...]
    spec: Any

    def arguments(self, tensors: Tensors) -> tuple[Any, Any]:
        """Positional and keyword arguments."""
        given = iter(tensors)
        leaves = [next(given) if leaf is _TENSOR else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return args, kwargs


def keyword_call(names: Sequence[str]) -> Nested:
    """Flat tensors as keyword arguments."""
    _, spec = pytree.tree_flatten(((), dict.fromkeys(names, 0)))
    return Nested(leaves=(_TENSOR,) * len(names), spec=spec)


def flattened(module: Any, names: Sequence[str], call: Nested | None = None) -> Any:
    """`module` with a flat `forward(*tensors) -> tuple` whose arguments are called `names`.

    Parameters keep their names. `call` is given where the arguments of `module` are nested.
    """
    if isinstance(module, _Flat):
        module, call = module.inner[0], module.call
    parameters = ["self", *(_identifier(name) for name in names)]

    def forward(self: _Flat, *tensors: Any) -> Tensors:
        return self.flat(tensors)

    # torch.export names the inputs of its graph after the signature of `forward`.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    shown = inspect.Signature([inspect.Parameter(name, kind) for name in parameters])
    forward.__signature__ = shown  # type: ignore[attr-defined]
    return type("Flat", (_Flat,), {"forward": forward})(module, call)


class _Flat(torch.nn.Module):
    """Shares the parameters and children of another module, and calls it with flat tensors."""

    def __init__(self, inner: Any, call: Nested | None) -> None:
        super().__init__()
        # In a list, so that `inner` is not a child: that would prefix every parameter's name.
        self.inner = [inner]
        self.call = call
        self.training = False
        if isinstance(inner, torch.jit.ScriptModule):
            return
        shared = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
        self.__dict__.update({name: inner.__dict__[name] for name in shared})

    def train(self, mode: bool = True) -> _Flat:  # noqa: FBT001, FBT002
        """Refuse training: a program's own mode was fixed when it was exported."""
        if mode:
            raise UnsupportedError("an exported program cannot be set to training")
        return self

    def graph_modules(self) -> Iterator[Any]:
        """The graphs inside, branches included."""
        return (m for m in self.inner[0].modules() if isinstance(m, torch.fx.GraphModule))

    def flat(self, tensors: Tensors) -> Tensors:
        """The outputs that are tensors, in order."""
        args, kwargs = self.call.arguments(tensors) if self.call else (tensors, {})
        results = pytree.tree_leaves(self.inner[0](*args, **kwargs))
        return tuple(result for result in results if isinstance(result, torch.Tensor))


def _identifier(name: str) -> str:
    safe = re.sub(r"\W", "_", name)
    return f"input_{safe}" if keyword.iskeyword(safe) or not safe.isidentifier() else safe


_TENSOR = object()


def _leaves(program: Program) -> list[Any]:
    """One entry per leaf of the call: `_TENSOR` for a tensor, the value itself for a constant."""
    leaves: list[Any] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind.name != "USER_INPUT":
            continue
        kind = type(spec.arg).__name__
        if kind not in ("TensorArgument", "ConstantArgument"):
            raise UnsupportedError(
                f"input {spec.arg.name!r} of the program is a {kind.removesuffix('Argument')}",
                fix="export the model with tensors as inputs; a number can be a 0-d tensor",
            )
        leaves.append(_TENSOR if kind == "TensorArgument" else spec.arg.value)
    return leaves


def examples(job: ConvertJob) -> Tensors:
    """The job's sample tensors by `signature.inputs`: fresh, contiguous, right dtype."""
    with np.load(job.samples, allow_pickle=False) as samples:
        arrays = [fitted(samples[spec.name], spec) for spec in job.signature.inputs]
    return tuple(torch.from_numpy(np.array(array, order="C")) for array in arrays)


def free_axes(signature: Signature, *, most: int | None = None) -> tuple[dict[int, Any], ...]:
    """`dynamic_shapes` of torch.export: axis 0 of all inputs is one batch, the rest is independent.

    Sizes run from 1 to `most` (no upper bound where None).
    """
    return tuple(
        {
            axis: Dim("batch" if axis == 0 else f"input_{at}_axis_{axis}", min=1, max=most)
            for axis in _free(spec.shape)
        }
        for at, spec in enumerate(signature.inputs)
    )


def fixed_axes(signature: Signature, examples: Sequence[Any], names: Sequence[str]) -> Signature:
    """`signature` with the inputs in `names` as large as their examples; outputs are left alone."""
    inputs = tuple(
        with_shape(spec, tuple(example.shape)) if spec.name in names else spec
        for spec, example in zip(signature.inputs, examples, strict=True)
    )
    return Signature(inputs=inputs, outputs=signature.outputs)


def export_program(
    module: Any, examples: Tensors, signature: Signature, *, most: int | None = None
) -> Program:
    """Export a flat module; every free axis of `signature.inputs` is proved to have stayed free.

    `examples` have size 2 or more in free axes: torch takes a size of 1 for a constant. Raises
    UnsupportedError naming the axis that the model fixes, or the control flow that depends on data.
    """
    module = flattened(module, [spec.name for spec in signature.inputs])
    with torch.no_grad(), without_fast_path():
        program = _exported(module, examples, free_axes(signature, most=most), most)
    _check_free(program, signature)
    return program


@contextmanager
def without_batch_guards() -> Iterator[None]:
    """Keep torch from choosing a CPU convolution by the batch size while it traces.

    The guard "less than 16" would become the upper bound of the axis: pytorch/pytorch#118289,
    pytorch/executorch#19262. It takes sizes for unknown, and asks for the batch on one thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads, 2))
    try:
        with symbolic.patch(backed_size_oblivious=True):
            yield
    finally:
        torch.set_num_threads(threads)


def _exported(module: Any, examples: Tensors, axes: Any, most: int | None) -> Program:
    from torch._dynamo.exc import UserError
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    try:
        try:
            return torch.export.export(module, examples, dynamic_shapes=axes)
        except UserError as error:
            if "Constraints violated" not in str(error) or not any(axes):
                raise
            # A named Dim may not depend on another axis (tied sizes, multiples of 8, a larger
            # minimum). AUTO finds such relations, but it also makes axes static without a word.
            automatic = tuple({axis: Dim.AUTO(max=most) for axis in free} for free in axes)
            return torch.export.export(module, examples, dynamic_shapes=automatic)
    except (GuardOnDataDependentSymNode, UserError) as error:
        raise _not_exportable(error) from error


def _not_exportable(error: Exception) -> UnsupportedError:
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "ata-dependent" in str(error) or "data_dependent" in str(error):
        return UnsupportedError(
            f"torch.export cannot follow control flow that depends on the data: {line[:300]}",
            fix="write the branch with torch.cond, or as torch.where over both results",
        )
    return UnsupportedError(f"torch.export refuses this model: {line[:300]}")


def _check_free(program: Program, signature: Signature) -> None:
    shapes = [shape for _, shape in input_shapes(program)]
    for spec, shape in zip(signature.inputs, shapes, strict=True):
        for axis in _free(spec.shape):
            if shape[axis] is not None:
                raise UnsupportedError(
                    f"axis {axis} of input {spec.name!r} cannot stay free: the model works only "
                    f"for size {shape[axis]} there",
                    fix=f"give it that size: --input {spec.name}:{_asked(spec, shape)}",
                )


def _asked(spec: TensorSpec, found: Shape) -> str:
    return f"{','.join('?' if size is None else str(size) for size in found)}:{spec.dtype}"


def input_shapes(program: Program) -> list[tuple[str, Shape]]:
    """Name and shape of every tensor input in call order; None is an axis that is free."""
    return [(node.name, shape_of(node.meta["val"])) for node in input_nodes(program)]


def input_nodes(program: Program) -> list[Any]:
    """The placeholders of the tensor inputs, in call order."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    specs = program.graph_signature.input_specs
    return [
        nodes[spec.arg.name]
        for spec in specs
        if spec.kind.name == "USER_INPUT" and type(spec.arg).__name__ == "TensorArgument"
    ]


def shape_of(value: Any) -> Shape:
    """The shape of a traced tensor; None where the size is a symbol."""
    return tuple(size if isinstance(size, int) else _fixed_size(size) for size in value.shape)


def _fixed_size(size: Any) -> int | None:
    expression = size.node.expr
    return int(expression) if expression.is_number else None


def _free(shape: Shape | None) -> list[int]:
    return [axis for axis, size in enumerate(shape or ()) if size is None]


def with_shape(spec: TensorSpec, shape: Shape) -> TensorSpec:
    """`spec` with another shape."""
    return TensorSpec(
        name=spec.name,
        dtype=spec.dtype,
        shape=shape,
        source_name=spec.source_name,
        quantization=spec.quantization,
        categories=spec.categories,
    )


def save_program(
    program: Program,
    folder: str,
    signature: Signature,
    *,
    writer: str,
    notes: tuple[str, ...] = (),
) -> Artifact:
    """Write `model.pt2` into `folder`: no source paths, no sample data, stable bytes."""
    for graph_module in _graph_modules(program):
        for node in graph_module.graph.nodes:
            node.meta.pop("stack_trace", None)
    _forget_examples(program)
    # Through a buffer, because the name of a file becomes the root folder inside the archive.
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path = Path(folder) / f"model{Format.EXPORTED.suffix}"
    path.write_bytes(buffer.getvalue())
    return artifact_of(
        path, format=Format.EXPORTED, signature=signature, writer=writer, notes=notes
    )


def _graph_modules(program: Program) -> Iterator[Any]:
    """The program's graph and those of the branches inside it."""
    return (m for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule))


def _forget_examples(program: Program) -> None:
    """A `.pt2` carries the inputs it was traced with, which may be the user's data."""
    given = program.example_inputs
    if given is not None:
        program.example_inputs = pytree.tree_map_only(torch.Tensor, torch.zeros_like, given)
