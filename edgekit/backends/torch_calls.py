"""How a torch module is called: its arguments by name, its outputs named, its shapes learned."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

from edgekit.backends.pickles import first_line
from edgekit.backends.programs import Nested, Tensors, keyword_call
from edgekit.core.signature import Shape, Signature, TensorSpec
from edgekit.errors import ConfigError, UnsupportedError

_BATCHES = (2, 3)
_SIZES = (32, 64, 16, 128, 224, 8, 4, 2)


def call_by_name(parameters: tuple[str, ...], inputs: tuple[TensorSpec, ...]) -> Nested | None:
    """Keyword arguments where the inputs are named as the parameters; None is positional.

    A single input may have any name. Raises ConfigError where several inputs are not called as the
    parameters are: their order would be a guess.
    """
    names = [spec.name for spec in inputs]
    if set(names) <= set(parameters):
        return keyword_call(names)
    if len(names) == 1 or not parameters:
        return None
    raise ConfigError(
        f"the model takes ({', '.join(parameters)}), the inputs given are ({', '.join(names)})",
        fix="name the inputs as the parameters of forward()",
    )


def forward_parameters(module: Any) -> tuple[str, ...]:
    """Names of the arguments of `forward`; none where it takes `*args`."""
    if isinstance(module, torch.jit.ScriptModule):
        return tuple(argument.name for argument in module.forward.schema.arguments[1:])
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(module.forward).parameters.values()
    return tuple(parameter.name for parameter in found if parameter.kind in kinds)


def output_names(result: Any) -> tuple[str, ...]:
    """A name for every leaf: dict keys and named fields are kept, positions become `output_N`.

    Raises UnsupportedError where a leaf is something that holds tensors out of sight.
    """
    leaves, _ = pytree.tree_flatten_with_path(result)
    names: list[str] = []
    for path, leaf in leaves:
        if not isinstance(leaf, torch.Tensor | int | float | str | None):
            raise UnsupportedError(
                f"forward() returns a {type(leaf).__name__}",
                fix="return a tensor, or a tuple, a list or a dict of tensors",
            )
        parts = [
            str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path
        ]
        name = "_".join(parts) or "0"
        name = f"output_{name}" if name[:1].isdigit() else name
        names.append(name if name not in names else f"{name}_{len(names)}")
    return tuple(names)


def learned_signature(run: Callable[[Tensors], Any], inputs: tuple[TensorSpec, ...]) -> Signature:
    """The outputs of a model that says nothing, learned from synthetic calls at two sizes.

    `run` gives the nested result. An output axis is free where its size differs between the calls.
    """
    first_size, first = _first_call(run, inputs)
    specs = list(_outputs(first))
    if any(None in (spec.shape or ()) for spec in inputs):
        second = _call(run, inputs, batch=_BATCHES[1], size=2 * first_size)
        pairs = zip(specs, _outputs(second), strict=True)
        specs = [_with_free_axes(one, other) for one, other in pairs]
    return Signature(inputs=inputs, outputs=tuple(specs))


def _first_call(run: Callable[[Tensors], Any], inputs: tuple[TensorSpec, ...]) -> tuple[int, Any]:
    """The first size of free axes other than the batch at which the model runs, and its result."""
    has_other = any(None in (spec.shape or ())[1:] for spec in inputs)
    sizes = _SIZES if has_other else _SIZES[:1]
    for size in sizes[:-1]:
        try:
            return size, _call(run, inputs, batch=_BATCHES[0], size=size)
        except ConfigError:
            continue
    return sizes[-1], _call(run, inputs, batch=_BATCHES[0], size=sizes[-1])


def _call(
    run: Callable[[Tensors], Any], inputs: tuple[TensorSpec, ...], *, batch: int, size: int
) -> Any:
    tensors = tuple(_synthetic(spec, batch=batch, size=size) for spec in inputs)
    try:
        with torch.inference_mode():
            return run(tensors)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        shown = ", ".join(
            f"{s.name} {tuple(t.shape)} {s.dtype}" for s, t in zip(inputs, tensors, strict=True)
        )
        raise ConfigError(
            f"the model does not run on {shown}: {first_line(error)}",
            fix="check name, shape and dtype: --input NAME:SHAPE:DTYPE, ? for a free axis",
        ) from error


def _synthetic(spec: TensorSpec, *, batch: int, size: int) -> Any:
    if spec.shape is None:
        raise ConfigError(
            f"the shape of input {spec.name!r} is not known", fix="give --input NAME:SHAPE:DTYPE"
        )
    shape = [(batch if at == 0 else size) if d is None else d for at, d in enumerate(spec.shape)]
    dtype = getattr(torch, spec.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigError(f"torch has no dtype {spec.dtype!r} (input {spec.name!r})")
    if dtype.is_floating_point:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.ones(shape, dtype=dtype)


def _outputs(result: Any) -> Iterator[TensorSpec]:
    for name, leaf in zip(output_names(result), pytree.tree_leaves(result), strict=True):
        if isinstance(leaf, torch.Tensor):
            yield TensorSpec(name=name, dtype=numpy_dtype(leaf, name), shape=tuple(leaf.shape))


def numpy_dtype(tensor: Any, name: str) -> str:
    """The numpy name of a tensor's dtype; raises UnsupportedError where numpy has none."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype in ("bfloat16", "complex32") or dtype.startswith(("float8", "q", "bits")):
        raise UnsupportedError(
            f"{name!r} is {dtype}", fix="give the model float32 inputs and outputs: model.float()"
        )
    return dtype


def _with_free_axes(one: TensorSpec, other: TensorSpec) -> TensorSpec:
    if one.name != other.name or len(one.shape or ()) != len(other.shape or ()):
        raise UnsupportedError(f"output {one.name!r} changes its rank with the size of the input")
    shape: Shape = tuple(
        a if a == b else None for a, b in zip(one.shape or (), other.shape or (), strict=True)
    )
    return TensorSpec(name=one.name, dtype=one.dtype, shape=shape)
