"""ExecuTorch's runtime, by its cheapest door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.backends.pte_files import METHOD, Program
from edgekit.core.arrays import Array
from edgekit.errors import MalformedError, StepError, UnavailableError, UnsupportedError


class Runner:
    """The loaded method `forward` of a `.pte`."""

    def __init__(self, path: Path, program: Program, *, num_threads: int) -> None:
        native = _native()
        _check_backends(program, native)
        _load_quantized_kernels(program, native)
        # The pool takes every core unless told otherwise, and is one for the whole process.
        native._unsafe_reset_threadpool(num_threads)  # noqa: SLF001 - the only setting there is
        try:
            self._program = native._load_program(str(path))  # noqa: SLF001 - portable_lib's API
        except RuntimeError as error:
            raise MalformedError(f"{path.name} is not a whole ExecuTorch file: {error}") from error
        _check_kernels(program, native)
        self._method = self._program.load_method(METHOD)
        self._inputs = program.inputs

    def run(self, arrays: Sequence[Array], names: Sequence[str]) -> list[Array]:
        """The outputs for `arrays` in the order of the program's inputs, which `names` call."""
        self.bind(arrays, names)()
        return [output.numpy() for output in self._method.get_outputs()]

    def bind(self, arrays: Sequence[Array], names: Sequence[str]) -> Callable[[], None]:
        """A bare invocation: it copies the inputs in again, for the plan reuses their memory."""
        for array, name, wanted in zip(arrays, names, self._inputs, strict=True):
            _check_shape(name, array.shape, wanted.sizes, is_dynamic=wanted.is_dynamic)
        tensors = [tensor_of(array) for array in arrays]

        def invoke() -> None:
            self._method.set_inputs(tensors)
            self._method.execute()

        return invoke


def tensor_of(array: Array) -> Any:
    """A fresh tensor with C strides: ExecuTorch reads any other order as if it were that one.

    It gives wrong numbers without an error. A copy, because an axis of size 1 may have any stride
    in an array that numpy and torch both call contiguous.
    """
    return torch.from_numpy(np.array(array, order="C", copy=True))


def _native() -> Any:
    """The extension that `executorch.runtime` wraps: 0.02 s on top of torch, instead of 7 s."""
    try:
        from executorch.extension.pybindings import _C
    except ImportError:  # before ExecuTorch 1.2 it had another name behind the same wrapper
        from executorch.extension.pybindings import portable_lib

        return portable_lib
    return _C


def _check_backends(program: Program, native: Any) -> None:
    present = native._get_registered_backend_names()  # noqa: SLF001 - portable_lib's API
    absent = sorted({d.backend for d in program.delegates} - set(present))
    if absent:
        raise UnavailableError(
            f"the program delegates to {', '.join(absent)}, which this machine's ExecuTorch lacks",
            fix=f"run it on a device that has it; here there are: {', '.join(present)}",
        )


def _check_kernels(program: Program, native: Any) -> None:
    absent = missing_kernels(program, native._get_operator_names())  # noqa: SLF001 - as above
    if absent:
        raise UnsupportedError(
            f"ExecuTorch's runtime has no kernel for: {', '.join(absent)}",
            fix="write the model without these ops, or build a runtime that has them",
        )


def _load_quantized_kernels(program: Program, native: Any) -> None:
    """Load the kernels of the quantize and dequantize ops where a program calls some of its own.

    They lie in a library that the runtime does not load by itself.
    """
    absent = missing_kernels(program, native._get_operator_names())  # noqa: SLF001 - as below
    if any(name.startswith("quantized_decomposed::") for name in absent):
        import executorch.kernels.quantized  # noqa: F401 - loading it registers them


def missing_kernels(program: Program, present: Sequence[str]) -> list[str]:
    """The ops a program calls that are not in `present`."""
    return sorted(set(program.kernels) - set(present))


def _check_shape(
    name: str, given: tuple[int, ...], wanted: tuple[int, ...], *, is_dynamic: bool
) -> None:
    fits = len(given) == len(wanted) and all(
        size == most or (is_dynamic and size <= most)
        for size, most in zip(given, wanted, strict=True)
    )
    if not fits:
        limit = "at most " if is_dynamic else ""
        raise StepError(
            f"input {name!r}: the program takes shape {limit}{wanted}, it was given {given}"
        )
