"""Multi-layer perceptrons."""

from __future__ import annotations

from typing import Any

import torch

from edgekit.backends.sklearn_modules.part import (
    Answers,
    Build,
    Builder,
    Part,
    Tensor,
    classified,
    two_sided,
)

_ACTIVATIONS = {
    "identity": lambda x: x,
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


def perceptron(estimator: Any, _: Build) -> Part:
    """MLPClassifier and MLPRegressor."""
    hidden = _ACTIVATIONS[estimator.activation]
    layers = [_layer(*pair) for pair in zip(estimator.coefs_, estimator.intercepts_, strict=True)]
    binarizer = getattr(estimator, "_label_binarizer", None)
    multilabel = binarizer is not None and binarizer.y_type_.startswith("multilabel")

    def compute(held: Any, x: Tensor) -> Answers:
        for layer in held.parts[:-1]:
            x = hidden(layer(x))
        x = held.parts[-1](x)
        if not hasattr(estimator, "classes_"):
            return {"predict": _linked(estimator, x.squeeze(1) if x.shape[1] == 1 else x)}
        if estimator.out_activation_ == "softmax":
            return classified(x, predict_proba=torch.softmax(x, dim=1))
        if multilabel:
            return {"predict": (x > 0).to(torch.int64), "predict_proba": torch.sigmoid(x)}
        return two_sided(x.squeeze(1), torch.sigmoid(x.squeeze(1)))

    return Part(compute, parts=layers)


def _linked(estimator: Any, x: Tensor) -> Tensor:
    return torch.exp(x) if estimator.out_activation_ in ("exp", "poisson") else x


def _layer(weight: Any, bias: Any) -> Any:
    layer = torch.nn.Linear(*weight.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight.T.copy()))
        layer.bias.copy_(torch.tensor(bias.copy()))
    return layer


BUILDERS: dict[str, Builder] = {"MLPClassifier": perceptron, "MLPRegressor": perceptron}
