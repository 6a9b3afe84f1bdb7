"""Finds operators in a program that were left in training mode when it was exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgekit.errors import UnsupportedError

_PROBABILITIES = ("p", "dropout", "dropout_p")


def refuse_training_mode(program: Any) -> None:
    """Raises UnsupportedError where dropout still drops or batch norm still learns.

    torch.export takes such a model without a word, and its answers change from call to call or
    with the other rows of the batch.
    """
    found = sorted(set(_live_operators(program)))
    if found:
        raise UnsupportedError(
            f"the program was exported in training mode: {', '.join(found)} is live",
            fix="call model.eval() before torch.export.export",
        )


def _live_operators(program: Any) -> Iterator[str]:
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None:
            continue
        given = {a.name: v for a, v in zip(schema.arguments, node.args, strict=False)} | node.kwargs
        name = str(node.target).removeprefix("aten.").partition(".")[0]
        if _is_live(name, given):
            yield name


def _is_live(name: str, given: dict[str, Any]) -> bool:
    training = given.get("train", given.get("training", False)) is True
    if "batch_norm" in name:
        # Without running statistics a batch norm uses those of the batch in inference, too.
        return training and given.get("running_mean") is not None
    if name == "scaled_dot_product_attention":
        return bool(given.get("dropout_p", 0.0))
    if name == "rrelu":
        return training
    return training and any(given.get(key) for key in _PROBABILITIES)
