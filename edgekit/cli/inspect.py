"""`edgekit inspect`: what is inside a model."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli import options, render
from edgekit.errors import ExitCode


@click.command("inspect")
@options.model_argument
@options.opening_options
@options.json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(model: str, json_path: str | None, quiet: bool, **given: Any) -> int:
    """Show signature, ops, parameters, MACs, sizes, quantization and writer of MODEL."""
    from edgekit.catalog import load_catalog
    from edgekit.pipeline.lines import inspect
    from edgekit.worker.client import Workers

    with render.progress(quiet=quiet) as progress, Workers() as workers:
        inspection = inspect(
            options.opening_of(model, given),
            workers=workers,
            catalog=load_catalog(),
            progress=progress,
        )
    render.show_inspection(inspection, json_path=json_path)
    return ExitCode.PASSED
