"""Classifiers made of binary classifiers, thresholds on them, and calibration of their scores."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch

from edgekit.backends.sklearn_modules.part import (
    Answers,
    Build,
    Builder,
    Part,
    Tensor,
    classified,
    interpolated,
    normalized,
    refuse,
    squared_distances,
    two_sided,
    up,
)


def _confidence(answers: Answers) -> Tensor:
    """The score of the second class: the decision function, else its probability."""
    if "decision_function" in answers:
        return answers["decision_function"]
    if "predict_proba" in answers:
        return answers["predict_proba"][:, 1]
    return answers["predict"].to(torch.float32)


def _middle(estimator: Any) -> float:
    """Where the second class begins in `_confidence`."""
    return 0.0 if hasattr(estimator, "decision_function") else 0.5


def one_vs_rest(estimator: Any, build: Build) -> Part:
    """OneVsRestClassifier."""
    if estimator.label_binarizer_.y_type_ != "multiclass" and len(estimator.estimators_) > 1:
        raise refuse(estimator, "several labels per row have no torch module")
    members = [build(member) for member in estimator.estimators_]
    middle = _middle(estimator.estimators_[0])
    has_shares = hasattr(estimator, "predict_proba")

    def compute(held: Any, x: Tensor) -> Answers:
        answers = [part(x) for part in held.parts]
        if len(answers) == 1:
            score = _confidence(answers[0])
            result = {"predict": (score > middle).to(torch.int64), "decision_function": score}
            if has_shares:
                result["predict_proba"] = answers[0]["predict_proba"]
            return result
        scores = torch.stack([_confidence(answer) for answer in answers], dim=1)
        result = classified(scores, decision_function=scores)
        if has_shares:
            shares = [answer["predict_proba"][:, 1] for answer in answers]
            result["predict_proba"] = normalized(torch.stack(shares, dim=1))
        return result

    return Part(compute, parts=members)


def one_vs_one(estimator: Any, build: Build) -> Part:
    """OneVsOneClassifier: votes, with confidences to break ties."""
    members = [build(member) for member in estimator.estimators_]
    count = len(estimator.classes_)
    first = np.zeros((len(members), count))
    second = np.zeros((len(members), count))
    for at, (one, other) in enumerate(combinations(range(count), 2)):
        first[at, one] = second[at, other] = 1
    middle = _middle(estimator.estimators_[0])

    def compute(held: Any, x: Tensor) -> Answers:
        answers = [part(x) for part in held.parts]
        wins = torch.stack([a["predict"].to(torch.float32) for a in answers], dim=1)
        sure = torch.stack([_confidence(answer) for answer in answers], dim=1)
        total = sure @ (held.second - held.first)
        votes = wins @ held.second + (1 - wins) @ held.first
        scores = votes + total / (3 * (torch.abs(total) + 1))
        if count == 2:
            score = scores[:, 1]
            return {"predict": (score > middle).to(torch.int64), "decision_function": score}
        return classified(scores, decision_function=scores)

    return Part(compute, parts=members, first=first, second=second)


def output_code(estimator: Any, build: Build) -> Part:
    """OutputCodeClassifier: the nearest code word."""
    members = [build(member) for member in estimator.estimators_]

    def compute(held: Any, x: Tensor) -> Answers:
        word = torch.stack([_confidence(part(x)) for part in held.parts], dim=1)
        return {"predict": torch.argmin(squared_distances(word, held.codes), dim=1)}

    return Part(compute, parts=members, codes=estimator.code_book_)


def constant(estimator: Any, _: Build) -> Part:
    """The stand-in for a binary problem in which only one class was seen."""
    value = int(np.ravel(estimator.y_)[0])

    def compute(_: Any, x: Tensor) -> Answers:
        score = torch.zeros_like(x[:, 0]) + float(value)
        return {
            "predict": score.to(torch.int64),
            "decision_function": score,
            "predict_proba": torch.stack([1 - score, score], dim=1),
        }

    return Part(compute)


def threshold(estimator: Any, build: Build) -> Part:
    """FixedThresholdClassifier and TunedThresholdClassifierCV."""
    chosen: Any = getattr(estimator, "best_threshold_", getattr(estimator, "threshold", None))
    method = _threshold_method(estimator)
    if chosen == "auto":
        chosen = 0.0 if method == "decision_function" else 0.5
    positive = getattr(estimator, "pos_label", None)
    if positive is not None and positive != estimator.classes_[1]:
        raise refuse(estimator, "a pos_label other than the second class has no torch module")
    limit = float(chosen)

    def compute(held: Any, x: Tensor) -> Answers:
        answers = held.parts[0](x)
        score = answers[method]
        score = score[:, 1] if score.dim() == 2 else score
        return {**answers, "predict": (score >= limit).to(torch.int64)}

    return Part(compute, parts=[build(estimator.estimator_)])


def _threshold_method(estimator: Any) -> str:
    if estimator.response_method != "auto":
        return str(estimator.response_method)
    has_shares = hasattr(estimator.estimator_, "predict_proba")
    return "predict_proba" if has_shares else "decision_function"


def calibrated(estimator: Any, build: Build) -> Part:
    """CalibratedClassifierCV: the mean over its folds."""
    folds = [_fold(fold, build) for fold in estimator.calibrated_classifiers_]

    def compute(held: Any, x: Tensor) -> Answers:
        shares = sum(part(x)["predict_proba"] for part in held.parts) / len(folds)
        return classified(shares, predict_proba=shares)

    return Part(compute, parts=folds)


def _fold(fold: Any, build: Build) -> Part:
    """One classifier with a calibrator per class: sigmoid or isotonic."""
    if fold.method not in ("sigmoid", "isotonic"):
        raise refuse(fold.estimator, f"calibration by {fold.method!r} has no torch module")
    method = (
        "decision_function" if hasattr(fold.estimator, "decision_function") else "predict_proba"
    )
    count = len(fold.classes)
    places = np.searchsorted(fold.classes, fold.estimator.classes_)
    if len(places) != count:
        raise refuse(fold.estimator, "a fold of its calibration has not seen every class")

    def compute(held: Any, x: Tensor) -> Answers:
        score = held.parts[0](x)[method]
        if count == 2:
            score = score[:, 1] if score.dim() == 2 else score
            return two_sided(score, held.parts[1](score)["predict"])
        shares = [part(score[:, at])["predict"] for at, part in enumerate(held.parts[1:])]
        return {"predict_proba": normalized(torch.stack(shares, dim=1))}

    return Part(compute, parts=[build(fold.estimator), *map(_calibrator, fold.calibrators)])


def _calibrator(calibrator: Any) -> Part:
    if type(calibrator).__name__ == "_SigmoidCalibration":
        slope, offset = float(calibrator.a_), float(calibrator.b_)
        return Part(lambda _, score: {"predict": torch.sigmoid(-(slope * score + offset))})
    return Part(
        lambda held, score: {"predict": interpolated(score, held.at, held.values)},
        at=up(calibrator.X_thresholds_),
        values=calibrator.y_thresholds_,
    )


def dummy_classifier(estimator: Any, _: Build) -> Part:
    """DummyClassifier: one answer for all rows."""
    if estimator._strategy in ("stratified", "uniform"):  # noqa: SLF001
        raise refuse(estimator, f"strategy={estimator._strategy!r} is random")  # noqa: SLF001
    if estimator.n_outputs_ > 1:
        raise refuse(estimator, "several targets have no torch module")
    shares = np.asarray(estimator.predict_proba(np.zeros((1, 1))), dtype=np.float64)
    best = int(np.searchsorted(estimator.classes_, estimator.predict(np.zeros((1, 1))))[0])

    def compute(held: Any, x: Tensor) -> Answers:
        zero = torch.zeros_like(x[:, :1])
        return {
            "predict": zero.squeeze(1).to(torch.int64) + best,
            "predict_proba": zero + held.shares,
        }

    return Part(compute, shares=shares)


def dummy_regressor(estimator: Any, _: Build) -> Part:
    """DummyRegressor: one answer for all rows."""
    flat = estimator.n_outputs_ == 1

    def compute(held: Any, x: Tensor) -> Answers:
        value = torch.zeros_like(x[:, :1]) + held.value
        return {"predict": value.squeeze(1) if flat else value}

    return Part(compute, value=np.reshape(estimator.constant_, (1, -1)))


BUILDERS: dict[str, Builder] = {
    "CalibratedClassifierCV": calibrated,
    "DummyClassifier": dummy_classifier,
    "DummyRegressor": dummy_regressor,
    "FixedThresholdClassifier": threshold,
    "OneVsOneClassifier": one_vs_one,
    "OneVsRestClassifier": one_vs_rest,
    "OutputCodeClassifier": output_code,
    "TunedThresholdClassifierCV": threshold,
    "_ConstantPredictor": constant,
}
