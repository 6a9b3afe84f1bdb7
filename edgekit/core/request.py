"""What a user asks of one cell, after parsing and before planning."""

from __future__ import annotations

from edgekit.core.artifact import Format
from edgekit.core.measured import DropType, Task
from edgekit.core.noun import Noun
from edgekit.core.recipe import Precision, Preprocess, Recipe
from edgekit.core.signature import TensorSpec
from edgekit.core.target import Target


class Opening(Noun):
    """How the user's model may be opened.

    `trust` is empty (no code may run), `this-file`, or `sha256:DIGEST`, which must match.
    """

    path: str
    trust: str = ""
    factory: str | None = None
    factory_path: str | None = None
    signature_key: str | None = None
    inputs: tuple[TensorSpec, ...] = ()


class Proof(Noun):
    """What the verdict rests on, and what it is held to.

    `map_outputs` pairs an artifact's output names with the source's, for artifacts that edgekit did
    not make. `metric` is a built-in name or `module:function`, found in `metric_path`; without it
    the metric follows the `task`, and without that the labels. `strict` makes an inconclusive
    verdict a failure. `min_sqnr_db` and `min_agreement` stand in for the limits of the precision.
    """

    data: str | None = None
    task: Task | None = None
    metric: str | None = None
    metric_path: str | None = None
    min_accuracy: float | None = None
    max_drop: float | None = None
    drop_type: DropType = DropType.ABSOLUTE
    strict: bool = False
    min_sqnr_db: float | None = None
    min_agreement: float | None = None
    atol: dict[str, float] = {}
    rtol: dict[str, float] = {}
    map_outputs: dict[str, str] = {}
    num_threads: int = 1
    num_runs: int = 50
    warmup_runs: int | None = None
    seed: int = 0


class CalibrationRequest(Noun):
    """Where the samples come from that ranges of activations are measured on, and what is allowed.

    `path` is a file, a folder, `module:function` (the user's code, found in `module_path`: only
    where `trusted`), or the word `random`. `num_samples` are taken evenly spaced; all where `None`.
    `seed` is of `random`. Samples of the evaluation data are refused without `allow_overlap`.
    """

    path: str
    num_samples: int | None = None
    allow_overlap: bool = False
    preprocess: Preprocess | None = None
    module_path: str | None = None
    trusted: bool = False
    seed: int = 0


class ConvertRequest(Noun):
    """One conversion: a model, a format or a target, a recipe, a proof, a place for the result.

    `calibration` is of recipes that quantize activations, `training` of those that fine-tune. With
    `auto` a recipe that misses the verdict is mended, in at most `auto_time_s` seconds.
    """

    opening: Opening
    to: Format
    target: Target | None = None
    recipe: Recipe = Recipe(name="fp32")
    calibration: CalibrationRequest | None = None
    training: CalibrationRequest | None = None
    auto: bool = False
    auto_time_s: float = 1800.0
    via: str | None = None
    options: dict[str, str] = {}
    proof: Proof = Proof()
    output: str | None = None
    keep_failed: bool = False
    run_dir: str | None = None


class ValidateRequest(Noun):
    """Compare an artifact that already exists with its source.

    `precision` is what it is held to; `None` is what its own layers say.
    """

    opening: Opening
    artifact: str
    precision: Precision | None = None
    proof: Proof = Proof()
    target: Target | None = None
    run_dir: str | None = None


class BenchRequest(Noun):
    """Run one model alone and measure it."""

    opening: Opening
    proof: Proof = Proof()
    target: Target | None = None
    run_dir: str | None = None
