"""The table of estimators that have a torch module, and the module of a whole model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edgekit.backends.sklearn_answers import class_values, methods
from edgekit.backends.sklearn_modules import (
    bayes,
    boosting,
    centers,
    encoding,
    ensembles,
    linear,
    mlp,
    multiclass,
    neighbors,
    pipelines,
    projection,
    scaling,
    svm,
    trees,
)
from edgekit.backends.sklearn_modules.part import Builder, Part, Tensor, refuse, tensor
from edgekit.core.signature import Signature

BUILDERS: dict[str, Builder] = {
    **bayes.BUILDERS,
    **boosting.BUILDERS,
    **centers.BUILDERS,
    **encoding.BUILDERS,
    **ensembles.BUILDERS,
    **linear.BUILDERS,
    **mlp.BUILDERS,
    **multiclass.BUILDERS,
    **neighbors.BUILDERS,
    **pipelines.BUILDERS,
    **projection.BUILDERS,
    **scaling.BUILDERS,
    **svm.BUILDERS,
    **trees.BUILDERS,
}


def build(estimator: Any) -> Part:
    """The torch module of one estimator and all below it.

    Raises UnsupportedError naming the estimator, which may be a step inside a pipeline.
    """
    kind = type(estimator)
    builder = BUILDERS.get(kind.__name__) if kind.__module__.startswith("sklearn.") else None
    if builder is None:
        raise refuse(estimator, "no torch module is written for it")
    return builder(estimator, build)


class Model(torch.nn.Module):
    """A whole estimator: `x` in, the outputs of its signature out, in order."""

    def __init__(self, estimator: Any, signature: Signature) -> None:
        super().__init__()
        self.part = build(estimator)
        self._methods = methods(estimator)
        self._dtypes = tuple(getattr(torch, spec.dtype) for spec in signature.outputs)
        self._multiple = isinstance(getattr(estimator, "classes_", None), list)
        values = _label_table(estimator)
        self._named = values is not None
        if values is not None:
            self.register_buffer("values", tensor(values))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs as tensors."""
        answers = self.part(x)
        found: list[Tensor] = []
        for name, method in self._methods:
            value = answers[method]
            if name == "label" and self._named:
                value = self._as_values(value)
            found += value if isinstance(value, list) else [value]
        return tuple(value.to(dtype) for value, dtype in zip(found, self._dtypes, strict=True))

    def _as_values(self, index: Tensor) -> Tensor:
        if not self._multiple:
            return self.values[index]
        columns = [self.values[at][index[:, at]] for at in range(self.values.shape[0])]
        return torch.stack(columns, dim=1)


def _label_table(estimator: Any) -> Any:
    """Class index -> class where these differ: one row per target where there are several."""
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, list):
        widest = max(len(part) for part in classes)
        table = np.array([np.pad(np.asarray(p), (0, widest - len(p))) for p in classes])
        plain = np.broadcast_to(np.arange(widest), table.shape)
        same = all(np.array_equal(part, np.arange(len(part))) for part in classes)
        return (
            None if same else table.astype(np.int64) if not np.array_equal(table, plain) else None
        )
    values = class_values(estimator)
    if values is None or np.array_equal(values, np.arange(len(values))):
        return None
    return values
