"""The inside of a scikit-learn model: its estimators, learned numbers and trees."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.sklearn_contents import parts
from edgekit.backends.sklearn_files import open_file
from edgekit.core.inspection import Inspection, QuantizedTensors
from edgekit.core.jobs import InspectJob
from edgekit.errors import MalformedError


def inspect(job: InspectJob) -> Inspection:
    """Estimator classes with counts, learned numbers, trees and their nodes.

    Parameters are the numbers in fitted attributes (their names end in `_`) and two per tree node,
    feature and threshold, besides its values.
    """
    artifact = job.artifact
    if artifact.source is None:
        raise MalformedError(f"{artifact.path} has no source to inspect")
    opened = open_file(artifact.source)
    found = [part for part, _ in parts(opened.estimator)]
    trees = [part for part in found if _nodes(part)]
    arrays = [array for part in found for array in _learned(part)]
    data = Path(artifact.path).read_bytes()
    return Inspection(
        format=artifact.format,
        writer=artifact.writer,
        signature=artifact.signature,
        ops=dict(Counter(type(part).__name__ for part in found if _is_fitted(part)).most_common()),
        size_bytes=len(data),
        size_compressed_bytes=len(zlib.compress(data, 9)),
        parameters=sum(array.size for array in arrays) + sum(map(_tree_numbers, trees)),
        tensors=QuantizedTensors(
            dtypes=dict(Counter(str(array.dtype) for array in arrays).most_common())
        ),
        notes=(*opened.notes, *_about_trees(trees)),
    )


def _is_fitted(part: Any) -> bool:
    """An estimator that has learned; the templates that ensembles keep have not."""
    if not hasattr(part, "get_params") or isinstance(part, type):
        return False
    return any(name.endswith("_") and not name.startswith("_") for name in vars(part)) or bool(
        getattr(part, "steps", None)
    )


def _learned(part: Any) -> list[Any]:
    if not _is_fitted(part):
        return []
    arrays: list[Any] = []
    for name, value in vars(part).items():
        if (
            not name.endswith("_")
            or name.startswith("_")
            or name in ("classes_", "feature_names_in_")
        ):
            continue
        values = value if isinstance(value, list) else [value]
        arrays += [v for v in values if isinstance(v, np.ndarray) and v.dtype.kind in "fiu"]
    return arrays


def _nodes(part: Any) -> int:
    """The node count of a tree, of either of scikit-learn's two kinds; 0 for anything else."""
    kind = type(part).__name__
    if kind == "Tree":
        return int(part.node_count)
    return len(part.nodes) if kind == "TreePredictor" else 0


def _tree_numbers(tree: Any) -> int:
    if type(tree).__name__ == "Tree":
        return 2 * int(tree.node_count) + int(tree.value.size)
    return 3 * len(tree.nodes)


def _about_trees(trees: list[Any]) -> tuple[str, ...]:
    if not trees:
        return ()
    counts = [_nodes(tree) for tree in trees]
    return (f"{len(trees)} trees with {sum(counts)} nodes, {max(counts)} in the largest",)
