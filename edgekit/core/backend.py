"""One row of the catalog: a backend as data."""

from __future__ import annotations

from enum import StrEnum

from edgekit.core.artifact import Format
from edgekit.core.noun import Noun
from edgekit.core.recipe import Precision, RangeMethod


class Kind(StrEnum):
    """What a backend does; `protocols.py` has the shape of each."""

    LOADER = "loader"
    CONVERTER = "converter"
    OPTIMIZER = "optimizer"
    RUNTIME = "runtime"
    INSPECTOR = "inspector"


class Backend(Noun):
    """One row: what it reads and writes, where its function is, what it needs.

    `requires` are import names looked for without importing; `extra` is what pip installs them by;
    `environment` is set in the child before anything is imported, and children are shared between
    rows with the same one. `platforms` (`linux-x86_64`, ...) is empty where any will do.

    `precisions` are what an optimizer can do, or a converter can fuse, with ranges by `ranges`, and
    with `per_layer` for single layers; rows that `equalizes` or `does_qat` are there for those passes
    only. `options` are added to its job. `needs_features`: one of these instruction sets must be the
    target's, or the result would be wrong there.
    """

    name: str
    kind: Kind
    entry: str
    reads: tuple[Format, ...]
    writes: Format | None = None
    requires: tuple[str, ...] = ()
    extra: str = ""
    environment: dict[str, str] = {}
    platforms: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    ranges: tuple[RangeMethod, ...] = (RangeMethod.MINMAX,)
    per_layer: bool = False
    equalizes: bool = False
    does_qat: bool = False
    options: dict[str, str] = {}
    needs_features: tuple[str, ...] = ()
