"""The catalog of backends: the built-in table and plug-ins, checked against this machine."""

from __future__ import annotations

import importlib.util
import platform
import sys
from functools import cache

from edgekit.backend_table import BUILTIN
from edgekit.core.backend import Backend, Kind
from edgekit.core.noun import Noun
from edgekit.errors import UnavailableError

ENTRY_POINT_GROUP = "edgekit.backends"


class Catalog(Noun):
    """Backends in order of preference, and for each that cannot run here the reason."""

    backends: tuple[Backend, ...]
    missing: dict[str, str] = {}
    broken_plugins: dict[str, str] = {}

    def of_kind(self, kind: Kind) -> tuple[Backend, ...]:
        """All rows of one kind, in table order."""
        return tuple(row for row in self.backends if row.kind is kind)

    def backend(self, name: str) -> Backend:
        """The row called `name`; KeyError where there is none."""
        return {row.name: row for row in self.backends}[name]

    def is_available(self, backend: Backend) -> bool:
        """Whether everything this backend needs was found on this machine."""
        return backend.name not in self.missing

    def unavailable(self, backend: Backend) -> UnavailableError:
        """The error that says why `backend` cannot run here and what to install."""
        return UnavailableError(
            f"{backend.name} cannot run here: {self.missing[backend.name]}",
            fix=install_line(backend.extra),
        )


def install_line(*extras: str) -> str:
    """The command that installs extras; each argument may hold several, split by commas."""
    names = sorted({name for extra in extras for name in extra.split(",") if name})
    return f"pip install 'edgekit[{','.join(names)}]'"


@cache
def load_catalog() -> Catalog:
    """The built-in rows and those of installed plug-ins, checked against this machine."""
    plugins, broken = _plugin_rows()
    rows = BUILTIN + plugins
    missing = {row.name: reason for row in rows if (reason := _missing(row))}
    return Catalog(backends=rows, missing=missing, broken_plugins=broken)


def host_platform() -> str:
    """`linux-x86_64`, `linux-arm64`, `darwin-arm64`, ...: the names that targets use."""
    machine = platform.machine().lower()
    names = {"aarch64": "arm64", "amd64": "x86_64"}
    return f"{platform.system().lower()}-{names.get(machine, machine)}"


def _missing(row: Backend) -> str:
    if row.platforms and host_platform() not in row.platforms:
        return f"it runs on {', '.join(row.platforms)} only, and this is {host_platform()}"
    absent = [name for name in row.requires if not _is_installed(name)]
    return f"not installed: {', '.join(absent)}" if absent else ""


@cache
def _is_installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _plugin_rows() -> tuple[tuple[Backend, ...], dict[str, str]]:
    """Rows of third parties: each entry point names a `BACKENDS` tuple or a single Backend."""
    from importlib.metadata import entry_points

    rows: list[Backend] = []
    broken: dict[str, str] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            found = point.load()
        except Exception as error:  # a foreign module may raise anything; doctor shows it
            broken[point.name] = f"{type(error).__name__}: {error}"
            continue
        rows.extend(found if isinstance(found, tuple) else (found,))
    return tuple(rows), broken
