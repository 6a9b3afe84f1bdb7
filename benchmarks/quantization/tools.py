"""The tools, each in its default settings, and the environments that some have to themselves."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ADAPTERS = Path(__file__).resolve().parent / "adapters"


@dataclass(frozen=True, kw_only=True)
class Tool:
    """`reads`: keras, or the float file it starts from. `own`: the name of its requirements file."""

    name: str
    adapter: str
    reads: str
    writes: str
    package: str
    setting: str
    own: str | None = None
    arguments: tuple[str, ...] = ()


TOOLS = (
    Tool(
        name="TF converter",
        adapter="tf_converter",
        reads="keras",
        writes="tflite",
        package="tensorflow",
        setting="int8 with float inputs and outputs, 1 row a calibration sample",
    ),
    Tool(
        name="ai-edge-quantizer",
        adapter="aeq",
        reads="tflite",
        writes="tflite",
        package="ai-edge-quantizer",
        setting="`static_wi8_ai8` and its own calibrator",
    ),
    Tool(
        name="onnx2tf",
        adapter="onnx2tf_int8",
        reads="onnx-plain",
        writes="tflite",
        package="onnx2tf",
        setting="int8 with float inputs and outputs; channels-last inputs kept",
        own="onnx2tf",
    ),
    Tool(
        name="onnxruntime",
        adapter="ort",
        reads="onnx",
        writes="onnx",
        package="onnxruntime",
        setting="pre-processed, QDQ, per channel, uint8 activations and int8 weights",
    ),
    Tool(
        name="onnxruntime, no arguments",
        adapter="ort",
        reads="onnx",
        writes="onnx",
        package="onnxruntime",
        setting="`quantize_static(float, int8, reader)` and nothing else: per tensor, all int8",
        arguments=("no-arguments",),
    ),
    Tool(
        name="Olive",
        adapter="olive_static",
        reads="onnx",
        writes="onnx",
        package="olive-ai",
        setting="`OnnxStaticQuantization`",
        own="olive",
    ),
    Tool(
        name="NNCF",
        adapter="nncf_ptq",
        reads="onnx",
        writes="onnx",
        package="nncf",
        setting="`nncf.quantize(model, dataset)`",
        own="nncf",
    ),
)


def interpreter(tool: Tool, venvs: Path) -> Path:
    """The Python that has the tool; its environment is made where there is none.

    Raises subprocess.CalledProcessError with pip's output where it does not install.
    """
    if tool.own is None:
        return Path(sys.executable)
    folder = venvs / tool.own
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        requirements = ADAPTERS / f"{tool.own}.txt"
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "-r", str(requirements)],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        (folder / "complete").touch()
    return python


def version(tool: Tool, python: Path) -> str:
    """Of the tool's package, as its environment has it."""
    line = f"from importlib.metadata import version; print(version({tool.package!r}))"
    return subprocess.run(
        [str(python), "-c", line], check=True, capture_output=True, text=True
    ).stdout.strip()
