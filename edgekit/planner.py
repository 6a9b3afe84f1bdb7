"""Pure: a format, a target format, passes and the catalog make plans, or say why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgekit.catalog import Catalog, install_line
from edgekit.core.artifact import Format
from edgekit.core.backend import Backend, Kind
from edgekit.core.noun import Noun, changed
from edgekit.core.plan import Plan, Step
from edgekit.core.recipe import Equalize, Pass, Precision, Qat, Quantize
from edgekit.errors import ConfigError, UnavailableError, UnsupportedError

Route = tuple[Backend, ...]
Placed = tuple[tuple[Backend, Pass | None], ...]

# What a user who asked for one precision would take instead, nearest first.
_NEAREST = {
    Precision.FP16: (Precision.BF16, Precision.W8),
    Precision.BF16: (Precision.FP16,),
    Precision.W8: (Precision.DYNAMIC, Precision.FP16, Precision.INT8),
    Precision.DYNAMIC: (Precision.W8, Precision.INT8, Precision.FP16),
    Precision.INT8: (Precision.W8A16, Precision.DYNAMIC, Precision.FP16),
    Precision.W8A16: (Precision.INT8, Precision.DYNAMIC, Precision.FP16),
    Precision.W4: (Precision.W8, Precision.DYNAMIC, Precision.INT8, Precision.FP16),
}


class Wish(Noun):
    """What a plan has to satisfy beside its two formats.

    `via` names a backend the plan must contain; `features` are the target's instruction sets.
    """

    passes: tuple[Pass, ...] = ()
    via: str | None = None
    features: tuple[str, ...] = ()


def plan(source: Format, to: Format, catalog: Catalog, *, via: str | None = None) -> Plan:
    """The plan from `source` to `to` without passes: the first that can run here."""
    return rivals(source, to, catalog, Wish(via=via))[0]


def rivals(source: Format, to: Format, catalog: Catalog, wish: Wish) -> tuple[Plan, ...]:
    """Every plan from `source` to `to` that does the passes in order, along one route.

    A route is one converter, or two with a `.pt2` program between them; the first in table order of
    which a plan can run here is taken. Without passes there is one plan; with passes, one for each
    way to place them on optimizers and converters that fuse them. Raises UnsupportedError where the
    table has no such plan, UnavailableError where it has one and something is not installed.
    """
    placed = [list(_placed(route, source, wish, catalog)) for route in _routes(source, to, catalog)]
    if not any(placed):
        raise _unsupported(source, to, catalog, wish)
    named = [[p for p in route if wish.via in (None, *_names(p))] for route in placed]
    if not any(named):
        known = sorted({name for route in placed for one in route for name in _names(one)})
        raise ConfigError(
            f"no route from {source} to {to} goes through {wish.via!r}",
            fix=f"choose one of: {', '.join(known)}",
        )
    for route in named:
        here = [one for one in route if all(catalog.is_available(row) for row, _ in one)]
        if here:
            return tuple(_plan(source, to, one, catalog) for one in here)
    first = next(one for route in named for one in route)
    absent = [row for row, _ in first if not catalog.is_available(row)]
    raise UnavailableError(
        "; ".join(f"{row.name} cannot run here: {catalog.missing[row.name]}" for row in absent),
        fix=install_line(*(row.extra for row in absent)),
    )


def reader(kind: Kind, of: Format, catalog: Catalog) -> Backend:
    """The first installed backend of `kind` that reads `of`; raises as `rivals` does."""
    rows = [row for row in catalog.of_kind(kind) if of in row.reads]
    if not rows:
        raise UnsupportedError(
            f"edgekit has no {kind} for {of} files",
            fix=f"a {kind} exists for: {', '.join(readable(kind, catalog))}",
        )
    for row in rows:
        if catalog.is_available(row):
            return row
    raise catalog.unavailable(rows[0])


def readable(kind: Kind, catalog: Catalog) -> tuple[str, ...]:
    """The formats that some backend of `kind` reads, in table order."""
    return tuple(dict.fromkeys(of.value for row in catalog.of_kind(kind) for of in row.reads))


def precisions(source: Format, to: Format, catalog: Catalog) -> tuple[Precision, ...]:
    """The precisions in which some plan goes from `source` to `to`, on a target of any kind."""
    return tuple(
        precision
        for precision in Precision
        if any(
            next(_placed(route, source, _just(precision), catalog), None) is not None
            for route in _routes(source, to, catalog)
        )
    )


def without_passes(steps: Sequence[Step], catalog: Catalog) -> tuple[Step, ...]:
    """The same way in float32: the converters of `steps`, or the plain way where one only fine-tunes."""
    rows = [catalog.backend(step.backend) for step in steps]
    if any(row.does_qat for row in rows):
        return plan(steps[0].reads, steps[-1].writes, catalog).steps
    return tuple(
        changed(step, does=None)
        for step, row in zip(steps, rows, strict=True)
        if row.kind is Kind.CONVERTER
    )


def _just(precision: Precision) -> Wish:
    return Wish(passes=() if precision is Precision.FP32 else (Quantize(precision=precision),))


def _routes(source: Format, to: Format, catalog: Catalog) -> list[Route]:
    converters = catalog.of_kind(Kind.CONVERTER)
    direct = [(row,) for row in converters if source in row.reads and row.writes is to]
    first = [row for row in converters if source in row.reads and row.writes is Format.EXPORTED]
    second = [row for row in converters if Format.EXPORTED in row.reads and row.writes is to]
    return [*direct, *((one, two) for one in first for two in second)]


def _placed(route: Route, at: Format, wish: Wish, catalog: Catalog) -> Iterator[Placed]:
    """Every way to walk `route` from format `at` and do the passes in order on the way."""
    first = wish.passes[0] if wish.passes else None
    if first is None and not route:
        yield ()
    rest = Wish(passes=wish.passes[1:], features=wish.features)
    if first is not None:
        for row in catalog.of_kind(Kind.OPTIMIZER):
            if at in row.reads and _can(row, first, wish.features):
                yield from (((row, first), *after) for after in _placed(route, at, rest, catalog))
    if route:
        row, others = route[0], route[1:]
        to = row.writes or at
        if first is not None and _can(row, first, wish.features):
            yield from (((row, first), *after) for after in _placed(others, to, rest, catalog))
        if not row.does_qat:
            yield from (((row, None), *after) for after in _placed(others, to, wish, catalog))


def _can(row: Backend, wanted: Pass, features: Sequence[str]) -> bool:
    if isinstance(wanted, Qat):
        return row.does_qat
    if isinstance(wanted, Equalize):
        return row.equalizes
    if row.needs_features and features and not set(row.needs_features) & set(features):
        return False
    if wanted.needs_calibration and wanted.ranges not in row.ranges:
        return False
    if (wanted.exclude or wanted.rules) and not row.per_layer:
        return False
    asked = {wanted.precision, *(rule.precision for rule in wanted.rules)} - {Precision.FP32}
    return asked <= set(row.precisions)


def _names(placed: Placed) -> tuple[str, ...]:
    return tuple(row.name for row, _ in placed)


def _plan(source: Format, to: Format, placed: Placed, catalog: Catalog) -> Plan:
    steps: list[Step] = []
    for row, does in placed:
        reads = steps[-1].writes if steps else source
        steps.append(Step(backend=row.name, reads=reads, writes=row.writes or reads, does=does))
    return Plan(
        loader=reader(Kind.LOADER, source, catalog).name,
        source_runtime=reader(Kind.RUNTIME, source, catalog).name,
        steps=tuple(steps),
        runtime=reader(Kind.RUNTIME, to, catalog).name,
    )


def _unsupported(source: Format, to: Format, catalog: Catalog, wish: Wish) -> UnsupportedError:
    if not _routes(source, to, catalog):
        reachable = [f.value for f in Format if f is not source and _routes(source, f, catalog)]
        return UnsupportedError(
            f"there is no route from {source} to {to}",
            fix=f"from {source} edgekit converts to: {', '.join(reachable) or 'nothing'}",
        )
    known = precisions(source, to, catalog)
    asked = next((p for p in wish.passes if isinstance(p, Quantize)), None)
    if any(isinstance(p, Equalize) for p in wish.passes):
        return UnsupportedError(
            f"layers cannot be equalized on the way from {source} to {to}",
            fix="leave that pass out; it is there for tflite and onnx",
        )
    if asked is None:
        return UnsupportedError(
            f"quantization-aware training does not reach {to} from {source}",
            fix="it goes from a .keras or .h5 model to tflite; without it: --precision int8",
        )
    if asked.precision not in known:
        near = [p for p in _NEAREST.get(asked.precision, ()) if p in known]
        return UnsupportedError(
            f"nothing makes {asked.precision} {to} from {source}",
            fix=f"the nearest is --precision {near[0] if near else Precision.FP32}; "
            f"there are: {', '.join(known)}",
        )
    return UnsupportedError(
        f"nothing makes {asked.precision} {to} from {source} with these settings: {_special(asked)}",
        fix="leave one of them out, or choose another --precision or format",
    )


def _special(asked: Quantize) -> str:
    rules = [f"{rule.layers} in {rule.precision}" for rule in asked.rules]
    kept = [f"{glob} in float" for glob in asked.exclude]
    return ", ".join([f"{asked.ranges} ranges", *kept, *rules])
