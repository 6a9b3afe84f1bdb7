"""What a fitted estimator answers: the names, dtypes and values of its outputs.

One rule for every format. Input: `x`, float32, `(N, n_features)`. Outputs:

    classifier           `label`, and `probabilities` or else `scores` (decision function)
    regressor            `prediction`
    outlier detector     `label` (1 inside, -1 outside) and `scores`
    clusterer, mixture   `label`, and `probabilities` or `distances` where it gives them
    transformer          `transformed`

`label` is int64: the class itself where all classes are whole numbers, as `predict` gives it, else
the index into `classes_`, whose names are then in the output's `categories`.

The reference is scikit-learn in its own float64, fed values that float32 can hold: an edge device
gets float32, and scikit-learn fed float32 arrays would round in places of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.core.arrays import Array
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError, UnsupportedError

INPUT = "x"
Methods = tuple[tuple[str, str], ...]


def signature_of(estimator: Any, given: tuple[TensorSpec, ...] = ()) -> Signature:
    """The signature, learned by asking the estimator about two rows.

    `given` are the user's input specs, used where the estimator has forgotten how many features it
    takes. Raises UnsupportedError for an estimator that takes text or answers with it, or that has
    nothing to answer about new rows.
    """
    features = feature_count(estimator, given)
    outputs = answer(estimator, np.array([_valid_row(estimator, features)] * 2))
    categories = _categories(estimator)
    return Signature(
        inputs=(TensorSpec(name=INPUT, dtype="float32", shape=(None, features)),),
        outputs=tuple(
            TensorSpec(
                name=name,
                dtype=str(value.dtype),
                shape=(None, *value.shape[1:]),
                categories=categories if name == "label" else None,
            )
            for name, value in outputs.items()
        ),
    )


def feature_count(estimator: Any, given: tuple[TensorSpec, ...] = ()) -> int:
    """How many columns `x` has."""
    known = getattr(estimator, "n_features_in_", None)
    if known is not None:
        return int(known)
    if type(estimator).__name__ == "IsotonicRegression":
        return 1
    if type(estimator).__name__ in _NOT_FOR_TABLES:
        raise UnsupportedError(
            f"{type(estimator).__name__} takes {_NOT_FOR_TABLES[type(estimator).__name__]}, "
            "not a table of numbers",
            fix="leave this step to the application and convert the estimators after it",
        )
    columns = given[0].shape[-1] if given and given[0].shape else None
    if columns:
        return columns
    raise ConfigError(
        f"{type(estimator).__name__} does not say how many features it takes",
        fix=f"give the number of columns: --input {INPUT}:N,COLUMNS:float32",
    )


_NOT_FOR_TABLES = {
    "CountVectorizer": "text",
    "TfidfVectorizer": "text",
    "HashingVectorizer": "text",
    "DictVectorizer": "dictionaries",
    "FeatureHasher": "dictionaries",
    "PatchExtractor": "images",
    "LabelBinarizer": "labels",
    "LabelEncoder": "labels",
    "MultiLabelBinarizer": "labels",
}


def answer(estimator: Any, x: Array) -> dict[str, Array]:
    """All outputs for the rows of `x` `(N, n_features)`, float32, int64 or bool."""
    rows = x.astype(np.float64)
    outputs: dict[str, Array] = {}
    for name, method in methods(estimator):
        value = getattr(estimator, method)(rows)
        if name == "label":
            outputs[name] = _as_labels(estimator, np.asarray(value))
        elif isinstance(value, list):
            outputs |= {f"{name}_{at}": _as_numbers(part, name) for at, part in enumerate(value)}
        else:
            outputs[name] = _as_numbers(value, name)
    return outputs


def methods(estimator: Any) -> Methods:
    """Output names in order, each with the method that gives it."""
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor

    def first(*options: tuple[str, str]) -> Methods:
        return next(((option,) for option in options if hasattr(estimator, option[1])), ())

    label = first(("label", "predict"))
    if is_regressor(estimator) and label:
        return (("prediction", "predict"),)
    if is_outlier_detector(estimator) and label:
        return (*label, *first(("scores", "decision_function")))
    if is_clusterer(estimator) and label:
        return (*label, *first(("distances", "transform")))
    if label:
        scores = (("probabilities", "predict_proba"), ("scores", "decision_function"))
        return (*label, *first(*(scores if is_classifier(estimator) else scores[:1])))
    found = first(("transformed", "transform"), ("scores", "score_samples"))
    if not found:
        raise UnsupportedError(
            f"{type(estimator).__name__} has neither predict nor transform: "
            "it has answers only for the rows it was fitted on",
            fix="fit a classifier to its labels_, such as KNeighborsClassifier, and convert that",
        )
    return found


def class_values(estimator: Any) -> Array | None:
    """`classes_` as the integers that `label` holds; None where it holds what predict gives."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return None
    if isinstance(classes, list):
        if all(_are_whole(np.asarray(part)) for part in classes):
            return None
        raise UnsupportedError(
            f"{type(estimator).__name__} has several outputs whose classes are not whole numbers",
            fix="encode the targets as integers before fitting",
        )
    classes = np.asarray(classes)
    return classes.astype(np.int64) if _are_whole(classes) else np.arange(len(classes))


def _categories(estimator: Any) -> tuple[str, ...] | None:
    classes = getattr(estimator, "classes_", None)
    if classes is None or isinstance(classes, list) or _are_whole(np.asarray(classes)):
        return None
    return tuple(str(name) for name in classes)


def _are_whole(classes: Array) -> bool:
    return classes.dtype.kind in "iu" or (
        classes.dtype.kind == "f" and bool(np.all(classes == np.floor(classes)))
    )


def _as_labels(estimator: Any, labels: Array) -> Array:
    if _are_whole(labels):
        return labels.astype(np.int64)
    index = {name: at for at, name in enumerate(getattr(estimator, "classes_", ()))}
    return np.array([index[label] for label in labels.tolist()], dtype=np.int64)


def _as_numbers(value: Any, name: str) -> Array:
    array = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    dtypes = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}
    if array.dtype.kind == "O":
        array = array.astype(np.float64)
    if array.dtype.kind not in dtypes:
        raise UnsupportedError(
            f"output {name!r} of the estimator is {array.dtype}: edge formats hold numbers only"
        )
    return array.astype(dtypes[array.dtype.kind])


def _valid_row(estimator: Any, features: int) -> list[float]:
    """One row the estimator accepts: ones, and known categories where a column is encoded."""
    row = [1.0] * features
    for column, value in _known_values(estimator):
        row[column] = value
    return row


def _known_values(estimator: Any) -> list[tuple[int, float]]:
    if hasattr(estimator, "best_estimator_"):
        return _known_values(estimator.best_estimator_)
    if hasattr(estimator, "steps"):
        return _known_values(estimator.steps[0][1])
    if hasattr(estimator, "transformer_list"):
        return [pair for _, part in estimator.transformer_list for pair in _known_values(part)]
    if hasattr(estimator, "transformers_"):
        return [
            (columns[at], value)
            for part, columns in column_parts(estimator)
            for at, value in _known_values(part)
        ]
    rows = getattr(estimator, "_fit_X", None)
    if isinstance(rows, np.ndarray):  # estimators with a radius find no neighbour far away
        return list(enumerate(rows[0].tolist()))
    found: list[Any] = list(getattr(estimator, "categories_", ()))
    try:
        return [(at, float(known[0])) for at, known in enumerate(found)]
    except (TypeError, ValueError) as error:
        raise UnsupportedError(
            f"{type(estimator).__name__} encodes text, and edge formats take numbers: "
            f"{found[0][0]!r} is not one",
            fix="encode text columns as integers before the model, in the application",
        ) from error


def column_parts(transformer: Any) -> list[tuple[Any, list[int]]]:
    """The parts of a fitted ColumnTransformer in output order, with the columns of each."""
    columns = transformer._transformer_to_input_indices  # noqa: SLF001  (transformers_ may hold names)
    return [
        (part, [int(at) for at in columns[name]]) for name, part, _ in transformer.transformers_
    ]


def number_columns(transformer: Any) -> None:
    """Let a ColumnTransformer that was fitted on a data frame take the table `x`, by position."""
    transformer.transformers_ = [
        (name, part, columns)
        for (name, part, _), (_, columns) in zip(
            transformer.transformers_, column_parts(transformer), strict=True
        )
    ]
