"""Recipes from TOML: the built-in ones by name, the user's own by path."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

import msgspec

from edgekit.core.recipe import Recipe
from edgekit.errors import ConfigError

_FOLDER = Path(__file__).resolve().parent.parent / "recipes"
_SUFFIX = ".toml"
_ALIASES = {"w8a8": "int8"}


def built_in_recipes() -> tuple[Recipe, ...]:
    """All recipes that come with edgekit, by name."""
    return tuple(_read(file) for file in sorted(_FOLDER.glob(f"*{_SUFFIX}")))


def find_recipe(name: str) -> Recipe:
    """The built-in recipe `name`, or the one in a file; raises ConfigError with the nearest name."""
    return _read(_file(name))


def recipe_text(name: str) -> str:
    """The recipe's TOML as it is written."""
    return _file(name).read_text(encoding="utf-8")


def _file(name: str) -> Path:
    if name.endswith(_SUFFIX):
        if not Path(name).is_file():
            raise ConfigError(f"no such recipe file: {name}", fix="check the path after --recipe")
        return Path(name)
    names = [file.stem for file in sorted(_FOLDER.glob(f"*{_SUFFIX}"))]
    known = _ALIASES.get(name, name)
    if known not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise ConfigError(
            f"unknown recipe {name!r}",
            fix=f"did you mean {near[0]}?" if near else "`edgekit recipe list` shows the names",
        )
    return _FOLDER / f"{known}{_SUFFIX}"


def _read(file: Path) -> Recipe:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        return msgspec.convert({"name": file.stem, **table}, Recipe)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{file}: {error}", fix="`edgekit recipe show NAME` prints a good one"
        ) from error
