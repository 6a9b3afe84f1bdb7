"""`edgekit bench`: measure one model."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli import options
from edgekit.core.request import BenchRequest
from edgekit.core.target import Target


@click.command("bench")
@options.model_argument
@click.option("--target", type=options.TargetType(), help="Whose budget to hold it to.")
@options.opening_options
@options.data_option
@options.measure_options
@options.report_options
def command(model: str, target: Target | None, **given: Any) -> int:
    """Measure latency, memory and placement of MODEL in a fresh process; nothing is compared."""
    request = BenchRequest(
        opening=options.opening_of(model, given),
        proof=options.proof_of(given),
        target=target,
        run_dir=given["run_dir"],
    )
    from edgekit.cli.verdict import verdict_of
    from edgekit.pipeline.lines import bench

    return verdict_of(bench, request, given)
