"""`edgekit targets`: the places a model can run."""

from __future__ import annotations

import click

from edgekit.cli import options, render
from edgekit.errors import ExitCode


@click.group("targets")
def command() -> None:
    """List the targets, or show one."""


@command.command("list")
@options.json_option
def list_(json_path: str | None) -> int:
    """List all built-in targets."""
    from edgekit.config.targets import built_in_targets

    targets = built_in_targets()
    if not render.show_json(targets, json_path):
        rows = [(t.name, t.format.value, t.runtime, t.device.description) for t in targets]
        render.show_table([*rows])
    return ExitCode.PASSED


@command.command("show")
@click.argument("name")
@options.json_option
def show(name: str, json_path: str | None) -> int:
    """Show one target: a built-in name, or the path of a target.toml."""
    from edgekit.config.targets import find_target, target_text

    if not render.show_json(find_target(name), json_path):
        click.echo(target_text(name), nl=False)
    return ExitCode.PASSED
