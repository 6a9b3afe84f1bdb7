"""Torch's pickles: what one would run, read from its opcodes; weights, read without code."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from edgekit.backends.pickle_names import pickle_names

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_HARMLESS = ("torch.", "collections.OrderedDict")


def globals_in(content: bytes) -> tuple[str, ...]:
    """`module.name` of all that a torch file, zipped or legacy, would import; torch's own left out.

    Nothing is unpickled.
    """
    names = [name for data in _pickles(content) for name in pickle_names(data).names]
    return tuple(dict.fromkeys(name for name in names if not name.startswith(_HARMLESS)))


def weights_only(content: bytes, member: str) -> Iterator[str]:
    """Why `content` is more than tensors and plain containers; nothing where it is just that."""
    try:
        read_weights_only(content)
    except pickle.UnpicklingError as error:
        yield f"{member} is a pickle of more than tensors ({first_line(error)})"
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        yield f"{member} is not a readable weights file ({first_line(error)})"


def read_weights_only(content: bytes) -> Any:
    """`torch.load` that builds tensors, numbers and plain containers and refuses everything else.

    Numbers include numpy's, which checkpoints hold as a best score.
    """
    with torch.serialization.safe_globals(_numpy_numbers()):
        return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")


def _numpy_numbers() -> list[Any]:
    scalar = np.float64(0).__reduce__()[0]
    old_name = (scalar, "numpy.core.multiarray.scalar")
    kinds = ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")
    return [scalar, old_name, np.dtype, *(type(np.dtype(kind)) for kind in kinds)]


@contextlib.contextmanager
def code_allowed() -> Iterator[None]:
    """Let torch unpickle anything: only around a file that the user trusts."""
    forced = os.environ.pop(_FORCE, None)
    try:
        yield
    finally:
        if forced is not None:
            os.environ[_FORCE] = forced


def first_line(error: Exception, limit: int = 200) -> str:
    """The first line of an error's text that says something."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:limit]


def _pickles(content: bytes) -> Iterator[bytes]:
    """The pickles of a zip archive, or those written one after another in a legacy file."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist() if name.endswith(".pkl"))
        return
    stream = io.BytesIO(content)
    while (start := stream.tell()) < len(content):
        try:
            for _ in pickletools.genops(stream):
                pass
        except (ValueError, IndexError):  # the raw storages that follow the pickles
            return
        yield content[start : stream.tell()]
