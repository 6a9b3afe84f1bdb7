"""Convert twenty timm architectures to every format and write the table of outcomes.

    .venv/bin/pip install --no-deps --target LIB timm==1.0.31 torchvision==0.28.0
    .venv/bin/python scripts/coverage_timm.py --library LIB [--only NAME ...] [--output FILE]

timm stays out of edgekit's own environment: it needs torchvision, whose wheels need a CUDA build of
torch. Weights are random, batch norms have statistics of a few passes. Each model is exported to a
`.pt2` with a free batch and goes the way a user's model goes. A mismatch is a failed cell. Exits
with 1 where there is one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edgekit.catalog import load_catalog
from edgekit.core.artifact import Format
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.request import ConvertRequest, Opening, Proof
from edgekit.pipeline.lines import convert
from edgekit.worker.client import Workers

FORMATS = (Format.ONNX, Format.TORCHSCRIPT, Format.TFLITE, Format.EXECUTORCH)
OUTPUT = Path(__file__).resolve().parent.parent / "docs" / "coverage" / "timm.md"
SIZES = {
    "resnet10t": 64,
    "resnet18": 64,
    "regnety_002": 64,
    "dla46_c": 64,
    "repvgg_a0": 64,
    "densenet121": 64,
    "mobilenetv2_050": 64,
    "mobilenetv3_small_050": 64,
    "mobilenetv4_conv_small": 64,
    "efficientnet_lite0": 64,
    "mnasnet_small": 64,
    "ghostnet_050": 64,
    "lcnet_050": 64,
    "tinynet_e": 64,
    "convnext_atto": 64,
    "edgenext_xx_small": 64,
    "mobilevit_xxs": 64,
    "vit_tiny_patch16_224": 64,
    "levit_128s": 224,
    "pvt_v2_b0": 64,
}
SAVE = """
import sys
import torch

library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):  # torchvision's compiled operators do not load on a CPU build of torch
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import timm

name, size, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.manual_seed(0)
said = {"img_size": size} if name.startswith("vit_") else {}
model = timm.create_model(name, pretrained=False, num_classes=10, **said)
for key, weight in model.named_parameters():
    # timm starts residual branches at zero: converters would fold them away, answers and all.
    if weight.ndim < 2:
        low, high = (-0.2, 0.2) if key.endswith("bias") else (0.5, 1.5)
        torch.nn.init.uniform_(weight, low, high)
model.train()
with torch.no_grad():
    for _ in range(6):
        model(torch.randn(8, 3, size, size))
model.eval()
axes = ({0: torch.export.Dim("batch")},)
program = torch.export.export(model, (torch.randn(2, 3, size, size),), dynamic_shapes=axes)
torch.export.save(program, f"{folder}/{name}.pt2")
print(sum(weight.numel() for weight in model.parameters()))
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One architecture in every format."""

    name: str
    parameters: int
    reports: dict[Format, CellReport]


def main() -> int:
    """Run all cells, print as it goes, write the table after every row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--library", required=True, help="folder with timm and torchvision")
    parser.add_argument("--only", nargs="*", default=list(SIZES), metavar="NAME", choices=SIZES)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with Workers(timeout_s=900) as workers, tempfile.TemporaryDirectory() as folder:
        for name in given.only:
            start = time.perf_counter()
            rows.append(_row(name, Path(folder), given.library, workers))
            cells = " | ".join(_cell(rows[-1].reports[to]) for to in FORMATS)
            print(f"{name}: {cells} ({time.perf_counter() - start:.0f} s)", flush=True)
            given.output.write_text(_table(rows))
    fine = (Outcome.PASSED, Outcome.UNSUPPORTED)
    return int(any(r.outcome not in fine for row in rows for r in row.reports.values()))


def _row(name: str, folder: Path, library: str, workers: Workers) -> Row:
    saved = subprocess.run(
        [sys.executable, "-c", SAVE, name, str(SIZES[name]), str(folder)],
        env={**os.environ, "PYTHONPATH": library},
        check=True,
        capture_output=True,
        text=True,
    )
    model = folder / f"{name}.pt2"
    reports = {to: _converted(model, to, workers) for to in FORMATS}
    model.unlink()
    return Row(name=name, parameters=int(saved.stdout.split()[-1]), reports=reports)


def _converted(model: Path, to: Format, workers: Workers) -> CellReport:
    request = ConvertRequest(opening=Opening(path=str(model)), to=to, proof=Proof(num_runs=0))
    return convert(request, workers=workers, catalog=load_catalog())


def _cell(report: CellReport) -> str:
    if report.outcome is Outcome.UNSUPPORTED:
        return "no"
    if report.outcome is not Outcome.PASSED or report.parity is None or report.artifact is None:
        return f"**{report.outcome}**"
    worst = max(output.max_abs_diff for output in report.parity.outputs)
    batch = report.signature.inputs[0].shape if report.signature else None
    fixed = "" if batch is None or batch[0] is None else f", batch {batch[0]}"
    return f"{worst:.0e}, {report.artifact.size_bytes / 1e6:.1f} MB{fixed}"


def _table(rows: list[Row]) -> str:
    from importlib.metadata import version

    versions = ", ".join(
        f"{package} {version(package)}"
        for package in ("torch", "onnxruntime", "litert-torch", "executorch")
    )
    lines = [
        "# timm: which architecture converts to which format",
        "",
        f"Written by `scripts/coverage_timm.py` with timm 1.0.31, {versions}; do not edit.",
        "",
        "Random weights, settled batch norms, ten classes, synthetic input, float32. A cell is the",
        "largest absolute difference to torch, the size of the file, and the batch where it had to be",
        "fixed. *no*: refused by name (exit 3); the reasons are below. Anything in bold is a failure.",
        "",
        "| architecture | parameters | image | " + " | ".join(FORMATS) + " |",
        "|---|---|---|" + "---|" * len(FORMATS),
    ]
    for row in rows:
        cells = " | ".join(_cell(row.reports[to]) for to in FORMATS)
        lines.append(f"| {row.name} | {row.parameters:,} | {SIZES[row.name]} | {cells} |")
    lines += ["", "## Reasons", ""]
    for row in rows:
        for to, report in row.reports.items():
            if report.reason:
                reason = " ".join(f"{report.reason.message} ({report.reason.fix})".split())
                lines.append(f"- **{row.name}** ({to}): {reason[:400]}")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
