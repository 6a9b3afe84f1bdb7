"""Writes small fitted scikit-learn models, and hostile files, into a folder; run as a script.

`NAME.skops` with rows to ask about in `NAME.npz`; rows of `*_on_thresholds` lie on the thresholds
of the trees, and one float32 to either side.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import operator
import os
import pickle
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas  # type: ignore[import-untyped]
import skops.io
from sklearn import (
    calibration,
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    mixture,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from edgekit.backends.sklearn_contents import parts
from edgekit.backends.sklearn_folding import folded

MARK = "payload-ran"
Rows = Any
Model = Any

_IRIS = load_iris(return_X_y=True)
_CANCER = load_breast_cancer(return_X_y=True)
_DIABETES = load_diabetes(return_X_y=True)
_WINE = load_wine(return_X_y=True)
_NAMES = np.array(["setosa", "versicolor", "virginica"])


def _scaled(model: Model) -> Model:
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model)


def models() -> Iterator[tuple[str, Model, Rows]]:
    """Name, fitted model and rows to ask about."""
    trees = {"n_estimators": 8, "random_state": 0}
    makers: dict[str, tuple[Model, Any]] = {
        "adaboost": (ensemble.AdaBoostClassifier(**trees), _WINE),
        "adaboost_of_lines": (
            ensemble.AdaBoostClassifier(linear_model.LogisticRegression(), n_estimators=3), _IRIS),
        "adaboost_regressor": (ensemble.AdaBoostRegressor(**trees), _DIABETES),
        "bagged_columns": (ensemble.BaggingClassifier(max_features=0.5, **trees), _WINE),
        "bayes": (_scaled(naive_bayes.GaussianNB()), _WINE),
        "calibrated": (calibration.CalibratedClassifierCV(_scaled(svm.LinearSVC())), _WINE),
        "calibrated_isotonic": (
            calibration.CalibratedClassifierCV(_scaled(svm.LinearSVC()), method="isotonic"), _CANCER),
        "columns": (_columns(), _IRIS),
        "named_columns": (_NamedColumns(), _IRIS),
        "constant": (dummy.DummyClassifier(), _IRIS),
        "extra_trees": (ensemble.ExtraTreesRegressor(max_depth=6, **trees), _DIABETES),
        "gradient": (ensemble.GradientBoostingClassifier(**trees), _WINE),
        "histogram": (_holes(ensemble.HistGradientBoostingClassifier(max_iter=5)), _WINE),
        "histogram_poisson": (
            ensemble.HistGradientBoostingRegressor(max_iter=5, loss="poisson"), _DIABETES),
        "kmeans": (cluster.KMeans(4, random_state=0), _IRIS),
        "lda": (discriminant_analysis.LinearDiscriminantAnalysis(), _WINE),
        "logistic": (_scaled(linear_model.LogisticRegression()), _CANCER),
        "mixture": (mixture.GaussianMixture(3, random_state=0), _IRIS),
        "mlp": (_scaled(neural_network.MLPRegressor(hidden_layer_sizes=8, random_state=0)), _DIABETES),
        "names": (_scaled(linear_model.LogisticRegression()), (_IRIS[0], _NAMES[_IRIS[1]])),
        "nearest": (_scaled(neighbors.KNeighborsClassifier(3)), _WINE),
        "novelty": (ensemble.IsolationForest(**trees), _IRIS),
        "odd_classes": (tree.DecisionTreeClassifier(max_depth=3), (_IRIS[0], _IRIS[1] * 5 - 5)),
        "one_vs_one": (_scaled(multiclass.OneVsOneClassifier(svm.LinearSVC())), _WINE),
        "powers": (preprocessing.PowerTransformer(), _WINE),
        "principal": (_scaled(decomposition.PCA(3, whiten=True)), _WINE),
        "qda": (_scaled(discriminant_analysis.QuadraticDiscriminantAnalysis()), _WINE),
        "stacked": (
            ensemble.StackingClassifier(
                [("a", _scaled(linear_model.LogisticRegression())),
                 ("b", ensemble.RandomForestClassifier(**trees))]), _WINE),
        "svc": (_scaled(svm.SVC()), _WINE),
        "svr": (_scaled(svm.SVR(C=10)), _DIABETES),
        "two_targets": (
            ensemble.RandomForestClassifier(**trees), (_IRIS[0], np.c_[_IRIS[1], _IRIS[1] > 0])),
        "two_regressors": (
            multioutput.MultiOutputRegressor(linear_model.Ridge()),
            (_DIABETES[0], np.c_[_DIABETES[1], _DIABETES[1] / 2])),
        "voting": (
            ensemble.VotingClassifier(
                [("a", _scaled(linear_model.LogisticRegression())), ("b", naive_bayes.GaussianNB())],
                voting="soft"), _WINE),
    }  # fmt: skip
    for name, (model, (table, y)) in makers.items():
        x = np.asarray(table, dtype=np.float32).astype(np.float64)
        rows = x[1::4]
        if name == "histogram":
            rows = np.where(np.arange(rows.size).reshape(rows.shape) % 11 == 5, np.nan, rows)
        yield name, model.fit(x[::2], y[::2]), rows


def _columns() -> Model:
    encoder = preprocessing.KBinsDiscretizer(3, encode="onehot-dense")
    part = compose.ColumnTransformer(
        [("bins", encoder, [3, 1]), ("scaled", preprocessing.RobustScaler(), [0])],
        remainder="passthrough",
    )
    chosen = feature_selection.SelectKBest(k=5)
    return pipeline.make_pipeline(part, chosen, linear_model.LogisticRegression(max_iter=1000))


class _NamedColumns:
    """Fits on a data frame, picking columns by their names."""

    def fit(self, x: Rows, y: Rows) -> Model:
        part = compose.ColumnTransformer(
            [("scaled", preprocessing.StandardScaler(), ["c", "a"])], remainder="passthrough"
        )
        frame = pandas.DataFrame(x, columns=list("abcd"))
        return pipeline.make_pipeline(part, linear_model.LogisticRegression()).fit(frame, y)


class _Holes:
    """Fits on rows with missing values."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def fit(self, x: Rows, y: Rows) -> Model:
        x = np.where(np.arange(x.size).reshape(x.shape) % 7 == 3, np.nan, x)
        return self.model.fit(x, y)


def _holes(model: Model) -> Model:
    return _Holes(pipeline.make_pipeline(preprocessing.MaxAbsScaler(), model))


def on_thresholds() -> Iterator[tuple[str, Model, Rows]]:
    """Trees, bare and behind scalers, with rows on their thresholds."""
    trees = {"n_estimators": 6, "random_state": 0}
    makers: dict[str, Model] = {
        "tree": tree.DecisionTreeClassifier(random_state=0),
        "forest": ensemble.RandomForestClassifier(**trees),
        "gradient": ensemble.GradientBoostingClassifier(**trees),
        "histogram": ensemble.HistGradientBoostingClassifier(max_iter=6),
        "isolation": ensemble.IsolationForest(**trees),
        "scaled_tree": pipeline.make_pipeline(
            preprocessing.MinMaxScaler(), tree.DecisionTreeClassifier(random_state=0)),
        "twice_scaled_histogram": pipeline.make_pipeline(
            impute.SimpleImputer(), preprocessing.MaxAbsScaler(), preprocessing.StandardScaler(),
            ensemble.HistGradientBoostingClassifier(max_iter=6)),
    }  # fmt: skip
    x = _CANCER[0].astype(np.float32)
    for name, model in makers.items():
        model.fit(x.astype(np.float64), _CANCER[1])
        yield f"{name}_on_thresholds", model, _edges(folded(model), x)


def _edges(model: Model, x: Rows) -> Rows:
    rows: list[Rows] = []
    for part, _ in parts(model):
        for feature, threshold in _splits(part):
            near = np.float32(threshold)
            for value in (near, np.nextafter(near, -np.inf), np.nextafter(near, np.inf)):
                row = x[len(rows) % len(x)].copy()
                row[feature] = value
                rows.append(row)
    return np.array(rows[:1500], dtype=np.float32)


def _splits(part: Model) -> list[tuple[int, float]]:
    if type(part).__name__ == "Tree":
        inner = part.children_left != -1
        return list(zip(part.feature[inner], part.threshold[inner], strict=True))
    if type(part).__name__ == "TreePredictor":
        inner = part.nodes["is_leaf"] == 0
        table = part.nodes[inner]
        return list(zip(table["feature_idx"], table["num_threshold"], strict=True))
    return []


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def hostile(folder: Path) -> None:
    """Files that would run something, in every compression and by every road skops has."""
    bomb = pickle.dumps({"model": Payload(folder / MARK)})
    packers: dict[str, Callable[[bytes], bytes]] = {
        "plain": bytes, "zlib": partial(zlib.compress, level=3), "gzip": gzip.compress,
        "bz2": bz2.compress, "xz": lzma.compress,
        "lzma": partial(lzma.compress, format=lzma.FORMAT_ALONE),
    }  # fmt: skip
    for name, pack in packers.items():
        (folder / f"evil_{name}.pkl").write_bytes(pack(bomb))
    command = f"touch {folder / MARK}"
    functions = {
        "system": os.system,
        "partial": partial(os.system, command),
        "methodcaller": operator.methodcaller("predict"),
        "load": np.load,
    }
    for name, function in functions.items():
        skops.io.dump(preprocessing.FunctionTransformer(function), folder / f"evil_{name}.skops")
    by_hand(folder, command)


def by_hand(folder: Path, command: str) -> None:
    """Schemas that skops would not write: os.system called for an object, or named the old way."""
    text = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode",
            "content": json.dumps(command), "is_json": True, "__id__": 3}  # fmt: skip
    arguments = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode",
                 "content": [text], "__id__": 2}  # fmt: skip
    call = {"__class__": "system", "__module__": "posix", "protocol": 2, "_skops_version": "0.16",
            "__loader__": "ConstructorFromReduceNode", "content": arguments, "__id__": 1}  # fmt: skip
    function = {"module_path": "posix", "function": "system"}
    old = {"__class__": "log1p", "__module__": "numpy", "protocol": 0, "_skops_version": "0.1",
           "__loader__": "FunctionNode", "content": function, "__id__": 1}  # fmt: skip
    for name, schema in (("constructor", call), ("old_protocol", old)):
        with zipfile.ZipFile(folder / f"evil_{name}.skops", "w") as archive:
            archive.writestr("schema.json", json.dumps(schema))


def broken(folder: Path) -> None:
    """Trees whose nodes point outside of themselves, and models edgekit has no answer for."""
    for name, field, value in (("child", "left_child", 999), ("loop", "left_child", 0),
                               ("feature", "feature", 77)):  # fmt: skip
        model = tree.DecisionTreeClassifier(max_depth=2).fit(*_IRIS)
        state = model.tree_.__getstate__()
        state["nodes"][field][0] = value
        model.tree_.__setstate__(state)
        skops.io.dump(model, folder / f"broken_{name}.skops")
    text = preprocessing.OneHotEncoder().fit([["red"], ["blue"]])
    skops.io.dump(text, folder / "text.skops")
    skops.io.dump(cluster.DBSCAN().fit(_IRIS[0]), folder / "no_predict.skops")
    skops.io.dump(svm.SVC(probability=True).fit(*_IRIS), folder / "platt.skops")
    pipe = pipeline.make_pipeline(preprocessing.SplineTransformer(), linear_model.Ridge())
    pipe.fit(*_DIABETES)
    (folder / "spline.pkl").write_bytes(pickle.dumps(pipe))
    flags = ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features=[0])
    x = np.c_[np.arange(150) % 4, _IRIS[0][:, 1:]]
    skops.io.dump(flags.fit(x, _IRIS[1]), folder / "categories.skops")
    (folder / "half.skops").write_bytes((folder / "text.skops").read_bytes()[:300])


def main() -> None:
    """Write everything into the folder named on the command line."""
    folder = Path(sys.argv[1])
    warnings.filterwarnings("ignore")
    for name, model, rows in (*models(), *on_thresholds()):
        skops.io.dump(model, folder / f"{name}.skops")
        np.savez(folder / f"{name}.npz", x=np.asarray(rows, dtype=np.float32))
    (folder / "logistic.pkl").write_bytes(pickle.dumps(skops.io.load(folder / "logistic.skops")))
    hostile(folder)
    broken(folder)


if __name__ == "__main__":
    main()
