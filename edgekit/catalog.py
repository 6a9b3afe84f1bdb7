"""The table of backends. Rows are strings: reading it imports no framework.

A new backend is a module, a row here, and a test. Order is preference.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from functools import cache

from edgekit.core.artifact import Format
from edgekit.core.backend import Backend, Kind
from edgekit.core.noun import Noun
from edgekit.core.recipe import Precision, RangeMethod
from edgekit.errors import UnavailableError

ENTRY_POINT_GROUP = "edgekit.backends"


class Catalog(Noun):
    """Backends in order of preference, and for each that cannot run here the reason."""

    backends: tuple[Backend, ...]
    missing: dict[str, str] = {}
    broken_plugins: dict[str, str] = {}

    def of_kind(self, kind: Kind) -> tuple[Backend, ...]:
        """All rows of one kind, in table order."""
        return tuple(row for row in self.backends if row.kind is kind)

    def backend(self, name: str) -> Backend:
        """The row called `name`; KeyError where there is none."""
        return {row.name: row for row in self.backends}[name]

    def is_available(self, backend: Backend) -> bool:
        """Whether everything this backend needs was found on this machine."""
        return backend.name not in self.missing

    def unavailable(self, backend: Backend) -> UnavailableError:
        """The error that says why `backend` cannot run here and what to install."""
        return UnavailableError(
            f"{backend.name} cannot run here: {self.missing[backend.name]}",
            fix=install_line(backend.extra),
        )


def install_line(*extras: str) -> str:
    """The command that installs extras; each argument may hold several, split by commas."""
    names = sorted({name for extra in extras for name in extra.split(",") if name})
    return f"pip install 'edgekit[{','.join(names)}]'"


@cache
def load_catalog() -> Catalog:
    """The built-in rows and those of installed plug-ins, checked against this machine."""
    plugins, broken = _plugin_rows()
    rows = BUILTIN + plugins
    missing = {row.name: reason for row in rows if (reason := _missing(row))}
    return Catalog(backends=rows, missing=missing, broken_plugins=broken)


def host_platform() -> str:
    """`linux-x86_64`, `linux-arm64`, `darwin-arm64`, ...: the names that targets use."""
    machine = platform.machine().lower()
    names = {"aarch64": "arm64", "amd64": "x86_64"}
    return f"{platform.system().lower()}-{names.get(machine, machine)}"


def _missing(row: Backend) -> str:
    if row.platforms and host_platform() not in row.platforms:
        return f"it runs on {', '.join(row.platforms)} only, and this is {host_platform()}"
    absent = [name for name in row.requires if not _is_installed(name)]
    return f"not installed: {', '.join(absent)}" if absent else ""


@cache
def _is_installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _plugin_rows() -> tuple[tuple[Backend, ...], dict[str, str]]:
    """Rows of third parties: each entry point names a `BACKENDS` tuple or a single Backend."""
    from importlib.metadata import entry_points

    rows: list[Backend] = []
    broken: dict[str, str] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            found = point.load()
        except Exception as error:  # a foreign module may raise anything; doctor shows it
            broken[point.name] = f"{type(error).__name__}: {error}"
            continue
        rows.extend(found if isinstance(found, tuple) else (found,))
    return tuple(rows), broken


_KERAS_TENSORFLOW = {"KERAS_BACKEND": "tensorflow"}
# tfmot sets the first for its whole process; with oneDNN, TensorFlow 2.21 ends with SIGSEGV in the
# gradient of a 1x1 convolution with strides.
_TFMOT = {**_KERAS_TENSORFLOW, "TF_USE_LEGACY_KERAS": "1", "TF_ENABLE_ONEDNN_OPTS": "0"}
_KERAS_TORCH = {"KERAS_BACKEND": "torch"}
_TORCH = {"KERAS_BACKEND": "torch"}
_SKLEARN = {"OMP_NUM_THREADS": "1"}
_TORCH_SOURCES = (Format.EXPORTED, Format.TORCHSCRIPT, Format.STATE_DICT, Format.TORCH_PICKLE)
_SKLEARN_SOURCES = (Format.SKOPS, Format.PICKLE)
_HAS_LITERT_CONVERTER = ("linux-x86_64", "darwin-arm64")

BUILTIN: tuple[Backend, ...] = (
    Backend(
        name="keras",
        kind=Kind.LOADER,
        entry="edgekit.backends.loaders.keras:load",
        reads=(Format.KERAS, Format.SAVEDMODEL),
        requires=("keras", "tensorflow"),
        extra="keras",
        environment=_KERAS_TENSORFLOW,
    ),
    Backend(
        name="keras_without_tensorflow",
        kind=Kind.LOADER,
        entry="edgekit.backends.loaders.keras:load",
        reads=(Format.KERAS,),
        requires=("keras", "torch"),
        extra="keras,torch",
        environment=_KERAS_TORCH,
    ),
    Backend(
        name="torch",
        kind=Kind.LOADER,
        entry="edgekit.backends.loaders.torch:load",
        reads=_TORCH_SOURCES,
        requires=("torch",),
        extra="torch",
        environment=_TORCH,
    ),
    Backend(
        name="sklearn",
        kind=Kind.LOADER,
        entry="edgekit.backends.loaders.sklearn:load",
        reads=_SKLEARN_SOURCES,
        requires=("sklearn", "skops"),
        extra="sklearn",
        environment=_SKLEARN,
    ),
    Backend(
        name="onnx",
        kind=Kind.LOADER,
        entry="edgekit.backends.loaders.onnx:load",
        reads=(Format.ONNX,),
        requires=("onnx",),
        extra="onnx",
    ),
    Backend(
        name="tflite",
        kind=Kind.LOADER,
        entry="edgekit.backends.loaders.tflite:load",
        reads=(Format.TFLITE,),
        requires=("ai_edge_litert",),
        extra="litert",
    ),
    Backend(
        name="executorch",
        kind=Kind.LOADER,
        entry="edgekit.backends.loaders.executorch:load",
        reads=(Format.EXECUTORCH,),
        requires=("executorch", "torch"),
        extra="executorch",
    ),
    Backend(
        name="keras_to_tflite",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.keras_to_tflite:convert",
        reads=(Format.KERAS, Format.SAVEDMODEL),
        writes=Format.TFLITE,
        requires=("keras", "tensorflow", "ai_edge_litert"),
        extra="keras,litert",
        environment=_KERAS_TENSORFLOW,
        precisions=(Precision.FP16, Precision.DYNAMIC, Precision.INT8, Precision.W8A16),
    ),
    Backend(
        name="keras_to_tflite_qat",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.keras_to_tflite_qat:convert",
        reads=(Format.KERAS,),
        writes=Format.TFLITE,
        requires=(
            "keras",
            "tensorflow",
            "tf_keras",
            "tensorflow_model_optimization",
            "ai_edge_litert",
        ),
        extra="keras,litert,qat",
        environment=_TFMOT,
        does_qat=True,
    ),
    Backend(
        name="keras_to_onnx",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.keras_to_onnx:convert",
        reads=(Format.KERAS, Format.SAVEDMODEL),
        writes=Format.ONNX,
        requires=("keras", "tensorflow", "tf2onnx", "onnx"),
        extra="keras,onnx",
        environment=_KERAS_TENSORFLOW,
    ),
    Backend(
        name="keras_to_pt2",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.keras_to_pt2:convert",
        reads=(Format.KERAS,),
        writes=Format.EXPORTED,
        requires=("keras", "torch"),
        extra="keras,torch",
        environment=_KERAS_TORCH,
    ),
    Backend(
        name="torch_to_pt2",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.torch_to_pt2:convert",
        reads=(Format.STATE_DICT, Format.TORCH_PICKLE, Format.TORCHSCRIPT),
        writes=Format.EXPORTED,
        requires=("torch",),
        extra="torch",
        environment=_TORCH,
    ),
    Backend(
        name="sklearn_to_onnx",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.sklearn_to_onnx:convert",
        reads=_SKLEARN_SOURCES,
        writes=Format.ONNX,
        requires=("sklearn", "skops", "skl2onnx", "onnx", "onnxruntime"),
        extra="sklearn,onnx",
        environment=_SKLEARN,
    ),
    Backend(
        name="sklearn_to_pt2",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.sklearn_to_pt2:convert",
        reads=_SKLEARN_SOURCES,
        writes=Format.EXPORTED,
        requires=("sklearn", "skops", "torch"),
        extra="sklearn,torch",
        environment=_SKLEARN,
    ),
    Backend(
        name="pt2_to_tflite",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.pt2_to_tflite:convert",
        reads=(Format.EXPORTED,),
        writes=Format.TFLITE,
        requires=("torch", "litert_torch"),
        extra="torch,litert-torch",
        environment=_TORCH,
        platforms=_HAS_LITERT_CONVERTER,
    ),
    Backend(
        name="pt2_to_onnx",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.pt2_to_onnx:convert",
        reads=(Format.EXPORTED,),
        writes=Format.ONNX,
        requires=("torch", "onnx", "onnxscript"),
        extra="torch,onnx",
        environment=_TORCH,
    ),
    Backend(
        name="pt2_to_executorch",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.pt2_to_executorch:convert",
        reads=(Format.EXPORTED,),
        writes=Format.EXECUTORCH,
        requires=("torch", "executorch"),
        extra="executorch",
        environment=_TORCH,
        precisions=(Precision.FP16, Precision.INT8, Precision.DYNAMIC),
        ranges=tuple(RangeMethod),
        per_layer=True,
    ),
    Backend(
        name="pt2_to_torchscript",
        kind=Kind.CONVERTER,
        entry="edgekit.backends.converters.pt2_to_torchscript:convert",
        reads=(Format.EXPORTED,),
        writes=Format.TORCHSCRIPT,
        requires=("torch",),
        extra="torch",
        environment=_TORCH,
        precisions=(Precision.FP16, Precision.BF16, Precision.DYNAMIC),
        per_layer=True,
    ),
    Backend(
        name="tflite_equalize",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.tflite_equalize:optimize",
        reads=(Format.TFLITE,),
        writes=Format.TFLITE,
        requires=("ai_edge_litert",),
        extra="litert",
        equalizes=True,
    ),
    Backend(
        name="onnx_equalize",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.onnx_equalize:optimize",
        reads=(Format.ONNX,),
        writes=Format.ONNX,
        requires=("onnx", "onnxruntime"),
        extra="onnx",
        equalizes=True,
    ),
    Backend(
        name="aeq_quantize",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.aeq_quantize:optimize",
        reads=(Format.TFLITE,),
        writes=Format.TFLITE,
        requires=("ai_edge_quantizer", "ai_edge_litert"),
        extra="litert-quantizer",
        precisions=(
            Precision.FP16,
            Precision.W8,
            Precision.DYNAMIC,
            Precision.INT8,
            Precision.W8A16,
            Precision.W4,
        ),
        ranges=tuple(RangeMethod),
        per_layer=True,
    ),
    Backend(
        name="ort_static",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.ort_quantize:optimize",
        reads=(Format.ONNX,),
        writes=Format.ONNX,
        requires=("onnx", "onnxruntime"),
        extra="onnx",
        precisions=(Precision.INT8, Precision.W8A16),
        ranges=tuple(RangeMethod),
        per_layer=True,
        needs_features=("vnni", "arm64"),  # the sums of other CPUs saturate
    ),
    Backend(
        name="ort_static_unsigned",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.ort_quantize:optimize",
        reads=(Format.ONNX,),
        writes=Format.ONNX,
        requires=("onnx", "onnxruntime"),
        extra="onnx",
        precisions=(Precision.INT8, Precision.W8A16),
        ranges=tuple(RangeMethod),
        per_layer=True,
        options={"weights": "uint8"},
    ),
    Backend(
        name="ort_static_reduced",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.ort_quantize:optimize",
        reads=(Format.ONNX,),
        writes=Format.ONNX,
        requires=("onnx", "onnxruntime"),
        extra="onnx",
        precisions=(Precision.INT8,),
        ranges=tuple(RangeMethod),
        per_layer=True,
        options={"reduce_range": "true"},
    ),
    Backend(
        name="ort_static_signed",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.ort_quantize:optimize",
        reads=(Format.ONNX,),
        writes=Format.ONNX,
        requires=("onnx", "onnxruntime"),
        extra="onnx",
        precisions=(Precision.INT8,),
        ranges=tuple(RangeMethod),
        per_layer=True,
        options={"activations": "int8"},
        needs_features=("vnni", "arm64"),  # the sums of other CPUs saturate
    ),
    Backend(
        name="ort_dynamic",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.ort_quantize_dynamic:optimize",
        reads=(Format.ONNX,),
        writes=Format.ONNX,
        requires=("onnx", "onnxruntime"),
        extra="onnx",
        precisions=(Precision.DYNAMIC,),
        per_layer=True,
    ),
    Backend(
        name="ort_cast",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.ort_cast:optimize",
        reads=(Format.ONNX,),
        writes=Format.ONNX,
        requires=("onnx", "onnxruntime"),
        extra="onnx",
        precisions=(Precision.FP16,),
        per_layer=True,
    ),
    Backend(
        name="onnx_weights",
        kind=Kind.OPTIMIZER,
        entry="edgekit.backends.optimizers.onnx_weights:optimize",
        reads=(Format.ONNX,),
        writes=Format.ONNX,
        requires=("onnx", "onnxruntime"),
        extra="onnx",
        precisions=(Precision.W8, Precision.W4),
        per_layer=True,
    ),
    Backend(
        name="keras_host",
        kind=Kind.RUNTIME,
        entry="edgekit.backends.runtimes.keras_host:run",
        reads=(Format.KERAS, Format.SAVEDMODEL),
        requires=("keras", "tensorflow"),
        extra="keras",
        environment=_KERAS_TENSORFLOW,
    ),
    Backend(
        name="keras_host_without_tensorflow",
        kind=Kind.RUNTIME,
        entry="edgekit.backends.runtimes.keras_host:run",
        reads=(Format.KERAS,),
        requires=("keras", "torch"),
        extra="keras,torch",
        environment=_KERAS_TORCH,
    ),
    Backend(
        name="torch_host",
        kind=Kind.RUNTIME,
        entry="edgekit.backends.runtimes.torch_host:run",
        reads=_TORCH_SOURCES,
        requires=("torch",),
        extra="torch",
        environment=_TORCH,
    ),
    Backend(
        name="sklearn_host",
        kind=Kind.RUNTIME,
        entry="edgekit.backends.runtimes.sklearn_host:run",
        reads=_SKLEARN_SOURCES,
        requires=("sklearn", "skops"),
        extra="sklearn",
        environment=_SKLEARN,
    ),
    Backend(
        name="onnx_host",
        kind=Kind.RUNTIME,
        entry="edgekit.backends.runtimes.onnx_host:run",
        reads=(Format.ONNX,),
        requires=("onnxruntime",),
        extra="onnx",
    ),
    Backend(
        name="tflite_host",
        kind=Kind.RUNTIME,
        entry="edgekit.backends.runtimes.tflite_host:run",
        reads=(Format.TFLITE,),
        requires=("ai_edge_litert",),
        extra="litert",
    ),
    Backend(
        name="tflite_host_legacy",
        kind=Kind.RUNTIME,
        entry="edgekit.backends.runtimes.tflite_host:run",
        reads=(Format.TFLITE,),
        requires=("tflite_runtime",),
        extra="litert",
    ),
    Backend(
        name="executorch_host",
        kind=Kind.RUNTIME,
        entry="edgekit.backends.runtimes.executorch_host:run",
        reads=(Format.EXECUTORCH,),
        requires=("executorch", "torch"),
        extra="executorch",
    ),
    Backend(
        name="onnx_inspector",
        kind=Kind.INSPECTOR,
        entry="edgekit.backends.inspectors.onnx:inspect",
        reads=(Format.ONNX,),
        requires=("onnx",),
        extra="onnx",
    ),
    Backend(
        name="tflite_inspector",
        kind=Kind.INSPECTOR,
        entry="edgekit.backends.inspectors.tflite:inspect",
        reads=(Format.TFLITE,),
        requires=("ai_edge_litert",),
        extra="litert",
    ),
    Backend(
        name="executorch_inspector",
        kind=Kind.INSPECTOR,
        entry="edgekit.backends.inspectors.executorch:inspect",
        reads=(Format.EXECUTORCH,),
        requires=("executorch", "torch"),
        extra="executorch",
    ),
    Backend(
        name="torch_inspector",
        kind=Kind.INSPECTOR,
        entry="edgekit.backends.inspectors.torch:inspect",
        reads=_TORCH_SOURCES,
        requires=("torch",),
        extra="torch",
        environment=_TORCH,
    ),
    Backend(
        name="keras_inspector",
        kind=Kind.INSPECTOR,
        entry="edgekit.backends.inspectors.keras:inspect",
        reads=(Format.KERAS, Format.SAVEDMODEL),
        requires=("keras", "tensorflow"),
        extra="keras",
        environment=_KERAS_TENSORFLOW,
    ),
    Backend(
        name="sklearn_inspector",
        kind=Kind.INSPECTOR,
        entry="edgekit.backends.inspectors.sklearn:inspect",
        reads=_SKLEARN_SOURCES,
        requires=("sklearn", "skops"),
        extra="sklearn",
        environment=_SKLEARN,
    ),
)
