"""Convert the architectures of keras.applications to every format and write the table of outcomes.

    .venv/bin/python scripts/coverage_keras.py [--only NAME ...] [--to FORMAT ...] [--output FILE]

Weights are random, batch norms have statistics of a few passes over random images, and each model
goes the way a user's `.keras` file goes, its batch free, judged on eight more images. A mismatch is
a failed cell. Cells that are not run again are kept from the last table's data (FILE with the suffix
`.json`). Exits with 1 where a cell failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgekit.catalog import load_catalog
from edgekit.core.artifact import Format
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.request import ConvertRequest, Opening, Proof
from edgekit.pipeline.lines import convert
from edgekit.worker.client import Workers

FORMATS = (Format.TFLITE, Format.ONNX, Format.EXECUTORCH, Format.TORCHSCRIPT)
OUTPUT = Path(__file__).resolve().parent.parent / "docs" / "coverage" / "keras.md"
SIZES = {
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "MobileNetV3Large": 32,
    "EfficientNetB0": 32,
    "EfficientNetB1": 32,
    "EfficientNetB2": 32,
    "EfficientNetB3": 32,
    "EfficientNetB4": 32,
    "EfficientNetB5": 32,
    "EfficientNetB6": 32,
    "EfficientNetB7": 32,
    "EfficientNetV2B0": 32,
    "EfficientNetV2B1": 32,
    "EfficientNetV2B2": 32,
    "EfficientNetV2B3": 32,
    "EfficientNetV2S": 32,
    "EfficientNetV2M": 32,
    "EfficientNetV2L": 32,
    "NASNetMobile": 32,
    "NASNetLarge": 32,
    "DenseNet121": 32,
    "DenseNet169": 32,
    "DenseNet201": 32,
    "ResNet50": 32,
    "ResNet101": 32,
    "ResNet152": 32,
    "ResNet50V2": 32,
    "ResNet101V2": 32,
    "ResNet152V2": 32,
    "VGG16": 32,
    "VGG19": 32,
    "ConvNeXtTiny": 32,
    "ConvNeXtSmall": 32,
    "ConvNeXtBase": 32,
    "ConvNeXtLarge": 32,
    "ConvNeXtXLarge": 32,
    "Xception": 71,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
}
# With gammas about 1 a hundred residual blocks amplify rounding: Keras itself moves by 4e-4 when the
# input of ResNet152 changes in its last bit, by 5e-6 with these.
GAINS = {"ResNet101": 0.4, "ResNet152": 0.4}
BUILD = """
import sys
import keras
import numpy as np

name, size, path, samples, gain = sys.argv[1], int(sys.argv[2]), *sys.argv[3:5], float(sys.argv[5])
keras.utils.set_random_seed(0)
model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10)
rng = np.random.default_rng(0)


def images(count):
    return rng.uniform(0, 255, (count, size, size, 3)).astype("float32")


for layer in model._flatten_layers(include_self=False):
    if hasattr(layer, "momentum"):
        layer.momentum = 0.5
    for weight in layer.weights:
        # ConvNeXt starts its branches at 1e-6 and Keras its biases at 0: nothing would reach the end.
        if weight.name == "gamma":
            weight.assign(gain * rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("bias", "beta"):
            weight.assign(rng.uniform(-0.2, 0.2, weight.shape))
for _ in range(6):
    model(images(8), training=True)
last = model.layers[-1]
if last.weights:  # as decided as a trained model: a softmax of 1/10 each would hide every error
    inner = keras.Model(model.input, last.input)
    features = np.asarray(inner(images(8)))
    last.kernel.assign(rng.normal(0, 2 / (features.std() * features.shape[-1] ** 0.5 + 1e-9),
                                  last.kernel.shape))
model.save(path)
np.savez(samples, x=images(8))
print(model.count_params())
"""


def main() -> int:
    """Run all cells, print as it goes, write the table after every row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(SIZES), metavar="NAME", choices=SIZES)
    parser.add_argument("--to", nargs="*", default=list(FORMATS), metavar="FORMAT", choices=FORMATS)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    data = given.output.with_suffix(".json")
    data.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, str]] = json.loads(data.read_text()) if data.exists() else {}
    for name in given.only:
        start = time.perf_counter()
        rows[name] = _row(name, given.to, rows.get(name, {}))
        print(f"{name}: {rows[name]} ({time.perf_counter() - start:.0f} s)", flush=True)
        rows = {known: rows[known] for known in SIZES if known in rows}
        data.write_text(json.dumps(rows, indent=1) + "\n")
        given.output.write_text(_table(rows))
    return int(any("**" in cell for row in rows.values() for cell in row.values()))


def _row(name: str, formats: list[str], before: dict[str, str]) -> dict[str, str]:
    """One architecture in every format; its children end with it, for memory."""
    with tempfile.TemporaryDirectory() as folder, Workers(timeout_s=1500) as workers:
        model, samples = Path(folder) / f"{name}.keras", Path(folder) / "images.npz"
        built = subprocess.run(
            [
                sys.executable,
                "-c",
                BUILD,
                name,
                str(SIZES[name]),
                str(model),
                str(samples),
                str(GAINS.get(name, 1.0)),
            ],
            env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=True,
            capture_output=True,
            text=True,
        )
        row = {**before, "parameters": f"{int(built.stdout.split()[-1]):,}"}
        for to in map(Format, formats):
            request = ConvertRequest(
                opening=Opening(path=str(model)),
                to=to,
                proof=Proof(data=str(samples), num_runs=0),
            )
            report = convert(request, workers=workers, catalog=load_catalog())
            row[to.value] = _cell(report)
            row.pop(f"{to} reason", None)
            if report.reason:
                reason = f"{report.reason.message} ({report.reason.fix})"
                row[f"{to} reason"] = " ".join(reason.split())[:400]
    return row


def _cell(report: CellReport) -> str:
    if report.outcome is Outcome.UNSUPPORTED:
        return "no"
    if report.outcome is not Outcome.PASSED or report.parity is None or report.artifact is None:
        return f"**{report.outcome}**"
    worst = max(output.max_abs_diff for output in report.parity.outputs)
    batch = report.signature.inputs[0].shape if report.signature else None
    fixed = "" if batch is None or batch[0] is None else f", batch {batch[0]}"
    return f"{worst:.0e}, {report.artifact.size_bytes / 1e6:.1f} MB{fixed}"


def _table(rows: dict[str, dict[str, str]]) -> str:
    from importlib.metadata import version

    packages = ("keras", "tensorflow", "torch", "tf2onnx", "executorch", "onnxruntime")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    lines = [
        "# keras.applications: which architecture converts to which format",
        "",
        f"Written by `scripts/coverage_keras.py` with {versions}; do not edit.",
        "",
        "Random weights, batch norms settled on random images like those the cells are fed, ten",
        "classes, float32. A cell is the largest absolute difference to Keras, the size of the file,",
        "and the batch where it had to be fixed. *no*: refused by name (exit 3); the reasons are below.",
        "Anything in bold is a failure.",
        "",
        "| architecture | parameters | image | " + " | ".join(FORMATS) + " |",
        "|---|---|---|" + "---|" * len(FORMATS),
    ]
    for name, row in rows.items():
        cells = " | ".join(row.get(to, "") for to in FORMATS)
        lines.append(f"| {name} | {row['parameters']} | {SIZES[name]} | {cells} |")
    reasons = [
        f"- **{name}** ({to}): {row[f'{to} reason']}"
        for name, row in rows.items()
        for to in FORMATS
        if f"{to} reason" in row
    ]
    return "\n".join([*lines, *(["", "## Reasons", "", *reasons] if reasons else [])]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
