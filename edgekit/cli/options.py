"""Options that several commands share, and how their texts become nouns."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import click

from edgekit.core.measured import DropType, Task
from edgekit.core.request import Opening, Proof
from edgekit.core.signature import TensorSpec
from edgekit.core.target import Target

Decorated = Callable[..., Any]

DTYPES = [
    "float32",
    "float16",
    "float64",
    "bfloat16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]
THIS_FILE = "this-file"


class InputType(click.ParamType[Any]):
    """`NAME:SHAPE:DTYPE`, such as `x:?,3,224,224:float32`; `?` is a free axis."""

    name = "NAME:SHAPE:DTYPE"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> TensorSpec:
        if isinstance(value, TensorSpec):
            return value
        parts = value.rsplit(":", 2)
        if len(parts) != 3 or not parts[0]:
            self.fail(
                f"{value!r} is not NAME:SHAPE:DTYPE, such as x:?,3,224,224:float32", param, ctx
            )
        name, shape, dtype = parts
        if dtype not in DTYPES:
            self.fail(f"{value!r}: unknown dtype {dtype!r}, one of {', '.join(DTYPES)}", param, ctx)
        axes: list[int | None] = []
        for axis in shape.split(",") if shape else []:
            if axis != "?" and not (axis.isdigit() and int(axis) > 0):
                self.fail(f"{value!r}: axis {axis!r} is neither a size nor ?", param, ctx)
            axes.append(None if axis == "?" else int(axis))
        return TensorSpec(name=name, dtype=dtype, shape=tuple(axes))


class PerOutputType(click.ParamType[Any]):
    """`V` for every output or `OUT:V` for one: a non-negative number."""

    name = "[OUT:]V"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        output, _, number = value.rpartition(":")
        try:
            tolerance = float(number)
        except ValueError:
            self.fail(f"{value!r}: {number!r} is not a number", param, ctx)
        if not tolerance >= 0:
            self.fail(f"{value!r}: a tolerance is 0 or more", param, ctx)
        return output, tolerance


class TargetType(click.ParamType[Any]):
    """The name of a built-in target, or the path of a target.toml."""

    name = "NAME|FILE"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Target:
        from edgekit.config.targets import find_target

        return value if isinstance(value, Target) else find_target(value)


class PairType(click.ParamType[Any]):
    """`LEFT=RIGHT`."""

    name = "ARTIFACT=SOURCE"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        left, equals, right = value.partition("=")
        if not (left and equals and right):
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return left, right


def all_of(*decorators: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """One decorator that applies several, the first outermost."""
    return lambda function: reduce(lambda f, decorate: decorate(f), reversed(decorators), function)


opening_options = all_of(
    click.option(
        "--trust",
        is_flag=False,
        flag_value=THIS_FILE,
        default="",
        metavar="[sha256:DIGEST]",
        help="Allow the code in this one model file to run; with a digest, only if it is that file.",
    ),
    click.option(
        "--factory", metavar="MODULE:FUNCTION", help="Builds the architecture of a state dict."
    ),
    click.option(
        "--factory-path", metavar="DIR", help="Where the factory's module is. [default: .]"
    ),
    click.option("--signature", "signature_key", help="Which signature of a SavedModel."),
    click.option(
        "--input",
        "inputs",
        type=InputType(),
        multiple=True,
        help="An input the model does not tell, or a free axis to fix; ? is a free axis.",
    ),
)

data_option = click.option(
    "--eval-data",
    "--samples",
    "data",
    metavar="FILE|DIR",
    help="Real samples, and labels `y`: .npz, .npy, .csv, .parquet, or a folder of .npy, images, .wav.",
)

measure_options = all_of(
    click.option("--num-threads", type=click.IntRange(1), default=1, show_default=True),
    click.option(
        "--num-runs", type=click.IntRange(0), default=50, show_default=True, help="0: no latency."
    ),
    click.option(
        "--warmup-runs",
        type=click.IntRange(0),
        help="[default: until the running median is stable]",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of synthetic inputs."),
    click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(0, min_open=True),
        default=1800.0,
        show_default=True,
        help="Seconds a single step may take.",
    ),
    click.option("--run-dir", metavar="DIR", help="Keep every step's job, log and files here."),
)

judge_options = all_of(
    click.option(
        "--task",
        type=click.Choice([task.value for task in Task]),
        help="What the model is for; the metric follows. [default: what the labels look like]",
    ),
    click.option(
        "--metric",
        metavar="NAME|MODULE:FUNCTION",
        help="top1, top5, auroc, f1, rmse, mae, r2, mse, snr, cosine, miou, map, or your own "
        "`metric(outputs, labels) -> float`, of which more is better.",
    ),
    click.option(
        "--metric-path", metavar="DIR", help="Where your own metric's module is. [default: .]"
    ),
    click.option("--min-accuracy", type=float, help="The least value of the metric."),
    click.option(
        "--max-drop",
        type=click.FloatRange(0),
        help="The most the metric may lose against the source.",
    ),
    click.option(
        "--drop-type",
        type=click.Choice([kind.value for kind in DropType]),
        default=DropType.ABSOLUTE.value,
        show_default=True,
        help="Of --max-drop: in the metric's unit, or as a share of the source's value.",
    ),
    click.option(
        "--strict", is_flag=True, help="An inconclusive verdict is a failure, with exit code 6."
    ),
    click.option(
        "--min-sqnr",
        "min_sqnr_db",
        type=float,
        metavar="DB",
        help="Least signal to noise ratio of an output. [default: by precision]",
    ),
    click.option(
        "--min-agreement",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        help="Least share of samples with the source's class. [default: by precision]",
    ),
    click.option("--atol", type=PerOutputType(), multiple=True, help="Absolute tolerance."),
    click.option("--rtol", type=PerOutputType(), multiple=True, help="Relative tolerance."),
)

json_option = click.option(
    "--json", "json_path", metavar="FILE|-", help="Write the answer as JSON; - is standard output."
)

report_options = all_of(
    json_option,
    click.option("-q", "--quiet", is_flag=True, help="Only the verdict."),
    click.option("-v", "--verbose", is_flag=True, help="Also the steps with their times."),
)


def opening_of(model: str, given: dict[str, Any]) -> Opening:
    """What the opening options said of `model`."""
    return Opening(
        path=model,
        trust=given["trust"],
        factory=given["factory"],
        factory_path=given["factory_path"],
        signature_key=given["signature_key"],
        inputs=given["inputs"],
    )


def proof_of(given: dict[str, Any]) -> Proof:
    """What the data, judging and measuring options said; commands without judging leave it out."""
    return Proof(
        data=given["data"],
        task=Task(given["task"]) if given.get("task") else None,
        metric=given.get("metric"),
        metric_path=given.get("metric_path"),
        min_accuracy=given.get("min_accuracy"),
        max_drop=given.get("max_drop"),
        drop_type=DropType(given.get("drop_type", DropType.ABSOLUTE)),
        strict=given.get("strict", False),
        min_sqnr_db=given.get("min_sqnr_db"),
        min_agreement=given.get("min_agreement"),
        atol=dict(given.get("atol", ())),
        rtol=dict(given.get("rtol", ())),
        map_outputs=dict(given.get("pairs", ())),
        num_threads=given["num_threads"],
        num_runs=given["num_runs"],
        warmup_runs=given["warmup_runs"],
        seed=given["seed"],
    )


model_argument = click.argument("model", type=click.Path(path_type=str))
