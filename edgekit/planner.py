"""Pure: a format, a target format and the catalog make a plan, or say why there is none."""

from __future__ import annotations

from edgekit.catalog import Catalog, install_line
from edgekit.core.artifact import Format
from edgekit.core.backend import Backend, Kind
from edgekit.core.plan import Plan, Step
from edgekit.errors import ConfigError, UnavailableError, UnsupportedError

Route = tuple[Backend, ...]


def plan(source: Format, to: Format, catalog: Catalog, *, via: str | None = None) -> Plan:
    """The plan from `source` to `to`; `via` names a converter that the route must contain.

    The first route in table order whose backends are all installed is taken: one converter, or two
    with a `.pt2` program between them. Raises UnsupportedError where the table has no route,
    UnavailableError where it has one and something is not installed.
    """
    route = _route(source, to, catalog, via)
    return Plan(
        loader=reader(Kind.LOADER, source, catalog).name,
        source_runtime=reader(Kind.RUNTIME, source, catalog).name,
        steps=tuple(_steps(source, route)),
        runtime=reader(Kind.RUNTIME, to, catalog).name,
    )


def reader(kind: Kind, of: Format, catalog: Catalog) -> Backend:
    """The first installed backend of `kind` that reads `of`; raises as `plan` does."""
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


def _route(source: Format, to: Format, catalog: Catalog, via: str | None) -> Route:
    routes = _routes(source, to, catalog)
    if not routes:
        reachable = [f.value for f in Format if f is not source and _routes(source, f, catalog)]
        raise UnsupportedError(
            f"there is no route from {source} to {to}",
            fix=f"from {source} edgekit converts to: {', '.join(reachable) or 'nothing'}",
        )
    if via is not None:
        routes = [route for route in routes if via in {row.name for row in route}]
        if not routes:
            names = sorted({row.name for route in _routes(source, to, catalog) for row in route})
            raise ConfigError(
                f"no route from {source} to {to} goes through {via!r}",
                fix=f"choose one of: {', '.join(names)}",
            )
    for route in routes:
        if all(catalog.is_available(row) for row in route):
            return route
    absent = [row for row in routes[0] if not catalog.is_available(row)]
    raise UnavailableError(
        "; ".join(f"{row.name} cannot run here: {catalog.missing[row.name]}" for row in absent),
        fix=install_line(*(row.extra for row in absent)),
    )


def _routes(source: Format, to: Format, catalog: Catalog) -> list[Route]:
    converters = catalog.of_kind(Kind.CONVERTER)
    direct = [(row,) for row in converters if source in row.reads and row.writes is to]
    first = [row for row in converters if source in row.reads and row.writes is Format.EXPORTED]
    second = [row for row in converters if Format.EXPORTED in row.reads and row.writes is to]
    return [*direct, *((one, two) for one in first for two in second)]


def _steps(source: Format, route: Route) -> list[Step]:
    steps: list[Step] = []
    for row in route:
        reads = steps[-1].writes if steps else source
        if row.writes is None:
            raise UnsupportedError(f"{row.name} is listed as a converter and writes nothing")
        steps.append(Step(backend=row.name, reads=reads, writes=row.writes))
    return steps
