"""The command line: a lazy group, one file per command, and the only broad error handler."""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
import traceback
from types import FrameType

import click

from edgekit import __version__
from edgekit.errors import EdgekitError, ExitCode

_COMMANDS = {
    "convert": "Convert a model, run both sides, and judge the result.",
    "validate": "Judge an artifact that already exists against its source.",
    "bench": "Measure latency, memory and placement of one model.",
    "inspect": "Show signature, ops, parameters, MACs, sizes, quantization and writer.",
    "targets": "List the targets, or show one.",
    "recipe": "List the recipes that make a model smaller, or show one.",
    "doctor": "Say what is installed, what it enables, and how to add the rest.",
}


class _LazyGroup(click.Group):
    """Knows the commands by name and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"edgekit.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in _COMMANDS:
            near = difflib.get_close_matches(name, _COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code.value), code.meaning) for code in ExitCode])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgekit")
def group() -> None:
    """Convert a trained model for the edge, run it there, and prove that it still answers right."""


def main() -> None:
    """The `edgekit` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors go to stderr, each with its fix."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(group.main(arguments, prog_name="edgekit", standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("edgekit: interrupted; nothing was written", err=True)
        return ExitCode.INTERRUPTED
    except EdgekitError as error:
        click.echo(f"edgekit: {error}", err=True)
        return error.exit_code
    except Exception:
        click.echo(
            f"edgekit: this is a bug in edgekit {__version__}; please report it with:", err=True
        )
        click.echo(traceback.format_exc(), err=True)
        return ExitCode.BUG


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
