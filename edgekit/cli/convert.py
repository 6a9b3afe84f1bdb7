"""`edgekit convert`: make an artifact, prove it, and put it where it was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli import options, render
from edgekit.core.artifact import Format
from edgekit.core.request import ConvertRequest
from edgekit.core.target import Target
from edgekit.errors import ConfigError, ExitCode

FORMATS = ("tflite", "onnx", "executorch", "torchscript", "coreml", "c")


@click.command("convert")
@options.model_argument
@click.option("--to", type=click.Choice(FORMATS), help="The format to convert to.")
@click.option("--target", type=options.TargetType(), help="Where it shall run: format and budget.")
@click.option("-o", "--output", metavar="FILE", help="The artifact; the report lies beside it.")
@click.option("--via", metavar="BACKEND", help="Take the route that uses this converter.")
@click.option("--opset", type=click.IntRange(1), help="ONNX opset.")
@click.option(
    "--delegate",
    type=click.Choice(("xnnpack", "portable")),
    help="Of ExecuTorch. [default: xnnpack]",
)
@click.option("--keep-failed", is_flag=True, help="Keep what did not pass, as NAME.failed.SUFFIX.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@options.opening_options
@options.data_option
@options.judge_options
@options.measure_options
@options.report_options
def command(model: str, to: str | None, target: Target | None, **given: Any) -> int:
    """Convert MODEL, run both sides on the same samples, and judge the result."""
    format = _format(to, target)
    if given["dry_run"]:
        return _print_plan(model, format, given["via"])
    if not given["output"]:
        raise ConfigError(
            "where shall the artifact go?", fix=f"add -o {Path(model).stem}{format.suffix}"
        )
    request = ConvertRequest(
        opening=options.opening_of(model, given),
        to=format,
        target=target,
        via=given["via"],
        options={k: str(given[k]) for k in ("opset", "delegate") if given[k] is not None},
        proof=options.proof_of(given),
        output=given["output"],
        keep_failed=given["keep_failed"],
        run_dir=given["run_dir"],
    )
    from edgekit.cli.verdict import verdict_of
    from edgekit.pipeline.lines import convert

    return verdict_of(convert, request, given)


def _format(to: str | None, target: Target | None) -> Format:
    if target is not None:
        if to not in (None, target.format.value):
            raise ConfigError(
                f"target {target.name} takes {target.format}, not {to}", fix="drop --to"
            )
        return target.format
    if to is None:
        fix = f"add --to {'|'.join(FORMATS)}"
        raise ConfigError("neither --to nor --target was given", fix=fix)
    return Format(to)


def _print_plan(model: str, format: Format, via: str | None) -> int:
    from edgekit.catalog import load_catalog
    from edgekit.config.sniff import sniff
    from edgekit.planner import plan

    planned = plan(sniff(Path(model)), format, load_catalog(), via=via)
    rows = [("load", planned.loader), ("run source", planned.source_runtime)]
    rows += [
        ("convert", f"{step.backend}  {step.reads} -> {step.writes}") for step in planned.steps
    ]
    render.show_table([*rows, ("run artifact", planned.runtime)])
    return ExitCode.PASSED
