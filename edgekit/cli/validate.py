"""`edgekit validate`: judge an artifact that already exists."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli import options
from edgekit.core.recipe import Precision
from edgekit.core.request import ValidateRequest
from edgekit.core.target import Target


@click.command("validate")
@click.argument("source")
@click.argument("artifact")
@click.option(
    "--map",
    "pairs",
    type=options.PairType(),
    multiple=True,
    help="Which tensor of the artifact is which of the source, where names and shapes do not tell.",
)
@click.option(
    "--precision",
    type=click.Choice([precision.value for precision in Precision]),
    help="What ARTIFACT is held to. [default: what its layers are stored in]",
)
@click.option("--target", type=options.TargetType(), help="Whose budget to hold it to.")
@options.opening_options
@options.data_option
@options.judge_options
@options.measure_options
@options.report_options
def command(source: str, artifact: str, target: Target | None, **given: Any) -> int:
    """Run SOURCE and ARTIFACT on the same samples and judge the ARTIFACT."""
    request = ValidateRequest(
        opening=options.opening_of(source, given),
        artifact=artifact,
        precision=Precision(given["precision"]) if given["precision"] else None,
        proof=options.proof_of(given),
        target=target,
        run_dir=given["run_dir"],
    )
    from edgekit.cli.verdict import verdict_of
    from edgekit.pipeline.lines import validate

    return verdict_of(validate, request, given)
