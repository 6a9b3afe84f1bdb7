"""Keras to int8 TFLite by quantization-aware training: tfmot on tf_keras, then TensorFlow's converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.keras_files import open_keras, source_of
from edgekit.backends.keras_graphs import Graph
from edgekit.backends.keras_model import KerasModel, Library
from edgekit.backends.keras_replay import replayed
from edgekit.backends.layer_choice import check_changed
from edgekit.backends.qat_layers import simulated
from edgekit.backends.qat_training import Tuned, fine_tune, open_samples
from edgekit.backends.tf_conversion import converted, written_signature
from edgekit.backends.tflite_files import open_model
from edgekit.backends.tflite_graph import check_runs
from edgekit.backends.tflite_layers import layers_of, shortfall
from edgekit.backends.tflite_signs import signed
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.calibration import Calibration
from edgekit.core.jobs import ConvertJob
from edgekit.core.noun import changed
from edgekit.core.recipe import Precision, Qat, Quantize
from edgekit.errors import ConfigError, UnsupportedError

_TOOL = "quantization-aware training"
_CAN = "convolutions and dense layers"
_CHECKED_SAMPLES = 64


def convert(job: ConvertJob) -> Artifact:
    """Fine-tune a copy of the model with int8 simulated, and write it as `model.tflite`.

    Names, their order and a free batch axis are the source's; inputs and outputs are float. Layers
    that cannot be trained for int8 stay float, and a note names them. Raises ConfigError without
    training samples, UnsupportedError where nothing can be trained or the copy is not exact.
    """
    source = open_keras(source_of(job.artifact))
    settings, calibration = _asked(job)
    samples = open_samples(calibration, job.signature)
    teacher = replayed(source)
    _check_share(source, teacher)
    inputs, _ = next(samples.batches(np.arange(samples.count), _CHECKED_SAMPLES))
    _check_exact(source, teacher, inputs)
    simulation = simulated(teacher, settings)
    tuned = fine_tune(simulation, teacher, samples, settings)
    told = _story(tuned, settings, samples.count)
    written = _written(job, _named(source, simulation.model), keeps_floats=bool(settings.exclude))
    return _checked(written, settings, told=told)


def _asked(job: ConvertJob) -> tuple[Qat, Calibration]:
    if not isinstance(job.fused, Qat):
        raise UnsupportedError(
            "this converter only fine-tunes", fix="choose --recipe qat, or another --via"
        )
    if job.calibration is None:
        raise ConfigError(
            "quantization-aware training needs samples to train on",
            fix="give them with --train-data FILE.npz: inputs by name, and labels `y` if you have them",
        )
    return job.fused, job.calibration


def _check_share(source: KerasModel, teacher: Any) -> None:
    """Raise UnsupportedError where most weights are in layers that cannot be trained for int8."""
    hidden = source.model.count_params() - teacher.count_params()
    if hidden > teacher.count_params():
        names = [layer.name for layer in teacher.layers if type(layer).__name__ == "PassedOn"]
        raise UnsupportedError(
            f"{_TOOL} knows {_CAN}; most weights of this model are in others: {', '.join(names)}",
            fix="quantize it without training: --precision int8 or dynamic",
        )


def _story(tuned: Tuned, settings: Qat, count: int) -> str:
    after = " ".join(f"{loss:.4g}" for loss in tuned.losses[1:])
    kept = f"epoch {tuned.best}" if tuned.best else "the weights before training"
    return (
        f"fine-tuned on {count} samples ({settings.epochs} epochs, learning rate "
        f"{settings.learning_rate:g}, seed {settings.seed}): {tuned.goal} {tuned.losses[0]:.4g} before"
        + (f", {after} after each epoch; kept: {kept}" if after else "")
    )


def _check_exact(source: KerasModel, replay: Any, inputs: Sequence[Any]) -> None:
    """Raise UnsupportedError where the replay answers otherwise than the model, naming the outputs."""
    names = [spec.name for spec in source.signature.inputs]
    expected = source.call(dict(zip(names, inputs, strict=True)))
    for name, actual in _outputs(source, replay, list(inputs)).items():
        ours, theirs = np.asarray(actual, np.float64), np.asarray(expected[name], np.float64)
        difference, extent = float(np.abs(ours - theirs).max()), float(np.ptp(theirs))
        if not difference <= 1e-4 * max(extent, 1e-30):
            kinds = sorted({type(layer).__name__ for layer in replay.layers})
            raise UnsupportedError(
                f"built anew in tf_keras, the model answers otherwise: {name!r} differs by "
                f"{difference:.2g} of a range of {extent:.2g}; its layers are {', '.join(kinds)}",
                fix="quantize it without training: --precision int8",
            )


def _named(source: KerasModel, model: Any) -> KerasModel:
    """`model`, which takes and gives lists, behind the names of the source's signature."""
    names = [spec.name for spec in source.signature.inputs]

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return _outputs(source, model, [tensors[name] for name in names])

    return KerasModel(model, Library.TF_KERAS, source.signature, source.writer, call)


def _outputs(source: KerasModel, model: Any, inputs: list[Any]) -> dict[str, Any]:
    found = model(inputs, training=False)
    results = found if isinstance(found, (list, tuple)) else [found]
    return {
        spec.name: result for spec, result in zip(source.signature.outputs, results, strict=True)
    }


def _written(job: ConvertJob, model: KerasModel, *, keeps_floats: bool) -> Artifact:
    """The model as the converter makes it, rounded where it simulates rounding.

    The converter quantizes what stands between rounded tensors, excluded or not, unless it is strict;
    and when it is strict it knows unsigned numbers only.
    """
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot

    def tell(converter: Any, _graph: Graph) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter._experimental_strict_qdq = keeps_floats  # noqa: SLF001

    made = converted(model, job.signature, tell=tell)
    path = Path(job.folder) / f"model{Format.TFLITE.suffix}"
    path.write_bytes(signed(made.data) if keeps_floats else made.data)
    return artifact_of(
        path,
        format=Format.TFLITE,
        signature=written_signature(open_model(path), made.graph.signature),
        writer=f"TensorFlow {tf.__version__} TFLite converter, tfmot {tfmot.__version__}",
        notes=made.notes,
    )


def _checked(artifact: Artifact, settings: Qat, *, told: str) -> Artifact:
    """The artifact with its layers and what there is to tell; raises UnsupportedError if not int8."""
    path = Path(artifact.path)
    check_runs(path, Precision.INT8)
    layers = layers_of(open_model(path))
    wanted = Quantize(precision=Precision.INT8, exclude=settings.exclude)
    check_changed(layers, wanted, tool=_TOOL, can=_CAN)
    missed = shortfall(layers, wanted.precision_of, tool=_TOOL)
    return changed(artifact, layers=layers, notes=(told, *missed, *artifact.notes))
