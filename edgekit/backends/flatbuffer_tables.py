"""A flatbuffer read by field number, for formats whose generated reader costs seconds to import."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table as RawTable

BROKEN = (struct.error, IndexError, TypeError, ValueError, OverflowError)
"""What reading a broken file raises."""


class Table:
    """One table. Fields are numbered in the order of its schema, from 0; an absent one is falsy."""

    def __init__(self, raw: RawTable) -> None:
        self._raw = raw

    @classmethod
    def root(cls, data: bytes, at: int = 0) -> Table:
        """The root table of the flatbuffer that starts at byte `at`."""
        start = int(flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, at))
        return cls(RawTable(data, at + start))

    def number(self, field: int, kind: str = "Int32") -> int:
        """A scalar of a flatbuffers number type; 0 where absent."""
        at = self._at(field)
        return int(self._raw.Get(getattr(number_types, f"{kind}Flags"), at)) if at else 0

    def text(self, field: int) -> str:
        """A string; empty where absent."""
        at = self._at(field)
        return self._raw.String(at).decode("utf-8", "replace") if at else ""

    def table(self, field: int) -> Table | None:
        """A nested table."""
        at = self._at(field)
        return Table(RawTable(self._raw.Bytes, self._raw.Indirect(at))) if at else None

    def union(self, field: int) -> tuple[int, Table | None]:
        """A union's type number (0 is none) and its table; `field` is that of the type."""
        return self.number(field, "Uint8"), self.table(field + 1)

    def tables(self, field: int) -> Iterator[Table]:
        """The elements of a vector of tables."""
        start, length = self._vector(field)
        for i in range(length):
            yield Table(RawTable(self._raw.Bytes, self._raw.Indirect(start + 4 * i)))

    def numbers(self, field: int, kind: str = "Int32") -> tuple[int, ...]:
        """The elements of a vector of scalars."""
        flags = getattr(number_types, f"{kind}Flags")
        start, length = self._vector(field)
        return tuple(int(self._raw.Get(flags, start + flags.bytewidth * i)) for i in range(length))

    def data(self, field: int) -> bytes:
        """A vector of bytes."""
        start, length = self._vector(field)
        return bytes(self._raw.Bytes[start : start + length])

    def _at(self, field: int) -> int:
        offset = self._raw.Offset(4 + 2 * field)
        return int(offset + self._raw.Pos) if offset else 0

    def _vector(self, field: int) -> tuple[int, int]:
        """Where a vector starts and how long it is; never longer than the file."""
        offset: Any = self._raw.Offset(4 + 2 * field)
        if not offset:
            return 0, 0
        start, length = int(self._raw.Vector(offset)), int(self._raw.VectorLen(offset))
        if start + length > len(self._raw.Bytes):
            raise IndexError(f"a vector of {length} elements at byte {start} leaves the file")
        return start, length
