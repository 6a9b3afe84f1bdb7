"""Options that say how a model is made smaller, and on what data."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import all_of
from edgekit.core.noun import changed
from edgekit.core.recipe import IoType, Precision, Preprocess, Quantize, RangeMethod, Recipe
from edgekit.core.request import CalibrationRequest
from edgekit.errors import ConfigError

PRECISIONS = (*(precision.value for precision in Precision), "w8a8")

recipe_options = all_of(
    click.option(
        "--precision", type=click.Choice(PRECISIONS), help="What to quantize to. [default: fp32]"
    ),
    click.option("--recipe", metavar="NAME|FILE", help="A recipe; `edgekit recipe list` has some."),
    click.option(
        "--per-channel/--per-tensor", default=None, help="Scales of weights. [default: per channel]"
    ),
    click.option(
        "--symmetric/--asymmetric", default=None, help="Of activations. [default: the format's]"
    ),
    click.option(
        "--io",
        type=click.Choice([io.value for io in IoType]),
        help="Inputs, outputs. [default: float]",
    ),
    click.option("--exclude", metavar="GLOB", multiple=True, help="Layers to keep in float."),
    click.option(
        "--ranges",
        type=click.Choice([method.value for method in RangeMethod]),
        help="How ranges of activations are found. [default: minmax]",
    ),
    click.option("--percentile", type=click.FloatRange(50, 100), help="Of --ranges percentile."),
    click.option("--auto", is_flag=True, help="Mend the recipe where it misses what is asked."),
    click.option(
        "--auto-time",
        "auto_time_s",
        type=click.FloatRange(0, min_open=True),
        default=1800.0,
        show_default=True,
        help="Seconds that --auto may take; the best found by then counts.",
    ),
)

calibration_options = all_of(
    click.option(
        "--calibration-data",
        metavar="FILE|DIR|random",
        help="Samples to measure ranges on: .npz, .npy, .csv, .parquet, a folder, MODULE:FUNCTION.",
    ),
    click.option("--num-calibration-samples", type=click.IntRange(1), help="[default: all]"),
    click.option(
        "--calibration-path", metavar="DIR", help="Where MODULE of the data is. [default: .]"
    ),
    click.option(
        "--trust-calibration", is_flag=True, help="Allow MODULE:FUNCTION of the data to run."
    ),
    click.option(
        "--allow-overlap", is_flag=True, help="Take samples that are in --eval-data as well."
    ),
    click.option("--train-data", metavar="FILE|DIR", help="Samples that recipes fine-tune on."),
)


def recipe_of(given: dict[str, Any]) -> Recipe:
    """The recipe that the options name, with the settings that they change."""
    if given["precision"] and given["recipe"]:
        raise ConfigError(
            "--precision and --recipe both say what to do", fix="leave one of them out"
        )
    name = given["recipe"] or given["precision"] or Precision.FP32.value
    from edgekit.config.recipes import find_recipe

    recipe = find_recipe(name)
    changes = {key: given[key] for key in ("per_channel", "symmetric") if given[key] is not None}
    changes |= {"io": IoType(given["io"])} if given["io"] else {}
    changes |= {"ranges": RangeMethod(given["ranges"])} if given["ranges"] else {}
    changes |= {"percentile": given["percentile"]} if given["percentile"] is not None else {}
    changes |= {"exclude": given["exclude"]} if given["exclude"] else {}
    if not changes:
        return recipe
    if not any(isinstance(step, Quantize) for step in recipe.passes):
        flags = ", ".join(sorted(changes))
        raise ConfigError(
            f"{flags}: recipe {recipe.name} quantizes nothing", fix="add --precision int8, or such"
        )
    return changed(
        recipe,
        passes=tuple(
            changed(step, **changes) if isinstance(step, Quantize) else step
            for step in recipe.passes
        ),
    )


def samples_of(
    option: str, preprocess: Preprocess | None, given: dict[str, Any]
) -> CalibrationRequest | None:
    """What the options said of the data to learn from; `option` is `calibration_data` or `train_data`."""
    if not given[option]:
        return None
    return CalibrationRequest(
        path=given[option],
        num_samples=given["num_calibration_samples"] if option == "calibration_data" else None,
        allow_overlap=given["allow_overlap"],
        preprocess=preprocess,
        module_path=given["calibration_path"],
        trusted=given["trust_calibration"],
        seed=given["seed"],
    )
