"""onnxruntime fuses a zero padding into a max-pool, where it counts as minus infinity."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ConvertModel

pytestmark = pytest.mark.framework

BUILD = """
import sys
import torch
from torch_factories import PaddedPool

batch = {0: torch.export.Dim("batch")}
program = torch.export.export(PaddedPool(), (torch.ones(2, 1, 8, 8),), dynamic_shapes=(batch,))
torch.export.save(program, sys.argv[1])
"""


def test_zeros_around_a_max_pool_stay_zeros(convert_model: ConvertModel, tmp_path: Path) -> None:
    model = tmp_path / "padded.pt2"
    folder = Path(__file__).parent
    subprocess.run([sys.executable, "-c", BUILD, str(model)], check=True, cwd=folder)
    report, _ = convert_model(model, to="onnx")
    assert report.outcome == "passed", report.reason
    assert report.parity is not None
    assert report.parity.outputs[0].max_abs_diff == 0
