"""What every noun is: frozen, keyword-only, strict about its fields, JSON in and out.

`msgspec.Struct` gives in one declaration what a frozen slotted dataclass plus a codec would:
typed decoding with the path of the wrong field, and fields equal to their default left out,
so that a figure nobody measured is absent from a report, never 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, dataclass_transform

import msgspec

from edgekit.errors import MalformedError

if TYPE_CHECKING:  # what the struct below is, in words that type checkers know

    @dataclass_transform(frozen_default=True, kw_only_default=True)
    class Noun:
        """Base of all nouns."""

        def __init_subclass__(cls, *, tag: str = "") -> None: ...

else:

    class Noun(
        msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
    ):
        """Base of all nouns."""


N = TypeVar("N")


def to_json(noun: object, *, indent: int = 2) -> str:
    """The noun as JSON text, keys in field order; byte-stable for equal nouns."""
    return msgspec.json.format(msgspec.json.encode(noun), indent=indent).decode()


def from_json(text: str | bytes, kind: type[N], *, origin: str) -> N:
    """Decode `text` as `kind`; raises MalformedError naming `origin` and the wrong field."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise MalformedError(f"{origin}: {error}") from error


def read_json(path: Path, kind: type[N]) -> N:
    """Read one noun from a JSON file."""
    return from_json(path.read_bytes(), kind, origin=str(path))


def changed(noun: N, **fields: object) -> N:
    """A copy of `noun` with some fields changed."""
    return msgspec.structs.replace(noun, **fields)  # type: ignore[type-var]
