"""What goes into a model and what comes out: names, dtypes, shapes."""

from __future__ import annotations

from edgekit.core.noun import Noun

Shape = tuple[int | None, ...]


class Quantization(Noun):
    """Affine quantization of one tensor: real = scale * (stored - zero_point), per `axis` or whole."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


class TensorSpec(Noun):
    """One input or output. `shape`: `None` entries are free axes; `shape=None` is unknown rank.

    `source_name` is the name of the same tensor in the source model, where a format lost or
    changed it; parity compares by that map. `categories` are the labels an integer class index
    stands for, where the source answers with labels the format cannot hold.
    """

    name: str
    dtype: str
    shape: Shape | None = None
    source_name: str | None = None
    quantization: Quantization | None = None
    categories: tuple[str, ...] | None = None

    @property
    def origin(self) -> str:
        """The name of this tensor in the source model."""
        return self.name if self.source_name is None else self.source_name


class Signature(Noun):
    """Inputs and outputs in the order in which the model takes and gives them."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, name: str) -> TensorSpec:
        """The input called `name`; KeyError where there is none."""
        return {spec.name: spec for spec in self.inputs}[name]


def show_shape(shape: Shape | None) -> str:
    """`(N, 28, 28, 1)`: a free first axis is N, any other free axis is ?."""
    if shape is None:
        return "(unknown)"
    axes = [
        "N" if d is None and i == 0 else "?" if d is None else str(d) for i, d in enumerate(shape)
    ]
    return f"({axes[0]},)" if len(axes) == 1 else f"({', '.join(axes)})"
