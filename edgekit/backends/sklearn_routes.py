"""What would work instead, where one of the two ways out of scikit-learn does not."""

from __future__ import annotations

import importlib.util
from typing import Any

# skl2onnx has them, and what it writes answers something else or does not run.
_WRONG = {"GaussianProcessClassifier", "KNNImputer", "KernelCenterer", "LocalOutlierFactor"}
_NO_ROUTE = "leave this step to the application, and convert the estimators around it"


def onnx_instead(estimator: Any) -> str:
    """The fix for an estimator that has no torch module."""
    if importlib.util.find_spec("skl2onnx") is None:
        return f"convert to onnx (pip install 'edgekit[sklearn,onnx]'), or {_NO_ROUTE}"
    from skl2onnx._supported_operators import sklearn_operator_name_map

    names = {kind.__name__ for kind in sklearn_operator_name_map}
    known = type(estimator).__name__ in names - _WRONG
    return "convert to onnx, which has a converter for it" if known else _NO_ROUTE


def torch_instead(name: str) -> str:
    """The fix for an estimator, by class name, that skl2onnx cannot express."""
    via = "use edgekit's own torch modules: --via sklearn_to_pt2"
    if importlib.util.find_spec("torch") is None:
        return f"{via} (pip install 'edgekit[sklearn,torch,onnx]')"
    from edgekit.backends.sklearn_modules.table import BUILDERS

    return via if name in BUILDERS else _NO_ROUTE
