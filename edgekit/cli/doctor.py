"""`edgekit doctor`: what is installed, what it enables, and the line that mends the rest."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from edgekit.catalog import Catalog, host_platform, install_line, load_catalog
from edgekit.cli import options, render
from edgekit.core.noun import Noun
from edgekit.errors import ExitCode


class Package(Noun):
    """One package of an extra: the range edgekit wants and the version found, if any."""

    name: str
    wanted: str
    ok: bool
    found: str | None = None


class Extra(Noun):
    """One extra: its packages, the backends that need it, and how to mend it."""

    name: str
    ok: bool
    packages: tuple[Package, ...]
    enables: tuple[str, ...]
    fix: str = ""


class Diagnosis(Noun):
    """The whole answer of `edgekit doctor`."""

    edgekit: str
    python: str
    platform: str
    extras: tuple[Extra, ...]
    backends: dict[str, str]
    broken_plugins: dict[str, str]


@click.command("doctor")
@options.json_option
def command(json_path: str | None) -> int:
    """Say what is installed, what it enables, and how to add the rest."""
    diagnosis = diagnose(load_catalog())
    if not render.show_json(diagnosis, json_path):
        _show(diagnosis)
    return ExitCode.PASSED


def diagnose(catalog: Catalog) -> Diagnosis:
    """Look at installed packages and the catalog; imports no framework."""
    return Diagnosis(
        edgekit=metadata.version("edgekit"),
        python=platform.python_version(),
        platform=host_platform(),
        extras=tuple(_extra(name, catalog) for name in _extra_names()),
        backends={row.name: catalog.missing.get(row.name, "ok") for row in catalog.backends},
        broken_plugins=catalog.broken_plugins,
    )


def _extra_names() -> list[str]:
    names = metadata.metadata("edgekit").get_all("Provides-Extra") or []
    return [name for name in names if name not in {"all", "dev"}]


def _extra(name: str, catalog: Catalog) -> Extra:
    packages = tuple(_packages(name))
    ok = all(package.ok for package in packages)
    enables = tuple(row.name for row in catalog.backends if name in row.extra.split(","))
    return Extra(
        name=name,
        ok=ok,
        packages=packages,
        enables=enables,
        fix="" if ok else install_line(name),
    )


def _packages(extra: str) -> list[Package]:
    from packaging.requirements import Requirement

    found = []
    for text in metadata.requires("edgekit") or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if (
            marker is None
            or marker.evaluate({"extra": ""})
            or not marker.evaluate({"extra": extra})
        ):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = None
        ok = version is not None and requirement.specifier.contains(version, prereleases=True)
        found.append(
            Package(name=requirement.name, wanted=str(requirement.specifier), ok=ok, found=version)
        )
    return found


def _show(diagnosis: Diagnosis) -> None:
    click.echo(f"edgekit {diagnosis.edgekit}, Python {diagnosis.python}, {diagnosis.platform}")
    rows: list[tuple[str, ...]] = []
    for extra in diagnosis.extras:
        versions = ", ".join(
            f"{p.name} {p.found or 'missing'}{'' if p.ok or not p.found else f' (want {p.wanted})'}"
            for p in extra.packages
        )
        rows.append((extra.name, "ok" if extra.ok else "NOT ok", versions))
        rows.append(("", "", f"enables: {', '.join(extra.enables) or '-'}"))
        rows += [("", "", f"fix: {extra.fix}")] if extra.fix else []
    render.show_table(rows)
    for name, reason in diagnosis.broken_plugins.items():
        click.echo(f"plug-in {name} cannot be imported: {reason}", err=True)
