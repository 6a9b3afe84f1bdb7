"""Targets from TOML: the built-in ones by name, the user's own by path."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

import msgspec

from edgekit.catalog import host_platform
from edgekit.core.target import Target
from edgekit.errors import ConfigError

FILE_NAME = "target.toml"
_PACKAGE = Path(__file__).resolve().parent.parent


def built_in_targets() -> tuple[Target, ...]:
    """All targets that come with edgekit, by name."""
    return tuple(_read(file) for file in sorted(_folder().glob(f"*/{FILE_NAME}")))


def find_target(name: str) -> Target:
    """The built-in target `name`, or the one in a file; raises ConfigError with the nearest name."""
    return _read(_file(name))


def target_text(name: str) -> str:
    """The target's TOML as it is written."""
    return _file(name).read_text(encoding="utf-8")


def runs_here(target: Target) -> bool:
    """Whether this machine is of the target's kind, so that its figures are the target's."""
    return f"{target.device.os}-{target.device.arch}" == host_platform()


def _folder() -> Path:
    """`edgekit/targets` in an installed wheel, `targets/` beside the package in a checkout."""
    inside = _PACKAGE / "targets"
    return inside if inside.is_dir() else _PACKAGE.parent / "targets"


def _file(name: str) -> Path:
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise ConfigError(f"no such target file: {name}", fix="check the path after --target")
        return Path(name)
    names = [file.parent.name for file in sorted(_folder().glob(f"*/{FILE_NAME}"))]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise ConfigError(
            f"unknown target {name!r}",
            fix=f"did you mean {near[0]}?" if near else "`edgekit targets list` shows the names",
        )
    return _folder() / name / FILE_NAME


def _read(file: Path) -> Target:
    name = file.parent.name if file.name == FILE_NAME else file.stem
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        return msgspec.convert({"name": name, **table}, Target)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{file}: {error}", fix="`edgekit targets show NAME` prints a good one"
        ) from error
