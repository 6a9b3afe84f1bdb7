"""What crosses to a child: a job goes in, a result comes out, both as JSON in the job's folder."""

from __future__ import annotations

from typing import Any

from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.calibration import Calibration
from edgekit.core.noun import Noun
from edgekit.core.recipe import Pass
from edgekit.core.signature import Signature, TensorSpec


class LoadJob(Noun, tag="load"):
    """Look into a source, refuse what would run code, read its signature."""

    source: ModelSource
    folder: str


class ConvertJob(Noun, tag="convert"):
    """Turn `artifact` into a file of format `to` inside `folder`.

    `samples` is an `.npz` with one call's arrays, keyed by the names of `signature.inputs`: shapes
    fit the signature, and every free axis is 2 or more, so a tracer does not take it for a constant.
    `signature` is what is wanted: the artifact's own, with the axes that the user fixed.
    `options` are the target's settings for this converter (all are strings). `fused` is a pass that
    this converter does on the way, `calibration` the samples it may use for it.
    """

    artifact: Artifact
    to: Format
    folder: str
    signature: Signature
    samples: str
    options: dict[str, str] = {}
    fused: Pass | None = None
    calibration: Calibration | None = None


class OptimizeJob(Noun, tag="optimize"):
    """Apply one pass to `artifact` and write another of the same format inside `folder`.

    The answer's `layers` lists every layer that the pass could have changed, with what it is stored
    in now. Raises UnsupportedError where there is nothing the pass can change. `features` are the
    instruction sets of the target (`avx2`, `vnni`, `arm64`, ...).
    """

    artifact: Artifact
    folder: str
    settings: Pass
    calibration: Calibration | None = None
    features: tuple[str, ...] = ()
    options: dict[str, str] = {}


class RunJob(Noun, tag="run"):
    """Run `artifact` on `samples` (an `.npz`) call by call, write outputs, then time one call.

    `samples` and the outputs written are keyed by the *source's* names (`TensorSpec.origin`).
    `calls` are the row counts of the calls in order, which add up to the rows of every array; both
    sides of a comparison are given the same. `stacked` means that the model has no batch axis: one
    call per row, without the row axis, outputs stacked. `reference` asks for the runtime's plain
    kernels, without graph optimization: where the two differ, the fast kernels are wrong.
    """

    artifact: Artifact
    folder: str
    samples: str
    calls: tuple[int, ...]
    stacked: bool = False
    num_threads: int = 1
    warmup_runs: int | None = None
    num_runs: int = 50
    min_time_s: float = 1.0
    reference: bool = False


class InspectJob(Noun, tag="inspect"):
    """Say what is inside `artifact`."""

    artifact: Artifact
    folder: str


class ScoreJob(Noun, tag="score"):
    """Call the user's own metric (`module:function`, found in `metric_path`) on each side's outputs.

    `outputs` are `.npz` files keyed by output name; `labels` is one keyed by output name, `y` for
    labels that name none. The answer is one tuple per file, more being better: the metric on all
    samples, then on `resamples` draws of as many samples with replacement, the same for every file,
    None where the metric is not a number on a draw; fewer where they take too long.
    """

    metric: str
    outputs: tuple[str, ...]
    labels: str
    folder: str
    metric_path: str | None = None
    resamples: int = 0
    seed: int = 0


class SamplesJob(Noun, tag="samples"):
    """Call the user's own `module:function`, found in `module_path`, and write what it yields.

    `inputs` are the model's: they tell a sample from a batch of samples. At most `limit` are taken.
    """

    function: str
    inputs: tuple[TensorSpec, ...]
    limit: int
    folder: str
    module_path: str | None = None


Job = LoadJob | ConvertJob | OptimizeJob | RunJob | InspectJob | ScoreJob | SamplesJob


class Order(Noun):
    """One job and the entry point (`module:function`) that does it; the whole content of job.json."""

    entry: str
    job: Job


class Raised(Noun):
    """An exception that ended a job, as data. `kind` is its class name."""

    kind: str
    message: str
    fix: str = ""
    traceback: str = ""


class Reply(Noun):
    """The whole content of result.json: a value or what was raised."""

    value: Any = None
    raised: Raised | None = None
