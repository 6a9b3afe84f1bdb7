"""Fine-tuning of a model in which int8 is simulated, on samples that stay on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from edgekit.backends.calls import fitted
from edgekit.backends.qat_layers import Simulation
from edgekit.core.arrays import Array
from edgekit.core.calibration import Calibration
from edgekit.core.recipe import Qat
from edgekit.core.signature import Signature
from edgekit.errors import ConfigError, StepError

_MOST_SCORED = 2048
Answer = NDArray[np.float64]
Loss = Callable[[Any, Any], Any]  # of one output: what it is, what is wanted
Batch = tuple[list[Any], list[Any]]


@dataclass(frozen=True)
class Samples:
    """Rows on disk, in the order of the signature; `labels` is None for an output without."""

    inputs: tuple[Array, ...]
    labels: tuple[Array | None, ...]
    signature: Signature
    count: int

    def batches(self, order: Array, size: int) -> Iterator[Batch]:
        """Inputs and labels of the rows in `order`, `size` at a time."""
        fixed = self.signature.inputs[0].shape
        size = fixed[0] or size if fixed else size
        whole = fixed is not None and fixed[0] is not None
        for start in range(0, len(order) - (size - 1 if whole else 0), size):
            rows = np.sort(order[start : start + size])
            inputs = [
                tf.constant(fitted(np.array(array[rows]), spec))
                for array, spec in zip(self.inputs, self.signature.inputs, strict=True)
            ]
            labels = [None if each is None else tf.constant(each[rows]) for each in self.labels]
            yield inputs, labels


@dataclass(frozen=True)
class Tuned:
    """How the fine-tuning went: what was minimized, and its value before and after each epoch."""

    goal: str
    losses: tuple[float, ...]
    best: int


def open_samples(calibration: Calibration, signature: Signature) -> Samples:
    """The training samples, mapped into memory; raises ConfigError for labels of no known output."""
    outputs = [spec.origin for spec in signature.outputs]
    labels = dict(calibration.labels)
    if "" in labels and len(outputs) == 1:
        labels[outputs[0]] = labels.pop("")
    if set(labels) - set(outputs):
        raise ConfigError(
            "the training data does not say which output its labels are of",
            fix=f"call them {', '.join(f'y_{name}' for name in outputs)}, or leave them out: then "
            "the float model's own answers are learnt",
        )
    return Samples(
        inputs=tuple(
            np.load(calibration.files[spec.origin], mmap_mode="r") for spec in signature.inputs
        ),
        labels=tuple(
            np.load(labels[name], mmap_mode="r") if name in labels else None for name in outputs
        ),
        signature=signature,
        count=calibration.count,
    )


def fine_tune(simulation: Simulation, teacher: Any, samples: Samples, settings: Qat) -> Tuned:
    """Measure the ranges, then train `simulation.model`; its weights are those of the best epoch.

    The loss is that of the task where there are labels, else the distance to what `teacher` (the
    float model) answers. The same seed, samples and machine give the same weights. Raises
    StepError where the training diverges.
    """
    tf_keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    model = simulation.model
    everything = np.arange(samples.count)
    goal, losses_of = _goals(teacher, samples)

    def loss(actual: Sequence[Any], wanted: Sequence[Any]) -> Any:
        return tf.add_n([of(a, w) for of, a, w in zip(losses_of, actual, wanted, strict=True)])

    _measure_ranges(simulation, samples.batches(everything, settings.batch_size))
    scored = everything[:: -(-samples.count // _MOST_SCORED)]

    def score() -> float:
        found = [
            float(loss(_called(model, inputs), _wanted(teacher, inputs, labels)))
            for inputs, labels in samples.batches(scored, settings.batch_size)
        ]
        return float(np.mean(found))

    steps = settings.epochs * -(-samples.count // settings.batch_size)
    step = _training_step(model, teacher, loss, settings, steps=steps)
    losses, weights, best = [score()], model.get_weights(), 0
    _say(f"before training: {goal} {losses[0]:.6g}")
    rng = np.random.default_rng(settings.seed)
    for epoch in range(1, settings.epochs + 1):
        for inputs, labels in samples.batches(rng.permutation(everything), settings.batch_size):
            step(inputs, labels)
        losses.append(score())
        _say(f"epoch {epoch} of {settings.epochs}: {goal} {losses[-1]:.6g}")
        if not isfinite(losses[-1]):
            raise StepError(
                f"the training diverged: {goal} is {losses[-1]} after epoch {epoch}",
                fix=f"give the pass a learning_rate below {settings.learning_rate:g}",
            )
        if losses[-1] < min(losses[:-1]):
            weights, best = model.get_weights(), epoch
    model.set_weights(weights)
    return Tuned(goal, tuple(losses), best)


def _say(line: str) -> None:
    """Into the log of this child."""
    sys.stdout.write(f"{line}\n")


def _called(model: Any, inputs: list[Any], *, training: bool = False) -> list[Any]:
    results = model(inputs, training=training)
    return list(results) if isinstance(results, (list, tuple)) else [results]


def _wanted(teacher: Any, inputs: list[Any], labels: list[Any]) -> list[Any]:
    if all(label is not None for label in labels):
        return labels
    answers = _called(teacher, inputs)
    return [a if label is None else label for a, label in zip(answers, labels, strict=True)]


def _measure_ranges(simulation: Simulation, batches: Iterator[Batch]) -> None:
    """Set every range to what the samples show, while all but the weights is in float."""
    step = tf.function(
        lambda inputs: _called(simulation.model, inputs, training=True),
        autograph=False,
        reduce_retracing=True,
    )
    simulation.phase.is_measuring = True
    try:
        for inputs, _ in batches:
            step(inputs)
    finally:
        simulation.phase.is_measuring = False


def _training_step(
    model: Any, teacher: Any, loss: Callable[..., Any], settings: Qat, *, steps: int
) -> Any:
    """One step of Adam, whose rate falls to 0 over `steps`: rounded weights do not settle otherwise."""
    decayed = tf_keras.optimizers.schedules.CosineDecay(settings.learning_rate, max(steps, 1))
    optimizer = tf_keras.optimizers.Adam(decayed)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(inputs: list[Any], labels: list[Any]) -> None:
        wanted = _wanted(teacher, inputs, labels)
        with tf.GradientTape() as tape:
            lost = loss(_called(model, inputs, training=True), wanted)
        gradients = tape.gradient(lost, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    return step


def _goals(teacher: Any, samples: Samples) -> tuple[str, list[Loss]]:
    """What to minimize, by the labels and by what the float model's answers look like."""
    inputs, labels = next(samples.batches(np.arange(samples.count), min(samples.count, 64)))
    answers = [np.asarray(answer, np.float64) for answer in _called(teacher, inputs)]
    found = [
        _distance(answer) if label is None else _loss_of_labels(answer, label.numpy(), whole)
        for answer, label, whole in zip(answers, labels, samples.labels, strict=True)
    ]
    return " + ".join(dict.fromkeys(goal for goal, _ in found)), [loss for _, loss in found]


def _is_distribution(answer: Answer) -> bool:
    is_share = answer.ndim > 1 and answer.shape[-1] > 1 and bool((answer >= 0).all())
    return is_share and bool(np.allclose(answer.sum(-1), 1, atol=1e-3))


def _distance(answer: Answer) -> tuple[str, Loss]:
    """Kullback-Leibler for distributions, else squared error in units of the answers' variance."""
    goal = "distance to the float model"
    if _is_distribution(answer):
        divergence = tf_keras.losses.KLDivergence()
        return goal, lambda actual, wanted: divergence(wanted, actual)
    scale = max(float(np.var(answer)), 1e-12)
    return goal, lambda actual, wanted: tf.reduce_mean(tf.square(actual - wanted)) / scale


def _loss_of_labels(answer: Answer, labels: NDArray[Any], whole: Any) -> tuple[str, Loss]:
    """Cross-entropy for class numbers, squared error for numbers in the output's own shape.

    `labels` are those of the rows that gave `answer`, `whole` those of all.
    """
    classes = answer.shape[-1]
    if labels.dtype.kind not in "iub":
        if labels.shape != answer.shape:
            raise _misfit(labels, answer)
        return "squared error", lambda actual, wanted: tf.reduce_mean(
            tf.square(actual - tf.cast(wanted, actual.dtype))
        )
    if labels.size != answer.size // classes:
        raise _misfit(labels, answer)
    if whole.min() < 0 or whole.max() >= max(classes, 2):
        raise ConfigError(
            f"the labels have class {whole.max()}, and the output has {classes}",
            fix="number the classes from 0, in the order of the model's outputs",
        )
    shape = (-1, *answer.shape[1:-1])
    if classes == 1:
        is_logit = not bool(((answer >= 0) & (answer <= 1)).all())
        binary = tf_keras.losses.BinaryCrossentropy(from_logits=is_logit)
        return "cross-entropy", lambda actual, wanted: binary(
            tf.reshape(wanted, (*shape, 1)), actual
        )
    sparse = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=not _is_distribution(answer))
    return "cross-entropy", lambda actual, wanted: sparse(tf.reshape(wanted, shape), actual)


def _misfit(labels: NDArray[Any], answer: Answer) -> ConfigError:
    return ConfigError(
        f"labels of shape {labels.shape} do not fit answers of shape {answer.shape}",
        fix="give class numbers of the output's classes, or numbers in the output's own shape",
    )
