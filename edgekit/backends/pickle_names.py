"""What a pickle would import and call, read without doing either.

The standard library's own unpickler in Python runs over the bytes with inert stand-ins for every
class and function, so nothing foreign is imported or called. Joblib puts raw array bytes between
the opcodes; the stand-in of its wrapper steps over them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import pickle
import zlib
from typing import Any

import numpy as np

from edgekit.core.noun import Noun

_KNOWN_PACKAGES = frozenset({"sklearn", "numpy", "scipy", "joblib"})
_PLAIN_BUILTINS = frozenset(
    {"set", "frozenset", "slice", "complex", "bytearray", "object", "range"}
)


class PickleNames(Noun):
    """The dotted names a pickle would import, and the scikit-learn versions noted inside it.

    `complete` is False where the bytes could not be followed to their end.
    """

    names: tuple[str, ...]
    versions: tuple[str, ...] = ()
    complete: bool = True

    @property
    def foreign(self) -> tuple[str, ...]:
        """Names outside scikit-learn, numpy, scipy and joblib, and builtins that run things."""
        return tuple(name for name in self.names if not _is_known(name))


def pickle_names(data: bytes) -> PickleNames:
    """Look into a pickle or joblib file, compressed or not; never raises for broken bytes."""
    scan = _Scan()
    try:
        scan.follow(io.BytesIO(decompressed(data)))
    except Exception:  # hostile bytes may break the unpickler in any way; what was seen counts
        return scan.found(complete=False)
    return scan.found(complete=True)


def decompressed(data: bytes) -> bytes:
    """The bytes inside one of the compressions joblib writes; `data` itself where there is none."""
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith(b"BZh"):
        return bz2.decompress(data)
    if data.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        return lzma.decompress(data)
    if data[:1] == b"\x78" and data[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
        return zlib.decompress(data)
    return data


def _is_known(name: str) -> bool:
    package, _, rest = name.partition(".")
    if package in ("builtins", "__builtin__"):
        return rest in _PLAIN_BUILTINS
    return package in _KNOWN_PACKAGES or name in (
        "copyreg._reconstructor",
        "collections.OrderedDict",
    )


# The stub of pickle knows only the public half of the class.
_PythonUnpickler: Any = pickle._Unpickler  # noqa: SLF001


class _StandIn:
    """Takes the place of any class, function or instance; keeps what it was given."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> Any:
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, *args: Any, **_: Any) -> _StandIn:
        return _StandIn(*args)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...

    def add(self, _: Any) -> None: ...


class _ArrayStandIn(_StandIn):
    """Takes the place of joblib's NumpyArrayWrapper: raw array bytes follow it."""


class _Scan:
    """One walk over one pickle and those nested in it."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._versions: dict[str, None] = {}

    def found(self, *, complete: bool) -> PickleNames:
        return PickleNames(
            names=tuple(self._names), versions=tuple(self._versions), complete=complete
        )

    def follow(self, file: io.BytesIO) -> None:
        _Unpickler(file, self).load()

    def name(self, module: str, name: str) -> type[_StandIn]:
        self._names[f"{module}.{name}"] = None
        is_array = (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper")
        return _ArrayStandIn if is_array else _StandIn

    def state(self, state: Any) -> None:
        if isinstance(state, dict) and isinstance(state.get("_sklearn_version"), str):
            self._versions[state["_sklearn_version"]] = None


class _Unpickler(_PythonUnpickler):
    """The unpickler in Python, whose every step can be seen; the one in C cannot be followed."""

    dispatch: dict[int, Any] = dict(_PythonUnpickler.dispatch)

    def __init__(self, file: io.BytesIO, scan: _Scan) -> None:
        super().__init__(file)
        self._bytes, self._scan = file, scan

    def find_class(self, module: str, name: str) -> type[_StandIn]:
        return self._scan.name(module, name)

    def get_extension(self, code: int) -> None:
        self.append(self._scan.name("copyreg", f"extension {code}"))

    def persistent_load(self, pid: Any) -> _StandIn:
        return _StandIn(pid)

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        self._scan.state(state)
        if isinstance(target, _StandIn):
            target.state = state
        if isinstance(target, _ArrayStandIn):
            self._step_over_array(state)

    dispatch[pickle.BUILD[0]] = load_build

    def _step_over_array(self, state: dict[str, Any]) -> None:
        code = str(state["dtype"].args[0])
        if code.startswith("O"):
            self._scan.follow(self._bytes)
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = self._bytes.read(1)
            self._bytes.seek(padding[0], io.SEEK_CUR)
        count = math.prod(int(size) for size in state["shape"])
        self._bytes.seek(count * np.dtype(code).itemsize, io.SEEK_CUR)
