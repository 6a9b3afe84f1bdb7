"""Both sides' answers graded by a built-in metric, or a question where they do not fit the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.core.arrays import Array
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError
from edgekit.parity import scored
from edgekit.parity.detection import CONFIDENT, decoded, labelled, mean_ap
from edgekit.parity.embedding import same_neighbour, turned
from edgekit.parity.metrics import classes_of, looks_like_probabilities, scores_of
from edgekit.parity.scored import Scored
from edgekit.parity.tasks import CLASSIFYING, NUMERIC, Metric

Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The labels by output name (`""` where they name none), the model's signature, its inputs."""

    labels: Arrays
    signature: Signature
    inputs: Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """Both sides graded. `truth` says what stood in for labels; `categories` name the classes."""

    source: Scored
    artifact: Scored
    truth: str = ""
    agreement: float | None = None
    categories: tuple[str, ...] | None = None


def graded(metric: Metric, *, expected: Arrays, actual: Arrays, asked: Asked) -> Graded:
    """Grade the outputs of both sides.

    Raises ConfigError where the choice of an output is not clear or it does not look like the task.
    """
    if metric is Metric.MAP:
        return _detections(expected, actual, asked)
    if metric is Metric.COSINE:
        name = _vectors(asked.signature).origin
        return Graded(
            source=Scored(value=scored.mean_of(turned(expected[name], expected[name]))),
            artifact=Scored(value=scored.mean_of(turned(expected[name], actual[name]))),
            truth="the source's own vectors",
            agreement=same_neighbour(expected[name], actual[name]),
        )
    if metric in NUMERIC:
        return _numbers(metric, expected, actual, asked)
    spec = _labelled_output(metric, asked)
    grade = _classifier(metric, expected, asked, spec) if metric in CLASSIFYING else _mapper(asked)
    source, artifact = grade(expected[spec.origin]), grade(actual[spec.origin])
    return Graded(source=source, artifact=artifact, categories=spec.categories)


def classified_output(labels: Arrays, signature: Signature) -> str | None:
    """The output that class labels belong to, or would; None where that is not clear."""
    asked = Asked(labels=labels or {"": np.zeros(0)}, signature=signature, inputs={})
    try:
        return _labelled_output(Metric.TOP1, asked).origin
    except ConfigError:
        return None


def _classifier(
    metric: Metric, expected: Arrays, asked: Asked, spec: TensorSpec
) -> Callable[[Array], Scored]:
    truth = _as_indices(next(iter(asked.labels.values())), spec)
    _check_classes(metric, expected[spec.origin], truth, asked=asked, spec=spec)

    def grade(output: Array) -> Scored:
        classes, scores = classes_of(output), scores_of(output)
        if metric in (Metric.TOP5, Metric.AUROC):
            scores = output if output.ndim == 1 and metric is Metric.AUROC else scores
            if scores is None or output.dtype.kind != "f":
                raise _not_scores(metric, output)
        elif classes is None:
            raise _not_scores(metric, output)
        if metric is Metric.AUROC:
            return Scored(value=scored.auroc(np.asarray(scores), truth))
        if metric is Metric.TOP5:
            return scored.right_or_wrong(scored.among_best(np.asarray(scores), truth, 5), truth)
        by_class = scored.right_or_wrong(np.asarray(classes == truth), truth)
        if metric is Metric.TOP1:
            return by_class
        return Scored(value=scored.f1_macro(np.asarray(classes), truth), by_class=by_class.by_class)

    return grade


def _check_classes(
    metric: Metric, output: Array, truth: Array, *, asked: Asked, spec: TensorSpec
) -> None:
    """Refuse what is no classifier: one answer per input value, or labels that it cannot answer."""
    if truth.dtype.kind not in "iub":
        raise ConfigError(
            f"{metric} needs class indices as labels, these are {truth.dtype}", fix="give integers"
        )
    if truth.shape != output.shape[:1]:
        raise ConfigError(
            f"{metric} needs one label per sample, these have shape {truth.shape}",
            fix="give y of shape (N,), or say what the model is for: --task",
        )
    twin = next((n for n, a in asked.inputs.items() if a.ndim > 1 and a.shape == output.shape), "")
    if twin and not looks_like_probabilities(output, within=1e-2):
        raise ConfigError(
            f"is this an autoencoder? output {spec.origin} {output.shape} has the shape of input "
            f"{twin}, and {metric} of that means nothing",
            fix="--task reconstruction compares it with its input",
        )
    scores = scores_of(output) if output.dtype.kind == "f" else None
    if spec.categories is None and scores is not None and scores.shape[1] > 1:
        outside = np.flatnonzero(~np.isin(truth, np.arange(scores.shape[1])))
        if len(outside):
            raise ConfigError(
                f"the label of sample {outside[0]} is {truth[outside[0]]}, but the model knows the "
                f"classes 0 to {scores.shape[1] - 1}",
                fix="give class indices that start at 0",
            )


def _not_scores(metric: Metric, output: Array) -> ConfigError:
    return ConfigError(
        f"{metric} needs scores of shape (N, classes), the output is {output.dtype} {output.shape}",
        fix="say what the model is for (--task), or choose a metric that fits it (--metric)",
    )


def _numbers(metric: Metric, expected: Arrays, actual: Arrays, asked: Asked) -> Graded:
    name, target, truth = _target(metric, expected, asked)

    def grade(output: Array) -> Scored:
        match metric:
            case Metric.RMSE:
                return Scored(value=scored.rmse(output, target))
            case Metric.MAE:
                return Scored(value=scored.mae(output, target))
            case Metric.R2:
                return Scored(value=scored.r2(output, target))
            case Metric.SNR:
                return Scored(value=scored.snr_db(output, target))
            case _:
                return Scored(value=scored.mean_of(scored.squared_error(output, target)))

    return Graded(source=grade(expected[name]), artifact=grade(actual[name]), truth=truth)


def _target(metric: Metric, expected: Arrays, asked: Asked) -> tuple[str, Array, str]:
    """The output, what it should be, and a word on that: labels that fit, else the input."""
    truth = next(iter(asked.labels.values()), None)
    if truth is not None and (truth.dtype.kind == "f" or metric is not Metric.MSE):
        name = _labelled_output(metric, asked).origin
        if truth.size == expected[name].size and truth.dtype.kind in "fiub":
            return name, truth, ""
    if truth is None or metric is Metric.MSE:
        twins = [
            (name, i)
            for name, output in expected.items()
            for i, array in asked.inputs.items()
            if array.shape == output.shape
        ]
        if len(twins) == 1:
            [(name, i)] = twins
            return name, asked.inputs[i], f"the input {i}"
        found = ", ".join(f"{name} {array.shape}" for name, array in expected.items())
        raise ConfigError(
            f"{metric} without labels compares an output with the input of its shape, and there "
            f"{'is none' if not twins else 'are several'}: {found}",
            fix="give targets `y` of the output's shape",
        )
    raise ConfigError(
        f"{metric}: output {name} has shape {expected[name].shape}, the targets {truth.shape}",
        fix="give one target per value of the output, or say what the model is for: --task",
    )


def _mapper(asked: Asked) -> Callable[[Array], Scored]:
    """Grade of class maps: `(N, H, W, C)` or `(N, C, H, W)` scores, or `(N, H, W)` indices."""
    truth = next(iter(asked.labels.values()))
    if truth.ndim == 4 and 1 in (truth.shape[1], truth.shape[3]):
        truth = truth.reshape(*(n for i, n in enumerate(truth.shape) if i == 0 or n > 1))
    if truth.ndim != 3 or truth.dtype.kind not in "iub":
        raise ConfigError(
            f"miou needs maps of class indices (N, H, W) as labels, these are {truth.dtype} "
            f"{truth.shape}",
            fix="give integers; 255 is not counted",
        )

    known = int(truth[np.isin(truth, range(255))].max(initial=0)) + 1

    def grade(output: Array) -> Scored:
        if output.shape == truth.shape and output.dtype.kind in "iu":
            return scored.mean_iou(output, truth, known)
        last = output.shape[:-1] == truth.shape
        if output.ndim != 4 or last == ((len(output), *output.shape[2:]) == truth.shape):
            raise ConfigError(
                f"where are the classes? the output has shape {output.shape}, the labels "
                f"{truth.shape}",
                fix="give labels of the output's height and width",
            )
        axis = 3 if last else 1
        return scored.mean_iou(output.argmax(axis=axis), truth, output.shape[axis])

    return grade


def _detections(expected: Arrays, actual: Arrays, asked: Asked) -> Graded:
    found, other = decoded(expected), decoded(actual)
    if "boxes" in asked.labels:
        truth, said = labelled(asked.labels), ""
    else:
        truth = [image.at_least(CONFIDENT) for image in found]
        said = f"the source's own detections of score {CONFIDENT:g} and more (agreement mAP)"
    return Graded(source=mean_ap(found, truth), artifact=mean_ap(other, truth), truth=said)


def _vectors(signature: Signature) -> TensorSpec:
    vectors = [s for s in signature.outputs if s.dtype.startswith(("f", "b")) or s.quantization]
    if len(vectors) != 1:
        raise ConfigError(
            f"which output is the embedding? there are: {_origins(signature)}",
            fix="use a metric of your own: --metric module:function",
        )
    return vectors[0]


def _labelled_output(metric: Metric, asked: Asked) -> TensorSpec:
    """The output that the labels belong to: by name, else by what the metric needs."""
    outputs = {spec.origin: spec for spec in asked.signature.outputs}
    if len(asked.labels) != 1:
        boxes = "boxes" in asked.labels
        raise ConfigError(
            f"labels for several outputs ({', '.join(asked.labels)}) need a metric of your own",
            fix="say --task detection"
            if boxes
            else "give --metric module:function, or labels for one output only",
        )
    [name] = asked.labels
    if name:
        if name not in outputs:
            raise ConfigError(
                f"labels y_{name} belong to no output", fix=f"the outputs are: {', '.join(outputs)}"
            )
        return outputs[name]
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    if metric in (Metric.TOP1, Metric.F1) and "label" in outputs:
        return outputs["label"]
    scores = [
        s for s in outputs.values() if s.shape and len(s.shape) == 2 and s.dtype.startswith("f")
    ]
    if metric in CLASSIFYING and len(scores) == 1:
        return scores[0]
    raise ConfigError(
        "the model has several outputs, and `y` does not say which it labels: "
        f"{_origins(asked.signature)}",
        fix=f"name the labels y_OUTPUT, such as y_{next(iter(outputs))}",
    )


def _as_indices(truth: Array, spec: TensorSpec) -> Array:
    """Class labels as the class indices that the model answers with, where it has `categories`."""
    if spec.categories is None:
        return truth.reshape(-1) if truth.ndim == 2 and truth.shape[1] == 1 else truth
    places = {label: i for i, label in enumerate(spec.categories)}
    return np.array([places.get(str(label), -1) for label in truth.reshape(-1).tolist()])


def _origins(signature: Signature) -> str:
    return ", ".join(spec.origin for spec in signature.outputs)
