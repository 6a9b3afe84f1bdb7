"""Every public scikit-learn estimator, fitted on small data: what the coverage table is made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Estimator = Any  # scikit-learn has no types


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """An estimator and the rows to ask it about; `problem` says why it could not be fitted."""

    name: str
    kind: str
    estimator: Estimator = None
    rows: Rows | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Rows to fit, their target, and other rows to ask about."""

    x: Any
    y: Any
    asked: Rows


def zoo(only: frozenset[str] = frozenset()) -> Iterator[Fitted]:
    """All estimators of `sklearn.utils.all_estimators()` in order, or those named in `only`."""
    from sklearn.utils import all_estimators

    warnings.filterwarnings("ignore")
    for name, kind in all_estimators():
        if only and name not in only:
            continue
        yield _fitted(name, kind)


def _fitted(name: str, kind: Estimator) -> Fitted:
    group = _group(kind)
    try:
        estimator = _made(name, kind)
        if "random_state" in estimator.get_params():
            estimator.set_params(random_state=0)
        data = _data(name, estimator)
        estimator.fit(data.x) if data.y is None else estimator.fit(data.x, data.y)
    except Exception as error:  # whatever scikit-learn raises is the answer for this row
        return Fitted(name=name, kind=group, problem=f"not fitted: {str(error).splitlines()[0]}")
    return Fitted(name=name, kind=group, estimator=estimator, rows=data.asked)


def _group(kind: Estimator) -> str:
    from sklearn import base

    groups = {
        "classifier": base.ClassifierMixin,
        "regressor": base.RegressorMixin,
        "outlier detector": base.OutlierMixin,
        "clusterer": base.ClusterMixin,
        "transformer": base.TransformerMixin,
    }
    return next((group for group, mixin in groups.items() if issubclass(kind, mixin)), "other")


def _made(name: str, kind: Estimator) -> Estimator:
    """With default parameters where these work on the data."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    classifier, regressor = LogisticRegression(max_iter=500), Ridge()
    pair = [("linear", classifier), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
    makers: dict[str, Callable[[], Estimator]] = {
        "CCA": lambda: kind(n_components=1),
        "ColumnTransformer": lambda: kind([("scaled", StandardScaler(), [0, 2])], remainder="passthrough"),
        "FeatureUnion": lambda: kind([("scaled", StandardScaler())]),
        "FrozenEstimator": lambda: kind(classifier.fit(*_iris_rows())),
        "IsotonicRegression": lambda: kind(out_of_bounds="clip"),
        "LocalOutlierFactor": lambda: kind(novelty=True),
        "PLSCanonical": lambda: kind(n_components=1),
        "PLSSVD": lambda: kind(n_components=1),
        "Pipeline": lambda: kind([("scaled", StandardScaler()), ("model", classifier)]),
        "RadiusNeighborsClassifier": lambda: kind(radius=1.57),
        "SequentialFeatureSelector": lambda: kind(classifier, n_features_to_select=2),
        "SparseCoder": lambda: kind(np.eye(4)),
        "StackingClassifier": lambda: kind(pair),
        "StackingRegressor": lambda: kind([("ridge", regressor)]),
        "VotingClassifier": lambda: kind(pair, voting="soft"),
        "VotingRegressor": lambda: kind([("ridge", regressor)]),
    }  # fmt: skip
    makers |= dict.fromkeys(
        ("GaussianRandomProjection", "SparseRandomProjection"), lambda: kind(n_components=2)
    )
    makers |= dict.fromkeys(("MultiOutputRegressor", "RegressorChain"), lambda: kind(regressor))
    makers |= dict.fromkeys(
        ("ClassifierChain", "FixedThresholdClassifier",  "MultiOutputClassifier",
         "OneVsOneClassifier", "OneVsRestClassifier", "OutputCodeClassifier", "RFE", "RFECV",
         "SelectFromModel", "SelfTrainingClassifier", "TunedThresholdClassifierCV"),
        lambda: kind(classifier),
    )  # fmt: skip
    makers |= dict.fromkeys(
        ("GridSearchCV", "HalvingGridSearchCV"), lambda: kind(classifier, {"C": [1, 2]})
    )
    makers |= dict.fromkeys(
        ("HalvingRandomSearchCV", "RandomizedSearchCV"),
        lambda: (
            kind(classifier, {"C": [1, 2]}, n_candidates=2)
            if name.startswith("Halving")
            else kind(classifier, {"C": [1, 2]}, n_iter=2)
        ),
    )
    make = makers.setdefault(name, kind)
    return make()


def _iris_rows() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    return x[::2], y[::2]


def _data(name: str, estimator: Estimator) -> Data:
    """Iris for classes, diabetes for numbers; every second row to fit, the others to ask about."""
    from sklearn.base import is_regressor
    from sklearn.datasets import load_diabetes, load_iris

    x, y = (load_diabetes if is_regressor(estimator) else load_iris)(return_X_y=True)
    x, y = x[:300].astype(np.float32).astype(np.float64), y[:300]
    fit, asked = (x[::2], y[::2]), x[1::2]
    if name in ("CategoricalNB", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder"):
        x = np.round(x)
        fit, asked = (x, y), x[1::2]
    if name in ("FixedThresholdClassifier", "GaussianProcessClassifier", "TargetEncoder",
                "TunedThresholdClassifierCV"):  # fmt: skip
        fit = (fit[0], (fit[1] > 0).astype(int))
    if name in ("ClassifierChain", "MultiOutputClassifier"):
        fit = (fit[0], np.c_[fit[1] > 0, fit[1] > 1].astype(int))
    if name.startswith("MultiTask") or name in ("MultiOutputRegressor", "RegressorChain"):
        fit = (fit[0], np.c_[fit[1], fit[1] * 0.5 + 100 * fit[0][:, 0]])
    if name == "IsotonicRegression":
        return Data(x=fit[0][:, 2], y=fit[1], asked=asked[:, 2:3])
    if name in ("KNNImputer", "MissingIndicator", "SimpleImputer"):
        holes = [np.where(np.arange(part.size).reshape(part.shape) % 7 == 3, np.nan, part)
                 for part in (fit[0], asked)]  # fmt: skip
        return Data(x=holes[0], y=None, asked=holes[1])
    if name == "KernelCenterer":
        return Data(x=fit[0] @ fit[0].T, y=None, asked=asked @ fit[0].T)
    if name in ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer"):
        return Data(x=["one row of text", "another row"], y=None, asked=asked)
    if name in ("LabelBinarizer", "LabelEncoder"):
        return Data(x=fit[1], y=None, asked=asked)
    if name == "MultiLabelBinarizer":
        return Data(x=[(1, 2), (3,)], y=None, asked=asked)
    if name in ("DictVectorizer", "FeatureHasher"):
        return Data(x=[{"a": 1.0}, {"b": 2.0}], y=None, asked=asked)
    return Data(x=fit[0], y=fit[1], asked=asked)
