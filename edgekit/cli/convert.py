"""`edgekit convert`: make an artifact, prove it, and put it where it was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli import options, render
from edgekit.cli.recipe_options import calibration_options, recipe_of, recipe_options, samples_of
from edgekit.core.artifact import Format
from edgekit.core.recipe import Recipe, name_of
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
@recipe_options
@calibration_options
@options.opening_options
@options.data_option
@options.judge_options
@options.measure_options
@options.report_options
def command(model: str, to: str | None, target: Target | None, **given: Any) -> int:
    """Convert MODEL, run both sides on the same samples, and judge the result."""
    format = _format(to, target)
    recipe = recipe_of(given)
    if given["dry_run"]:
        return _print_plan(model, format, target, recipe, via=given["via"])
    if not given["output"]:
        raise ConfigError(
            "where shall the artifact go?", fix=f"add -o {Path(model).stem}{format.suffix}"
        )
    preprocess = recipe.preprocess or (target.preprocess if target else None)
    request = ConvertRequest(
        opening=options.opening_of(model, given),
        to=format,
        target=target,
        recipe=recipe,
        calibration=samples_of("calibration_data", preprocess, given),
        training=samples_of("train_data", preprocess, given),
        auto=given["auto"],
        auto_time_s=given["auto_time_s"],
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


def _print_plan(
    model: str, format: Format, target: Target | None, recipe: Recipe, *, via: str | None
) -> int:
    from edgekit.catalog import load_catalog
    from edgekit.config.features import features_of
    from edgekit.config.sniff import sniff
    from edgekit.planner import Wish, rivals

    wish = Wish(passes=recipe.passes, via=via, features=features_of(target))
    plans = rivals(sniff(Path(model)), format, load_catalog(), wish)
    rows = [("load", plans[0].loader), ("run source", plans[0].source_runtime)]
    for number, plan in enumerate(plans, 1):
        rows += [("or", f"way {number} of {len(plans)}")] if len(plans) > 1 else []
        for step in plan.steps:
            kind = "quantize" if step.reads is step.writes else "convert"
            does = f"  {name_of(step.does)}" if step.does else ""
            rows.append((kind, f"{step.backend}  {step.reads} -> {step.writes}{does}"))
    rows += [("choose", "the one nearest to the source")] if len(plans) > 1 else []
    render.show_table([*rows, ("run artifact", plans[0].runtime)])
    return ExitCode.PASSED
