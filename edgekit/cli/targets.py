"""`edgekit targets`: the places a model can run."""

from __future__ import annotations

import click

from edgekit.cli import render
from edgekit.core.noun import to_json
from edgekit.errors import ExitCode


@click.group("targets")
def command() -> None:
    """List the targets, or show one."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write the answer as JSON.")
def list_(as_json: bool) -> int:
    """List all built-in targets."""
    from edgekit.config.targets import built_in_targets

    targets = built_in_targets()
    if as_json:
        click.echo(to_json(targets))
    else:
        rows = [(t.name, t.format.value, t.runtime, t.device.description) for t in targets]
        render.show_table([*rows])
    return ExitCode.PASSED


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Write the answer as JSON.")
def show(name: str, as_json: bool) -> int:
    """Show one target: a built-in name, or the path of a target.toml."""
    from edgekit.config.targets import find_target, target_text

    click.echo(to_json(find_target(name)) if as_json else target_text(name), nl=as_json)
    return ExitCode.PASSED
