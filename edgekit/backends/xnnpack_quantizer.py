"""What XNNPACK's quantizer is asked to do with each op of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver, PlaceholderObserver
from torchao.quantization.pt2e.quantizer import (
    ComposableQuantizer,
    QuantizationAnnotation,
    QuantizationConfig,
    QuantizationSpec,
    Quantizer,
)

from edgekit.backends.activation_ranges import RangeCollector
from edgekit.backends.layer_folding import CLAMPS, TRANSPOSED, constant
from edgekit.core.recipe import Precision, Quantize, RangeMethod

_KEY = "quantization_annotation"
JOINS = frozenset(
    {torch.ops.aten.add.Tensor, torch.ops.aten.mul.Tensor, torch.ops.aten.cat.default}
)
_NORMS = frozenset({torch.ops.aten.layer_norm.default, torch.ops.aten.native_layer_norm.default})
# Upstream's 2^-12 takes most of their bits from small weights: a channel up to 0.01 has 41 steps.
_SMALLEST_SCALE = 2.0**-24


def choose(module: GraphModule, settings: Quantize, layers: Mapping[str, Precision]) -> Any:
    """The quantizer for a graph in which the layers' nodes, by name, get these precisions."""
    quantizers: list[Any] = []
    for precision in (Precision.INT8, Precision.DYNAMIC):
        if precision in layers.values():
            config = _config(settings, is_dynamic=precision is Precision.DYNAMIC)
            allowed = _Filter(module, layers, precision)
            others = XNNPACKQuantizer().set_global(config).set_filter_function(allowed)
            quantizers += [_Clamped(config, allowed), others]
    return ComposableQuantizer(quantizers)


def is_normed(module: GraphModule) -> bool:
    """Whether a graph has layer norms, as transformers have."""
    return any(node.target in _NORMS for node in module.graph.nodes)


class RangeObserver(MinMaxObserver):
    """An observer whose range is that of `RangeCollector`, by any of its methods."""

    def __init__(self, method: str, percentile: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._collector = RangeCollector(RangeMethod(method), percentile)

    def forward(self, x: Any) -> Any:
        """Take in the values of `x` and pass it on."""
        self._collector.add("", x.detach().float().numpy())
        return x

    def calculate_qparams(self) -> Any:
        """Scale and zero point; a tensor that had no finite value stands for zero."""
        low, high = self._collector.ranges().get("", (0.0, 0.0))
        self.min_val, self.max_val = torch.tensor(low), torch.tensor(high)
        return super().calculate_qparams()


def _config(settings: Quantize, *, is_dynamic: bool) -> Any:
    smallest = {"eps": _SMALLEST_SCALE}
    observer = RangeObserver.with_args(
        method=str(settings.ranges), percentile=settings.percentile, **smallest
    )
    activation = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127 if settings.symmetric else -128,
        quant_max=127,
        qscheme=torch.per_tensor_symmetric if settings.symmetric else torch.per_tensor_affine,
        is_dynamic=is_dynamic,
        observer_or_fake_quant_ctr=PlaceholderObserver.with_args(**smallest)
        if is_dynamic
        else observer,
    )
    weight = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric if settings.per_channel else torch.per_tensor_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=(
            PerChannelMinMaxObserver if settings.per_channel else MinMaxObserver
        ).with_args(**smallest),
    )
    output = None if is_dynamic else activation
    return QuantizationConfig(activation, output, weight, None, False)  # noqa: FBT003


class _Filter:
    """Says of a node whether a quantizer for `precision` may touch it.

    Sums, products and concatenations are quantized where what they join is, and no constant is in
    them: one range for all its channels would ruin it. They stay in float where the model has layer
    norms, for a transformer's sums have outliers in a few channels that the norms then take away.
    """

    def __init__(
        self, module: GraphModule, layers: Mapping[str, Precision], precision: Precision
    ) -> None:
        self._module = module
        self.layers = layers
        self._precision = precision
        self._keeps_joins = is_normed(module)

    def __call__(self, node: Node) -> bool:
        if node.name in self.layers:
            return self.layers[node.name] is self._precision
        if node.target not in JOINS:
            return True
        given = node.all_input_nodes
        if (
            self._keeps_joins
            or any(constant(self._module, value) is not None for value in given)
            or len(given) < 2
        ):
            return False
        return all(found is self._precision for found in self._feeding(node, set()))

    def _feeding(self, node: Node, seen: set[Node]) -> list[Precision]:
        """The precisions of the nearest layers before `node`."""
        found: list[Precision] = []
        for before in node.all_input_nodes:
            if before.name in self.layers:
                found.append(self.layers[before.name])
            elif before not in seen and before.target not in JOINS:
                found += self._feeding(before, seen | {before})
        return found


class _Clamped(Quantizer):
    """Quantizes a layer and the clamp after it as one, as XNNPACK computes them.

    Upstream's does so for relu alone, and gives the range of a relu6 to values it throws away; and
    it leaves a convolution in float that is to be `dynamic` and has a relu after it.
    """

    def __init__(self, config: Any, allowed: _Filter) -> None:
        super().__init__()
        self._config = config
        self._filter = allowed

    def annotate(self, model: GraphModule) -> GraphModule:
        """Mark each layer that a clamp follows and nothing else reads."""
        for node in model.graph.nodes:
            layer = node.args[0] if node.target in CLAMPS else None
            if layer is None or layer.name not in self._filter.layers or len(layer.users) > 1:
                continue
            if not self._filter(layer) or not self._can(layer):
                continue
            given = {layer.args[0]: self._config.input_activation}
            given[layer.args[1]] = self._config.weight
            layer.meta[_KEY] = QuantizationAnnotation(given, _annotated=True)
            if self._config.output_activation is not None:
                node.meta[_KEY] = QuantizationAnnotation(
                    output_qspec=self._config.output_activation, _annotated=True
                )
        return model

    def _can(self, layer: Node) -> bool:
        """Whether XNNPACK has the layer: of dynamic ones neither 1-d nor depthwise convolutions."""
        if layer.target in TRANSPOSED:
            return False
        weight = layer.args[1].meta["val"]
        is_dynamic = self._config.output_activation is None
        return not is_dynamic or weight.dim() == 2 or (weight.dim() == 4 and weight.shape[1] > 1)

    def validate(self, model: GraphModule) -> None:
        """Nothing to check: only ops that XNNPACK has were marked."""
